//! Answers and events of ECS, as the books of a service take them in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_config::{EcsDiscovery, parse as parse_config};
use longshore_discovery::ecs::api::{
    Binding, Container, Described, Host, Hosts, RangeBinding, Task,
};
use longshore_discovery::ecs::book::Book;
use longshore_discovery::ecs::event::{Message, parse};

use crate::engine::{corpus, outcome, run};

fn spec() -> EcsDiscovery {
    let file = "listeners: [{name: web, port: 80, default_action: [{type: forward, target_group: app}]}]\n\
         target_groups: [{name: app, discovery: {ecs: {cluster: prod, service: app, container: web, container_port: 80}}}]";
    let config = parse_config("f", file, &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
    let discovery = config.target_groups[0].discovery.clone();
    discovery.and_then(|found| found.ecs).expect("ECS")
}

/// Reads choices out of an input; zeros once it is used up.
struct Choices<'i>(&'i [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.byte()) % all.len()]
    }

    fn arn(&mut self) -> Arc<str> {
        format!("arn:aws:ecs:r:1:task/prod/{}", self.byte() % 8).into()
    }

    fn task(&mut self) -> Task {
        let status = self.of(&[
            "PENDING", "RUNNING", "RUNNING", "RUNNING", "STOPPING", "", "?",
        ]);
        let mut containers = Vec::new();
        for _ in 0..self.byte() % 4 {
            containers.push(self.container());
        }
        Task {
            arn: self.arn(),
            version: i64::from(self.byte()) - 3,
            desired_running: !self.byte().is_multiple_of(5),
            last_status: status.to_owned(),
            started_at: Some(i64::from(self.byte()) - 1).filter(|at| *at >= 0),
            unhealthy: self.byte() % 9 == 1,
            checked: self.byte() % 2 == 1,
            started_by: self
                .of(&[None, Some("ecs-svc/1"), Some("")])
                .map(Into::into),
            zone: self.of(&[None, Some("a"), Some("")]).map(Into::into),
            host: self
                .of(&[None, Some("host/0"), Some("host/1"), Some("host/9")])
                .map(Into::into),
            definition: self.of(&[None, Some("web:1"), Some("")]).map(Into::into),
            interface: self
                .of(&[None, Some("10.0.0.9"), Some("fd00::9")])
                .and_then(|ip| ip.parse().ok()),
            containers,
        }
    }

    fn container(&mut self) -> Container {
        let port = |byte: u8| u16::from(byte) * 257;
        let mut bindings = Vec::new();
        for _ in 0..self.byte() % 4 {
            bindings.push(Binding {
                container_port: self.of(&[80, 80, 81, 0, 65_535]),
                host_port: port(self.byte()),
            });
        }
        let mut ranges = Vec::new();
        for _ in 0..self.byte() % 3 {
            ranges.push(RangeBinding {
                container_range: self
                    .of(&["80-90", "90-80", "79-81", "0-65535", "-", "80", ""])
                    .into(),
                host_range: self
                    .of(&[
                        "40000-40010",
                        "40010-40000",
                        "65530-65540",
                        "1-2",
                        "x-y",
                        "",
                    ])
                    .into(),
            });
        }
        Container {
            name: self.of(&["web", "web", "side", ""]).into(),
            running: self.byte() % 4 != 1,
            bindings,
            ranges,
        }
    }
}

/// A history: looks, answers, hosts, at times that go on. Each byte decides something.
fn history(spec: &EcsDiscovery, begin: Instant, input: &[u8]) -> u64 {
    let mut choices = Choices(input);
    let mut book = Book::default();
    let mut now = begin;
    let mut stopped: BTreeSet<Arc<str>> = BTreeSet::new();
    let mut seen = 0;
    while !choices.0.is_empty() {
        now += Duration::from_millis(u64::from(choices.byte()) * 50);
        match choices.byte() % 4 {
            0 => {
                let mut listed = BTreeSet::new();
                for _ in 0..choices.byte() % 8 {
                    listed.insert(choices.arn());
                }
                book.listed(&listed, now);
            }
            1 | 2 => {
                let mut answer = Described::default();
                for _ in 0..choices.byte() % 4 {
                    answer.tasks.push(choices.task());
                }
                if choices.byte() % 4 == 0 {
                    answer.missing.push(choices.arn());
                }
                book.described(answer, now);
            }
            _ => {
                let mut answer = Hosts::default();
                for number in 0..choices.byte() % 3 {
                    answer.found.push(Host {
                        arn: format!("host/{number}").into(),
                        instance: choices.of(&["i-1", "mi-1", ""]).into(),
                        address: std::net::Ipv4Addr::new(10, 0, 0, choices.byte()).into(),
                        zone: None,
                    });
                }
                book.found_hosts(answer, now);
            }
        }
        let (targets, problems) = book.targets(spec);
        assert!(targets.len() + problems.len() <= 64);
        let mut addresses = BTreeMap::new();
        for target in &targets {
            assert!(target.address.port() != 0, "{target:?}");
            assert_eq!((&*target.key.container, target.key.port), ("web", 80));
            *addresses.entry(target.key.clone()).or_insert(0) += 1;
            assert!(
                !stopped.contains(&target.key.task),
                "{target:?} was told to stop"
            );
        }
        assert!(addresses.values().all(|count| *count == 1), "{addresses:?}");
        stopped.clear();
        seen = outcome((targets.len(), problems.len().min(4), book.len().min(4)));
    }
    seen
}

const WORDS: &[&[u8]] = &[
    b"\0",
    b"\x01",
    b"\x02",
    b"\x03",
    b"\x01\x03",
    b"\xff",
    b"\xff\xff\xff",
    b"\x04\x01\x01\x01",
];

#[test]
fn any_answers_of_ecs_give_whole_targets_or_none() {
    let spec = spec();
    let begin = Instant::now();
    let seeds = corpus(include_str!("corpus/ecs_answers.txt"));
    run("ECS answers", 4_000, &seeds, WORDS, |input| {
        history(&spec, begin, input)
    });
}

const JSON_WORDS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\"",
    b"\\u0000",
    b"null",
    b"true",
    b"1e999",
    b"-1",
    b"3.0",
    b"70000",
    b"\"detail\":",
    b"\"taskArn\":",
    b"\"version\":",
    b"\"containers\":",
    b"\"networkBindings\":",
    b"\"hostPort\":",
    b"\"RUNNING\"",
    b"\"STOPPED\"",
    b"\"Message\":",
    b"\"2026-11-21T10:57:17Z\"",
    b"\"updatedAt\":",
];

#[test]
fn any_event_is_a_task_or_nothing() {
    let spec = spec();
    let begin = Instant::now();
    let seeds = corpus(include_str!("corpus/ecs_events.txt"));
    run("ECS events", 10_000, &seeds, JSON_WORDS, |input| {
        let Ok(text) = std::str::from_utf8(input) else {
            return 0;
        };
        match parse(text) {
            Err(malformed) => outcome((
                1,
                malformed.to_string().chars().take(16).collect::<String>(),
            )),
            Ok(Message::Task(event)) => {
                assert!(!event.task.arn.is_empty());
                let mut book = Book::default();
                let told = book.told(
                    &event,
                    Duration::from_secs(1),
                    begin + Duration::from_secs(9),
                );
                let (targets, problems) = book.targets(&spec);
                assert!(targets.len() + problems.len() <= 2);
                assert!(event.task.desired_running || targets.is_empty());
                outcome((2, format!("{told:?}"), targets.len(), event.concerns(&spec)))
            }
            Ok(_) => 3,
        }
    });
}
