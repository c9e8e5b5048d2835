//! Shares as the controller sets them: slow start, anomalies and zones, up to what is picked.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_discovery::{Target, TargetKey, Update};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{Controller, Effect, Event};
use crate::clock;
use crate::control::checks::CheckId;
use crate::control::ids::{GroupId, ListenerId};
use crate::control::snapshot::Snapshot;
use crate::control::threshold::Failure;
use crate::upstream::picker::Asked;

const GROUP: GroupId = GroupId(0);

const ALGORITHMS: [&str; 5] = [
    "round_robin",
    "least_outstanding_requests",
    "weighted_random",
    "peak_ewma",
    "consistent_hash, hash_policy: {type: path}",
];

/// One discovered group, its latest snapshot, and a clock.
struct World {
    controller: Controller,
    snapshot: Option<Snapshot>,
    start: Instant,
    millis: u64,
    rng: RefCell<SmallRng>,
    checks: Vec<CheckId>,
}

impl World {
    fn new(group: &str, runtime: &str) -> Self {
        let text = format!(
            "runtime: {{{runtime}}}\nlisteners: [{{name: l, port: 80, default_action: [{{type: forward, target_group: a}}]}}]\ntarget_groups: [{{name: a, {group}, discovery: {{ecs: {{cluster: c, service: s}}}}}}]"
        );
        let config = longshore_config::parse("test", &text, &|_| None)
            .unwrap_or_else(|errors| panic!("{errors}"));
        let mut controller = Controller::new(8);
        let start = clock::now();
        controller.configure(&config, &[ListenerId(0)], start);
        let seed = 21;
        println!("{group}, seed {seed}");
        Self {
            controller,
            snapshot: None,
            start,
            millis: 0,
            rng: RefCell::new(SmallRng::seed_from_u64(seed)),
            checks: Vec::new(),
        }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.millis)
    }

    fn apply(&mut self, event: Event) {
        let effects = self.controller.apply(event, self.now());
        for effect in effects {
            if let Effect::Watch(check, ..) = effect {
                self.checks.push(check);
            }
        }
        if let Some(snapshot) = self.controller.snapshot() {
            self.snapshot = Some(snapshot);
        }
    }

    /// The source tells of these tasks, each with its zone and weight.
    fn set(&mut self, tasks: &[(u32, &str, u16)]) {
        let targets = tasks
            .iter()
            .map(|(task, zone, weight)| Target {
                key: TargetKey {
                    task: format!("arn:task/{task}").into(),
                    container: "web".into(),
                    port: 80,
                },
                address: ([10, 0, 0, 1], 1000 + u16::try_from(*task).expect("small")).into(),
                zone: (!zone.is_empty()).then(|| Arc::from(*zone)),
                weight: *weight,
                instance: None,
                shared_port: false,
                started_at: None,
                protocol_version: None,
                claim: None,
                confirmed_at: self.now(),
            })
            .collect();
        let update = Update::Set {
            targets,
            problems: Vec::new(),
            at: self.now(),
        };
        self.apply(Event::Discovered(GROUP, update));
    }

    fn checked(&mut self, index: usize, result: Result<(), Failure>) {
        let check = self.checks[index];
        self.apply(Event::Checked(check, self.now(), result));
    }

    /// Time passes, as the control task sees it.
    fn pass(&mut self, time: Duration) {
        let end = self.millis + u64::try_from(time.as_millis()).expect("short");
        while self.millis < end {
            self.millis = (self.millis + 200).min(end);
            self.apply(Event::Tick);
        }
    }

    /// The part of many picks that each task gets.
    fn parts(&self) -> BTreeMap<String, f64> {
        const PICKS: u32 = 10_000;
        let snapshot = self.snapshot.as_ref().expect("a snapshot");
        let group = snapshot.group(GROUP).expect("the group");
        let draw = |bound: u64| self.rng.borrow_mut().random_range(0..bound);
        let mut parts = BTreeMap::new();
        for turn in 0..PICKS {
            let asked = Asked {
                worker: (turn % 8) as usize,
                now: u64::from(turn),
                draw: &draw,
                hash: Some(draw(u64::MAX)),
            };
            let picked = group.pick(&asked, |_| true).expect("a candidate");
            *parts.entry(picked.key.task_id().to_owned()).or_insert(0.0) += 1.0 / f64::from(PICKS);
        }
        parts
    }

    fn part(&self, task: &str) -> f64 {
        self.parts().get(task).copied().unwrap_or(0.0)
    }

    fn percents(&self) -> Vec<u64> {
        let view = self.controller.view(self.now());
        let targets = view.target_groups[0].targets.iter();
        targets.map(|target| target.weight_percent).collect()
    }
}

#[test]
fn the_share_of_a_newcomer_rises_in_a_straight_line_with_every_algorithm() {
    for algorithm in ALGORITHMS {
        let mut world = World::new(
            &format!(
                "load_balancing_algorithm_type: {algorithm}, slow_start: 100, health_check: {{enabled: false}}"
            ),
            "",
        );
        let mut tasks = vec![(1, "", 1), (2, "", 1), (3, "", 1)];
        world.set(&tasks);
        assert_eq!(world.percents(), [100, 100, 100], "all are new");
        tasks.push((4, "", 1));
        world.set(&tasks);
        assert_eq!(world.percents(), [100, 100, 100, 1]);
        for percent in [1, 25, 50, 75, 100] {
            let passed = Duration::from_millis(world.millis);
            world.pass(Duration::from_secs(percent) - passed);
            let weight = f64::from(u32::try_from(percent).expect("small")) / 100.0;
            let wanted = weight / (3.0 + weight);
            let part = world.part("4");
            // Of two that are compared one is surely another target: a lighter one has somewhat
            // more of them than its share.
            let off = if algorithm.starts_with("peak") {
                0.03
            } else {
                0.015
            };
            assert!(
                (part - wanted).abs() < off,
                "{algorithm} at {percent} %: {part}, not {wanted}"
            );
        }
        assert_eq!(world.percents(), [100; 4]);
        world.pass(Duration::from_secs(5));
        let generation = world.snapshot.as_ref().map(|snapshot| snapshot.generation);
        world.pass(Duration::from_secs(60));
        let later = world.snapshot.as_ref().map(|snapshot| snapshot.generation);
        assert_eq!(generation, later, "no snapshots for nothing");
    }
}

#[test]
fn a_target_that_recovers_starts_slowly_and_those_of_the_first_set_do_not() {
    let mut world = World::new(
        "slow_start: 30, health_check: {healthy_threshold: 2, unhealthy_threshold: 2}",
        "",
    );
    world.set(&[(1, "", 1), (2, "", 1)]);
    world.checked(0, Ok(()));
    world.pass(Duration::from_secs(1));
    world.checked(1, Ok(()));
    assert_eq!(
        world.percents(),
        [100, 100],
        "one was only checked a moment later"
    );
    for _ in 0..2 {
        world.checked(1, Err(Failure::Timeout));
    }
    assert!(world.part("2") < f64::EPSILON);
    for _ in 0..2 {
        world.checked(1, Ok(()));
    }
    assert_eq!(world.percents(), [100, 1]);
    world.pass(Duration::from_secs(15));
    assert_eq!(world.percents(), [100, 50]);
    // It fails again, and the other one too: who is first has nobody to wait for.
    for index in [1, 1, 0, 0] {
        world.checked(index, Err(Failure::Timeout));
    }
    for index in [1, 1, 0, 0] {
        world.checked(index, Ok(()));
    }
    assert_eq!(world.percents(), [1, 100]);
    world.pass(Duration::from_secs(31));
    assert_eq!(world.percents(), [100, 100]);
}

#[test]
fn an_anomalous_target_gets_less_at_once_and_more_again_step_by_step() {
    let mut world = World::new(
        "load_balancing_algorithm_type: weighted_random, load_balancing_algorithm_anomaly_mitigation: on, health_check: {enabled: false}",
        "",
    );
    world.set(&[(1, "", 1), (2, "", 1), (3, "", 1), (4, "", 1)]);
    world.pass(Duration::from_secs(6));
    let group = world
        .snapshot
        .as_ref()
        .and_then(|snapshot| snapshot.group(GROUP))
        .expect("there");
    let endpoints: Vec<_> = group.candidates.iter().map(Arc::clone).collect();
    let serve = |requests: usize, errors: usize| {
        for endpoint in &endpoints {
            for _ in 0..requests {
                endpoint.begin(0, false);
                endpoint.end(0, false);
            }
        }
        for _ in 0..errors {
            endpoints[0].erred(0);
        }
    };
    let anomaly = |world: &World| {
        let view = world.controller.view(world.now());
        view.target_groups[0].targets[0]
            .anomaly
            .expect("registered")
    };
    assert_eq!(anomaly(&world).result, "normal");
    serve(100, 40);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.percents(), [5, 100, 100, 100]);
    let found = anomaly(&world);
    assert_eq!(
        (found.result, found.mitigation_in_effect),
        ("anomalous", "yes")
    );
    let part = world.part("1");
    assert!(part < 0.03, "{part} of all");
    let mut before = part;
    for _ in 0..10 {
        serve(100, 0);
        world.pass(Duration::from_secs(5));
        let part = world.part("1");
        assert!(part > before || part > 0.23, "{part} after {before}");
        before = part;
    }
    assert_eq!(world.percents(), [100; 4]);
    let found = anomaly(&world);
    assert_eq!((found.result, found.mitigation_in_effect), ("normal", "no"));
}

#[test]
fn without_mitigation_an_anomaly_is_only_shown() {
    for algorithm in ALGORITHMS {
        let mut world = World::new(
            &format!(
                "load_balancing_algorithm_type: {algorithm}, health_check: {{enabled: false}}"
            ),
            "",
        );
        world.set(&[(1, "", 1), (2, "", 1), (3, "", 1)]);
        world.pass(Duration::from_secs(6));
        let snapshot = world.snapshot.as_ref().expect("there");
        for endpoint in &snapshot.group(GROUP).expect("there").candidates {
            for _ in 0..100 {
                endpoint.begin(0, false);
                endpoint.end(0, false);
            }
            if endpoint.key.task_id() == "2" {
                (0..60).for_each(|_| endpoint.erred(0));
            }
        }
        world.pass(Duration::from_secs(5));
        let view = world.controller.view(world.now());
        let results: Vec<_> = view.target_groups[0]
            .targets
            .iter()
            .map(|target| {
                target
                    .anomaly
                    .map(|one| (one.result, one.mitigation_in_effect))
            })
            .collect();
        let normal = Some(("normal", "no"));
        assert_eq!(results, [normal, Some(("anomalous", "no")), normal]);
        assert_eq!(world.percents(), [100; 3]);
    }
}

#[test]
fn the_own_zone_is_preferred_as_far_as_it_has_room_with_every_algorithm() {
    for algorithm in ALGORITHMS {
        let mut world = World::new(
            &format!(
                "load_balancing_algorithm_type: {algorithm}, health_check: {{enabled: false}}"
            ),
            "zone: a",
        );
        world.set(&[(1, "a", 1), (2, "a", 1), (3, "b", 1), (4, "b", 1)]);
        let parts = world.parts();
        assert_eq!(parts.len(), 2, "{parts:?}");
        assert!(
            parts.contains_key("1") && parts.contains_key("2"),
            "{parts:?}"
        );
        // One of six targets and half of the requests: a third of them can stay.
        world.set(&[
            (1, "a", 1),
            (2, "b", 1),
            (3, "b", 1),
            (4, "b", 1),
            (5, "b", 1),
            (6, "b", 1),
        ]);
        let part = world.part("1");
        // Of two that are compared one is surely another target.
        let off = if algorithm.starts_with("peak") {
            0.09
        } else {
            0.03
        };
        assert!((part - 1.0 / 3.0).abs() < off, "{algorithm}: {part}");
        // None left here.
        world.set(&[(2, "b", 1), (3, "b", 1)]);
        assert_eq!(world.parts().len(), 2);
    }
}

#[test]
fn a_target_of_weight_0_gets_nothing_even_if_it_is_the_only_one() {
    for algorithm in ALGORITHMS {
        let mut world = World::new(
            &format!(
                "load_balancing_algorithm_type: {algorithm}, health_check: {{enabled: false}}"
            ),
            "",
        );
        world.set(&[(1, "", 0), (2, "", 3)]);
        assert!((world.part("2") - 1.0).abs() < 1e-6);
        world.set(&[(1, "", 0)]);
        let snapshot = world.snapshot.as_ref().expect("there");
        assert!(snapshot.group(GROUP).expect("there").candidates.is_empty());
    }
}
