use std::net::IpAddr;
use std::time::{Duration, Instant};

use longshore_config::{EcsDiscovery, Port};

use crate::ecs::api::{Described, Task};
use crate::ecs::book::tests::{arn, list, poll, spec, task};
use crate::ecs::book::{Book, Told};
use crate::ecs::event::TaskEvent;

const SECOND: Duration = Duration::from_secs(1);

/// With a port, so that a task with an interface needs no definition.
fn aim() -> EcsDiscovery {
    EcsDiscovery {
        container_port: Port::new(80),
        ..spec()
    }
}

/// A task with an interface of its own.
fn own(id: u32, version: i64) -> Task {
    Task {
        interface: Some(IpAddr::from([10, 0, 0, 1])),
        ..task(id, version)
    }
}

fn answer(tasks: Vec<Task>) -> Described {
    Described {
        tasks,
        missing: Vec::new(),
    }
}

fn confirmed(book: &Book) -> Vec<Instant> {
    let (targets, problems) = book.targets(&aim());
    assert!(problems.is_empty(), "{problems:?}");
    targets.iter().map(|target| target.confirmed_at).collect()
}

#[test]
fn a_list_confirms_a_task_with_an_interface_of_its_own_and_a_port_of_a_host_takes_a_description() {
    let now = Instant::now();
    let mut book = Book::default();
    poll(&mut book, &[1, 2], Some(vec![task(1, 1), own(2, 1)]), now);
    let listed = now + 5 * SECOND;
    poll(&mut book, &[1, 2], None, listed);
    assert_eq!(confirmed(&book), [now, listed]);
    let asked = listed + SECOND;
    book.described(answer(vec![task(1, 1), own(2, 1)]), asked);
    // The older one of both counts: whichever it is, the other one does not show all.
    assert_eq!(confirmed(&book), [listed, listed]);
}

#[test]
fn an_answer_that_is_older_than_what_is_known_confirms_no_port() {
    let now = Instant::now();
    let mut book = Book::default();
    poll(&mut book, &[1], Some(vec![task(1, 4)]), now);
    let later = now + 5 * SECOND;
    book.described(answer(vec![task(1, 3)]), later);
    book.listed(&list(&[1]), later);
    assert_eq!(confirmed(&book), [now]);
}

#[test]
fn an_event_of_a_known_task_confirms_its_port() {
    let now = Instant::now();
    let mut book = Book::default();
    poll(&mut book, &[1], Some(vec![task(1, 1)]), now);
    let event = TaskEvent {
        cluster: "prod".into(),
        at: 0,
        tells_health: false,
        task: task(1, 2),
    };
    let later = now + 30 * SECOND;
    assert_eq!(book.told(&event, 2 * SECOND, later), Told::Changed);
    assert_eq!(confirmed(&book), [later - 2 * SECOND]);
    // One that is older than the latest look does not make it so.
    let event = TaskEvent {
        task: task(1, 3),
        ..event
    };
    book.told(&event, 20 * SECOND, later);
    assert_eq!(confirmed(&book), [later - 2 * SECOND]);
}

#[test]
fn whoever_asks_for_a_look_has_each_target_described_that_a_list_cannot_confirm() {
    let now = Instant::now();
    let mut book = Book::default();
    let mut pending = task(3, 1);
    pending.last_status = "PENDING".to_owned();
    pending.containers.clear();
    let all = vec![task(1, 1), own(2, 1), pending.clone()];
    poll(&mut book, &[1, 2, 3], Some(all), now);
    let asked = |book: &Book, at| {
        let mut asked = book.to_describe(&list(&[1, 2, 3]), &aim(), at);
        asked.retain(|it| *it != arn(3));
        asked
    };
    let later = now + 5 * SECOND;
    assert!(asked(&book, later).is_empty());
    book.doubt(later);
    assert_eq!(asked(&book, later + SECOND), [arn(1)]);
    // A call that fails does not settle it, nor an answer to one that was made before.
    book.described(answer(vec![task(1, 1)]), later - SECOND);
    assert_eq!(asked(&book, later + SECOND), [arn(1)]);
    book.described(answer(vec![task(1, 1)]), later + SECOND);
    assert!(asked(&book, later + 2 * SECOND).is_empty());
}
