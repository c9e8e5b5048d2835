//! What `check` finds odd in a valid file, and what it does not.

use longshore_config::Config;

fn parse(rules: &str, group: &str, top: &str) -> Config {
    let text = format!(
        "{top}\nlisteners:\n  - name: web\n    address: 127.0.0.1:8080\n    default_action: [{{type: forward, target_group: app}}]\n    rules:\n{rules}\ntarget_groups:\n  - name: app\n    targets: []\n{group}\n  - {{name: next, targets: []}}\n"
    );
    longshore_config::parse("test", &text, &|_| None).unwrap_or_else(|errors| panic!("{errors}"))
}

fn rule(priority: u32, condition: &str) -> String {
    format!(
        "      - {{priority: {priority}, condition: [{condition}], action: [{{type: forward, target_group: app}}]}}\n"
    )
}

fn keys(config: &Config) -> Vec<String> {
    config.warnings().into_iter().map(|(key, _)| key).collect()
}

#[test]
fn a_rule_that_no_request_meets_is_odd() {
    let path = |value: &str| format!("{{path_pattern: {{values: ['{value}']}}}}");
    let host = |value: &str| format!("{{host_header: {{values: ['{value}']}}}}");
    let both = |a: String, b: String| format!("{a}, {b}");
    let cases = [
        (path("/a*"), path("/ab/*"), true),
        (path("/*"), both(path("/x"), host("a.example")), true),
        (host("A.example"), host("a.EXAMPLE"), true),
        (path("/A"), path("/a"), false),
        (path("/a"), path("/a*"), false),
        (path("/a?*"), path("/ab"), false),
        (both(path("/*"), host("a.example")), path("/x"), false),
        (path("/*"), host("a.example"), false),
        (
            "{source_ip: {values: [10.0.0.0/8]}}".to_owned(),
            "{source_ip: {values: [10.1.0.0/16]}}".to_owned(),
            true,
        ),
        (
            "{source_ip: {values: [10.1.0.0/16]}}".to_owned(),
            "{source_ip: {values: [10.0.0.0/8]}}".to_owned(),
            false,
        ),
        (
            "{http_request_method: {values: [GET, PUT]}}".to_owned(),
            "{http_request_method: {values: [PUT]}}".to_owned(),
            true,
        ),
    ];
    for (first, second, odd) in cases {
        // By priority, and not by the place in the file.
        let rules = rule(20, &second) + &rule(10, &first);
        let found = keys(&parse(&rules, "", ""));
        let expected: &[&str] = match odd {
            true => &["listeners[0].rules[0].priority"],
            false => &[],
        };
        assert_eq!(found, expected, "{first} before {second}");
    }
}

#[test]
fn stickiness_with_weight_0_and_limits_that_are_never_reached_are_odd() {
    let sticky = "      - {priority: 1, condition: [{path_pattern: {values: [/x]}}], action: [{type: forward, forward: {target_group: [{name: app, weight: 0}, {name: next, weight: 1}], stickiness: {enabled: true, duration: 60}}}]}\n";
    assert_eq!(
        keys(&parse(sticky, "", "")),
        ["listeners[0].rules[0].action[0].forward.target_group[0].weight"]
    );
    let plain = rule(1, "{path_pattern: {values: [/x]}}");
    let group = "    timeouts: {total: 5s, response_header: 5s, connect: 1s}\n";
    assert_eq!(
        keys(&parse(&plain, group, "")),
        ["target_groups[0].timeouts.response_header"]
    );
    let top = "load_balancer: {connect_timeout: 20s, idle_timeout: 20s}";
    assert_eq!(
        keys(&parse(&plain, "", top)),
        ["load_balancer.connect_timeout"]
    );
    assert!(keys(&parse(&plain, "", "")).is_empty());
}
