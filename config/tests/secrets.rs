//! No message shows a secret, whatever is wrong with it.

use longshore_config::parse;

fn errors(admin: &str, runtime: &str, policy: &str, check: &str) -> String {
    let text = format!(
        "admin: {{address: '127.0.0.1:9901', {admin}}}
runtime: {{{runtime}}}
listeners:
  - name: web
    port: 80
    default_action: [{{type: forward, target_group: app}}]
    policy: {{{policy}}}
target_groups: [{{name: app, health_check: {{{check}}}}}]
"
    );
    match parse("f.yaml", &text, &|_| None) {
        Ok(_) => panic!("{text} was accepted"),
        Err(errors) => errors.to_string(),
    }
}

#[test]
fn a_secret_that_reads_as_something_else_is_not_shown() {
    // A number in other digits, one with a point, one beyond all integers, and one of YAML's truths.
    for (secret, kind) in [
        ("0x1234567890123456", "a number"),
        ("12345678.90123456", "a number"),
        ("123456789012345678901234567890", "a number"),
        ("yes", "a truth value"),
    ] {
        let expected = format!("expected a text, found {kind}; put it in quotes");
        for (got, key) in [
            (
                errors(&format!("token: {secret}"), "", "", ""),
                "admin.token",
            ),
            (
                errors("", &format!("cookie_keys: [{secret}]"), "", ""),
                "runtime.cookie_keys[0]",
            ),
            (
                errors("", &format!("session_ticket_keys: [{secret}]"), "", ""),
                "runtime.session_ticket_keys[0]",
            ),
            (
                errors(
                    "",
                    "",
                    &format!("basic_auth: {{users: {{ali: {secret}}}}}"),
                    "",
                ),
                "listeners[0].policy.basic_auth.users.ali",
            ),
            (
                errors(
                    "",
                    "",
                    &format!("request_headers: {{set: {{X-Origin: {secret}}}}}"),
                    "",
                ),
                "listeners[0].policy.request_headers.set.X-Origin",
            ),
            (
                errors("", "", "", &format!("headers: {{X: {secret}}}")),
                "target_groups[0].health_check.headers.X",
            ),
        ] {
            assert!(got.contains(&format!("{key}: {expected}")), "{got}");
            assert!(!got.contains(secret) && !got.contains("1234"), "{got}");
        }
    }
}

#[test]
fn a_secret_in_place_of_a_list_or_a_mapping_is_not_shown() {
    for secret in ["hunter2hunter2", "31415926", "3141.5926"] {
        for got in [
            errors("", &format!("cookie_keys: {secret}"), "", ""),
            errors("", "", &format!("basic_auth: {{users: {secret}}}"), ""),
            errors("", "", "", &format!("headers: {secret}")),
        ] {
            assert!(
                got.contains("expected a list, found a ")
                    || got.contains("expected keys and values, found a "),
                "{got}"
            );
            assert!(!got.contains("hunter2") && !got.contains("31415"), "{got}");
        }
    }
}

#[test]
fn a_secret_of_digits_is_a_text() {
    let text = "admin: {address: '127.0.0.1:9901', token: 1234567890123456}
listeners: [{name: web, port: 80, default_action: [{type: forward, target_group: app}]}]
target_groups: [{name: app}]
";
    let config = parse("f.yaml", text, &|_| None).expect("valid");
    let token = config.admin.and_then(|admin| admin.token);
    let token = token.as_ref().map(longshore_config::Secret::reveal);
    assert_eq!(token, Some("1234567890123456"));
}
