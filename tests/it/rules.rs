//! Rules over real sockets: what decides is what the target gets.

use longshore_tests::balancer::{Running, start};
use longshore_tests::origin::Origin;
use longshore_tests::wire::Wire;

/// A balancer with two targets: `admin` has what the rule says, `app` the rest.
async fn balancer(load_balancer: &str, rule: &str, admin: &Origin, app: &Origin) -> Running {
    start(&format!(
        "load_balancer: {{{load_balancer}}}
listeners:
  - name: web
    address: 127.0.0.1:1
    default_action: [{{type: forward, target_group: app}}]
    rules:
      - priority: 1
        {rule}
        action: [{{type: forward, target_group: admin}}]
target_groups:
  - {{name: app, targets: [{{address: {}, port: {}}}], health_check: {{enabled: false}}}}
  - {{name: admin, targets: [{{address: {}, port: {}}}], health_check: {{enabled: false}}}}
",
        app.address.ip(),
        app.address.port(),
        admin.address.ip(),
        admin.address.port()
    ))
    .await
}

/// The status, and who got what as its request line and Host.
async fn ask(balancer: &Running, target: &str, host: &str) -> u16 {
    let mut client = Wire::connect(balancer.address()).await;
    client
        .send(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
        .await;
    client.response().await.status()
}

fn last(origin: &Origin) -> (String, String) {
    let seen = origin.seen();
    let head = &seen.last().expect("a request").head;
    (
        head.line.clone(),
        head.get("host").unwrap_or_default().to_owned(),
    )
}

#[tokio::test]
async fn no_spelling_of_a_path_passes_a_rule_by() {
    let (admin, app) = (Origin::ok("admin").await, Origin::ok("app").await);
    let rule = "condition: [{path_pattern: {values: ['/admin/*']}}]";
    let balancer = balancer("", rule, &admin, &app).await;
    for spelling in [
        "/admin/x",
        "//admin/x",
        "/admin//x",
        "/%61dmin/x",
        "/%2fadmin/../admin/x",
        "/./admin/x",
        "/%2e/admin/x",
        "/y/../admin/x",
        "/y/%2E%2e/admin/x",
        "/../admin/./x",
        "http://other/admin/x",
        "http://user:password@other/admin/x",
    ] {
        assert_eq!(ask(&balancer, spelling, "a").await, 200, "{spelling}");
        let (line, _) = last(&admin);
        assert_eq!(line, "GET /admin/x HTTP/1.1", "{spelling}");
    }
    assert_eq!(admin.seen().len(), 12);
    for refused in [
        r"/\admin/x",
        r"\admin/x",
        "/y/..;/admin/x",
        "/y/..%2fadmin/x",
        "/y%5c..%5cadmin/x",
        "/admin%00/x",
        "/%zz/admin/x",
        "/admin/x#y",
    ] {
        assert_eq!(ask(&balancer, refused, "a").await, 400, "{refused}");
    }
    assert!(app.seen().is_empty(), "nothing went round the rule");
    // What stays data is the same for both sides.
    assert_eq!(ask(&balancer, "/admin%2fx?a=%2e//b", "a").await, 200);
    assert_eq!(last(&app).0, "GET /admin%2Fx?a=%2e//b HTTP/1.1");
}

#[tokio::test]
async fn without_normalization_a_path_is_used_as_it_came() {
    let (admin, app) = (Origin::ok("admin").await, Origin::ok("app").await);
    let rule = "condition: [{path_pattern: {values: ['/admin/*']}}]";
    let balancer = balancer("path_normalization: none", rule, &admin, &app).await;
    for spelling in ["//admin/x", "/%61dmin/x", "/y/../admin/x"] {
        assert_eq!(ask(&balancer, spelling, "a").await, 200);
        assert_eq!(last(&app).0, format!("GET {spelling} HTTP/1.1"));
    }
}

#[tokio::test]
async fn no_spelling_of_a_host_passes_a_rule_by() {
    let (admin, app) = (Origin::ok("admin").await, Origin::ok("app").await);
    let rule = "condition: [{host_header: {values: ['admin.example']}}]";
    let balancer = balancer("", rule, &admin, &app).await;
    let spellings = [
        "admin.example",
        "ADMIN.example",
        "admin.example.",
        "admin.example:80",
        "admin.example:8443",
        "Admin.Example.:80",
    ];
    for host in spellings {
        assert_eq!(ask(&balancer, "/", host).await, 200, "{host}");
        assert_eq!(
            ask(&balancer, &format!("http://{host}/"), "other").await,
            200
        );
    }
    assert_eq!(
        last(&admin).1,
        "admin.example:80",
        "nor a dot for the target"
    );
    assert_eq!(admin.seen().len(), 2 * spellings.len());
    assert!(app.seen().is_empty());
}

#[tokio::test]
async fn transforms_write_the_host_and_the_url_for_the_target_alone() {
    let (admin, app) = (Origin::ok("admin").await, Origin::ok("app").await);
    let rule = r"condition: [{path_pattern: {regex_values: ['^/api/v[0-9]+/']}}]
        transform:
          - {type: url_rewrite, url_rewrite_config: {rewrite: {regex: '^/api/v([0-9]+)/(.*)$', replace: '/$2&version=$1'}}}
          - {type: host_header_rewrite, host_header_rewrite_config: {rewrite: {regex: '^(.+)\.example$', replace: '$1.internal'}}}";
    let balancer = balancer("", rule, &admin, &app).await;
    assert_eq!(
        ask(&balancer, "/api/v2/orders?id=7", "shop.example").await,
        200
    );
    let expected = ("GET /orders?id=7&version=2 HTTP/1.1", "shop.internal");
    let (line, host) = last(&admin);
    assert_eq!((line.as_str(), host.as_str()), expected);
    assert_eq!(ask(&balancer, "/api/v2/a?b", "other").await, 200);
    let port = balancer.address().port();
    let expected = format!("other:{port}");
    assert_eq!(last(&admin).1, expected, "what does not match stays");
    assert_eq!(ask(&balancer, "/api/vx/a", "shop.example").await, 200);
    assert_eq!(
        last(&app).0,
        "GET /api/vx/a HTTP/1.1",
        "another rule's requests stay"
    );
}

#[tokio::test]
async fn a_rule_may_answer_a_trace_and_no_target_gets_one() {
    let target = Origin::ok("app").await;
    let text = format!(
        "listeners:
  - name: web
    address: 127.0.0.1:1
    default_action: [{{type: forward, target_group: app}}]
    rules:
      - priority: 30
        condition: [{{http_request_method: {{values: [TRACE]}}}}, {{path_pattern: {{values: [/no]}}}}]
        action: [{{type: fixed_response, fixed_response: {{status_code: 405, message_body: no traces}}}}]
target_groups:
  - name: app
    targets: [{{address: 127.0.0.1, port: {}}}]
    health_check: {{enabled: false}}
",
        target.address.port()
    );
    let balancer = start(&text).await;
    let mut wire = Wire::connect(balancer.address()).await;
    wire.send("TRACE /no HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let got = wire.response().await;
    assert_eq!((got.status(), got.text().as_str()), (405, "no traces"));
    wire.send("TRACE /other HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let got = wire.response().await;
    assert_eq!(
        (got.status(), got.reason()),
        (405, Some("method_not_allowed"))
    );
    assert!(target.seen().is_empty());
}

#[tokio::test]
async fn a_transform_that_gives_no_url_is_answered_with_500() {
    let (admin, app) = (Origin::ok("admin").await, Origin::ok("app").await);
    let rule = "condition: [{path_pattern: {values: ['/x*']}}]
        transform: [{type: url_rewrite, url_rewrite_config: {rewrite: {regex: '^/x', replace: ''}}}]";
    let balancer = balancer("", rule, &admin, &app).await;
    let mut client = Wire::connect(balancer.address()).await;
    client.send("GET /xyz HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let got = client.response().await;
    assert_eq!(got.status(), 500);
    assert_eq!(got.head.get("x-longshore-reason"), Some("transform_failed"));
    client.send("GET /x/yz HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(
        client.response().await.status(),
        200,
        "the connection stays"
    );
    assert_eq!(last(&admin).0, "GET /yz HTTP/1.1");
    assert_eq!(admin.seen().len(), 1);
}
