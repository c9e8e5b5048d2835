//! Rules: patterns against a slow reading of the same, and tables of rules against a look at each
//! rule in turn.

use std::net::{IpAddr, Ipv4Addr};

use longshore::control::compile::rule_table;
use longshore::request::normal::without_port;
use longshore::request::pattern::{Pattern, Regex};
use longshore::request::rules::{Action, Facts};
use longshore_config::parse;

use crate::engine::{corpus, outcome, run};

const WORDS: &[&[u8]] = &[
    b"*",
    b"?",
    b"**",
    b"\\*",
    b"\\",
    b"a",
    b"A",
    b"/",
    b".",
    b"\n",
    b"(",
    b")",
    b"[a-",
    b"]",
    b"+",
    b"{9,}",
    b"^",
    b"$",
    b"|",
    b".*",
    b"(?i)",
    b"api.example.com",
    b"/v1/",
    b"=",
    b"&",
];

/// `*` and `?` as they are explained, one character after the other.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=text.len()).any(|at| matches(rest, &text[at..])),
        ([b'?', rest @ ..], [_, text @ ..]) => matches(rest, text),
        ([wanted, rest @ ..], [byte, text @ ..]) if wanted == byte => matches(rest, text),
        _ => false,
    }
}

/// A pattern and a text, with a line end between.
fn pattern(input: &[u8]) -> u64 {
    let mut parts = input.splitn(2, |byte| *byte == b'\n');
    let pattern = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let text = parts.next().unwrap_or_default();
    let quick = Pattern::new(&pattern, false, false).matches(text);
    // The slow one takes time that grows with the power of the stars.
    let stars = pattern.matches('*').count();
    if stars <= 3 && text.len() <= 60 {
        assert_eq!(quick, matches(pattern.as_bytes(), text));
    }
    let folded = Pattern::new(&pattern, true, false).matches(text);
    assert!(
        folded || !quick,
        "without regard to case it matches at least as much"
    );
    let regex = Regex::new(&pattern, true).map(|regex| regex.matches(text));
    outcome((quick, folded, regex, stars.min(5)))
}

const FILE: &str = r#"
listeners:
  - name: web
    port: 80
    default_action: [{type: fixed_response, fixed_response: {status_code: 599, content_type: text/plain}}]
    rules:
      - {priority: 1, condition: [{host_header: {values: ["api.example.com", "*.api.example.com"]}}, {path_pattern: {values: ["/v1/*"]}}], action: &a [{type: fixed_response, fixed_response: {status_code: 201, content_type: text/plain}}]}
      - {priority: 2, condition: [{path_pattern: {values: ["/v?/a", "*.png"]}}], action: [{type: fixed_response, fixed_response: {status_code: 202, content_type: text/plain}}]}
      - {priority: 3, condition: [{query_string: [{key: "a", value: "b*"}, {value: "\\*"}]}], action: [{type: fixed_response, fixed_response: {status_code: 203, content_type: text/plain}}]}
      - {priority: 4, condition: [{path_pattern: {regex_values: ["^/r[0-9]+/", "(?:x|y)$"]}}], action: [{type: fixed_response, fixed_response: {status_code: 204, content_type: text/plain}}]}
      - {priority: 5, condition: [{host_header: {regex_values: ["^a[^.]*\\.example"]}}, {http_request_method: {values: [GET, PURGE]}}], action: [{type: fixed_response, fixed_response: {status_code: 205, content_type: text/plain}}]}
      - {priority: 6, condition: [{source_ip: {values: ["10.0.0.0/8"]}}, {path_pattern: {values: ["*"]}}], action: [{type: fixed_response, fixed_response: {status_code: 206, content_type: text/plain}}]}
      - {priority: 7, condition: [{host_header: {values: ["?.example.com:8080", "[::1]"]}}], action: [{type: fixed_response, fixed_response: {status_code: 207, content_type: text/plain}}]}
"#;

#[test]
fn any_pattern_matches_what_a_slow_reading_matches() {
    run(
        "pattern",
        4_000,
        &corpus(include_str!("corpus/pattern.txt")),
        WORDS,
        pattern,
    );
}

#[test]
fn any_request_finds_the_first_rule_that_holds() {
    let file = FILE.replace("&a ", "");
    let config = parse("f", &file, &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
    let table = rule_table(&config.listeners[0], &|_| None);
    assert_eq!(table.len(), 7);
    let status = |action: &Action| match action {
        Action::Fixed(fixed) => fixed.status.as_u16(),
        _ => 0,
    };
    // Method, host, path and query with a space between, and the last byte of the source.
    run(
        "rules",
        10_000,
        &corpus(include_str!("corpus/rules.txt")),
        WORDS,
        |input| {
            let text = String::from_utf8_lossy(input);
            let mut words = text.split(' ');
            let mut next = || words.next().unwrap_or_default();
            let (method, host, path, query) = (next(), next(), next(), next());
            let first = if query.len().is_multiple_of(2) {
                10
            } else {
                192
            };
            let facts = Facts {
                method,
                host,
                host_name: without_port(host),
                path,
                query: (!query.is_empty()).then_some(query),
                fields: &[],
                source: IpAddr::V4(Ipv4Addr::new(first, 0, 0, 1)),
            };
            let found = status(table.action(&facts));
            let slow = table.rules().iter().find(|rule| rule.holds(&facts));
            let slow = slow.map_or(599, |rule| status(&rule.action));
            assert_eq!(found, slow);
            outcome((found, host.len().min(3), path.len().min(3)))
        },
    );
}
