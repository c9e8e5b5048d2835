use std::collections::BTreeMap;
use std::net::IpAddr;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{Action, Facts, Rule, RuleTable, Split};
use crate::control::compile;
use crate::control::ids::GroupId;
use crate::http1::field::Field;
use crate::request::condition::{Condition, HostPattern, TextPattern};
use crate::request::normal::without_port;
use crate::request::pattern::{Pattern, Regex};
use crate::request::transform::Transforms;

/// Which group a request comes to under the rules of a file, by the group's name.
fn route(rules: &str, facts: &Facts<'_>) -> String {
    let text = format!(
        "listeners:\n  - name: l\n    port: 80\n    default_action: [{{type: forward, target_group: none}}]\n    rules:\n{rules}\n\
         target_groups: [{{name: none}}, {{name: a}}, {{name: b}}]\n"
    );
    let config = longshore_config::parse("test", &text, &|_| None)
        .unwrap_or_else(|errors| panic!("{errors}"));
    let ids: BTreeMap<String, GroupId> = config
        .target_groups
        .iter()
        .zip(0..)
        .map(|(group, id)| (group.name.clone(), GroupId(id)))
        .collect();
    let table: RuleTable =
        compile::rule_table(&config.listeners[0], &[], &|name| ids.get(name).copied());
    match table.action(facts) {
        Action::Forward(split) => {
            let id = split.choose(|_| 0).expect("a group");
            ids.into_iter()
                .find(|(_, known)| *known == id)
                .expect("known")
                .0
        }
        Action::Fixed(fixed) => format!("fixed {}", fixed.status.as_u16()),
        Action::Redirect(_) => "redirect".to_owned(),
    }
}

fn request<'r>(
    method: &'r str,
    host: &'r str,
    target: &'r str,
    fields: &'r [Field<'r>],
) -> Facts<'r> {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    Facts {
        method,
        host,
        host_name: without_port(host),
        path,
        query,
        fields,
        source: IpAddr::from([10, 1, 2, 3]),
    }
}

#[track_caller]
fn check(condition: &str, host: &str, target: &str, matches: bool) {
    let rules = format!(
        "    - {{priority: 1, condition: [{{{condition}}}], action: [{{type: forward, target_group: a}}]}}"
    );
    let fields = [
        Field {
            name: "X-Version",
            value: b"one",
        },
        Field {
            name: "x-version",
            value: b"Two",
        },
    ];
    let got = route(&rules, &request("GET", host, target, &fields));
    assert_eq!(
        got,
        if matches { "a" } else { "none" },
        "{condition} on {host}{target}"
    );
}

#[test]
fn each_condition_matches_what_alb_says() {
    check(
        "host_header: {values: [example.com]}",
        "EXAMPLE.com",
        "/",
        true,
    );
    check(
        "host_header: {values: ['*.example.com']}",
        "a.example.com",
        "/",
        true,
    );
    check(
        "host_header: {values: ['*.example.com']}",
        "example.com",
        "/",
        false,
    );
    check(
        "host_header: {values: [example.com]}",
        "example.com:8080",
        "/",
        true,
    );
    check(
        "host_header: {values: ['example.com:8080']}",
        "example.com:8081",
        "/",
        false,
    );
    check(
        "host_header: {regex_values: ['^(api|www)\\.[a-z]+\\.com$']}",
        "API.example.com:443",
        "/",
        true,
    );
    check(
        "host_header: {regex_values: ['^(api|www)\\.[a-z]+\\.com$']}",
        "api.example.org",
        "/",
        false,
    );
    check(
        "path_pattern: {regex_values: ['^/v[0-9]+/']}",
        "h",
        "/v12/x",
        true,
    );
    check(
        "path_pattern: {regex_values: ['^/v[0-9]+/']}",
        "h",
        "/V12/x",
        false,
    );
    check("path_pattern: {regex_values: ['b.d']}", "h", "/abcde", true);
    check(
        "http_header: {http_header_name: X-Version, regex_values: ['^(ONE|three)$']}",
        "h",
        "/",
        true,
    );
    check(
        "http_header: {http_header_name: X-Version, regex_values: ['^t$']}",
        "h",
        "/",
        false,
    );
    check("path_pattern: {values: ['/img/*']}", "h", "/img/x", true);
    check("path_pattern: {values: ['/img/*']}", "h", "/IMG/x", false);
    check("path_pattern: {values: ['/img']}", "h", "/img?x=/img", true);
    check("path_pattern: {values: ['/q', '/img']}", "h", "/img", true);
    check("http_request_method: {values: [GET]}", "h", "/", true);
    check("http_request_method: {values: [POST]}", "h", "/", false);
    check(
        "http_header: {http_header_name: X-Version, values: [two]}",
        "h",
        "/",
        true,
    );
    check(
        "http_header: {http_header_name: X-Version, values: ['o*']}",
        "h",
        "/",
        true,
    );
    check(
        "http_header: {http_header_name: X-Version, values: [three]}",
        "h",
        "/",
        false,
    );
    check(
        "http_header: {http_header_name: X-Absent, values: ['*']}",
        "h",
        "/",
        false,
    );
    check(
        "query_string: [{key: v, value: '1*'}]",
        "h",
        "/?a=2&V=12",
        true,
    );
    check("query_string: [{key: v, value: '1*'}]", "h", "/?v=2", false);
    check("query_string: [{value: beta}]", "h", "/?any=BETA", true);
    check("query_string: [{value: beta}]", "h", "/", false);
    check(
        r"query_string: [{key: v, value: '1\*'}]",
        "h",
        "/?v=1*",
        true,
    );
    check(
        r"query_string: [{key: v, value: '1\*'}]",
        "h",
        "/?v=12",
        false,
    );
    check("source_ip: {values: [10.0.0.0/8]}", "h", "/", true);
    check(
        "source_ip: {values: [192.0.2.0/24, '2001:db8::/32']}",
        "h",
        "/",
        false,
    );
    check(
        "host_header: {values: [h]}}, {path_pattern: {values: [/x]}",
        "h",
        "/x",
        true,
    );
    check(
        "host_header: {values: [h]}}, {path_pattern: {values: [/x]}",
        "h",
        "/y",
        false,
    );
}

#[test]
fn rules_that_labels_make_have_the_policy_of_their_listener() {
    let text = "listeners:
  - name: l
    port: 80
    policy: {request_body_limit: 5}
    default_action: [{type: forward, target_group: none}]
    rules:
      - {priority: 9, condition: [{path_pattern: {values: [/own]}}], action: [{type: forward, target_group: none}], policy: {request_body_limit: 7}}
      - {priority: 5, condition: [{path_pattern: {values: [/label]}}], action: [{type: forward, target_group: none}]}
target_groups: [{name: none}]
";
    let mut config = longshore_config::parse("test", text, &|_| None).expect("valid");
    // As labels do: a rule of nobody's file, with a priority of its own.
    let made = config.listeners[0].rules.remove(1);
    let table = compile::rule_table(&config.listeners[0], &[(5, made)], &|_| Some(GroupId(1)));
    let limit = |path| {
        let found = table.find(&request("GET", "h", path, &[]));
        found.policy.and_then(|policy| policy.body_limit)
    };
    assert_eq!(limit("/label"), Some(5));
    assert_eq!(limit("/own"), Some(7));
    assert_eq!(limit("/else"), Some(5));
    let policy = table.find(&request("GET", "h", "/label", &[])).policy;
    let of_listener = table.default_policy();
    assert!(
        std::sync::Arc::ptr_eq(policy.expect("one"), of_listener.expect("one")),
        "what is counted for the listener is counted together"
    );
}

#[test]
fn the_lowest_priority_number_wins_wherever_it_stands() {
    let rules = "    - {priority: 20, condition: [{path_pattern: {values: ['/*']}}], action: [{type: forward, target_group: a}]}
    - {priority: 10, condition: [{path_pattern: {values: ['/x*']}}], action: [{type: forward, target_group: b}]}";
    assert_eq!(route(rules, &request("GET", "h", "/x1", &[])), "b");
    assert_eq!(route(rules, &request("GET", "h", "/y", &[])), "a");
}

#[test]
fn weights_share_requests_and_a_weight_of_0_gets_none() {
    let split = Split::new([(9, GroupId(1)), (0, GroupId(2)), (1, GroupId(3))]);
    let mut counts = BTreeMap::new();
    for number in 0..10 {
        let group = split.choose(|sum| {
            assert_eq!(sum, 10);
            number
        });
        *counts.entry(group.expect("a group").0).or_insert(0) += 1;
    }
    assert_eq!(counts, BTreeMap::from([(1, 9), (3, 1)]));
    assert_eq!(Split::new([]).choose(|_| 0), None);
}

#[test]
fn groups_that_fail_over_take_the_share_of_those_that_are_not_healthy() {
    let (a, b, c) = (GroupId(0), GroupId(1), GroupId(2));
    let split = || Split::new([(1, a), (2, b), (1, c)]);
    let shares = |split: &Split, stays: Option<GroupId>, healthy: &[GroupId]| {
        let mut counts: BTreeMap<GroupId, u64> = BTreeMap::new();
        for first in 0..4 {
            for second in 0..12 {
                let draws = std::cell::Cell::new(0);
                let draw = |bound: u64| {
                    draws.set(draws.get() + 1);
                    (if draws.get() == 1 && stays.is_none() {
                        first
                    } else {
                        second
                    }) % bound
                };
                let found = split.route(stays, draw, |group| healthy.contains(&group));
                *counts.entry(found.expect("a group")).or_default() += 1;
            }
        }
        counts
    };
    let failing_over = split().that_fails_over(true);
    assert_eq!(
        shares(&failing_over, None, &[a, b, c]),
        [(a, 12), (b, 24), (c, 12)].into()
    );
    // The 24 of b are spread over a and c, which have equal weights.
    assert_eq!(
        shares(&failing_over, None, &[a, c]),
        [(a, 24), (c, 24)].into()
    );
    assert_eq!(shares(&failing_over, None, &[b]), [(b, 48)].into());
    // Of b and c, in which the weights are 2 and 1.
    assert_eq!(
        shares(&failing_over, None, &[b, c]),
        [(b, 32), (c, 16)].into()
    );
    // Nobody is healthy: each keeps its share.
    assert_eq!(
        shares(&failing_over, None, &[]),
        [(a, 12), (b, 24), (c, 12)].into()
    );
    // Who stays at a group does so as long as it is healthy.
    assert_eq!(shares(&failing_over, Some(c), &[b, c]), [(c, 48)].into());
    assert_eq!(shares(&failing_over, Some(c), &[b]), [(b, 48)].into());
    // As at ALB, groups keep their shares unless the rule says otherwise.
    assert_eq!(
        shares(&split(), None, &[b]),
        [(a, 12), (b, 24), (c, 12)].into()
    );
}

/// Random rules and requests from few pieces, so that they meet often: the index finds what a look
/// at all rules in their order finds.
#[test]
fn the_index_finds_the_first_rule_that_holds() {
    let seed = std::env::var("LONGSHORE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(20_261_121);
    println!("LONGSHORE_SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let (mut met, mut missed) = (0, 0);
    for round in 0..400 {
        let rules: Vec<Rule> = (0..random.random_range(1..40))
            .map(|priority| Rule {
                priority,
                conditions: (0..random.random_range(1..4))
                    .map(|_| condition(&mut random))
                    .collect(),
                action: Action::Forward(Split::new([])),
                transforms: Transforms::default(),
                policy: None,
            })
            .collect();
        let table = RuleTable::new(rules, Action::Forward(Split::new([])));
        for _ in 0..100 {
            let host = text(&mut random, &HOSTS, 4);
            let path = format!("/{}", text(&mut random, &PATHS, 5));
            let facts = Facts {
                source: IpAddr::from([10, 0, 0, random.random_range(0..4)]),
                ..request(["GET", "PUT"][random.random_range(0..2)], &host, &path, &[])
            };
            let expected = table.rules().iter().find(|rule| rule.holds(&facts));
            let expected = expected.map(|rule| &raw const rule.action);
            let found = &raw const *table.action(&facts);
            assert!(
                found == expected.unwrap_or(&raw const table.default),
                "round {round}: {facts:?} in {table:#?}"
            );
            *(if expected.is_some() {
                &mut met
            } else {
                &mut missed
            }) += 1;
        }
    }
    assert!(met > 10_000 && missed > 5_000, "{met} met, {missed} missed");
}

const HOSTS: [&str; 8] = ["a", "B", "b", ".", ".com", "1", "-", ":80"];
const PATHS: [&str; 7] = ["/", "a", "A", "b", "ab", "c", "/x"];

fn text(random: &mut SmallRng, pieces: &[&str], most: usize) -> String {
    (0..random.random_range(0..=most))
        .map(|_| pieces[random.random_range(0..pieces.len())])
        .collect()
}

fn condition(random: &mut SmallRng) -> Condition {
    let wild = |random: &mut SmallRng, pieces: &[&str], start: &str, fold| {
        let mut text = start.to_owned() + &text(random, pieces, 3);
        for _ in 0..random.random_range(0..3) {
            let at = random.random_range(0..=text.len());
            text.insert(at, ['*', '*', '?'][random.random_range(0..3)]);
        }
        TextPattern::Wild(Pattern::new(&text, fold, false))
    };
    let regex = |random: &mut SmallRng, fold| {
        let all = [
            "^/a",
            "^/(a|b)",
            "^/[ab]+$",
            "b$",
            "(a|B)\\.com$",
            "^a|b$",
            "(?i)^/A",
            "x",
            "^/a{2,3}b?",
            "\\.(com|1)$",
            "(?m)^/b",
            "",
        ];
        let text = all[random.random_range(0..all.len())];
        TextPattern::Regex(Regex::new(text, fold).expect("valid"))
    };
    let count = random.random_range(1..3);
    match random.random_range(0..8) {
        0..=2 => Condition::Host(
            (0..count)
                .map(|_| HostPattern {
                    with_port: random.random_ratio(1, 6),
                    pattern: if random.random_ratio(1, 4) {
                        regex(random, true)
                    } else {
                        wild(random, &HOSTS[..7], "", true)
                    },
                })
                .collect(),
        ),
        3..=5 => Condition::Path(
            (0..count)
                .map(|_| {
                    if random.random_ratio(1, 4) {
                        regex(random, false)
                    } else {
                        wild(random, &PATHS, "/", false)
                    }
                })
                .collect(),
        ),
        6 => Condition::Method(vec![http::Method::GET]),
        _ => Condition::Source(vec!["10.0.0.2/31".parse().expect("a network")]),
    }
}
