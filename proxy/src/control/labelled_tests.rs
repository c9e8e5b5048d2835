use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use longshore_config::Labels;
use longshore_discovery::{Claim, Target, TargetKey, Update};

use crate::clock;
use crate::control::controller::{Controller, Effect, Event};
use crate::control::ids::{GroupId, ListenerId};

/// A controller with two sources of labels, and their numbers.
fn controller() -> (Controller, [GroupId; 2], Instant) {
    let text = "listeners: [{name: web, port: 80, default_action: [{type: fixed_response, fixed_response: {content_type: text/plain, status_code: 200}}]}]
label_discovery:
  - {name: one, docker: {}, listeners: [web]}
  - {name: two, ecs: {cluster: two}, listeners: [web]}
";
    let config = longshore_config::parse("test", text, &|_| None).expect("valid");
    let mut controller = Controller::new(1);
    let now = clock::now();
    let effects = controller.configure(&config, &[ListenerId(0)], now);
    let explored = |name: &str| {
        let mut found = effects.iter().filter_map(|effect| match effect {
            Effect::Explore(id, block) if block.name == name => Some(*id),
            _ => None,
        });
        found.next().expect("it is explored")
    };
    let ids = ["one", "two"].map(explored);
    (controller, ids, now)
}

/// A container that asks for the group `shop`, without checks.
fn container(id: u16, owner: &str) -> Target {
    let labels: Labels = [
        ("longshore.target_group", "shop"),
        ("longshore.health_check.enabled", "false"),
        ("longshore.rule.host_header", "shop.example"),
    ]
    .map(|(label, value)| (label.to_owned(), value.to_owned()))
    .into();
    Target {
        key: TargetKey {
            task: format!("task-{id}").into(),
            container: "c".into(),
            port: 80,
        },
        address: ([10, 0, 0, 1], id).into(),
        zone: None,
        weight: 1,
        instance: None,
        shared_port: true,
        started_at: Some(i64::from(id)),
        protocol_version: None,
        claim: Some(Arc::new(Claim {
            owner: owner.into(),
            name: "shop".into(),
            labels: Arc::new(labels),
        })),
        confirmed_at: clock::now(),
    }
}

fn set(controller: &mut Controller, source: GroupId, targets: Vec<Target>, at: Instant) {
    let update = Update::Set {
        targets,
        problems: Vec::new(),
        at,
    };
    controller.apply(Event::Discovered(source, update), at);
}

fn registered(controller: &Controller, now: Instant) -> BTreeSet<String> {
    let view = controller.view(now);
    let groups = view.target_groups.into_iter();
    let targets = groups.flat_map(|group| group.targets);
    targets
        .filter(|target| target.state != "draining")
        .map(|target| target.address)
        .collect()
}

fn addresses(ports: &[u16]) -> BTreeSet<String> {
    ports
        .iter()
        .map(|port| format!("10.0.0.1:{port}"))
        .collect()
}

#[test]
fn the_last_container_of_one_source_leaves_a_group_of_two_at_once() {
    let (mut controller, [one, two], now) = controller();
    set(&mut controller, one, vec![container(1, "shop")], now);
    set(&mut controller, two, vec![container(2, "shop")], now);
    assert_eq!(registered(&controller, now), addresses(&[1, 2]));
    set(&mut controller, one, Vec::new(), now);
    assert_eq!(registered(&controller, now), addresses(&[2]));
}

#[test]
fn a_group_that_passes_to_another_owner_has_its_containers_at_once() {
    let (mut controller, [one, two], now) = controller();
    set(&mut controller, one, vec![container(1, "first")], now);
    set(&mut controller, two, vec![container(2, "second")], now);
    let before = registered(&controller, now);
    set(&mut controller, one, Vec::new(), now);
    assert_eq!(registered(&controller, now), addresses(&[2]), "{before:?}");
}

#[test]
fn a_source_that_fails_takes_nothing_from_what_another_one_can_confirm() {
    let (mut controller, [one, two], now) = controller();
    set(&mut controller, one, vec![container(1, "shop")], now);
    set(&mut controller, two, vec![container(2, "shop")], now);
    let failed = |controller: &mut Controller, source| {
        let update = Update::Failed {
            error: "gone".to_owned(),
            at: now,
        };
        controller.apply(Event::Discovered(source, update), now);
    };
    let can_confirm = |controller: &mut Controller| {
        let id = controller.group_named("shop").expect("there");
        controller.stale.insert(id);
        let snapshot = controller.snapshot().expect("changed");
        snapshot.group(id).expect("there").can_confirm
    };
    failed(&mut controller, one);
    assert!(can_confirm(&mut controller), "the other one speaks");
    failed(&mut controller, two);
    assert!(!can_confirm(&mut controller));
}
