//! Each bad file gets clear errors with their places, all at once.

use longshore_config::{Config, ConfigErrors, parse};

const GOOD: &str = "\
listeners:
  - name: web
    address: 127.0.0.1:8080
    default_action: [{type: forward, target_group: app}]
    rules:
      - priority: 10
        condition: [{source_ip: {values: [\"10.0.0.0/8\"]}}]
        action:
          - type: forward
            forward:
              target_group: [{name: app, weight: 9}]
target_groups:
  - name: app
    targets:
      - {address: 127.0.0.1, port: 32768}
    health_check: {path: /health, interval: 5, timeout: 2}
";

fn read(text: &str) -> Result<Config, ConfigErrors> {
    parse("f.yaml", text, &|name| match name {
        "PORT" => Some("9000".to_owned()),
        "WORDS" => Some("many words".to_owned()),
        _ => None,
    })
}

/// The errors of the good file with one replacement.
#[track_caller]
fn broken(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from:?} is in the good file");
    match read(&GOOD.replacen(from, to, 1)) {
        Ok(_) => panic!("{to:?} was accepted"),
        Err(errors) => errors.to_string(),
    }
}

#[test]
fn the_good_file_is_good() {
    read(GOOD).expect("valid");
}

#[test]
fn each_fault_names_its_place_and_its_mend() {
    let cases = [
        // unknown key
        (
            "name: web",
            "nmae: web",
            "f.yaml:2:5: listeners[0].nmae: unknown key `nmae`; did you mean `name`?",
        ),
        (
            "interval: 5",
            "intervall: 5",
            "f.yaml:16:35: target_groups[0].health_check.intervall: unknown key `intervall`; did you mean `interval`?",
        ),
        // missing group
        (
            "target_group: app}",
            "target_group: ap}",
            "f.yaml:4:52: listeners[0].default_action[0].target_group: there is no target group \"ap\"; did you mean \"app\"?",
        ),
        // bad CIDR
        (
            "10.0.0.0/8",
            "10.0.0.0/33",
            "f.yaml:7:43: listeners[0].rules[0].condition[0].source_ip.values[0]: expected a network such as 10.0.0.0/8 or 2001:db8::/32, found \"10.0.0.0/33\"",
        ),
        // port 0
        (
            "port: 32768",
            "port: 0",
            "f.yaml:15:36: target_groups[0].targets[0].port: expected a whole number from 1 to 65535, found 0",
        ),
        (
            "127.0.0.1:8080",
            "127.0.0.1:0",
            "f.yaml:3:14: listeners[0].address: the port is 0; expected 1 to 65535",
        ),
        (
            "port: 32768",
            "port: 65536",
            "f.yaml:15:36: target_groups[0].targets[0].port: expected a whole number from 1 to 65535, found 65536",
        ),
        // IPv4 in the form of IPv6
        (
            "127.0.0.1:8080",
            "'[::ffff:127.0.0.1]:8080'",
            "f.yaml:3:14: listeners[0].address: [::ffff:127.0.0.1]:8080 is an address of IPv4 in the form of IPv6; write 127.0.0.1:8080",
        ),
        // weight out of range
        (
            "weight: 9",
            "weight: 1000",
            "f.yaml:11:50: listeners[0].rules[0].action[0].forward.target_group[0].weight: expected a whole number from 0 to 999, found 1000",
        ),
        ("weight: 9", "weight: -1", "found -1"),
        (
            "weight: 9",
            "weight: 0",
            "f.yaml:11:29: listeners[0].rules[0].action[0].forward.target_group: at least one group with a weight above 0 is needed",
        ),
        // wrong type
        (
            "interval: 5",
            "interval: [5]",
            "f.yaml:16:45: target_groups[0].health_check.interval: expected a duration from 100ms to 5m, such as 30, 500ms, 30s, 5m or 1d, found a list",
        ),
        ("interval: 5", "interval: soon", "found \"soon\""),
        ("interval: 5", "interval: 6m", "found \"6m\""),
        (
            "timeout: 2",
            "timeout: 6s",
            "f.yaml:16:57: target_groups[0].health_check.timeout: a check may not take longer than the `interval` between two of them",
        ),
        (
            "priority: 10",
            "priority: ten",
            "expected a whole number from 1 to 50000, found \"ten\"",
        ),
        (
            "name: web",
            "name: true",
            "expected a text, found true; put it in quotes",
        ),
        (
            "type: forward,",
            "type: foward,",
            "unknown value `foward`; did you mean `forward`?",
        ),
        (
            "targets:\n      - {address: 127.0.0.1, port: 32768}",
            "targets: 5",
            "expected a list, found 5",
        ),
        // missing key
        (
            "    address: 127.0.0.1:8080\n",
            "",
            "f.yaml:2:5: listeners[0]: one of the keys `address` and `port` is needed",
        ),
        (
            "priority: 10\n        ",
            "",
            "f.yaml:6:9: listeners[0].rules[0]: the key `priority` is missing",
        ),
        // environment
        (
            "127.0.0.1:8080",
            "\"127.0.0.1:${NO_SUCH}\"",
            "f.yaml:3:14: listeners[0].address: the environment variable NO_SUCH is not set",
        ),
        ("port: 32768", "port: \"${WORDS}\"", "found \"many words\""),
        // YAML
        ("default_action: [{", "default_action: [{{", "f.yaml:4:"),
        (
            "name: app\n",
            "name: app\n    name: app\n",
            "f.yaml:14:5: the key `name` stands here twice",
        ),
        // not served yet
        (
            "address: 127.0.0.1:8080",
            "{address: 127.0.0.1:8080",
            "not valid YAML",
        ),
        (
            "name: web",
            "protocol: HTTPS\n    name: web",
            "f.yaml:2:5: listeners[0]: an HTTPS listener needs `certificates`",
        ),
    ];
    let mut wrong = Vec::new();
    for (from, to, expected) in cases {
        let errors = broken(from, to);
        if !errors.contains(expected) || errors.lines().count() > 2 {
            wrong.push(format!(
                "{from} -> {to}\n  expected {expected}\n  got      {errors}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_group_has_exactly_one_source_and_a_file_needs_its_path() {
    let fixed = "targets:\n      - {address: 127.0.0.1, port: 32768}";
    for (discovery, error) in [
        (
            "{}",
            "f.yaml:14:16: target_groups[0].discovery: a source is needed: `ecs`, `docker`, `consul`, `dns` or `file`",
        ),
        (
            "{ecs: {cluster: c, service: s}, file: {path: t.json}}",
            "f.yaml:14:16: target_groups[0].discovery: a group has one source, found ecs, file; remove the others",
        ),
        (
            "{file: {path: ' '}}",
            "f.yaml:14:30: target_groups[0].discovery.file.path: the path of a file is needed",
        ),
        (
            "{consul: {service: ''}}",
            "f.yaml:14:35: target_groups[0].discovery.consul.service: a name is needed",
        ),
        (
            "{consul: {service: web, token: 'se cret'}}",
            "f.yaml:14:47: target_groups[0].discovery.consul.token: a token has 1 to 1024 visible ASCII characters",
        ),
        (
            "{consul: {service: web, address: '127.0.0.1:0'}}",
            "f.yaml:14:49: target_groups[0].discovery.consul.address: the port is 0; expected 1 to 65535",
        ),
        (
            "{file: {}}",
            "f.yaml:14:23: target_groups[0].discovery.file: the key `path` is missing",
        ),
        (
            "{file: {path: t.json, refresh_interval: 50ms}}",
            "f.yaml:14:56: target_groups[0].discovery.file.refresh_interval: expected a duration from 100ms to 5m, such as 30, 500ms, 30s, 5m or 1d, found \"50ms\"",
        ),
    ] {
        let errors = broken(fixed, &format!("discovery: {discovery}"));
        assert_eq!(errors.trim_end(), error);
    }
}

#[test]
fn how_often_a_source_is_asked_does_not_change_which_source_it_is() {
    let group = |source: &str| {
        let fixed = "targets:\n      - {address: 127.0.0.1, port: 32768}";
        let text = GOOD.replacen(fixed, &format!("discovery: {{{source}}}"), 1);
        let group = read(&text).expect("valid").target_groups.remove(0);
        group.discovery.expect("there")
    };
    let known = group("file: {path: t.json}");
    let file = known.file.as_ref().expect("a file");
    assert_eq!(file.refresh_interval.get().as_secs(), 2);
    let slower = group("file: {path: t.json, refresh_interval: 300s}");
    assert_ne!(known, slower);
    assert_eq!(known.identity(), slower.identity());
    assert_ne!(known.identity(), group("file: {path: u.json}").identity());
    let known = group("consul: {service: web, token: hush}");
    assert!(!format!("{known:?}").contains("hush"), "a secret stays one");
    let consul = known.consul.as_ref().expect("consul");
    assert_eq!(consul.address.to_string(), "127.0.0.1:8500");
    let other = group("consul: {service: web, token: new, wait: 5m}");
    assert_eq!(known.identity(), other.identity());
    let other = group("consul: {service: web, tag: v2}");
    assert_ne!(known.identity(), other.identity());
}

#[test]
fn duplicate_names_and_addresses_are_errors() {
    let twice = GOOD.replacen(
        "target_groups:\n",
        "  - name: web\n    address: 127.0.0.1:8080\n    default_action: [{type: forward, target_group: app}]\ntarget_groups:\n",
        1,
    );
    let errors = read(&twice).expect_err("refused").to_string();
    assert!(
        errors.contains(
            "f.yaml:12:11: listeners[1].name: the name \"web\" is that of listeners[0] already"
        ),
        "{errors}"
    );
    assert!(
        errors.contains(
            "f.yaml:13:14: listeners[1].address: 127.0.0.1:8080 is that of \"web\" already"
        ),
        "{errors}"
    );
}

#[test]
fn addresses_of_which_one_stands_for_all_are_one_address() {
    for (one, other, overlap) in [
        ("0.0.0.0:8080", "127.0.0.1:8080", true),
        ("127.0.0.1:8080", "0.0.0.0:8080", true),
        ("[::]:8080", "127.0.0.1:8080", true),
        ("0.0.0.0:8080", "[::]:8080", true),
        ("[::]:8080", "[::1]:8080", true),
        ("0.0.0.0:8080", "[::1]:8080", false),
        ("0.0.0.0:8080", "127.0.0.1:8081", false),
        ("127.0.0.2:8080", "127.0.0.1:8080", false),
    ] {
        let both = GOOD.replacen("127.0.0.1:8080", &format!("'{one}'"), 1).replacen(
            "target_groups:\n",
            &format!("  - name: other\n    address: '{other}'\n    default_action: [{{type: forward, target_group: app}}]\ntarget_groups:\n"),
            1,
        );
        let errors = read(&both).err().map(|errors| errors.to_string());
        let fault = format!(
            "f.yaml:13:14: listeners[1].address: {other} and {one} of \"web\" overlap: one of them stands for all addresses"
        );
        assert_eq!(errors, overlap.then_some(fault), "{one} and {other}");
    }
}

#[test]
fn all_errors_come_at_once_in_the_order_of_the_file() {
    let text = GOOD
        .replacen("name: web", "nmae: web", 1)
        .replacen("target_group: app}", "target_group: gone}", 1)
        .replacen("10.0.0.0/8", "ten", 1)
        .replacen("weight: 9", "weight: 1000", 1)
        .replacen("port: 32768", "port: 0", 1)
        .replacen("interval: 5", "intervall: 5", 1);
    let errors = read(&text).expect_err("refused");
    let keys: Vec<&str> = errors
        .errors
        .iter()
        .map(|error| error.key.as_str())
        .collect();
    assert_eq!(
        keys,
        [
            "listeners[0].nmae",
            "listeners[0].default_action[0].target_group",
            "listeners[0].rules[0].condition[0].source_ip.values[0]",
            "listeners[0].rules[0].action[0].forward.target_group[0].weight",
            "target_groups[0].targets[0].port",
            "target_groups[0].health_check.intervall",
        ],
        "{errors}"
    );
    let mut sorted = errors.errors.clone();
    sorted.sort_by_key(|error| error.position);
    assert_eq!(sorted, errors.errors);
}

#[test]
fn a_fault_in_one_item_does_not_hide_or_move_those_of_its_neighbours() {
    let text = "\
listeners:
  - name: web
    port: 8080
    default_action: [{type: forward, target_group: b}]
target_groups:
  - 5
  - name: b
    targets:
      - {address: nonsense, port: 1}
      - {address: 127.0.0.1, port: 2}
      - {address: 127.0.0.1, port: 2}
";
    let errors = read(text).expect_err("refused").to_string();
    let expected = "\
f.yaml:6:5: target_groups[0]: expected keys and values, found 5
f.yaml:9:19: target_groups[1].targets[0].address: invalid IP address syntax, found \"nonsense\"
f.yaml:11:9: target_groups[1].targets[2]: 127.0.0.1:2 is that of targets[1] already";
    assert_eq!(errors, expected);
}

#[test]
fn a_number_is_a_text_only_as_it_is_written() {
    let condition = |value: &str| {
        let condition = format!("query_string: [{{key: id, value: {value}}}]");
        let from = "source_ip: {values: [\"10.0.0.0/8\"]}";
        assert!(GOOD.contains(from), "{from}");
        read(&GOOD.replacen(from, &condition, 1))
    };
    for bad in ["0x1F", "1_000", "+5", "0o17", "0b11", "-0", "007", "1.10"] {
        let errors = condition(bad).expect_err(bad).to_string();
        let expected = format!(
            "f.yaml:7:54: listeners[0].rules[0].condition[0].query_string[0].value: expected a text, found {bad}; put it in quotes"
        );
        assert_eq!(errors, expected);
        condition(&format!("'{bad}'")).expect("valid in quotes");
    }
    for good in ["200", "-5", "0"] {
        let config = condition(good).expect(good);
        let pairs = config.listeners[0].rules[0].condition[0]
            .query_string
            .as_ref();
        assert_eq!(pairs.expect("pairs")[0].value, good);
    }
}

#[test]
fn how_a_number_is_written_is_found_behind_letters_anchors_and_byte_order_marks() {
    for before in ["", "\u{feff}", "# \u{fc}\u{1f6a2}\n"] {
        let text = format!("{before}{GOOD}").replacen("name: web", "name: &n 0x1F", 1);
        let text = text.replacen("  - name: app", "  - name: *n", 1);
        let errors = read(&text).expect_err("refused").to_string();
        let found = errors.matches("expected a text, found 0x1F; put it in quotes");
        assert_eq!(found.count(), 2, "{errors}");
    }
}

#[test]
fn a_number_may_be_written_in_any_way() {
    let text = GOOD.replacen("port: 32768", "port: 0x1F90", 1);
    let config = read(&text).expect("valid");
    assert_eq!(config.target_groups[0].targets[0].port.get(), 8080);
}

#[test]
fn an_environment_variable_may_hold_a_number() {
    let text = GOOD.replacen("port: 32768", "port: \"${PORT}\"", 1);
    let config = read(&text).expect("valid");
    assert_eq!(config.target_groups[0].targets[0].port.get(), 9000);
}

#[test]
fn an_empty_file_is_told_what_it_needs() {
    for text in ["", "\n\n", "# only a comment\n", "---\n"] {
        let errors = read(text).expect_err("refused").to_string();
        assert_eq!(
            errors,
            "f.yaml:1:1: the file is empty; it needs at least `listeners`"
        );
    }
    assert!(read("- a\n- b\n").is_err());
    assert!(read("just words").is_err());
}

#[test]
fn a_file_of_10_megabytes_is_refused_before_it_is_parsed() {
    let path = std::env::temp_dir().join(format!("longshore-large-{}.yaml", std::process::id()));
    std::fs::write(&path, "# x\n".repeat(10 * 1024 * 1024 / 4)).expect("written");
    let errors = longshore_config::load(&path)
        .expect_err("refused")
        .to_string();
    std::fs::remove_file(&path).expect("removed");
    assert!(
        errors.ends_with(":1:1: the file is larger than 4 MiB, the most that is read"),
        "{errors}"
    );
}

#[test]
fn a_file_that_is_missing_or_not_utf8_is_an_error_with_its_name() {
    let errors = longshore_config::load("/no/such/file.yaml".as_ref()).expect_err("refused");
    assert!(
        errors
            .to_string()
            .starts_with("/no/such/file.yaml:1:1: the file cannot be read"),
        "{errors}"
    );
    let path = std::env::temp_dir().join(format!("longshore-latin-{}.yaml", std::process::id()));
    std::fs::write(&path, b"admin:\n  x: \xe9\n").expect("written");
    let errors = longshore_config::load(&path)
        .expect_err("refused")
        .to_string();
    std::fs::remove_file(&path).expect("removed");
    assert!(
        errors.ends_with(":2:6: the file is not UTF-8 here"),
        "{errors}"
    );
}

#[test]
fn a_file_of_12_thousand_rules_is_read() {
    use std::fmt::Write as _;
    let (head, tail) = GOOD.split_once("    rules:").expect("rules");
    let (_, groups) = tail.split_once("target_groups:").expect("groups");
    let mut text = format!("{head}    rules:\n");
    for number in 1..=12_000 {
        writeln!(
            text,
            "      - priority: {number}
        condition: [{{host_header: {{values: [\"a{number}.example.com\"]}}}}, {{path_pattern: {{values: [\"/v1/*\"]}}}}]
        action: [{{type: forward, forward: {{target_group: [{{name: app, weight: 1}}]}}}}]"
        )
        .expect("a text takes all");
    }
    write!(text, "target_groups:{groups}").expect("a text takes all");
    assert!(text.len() < longshore_config::limits::FILE_BYTES);
    let config = read(&text).expect("valid");
    assert_eq!(config.listeners[0].rules.len(), 12_000);
}

#[test]
fn one_anchor_may_stand_for_what_a_thousand_rules_share() {
    use std::fmt::Write as _;
    let mut text = GOOD.replacen(
        "condition: [{source_ip: {values: [\"10.0.0.0/8\"]}}]",
        "condition: &internal [{source_ip: {values: [\"10.0.0.0/8\"]}}]",
        1,
    );
    let at = text.find("target_groups:").expect("groups");
    let groups = text.split_off(at);
    for number in 1001..2001 {
        let action = "[{type: forward, target_group: app}]";
        writeln!(
            text,
            "      - {{priority: {number}, condition: *internal, action: {action}}}"
        )
        .expect("a text takes all");
    }
    let config = read(&format!("{text}{groups}")).expect("valid");
    assert_eq!(config.listeners[0].rules.len(), 1001);
}

#[test]
fn deep_nesting_is_refused_with_the_number_of_levels() {
    let flow = format!("a: {}{}", "[".repeat(32), "]".repeat(32));
    let mut block = String::new();
    for level in 0..33 {
        block.push_str(&format!("{}a:\n", " ".repeat(level)));
    }
    block.push_str(&format!("{}a: b\n", " ".repeat(33)));
    for text in [flow, block, format!("a: {}", "[".repeat(5_000))] {
        let errors = read(&text).expect_err("refused").to_string();
        assert!(
            errors.starts_with("f.yaml:") && errors.ends_with(
                ": lists and mappings are nested more than 32 levels deep here; no key of this file needs so many"
            ),
            "{errors}"
        );
    }
}

#[test]
fn anchors_that_multiply_are_stopped() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let previous = level - 1;
        let items = vec![format!("*a{previous}"); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    let long = "x".repeat(1 << 20);
    let copies = vec!["*long"; 200].join(", ");
    for text in [text, format!("a: &long {long}\nb: [{copies}]\n")] {
        let errors = read(&text).expect_err("refused").to_string();
        assert!(
            errors.contains(
                "the aliases (`*name`) of the file repeat more than 500000 values or 64 MiB of text; use fewer"
            ),
            "{errors}"
        );
    }
}

#[test]
fn an_events_queue_is_the_url_or_the_name_of_a_standard_queue() {
    let with = |queue: &str| {
        let ecs =
            format!("discovery: {{ecs: {{cluster: c, service: s, events_queue: '{queue}'}}}}");
        let from = "targets:\n      - {address: 127.0.0.1, port: 32768}";
        assert!(GOOD.contains(from));
        read(&GOOD.replacen(from, &ecs, 1))
    };
    let long = "q".repeat(80);
    for good in [
        "longshore-events_1",
        long.as_str(),
        "https://sqs.eu-central-1.amazonaws.com/123456789012/events",
        "http://127.0.0.1:4566/1/events",
    ] {
        with(good).unwrap_or_else(|errors| panic!("{good}: {errors}"));
    }
    let longer = "q".repeat(81);
    for bad in [
        "",
        " ",
        longer.as_str(),
        "events.fifo",
        "https://",
        "https://sqs.eu-central-1.amazonaws.com/1/",
        "https://sqs.eu-central-1.amazonaws.com/1/events.fifo",
        "https://a b/1/events",
        "arn:aws:sqs:eu-central-1:123456789012:events",
    ] {
        let errors = with(bad).expect_err(bad).to_string();
        assert!(
            errors.contains("discovery.ecs.events_queue: expected"),
            "{errors}"
        );
    }
}

#[test]
fn a_docker_source_needs_an_endpoint_and_labels_that_can_be_meant() {
    let with = |docker: &str| {
        let group = format!(
            "target_groups: [{{name: app, discovery: {{docker: {docker}}}}}]\nlisteners:\n  - {{name: web, port: 80, default_action: [{{type: forward, target_group: app}}]}}\n"
        );
        read(&group)
    };
    let labels = "labels: {com.docker.compose.service: web, any: \"\"}";
    for good in [
        labels.to_owned(),
        format!("{labels}, endpoint: \"tcp://10.0.0.1:2375\", host_address: 10.0.0.1"),
        format!("{labels}, endpoint: \"tcp://[::1]:2375\", poll_interval: 1s"),
        format!("{labels}, network: front, container_port: 80, poll_interval: 300s"),
    ] {
        with(&format!("{{{good}}}")).expect("valid");
    }
    for (bad, place, word) in [
        ("{}", "docker", "labels"),
        ("{labels: {}}", "docker.labels", "at least one"),
        ("{labels: {\"a=b\": c}}", "docker.labels", "without `=`"),
        (
            "{labels: {a: b}, endpoint: /var/run/docker.sock}",
            "docker.endpoint",
            "unix://",
        ),
        (
            "{labels: {a: b}, endpoint: \"unix://docker.sock\"}",
            "docker.endpoint",
            "absolute",
        ),
        (
            "{labels: {a: b}, endpoint: \"tcp://engine\"}",
            "docker.endpoint",
            "tcp://host:port",
        ),
        (
            "{labels: {a: b}, endpoint: \"tcp://engine:0\"}",
            "docker.endpoint",
            "tcp://host:port",
        ),
        (
            "{labels: {a: b}, endpoint: \"https://engine:1\"}",
            "docker.endpoint",
            "tcp://host:port",
        ),
        (
            "{labels: {a: b}, network: \" \"}",
            "docker.network",
            "a name",
        ),
        (
            "{labels: {a: b}, network: x, host_address: 1.2.3.4}",
            "docker.host_address",
            "remove one",
        ),
        (
            "{labels: {a: b}, host_address: 0.0.0.0}",
            "docker.host_address",
            "connect to",
        ),
        (
            "{labels: {a: b}, poll_interval: 500ms}",
            "docker.poll_interval",
            "1s",
        ),
        (
            "{labels: {a: b}, container_port: 0}",
            "docker.container_port",
            "1 to 65535",
        ),
    ] {
        let Err(errors) = with(bad) else {
            panic!("{bad} was accepted");
        };
        let errors = errors.to_string();
        assert!(
            errors.contains(place) && errors.contains(word),
            "{bad}: {errors}"
        );
    }
}

#[test]
fn a_group_has_one_source() {
    let errors = read(
        "target_groups: [{name: app, discovery: {docker: {labels: {a: b}}, ecs: {cluster: c, service: s}}}]\nlisteners:\n  - {name: web, port: 80, default_action: [{type: forward, target_group: app}]}\n",
    )
    .expect_err("two sources");
    assert!(errors.to_string().contains("found ecs, docker"), "{errors}");
}

#[test]
fn a_port_of_ecs_is_chosen_by_number_or_by_name() {
    let targets = "    targets:\n      - {address: 127.0.0.1, port: 32768}\n";
    let ecs = |keys: &str| {
        let text = format!("    discovery: {{ecs: {{cluster: prod, service: app, {keys}}}}}\n");
        read(&GOOD.replacen(targets, &text, 1))
    };
    ecs("port_name: http").expect("valid");
    ecs("container_port: 8080").expect("valid");
    let errors = ecs("container_port: 8080, port_name: http").expect_err("both");
    let errors = errors.to_string();
    assert!(
        errors.contains("discovery.ecs.port_name: the port is chosen by `container_port` already"),
        "{errors}"
    );
    let errors = ecs("port_name: ''").expect_err("empty").to_string();
    assert!(errors.contains("port_name: a name is needed"), "{errors}");
}
