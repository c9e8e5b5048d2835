use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_config::{EcsDiscovery, Span};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use super::{Book, EVENT_LIFE, TOMB_LIFE, TOMBS_MAX, Told};
use crate::ecs::api::{Binding, Container, Described, Host, Hosts, Task};
use crate::ecs::event::TaskEvent;
use crate::target::Target;

const SECOND: Duration = Duration::from_secs(1);

fn spec() -> EcsDiscovery {
    EcsDiscovery {
        cluster: "prod".to_owned(),
        service: "app".to_owned(),
        container: None,
        container_port: None,
        port_name: None,
        poll_interval: Span::default(),
        region: None,
        events_queue: None,
        reconcile_interval: Span::default(),
    }
}

fn arn(id: u16) -> Arc<str> {
    format!("arn:aws:ecs:r:1:task/prod/{id}").into()
}

fn list(ids: &[u16]) -> BTreeSet<Arc<str>> {
    ids.iter().map(|id| arn(*id)).collect()
}

/// A task on its way: 2 PENDING, 3 RUNNING, 4 told to stop, 6 STOPPED.
fn task(id: u16, version: i64) -> Task {
    let running = version >= 3;
    Task {
        arn: arn(id),
        version,
        desired_running: version < 4,
        last_status: match version {
            ..3 => "PENDING",
            3 | 4 => "RUNNING",
            _ => "STOPPED",
        }
        .to_owned(),
        started_at: None,
        unhealthy: false,
        checked: false,
        service: Some("app".into()),
        started_by: None,
        zone: None,
        host: Some("host".into()),
        definition: Some("definition".into()),
        interface: None,
        containers: vec![Container {
            name: "web".into(),
            running,
            bindings: vec![Binding {
                container_port: 80,
                host_port: 32768 + id,
            }],
            ranges: vec![],
        }],
    }
}

fn event(id: u16, version: i64) -> TaskEvent {
    TaskEvent {
        cluster: "prod".into(),
        at: 0,
        tells_health: false,
        task: task(id, version),
    }
}

/// A book that knows these tasks as RUNNING, from a list and descriptions.
fn book(ids: &[u16], now: Instant) -> Book {
    let mut book = Book::default();
    look(
        &mut book,
        ids,
        ids.iter().map(|id| task(*id, 3)).collect(),
        now,
    );
    let found = vec![Host {
        arn: "host".into(),
        instance: "i-1".into(),
        address: [127, 0, 0, 2].into(),
        zone: None,
    }];
    let unknown = Vec::new();
    book.found_hosts(Hosts { found, unknown }, now);
    book
}

fn look(book: &mut Book, ids: &[u16], tasks: Vec<Task>, began: Instant) {
    let described = Described {
        tasks,
        missing: Vec::new(),
    };
    book.described(described, began);
    book.listed(&list(ids), began);
}

fn targets(book: &Book) -> Vec<Target> {
    book.targets(&spec()).0
}

fn ids(book: &Book) -> Vec<u16> {
    let targets = targets(book).into_iter();
    targets
        .map(|target| target.address.port() - 32768)
        .collect()
}

#[test]
fn a_running_task_that_no_list_has_shown_is_a_target_confirmed_when_it_was_so() {
    let now = Instant::now() + 100 * SECOND;
    let mut book = book(&[1], now - 50 * SECOND);
    assert_eq!(book.told(&event(2, 3), 2 * SECOND, now), Told::Changed);
    let [_, new] = &targets(&book)[..] else {
        panic!("two targets")
    };
    assert_eq!(new.confirmed_at, now - 2 * SECOND);
    assert!(!book.wants_look(&spec()));
}

#[test]
fn a_task_that_was_told_to_stop_leaves_at_once_and_nothing_older_brings_it_back() {
    let now = Instant::now() + 100 * SECOND;
    for version in [4, 6] {
        let mut book = book(&[1, 2], now);
        assert_eq!(book.told(&event(1, version), SECOND, now), Told::Gone);
        assert_eq!(ids(&book), [2]);
        for version in [2, 3, 4, 6] {
            assert_eq!(book.told(&event(1, version), SECOND, now), Told::Nothing);
        }
        // A list and a description that lag behind.
        assert!(book.to_describe(&list(&[1, 2]), &spec(), now).is_empty());
        look(&mut book, &[1, 2], vec![task(1, 3), task(2, 3)], now);
        assert_eq!(ids(&book), [2]);
    }
}

#[test]
fn a_stop_that_overtakes_the_start_wins() {
    let now = Instant::now() + 100 * SECOND;
    let mut book = book(&[1], now);
    assert_eq!(book.told(&event(2, 6), SECOND, now), Told::Nothing);
    assert_eq!(book.told(&event(2, 3), 2 * SECOND, now), Told::Nothing);
    assert_eq!(ids(&book), [1]);
}

#[test]
fn an_old_event_does_not_bring_back_a_task_that_a_look_saw_stop() {
    let now = Instant::now() + 100 * SECOND;
    let mut book = book(&[1, 2], now);
    look(&mut book, &[2], vec![task(1, 4)], now + SECOND);
    assert_eq!(ids(&book), [2]);
    let late = book.told(&event(1, 3), 3 * SECOND, now + 2 * SECOND);
    assert_eq!((late, ids(&book)), (Told::Nothing, vec![2]));
}

#[test]
fn an_event_that_is_too_old_makes_no_target() {
    let now = Instant::now() + 3600 * SECOND;
    let mut book = book(&[1], now - 600 * SECOND);
    let age = EVENT_LIFE + SECOND;
    assert_eq!(
        book.told(&event(2, 3), age, now),
        Told::Look,
        "it may be there"
    );
    assert_eq!(ids(&book), [1]);
    let ages = Duration::from_secs(u64::MAX);
    assert_eq!(book.told(&event(3, 3), ages, now), Told::Look);
    assert_eq!(ids(&book), [1]);
}

#[test]
fn a_list_that_is_far_younger_than_an_event_puts_off_its_look_and_no_longer_than_15_seconds() {
    // Whether that is a late event, or one that is early by a clock that is ahead, nobody knows.
    let now = Instant::now() + 3600 * SECOND;
    let mut book = book(&[1], now);
    for (age, second, told) in [
        (600, 1, Told::Later(now + 15 * SECOND)),
        (90, 14, Told::Later(now + 15 * SECOND)),
        (600, 15, Told::Look),
        (90, 20, Told::Look),
        // One that was so less than a minute before the list is as young as that.
        (61, 14, Told::Look),
    ] {
        let age = Duration::from_secs(age);
        let now = now + Duration::from_secs(second);
        assert_eq!(book.told(&event(2, 3), age, now), told, "{second}");
    }
    assert_eq!(ids(&book), [1]);
}

#[test]
fn a_lower_or_equal_version_changes_nothing() {
    let now = Instant::now() + 100 * SECOND;
    let mut book = book(&[1], now);
    for version in [1, 2, 3] {
        assert_eq!(book.told(&event(1, version), SECOND, now), Told::Nothing);
    }
    assert_eq!(ids(&book), [1]);
}

#[test]
fn a_list_that_was_asked_for_before_the_event_does_not_make_the_task_absent() {
    let now = Instant::now() + 100 * SECOND;
    let mut book = book(&[1], now);
    assert_eq!(
        book.told(&event(2, 3), Duration::ZERO, now + SECOND),
        Told::Changed
    );
    look(&mut book, &[1], vec![], now);
    assert_eq!(ids(&book), [1, 2]);
    assert!(!book.wants_look(&spec()));
}

#[test]
fn a_later_list_that_lacks_the_task_asks_about_it_as_about_any_other() {
    let now = Instant::now() + 100 * SECOND;
    let mut book = book(&[1], now);
    book.told(&event(2, 3), Duration::ZERO, now + SECOND);
    let later = now + 10 * SECOND;
    assert_eq!(book.to_describe(&list(&[1]), &spec(), later), [arn(2)]);
    book.listed(&list(&[1]), later);
    assert_eq!(ids(&book), [1, 2], "absence is a question");
    assert!(book.wants_look(&spec()), "which is asked again soon");
    look(&mut book, &[1], vec![task(2, 4)], later + SECOND);
    assert_eq!(ids(&book), [1]);
    assert!(!book.wants_look(&spec()));
}

#[test]
fn a_host_that_is_not_known_is_asked_for() {
    let now = Instant::now() + 100 * SECOND;
    let mut book = book(&[1], now);
    let mut new = event(2, 3);
    new.task.host = Some("other".into());
    assert_eq!(book.told(&new, Duration::ZERO, now), Told::Changed);
    assert_eq!(book.unknown_hosts(now), ["other".into()]);
    assert!(book.wants_look(&spec()));
}

#[test]
fn a_task_on_its_way_is_left_to_events() {
    let now = Instant::now() + 100 * SECOND;
    let mut book = book(&[1], now);
    assert_eq!(book.told(&event(2, 2), Duration::ZERO, now), Told::Changed);
    assert!(book.is_unsettled(&spec(), now));
    assert!(!book.wants_look(&spec()));
}

#[test]
fn an_event_without_health_keeps_what_a_description_said() {
    let now = Instant::now() + 100 * SECOND;
    let mut book = book(&[1], now);
    let sick = Task {
        unhealthy: true,
        ..task(1, 3)
    };
    look(&mut book, &[1], vec![sick], now);
    let mut newer = event(1, 3);
    newer.task.version = 9;
    assert_eq!(book.told(&newer, Duration::ZERO, now), Told::Changed);
    assert!(ids(&book).is_empty());
    newer.task.version = 10;
    newer.tells_health = true;
    assert_eq!(book.told(&newer, Duration::ZERO, now), Told::Changed);
    assert_eq!(ids(&book), [1]);
}

#[test]
fn what_is_remembered_of_stopped_tasks_is_bounded_in_number_and_in_time() {
    let now = Instant::now() + 100 * SECOND;
    let mut book = Book::default();
    let many = u16::try_from(TOMBS_MAX).expect("small") + 100;
    for id in 0..many {
        book.told(
            &event(id, 6),
            Duration::ZERO,
            now + Duration::from_millis(id.into()),
        );
    }
    assert_eq!(book.tombs.since.len(), TOMBS_MAX);
    assert_eq!(book.tombs.order.len(), TOMBS_MAX);
    assert!(book.tombs.holds(&arn(many - 1)) && !book.tombs.holds(&arn(0)));
    book.told(
        &event(many, 6),
        Duration::ZERO,
        now + TOMB_LIFE + 60 * SECOND,
    );
    assert_eq!(book.tombs.since.len(), 1);
}

#[test]
fn any_order_of_events_with_any_doubles_ends_in_the_same_targets() {
    let seed = 7;
    println!("seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    for _ in 0..500 {
        let now = Instant::now() + 100 * SECOND;
        let mut book = book(&[1, 2], now);
        // 1 stops, 2 stays, 3 comes, 4 comes and goes.
        let mut events: Vec<(u16, i64)> = vec![(1, 4), (1, 5), (1, 6)];
        events.extend([(3, 1), (3, 2), (3, 3)]);
        events.extend([(4, 1), (4, 2), (4, 3), (4, 4), (4, 6)]);
        let doubles: Vec<(u16, i64)> = events
            .iter()
            .filter(|_| rng.random_bool(0.5))
            .copied()
            .collect();
        events.extend(doubles);
        events.shuffle(&mut rng);
        for (id, version) in &events {
            book.told(&event(*id, *version), SECOND, now);
        }
        assert_eq!(ids(&book), [2, 3], "{events:?}");
    }
}
