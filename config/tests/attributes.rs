//! Attributes of the load balancer and of listeners: defaults, and faults.

use longshore_config::{Config, TraceParent, XffMode, parse};

fn read(load_balancer: &str, listener: &str) -> Result<Config, String> {
    let text = format!(
        "load_balancer: {{{load_balancer}}}
listeners:
  - name: web
    port: 80
    default_action: [{{type: forward, target_group: app}}]
    {listener}
target_groups: [{{name: app}}]
"
    );
    parse("f.yaml", &text, &|_| None).map_err(|errors| errors.to_string())
}

#[test]
fn defaults_are_those_of_alb() {
    let config = read("", "").expect("valid");
    let lb = &config.load_balancer;
    assert_eq!(lb.xff_header_processing_mode, XffMode::Append);
    assert_eq!(lb.traceparent, TraceParent::Preserve);
    assert!(lb.enable_x_amzn_trace_id.0 && lb.enable_http2.0);
    assert!(!lb.preserve_host_header && !lb.drop_invalid_header_fields);
    assert!(!lb.enable_xff_client_port);
    let listener = &config.listeners[0];
    assert!(listener.routing_http_response_server_enabled.0);
    assert!(
        listener
            .response_headers()
            .iter()
            .all(|(_, _, value)| value.is_none())
    );
    assert!(
        listener
            .tls_header_names()
            .iter()
            .all(|(_, _, name)| name.is_none())
    );
}

#[test]
fn each_response_attribute_is_for_the_field_of_its_name() {
    let all = read("", "").expect("valid").listeners[0]
        .response_headers()
        .map(|(key, name, _)| (key.to_owned(), name));
    for (key, name) in all {
        let value = match name {
            "Access-Control-Allow-Credentials" => "true",
            "Access-Control-Max-Age" => "600",
            "X-Content-Type-Options" => "nosniff",
            _ => "x",
        };
        let spelled = name.to_lowercase().replace('-', "_");
        assert_eq!(key, format!("routing_http_response_{spelled}_header_value"));
        let config = read("", &format!("{key}: \"{value}\"")).expect("valid");
        let set = config.listeners[0].response_headers();
        let set: Vec<_> = set.iter().filter(|(_, _, value)| value.is_some()).collect();
        assert_eq!(set.len(), 1);
        assert_eq!((set[0].1, set[0].2), (name, Some(value)));
    }
}

#[test]
fn faults_of_attributes_name_their_place_and_their_mend() {
    let long = format!(
        "routing_http_response_x_frame_options_header_value: {}",
        "x".repeat(1025)
    );
    let cases = [
        (
            "xff_header_processing_mode: keep",
            "",
            "f.yaml:1:45: load_balancer.xff_header_processing_mode: unknown value `keep`",
        ),
        (
            "xff_header_processing_mode: remove, enable_xff_client_port: true",
            "",
            "load_balancer.enable_xff_client_port: the port is written only with `xff_header_processing_mode: append`",
        ),
        (
            "server_header: ''",
            "",
            "load_balancer.server_header: expected 1 to 128 visible ASCII characters",
        ),
        (
            "preserve_hostheader: true",
            "",
            "did you mean `preserve_host_header`?",
        ),
        ("", long.as_str(), "expected at most 1024 letters, digits"),
        (
            "",
            "routing_http_response_content_security_policy_header_value: 'a\"b'",
            "f.yaml:6:65: listeners[0].routing_http_response_content_security_policy_header_value: expected at most",
        ),
        (
            "",
            "routing_http_response_access_control_allow_credentials_header_value: 'yes'",
            "expected `true`, which is the only value that browsers know",
        ),
        (
            "",
            "routing_http_response_access_control_max_age_header_value: 1h",
            "expected a number of seconds",
        ),
        (
            "",
            "routing_http_request_x_amzn_tls_version_header_name: X-Tls",
            "only an HTTPS listener has this field",
        ),
        (
            "",
            "routing_http_request_x_amzn_tls_version_header_name: 'a b'",
            "is no name of a header",
        ),
        (
            "",
            "routing_http_request_x_amzn_tls_version_header_name: A
    routing_http_request_x_amzn_tls_cipher_suite_header_name: a",
            "another field has the name \"a\" already",
        ),
    ];
    for (load_balancer, listener, expected) in cases {
        let got = read(load_balancer, listener).expect_err(expected);
        assert!(
            got.contains(expected),
            "{load_balancer} {listener} gave {got}"
        );
    }
}

#[test]
fn a_name_that_frames_a_message_is_refused() {
    let key = "routing_http_request_x_amzn_mtls_clientcert_leaf_header_name";
    for name in [
        "Transfer-Encoding",
        "transfer_encoding",
        "Content-Length",
        "HOST",
        "Connection",
        "X-Forwarded-For",
    ] {
        let got = read("", &format!("{key}: {name}")).expect_err(name);
        let expected = format!("listeners[0].{key}: `{name}` cannot be the name");
        assert!(got.contains(&expected), "{got}");
        let mend = format!("such as `X-{name}`");
        assert!(got.contains(&mend), "{got}");
    }
}

#[test]
fn two_fields_about_tls_have_two_names_also_for_who_reads_dashes_as_underscores() {
    let version = "routing_http_request_x_amzn_tls_version_header_name";
    let suite = "routing_http_request_x_amzn_tls_cipher_suite_header_name";
    let twice = "another field has the name";
    for (listener, key) in [
        (format!("{version}: X-Tls\n    {suite}: x_tls"), suite),
        // The other has the name that it has at ALB.
        (format!("{version}: X_Amzn_Tls_Cipher_Suite"), version),
        (format!("{suite}: X-AMZN-TLS-VERSION"), suite),
        (format!("{suite}: x-amzn-mtls-clientcert"), suite),
    ] {
        let got = read("", &listener).expect_err("twice");
        assert!(
            got.contains(&format!("listeners[0].{key}: {twice}")),
            "{got}"
        );
        assert_eq!(got.matches(twice).count(), 1, "{got}");
    }
    for listener in [
        format!("{version}: X-Amzn-Tls-Version\n    {suite}: X-Suite"),
        format!("{version}: x-amzn-tls-cipher-suite\n    {suite}: x-amzn-tls-version"),
    ] {
        let got = read("", &listener).expect_err("no HTTPS");
        assert!(!got.contains(twice), "{got}");
    }
}

#[test]
fn no_two_logs_have_the_same_file() {
    let log = |name: &str, path: &str| format!("{name}: {{path: {path}}}");
    let all = [
        log("access_logs", "/a"),
        log("connection_logs", "/b"),
        log("health_check_logs", "/c"),
    ];
    assert!(read(&all.join(", "), "").is_ok());
    let two = [log("access_logs", "/a"), log("health_check_logs", "/a")];
    let error = read(&two.join(", "), "").expect_err("two in one");
    assert!(
        error.contains("load_balancer.health_check_logs.path: `access_logs` has this file already"),
        "{error}"
    );
    let off = "access_logs: {path: /a, enabled: false}, connection_logs: {path: /a}";
    assert!(read(off, "").is_ok());
}
