//! What rules do besides their action, over real sockets.

use std::time::Duration;

use longshore_tests::balancer::{Running, start};
use longshore_tests::origin::{Origin, read};
use longshore_tests::wire::{Response, Wire};
use longshore_tests::{eventually, within};

/// A balancer whose listener and whose rule for `/rule*` have these policies.
async fn balancer(listener: &str, rule: &str, app: &Origin) -> Running {
    start(&format!(
        "listeners:
  - name: web
    address: 127.0.0.1:1
    policy: {{{listener}}}
    default_action: [{{type: forward, target_group: app}}]
    rules:
      - priority: 1
        condition: [{{path_pattern: {{values: ['/rule*']}}}}]
        action: [{{type: forward, target_group: app}}]
        policy: {{{rule}}}
      - priority: 2
        condition: [{{path_pattern: {{values: ['/fixed*']}}}}]
        action: [{{type: fixed_response, fixed_response: {{status_code: 404}}}}]
target_groups:
  - {{name: app, targets: [{{address: {}, port: {}}}], health_check: {{enabled: false}}}}
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

async fn get(balancer: &Running, path: &str, fields: &str) -> Response {
    ask(
        balancer,
        &format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"),
    )
    .await
}

#[tokio::test]
async fn only_addresses_that_are_allowed_and_not_denied_get_through() {
    let app = Origin::ok("ok").await;
    for (policy, status) in [
        ("source_ip_allow: [127.0.0.0/8]", 200),
        ("source_ip_allow: [10.0.0.0/8, '::1/128']", 403),
        ("source_ip_deny: [127.0.0.1]", 403),
        ("source_ip_deny: [10.0.0.0/8]", 200),
        (
            "source_ip_allow: [127.0.0.0/8], source_ip_deny: [127.0.0.1/32]",
            403,
        ),
    ] {
        let balancer = balancer(policy, "", &app).await;
        let before = app.seen().len();
        // What a client says of itself does not count.
        let got = get(&balancer, "/", "X-Forwarded-For: 10.0.0.1\r\n").await;
        assert_eq!(got.status(), status, "{policy}");
        assert_eq!(got.reason(), (status == 403).then_some("source_ip_denied"));
        assert_eq!(app.seen().len() - before, usize::from(status == 200));
        assert_eq!(
            get(&balancer, "/fixed", "").await.status(),
            if status == 200 { 404 } else { 403 },
            "for every action"
        );
    }
    let balancer = balancer("source_ip_deny: [127.0.0.1]", "source_ip_deny: []", &app).await;
    assert_eq!(get(&balancer, "/", "").await.status(), 403);
    assert_eq!(
        get(&balancer, "/rule", "").await.status(),
        200,
        "a rule's key counts"
    );
}

#[tokio::test]
async fn fields_of_requests_and_responses_are_set_added_and_removed() {
    let app = Origin::http(|_| {
        b"HTTP/1.1 200 OK\r\nX-Powered-By: x\r\nCache-Control: private\r\nVia: a\r\nContent-Length: 2\r\n\r\nok".to_vec()
    })
    .await;
    let balancer = balancer(
        "request_headers: {set: {X-Env: prod}}, response_headers: {remove: [x-powered-by], set: {X-From: listener}}",
        "request_headers: {set: {X-User: none}, add: {X-Tag: b}, remove: [Cookie]}, \
         response_headers: {set: {Cache-Control: no-store, X-From: rule}, add: {Via: b}}",
        &app,
    )
    .await;
    let sent = "X-Env: mine\r\nX_User: admin\r\nx-user: admin\r\nCookie: a=b\r\nX-Tag: a\r\n";
    let got = get(&balancer, "/rule", sent).await;
    let head = &app.seen()[0].head;
    for (name, value) in [
        ("x-env", Some("prod")),
        ("x-user", Some("none")),
        ("cookie", None),
        ("x_user", None),
    ] {
        assert_eq!(head.get(name), value, "{name}");
    }
    let all = |head: &longshore_tests::wire::Head, name: &str| -> Vec<String> {
        let fields = head.fields.iter().filter(|(field, _)| field == name);
        fields.map(|(_, value)| value.clone()).collect()
    };
    assert_eq!(all(head, "x-tag"), ["a", "b"]);
    assert_eq!(all(&got.head, "via"), ["a", "b"]);
    for (name, value) in [
        ("cache-control", Some("no-store")),
        ("x-from", Some("rule")),
        ("x-powered-by", None),
    ] {
        assert_eq!(got.head.get(name), value, "{name}");
    }
    for (path, status) in [("/fixed", 404), ("/", 200), ("\\", 400)] {
        let got = get(&balancer, path, sent).await;
        assert_eq!(
            (got.status(), got.head.get("x-from")),
            (status, Some("listener")),
            "{path}"
        );
    }
    let head = &app.seen()[1].head;
    assert_eq!(
        (head.get("x-env"), head.get("cookie")),
        (Some("prod"), Some("a=b"))
    );
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_also_if_it_comes_in_chunks() {
    let app = Origin::ok("ok").await;
    let balancer = balancer("", "request_body_limit: 1000", &app).await;
    let post = |path: &str, count: usize| {
        let body = "x".repeat(count);
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {count}\r\n\r\n{body}")
    };
    let chunks = |count: usize| {
        let half = "x".repeat(count / 2);
        let chunk = format!("{:x}\r\n{half}\r\n", count / 2);
        format!(
            "POST /rule HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n"
        )
    };
    for (request, status) in [
        (post("/rule", 1000), 200),
        (post("/rule", 1001), 413),
        (post("/", 1001), 200),
        (chunks(1000), 200),
        (chunks(1002), 413),
    ] {
        let got = ask(&balancer, &request).await;
        assert_eq!(got.status(), status, "{}", &request[..60]);
        assert_eq!(
            got.reason(),
            (status == 413).then_some("request_body_too_large")
        );
    }
    // Of a body with a length nothing reached the target; of chunks, no whole request.
    let seen = app.seen();
    assert_eq!(seen.len(), 3);
    // A small body that was refused is read, and the connection stays.
    let mut client = Wire::connect(balancer.address()).await;
    client.send(post("/rule", 1001)).await;
    assert_eq!(client.response().await.status(), 413);
    assert_eq!(client.get("/rule").await.status(), 200);
    // Who asks first is told before it sends.
    client
        .send("POST /rule HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2000\r\n\r\n")
        .await;
    assert_eq!(within("an answer", client.response()).await.status(), 413);
}

#[tokio::test]
async fn a_body_that_grows_too_large_while_it_is_answered_is_cut_off_at_the_target() {
    let app = Origin::raw(|mut wire| async move {
        // Reads the head and answers before the body is there.
        if wire.head().await.is_ok() {
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhe")
                .await;
            drop(wire.rest().await);
        }
    })
    .await;
    let balancer = balancer("request_body_limit: 100", "", &app).await;
    let mut client = Wire::connect(balancer.address()).await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        .await;
    let head = within("a head", client.head()).await.expect("a head");
    assert_eq!(head.status(), 200);
    client
        .send(format!("c8\r\n{}\r\n0\r\n\r\n", "x".repeat(200)))
        .await;
    let rest = within("the end", client.rest()).await;
    assert!(rest.len() < 4, "the response never looks whole");
    eventually("the target's connection is closed", async || {
        (app.open() == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn requests_beyond_the_rate_are_refused_for_each_key_alone() {
    let app = Origin::ok("ok").await;
    let balancer = balancer(
        "",
        "rate_limit: {requests: 2, period: 1h, key: {type: header, name: X-Key}}",
        &app,
    )
    .await;
    let key = |key: &str| format!("X-Key: {key}\r\n");
    for _ in 0..2 {
        assert_eq!(get(&balancer, "/rule", &key("a")).await.status(), 200);
    }
    let got = get(&balancer, "/rule", &key("a")).await;
    assert_eq!((got.status(), got.reason()), (429, Some("rate_limited")));
    let after: u64 = got
        .head
        .get("retry-after")
        .expect("it says when")
        .parse()
        .expect("seconds");
    assert!((1_700..=1_800).contains(&after), "{after}");
    assert_eq!(get(&balancer, "/rule", &key("b")).await.status(), 200);
    assert_eq!(
        get(&balancer, "/", &key("a")).await.status(),
        200,
        "another rule"
    );
    // Without the field they are counted together.
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(get(&balancer, "/rule", "").await.status());
    }
    assert_eq!(statuses, [200, 200, 429]);
    assert_eq!(app.seen().len(), 6);
}

#[tokio::test]
async fn a_listeners_rate_is_one_for_all_of_its_rules() {
    let app = Origin::ok("ok").await;
    let listener = "rate_limit: {requests: 3, period: 1h}";
    let balancer = balancer(listener, "request_body_limit: 5", &app).await;
    let mut statuses = Vec::new();
    for path in ["/", "/rule", "/fixed", "/rule", "/"] {
        statuses.push(get(&balancer, path, "").await.status());
    }
    assert_eq!(statuses, [200, 200, 404, 429, 429]);
}

#[tokio::test]
async fn a_preflight_request_is_answered_here_and_others_are_allowed_to_be_read() {
    let app = Origin::http(|_| {
        b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nVary: Accept\r\nContent-Length: 2\r\n\r\nok".to_vec()
    })
    .await;
    // Preflight requests have no credentials: they are answered before those are looked at.
    let balancer = balancer(
        "",
        "cors: {allow_origins: ['https://shop.example'], allow_methods: [PUT], allow_headers: [X-Token], allow_credentials: true}, \
         basic_auth: {users: {a: $2b$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy}}",
        &app,
    )
    .await;
    let preflight = |origin: &str| {
        format!(
            "OPTIONS /rule HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: x-token\r\n\r\n"
        )
    };
    let got = ask(&balancer, &preflight("https://shop.example")).await;
    assert_eq!(got.status(), 204);
    for (name, value) in [
        ("access-control-allow-origin", Some("https://shop.example")),
        ("access-control-allow-methods", Some("GET, HEAD, POST, PUT")),
        ("access-control-allow-headers", Some("X-Token")),
        ("access-control-allow-credentials", Some("true")),
        ("access-control-max-age", Some("7200")),
        ("vary", Some("Origin")),
        ("x-longshore-reason", None),
        ("content-length", None),
    ] {
        assert_eq!(got.head.get(name), value, "{name}");
    }
    let got = ask(&balancer, &preflight("https://evil.example")).await;
    assert_eq!(
        (got.status(), got.head.get("access-control-allow-origin")),
        (204, None)
    );
    assert!(app.seen().is_empty());
    let login = "Authorization: Basic YTpvcGVuIHNlc2FtZQ==\r\n";
    for (origin, allowed) in [
        ("https://shop.example", Some("https://shop.example")),
        ("https://evil.example", None),
    ] {
        let fields = format!("Origin: {origin}\r\n{login}");
        let got = get(&balancer, "/rule", &fields).await;
        assert_eq!(got.status(), 200);
        assert_eq!(
            got.head.get("access-control-allow-origin"),
            allowed,
            "the target's is gone"
        );
        let vary = got
            .head
            .fields
            .iter()
            .filter(|(name, _)| name == "vary")
            .count();
        assert_eq!(vary, 2);
    }
    // A page may read why it was refused, too.
    let got = get(&balancer, "/rule", "Origin: https://shop.example\r\n").await;
    assert_eq!(got.status(), 401);
    assert!(got.head.get("access-control-allow-origin").is_some());
    // Elsewhere OPTIONS is the target's.
    let elsewhere = preflight("https://shop.example").replace("/rule", "/");
    assert_eq!(ask(&balancer, &elsewhere).await.status(), 200);
}

#[tokio::test]
async fn only_who_has_a_name_and_its_password_gets_through() {
    let app = Origin::ok("ok").await;
    let balancer = balancer(
        "",
        "basic_auth: {realm: Staff, users: {ali: $2b$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy, \
         bo: $2b$10$abcdefghijklmnopqrstuug7uV/rfOsuPOAUg70eqWWWMjvHc6jZm}}",
        &app,
    )
    .await;
    for (fields, status) in [
        ("", 401),
        // ali:open sesame, twice: the second time it is known.
        ("Authorization: Basic YWxpOm9wZW4gc2VzYW1l\r\n", 200),
        ("Authorization: basic YWxpOm9wZW4gc2VzYW1l\r\n", 200),
        // bo:other, ali:other, bo:open sesame, zoe:other
        ("Authorization: Basic Ym86b3RoZXI=\r\n", 200),
        ("Authorization: Basic YWxpOm90aGVy\r\n", 401),
        ("Authorization: Basic Ym86b3BlbiBzZXNhbWU=\r\n", 401),
        ("Authorization: Basic em9lOm90aGVy\r\n", 401),
        ("Authorization: Bearer x\r\n", 401),
        ("Authorization: Basic !\r\n", 401),
        (
            "Authorization: Basic Ym86b3RoZXI=\r\nAuthorization: Basic YWxpOm90aGVy\r\n",
            401,
        ),
    ] {
        let before = app.seen().len();
        let got = get(&balancer, "/rule", fields).await;
        assert_eq!(got.status(), status, "{fields}");
        if status == 401 {
            assert_eq!(got.reason(), Some("unauthorized"));
            assert_eq!(
                got.head.get("www-authenticate"),
                Some("Basic realm=\"Staff\", charset=\"UTF-8\"")
            );
        }
        assert_eq!(
            app.seen().len() - before,
            usize::from(status == 200),
            "{fields}"
        );
    }
    assert_eq!(get(&balancer, "/", "").await.status(), 200, "another rule");
    // A connection that was refused stays, with a body that was sent meanwhile.
    let mut client = Wire::connect(balancer.address()).await;
    client
        .send("POST /rule HTTP/1.1\r\nHost: a\r\nAuthorization: Basic YWxpOm90aGVy\r\nContent-Length: 5\r\n\r\nhello")
        .await;
    assert_eq!(client.response().await.status(), 401);
    client
        .send("POST /rule HTTP/1.1\r\nHost: a\r\nAuthorization: Basic YWxpOm9wZW4gc2VzYW1l\r\nContent-Length: 5\r\n\r\nhello")
        .await;
    assert_eq!(client.response().await.status(), 200);
    assert_eq!(app.seen().last().expect("a request").body, b"hello");
}

#[tokio::test]
async fn wrong_passwords_do_not_hold_up_requests_that_need_none() {
    let app = Origin::raw(|mut wire| async move {
        while read(&mut wire).await.is_some() {
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .await;
        }
    })
    .await;
    let balancer = balancer(
        "",
        "basic_auth: {users: {bo: $2b$10$abcdefghijklmnopqrstuug7uV/rfOsuPOAUg70eqWWWMjvHc6jZm}}",
        &app,
    )
    .await;
    let mut guessing = Vec::new();
    for guess in 0..100 {
        let mut client = Wire::connect(balancer.address()).await;
        // bo: and a number, as base64 of whole groups of three.
        let pair = [
            "Ym86", "MDAw", "MTEx", "MjIy", "MzMz", "NDQ0", "NTU1", "NjY2", "Nzc3", "ODg4",
        ];
        let guess = format!("{}{}{}", pair[0], pair[1 + guess % 9], pair[1 + guess / 12]);
        client
            .send(format!(
                "GET /rule HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {guess}\r\n\r\n"
            ))
            .await;
        guessing.push(client);
    }
    // No hash is computed on a worker: between any two of them, others are answered.
    let began = std::time::Instant::now();
    let mut client = Wire::connect(balancer.address()).await;
    for _ in 0..20 {
        assert_eq!(within("an answer", client.get("/")).await.status(), 200);
    }
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    let mut busy = 0;
    for mut client in guessing {
        let got = within("an answer", client.response()).await;
        match got.status() {
            401 => {}
            503 => {
                assert_eq!(got.reason(), Some("authentication_busy"));
                busy += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert!(busy > 0, "not all of them wait");
}

#[tokio::test]
async fn what_a_rule_does_to_fields_holds_behind_a_body_too() {
    let origin = Origin::raw(|mut wire| async move {
        let mut got = Vec::new();
        while !got.ends_with(b"\r\n\r\n") || !got.windows(5).any(|end| end == b"\r\n0\r\n") {
            let byte = within("a byte", wire.exactly(1)).await;
            got.extend(byte.expect("the whole request"));
        }
        let at = got.windows(5).position(|end| end == b"\r\n0\r\n").expect("there");
        let trailers = String::from_utf8_lossy(&got[at + 5..]).trim_end().to_owned();
        let body = trailers.replace("\r\n", "|");
        wire.send(format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\nX-Inner: 1\r\nX-Kept: 2\r\n\r\n",
            body.len()
        ))
        .await;
        wire.rest().await;
    })
    .await;
    let policy = "request_headers: {set: {X-Staff: 'no'}, remove: [X-Secret]}, response_headers: {remove: [X-Inner]}";
    let balancer = balancer(policy, "", &origin).await;
    let mut client = Wire::connect(balancer.address()).await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Staff: yes\r\nx_secret: 1\r\nX_Amzn_Mtls_Clientcert_Subject: CN=admin\r\nX-Sum: 7\r\n\r\n")
        .await;
    let head = within("a head", client.head()).await.expect("a head");
    assert_eq!(head.status(), 200);
    let mut rest = String::new();
    while !rest.ends_with("\r\n\r\n") {
        let byte = within("a byte", client.exactly(1)).await.expect("the rest");
        rest.push(char::from(byte[0]));
    }
    assert_eq!(rest, "8\r\nX-Sum: 7\r\n0\r\nX-Kept: 2\r\n\r\n");
}
