use std::time::{Duration, Instant};

use crate::ecs::aim::Speaking;
use crate::ecs::api::{Definition, Described, Host, Hosts, MappedPorts, PortMapping, Task};
use crate::ecs::book::tests::{list, spec, task};
use crate::ecs::book::{Book, Told};
use crate::ecs::event::TaskEvent;

const SECOND: Duration = Duration::from_secs(1);

/// A book after a list and descriptions of these tasks.
fn book(tasks: Vec<Task>, now: Instant) -> Book {
    let mut book = Book::default();
    let missing = Vec::new();
    book.described(Described { tasks, missing }, now);
    book.listed(&list(&[1]), now);
    book
}

/// A task whose port only its definition tells.
fn bare() -> Task {
    let mut bare = task(1, 1);
    bare.containers[0].bindings.clear();
    bare
}

fn find_host(book: &mut Book, now: Instant) {
    let host = Host {
        arn: "host".into(),
        instance: "i-1".into(),
        address: [127, 0, 0, 2].into(),
        zone: None,
    };
    let found = vec![host];
    let unknown = Vec::new();
    book.found_hosts(Hosts { found, unknown }, now);
}

fn refuse_host(book: &mut Book, now: Instant) {
    let unknown = vec![("host".into(), "denied".to_owned())];
    let found = Vec::new();
    book.found_hosts(Hosts { found, unknown }, now);
}

#[test]
fn a_task_that_runs_awaits_its_host_until_that_is_known_or_was_refused_thrice() {
    let now = Instant::now();
    let mut known = book(vec![task(1, 1)], now);
    assert!(known.awaited(&spec()).is_some());
    find_host(&mut known, now);
    assert_eq!(known.awaited(&spec()), None);
    let mut refused = book(vec![task(1, 1)], now);
    for _ in 0..2 {
        refuse_host(&mut refused, now);
        let reason = refused.awaited(&spec()).expect("it may come");
        assert!(reason.contains("denied"), "{reason}");
    }
    refuse_host(&mut refused, now);
    assert_eq!(refused.awaited(&spec()), None, "hope is given up");
}

#[test]
fn a_definition_that_is_needed_is_awaited_and_one_that_would_only_help_is_not() {
    let now = Instant::now();
    let mut book = book(vec![bare()], now);
    find_host(&mut book, now);
    for _ in 0..3 {
        assert!(book.awaited(&spec()).is_some());
        let denied = "denied".to_owned();
        book.definitions.refused("definition".into(), denied, now);
    }
    assert_eq!(book.awaited(&spec()), None, "hope is given up");
    let mut book = self::book(vec![task(1, 1)], now);
    find_host(&mut book, now);
    let aim = Speaking(spec());
    assert_eq!(book.unknown_definitions(&aim, now).len(), 1);
    assert_eq!(book.awaited(&aim), None);
}

#[test]
fn a_task_that_lacks_something_else_as_well_is_not_waited_for() {
    let now = Instant::now();
    let starting = Task {
        last_status: "PENDING".to_owned(),
        ..task(1, 1)
    };
    let sick = Task {
        unhealthy: true,
        ..task(1, 1)
    };
    let mut unbound = task(1, 1);
    unbound.containers[0].running = false;
    // A definition says that it is not in host mode, so it is its port that is missing.
    let mut portless = book(vec![bare()], now);
    let definition = Definition {
        arn: "definition".into(),
        network_mode: None,
        ports: vec![PortMapping {
            container: "web".into(),
            ports: MappedPorts::One(80),
            name: None,
            app_protocol: None,
        }],
        labels: Default::default(),
    };
    let known = &mut portless.definitions;
    known.found("definition".into(), definition, now);
    assert_eq!(portless.awaited(&spec()), None);
    for task in [starting, sick, unbound] {
        assert_eq!(book(vec![task.clone()], now).awaited(&spec()), None);
    }
    let wrong = longshore_config::EcsDiscovery {
        container: Some("other".to_owned()),
        ..spec()
    };
    assert_eq!(book(vec![bare()], now).awaited(&wrong), None);
}

#[test]
fn a_task_that_only_an_event_has_told_of_is_not_waited_for() {
    let now = Instant::now();
    let mut book = book(vec![task(1, 1)], now);
    find_host(&mut book, now);
    let mut new = task(2, 1);
    new.host = Some("other".into());
    let event = TaskEvent {
        cluster: "prod".into(),
        at: 0,
        tells_health: false,
        task: new,
    };
    let told = book.told(&event, Duration::ZERO, now + SECOND);
    assert_eq!((told, book.awaited(&spec())), (Told::Changed, None));
    // A list that was asked for before that shows it: then it is one of those that were there.
    book.listed(&list(&[1, 2]), now);
    assert!(book.awaited(&spec()).is_some());
}
