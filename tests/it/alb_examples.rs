//! ALB's conditions, actions and transforms, one row for each thing that its user guide says of them
//! ("Condition types", "Action types" and "Transforms for listener rules"), with its own examples.

use longshore_tests::balancer::{Running, start};
use longshore_tests::origin::{Origin, response};
use longshore_tests::wire::{Response, Wire};

/// Three groups; a target answers with the name of its group, and with what it got.
struct Site {
    groups: [Origin; 3],
}

const NAMES: [&str; 3] = ["a", "b", "default"];

impl Site {
    async fn start() -> Self {
        let mut groups = Vec::new();
        for name in NAMES {
            groups.push(
                Origin::http(move |seen| {
                    let line = seen.head.line.trim_end_matches(" HTTP/1.1");
                    let host = seen.head.get("host").unwrap_or_default();
                    response(200, &format!("{name}|{line}|{host}"))
                })
                .await,
            );
        }
        let Ok(groups) = groups.try_into() else {
            panic!("three groups")
        };
        Self { groups }
    }

    /// A balancer with these rules.
    async fn with(&self, rules: &str) -> Running {
        let groups: String = NAMES
            .iter()
            .zip(&self.groups)
            .map(|(name, origin)| {
                format!(
                    "  - {{name: {name}, targets: [{{address: {}, port: {}}}], health_check: {{enabled: false}}}}\n",
                    origin.address.ip(),
                    origin.address.port()
                )
            })
            .collect();
        start(&format!(
            "load_balancer: {{preserve_host_header: true}}\nruntime: {{workers: 1}}\nlisteners:\n  - name: web\n    address: 127.0.0.1:1\n    \
             default_action: [{{type: forward, target_group: default}}]\n    rules:\n{rules}\ntarget_groups:\n{groups}"
        ))
        .await
    }
}

async fn ask(running: &Running, head: &str) -> Response {
    let mut client = Wire::connect(running.address()).await;
    client.send(head).await;
    client.response().await
}

/// A request from `METHOD TARGET HOST`, and more fields with `; ` between them.
fn request(text: &str) -> String {
    let (line, fields) = text.split_once(" | ").unwrap_or((text, ""));
    let mut words = line.split(' ');
    let mut word = || words.next().expect("a method, a target and a host");
    let mut head = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", word(), word(), word());
    for field in fields.split("; ").filter(|field| !field.is_empty()) {
        head.push_str(field);
        head.push_str("\r\n");
    }
    head + "\r\n"
}

/// Conditions; requests that meet them, and requests that do not.
const CONDITIONS: &[(&str, &[&str], &[&str])] = &[
    // Host: without regard to case; `*` is any characters, `?` exactly one.
    (
        "host_header: {values: [example.com]}",
        &["GET / example.com", "GET / EXAMPLE.Com"],
        &["GET / test.example.com", "GET / example.org"],
    ),
    (
        "host_header: {values: [test.example.com]}",
        &["GET / test.example.com"],
        &["GET / example.com"],
    ),
    (
        "host_header: {values: ['*.example.com']}",
        &["GET / test.example.com", "GET / a.b.example.com"],
        &["GET / example.com", "GET / test.example.com.evil"],
    ),
    (
        "host_header: {values: ['www?.example.com']}",
        &["GET / www1.example.com"],
        &["GET / www.example.com", "GET / www12.example.com"],
    ),
    (
        "host_header: {regex_values: ['^(.+)\\.example\\.com$']}",
        &["GET / test.example.com", "GET / TEST.Example.com"],
        &["GET / example.com"],
    ),
    // Path: with regard to case, never the query.
    (
        "path_pattern: {values: ['/img/*']}",
        &["GET /img/picture.jpg h", "GET /img/a/b?x=1 h"],
        &["GET /IMG/picture.jpg h", "GET /?p=/img/a h", "GET /img h"],
    ),
    (
        "path_pattern: {values: ['/img/*/pics']}",
        &["GET /img/a/pics h", "GET /img/a/b/pics?x h"],
        &["GET /img/pics h", "GET /img/a/pics/b h"],
    ),
    (
        "path_pattern: {values: ['/v?/*']}",
        &["GET /v1/x h"],
        &["GET /v12/x h"],
    ),
    (
        "path_pattern: {regex_values: ['^/api/(.*)$']}",
        &["GET /api/x h"],
        &["GET /API/x h", "GET /x/api/x h"],
    ),
    // gRPC, by package, service and method.
    (
        "path_pattern: {values: ['/package.service/method']}",
        &["POST /package.service/method h"],
        &["POST /package.service/other h"],
    ),
    (
        "path_pattern: {values: ['/package.*']}",
        &["POST /package.service/method h"],
        &["POST /other.service/method h"],
    ),
    // A header: name and value without regard to case; of several fields of that name any.
    (
        "http_header: {http_header_name: User-Agent, values: ['*Chrome*', '*Safari*']}",
        &[
            "GET / h | User-Agent: Mozilla/5.0 Chrome/99",
            "GET / h | user-agent: safari",
        ],
        &[
            "GET / h | User-Agent: curl/8",
            "GET / h | X: Chrome",
            "GET / h",
        ],
    ),
    (
        "http_header: {http_header_name: X-Env, values: [blue]}",
        &["GET / h | X-Env: green; x-env: BLUE"],
        &["GET / h | X-Env: bluebird"],
    ),
    (
        "http_header: {http_header_name: User-Agent, regex_values: ['.+(Chrome|Safari).*']}",
        &["GET / h | User-Agent: Mozilla Chrome/1"],
        &["GET / h | User-Agent: Chrome"],
    ),
    // A method: with regard to case, any name.
    (
        "http_request_method: {values: [CUSTOM-METHOD]}",
        &["CUSTOM-METHOD / h"],
        &["GET / h", "custom-method / h"],
    ),
    (
        "http_request_method: {values: [GET, HEAD]}",
        &["GET / h"],
        &["POST / h", "get / h"],
    ),
    // The query: without regard to case; the key may be left out; `\\` takes the meaning off.
    (
        "query_string: [{key: version, value: v1}, {value: '*example*'}]",
        &[
            "GET /?version=v1 h",
            "GET /?a=b&VERSION=V1 h",
            "GET /?x=an-example-b h",
        ],
        &["GET /?version=v2 h", "GET /?example=x h", "GET / h"],
    ),
    (
        "query_string: [{key: q, value: 'a\\*b\\?'}]",
        &["GET /?q=a*b? h"],
        &["GET /?q=axb? h", "GET /?q=a*bc h"],
    ),
    (
        "query_string: [{key: 'v*', value: '?'}]",
        &["GET /?vers=1 h"],
        &["GET /?vers=12 h", "GET /?x=1 h"],
    ),
    // The address of the connection, never what fields say.
    (
        "source_ip: {values: [192.0.2.0/24, 127.0.0.1/32]}",
        &["GET / h"],
        &[],
    ),
    (
        "source_ip: {values: [192.0.2.0/24, 198.51.100.10/32, '2001:db8::/32']}",
        &[],
        &["GET / h", "GET / h | X-Forwarded-For: 192.0.2.1"],
    ),
    // All conditions must hold; of one kind there may be several.
    (
        "host_header: {values: [example.com]}}, {path_pattern: {values: ['/img/*']}",
        &["GET /img/x example.com"],
        &["GET /img/x example.org", "GET /x example.com"],
    ),
    (
        "http_header: {http_header_name: X-A, values: ['1']}}, {http_header: {http_header_name: X-B, values: ['2']}",
        &["GET / h | X-A: 1; X-B: 2"],
        &["GET / h | X-A: 1", "GET / h | X-B: 2"],
    ),
    (
        "query_string: [{key: a, value: '1'}]}, {query_string: [{key: b, value: '2'}]",
        &["GET /?b=2&a=1 h"],
        &["GET /?a=1 h", "GET /?a=2&b=1 h"],
    ),
];

#[tokio::test]
async fn each_condition_of_alb_means_what_its_guide_says() {
    let site = Site::start().await;
    for (condition, meet, miss) in CONDITIONS {
        let rule = format!(
            "      - {{priority: 1, condition: [{{{condition}}}], action: [{{type: forward, target_group: a}}]}}"
        );
        let running = site.with(&rule).await;
        for (list, group) in [(meet, "a"), (miss, "default")] {
            for text in *list {
                let got = ask(&running, &request(text)).await.text();
                let by = got.split('|').next().unwrap_or_default();
                assert_eq!(by, group, "{condition} with {text}");
                // A pattern chooses, and changes nothing.
                let line = text.split(' ').take(2).collect::<Vec<_>>().join(" ");
                assert_eq!(got.split('|').nth(1), Some(&*line), "{condition}");
            }
        }
    }
}

#[tokio::test]
async fn the_first_rule_by_priority_wins_and_the_default_comes_last() {
    let site = Site::start().await;
    let running = site
        .with(
            "      - {priority: 50000, condition: [{path_pattern: {values: ['*']}}], action: [{type: forward, target_group: b}]}
      - {priority: 1, condition: [{path_pattern: {values: ['/x*']}}], action: [{type: forward, target_group: a}]}",
        )
        .await;
    for (path, group) in [("/x", "a"), ("/y", "b")] {
        let got = ask(&running, &request(&format!("GET {path} h"))).await;
        assert!(got.text().starts_with(&format!("{group}|")), "{path}");
    }
}

/// Redirects; a request; the status and the Location. `{port}` is the listener's.
const REDIRECTS: &[(&str, &str, u16, &str)] = &[
    // The two examples of the guide.
    (
        "status_code: HTTP_301, protocol: HTTPS, host: '#{host}', port: '40443', path: '/#{path}', query: '#{query}'",
        "GET /a/b?c=d example.com",
        301,
        "https://example.com:40443/a/b?c=d",
    ),
    (
        "status_code: HTTP_302, protocol: '#{protocol}', host: '#{host}', port: '#{port}', path: '/new/#{path}', query: '#{query}'",
        "GET /a?x=1 example.com",
        302,
        "http://example.com:{port}/new/a?x=1",
    ),
    // What is left out stays as it was.
    (
        "status_code: HTTP_301, host: other.example",
        "GET /a?b example.com",
        301,
        "http://other.example:{port}/a?b",
    ),
    (
        "status_code: HTTP_301, port: '80'",
        "GET /a example.com",
        301,
        "http://example.com/a",
    ),
    (
        "status_code: HTTP_301, protocol: HTTPS, port: '443'",
        "GET / example.com",
        301,
        "https://example.com/",
    ),
    (
        "status_code: HTTP_302, path: '/#{host}/#{port}/#{path}', query: 'from=#{path}&#{query}'",
        "GET /a/b?q=1 example.com",
        302,
        "http://example.com:{port}/example.com/{port}/a/b?from=a/b&q=1",
    ),
    (
        "status_code: HTTP_302, path: /fixed, query: ''",
        "GET /a?q=1 example.com",
        302,
        "http://example.com:{port}/fixed",
    ),
    // Beyond ALB.
    (
        "status_code: HTTP_303, path: /s",
        "POST / e.com",
        303,
        "http://e.com:{port}/s",
    ),
    (
        "status_code: HTTP_307, path: /s",
        "POST / e.com",
        307,
        "http://e.com:{port}/s",
    ),
    (
        "status_code: HTTP_308, path: /s",
        "POST / e.com",
        308,
        "http://e.com:{port}/s",
    ),
];

#[tokio::test]
async fn each_part_and_placeholder_of_a_redirect_means_what_the_guide_says() {
    let site = Site::start().await;
    for (redirect, text, status, location) in REDIRECTS {
        let running = site
            .with(&format!(
                "      - {{priority: 1, condition: [{{path_pattern: {{values: ['*']}}}}], action: [{{type: redirect, redirect: {{{redirect}}}}}]}}"
            ))
            .await;
        let got = ask(&running, &request(text)).await;
        let port = running.address().port().to_string();
        assert_eq!(got.status(), *status, "{redirect}");
        let wanted = location.replace("{port}", &port);
        assert_eq!(got.head.get("location"), Some(&*wanted), "{redirect}");
    }
    // Beyond 8 K there is no redirect.
    let running = site
        .with("      - {priority: 1, condition: [{path_pattern: {values: ['*']}}], action: [{type: redirect, redirect: {status_code: HTTP_301, host: b.example}}]}")
        .await;
    for (length, status) in [(8_000, 301), (8_200, 507)] {
        let path = "p".repeat(length);
        let got = ask(&running, &request(&format!("GET /{path} a.example"))).await;
        assert_eq!(got.status(), status, "{length}");
    }
}

#[tokio::test]
async fn a_fixed_response_is_what_the_rule_says() {
    let site = Site::start().await;
    for (settings, status, kind, body) in [
        (
            "status_code: 200, content_type: text/plain, message_body: Hello world",
            200,
            "text/plain",
            "Hello world",
        ),
        (
            "status_code: 503, content_type: text/html, message_body: '<p>later</p>'",
            503,
            "text/html",
            "<p>later</p>",
        ),
        (
            "status_code: 404, content_type: application/json, message_body: '{}'",
            404,
            "application/json",
            "{}",
        ),
        (
            "status_code: 299, content_type: text/css, message_body: 'a{}'",
            299,
            "text/css",
            "a{}",
        ),
        (
            "status_code: 418, content_type: application/javascript",
            418,
            "application/javascript",
            "",
        ),
    ] {
        let running = site
            .with(&format!(
                "      - {{priority: 1, condition: [{{path_pattern: {{values: ['*']}}}}], action: [{{type: fixed_response, fixed_response: {{{settings}}}}}]}}"
            ))
            .await;
        let got = ask(&running, &request("GET / h")).await;
        assert_eq!(got.status(), status, "{settings}");
        assert_eq!(got.head.get("content-type"), Some(kind), "{settings}");
        assert_eq!(got.text(), body, "{settings}");
    }
    assert!(site.groups.iter().all(|origin| origin.seen().is_empty()));
}

#[tokio::test]
async fn weights_share_requests_between_groups_as_the_guide_says() {
    let site = Site::start().await;
    // Two of weight 10 get half each; of 10 and 20 the second gets twice as many; 0 gets none.
    for (a, b, share) in [
        (10, 10, 0.5),
        (10, 20, 1.0 / 3.0),
        (0, 5, 0.0),
        (999, 0, 1.0),
    ] {
        let running = site
            .with(&format!(
                "      - {{priority: 1, condition: [{{path_pattern: {{values: ['*']}}}}], action: [{{type: forward, forward: {{target_group: \
                 [{{name: a, weight: {a}}}, {{name: b, weight: {b}}}]}}}}]}}"
            ))
            .await;
        let mut client = Wire::connect(running.address()).await;
        let mut of_a = 0;
        for _ in 0..600 {
            of_a += u32::from(client.get("/").await.text().starts_with("a|"));
        }
        // Six standard deviations of chance; none where there is no choice.
        let wanted: f64 = 600.0 * share;
        let spread = 6.0 * (wanted * (1.0 - share)).sqrt();
        assert!(
            (f64::from(of_a) - wanted).abs() <= spread,
            "{a}:{b} gave {of_a} of 600"
        );
    }
    // With stickiness a client stays at its group.
    let running = site
        .with(
            "      - {priority: 1, condition: [{path_pattern: {values: ['*']}}], action: [{type: forward, forward: {target_group: \
             [{name: a, weight: 1}, {name: b, weight: 1}], stickiness: {enabled: true, duration: 1000}}}]}",
        )
        .await;
    let first = ask(&running, &request("GET / h")).await;
    let cookie = first
        .head
        .fields
        .iter()
        .find(|(name, value)| name == "set-cookie" && value.starts_with("AWSALBTG="))
        .and_then(|(_, value)| value.split(';').next())
        .expect("ALB's cookie");
    for _ in 0..40 {
        let again = ask(&running, &request(&format!("GET / h | Cookie: {cookie}"))).await;
        assert_eq!(again.text(), first.text());
    }
}

/// Transforms; a request; what the target gets as its line and its Host.
const TRANSFORMS: &[(&str, &str, &str)] = &[
    // The two examples of the guide.
    (
        "{type: url_rewrite, url_rewrite_config: {rewrite: {regex: '^/dp/([A-Za-z0-9]+)/?$', replace: '/product.php?id=$1'}}}",
        "GET /dp/B09G3HRMW www.example.com",
        "GET /product.php?id=B09G3HRMW|www.example.com",
    ),
    (
        "{type: host_header_rewrite, host_header_rewrite_config: {rewrite: {regex: '^mywebsite-(.+).com$', replace: 'internal.dev.$1.myweb.com'}}}",
        "GET /project-a mywebsite-example.com",
        "GET /project-a|internal.dev.example.myweb.com",
    ),
    // Without a match the request stays.
    (
        "{type: url_rewrite, url_rewrite_config: {rewrite: {regex: '^/dp/([A-Za-z0-9]+)/?$', replace: '/product.php?id=$1'}}}",
        "GET /other?x=1 h",
        "GET /other?x=1|h",
    ),
    // One of each.
    (
        "{type: url_rewrite, url_rewrite_config: {rewrite: {regex: '^/v1(/.*)$', replace: '$1'}}}, \
         {type: host_header_rewrite, host_header_rewrite_config: {rewrite: {regex: '^api\\.(.*)$', replace: '$1'}}}",
        "GET /v1/x?y=z api.example.com",
        "GET /x?y=z|example.com",
    ),
];

#[tokio::test]
async fn transforms_write_what_the_guide_says_and_do_not_change_the_route() {
    let site = Site::start().await;
    for (transform, text, wanted) in TRANSFORMS {
        let running = site
            .with(&format!(
                "      - {{priority: 1, condition: [{{path_pattern: {{values: ['*']}}}}], transform: [{transform}], action: [{{type: forward, target_group: a}}]}}
      - {{priority: 2, condition: [{{path_pattern: {{values: ['/product.php', '/x']}}}}], action: [{{type: forward, target_group: b}}]}}"
            ))
            .await;
        let got = ask(&running, &request(text)).await;
        assert_eq!(got.text(), format!("a|{wanted}"), "{transform}");
    }
    // One that matches and comes to nothing that can be sent is 500.
    let running = site
        .with(
            "      - {priority: 1, condition: [{path_pattern: {values: ['*']}}], transform: [{type: url_rewrite, url_rewrite_config: \
             {rewrite: {regex: '^/a', replace: 'no-slash'}}}], action: [{type: forward, target_group: a}]}",
        )
        .await;
    let got = ask(&running, &request("GET /a h")).await;
    assert_eq!(
        (got.status(), got.reason()),
        (500, Some("transform_failed"))
    );
}
