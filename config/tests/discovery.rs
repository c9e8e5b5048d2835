//! What a group may say about where its targets come from.

use longshore_config::{Discovery, DnsRecordType, parse};

/// The source of a group with these keys under `dns`, or the errors.
fn dns(keys: &str) -> Result<Discovery, String> {
    source(&format!("dns: {{{keys}}}"))
}

fn source(keys: &str) -> Result<Discovery, String> {
    let text = format!(
        "listeners: [{{name: web, port: 80, default_action: [{{type: forward, target_group: app}}]}}]
target_groups:
  - name: app
    discovery: {{{keys}}}
"
    );
    match parse("f.yaml", &text, &|_| None) {
        Ok(mut config) => Ok(config.target_groups.remove(0).discovery.expect("a source")),
        Err(errors) => Err(errors.to_string()),
    }
}

#[test]
fn a_name_and_a_port_are_enough() {
    let discovery = dns("name: app.internal, port: 8080").expect("valid");
    assert_eq!(discovery.sources(), ["dns"]);
    let dns = discovery.dns.expect("there");
    assert_eq!(dns.record_type, DnsRecordType::A);
    assert!(dns.servers.is_empty());
    assert_eq!(dns.min_interval.get().as_secs(), 1);
    assert_eq!(dns.max_interval.get().as_secs(), 30);
}

#[test]
fn names_of_every_right_form_are_taken() {
    let longest = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
    for name in [
        "app",
        "app.internal.",
        "_http._tcp.a-1.internal",
        &longest,
        &format!("{longest}."),
    ] {
        dns(&format!("name: {name}, type: SRV")).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn each_fault_of_a_dns_source_names_its_place_and_its_mend() {
    let cases = [
        ("name: app.internal".to_owned(), "dns: the key `port` is missing: A and AAAA records have no port"),
        ("name: a, type: AAAA".to_owned(), "dns: the key `port` is missing"),
        ("name: a, type: SRV, port: 1".to_owned(), "dns.port: SRV records have their own ports; remove the key"),
        ("name: a, type: srv".to_owned(), "dns.type: unknown value `srv`"),
        ("name: a, type: MX".to_owned(), "dns.type: unknown value `MX`"),
        ("name: \"\", port: 1".to_owned(), "dns.name: expected a name such as app.internal"),
        ("name: \".\", port: 1".to_owned(), "dns.name: expected a name"),
        ("name: a b, port: 1".to_owned(), "found \"a b\""),
        ("name: a..b, port: 1".to_owned(), "dns.name: expected a name"),
        ("name: \"*.a\", port: 1".to_owned(), "dns.name: expected a name"),
        (format!("name: {}, port: 1", "a".repeat(64)), "at most 63 between two dots"),
        (format!("name: {}, port: 1", "a.".repeat(128)), "dns.name: "),
        ("name: 10.0.0.1, port: 1".to_owned(), "\"10.0.0.1\" is an address, which needs no look-up; write it under `targets`"),
        ("name: a, port: 0".to_owned(), "dns.port: expected a whole number from 1 to 65535"),
        ("name: a, port: 1, servers: [\"10.0.0.2\"]".to_owned(), "dns.servers[0]: "),
        ("name: a, port: 1, servers: [\"10.0.0.2:0\"]".to_owned(), "dns.servers[0]: the port is 0; expected 1 to 65535, such as 53"),
        ("name: a, port: 1, servers: [\"10.0.0.2:53\", \"10.0.0.2:53\"]".to_owned(), "dns.servers[1]: 10.0.0.2:53 is there already"),
        ("name: a, port: 1, servers: [\"1.1.1.1:1\", \"1.1.1.1:2\", \"1.1.1.1:3\", \"1.1.1.1:4\", \"1.1.1.1:5\"]".to_owned(), "dns.servers: at most 4 servers, found 5"),
        ("name: a, port: 1, min_interval: 99ms".to_owned(), "dns.min_interval: expected a duration from 100ms to 5m"),
        ("name: a, port: 1, max_interval: 301s".to_owned(), "dns.max_interval: expected a duration from 100ms to 5m"),
        ("name: a, port: 1, min_interval: 31s".to_owned(), "dns.min_interval: the shortest time between two looks is above the longest, `max_interval`"),
        ("name: a, port: 1, min_intervall: 1s".to_owned(), "did you mean `min_interval`?"),
    ];
    let mut wrong = Vec::new();
    for (keys, expected) in cases {
        match dns(&keys) {
            Ok(_) => wrong.push(format!("{keys}: accepted")),
            Err(errors) if errors.contains(expected) && errors.lines().count() == 1 => {}
            Err(errors) => wrong.push(format!(
                "{keys}\n  expected {expected}\n  got      {errors}"
            )),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_group_has_exactly_one_source() {
    let error = source("").expect_err("none");
    assert!(
        error.contains("a source is needed: `ecs`, `docker`, `consul`, `dns` or `file`"),
        "{error}"
    );
    let error = source("ecs: {cluster: a, service: b}, dns: {name: a, port: 1}").expect_err("two");
    assert!(
        error.contains("a group has one source, found ecs, dns; remove the others"),
        "{error}"
    );
}

#[test]
fn how_and_whom_a_source_asks_does_not_make_it_another_one() {
    let plain = dns("name: a, port: 1").expect("valid").identity();
    let other =
        dns("name: a, port: 1, servers: [\"10.0.0.2:53\"], min_interval: 2s, max_interval: 3s");
    assert_eq!(other.expect("valid").identity(), plain);
    for keys in [
        "name: b, port: 1",
        "name: a, port: 2",
        "name: a, port: 1, type: AAAA",
    ] {
        assert_ne!(dns(keys).expect("valid").identity(), plain, "{keys}");
    }
}
