use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_config::{EcsDiscovery, Span};

use super::Book;
use crate::ecs::api::{Binding, Container, Described, Host, Hosts, Service, Task};

pub(in crate::ecs) fn spec() -> EcsDiscovery {
    EcsDiscovery {
        cluster: "prod".to_owned(),
        service: "app".to_owned(),
        container: None,
        container_port: None,
        port_name: None,
        poll_interval: Span::default(),
        events_queue: None,
        reconcile_interval: Span::default(),
        region: None,
    }
}

pub(in crate::ecs) fn arn(id: u32) -> Arc<str> {
    format!("arn:aws:ecs:r:1:task/prod/{id}").into()
}

pub(in crate::ecs) fn task(id: u32, version: i64) -> Task {
    Task {
        arn: arn(id),
        version,
        desired_running: true,
        last_status: "RUNNING".to_owned(),
        started_at: None,
        unhealthy: false,
        checked: false,
        service: None,
        started_by: None,
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

pub(in crate::ecs) fn stopped(id: u32, version: i64) -> Task {
    Task {
        desired_running: false,
        ..task(id, version)
    }
}

pub(in crate::ecs) fn list(ids: &[u32]) -> BTreeSet<Arc<str>> {
    ids.iter().map(|id| arn(*id)).collect()
}

/// One poll in which `described` is what ECS answers, or None where the call fails.
pub(in crate::ecs) fn poll(
    book: &mut Book,
    ids: &[u32],
    described: Option<Vec<Task>>,
    now: Instant,
) -> Vec<u16> {
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
    assert!(!book.is_unsettled(&spec(), now));
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
        assert!(book.is_unsettled(&spec(), now));
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
fn a_target_is_confirmed_by_a_look_and_not_by_a_failed_one() {
    let now = Instant::now();
    let mut book = Book::default();
    poll(&mut book, &[1], Some(vec![task(1, 1)]), now);
    let later = now + Duration::from_secs(5);
    poll(&mut book, &[], None, later);
    assert_eq!(book.targets(&spec()).0[0].confirmed_at, now);
    book.doubt(later);
    poll(
        &mut book,
        &[1],
        Some(vec![task(1, 1)]),
        later + Duration::from_secs(1),
    );
    assert_eq!(
        book.targets(&spec()).0[0].confirmed_at,
        later + Duration::from_secs(1)
    );
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
    assert!(book.is_unsettled(&spec(), now));
    assert_eq!(poll(&mut book, &[1], Some(vec![task(1, 1)]), now), [1]);
}

#[test]
fn a_description_is_renewed_after_two_minutes_and_after_one_if_the_service_has_health_checks() {
    for (checked, seconds) in [(false, 120), (true, 60)] {
        let now = Instant::now();
        let mut book = Book::default();
        let known = Task {
            checked,
            ..task(1, 1)
        };
        poll(&mut book, &[1], Some(vec![known]), now);
        let listed = list(&[1]);
        let later = now + Duration::from_secs(seconds - 1);
        assert!(book.to_describe(&listed, &spec(), later).is_empty());
        let later = now + Duration::from_secs(seconds);
        assert_eq!(book.to_describe(&listed, &spec(), later), [arn(1)]);
    }
}

#[test]
fn the_room_in_a_call_goes_to_the_oldest_descriptions_and_makes_no_call_of_its_own() {
    let now = Instant::now();
    let mut book = Book::default();
    let ids: Vec<u32> = (0..150).collect();
    let all = |ids: &[u32]| Some(ids.iter().map(|id| task(*id, 1)).collect());
    poll(&mut book, &ids[..50], all(&ids[..50]), now);
    let later = now + Duration::from_secs(10);
    poll(&mut book, &ids, all(&ids), later);
    let later = now + Duration::from_secs(40);
    assert!(book.to_describe(&list(&ids), &spec(), later).is_empty());
    let mut more = ids.clone();
    more.push(200);
    let asked = book.to_describe(&list(&more), &spec(), later);
    assert_eq!(asked.len(), 100);
    assert!(asked.contains(&arn(200)));
    assert!(ids[..50].iter().all(|id| asked.contains(&arn(*id))));
}

#[test]
fn a_task_on_its_way_is_described_when_the_service_has_more_that_run_and_now_and_then() {
    let now = Instant::now();
    let mut book = Book::default();
    let starting = Task {
        last_status: "PENDING".to_owned(),
        ..task(2, 2)
    };
    let service = |running| Service {
        desired: 2,
        running,
        pending: 2 - running,
        rolling: false,
        task_sets: None,
    };
    book.service.answered(service(1), now);
    poll(&mut book, &[1, 2], Some(vec![task(1, 1), starting]), now);
    let asks = |book: &Book, seconds| {
        let later = now + Duration::from_secs(seconds);
        let look = book.to_describe(&list(&[1, 2]), &spec(), later);
        (
            look.contains(&arn(2)),
            book.starting(later).contains(&arn(2)),
        )
    };
    assert_eq!(asks(&book, 5), (false, false));
    assert_eq!(asks(&book, 15), (true, false), "whatever is told");
    book.service.answered(service(2), now);
    assert_eq!(asks(&book, 5), (true, true));
    book.service.failed("no".to_owned(), now);
    assert_eq!(asks(&book, 5), (true, true), "nothing is told");
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
fn when_most_of_a_service_is_not_known_any_more_all_of_it_is_kept_for_five_minutes() {
    let (mut book, start) = (Book::default(), Instant::now());
    let all: Vec<Task> = (0..6).map(|id| task(id, 1)).collect();
    let ids: Vec<u32> = (0..6).collect();
    assert_eq!(poll(&mut book, &ids, Some(all), start).len(), 6);
    // An empty list, and ECS knows none of them: the wrong answer of a moment, or the truth.
    let mut now = start;
    for _ in 0..29 {
        now += Duration::from_secs(10);
        assert_eq!(poll(&mut book, &[], Some(Vec::new()), now).len(), 6);
        let (_, problems) = book.targets(&spec());
        assert!(
            book.frozen == 0 || problems[0].reason.contains("all at once"),
            "{problems:?}"
        );
    }
    assert_eq!(book.frozen, 6);
    now += Duration::from_secs(20);
    assert_eq!(
        poll(&mut book, &[], Some(Vec::new()), now),
        Vec::<u16>::new()
    );
}

#[test]
fn a_whole_service_that_says_that_it_stopped_goes_at_once() {
    let (mut book, start) = (Book::default(), Instant::now());
    let ids: Vec<u32> = (0..6).collect();
    let all =
        |version, make: fn(u32, i64) -> Task| ids.iter().map(|id| make(*id, version)).collect();
    assert_eq!(poll(&mut book, &ids, Some(all(1, task)), start).len(), 6);
    let later = start + Duration::from_secs(5);
    assert_eq!(
        poll(&mut book, &[], Some(all(2, stopped)), later),
        Vec::<u16>::new()
    );
}

#[test]
fn a_few_tasks_that_are_not_known_any_more_go_without_the_guard() {
    let (mut book, start) = (Book::default(), Instant::now());
    let ids: Vec<u32> = (0..6).collect();
    let all: Vec<Task> = ids.iter().map(|id| task(*id, 1)).collect();
    poll(&mut book, &ids, Some(all), start);
    let mut left = Vec::new();
    for seconds in [5, 10] {
        let now = start + Duration::from_secs(seconds);
        left = poll(&mut book, &ids[2..], Some(Vec::new()), now);
    }
    assert_eq!(left, [2, 3, 4, 5]);
}
