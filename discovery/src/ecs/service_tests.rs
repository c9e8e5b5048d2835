use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Motion, ServiceBook};
use crate::ecs::api::{Described, Host, Hosts, Service, TaskSet};
use crate::ecs::book::Book;
use crate::ecs::book::tests::{list, spec, task};

const SECOND: Duration = Duration::from_secs(1);

fn service(desired: u32, running: u32, pending: u32, rolling: bool) -> Service {
    Service {
        desired,
        running,
        pending,
        rolling,
        task_sets: None,
    }
}

fn sets(sets: &[(&str, &str)]) -> Service {
    let sets = sets.iter().map(|(id, status)| TaskSet {
        id: (*id).into(),
        status: (*status).into(),
    });
    Service {
        task_sets: Some(sets.collect()),
        ..service(2, 2, 0, false)
    }
}

/// A book with tasks that belong to sets.
fn book(tasks: &[(u32, &str)], now: Instant) -> Book {
    let ids: Vec<u32> = tasks.iter().map(|(id, _)| *id).collect();
    let described = tasks.iter().map(|(id, set)| {
        let mut task = task(*id, 1);
        task.started_by = Some((*set).into());
        task
    });
    let mut book = Book::default();
    book.described(
        Described {
            tasks: described.collect(),
            missing: vec![],
        },
        now,
    );
    book.listed(&list(&ids), now);
    let host = Host {
        arn: "host".into(),
        instance: "i-1".into(),
        address: [127, 0, 0, 2].into(),
        zone: None,
    };
    book.found_hosts(
        Hosts {
            found: vec![host],
            unknown: vec![],
        },
        now,
    );
    book
}

fn targets(book: &Book) -> Vec<String> {
    let (targets, _) = book.targets(&spec());
    targets.iter().map(|t| t.key.task_id().to_owned()).collect()
}

#[test]
fn only_tasks_of_the_primary_set_are_targets_and_the_others_say_why() {
    let now = Instant::now();
    let mut book = book(&[(1, "blue"), (2, "green"), (3, "red"), (4, "new")], now);
    assert_eq!(targets(&book).len(), 4, "nothing is known of sets");
    let told = [
        ("blue", "PRIMARY"),
        ("green", "ACTIVE"),
        ("red", "DRAINING"),
    ];
    book.service.answered(sets(&told), now);
    assert_eq!(targets(&book), ["1"]);
    let (_, problems) = book.targets(&spec());
    let reasons: Vec<&str> = problems.iter().map(|p| p.reason.as_str()).collect();
    for (task, reason) in [
        ("2", "its task set green is ACTIVE, not PRIMARY"),
        ("3", "its task set red is DRAINING, not PRIMARY"),
        ("4", "its task set new is not told of yet, not PRIMARY"),
    ] {
        let found = problems.iter().find(|problem| problem.subject == task);
        assert_eq!(
            found.map(|p| p.reason.as_str()),
            Some(reason),
            "{reasons:?}"
        );
    }
    book.service.answered(
        sets(&[("blue", "ACTIVE"), ("green", "PRIMARY")]),
        now + SECOND,
    );
    assert_eq!(targets(&book), ["2"]);
}

#[test]
fn what_is_not_told_of_sets_takes_no_target_away() {
    let now = Instant::now();
    let mut book = book(&[(1, "blue"), (2, "green")], now);
    book.service
        .answered(sets(&[("blue", "PRIMARY"), ("green", "ACTIVE")]), now);
    book.service.failed("no".to_owned(), now);
    assert_eq!(targets(&book), ["1"], "a failure");
    book.service.answered(sets(&[]), now + SECOND);
    assert_eq!(targets(&book), ["1"], "an answer without sets");
    book.service.answered(
        sets(&[("blue", "ACTIVE"), ("green", "ACTIVE")]),
        now + 2 * SECOND,
    );
    assert_eq!(targets(&book), ["1"], "an answer without a PRIMARY");
    book.service.answered(
        sets(&[("blue", "ACTIVE"), ("green", "PRIMARY")]),
        now + SECOND,
    );
    assert_eq!(targets(&book), ["1"], "an answer that began earlier");
}

#[test]
fn sets_that_no_task_names_make_no_rule() {
    let now = Instant::now();
    let mut book = book(&[(1, "1/blue"), (2, "1/green")], now);
    book.service
        .answered(sets(&[("blue", "PRIMARY"), ("green", "ACTIVE")]), now);
    assert_eq!(targets(&book).len(), 2);
}

#[test]
fn without_any_primary_set_nothing_serves() {
    let now = Instant::now();
    let mut book = book(&[(1, "blue")], now);
    book.service.answered(sets(&[("blue", "ACTIVE")]), now);
    assert!(targets(&book).is_empty());
}

#[test]
fn a_service_of_ecs_itself_has_no_rule() {
    let now = Instant::now();
    let mut book = book(&[(1, "ecs-svc/1"), (2, "ecs-svc/2")], now);
    book.service.answered(service(2, 2, 0, true), now);
    assert_eq!(targets(&book).len(), 2);
}

#[test]
fn a_service_moves_while_it_rolls_or_its_counts_differ_and_ten_minutes_without_a_change_end_it() {
    let (mut book, now) = (ServiceBook::default(), Instant::now());
    assert_eq!(book.motion(now), Motion::Rest);
    for (told, motion) in [
        (service(3, 3, 0, false), Motion::Rest),
        (service(3, 2, 0, false), Motion::Tasks),
        (service(3, 3, 1, false), Motion::Tasks),
        (service(3, 4, 0, false), Motion::Tasks),
        (service(3, 3, 0, true), Motion::Rollout),
    ] {
        book.answered(told, now);
        assert_eq!(book.motion(now), motion);
    }
    let minutes = |minutes: u64| now + Duration::from_secs(60 * minutes);
    assert_eq!(book.motion(minutes(9)), Motion::Rollout);
    assert_eq!(book.motion(minutes(10)), Motion::Rest, "it hangs");
    book.answered(service(3, 2, 0, true), minutes(11));
    assert_eq!(book.motion(minutes(12)), Motion::Rollout, "it goes on");
}

#[test]
fn it_is_asked_about_often_in_motion_rarely_at_rest_and_less_and_less_often_while_that_fails() {
    let (mut book, now) = (ServiceBook::default(), Instant::now());
    let every = 2 * SECOND;
    assert_eq!(book.due(false, every, now), now);
    book.answered(service(1, 1, 0, false), now);
    assert_eq!(book.due(false, every, now), now + 60 * SECOND);
    assert_eq!(book.due(true, every, now), now + every);
    book.answered(service(1, 0, 0, true), now + SECOND);
    assert_eq!(book.due(false, every, now), now + SECOND + every);
    let mut at = now + 10 * SECOND;
    for pause in [2, 4, 8, 16, 32, 60, 60] {
        book.failed("denied".to_owned(), at);
        assert_eq!(book.due(true, every, at), at + pause * SECOND);
        at += pause * SECOND;
    }
    let problem = book.problem().expect("it says so");
    assert!(problem.reason.contains("ecs:DescribeServices"));
    book.answered(service(1, 1, 0, false), at);
    assert!(book.problem().is_none());
}

#[test]
fn a_count_of_more_running_tasks_than_are_known_is_a_reason_to_describe() {
    let (mut book, now) = (ServiceBook::default(), Instant::now());
    assert!(book.tells_more_than(5, now), "it is not known");
    book.answered(service(5, 4, 1, false), now);
    assert!(!book.tells_more_than(4, now));
    assert!(book.tells_more_than(3, now));
    assert!(book.tells_more_than(4, now + 60 * SECOND), "it is old");
    book.failed("no".to_owned(), now);
    assert!(book.tells_more_than(4, now));
}

#[test]
fn a_service_that_wants_no_tasks_loses_them_without_the_guard_and_no_other_does() {
    let start = Instant::now();
    for (desired, left) in [(0, 0), (6, 6)] {
        let mut now = start;
        let tasks: Vec<(u32, &str)> = (1..=6).map(|id| (id, "d")).collect();
        let mut book = book(&tasks, now);
        // ECS lists none of them and answers nothing about any.
        for _ in 0..14 {
            now += 5 * SECOND;
            book.service.answered(service(desired, 0, 0, false), now);
            book.listed(&BTreeSet::<Arc<str>>::new(), now);
        }
        assert_eq!(targets(&book).len(), left, "desired {desired}");
    }
}
