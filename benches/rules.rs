//! `RuleTable::action`: how long it takes to find the action of a request, by the number of rules.
//!
//! Each rule has a Host and a path pattern. Ten rules share a Host, as the paths of one site do, so
//! a look at a rule ends in the Host for all sites but one.

use std::fmt::Write as _;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use criterion::{BenchmarkId, Criterion};
use longshore::control::compile::rule_table;
use longshore::control::ids::GroupId;
use longshore::request::rules::{Action, Facts, RuleTable};

const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];
const PATHS_PER_HOST: usize = 10;
const RULED: GroupId = GroupId(1);
const DEFAULT: GroupId = GroupId(2);

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    action(&mut criterion);
    criterion.final_summary();
}

fn action(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rules/action");
    for size in SIZES {
        let table = table(size);
        let host = host(size - 1);
        let last = path(size - 1);
        // The default is met on the last site, so that its ten paths are all looked at.
        for (case, path, expected) in [
            ("last", format!("{last}/orders/4711"), RULED),
            (
                "default",
                "/no-such-service/orders/4711".to_owned(),
                DEFAULT,
            ),
        ] {
            let facts = Facts {
                method: "GET",
                host: &host,
                host_name: &host,
                path: &path,
                query: Some("page=2"),
                fields: &[],
                source: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
            };
            assert_eq!(forwards_to(table.action(&facts)), [expected], "{case}");
            group.bench_function(BenchmarkId::new(case, size), |bencher| {
                bencher.iter(|| table.action(black_box(&facts)));
            });
        }
    }
    group.finish();
}

fn host(rule: usize) -> String {
    format!("tenant-{:03}.example.com", rule / PATHS_PER_HOST)
}

fn path(rule: usize) -> String {
    format!("/service-{}", rule % PATHS_PER_HOST)
}

/// A table as a configuration file gives it.
fn table(size: usize) -> RuleTable {
    let mut text = String::from(
        "target_groups: [{name: ruled}, {name: default}]
listeners:
  - name: web
    port: 80
    default_action: [{type: forward, target_group: default}]
    rules:
",
    );
    for rule in 0..size {
        writeln!(
            text,
            "      - priority: {}
        condition:
          - host_header: {{values: [\"{}\"]}}
          - path_pattern: {{values: [\"{}/*\"]}}
        action: [{{type: forward, target_group: ruled}}]",
            rule + 1,
            host(rule),
            path(rule),
        )
        .expect("a String takes all");
    }
    let config = longshore_config::parse("bench", &text, &|_| None).expect("a valid file");
    let table = rule_table(&config.listeners[0], &[], &|name| match name {
        "ruled" => Some(RULED),
        "default" => Some(DEFAULT),
        _ => None,
    });
    assert_eq!(table.len(), size);
    table
}

fn forwards_to(action: &Action) -> Vec<GroupId> {
    match action {
        Action::Forward(split) => split.groups().collect(),
        Action::Redirect(_) | Action::Fixed(_) => Vec::new(),
    }
}
