use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_config::{EcsDiscovery, Span};

use super::Book;
use crate::ecs::api::{
    Binding, Container, Definition, Described, Host, Hosts, MappedPorts, PortMapping, Task,
};

fn spec() -> EcsDiscovery {
    EcsDiscovery {
        cluster: "prod".to_owned(),
        service: "app".to_owned(),
        container: None,
        container_port: None,
        port_name: None,
        poll_interval: Span::default(),
        region: None,
    }
}

fn arn(id: u32) -> Arc<str> {
    format!("arn:aws:ecs:r:1:task/prod/{id}").into()
}

fn task(id: u32, version: i64) -> Task {
    Task {
        arn: arn(id),
        version,
        desired_running: true,
        last_status: "RUNNING".to_owned(),
        started_at: None,
        unhealthy: false,
        zone: None,
        host: Some("host".into()),
        definition: Some("definition".into()),
        interface: None,
        containers: vec![Container {
            name: "web".into(),
            running: true,
            bindings: vec![Binding {
                container_port: 80,
                host_port: 32768 + u16::try_from(id).expect("small"),
            }],
            ranges: vec![],
        }],
    }
}

fn stopped(id: u32, version: i64) -> Task {
    Task {
        desired_running: false,
        ..task(id, version)
    }
}

fn list(ids: &[u32]) -> BTreeSet<Arc<str>> {
    ids.iter().map(|id| arn(*id)).collect()
}

/// One poll in which `described` is what ECS answers, or None where the call fails.
fn poll(book: &mut Book, ids: &[u32], described: Option<Vec<Task>>, now: Instant) -> Vec<u16> {
    let listed = list(ids);
    let asked = book.to_describe(&listed, &spec(), now);
    if let Some(tasks) = described {
        let known: Vec<Task> = tasks
            .into_iter()
            .filter(|task| asked.contains(&task.arn))
            .collect();
        let missing = asked
            .iter()
            .filter(|arn| known.iter().all(|task| task.arn != **arn))
            .cloned()
            .collect();
        let answer = Described {
            tasks: known,
            missing,
        };
        book.described(answer, now);
    }
    book.listed(&listed, now);
    for arn in book.unknown_hosts(now) {
        let host = Host {
            arn,
            instance: "i-1".into(),
            address: [127, 0, 0, 2].into(),
            zone: Some("a".into()),
        };
        let found = vec![host];
        book.found_hosts(
            Hosts {
                found,
                ..Hosts::default()
            },
            now,
        );
    }
    let (targets, _) = book.targets(&spec());
    targets.iter().map(|t| t.address.port() - 32768).collect()
}

#[test]
fn a_settled_task_is_not_described_again() {
    let now = Instant::now();
    let mut book = Book::default();
    assert_eq!(
        poll(&mut book, &[1, 2], Some(vec![task(1, 1), task(2, 1)]), now),
        [1, 2]
    );
    assert!(book.to_describe(&list(&[1, 2]), &spec(), now).is_empty());
    assert_eq!(book.to_describe(&list(&[1, 2, 3]), &spec(), now), [arn(3)]);
    assert!(!book.is_unsettled(&spec()));
}

#[test]
fn a_task_that_left_the_list_goes_when_ecs_says_that_it_stops() {
    let now = Instant::now();
    let mut book = Book::default();
    poll(&mut book, &[1, 2], Some(vec![task(1, 1), task(2, 1)]), now);
    assert_eq!(poll(&mut book, &[2], Some(vec![stopped(1, 2)]), now), [2]);
}

#[test]
fn a_task_that_left_the_list_by_mistake_stays() {
    let now = Instant::now();
    let mut book = Book::default();
    poll(&mut book, &[1, 2], Some(vec![task(1, 1), task(2, 1)]), now);
    assert_eq!(
        poll(&mut book, &[], Some(vec![task(1, 1), task(2, 1)]), now),
        [1, 2]
    );
    assert_eq!(poll(&mut book, &[1, 2], Some(vec![]), now), [1, 2]);
}

#[test]
fn a_failed_describe_keeps_a_task_that_left_the_list_for_60_seconds() {
    let now = Instant::now();
    let mut book = Book::default();
    poll(&mut book, &[1], Some(vec![task(1, 1)]), now);
    let absent = now + Duration::from_secs(5);
    assert_eq!(poll(&mut book, &[], None, absent), [1]);
    assert_eq!(
        poll(&mut book, &[], None, absent + Duration::from_secs(59)),
        [1]
    );
    assert!(poll(&mut book, &[], None, absent + Duration::from_secs(60)).is_empty());
}

#[test]
fn a_task_that_ecs_does_not_know_yet_becomes_a_target_later() {
    let now = Instant::now();
    let mut book = Book::default();
    for _ in 0..10 {
        assert!(poll(&mut book, &[1], Some(vec![]), now).is_empty());
        assert!(book.is_unsettled(&spec()));
    }
    assert_eq!(poll(&mut book, &[1], Some(vec![task(1, 3)]), now), [1]);
}

#[test]
fn a_task_that_left_the_list_and_is_not_known_twice_is_gone() {
    let now = Instant::now();
    let mut book = Book::default();
    poll(&mut book, &[1], Some(vec![task(1, 1)]), now);
    assert_eq!(poll(&mut book, &[], Some(vec![]), now), [1]);
    assert!(poll(&mut book, &[], Some(vec![]), now).is_empty());
}

#[test]
fn an_older_answer_does_not_bring_a_stopped_task_back() {
    let now = Instant::now();
    let mut book = Book::default();
    let mut starting = task(1, 2);
    starting.last_status = "PENDING".to_owned();
    assert!(poll(&mut book, &[1], Some(vec![starting]), now).is_empty());
    assert!(poll(&mut book, &[1], Some(vec![stopped(1, 4)]), now).is_empty());
    assert!(poll(&mut book, &[1], Some(vec![task(1, 3)]), now).is_empty());
}

#[test]
fn a_target_is_confirmed_by_the_list_and_not_by_a_failed_look() {
    let now = Instant::now();
    let mut book = Book::default();
    poll(&mut book, &[1], Some(vec![task(1, 1)]), now);
    let later = now + Duration::from_secs(5);
    poll(&mut book, &[], None, later);
    assert_eq!(book.targets(&spec()).0[0].confirmed_at, now);
    poll(&mut book, &[1], None, later);
    assert_eq!(book.targets(&spec()).0[0].confirmed_at, later);
}

#[test]
fn hosts_are_forgotten_with_their_last_task() {
    let now = Instant::now();
    let mut book = Book::default();
    poll(&mut book, &[1], Some(vec![task(1, 1)]), now);
    assert!(book.unknown_hosts(now).is_empty());
    assert!(!book.hosts.is_empty());
    poll(&mut book, &[], Some(vec![stopped(1, 2)]), now);
    assert!(book.hosts.is_empty() && book.tasks.is_empty());
}

#[test]
fn a_task_that_an_answer_does_not_speak_of_stays() {
    let now = Instant::now();
    let mut book = Book::default();
    poll(&mut book, &[1, 2], Some(vec![task(1, 1), task(2, 1)]), now);
    for _ in 0..10 {
        book.described(Described::default(), now);
        book.listed(&list(&[2]), now);
        assert_eq!(book.targets(&spec()).0.len(), 2);
    }
}

#[test]
fn a_task_without_its_port_is_described_until_it_has_one() {
    let now = Instant::now();
    let mut book = Book::default();
    let mut bare = task(1, 1);
    bare.containers[0].bindings.clear();
    assert!(poll(&mut book, &[1], Some(vec![bare]), now).is_empty());
    assert!(book.is_unsettled(&spec()));
    assert_eq!(poll(&mut book, &[1], Some(vec![task(1, 1)]), now), [1]);
}

#[test]
fn a_description_is_renewed_after_a_minute() {
    let now = Instant::now();
    let mut book = Book::default();
    poll(&mut book, &[1], Some(vec![task(1, 1)]), now);
    let listed = list(&[1]);
    let later = now + Duration::from_secs(59);
    assert!(book.to_describe(&listed, &spec(), later).is_empty());
    let later = now + Duration::from_secs(60);
    assert_eq!(book.to_describe(&listed, &spec(), later), [arn(1)]);
}

#[test]
fn a_task_that_ecs_calls_running_stays_however_long_the_list_lacks_it() {
    let now = Instant::now();
    let mut book = Book::default();
    poll(&mut book, &[1], Some(vec![task(1, 1)]), now);
    for minute in 1..10 {
        let later = now + Duration::from_secs(60 * minute);
        assert_eq!(poll(&mut book, &[], Some(vec![task(1, 1)]), later), [1]);
    }
}

#[test]
fn a_definition_is_asked_for_once_and_forgotten_with_its_last_task() {
    let now = Instant::now();
    let mut book = Book::default();
    let mut bare = task(1, 1);
    bare.containers[0].bindings.clear();
    assert!(poll(&mut book, &[1], Some(vec![bare.clone()]), now).is_empty());
    let wanted = book.unknown_definitions(&spec(), now);
    assert_eq!(wanted, ["definition".into()]);
    let definition = Definition {
        arn: "definition".into(),
        network_mode: Some("host".into()),
        ports: vec![PortMapping {
            container: "web".into(),
            ports: MappedPorts::One(32768 + 7),
            name: None,
            app_protocol: None,
        }],
    };
    book.definitions.found("definition".into(), definition, now);
    let later = now + Duration::from_secs(3600);
    assert!(book.unknown_definitions(&spec(), later).is_empty());
    assert_eq!(poll(&mut book, &[1], Some(vec![bare]), later), [7]);
    poll(&mut book, &[], Some(vec![stopped(1, 2)]), later);
    assert!(book.definitions.is_empty());
}

#[test]
fn a_host_that_is_not_known_holds_up_only_its_own_tasks() {
    let now = Instant::now();
    let mut book = Book::default();
    let mut other = task(2, 1);
    other.host = Some("other".into());
    poll(&mut book, &[1], Some(vec![task(1, 1)]), now);
    let mut now = now;
    for _ in 0..3 {
        now += Duration::from_secs(10);
        book.described(
            Described {
                tasks: vec![other.clone()],
                missing: vec![],
            },
            now,
        );
        book.listed(&list(&[1, 2]), now);
        assert_eq!(book.unknown_hosts(now), ["other".into()]);
        book.found_hosts(
            Hosts {
                found: vec![],
                unknown: vec![("other".into(), "no permission".to_owned())],
            },
            now,
        );
        assert!(book.unknown_hosts(now).is_empty(), "it is given a pause");
    }
    let (targets, problems) = book.targets(&spec());
    assert_eq!(targets.len(), 1);
    assert!(problems[0].reason.contains("no permission"), "{problems:?}");
    assert!(!book.is_unsettled(&spec()));
}

#[test]
fn the_address_of_a_machine_outside_aws_is_asked_for_again_and_that_of_an_instance_is_not() {
    let now = Instant::now();
    let mut book = Book::default();
    let mut outside = task(2, 1);
    outside.host = Some("outside".into());
    book.described(
        Described {
            tasks: vec![task(1, 1), outside],
            missing: vec![],
        },
        now,
    );
    book.listed(&list(&[1, 2]), now);
    let host = |arn: &str, instance: &str, last| Host {
        arn: arn.into(),
        instance: instance.into(),
        address: [127, 0, 0, last].into(),
        zone: None,
    };
    let found = |found| Hosts {
        found,
        ..Hosts::default()
    };
    let both = vec![host("host", "i-1", 2), host("outside", "mi-1", 3)];
    book.found_hosts(found(both), now);
    let minutes = |minutes: u64| now + Duration::from_secs(60 * minutes);
    assert!(book.unknown_hosts(minutes(4)).is_empty());
    assert_eq!(book.unknown_hosts(minutes(5)), ["outside".into()]);
    let addresses = |book: &Book| -> Vec<String> {
        let (targets, _) = book.targets(&spec());
        targets.iter().map(|t| t.address.ip().to_string()).collect()
    };
    let denied = Hosts {
        found: vec![],
        unknown: vec![("outside".into(), "no permission".to_owned())],
    };
    book.found_hosts(denied, minutes(5));
    assert_eq!(addresses(&book), ["127.0.0.2", "127.0.0.3"]);
    book.found_hosts(found(vec![host("outside", "mi-1", 4)]), minutes(6));
    assert_eq!(addresses(&book), ["127.0.0.2", "127.0.0.4"]);
}
