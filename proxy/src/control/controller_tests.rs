use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use longshore_discovery::{Target, TargetKey, Update};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{Controller, Effect, Event};
use crate::clock;
use crate::control::checks::CheckId;
use crate::control::ids::{GroupId, ListenerId};
use crate::control::snapshot::Snapshot;
use crate::control::threshold::Failure;
use crate::upstream::endpoint::{Endpoint, Loss};

const GROUPS: [&str; 2] = ["a", "b"];

fn controller(health_check: &str) -> (Controller, Instant) {
    let groups: String = GROUPS
        .iter()
        .map(|name| {
            format!(
                "  - {{name: {name}, deregistration_delay: 10, health_check: {{{health_check}}}, discovery: {{ecs: {{cluster: c, service: {name}}}}}}}\n"
            )
        })
        .collect();
    let text = format!(
        "listeners: [{{name: l, port: 80, default_action: [{{type: forward, target_group: a}}]}}]\ntarget_groups:\n{groups}"
    );
    let config = longshore_config::parse("test", &text, &|_| None).expect("valid");
    let mut controller = Controller::new(1);
    let now = clock::now();
    let effects = controller.configure(&config, &[ListenerId(0)], now);
    assert_eq!(effects.len(), GROUPS.len(), "each group's source is asked");
    (controller, now)
}

fn target(task: u32, port: u16, started_at: i64) -> Target {
    Target {
        key: TargetKey {
            task: format!("arn:task/{task}").into(),
            container: "web".into(),
            port: 80,
        },
        address: ([10, 0, 0, 1], port).into(),
        zone: None,
        weight: 1,
        instance: None,
        shared_port: true,
        started_at: Some(started_at),
        protocol_version: None,
        claim: None,
        confirmed_at: clock::now(),
    }
}

fn set(controller: &mut Controller, group: u32, targets: Vec<Target>, at: Instant) -> Vec<Effect> {
    let update = Update::Set {
        targets,
        problems: Vec::new(),
        at,
    };
    controller.apply(Event::Discovered(GroupId(group), update), at)
}

/// The first that requests can get to in a group.
fn first(controller: &mut Controller, group: u32) -> Arc<Endpoint> {
    let snapshot = controller.snapshot().expect("changed");
    let group = snapshot.group(GroupId(group)).expect("the group");
    Arc::clone(&group.candidates[0])
}

/// The tasks that requests can get to, by group.
fn pickable(snapshot: &Snapshot, group: u32) -> BTreeSet<String> {
    let group = snapshot.group(GroupId(group)).expect("the group");
    let usable = group
        .candidates
        .iter()
        .filter(|endpoint| !endpoint.is_retired());
    usable
        .map(|endpoint| endpoint.key.task_id().to_owned())
        .collect()
}

fn names(tasks: &[u32]) -> BTreeSet<String> {
    tasks.iter().map(ToString::to_string).collect()
}

#[test]
fn the_younger_task_has_the_address_in_whatever_order_they_are_told() {
    for younger_first in [true, false] {
        let (mut controller, now) = controller("enabled: false");
        let (old, young) = (vec![target(1, 1000, 5)], vec![target(2, 1000, 6)]);
        if younger_first {
            set(&mut controller, 1, young, now);
            set(&mut controller, 0, old, now);
        } else {
            set(&mut controller, 0, old, now);
            set(&mut controller, 1, young, now);
        }
        let snapshot = controller.snapshot().expect("changed");
        assert_eq!(pickable(&snapshot, 0), names(&[]), "{younger_first}");
        assert_eq!(pickable(&snapshot, 1), names(&[2]), "{younger_first}");
    }
}

#[test]
fn a_container_that_one_source_knows_by_its_former_name_is_a_target_for_both() {
    let (mut controller, now) = controller("enabled: false");
    let mut renamed = target(1, 1000, 5);
    renamed.key.container = "other".into();
    set(&mut controller, 0, vec![target(1, 1000, 5)], now);
    set(&mut controller, 1, vec![renamed], now);
    let snapshot = controller.snapshot().expect("changed");
    assert_eq!(pickable(&snapshot, 0), names(&[1]));
    assert_eq!(pickable(&snapshot, 1), names(&[1]));
}

#[test]
fn a_task_that_lost_its_address_is_a_target_again_at_another_one() {
    let (mut controller, now) = controller("enabled: false");
    set(&mut controller, 0, vec![target(1, 1000, 5)], now);
    set(&mut controller, 1, vec![target(2, 1000, 6)], now);
    set(&mut controller, 0, vec![target(1, 1000, 5)], now);
    assert_eq!(
        pickable(&controller.snapshot().expect("changed"), 0),
        names(&[])
    );
    set(&mut controller, 0, vec![target(1, 1001, 5)], now);
    assert_eq!(
        pickable(&controller.snapshot().expect("changed"), 0),
        names(&[1])
    );
}

#[test]
fn a_task_that_lost_its_address_returns_when_the_other_one_leaves() {
    let (mut controller, now) = controller("enabled: false");
    set(&mut controller, 0, vec![target(1, 1000, 5)], now);
    set(&mut controller, 1, vec![target(2, 1000, 6)], now);
    set(&mut controller, 1, vec![], now);
    set(&mut controller, 0, vec![target(1, 1000, 5)], now);
    assert_eq!(
        pickable(&controller.snapshot().expect("changed"), 0),
        names(&[1])
    );
}

#[test]
fn a_target_that_left_drains_for_its_delay_and_no_longer() {
    let (mut controller, now) = controller("enabled: false");
    set(&mut controller, 0, vec![target(1, 1000, 5)], now);
    let endpoint = first(&mut controller, 0);
    endpoint.begin(0, false);
    set(&mut controller, 0, vec![], now);
    assert!(endpoint.is_retired() && !endpoint.is_expired());
    let end = now + Duration::from_secs(10);
    controller.apply(Event::Tick, end - Duration::from_millis(1));
    assert!(!endpoint.is_expired());
    assert_eq!(
        controller.view(now).target_groups[0].targets[0].state,
        "draining"
    );
    controller.apply(Event::Tick, end);
    assert!(endpoint.is_expired());
    assert!(controller.view(now).target_groups[0].targets.is_empty());
}

#[test]
fn what_is_in_flight_at_a_target_goes_on_when_it_comes_back_and_ends_when_another_one_comes() {
    let (mut controller, now) = controller("enabled: false");
    set(&mut controller, 0, vec![target(1, 1000, 5)], now);
    let endpoint = first(&mut controller, 0);
    endpoint.begin(0, false);
    set(&mut controller, 0, vec![], now);
    set(&mut controller, 0, vec![target(1, 1000, 5)], now);
    let again = controller.snapshot().expect("changed");
    assert_eq!(pickable(&again, 0), names(&[1]));
    assert!(!endpoint.is_expired(), "the same process is there");
    assert_eq!(
        controller.target_figures().len(),
        1,
        "one series of figures"
    );
    set(&mut controller, 0, vec![], now);
    set(&mut controller, 1, vec![target(2, 1000, 6)], now);
    assert!(endpoint.is_expired(), "its port is another one's");
}

#[test]
fn a_task_with_an_interface_of_its_own_loses_its_address_to_a_newcomer_too() {
    let own = |task, started_at| Target {
        shared_port: false,
        ..target(task, 8080, started_at)
    };
    let (mut controller, now) = controller("enabled: false");
    set(&mut controller, 0, vec![own(1, 5)], now);
    set(&mut controller, 1, vec![own(2, 6)], now);
    let snapshot = controller.snapshot().expect("changed");
    assert_eq!(pickable(&snapshot, 0), names(&[]));
    assert_eq!(pickable(&snapshot, 1), names(&[2]));
}

#[test]
fn what_is_in_flight_at_a_group_that_is_gone_ends_with_its_delay() {
    let (mut controller, now) = controller("enabled: false");
    set(&mut controller, 1, vec![target(1, 1000, 5)], now);
    let endpoint = first(&mut controller, 1);
    endpoint.begin(0, false);
    let text = "listeners: [{name: l, port: 80, default_action: [{type: forward, target_group: a}]}]
target_groups: [{name: a, health_check: {enabled: false}, discovery: {ecs: {cluster: c, service: a}}}]
";
    let config = longshore_config::parse("test", text, &|_| None).expect("valid");
    controller.configure(&config, &[ListenerId(0)], now);
    assert!(endpoint.is_retired() && !endpoint.is_expired());
    let end = now + Duration::from_secs(10);
    controller.apply(Event::Tick, end - Duration::from_millis(1));
    assert!(!endpoint.is_expired());
    controller.apply(Event::Tick, end);
    assert!(endpoint.is_expired());
}

#[test]
fn a_source_is_asked_as_long_as_one_of_its_targets_is_in_doubt_and_not_more_often_than_it_bears() {
    let (mut controller, now) = controller("enabled: false");
    set(&mut controller, 1, vec![target(1, 1000, 5)], now);
    let endpoint = first(&mut controller, 1);
    let asked = [0, 1].map(|id| controller.look_now(GroupId(id)).expect("it has one"));
    let mut ticks = |seconds: u64| {
        controller.apply(Event::Tick, now + Duration::from_secs(seconds));
        asked
            .each_ref()
            .map(|asked| asked.notified().now_or_never().is_some())
    };
    assert_eq!(ticks(0), [false, false]);
    endpoint.lost_connection(now, Loss::Sudden);
    assert_eq!(ticks(4), [false, false]);
    assert_eq!(ticks(5), [false, true]);
    assert_eq!(ticks(6), [false, false]);
    assert_eq!(ticks(10), [false, true]);
    endpoint.confirm(now + Duration::from_secs(10));
    assert_eq!(ticks(15), [false, false]);
}

#[test]
fn the_retry_budget_counts_the_requests_of_those_that_stay_when_others_leave() {
    let (mut controller, now) = controller("enabled: false");
    let both = vec![target(1, 1000, 5), target(2, 1001, 5)];
    set(&mut controller, 0, both.clone(), now);
    let snapshot = controller.snapshot().expect("changed");
    let group = snapshot.group(GroupId(0)).expect("the group");
    let serve = |count: u32, only: Option<u16>| {
        for endpoint in &group.candidates {
            let serves = only.is_none_or(|port| endpoint.address.port() == port);
            for _ in (0..count).filter(|_| serves) {
                endpoint.begin(0, false);
                endpoint.end(0, false);
            }
        }
    };
    let retries = |at: Instant| {
        let at = clock::micros(at);
        (0..10_000).filter(|_| group.budget.take(at)).count()
    };
    let second = Duration::from_secs(1);
    serve(5_000, None);
    controller.apply(Event::Tick, now + 10 * second);
    set(&mut controller, 0, both[..1].to_vec(), now + 11 * second);
    serve(5_000, Some(1000));
    controller.apply(Event::Tick, now + 20 * second);
    // A fifth of 1000 a second, and the least.
    assert_eq!(retries(now + 30 * second), 210);
}

#[test]
fn an_idle_target_that_left_is_done_at_once() {
    let (mut controller, now) = controller("enabled: false");
    set(&mut controller, 0, vec![target(1, 1000, 5)], now);
    set(&mut controller, 0, vec![], now);
    assert!(controller.view(now).target_groups[0].targets.is_empty());
}

#[test]
fn a_set_that_changes_nothing_makes_no_snapshot() {
    let (mut controller, now) = controller("enabled: false");
    set(&mut controller, 0, vec![target(1, 1000, 5)], now);
    controller.snapshot().expect("changed");
    let effects = set(&mut controller, 0, vec![target(1, 1000, 5)], now);
    assert!(effects.is_empty() && controller.snapshot().is_none());
}

#[test]
fn a_late_result_of_a_check_concerns_nobody_else() {
    let (mut controller, now) = controller("path: /");
    let effects = set(&mut controller, 0, vec![target(1, 1000, 5)], now);
    let [Effect::Watch(first, ..)] = effects[..] else {
        panic!("{effects:?}")
    };
    set(&mut controller, 0, vec![], now);
    set(&mut controller, 0, vec![target(1, 1000, 5)], now);
    controller.apply(Event::Checked(first, now, Ok(())), now);
    assert_eq!(
        controller.view(now).target_groups[0].targets[0].state,
        "initial"
    );
}

/// Random histories of two services on few ports.
#[test]
fn in_any_history_only_listed_targets_are_pickable_and_no_address_has_two() {
    for seed in 0..200 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let (mut controller, now) =
            controller("path: /, healthy_threshold: 2, unhealthy_threshold: 2");
        let mut last: [Vec<Target>; 2] = [Vec::new(), Vec::new()];
        let mut checks: Vec<(CheckId, SocketAddr)> = Vec::new();
        let mut snapshot = controller.snapshot().expect("the first");
        for step in 0..200 {
            let at = now + Duration::from_millis(step * 100);
            let group = rng.random_range(0..2_u32);
            let event = match rng.random_range(0..10) {
                0..4 => {
                    let count = rng.random_range(0..5);
                    let mut targets: Vec<Target> = (0..count)
                        .map(|_| {
                            let task = rng.random_range(0..8) * 2 + group;
                            target(task, 1000 + rng.random_range(0..6), i64::from(task))
                        })
                        .collect();
                    targets.sort_by(|a, b| a.key.cmp(&b.key));
                    targets.dedup_by(|a, b| a.key == b.key);
                    last[group as usize].clone_from(&targets);
                    let update = Update::Set {
                        targets,
                        problems: Vec::new(),
                        at,
                    };
                    Event::Discovered(GroupId(group), update)
                }
                4 => {
                    let error = "an outage".to_owned();
                    Event::Discovered(GroupId(group), Update::Failed { error, at })
                }
                5 => Event::Tick,
                _ if checks.is_empty() => Event::Tick,
                _ => {
                    let (check, _) = checks[rng.random_range(0..checks.len())];
                    let result = if rng.random() {
                        Ok(())
                    } else {
                        Err(Failure::Timeout)
                    };
                    Event::Checked(check, at, result)
                }
            };
            for effect in controller.apply(event, at) {
                match effect {
                    Effect::Watch(check, address, _) => checks.push((check, address)),
                    Effect::Unwatch(check) => checks.retain(|(known, _)| *known != check),
                    _ => {}
                }
            }
            if let Some(next) = controller.snapshot() {
                assert!(next.generation > snapshot.generation);
                snapshot = next;
            }
            let mut addresses: BTreeSet<SocketAddr> = BTreeSet::new();
            for (index, listed) in last.iter().enumerate() {
                let group = snapshot
                    .group(GroupId(u32::try_from(index).expect("small")))
                    .expect("kept");
                for endpoint in &group.candidates {
                    assert!(!endpoint.is_retired(), "seed {seed}, step {step}");
                    assert!(
                        listed.iter().any(|target| target.key == endpoint.key
                            && target.address == endpoint.address),
                        "seed {seed}, step {step}: {} is not listed",
                        endpoint.key
                    );
                    assert!(
                        addresses.insert(endpoint.address),
                        "seed {seed}, step {step}: two at {}",
                        endpoint.address
                    );
                }
            }
            let watched: BTreeSet<SocketAddr> = checks.iter().map(|(_, at)| *at).collect();
            assert_eq!(
                watched.len(),
                checks.len(),
                "seed {seed}, step {step}: watched twice"
            );
        }
    }
}

/// Groups of fixed targets, and a listener that forwards to one of them.
fn fixed(used: &str, groups: &str) -> longshore_config::Config {
    let text = format!(
        "listeners: [{{name: l, port: 80, default_action: [{{type: forward, target_group: {used}}}]}}]\ntarget_groups:\n{groups}"
    );
    longshore_config::parse("test", &text, &|_| None).expect("valid")
}

fn group(name: &str, check: &str) -> String {
    format!(
        "  - {{name: {name}, targets: [{{address: 10.0.0.1, port: 80}}], health_check: {{{check}}}}}\n"
    )
}

fn states(controller: &Controller, now: Instant) -> Vec<(String, &'static str)> {
    let view = controller.view(now);
    let groups = view.target_groups.into_iter();
    groups
        .map(|group| (group.name, group.targets[0].verdict.expect("a verdict")))
        .collect()
}

#[test]
fn groups_with_the_same_target_and_the_same_check_share_it_and_count_by_themselves() {
    let mut controller = Controller::new(1);
    let now = clock::now();
    let (one, two) = (
        "path: /x, unhealthy_threshold: 1",
        "path: /x, unhealthy_threshold: 2",
    );
    let config = fixed(
        "a",
        &(group("a", one) + &group("b", two) + &group("c", "path: /y")),
    );
    let effects = controller.configure(&config, &[ListenerId(0)], now);
    let [
        Effect::Watch(shared, ..),
        Effect::CheckNow(again),
        Effect::Watch(other, ..),
    ] = effects[..]
    else {
        panic!("{effects:?}")
    };
    assert_eq!(shared, again);
    controller.apply(Event::Checked(shared, now, Ok(())), now);
    controller.apply(Event::Checked(other, now, Ok(())), now);
    controller.apply(Event::Checked(shared, now, Err(Failure::Timeout)), now);
    let verdicts: Vec<&str> = states(&controller, now).iter().map(|(_, is)| *is).collect();
    assert_eq!(verdicts, ["unhealthy", "healthy", "healthy"]);

    // It ends with the last one that wants it.
    let config = fixed("a", &group("a", one));
    let effects = controller.configure(&config, &[ListenerId(0)], now);
    assert!(effects.contains(&Effect::Unwatch(other)), "{effects:?}");
    assert!(!effects.contains(&Effect::Unwatch(shared)), "{effects:?}");
}

#[test]
fn a_result_of_a_check_that_began_before_a_target_came_says_nothing_about_it() {
    let mut controller = Controller::new(1);
    let now = clock::now();
    let config = fixed("a", &group("a", "path: /"));
    let effects = controller.configure(&config, &[ListenerId(0)], now);
    let [Effect::Watch(check, ..)] = effects[..] else {
        panic!("{effects:?}")
    };
    let before = now.checked_sub(Duration::from_millis(1)).expect("early");
    controller.apply(Event::Checked(check, before, Ok(())), now);
    assert_eq!(states(&controller, now)[0].1, "initial");
    controller.apply(Event::Checked(check, now, Ok(())), now);
    assert_eq!(states(&controller, now)[0].1, "healthy");
}

#[test]
fn verdicts_stay_through_every_change_of_a_file_that_leaves_the_target() {
    let mut controller = Controller::new(1);
    let now = clock::now();
    let listener = [ListenerId(0)];
    let config = fixed("a", &group("a", "path: /, unhealthy_threshold: 2"));
    let effects = controller.configure(&config, &listener, now);
    let [Effect::Watch(check, ..)] = effects[..] else {
        panic!("{effects:?}")
    };
    controller.apply(Event::Checked(check, now, Ok(())), now);

    // Nothing of the check changes, only how its results count.
    let config = fixed("a", &group("a", "path: /, unhealthy_threshold: 3"));
    let effects = controller.configure(&config, &listener, now);
    assert_eq!(effects, []);
    assert_eq!(states(&controller, now)[0].1, "healthy");

    // Another check begins, and the verdict stays until that one turns it.
    let config = fixed("a", &group("a", "path: /new, unhealthy_threshold: 2"));
    let effects = controller.configure(&config, &listener, now);
    let [Effect::Watch(new, ..), Effect::Unwatch(old)] = effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(old, check);
    assert_eq!(states(&controller, now)[0].1, "healthy");
    controller.apply(Event::Checked(new, now, Err(Failure::Timeout)), now);
    assert_eq!(states(&controller, now)[0].1, "healthy");

    // A group of another name with the same target and check begins with the verdict.
    let config = fixed("b", &group("b", "path: /new, unhealthy_threshold: 2"));
    let effects = controller.configure(&config, &listener, now);
    assert!(!effects.contains(&Effect::Unwatch(new)), "{effects:?}");
    let found = states(&controller, now);
    assert_eq!(found, [("b".to_owned(), "healthy")]);
}

#[test]
fn a_source_that_ended_begins_anew_if_it_is_still_wanted() {
    let (mut controller, now) = controller("enabled: false");
    let effects = controller.apply(Event::SourceEnded(GroupId(0)), now);
    let [
        Effect::Forget(GroupId(0)),
        Effect::Discover(GroupId(0), config),
    ] = &effects[..]
    else {
        panic!("{effects:?}");
    };
    assert_eq!(config.name, "a");
    assert_eq!(controller.apply(Event::SourceEnded(GroupId(9)), now), []);
}
