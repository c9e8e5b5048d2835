//! ALB's target group: each attribute with its default, its bounds, and what is beyond them. Where
//! bounds are wider than ALB's, ALB's own are tested as well.

use longshore_config::{
    Algorithm, AnomalyMitigation, CheckMethod, CheckProtocol, CrossZone, ProtocolVersion,
    StickinessType, TargetGroup, TargetProtocol, parse,
};

/// A group with more keys, in the form `{…}`.
fn group(keys: &str) -> Result<TargetGroup, String> {
    let text = format!(
        "runtime: {{zone: a}}\nlisteners: [{{name: web, port: 80, default_action: [{{type: forward, target_group: app}}]}}]\n\
         target_groups: [{{name: app, targets: [{{address: 10.0.0.1, port: 80}}], {keys}}}]\n"
    );
    let mut config = parse("f.yaml", &text, &|_| None).map_err(|errors| errors.to_string())?;
    Ok(config.target_groups.remove(0))
}

/// An attribute: how it is written around its value, what is read from it, and what is allowed.
struct Attribute {
    name: &'static str,
    keys: fn(&str) -> String,
    read: fn(&TargetGroup) -> String,
    default: &'static str,
    /// As written, and as read.
    good: &'static [(&'static str, &'static str)],
    bad: &'static [&'static str],
}

fn seconds(time: std::time::Duration) -> String {
    time.as_secs_f64().to_string()
}

fn or_off(value: Option<u64>) -> String {
    value.map_or_else(|| "off".to_owned(), |value| value.to_string())
}

fn check(group: &TargetGroup) -> longshore_config::Check {
    group
        .check(group.protocol_version.unwrap_or_default())
        .expect("checks are on")
}

fn codes(group: &TargetGroup) -> String {
    let matcher = check(group).matcher;
    let found: Vec<u16> = (0..=700).filter(|code| matcher.matches(*code)).collect();
    match &*found {
        [first, .., last] => format!("{first}..{last}: {}", found.len()),
        found => format!("{found:?}"),
    }
}

const ATTRIBUTES: &[Attribute] = &[
    Attribute {
        name: "deregistration_delay.timeout_seconds",
        keys: |value| format!("deregistration_delay: {value}"),
        read: |group| seconds(group.deregistration_delay.get()),
        default: "300",
        good: &[("0", "0"), ("3600", "3600")],
        bad: &["-1", "3601"],
    },
    Attribute {
        name: "slow_start.duration_seconds",
        keys: |value| format!("slow_start: {value}"),
        read: |group| seconds(group.slow_start.get()),
        default: "0",
        good: &[("0", "0"), ("30", "30"), ("900", "900")],
        bad: &["-1", "1", "29", "901"],
    },
    Attribute {
        name: "load_balancing.algorithm.type",
        keys: |value| format!("load_balancing_algorithm_type: {value}"),
        read: |group| match group.load_balancing_algorithm_type {
            Algorithm::RoundRobin => "round_robin".to_owned(),
            Algorithm::LeastOutstandingRequests => "least_outstanding_requests".to_owned(),
            Algorithm::WeightedRandom => "weighted_random".to_owned(),
            other => format!("{other:?}"),
        },
        default: "round_robin",
        good: &[
            ("round_robin", "round_robin"),
            ("least_outstanding_requests", "least_outstanding_requests"),
            ("weighted_random", "weighted_random"),
        ],
        bad: &["least_connections", "ROUND_ROBIN"],
    },
    Attribute {
        name: "load_balancing.algorithm.anomaly_mitigation",
        keys: |value| {
            format!(
                "load_balancing_algorithm_type: weighted_random, load_balancing_algorithm_anomaly_mitigation: {value}"
            )
        },
        read: |group| match group.load_balancing_algorithm_anomaly_mitigation {
            AnomalyMitigation::On => "on".to_owned(),
            AnomalyMitigation::Off => "off".to_owned(),
        },
        default: "off",
        good: &[("on", "on"), ("off", "off")],
        bad: &["maybe", "1"],
    },
    Attribute {
        name: "load_balancing.cross_zone.enabled",
        keys: |value| format!("load_balancing_cross_zone_enabled: {value}"),
        read: |group| match group.load_balancing_cross_zone_enabled {
            CrossZone::LoadBalancer => "use_load_balancer_configuration".to_owned(),
            CrossZone::On => "true".to_owned(),
            CrossZone::Off => "false".to_owned(),
        },
        default: "use_load_balancer_configuration",
        good: &[
            ("true", "true"),
            ("false", "false"),
            (
                "use_load_balancer_configuration",
                "use_load_balancer_configuration",
            ),
        ],
        bad: &["on_demand", "1"],
    },
    Attribute {
        name: "stickiness.enabled",
        keys: |value| format!("stickiness: {{enabled: {value}}}"),
        read: |group| {
            let on = group.stickiness.as_ref().is_some_and(|with| with.enabled);
            on.to_string()
        },
        default: "false",
        good: &[("true", "true"), ("false", "false")],
        bad: &["maybe", "1"],
    },
    Attribute {
        name: "stickiness.type",
        keys: |value| format!("stickiness: {{enabled: true, type: {value}, cookie_name: id}}"),
        read: |group| match group
            .stickiness
            .as_ref()
            .map_or_else(Default::default, |with| with.kind)
        {
            StickinessType::LbCookie => "lb_cookie".to_owned(),
            StickinessType::AppCookie => "app_cookie".to_owned(),
        },
        default: "lb_cookie",
        good: &[("lb_cookie", "lb_cookie"), ("app_cookie", "app_cookie")],
        bad: &["source_ip", "cookie"],
    },
    Attribute {
        name: "stickiness.lb_cookie.duration_seconds",
        keys: |value| format!("stickiness: {{enabled: true, cookie_duration: {value}}}"),
        read: duration,
        default: "86400",
        good: &[("1", "1"), ("604800", "604800")],
        bad: &["0", "604801"],
    },
    Attribute {
        name: "stickiness.app_cookie.duration_seconds",
        keys: |value| {
            format!(
                "stickiness: {{enabled: true, type: app_cookie, cookie_name: id, cookie_duration: {value}}}"
            )
        },
        read: duration,
        default: "86400",
        good: &[("1", "1"), ("604800", "604800")],
        bad: &["0", "604801"],
    },
    Attribute {
        name: "stickiness.app_cookie.cookie_name",
        keys: |value| {
            format!("stickiness: {{enabled: true, type: app_cookie, cookie_name: {value}}}")
        },
        read: |group| {
            let with = group.stickiness.clone();
            with.and_then(|with| with.cookie_name).unwrap_or_default()
        },
        default: "",
        good: &[("JSESSIONID", "JSESSIONID")],
        bad: &["AWSALB", "AWSALBAPP-0", "AWSALBTG", "'a b'", "''"],
    },
    Attribute {
        name: "target_group_health.dns_failover.minimum_healthy_targets.count",
        keys: |value| {
            format!(
                "target_group_health: {{dns_failover: {{minimum_healthy_targets_count: {value}}}}}"
            )
        },
        // Without the key `dns_failover` nothing is asked; with it, ALB's default.
        read: |group| match group.readiness_minimum() {
            Some(minimum) => or_off(minimum.count),
            None => "no key".to_owned(),
        },
        default: "no key",
        good: &[
            ("1", "1"),
            ("'2'", "2"),
            ("off", "off"),
            ("100000", "100000"),
        ],
        bad: &["0", "-1", "100001", "on"],
    },
    Attribute {
        name: "target_group_health.dns_failover.minimum_healthy_targets.percentage",
        keys: |value| {
            format!(
                "target_group_health: {{dns_failover: {{minimum_healthy_targets_percentage: {value}}}}}"
            )
        },
        read: |group| {
            or_off(
                group
                    .readiness_minimum()
                    .and_then(|minimum| minimum.percentage),
            )
        },
        default: "off",
        good: &[("off", "off"), ("'off'", "off"), ("1", "1"), ("100", "100")],
        bad: &["0", "101", "on"],
    },
    Attribute {
        name: "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count",
        keys: |value| {
            format!(
                "target_group_health: {{unhealthy_state_routing: {{minimum_healthy_targets_count: {value}}}}}"
            )
        },
        read: |group| or_off(group.routing_minimum().count),
        default: "1",
        good: &[("1", "1"), ("100000", "100000")],
        bad: &["0", "100001", "off"],
    },
    Attribute {
        name: "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage",
        keys: |value| {
            format!(
                "target_group_health: {{unhealthy_state_routing: {{minimum_healthy_targets_percentage: {value}}}}}"
            )
        },
        read: |group| or_off(group.routing_minimum().percentage),
        default: "off",
        good: &[("off", "off"), ("1", "1"), ("100", "100"), ("'50'", "50")],
        bad: &["0", "101", "on"],
    },
    Attribute {
        name: "protocol",
        keys: |value| format!("protocol: {value}"),
        read: |group| match group.protocol {
            TargetProtocol::Http => "HTTP".to_owned(),
            TargetProtocol::Https => "HTTPS".to_owned(),
        },
        default: "HTTP",
        good: &[("HTTP", "HTTP")],
        bad: &["TCP", "http"],
    },
    Attribute {
        name: "HealthCheckEnabled",
        keys: |value| format!("health_check: {{enabled: {value}}}"),
        read: |group| group.check(ProtocolVersion::Http1).is_some().to_string(),
        default: "true",
        good: &[("true", "true"), ("false", "false")],
        bad: &["1", "maybe"],
    },
    Attribute {
        name: "HealthCheckProtocol",
        keys: |value| format!("health_check: {{protocol: {value}}}"),
        read: |group| match check(group).protocol {
            CheckProtocol::Http => "HTTP".to_owned(),
            CheckProtocol::Https => "HTTPS".to_owned(),
            CheckProtocol::Tcp => "TCP".to_owned(),
        },
        default: "HTTP",
        good: &[("HTTP", "HTTP"), ("HTTPS", "HTTPS"), ("TCP", "TCP")],
        bad: &["UDP", "https"],
    },
    Attribute {
        name: "the protocol version of checks",
        keys: |value| format!("health_check: {{protocol_version: {value}}}"),
        read: |group| match check(group).version {
            ProtocolVersion::Http1 => "HTTP1".to_owned(),
            ProtocolVersion::Http2 => "HTTP2".to_owned(),
            ProtocolVersion::Grpc => "GRPC".to_owned(),
        },
        default: "HTTP1",
        good: &[("HTTP1", "HTTP1"), ("HTTP2", "HTTP2"), ("GRPC", "GRPC")],
        bad: &["HTTP3", "grpc"],
    },
    Attribute {
        name: "HealthCheckPort",
        keys: |value| format!("health_check: {{port: {value}}}"),
        read: |group| group.check_port(80).to_string(),
        default: "80",
        good: &[
            ("traffic-port", "80"),
            ("1", "1"),
            ("65535", "65535"),
            ("'8080'", "8080"),
        ],
        bad: &["0", "65536", "traffic", "-1"],
    },
    Attribute {
        name: "HealthCheckPath",
        keys: |value| format!("health_check: {{path: {value}}}"),
        read: |group| check(group).path,
        default: "/",
        good: &[("/", "/"), ("/health?deep=1", "/health?deep=1")],
        bad: &["''", "health", "'/a b'", "'/a#b'"],
    },
    Attribute {
        name: "HealthCheckPath of gRPC",
        keys: |value| format!("health_check: {{protocol_version: GRPC, {value}}}"),
        read: |group| check(group).path,
        default: "/",
        good: &[
            ("enabled: true", "/AWS.ALB/healthcheck"),
            ("path: /my.Service/Check", "/my.Service/Check"),
            ("grpc_service: my.Service", "/grpc.health.v1.Health/Check"),
            ("grpc_service: ''", "/grpc.health.v1.Health/Check"),
        ],
        bad: &[
            "path: my.Service/Check",
            "path: /x, grpc_service: my.Service",
        ],
    },
    Attribute {
        name: "HealthCheckIntervalSeconds",
        keys: |value| format!("health_check: {{interval: {value}}}"),
        read: |group| seconds(check(group).interval),
        default: "30",
        // ALB: 5 to 300.
        good: &[("100ms", "0.1"), ("1", "1"), ("5", "5"), ("300", "300")],
        bad: &["0", "99ms", "301"],
    },
    Attribute {
        name: "HealthCheckTimeoutSeconds",
        keys: |value| format!("health_check: {{interval: 300, timeout: {value}}}"),
        read: |group| seconds(check(group).timeout),
        default: "5",
        // ALB: 2 to 120.
        good: &[("100ms", "0.1"), ("2", "2"), ("120", "120")],
        bad: &["0", "99ms", "121"],
    },
    Attribute {
        name: "HealthCheckTimeoutSeconds with a short interval",
        keys: |value| format!("health_check: {{interval: 1, {value}}}"),
        read: |group| seconds(check(group).timeout),
        default: "5",
        good: &[
            ("enabled: true", "1"),
            ("timeout: 1", "1"),
            ("timeout: 0.5", "0.5"),
        ],
        bad: &["timeout: 1001ms"],
    },
    Attribute {
        name: "HealthyThresholdCount",
        keys: |value| format!("health_check: {{healthy_threshold: {value}}}"),
        read: |group| group.health_check.healthy_threshold.get().to_string(),
        default: "5",
        // ALB: 2 to 10.
        good: &[("1", "1"), ("2", "2"), ("10", "10")],
        bad: &["0", "11"],
    },
    Attribute {
        name: "UnhealthyThresholdCount",
        keys: |value| format!("health_check: {{unhealthy_threshold: {value}}}"),
        read: |group| group.health_check.unhealthy_threshold.get().to_string(),
        default: "2",
        // ALB: 2 to 10.
        good: &[("1", "1"), ("2", "2"), ("10", "10")],
        bad: &["0", "11"],
    },
    Attribute {
        name: "Matcher.HttpCode",
        keys: |value| format!("health_check: {{matcher: {value}}}"),
        read: codes,
        default: "[200]",
        // ALB: 200 to 499.
        good: &[
            ("200", "[200]"),
            ("'200,202'", "200..202: 2"),
            ("'200-499'", "200..499: 300"),
            ("'503'", "[503]"),
            ("'100-599'", "100..599: 500"),
        ],
        bad: &["99", "600", "'12'", "'299-200'", "'200,'", "''", "ok"],
    },
    Attribute {
        name: "Matcher.GrpcCode",
        keys: |value| format!("health_check: {{protocol_version: GRPC, {value}}}"),
        read: codes,
        default: "[200]",
        good: &[
            ("enabled: true", "[12]"),
            ("matcher: 0", "[0]"),
            ("matcher: '0-99'", "0..99: 100"),
            ("matcher: '0,12'", "0..12: 2"),
            // Not ALB's 12, which no service answers that implements the protocol.
            ("path: /grpc.health.v1.Health/Check", "[0]"),
            ("grpc_service: a.B", "[0]"),
        ],
        bad: &["matcher: 100", "matcher: 200", "matcher: '-1'"],
    },
    Attribute {
        name: "the method of checks",
        keys: |value| format!("health_check: {{method: {value}}}"),
        read: |group| check(group).method.name().to_owned(),
        default: "GET",
        good: &[
            ("GET", "GET"),
            ("HEAD", "HEAD"),
            ("OPTIONS", "OPTIONS"),
            ("POST", "POST"),
        ],
        bad: &["get", "DELETE"],
    },
];

fn duration(group: &TargetGroup) -> String {
    let with = group.stickiness.as_ref();
    seconds(
        with.map_or_else(Default::default, |with| with.cookie_duration)
            .get(),
    )
}

#[test]
fn each_attribute_has_albs_default_and_takes_what_alb_takes_and_nothing_beyond_its_bounds() {
    let bare = group("protocol: HTTP").expect("valid");
    for attribute in ATTRIBUTES {
        let name = attribute.name;
        assert_eq!((attribute.read)(&bare), attribute.default, "{name}");
        for (written, read) in attribute.good {
            let keys = (attribute.keys)(written);
            let found = group(&keys).unwrap_or_else(|errors| panic!("{name}: {keys}\n{errors}"));
            assert_eq!((attribute.read)(&found), *read, "{name}: {written}");
        }
        for written in attribute.bad {
            let keys = (attribute.keys)(written);
            assert!(group(&keys).is_err(), "{name}: {written} was accepted");
        }
    }
}

#[test]
fn the_longest_path_of_a_check_is_albs() {
    let path = |len: usize| format!("health_check: {{path: /{}}}", "x".repeat(len - 1));
    group(&path(1024)).expect("1,024 characters");
    group(&path(1025)).expect_err("one more");
}

#[test]
fn a_path_of_a_check_has_only_what_can_be_sent() {
    let path = |path: &str| group(&format!("health_check: {{path: '{path}'}}"));
    // All other visible characters, of which YAML wants the single quote twice.
    let rest = "!$%&''()*+,-./09:;=@AZ[\\]^_az{|}~";
    for good in [format!("/{rest}\""), format!("/?{rest}`?/")] {
        path(&good).unwrap_or_else(|errors| panic!("{good}: {errors}"));
    }
    for (bad, character, mend) in [
        ("/a<b", "<", "%3C"),
        ("/a>b", ">", "%3E"),
        ("/a`b", "`", "%60"),
        ("/a#b", "#", "%23"),
        ("/a?b\"", "\"", "%22"),
        ("/a?b<c", "<", "%3C"),
        ("/a?b>c", ">", "%3E"),
        ("/a?b#c", "#", "%23"),
    ] {
        let text = path(bad).expect_err(bad);
        let error = format!("health_check.path: `{character}` cannot be sent there; write {mend}");
        assert!(text.contains(&error), "{text}");
    }
}

#[test]
fn dns_failover_has_albs_defaults_and_asks_for_no_less_than_routing() {
    let health = |keys: &str| group(&format!("target_group_health: {{{keys}}}"));
    let minimum = |keys: &str| health(keys).expect(keys).readiness_minimum().expect(keys);
    assert_eq!(minimum("dns_failover: {}").count, Some(1));
    assert_eq!(minimum("dns_failover: {}").percentage, None);
    let three = "unhealthy_state_routing: {minimum_healthy_targets_count: 3, minimum_healthy_targets_percentage: 50}";
    assert_eq!(
        minimum(&format!("{three}, dns_failover: {{}}")).count,
        Some(3)
    );
    for (dns, error) in [
        ("minimum_healthy_targets_count: 3", None),
        ("minimum_healthy_targets_count: off", None),
        (
            "minimum_healthy_targets_count: 2",
            Some("2 is less than the 3"),
        ),
        ("minimum_healthy_targets_percentage: 50", None),
        (
            "minimum_healthy_targets_percentage: 49",
            Some("49 is less than the 50"),
        ),
    ] {
        let found = health(&format!("{three}, dns_failover: {{{dns}}}"));
        match error {
            None => drop(found.expect(dns)),
            Some(error) => {
                let text = found.expect_err(dns);
                assert!(text.contains(error), "{text}");
                assert!(
                    text.contains("target_group_health.dns_failover.minimum"),
                    "{text}"
                );
            }
        }
    }
}

#[test]
fn each_fault_of_a_check_names_its_place_and_its_mend() {
    let long = "x".repeat(4097);
    for (keys, error) in [
        (
            "protocol: TCP, path: /x",
            "health_check.path: `protocol: TCP` only connects",
        ),
        (
            "protocol: TCP, matcher: 200",
            "health_check.matcher: `protocol: TCP` only connects",
        ),
        (
            "protocol: TCP, body: {contains: x}",
            "health_check.body: `protocol: TCP` only connects",
        ),
        (
            "grpc_service: x",
            "health_check.grpc_service: only `protocol_version: GRPC` has services",
        ),
        (
            "protocol_version: GRPC, method: HEAD",
            "health_check.method: a gRPC check is always a POST",
        ),
        (
            "protocol_version: GRPC, body: {contains: x}",
            "health_check.body: the body of a gRPC check",
        ),
        (
            "protocol_version: GRPC, matcher: 200",
            "health_check.matcher: expected gRPC codes from 0 to 99",
        ),
        (
            "matcher: 12",
            "health_check.matcher: expected status codes from 100 to 599",
        ),
        (
            "method: HEAD, body: {contains: x}",
            "health_check.body: a response to HEAD has no body",
        ),
        (
            "body: {}",
            "health_check.body: exactly one of the keys `contains` and `regex`",
        ),
        (
            "body: {contains: x, regex: z}",
            "health_check.body: exactly one of the keys",
        ),
        (
            "body: {contains: ''}",
            "health_check.body.contains: expected 1 to 4096 bytes",
        ),
        (
            "body: {regex: '('}",
            "health_check.body.regex: \"(\" is no regular expression",
        ),
        ("headers: {'a b': x}", "is no name of a header field"),
        ("headers: {Connection: close}", "belongs to the connection"),
        ("headers: {X: a, x: b}", "this field is there already"),
        (
            "headers: {X: \"a\\nb\"}",
            "visible ASCII characters and spaces",
        ),
        (
            &format!("headers: {{X: {long}}}"),
            "a value has at most 4096",
        ),
        (
            "interval: 2, timeout: 3",
            "health_check.timeout: a check may not take longer",
        ),
        ("protocl: HTTP", "did you mean `protocol`?"),
    ] {
        let text = group(&format!("health_check: {{{keys}}}")).expect_err(keys);
        assert!(text.contains(error), "{keys}:\n{text}{error}");
        assert!(text.starts_with("f.yaml:"), "{text}");
    }
}

#[test]
fn what_a_check_sends_is_read_and_its_headers_are_not_shown() {
    let keys = "health_check: {method: POST, headers: {Host: app.internal, Authorization: Bearer secret}, body: {regex: '^ok'}}";
    let found = check(&group(keys).expect("valid"));
    assert_eq!(found.method, CheckMethod::Post);
    let headers: Vec<(&str, &str)> = found
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.reveal()))
        .collect();
    let wanted = [("authorization", "Bearer secret"), ("host", "app.internal")];
    assert_eq!(headers, wanted);
    assert!(!format!("{found:?}").contains("secret"));
    assert_eq!(found.body.expect("there").regex.as_deref(), Some("^ok"));
}

#[test]
fn a_zonal_shift_names_zones() {
    let read = |away: &str| {
        let text = format!(
            "load_balancer: {{zonal_shift: {{away_from: {away}}}}}\nlisteners: [{{name: web, port: 80, default_action: [{{type: forward, target_group: app}}]}}]\ntarget_groups: [{{name: app}}]\n"
        );
        parse("f.yaml", &text, &|_| None).map_err(|errors| errors.to_string())
    };
    let config = read("[eu-central-1a]").expect("valid");
    assert_eq!(
        config.load_balancer.zonal_shift.away_from,
        ["eu-central-1a"]
    );
    let error = read("['']").expect_err("no zone");
    assert!(
        error.contains("load_balancer.zonal_shift.away_from[0]: a zone's name has"),
        "{error}"
    );
    read(&format!("[{}]", "a,".repeat(33))).expect_err("too many");
}
