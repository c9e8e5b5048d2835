use std::net::{IpAddr, Ipv4Addr};

use longshore_config::Config;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{Effect, Request, explain, listener};
use crate::request::answer::Reason;

const FILE: &str = r##"
listeners:
  - name: web
    address: 127.0.0.1:8080
    default_action: [{type: forward, target_group: app}]
    rules:
      - priority: 30
        condition: [{http_request_method: {values: ["TRACE", "PURGE"]}}]
        action: [{type: fixed_response, fixed_response: {status_code: 405, message_body: "no"}}]
      - priority: 10
        condition:
          - host_header: {values: ["api.example.com", "*.test"]}
          - path_pattern: {values: ["/v1/*"]}
        action:
          - type: forward
            forward: {target_group: [{name: app, weight: 9}, {name: next, weight: 1}]}
        transform:
          - type: url_rewrite
            url_rewrite_config: {rewrite: {regex: "^/v1/(.*)$", replace: "/api/$1"}}
      - priority: 20
        condition: [{path_pattern: {values: ["/old/*"]}}]
        action: [{type: redirect, redirect: {status_code: HTTP_301, path: "/new/#{path}"}}]
      - priority: 40
        condition: [{query_string: [{key: version, value: "2"}]}, {source_ip: {values: ["10.0.0.0/8"]}}]
        action: [{type: forward, target_group: next}]
      - priority: 50
        condition: [{http_header: {http_header_name: X-Beta, regex_values: ["^y"]}}]
        action: [{type: forward, target_group: next}]
  - name: other
    address: 127.0.0.1:9090
    default_action: [{type: forward, target_group: next}]
target_groups:
  - {name: app, targets: [{address: 127.0.0.1, port: 32768}]}
  - {name: next, targets: []}
"##;

fn config() -> Config {
    longshore_config::parse("test", FILE, &|_| None).unwrap_or_else(|errors| panic!("{errors}"))
}

fn request(method: &str, url: &str) -> Request {
    Request::new(method, url, Vec::new(), IpAddr::V4(Ipv4Addr::LOCALHOST)).expect("a URL")
}

fn explained(method: &str, url: &str) -> super::Explanation {
    let (config, request) = (config(), request(method, url));
    let at = listener(&config, &request).expect("a listener");
    explain(&config, at, &request)
}

#[test]
fn each_condition_that_was_tried_says_what_the_request_has_and_what_the_rule_wants() {
    let got = explained("GET", "http://www.example.com:8080/v1/users");
    assert_eq!(got.rule, None);
    let of: Vec<(u64, Vec<(&str, bool)>)> = got
        .tried
        .iter()
        .map(|tried| {
            let conditions = tried.conditions.iter();
            (
                tried.priority,
                conditions.map(|one| (one.kind, one.holds)).collect(),
            )
        })
        .collect();
    assert_eq!(
        of,
        [
            (10, vec![("host_header", false), ("path_pattern", true)]),
            (20, vec![("path_pattern", false)]),
            (30, vec![("http_request_method", false)]),
            (40, vec![("query_string", false), ("source_ip", false)]),
            (50, vec![("http_header", false)]),
        ]
    );
    let host = &got.tried[0].conditions[0];
    assert_eq!(host.has, "www.example.com:8080");
    assert_eq!(host.wants, "api.example.com or *.test");
    let header = &got.tried[4].conditions[0];
    assert_eq!(
        (header.has.as_str(), header.wants.as_str()),
        ("no X-Beta", "regex ^y")
    );
}

#[test]
fn nothing_behind_the_rule_that_holds_is_tried_and_the_target_gets_what_its_transform_writes() {
    let got = explained("GET", "http://api.example.com:8080/v1/a?b=c");
    assert_eq!((got.rule, got.tried.len()), (Some(10), 1));
    let Effect::Forward {
        groups,
        sticky,
        sent,
    } = got.effect
    else {
        panic!("{:?}", got.effect);
    };
    assert_eq!(
        groups,
        [("app".to_owned(), 90.0), ("next".to_owned(), 10.0)]
    );
    assert!(!sticky);
    assert_eq!(
        sent,
        ("api.example.com:8080".to_owned(), "/api/a?b=c".to_owned())
    );
}

#[test]
fn redirects_and_fixed_responses_are_told_whole() {
    let Effect::Redirect { status, location } = explained("GET", "http://a:8080/old/x?q").effect
    else {
        panic!("no redirect");
    };
    assert_eq!(status, 301);
    assert_eq!(location.as_deref(), Some("http://a:8080/new/old/x?q"));
    let Effect::Fixed { status, body, .. } = explained("PURGE", "http://a:8080/").effect else {
        panic!("no fixed response");
    };
    assert_eq!((status, body.as_str()), (405, "no"));
    let at_another = explained("TRACE", "http://a:9090/").effect;
    assert!(
        matches!(at_another, Effect::Refused(Reason::MethodNotAllowed)),
        "{at_another:?}"
    );
}

#[test]
fn a_request_that_is_refused_meets_no_rule() {
    for (method, url) in [("CONNECT", "http://a:8080/"), ("GET", "http://a:8080/%2")] {
        let got = explained(method, url);
        assert!(
            matches!(got.effect, Effect::Refused(_)),
            "{method} {url}: {got:?}"
        );
        assert!(got.tried.is_empty());
    }
}

#[test]
fn the_listener_is_that_of_the_port_or_else_the_first_of_the_protocol() {
    let config = config();
    let name = |url| listener(&config, &request("GET", url)).map(|at| at.name.as_str());
    assert_eq!(name("http://a:9090/"), Some("other"));
    assert_eq!(name("http://a/"), Some("web"));
    assert_eq!(name("https://a/"), None);
}

#[test]
fn what_is_no_url_is_told_how_it_should_be_written() {
    let source = IpAddr::V4(Ipv4Addr::LOCALHOST);
    for (url, says) in [
        ("ftp://a/", "use http://"),
        ("example.com/x", "write http://HOST/PATH"),
        ("/x", "-H 'Host: HOST'"),
    ] {
        let error = Request::new("GET", url, Vec::new(), source).expect_err(url);
        assert!(error.contains(says), "{error}");
    }
    let bare = Request::new("GET", "http://a?q#top", Vec::new(), source).expect("a URL");
    assert_eq!(
        (bare.authority.as_str(), bare.target.as_str()),
        ("a", "/?q")
    );
}

#[test]
fn it_finds_the_rule_that_requests_meet() {
    let seed = 11;
    println!("seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let config = config();
    let at = &config.listeners[0];
    let table = crate::control::compile::rule_table(at, &[], &|_| None);
    let mut met = std::collections::BTreeSet::new();
    for _ in 0..2_000 {
        let mut of = |list: &[&str]| list[rng.random_range(0..list.len())].to_owned();
        let host = of(&["api.example.com", "x.test", "www.example.com"]);
        let path = of(&["/v1/x", "/old/x", "/", "/a"]);
        let query = of(&["", "?version=2", "?x"]);
        let method = of(&["GET", "PURGE", "POST"]);
        let mut asked = request(&method, &format!("http://{host}{path}{query}"));
        if rng.random() {
            asked.source = [10, 1, 2, 3].into();
        }
        let beta = rng.random::<bool>();
        if beta {
            let (name, value) = ("x-beta", "Yes");
            asked.fields.push((
                name.parse().expect("a name"),
                value.parse().expect("a value"),
            ));
        }
        let fields = [crate::http1::field::Field {
            name: "x-beta",
            value: b"Yes",
        }];
        let facts = crate::request::rules::Facts {
            method: &method,
            host: &host,
            host_name: &host,
            path: &path,
            query: query.strip_prefix('?'),
            fields: if beta { &fields } else { &[] },
            source: asked.source,
        };
        let wanted = table
            .rules()
            .iter()
            .find(|rule| rule.holds(&facts))
            .map(|rule| rule.priority);
        let found: *const _ = table.action(&facts);
        let by_index = table
            .rules()
            .iter()
            .find(|rule| std::ptr::eq(&raw const rule.action, found));
        let got = explain(&config, at, &asked).rule;
        assert_eq!(got, wanted, "{asked:?}");
        assert_eq!(got, by_index.map(|rule| rule.priority), "{asked:?}");
        met.insert(got);
    }
    assert_eq!(met.len(), 6, "each rule and the default action: {met:?}");
}

#[test]
fn what_policies_and_the_guard_against_desync_refuse_is_told_as_such() {
    const GUARDED: &str = r##"
listeners:
  - name: web
    address: 127.0.0.1:8080
    policy: {source_ip_allow: [10.0.0.0/8]}
    default_action: [{type: forward, target_group: app}]
    rules:
      - priority: 1
        condition: [{path_pattern: {values: ["/staff/*"]}}]
        policy: {basic_auth: {users: {ann: "$2b$10$abcdefghijklmnopqrstuug7uV/rfOsuPOAUg70eqWWWMjvHc6jZm"}}}
        action: [{type: forward, target_group: app}]
target_groups: [{name: app, targets: []}]
"##;
    let config = longshore_config::parse("test", GUARDED, &|_| None).expect("valid");
    let of = |source: [u8; 4], path: &str, fields: &[(&'static str, &'static str)]| {
        let fields = fields.iter().map(|(name, value)| {
            let name = http::HeaderName::from_static(name);
            (name, http::HeaderValue::from_static(value))
        });
        let url = format!("http://A.example:8080{path}");
        let asked = Request::new("GET", &url, fields.collect(), IpAddr::from(source));
        let asked = asked.expect("a URL");
        let at = listener(&config, &asked).expect("a listener");
        match explain(&config, at, &asked).effect {
            Effect::Refused(reason) => reason.name().to_owned(),
            Effect::Forward { sent, .. } => sent.0,
            other => panic!("{other:?}"),
        }
    };
    let login = [("authorization", "Basic YW5uOngK")];
    assert_eq!(of([192, 0, 2, 1], "/", &[]), "source_ip_denied");
    assert_eq!(of([10, 0, 0, 1], "/", &[]), "a.example:8080");
    assert_eq!(of([10, 0, 0, 1], "/staff/a", &[]), "unauthorized");
    assert_eq!(of([10, 0, 0, 1], "/staff/a", &login), "a.example:8080");
    let with_body = [("content-length", "5")];
    assert_eq!(of([10, 0, 0, 1], "/", &with_body), "desync_mitigation");
}
