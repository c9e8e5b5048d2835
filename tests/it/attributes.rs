//! ALB's load balancer and listener attributes over real sockets.

use longshore_tests::balancer::{Running, start};
use longshore_tests::origin::Origin;
use longshore_tests::wire::{Response, Wire};
use longshore_tests::within;

/// A balancer with one target, attributes of the load balancer, and more keys of the listener.
async fn balancer(load_balancer: &str, listener: &str, app: &Origin) -> Running {
    start(&format!(
        "load_balancer: {{{load_balancer}}}
listeners:
  - name: web
    address: 127.0.0.1:1
    default_action: [{{type: forward, target_group: app}}]
    {listener}
target_groups:
  - {{name: app, targets: [{{address: {}, port: {}}}], health_check: {{enabled: false}}}}
  - {{name: none}}
",
        app.address.ip(),
        app.address.port(),
    ))
    .await
}

async fn ask(balancer: &Running, request: &str) -> Response {
    let mut client = Wire::connect(balancer.address()).await;
    client.send(request).await;
    within("an answer", client.response()).await
}

/// What the target read last of a field.
fn last(app: &Origin, name: &str) -> Option<String> {
    let seen = app.seen();
    let head = &seen.last().expect("a request").head;
    head.get(name).map(ToOwned::to_owned)
}

fn is_hex(text: &str, length: usize) -> bool {
    let digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    text.len() == length && text.chars().all(digit)
}

#[tokio::test]
async fn each_request_gets_a_trace_id_of_its_own_and_keeps_its_root() {
    let app = Origin::ok("ok").await;
    let balancer = balancer("", "", &app).await;
    let mut client = Wire::connect(balancer.address()).await;
    let mut made = std::collections::BTreeSet::new();
    for _ in 0..100 {
        assert_eq!(client.get("/").await.status(), 200);
        let id = last(&app, "x-amzn-trace-id").expect("a trace id");
        let parts: Vec<_> = id.split('-').collect();
        assert!(
            parts.len() == 3 && parts[0] == "Root=1" && is_hex(parts[1], 8) && is_hex(parts[2], 24),
            "{id}"
        );
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970");
        let epoch = u64::from_str_radix(parts[1], 16).expect("hex");
        assert!(now.as_secs().abs_diff(epoch) <= 5, "{id}");
        made.insert(id);
    }
    assert_eq!(made.len(), 100, "no two are the same");
    let root = "Root=1-67891233-abcdef012345678912345678";
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Amzn-Trace-Id: {root}\r\n\r\n");
    assert_eq!(ask(&balancer, &request).await.status(), 200);
    let id = last(&app, "x-amzn-trace-id").expect("a trace id");
    assert!(
        id.starts_with("Self=1-") && id.ends_with(&format!(";{root}")),
        "{id}"
    );
    assert_eq!(last(&app, "traceparent"), None);
}

#[tokio::test]
async fn addresses_are_appended_kept_or_removed_and_more_than_30_are_463() {
    let app = Origin::ok("ok").await;
    let request =
        |list: &str| format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {list}\r\n\r\n");
    for (attributes, expected) in [
        ("", Some("10.0.0.1, 127.0.0.1")),
        ("xff_header_processing_mode: preserve", Some("10.0.0.1")),
        ("xff_header_processing_mode: remove", None),
    ] {
        let balancer = balancer(attributes, "", &app).await;
        assert_eq!(ask(&balancer, &request("10.0.0.1")).await.status(), 200);
        let got = last(&app, "x-forwarded-for");
        assert_eq!(got.as_deref(), expected, "{attributes}");
        let thirty = vec!["10.0.0.1"; 30].join(", ");
        assert_eq!(ask(&balancer, &request(&thirty)).await.status(), 200);
        let count = app.seen().len();
        let got = ask(&balancer, &request(&format!("{thirty},10.0.0.2"))).await;
        assert_eq!(
            (got.status(), got.reason()),
            (463, Some("too_many_forwarded_addresses"))
        );
        assert_eq!(app.seen().len(), count, "it did not reach the target");
    }
    let balancer = balancer("enable_xff_client_port: true", "", &app).await;
    let mut client = Wire::connect(balancer.address()).await;
    let port = client.stream.local_addr().expect("connected").port();
    assert_eq!(client.get("/").await.status(), 200);
    let got = last(&app, "x-forwarded-for");
    assert_eq!(got, Some(format!("127.0.0.1:{port}")));
}

#[tokio::test]
async fn the_host_is_changed_as_albs_is_unless_it_is_to_be_preserved() {
    let app = Origin::ok("ok").await;
    let changing = balancer("", "", &app).await;
    let port = changing.address().port();
    let rules = "rules: [{priority: 1, condition: [{host_header: {values: [b.example]}}], \
                 action: [{type: fixed_response, fixed_response: {status_code: 418}}]}]";
    let preserving = balancer("preserve_host_header: true", rules, &app).await;
    for (balancer, line, field, status, host) in [
        (
            &changing,
            "/",
            "A.example",
            200,
            format!("a.example:{port}"),
        ),
        (
            &changing,
            "/",
            "a.example:81",
            200,
            "a.example:81".to_owned(),
        ),
        (
            &changing,
            "http://C.example/",
            "b.example",
            200,
            format!("c.example:{port}"),
        ),
        (&preserving, "/", "A.example", 200, "A.example".to_owned()),
        (
            &preserving,
            "/",
            "a.example:80",
            200,
            "a.example:80".to_owned(),
        ),
        // The target gets the field, so rules go by the field, too.
        (
            &preserving,
            "http://b.example/",
            "c.example",
            200,
            "c.example".to_owned(),
        ),
        (
            &preserving,
            "http://c.example/",
            "b.example",
            418,
            "c.example".to_owned(),
        ),
    ] {
        let request = format!("GET {line} HTTP/1.1\r\nHost: {field}\r\n\r\n");
        assert_eq!(ask(balancer, &request).await.status(), status, "{request}");
        assert_eq!(last(&app, "host"), Some(host), "{request}");
    }
}

#[tokio::test]
async fn what_is_too_long_has_albs_status_codes() {
    let app = Origin::ok("ok").await;
    let rules = "rules: [{priority: 1, condition: [{path_pattern: {values: ['/old*']}}], \
                 action: [{type: redirect, redirect: {status_code: HTTP_301, host: other}}]}]";
    let balancer = balancer("", rules, &app).await;
    let get = |path: &str, field: &str| {
        format!("GET /{path} HTTP/1.1\r\nHost: a\r\n{field}Accept: x\r\n\r\n")
    };
    let long = |count: usize| "x".repeat(count);
    let fields: String = (0..7)
        .map(|n| format!("X-{n}: {}\r\n", long(10_000)))
        .collect();
    for (request, status, reason) in [
        (get(&long(16_300), ""), 200, None),
        (get(&long(16_400), ""), 414, Some("uri_too_long")),
        (
            get(&format!("?{}", long(16_400)), ""),
            414,
            Some("uri_too_long"),
        ),
        (get(&long(70_000), ""), 414, Some("uri_too_long")),
        (get("", &format!("X: {}\r\n", long(16_300))), 200, None),
        (
            get("", &format!("X: {}\r\n", long(16_400))),
            400,
            Some("request_header_too_large"),
        ),
        (
            get("", &fields[..60_000]).replace("Accept: x", "x\r\nAccept: x"),
            200,
            None,
        ),
        (get("", &fields), 400, Some("request_header_too_large")),
        (
            get("", &"A: b\r\n".repeat(300)),
            400,
            Some("request_header_too_large"),
        ),
        (
            get(&format!("old{}", long(9_000)), ""),
            507,
            Some("redirect_too_long"),
        ),
        (
            "PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n".to_owned(),
            505,
            Some("version_not_supported"),
        ),
        (
            "GET / HTTP/2\r\nHost: a\r\n\r\n".to_owned(),
            505,
            Some("version_not_supported"),
        ),
        (
            "GET / HTTP/1.7\r\nHost: a\r\n\r\n".to_owned(),
            400,
            Some("malformed_request"),
        ),
        (
            "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            405,
            Some("method_not_allowed"),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n".to_owned(),
            501,
            Some("unsupported_transfer_encoding"),
        ),
    ] {
        let got = ask(&balancer, &request).await;
        let start: String = request.chars().take(40).collect();
        assert_eq!(
            (got.status(), got.reason()),
            (status, reason),
            "{start} ({} bytes)",
            request.len()
        );
    }
}

#[tokio::test]
async fn a_listeners_response_fields_stand_in_every_response_whoever_made_it() {
    let app = Origin::http(|_| {
        b"HTTP/1.1 200 OK\r\nServer: app\r\nx-frame-options: ALLOWALL\r\nX-Frame-Options: x\r\n\
          X-Own: 1\r\nContent-Length: 2\r\n\r\nok"
            .to_vec()
    })
    .await;
    let listener = "routing_http_response_strict_transport_security_header_value: max-age=31536000
    routing_http_response_x_frame_options_header_value: DENY
    routing_http_response_content_security_policy_header_value: \"default-src 'self'\"
    routing_http_response_access_control_allow_origin_header_value: ''
    rules:
      - {priority: 1, condition: [{path_pattern: {values: [/fixed]}}], action: [{type: fixed_response, fixed_response: {status_code: 404}}]}
      - {priority: 2, condition: [{path_pattern: {values: [/none]}}], action: [{type: forward, target_group: none}]}
      - {priority: 3, condition: [{path_pattern: {values: [/there]}}], action: [{type: redirect, redirect: {status_code: HTTP_308, path: /}}]}";
    let balancer = balancer("", listener, &app).await;
    for (path, status, server) in [
        ("/", 200, "app"),
        ("/fixed", 404, "longshore"),
        ("/none", 503, "longshore"),
        ("/there", 308, "longshore"),
        ("\\", 400, "longshore"),
    ] {
        let got = ask(
            &balancer,
            &format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"),
        )
        .await;
        assert_eq!(got.status(), status, "{path}");
        for (name, value) in [
            ("strict-transport-security", Some("max-age=31536000")),
            ("x-frame-options", Some("DENY")),
            ("content-security-policy", Some("default-src 'self'")),
            ("access-control-allow-origin", None),
            ("server", Some(server)),
        ] {
            assert_eq!(got.head.get(name), value, "{name} of {path}");
        }
        let own = (status == 200).then_some("1");
        assert_eq!(got.head.get("x-own"), own, "{path}");
    }
}

#[tokio::test]
async fn answers_say_who_made_them_as_they_are_told_to() {
    let app = Origin::ok("ok").await;
    let request = "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n";
    for (attributes, listener, server) in [
        ("", "", Some("longshore")),
        ("server_header: awselb/2.0", "", Some("awselb/2.0")),
        ("", "routing_http_response_server_enabled: false", None),
    ] {
        let balancer = balancer(attributes, listener, &app).await;
        let got = ask(&balancer, request).await;
        assert_eq!(got.status(), 405);
        assert_eq!(got.head.get("server"), server);
    }
}

#[tokio::test]
async fn a_grpc_client_is_told_of_an_error_in_its_own_way() {
    let app = Origin::ok("ok").await;
    let rules = "rules: [{priority: 1, condition: [{path_pattern: {values: ['/a.B/*']}}], \
                 action: [{type: forward, target_group: none}]}]";
    let balancer = balancer("", rules, &app).await;
    let request = |kind: &str| {
        format!(
            "POST /a.B/C HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: 0\r\n\r\n"
        )
    };
    let got = ask(&balancer, &request("application/grpc+proto")).await;
    assert_eq!((got.status(), got.text().as_str()), (503, ""));
    assert_eq!(got.head.get("grpc-status"), Some("14"));
    assert_eq!(got.head.get("grpc-message"), Some("unavailable"));
    assert_eq!(got.head.get("content-type"), Some("application/grpc"));
    assert_eq!(got.reason(), Some("no_targets"));
    let got = ask(&balancer, &request("application/json")).await;
    assert_eq!(got.head.get("grpc-status"), None);
    assert!(got.text().contains("503 Service Unavailable"));
}
