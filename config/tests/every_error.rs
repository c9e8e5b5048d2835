//! One error does not hide another, and one cause makes one error.

use longshore_config::parse;

#[track_caller]
fn errors(text: &str) -> String {
    let environment = |name: &str| (name == "TOKEN").then(|| "0123456789abcdef".to_owned());
    match parse("f.yaml", text, &environment) {
        Ok(_) => panic!("{text} was accepted"),
        Err(errors) => errors.to_string(),
    }
}

const GROUPS: &str = "target_groups: [{name: app}]\n";

#[test]
fn an_item_without_a_key_is_checked_nevertheless() {
    let got = errors(
        "\
listeners:
  - port: 80
    default_action: [{type: forward, target_group: gone}]
    rules:
      - condition: []
        action: [{type: forward, target_group: lost}]
      - priority: ten
        condition: [{path_pattern: {values: [/a]}}]
        action: [{type: forward, target_group: app, timeouts: 5}]
      - priority: 1
        condition: [{path_pattern: {values: [/b]}}]
target_groups:
  - name: app
    targets: [{port: 80}, {address: 10.0.0.1}, {address: 10.0.0.1, port: 80}, {address: 10.0.0.1, port: 80}]
    health_check: {timeout: 10, interval: 5}
  - protocol: HTTP
    stickiness: {enabled: true, type: app_cookie}
",
    );
    let expected = "\
f.yaml:2:5: listeners[0]: the key `name` is missing
f.yaml:3:52: listeners[0].default_action[0].target_group: there is no target group \"gone\"; add it to `target_groups`
f.yaml:5:9: listeners[0].rules[0]: the key `priority` is missing
f.yaml:5:20: listeners[0].rules[0].condition: a rule needs at least one condition; what matches all goes into `default_action`
f.yaml:6:48: listeners[0].rules[0].action[0].target_group: there is no target group \"lost\"; add it to `target_groups`
f.yaml:7:19: listeners[0].rules[1].priority: expected a whole number from 1 to 50000, found \"ten\"
f.yaml:9:63: listeners[0].rules[1].action[0].timeouts: expected keys and values, found 5
f.yaml:10:9: listeners[0].rules[2]: the key `action` is missing
f.yaml:14:15: target_groups[0].targets[0]: the key `address` is missing
f.yaml:14:27: target_groups[0].targets[1]: the key `port` is missing
f.yaml:14:79: target_groups[0].targets[3]: 10.0.0.1:80 is that of targets[2] already
f.yaml:15:29: target_groups[0].health_check.timeout: a check may not take longer than the `interval` between two of them
f.yaml:16:5: target_groups[1]: the key `name` is missing
f.yaml:17:17: target_groups[1].stickiness";
    assert!(got.starts_with(expected), "{got}");
    assert_eq!(got.lines().count(), expected.lines().count(), "{got}");
}

#[test]
fn one_word_spelled_wrong_is_one_error_and_what_is_below_it_is_checked() {
    let listener = |list: &str, name: &str, group: &str| {
        format!(
            "{list}:\n  - {name}: web\n    port: 80\n    default_action: [{{type: forward, target_group: {group}}}]\n{GROUPS}"
        )
    };
    assert_eq!(
        errors(&listener("listener", "name", "app")),
        "f.yaml:1:1: listener: unknown key `listener`; did you mean `listeners`?"
    );
    assert_eq!(
        errors(&listener("listener", "nmae", "gone")),
        "\
f.yaml:1:1: listener: unknown key `listener`; did you mean `listeners`?
f.yaml:2:5: listeners[0].nmae: unknown key `nmae`; did you mean `name`?
f.yaml:4:52: listeners[0].default_action[0].target_group: there is no target group \"gone\"; add it to `target_groups`"
    );
    // The groups are known by their names, though their list is not.
    let text = listener("listeners", "name", "app").replace("target_groups", "target_group_s");
    assert_eq!(
        errors(&text),
        "f.yaml:5:1: target_group_s: unknown key `target_group_s`; did you mean `target_groups`?"
    );
}

#[test]
fn a_file_without_listeners_is_checked() {
    assert_eq!(
        errors("target_groups: [{name: app}, {name: app}]\n"),
        "\
f.yaml:1:1: the key `listeners` is missing
f.yaml:1:37: target_groups[1].name: the name \"app\" is that of target_groups[0] already"
    );
}

#[test]
fn a_variable_that_is_not_set_is_one_error_wherever_it_stands() {
    for (place, listener, group) in [
        ("listeners[0].port", "port: ${NOPE}", "name: app"),
        ("listeners[0].address", "address: '${NOPE}:80'", "name: app"),
        (
            "listeners[0].protocol",
            "port: 80\n    protocol: ${NOPE}\n    certificates: [{cert: a, key: b}]",
            "name: app",
        ),
        (
            "target_groups[0].targets[0].port",
            "port: 80",
            "name: app, targets: [{address: 10.0.0.1, port: '${NOPE}'}]",
        ),
        (
            "target_groups[0].targets[0].address",
            "port: 80",
            "name: app, targets: [{address: '${NOPE}', port: 1}]",
        ),
        (
            "target_groups[0].health_check.interval",
            "port: 80",
            "name: app, health_check: {interval: '${NOPE}'}",
        ),
        (
            "target_groups[0].health_check.enabled",
            "port: 80",
            "name: app, health_check: {enabled: '${NOPE}'}",
        ),
        (
            "target_groups[0].protocol_version",
            "port: 80",
            "name: app, protocol_version: '${NOPE}', health_check: {grpc_service: a}",
        ),
    ] {
        let got = errors(&format!(
            "listeners:\n  - name: web\n    {listener}\n    default_action: [{{type: forward, target_group: app}}]\ntarget_groups: [{{{group}}}]\n"
        ));
        let expected = format!("{place}: the environment variable NOPE is not set");
        assert!(
            got.ends_with(&expected) && got.lines().count() == 1,
            "{got}"
        );
    }
}

#[test]
fn a_word_that_decides_about_its_neighbours_does_not_make_them_wrong() {
    let text = format!(
        "\
listeners:
  - name: web
    port: 80
    protocol: HTPS
    certificates: [{{cert: a, key: b}}]
    default_action: [{{typ: fixed_response, fixed_response: {{status_code: 404}}}}, {{fixed_response: {{status_code: 404}}}}]
    rules: [{{priority: 1, condition: [], action: [{{type: forward, target_group: app}}]}}]
{GROUPS}"
    );
    let got = errors(&text);
    assert_eq!(
        got,
        "\
f.yaml:4:15: listeners[0].protocol: unknown value `HTPS`; did you mean `HTTPS`?
f.yaml:6:23: listeners[0].default_action[0].typ: unknown key `typ`; did you mean `type`?
f.yaml:6:81: listeners[0].default_action[1]: the key `type` is missing
f.yaml:7:38: listeners[0].rules[0].condition: a rule needs at least one condition; what matches all goes into `default_action`"
    );
}

#[test]
fn a_token_that_is_not_known_is_a_token() {
    let text = format!(
        "admin: {{address: '0.0.0.0:9901', token: '${{NOPE}}'}}
listeners: [{{name: web, port: 80, default_action: [{{type: forward, target_group: app}}]}}]
{GROUPS}"
    );
    assert_eq!(
        errors(&text),
        "f.yaml:1:41: admin.token: the environment variable NOPE is not set"
    );
}
