//! Hosts and task definitions in the book.

use std::time::{Duration, Instant};

use super::Book;
use super::tests::{list, poll, spec, stopped, task};
use crate::ecs::aim::Speaking;
use crate::ecs::api::{Definition, Described, Host, Hosts, MappedPorts, PortMapping};

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
        labels: Default::default(),
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
    assert!(!book.is_unsettled(&spec(), now));
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

#[test]
fn a_definition_that_would_only_help_is_asked_for_a_few_times_and_then_no_more() {
    let now = Instant::now();
    let mut book = Book::default();
    assert_eq!(poll(&mut book, &[1], Some(vec![task(1, 1)]), now), [1]);
    assert!(
        book.unknown_definitions(&spec(), now).is_empty(),
        "not wanted"
    );
    let aim = Speaking(spec());
    let mut asked = 0;
    for second in 0..3600 {
        let now = now + Duration::from_secs(second);
        let due = book.next_question(&aim, now).is_some_and(|at| at <= now);
        let wanted = book.unknown_definitions(&aim, now);
        assert_eq!(wanted.is_empty(), !due, "{second}");
        for arn in wanted {
            asked += 1;
            book.definitions.refused(arn, "denied".to_owned(), now);
        }
        let (targets, problems) = book.targets(&aim);
        assert_eq!((targets.len(), problems.len()), (1, 0), "it is a target");
        assert_eq!(targets[0].protocol_version, None);
    }
    assert_eq!(asked, 3);
    assert!(!book.is_unsettled(&aim, now));
}
