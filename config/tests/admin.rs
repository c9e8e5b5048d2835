//! Faults of the keys of the admin server.

use longshore_config::{Config, parse};

fn read(admin: &str) -> Result<Config, String> {
    let text = format!(
        "admin: {{address: '127.0.0.1:9901', {admin}}}
listeners:
  - name: web
    port: 80
    default_action: [{{type: forward, target_group: app}}]
target_groups: [{{name: app}}]
"
    );
    let environment = |name: &str| (name == "OF_A_FILE").then(|| "0123456789abcdef\n".to_owned());
    parse("f.yaml", &text, &environment).map_err(|errors| errors.to_string())
}

#[test]
fn a_token_that_nobody_can_send_is_refused_without_being_shown() {
    let long = format!("'{}'", "x".repeat(1025));
    for token in [
        "'${OF_A_FILE}'",
        "'0123456789 abcdef'",
        "\"0123456789\\tabcdef\"",
        "'0123456789\u{e4}bcdef'",
        long.as_str(),
    ] {
        let got = read(&format!("token: {token}")).expect_err(token);
        assert!(
            got.starts_with("f.yaml:1:43: admin.token: a token has at most 1024 visible ASCII"),
            "{got}"
        );
        assert!(!got.contains("012345"), "{got}");
    }
    let got = read("token: short").expect_err("short");
    assert!(got.contains("a token has at least 16 bytes"), "{got}");
    read("token: 0123456789abcdef").expect("valid");
}

#[test]
fn an_allowed_host_is_a_name_alone() {
    for host in [
        "",
        " ",
        "admin.example:9901",
        "https://admin.example",
        "admin.example/",
        "*.example",
        "[::1]",
        "m\u{fc}nchen.example",
    ] {
        let got = read(&format!("allowed_hosts: [ok, '{host}']")).expect_err(host);
        assert!(
            got.starts_with("f.yaml:1:56: admin.allowed_hosts[1]: no Host is compared equal to")
                && got.contains("write the name of the host alone"),
            "{got}"
        );
    }
    read("allowed_hosts: [admin.example, balancer_1, Admin, 'xn--mnchen-3ya.example.']")
        .expect("valid");
}
