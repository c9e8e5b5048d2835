//! The snapshot: what each request pays for reading it, and what the control task pays for a set of
//! targets that discovery found, up to the snapshot that results.
//!
//! The group has no health checks, so that its targets are candidates at once. Nobody listens to
//! log events, so their formatting is not in the figures.

use std::time::Instant;

use criterion::{BatchSize, BenchmarkId, Criterion};
use longshore::clock;
use longshore::control::controller::{Controller, Effect, Event};
use longshore::control::ids::{GroupId, ListenerId};
use longshore::control::snapshot::{Shared, Snapshot};
use longshore_config::Config;
use longshore_discovery::{Target, TargetKey, Update};

const SIZES: [u32; 3] = [10, 1_000, 10_000];
const WORKERS: usize = 2;

/// Tasks of a host, each on a dynamic port of it.
const TASKS_PER_HOST: u32 = 20;

const CONFIG: &str = "
listeners:
  - name: web
    port: 80
    default_action: [{type: forward, target_group: app}]
target_groups:
  - name: app
    discovery: {ecs: {cluster: prod, service: app}}
    health_check: {enabled: false}
";

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    load(&mut criterion);
    apply(&mut criterion);
    criterion.final_summary();
}

/// Of the empty snapshot, as only the control task can store another. What is in it does not
/// matter, as only the pointer is read; that nobody stores meanwhile does.
fn load(criterion: &mut Criterion) {
    let shared = Shared::default();
    criterion.bench_function("snapshot/load", |bencher| {
        bencher.iter(|| shared.load().generation);
    });
}

fn apply(criterion: &mut Criterion) {
    let config = longshore_config::parse("bench", CONFIG, &|_| None).expect("a valid file");
    let now = clock::now();
    let mut group = criterion.benchmark_group("snapshot/apply");
    group.sample_size(10);
    for size in SIZES {
        let targets = targets(0..size, now);

        // All targets are new.
        group.bench_function(BenchmarkId::new("first", size), |bencher| {
            bencher.iter_batched(
                || (controller(&config, now), targets.clone()),
                |((mut controller, id), targets)| {
                    let outcome = discover(&mut controller, id, targets, now);
                    (controller, outcome)
                },
                BatchSize::PerIteration,
            );
        });

        let (mut controller, id) = controller(&config, now);
        let (_, snapshot) = discover(&mut controller, id, targets.clone(), now);
        assert_eq!(candidates(snapshot.as_ref(), id), Some(size as usize));

        // What each look gives as long as nothing happens: all stay, and there is no new snapshot.
        let (_, snapshot) = discover(&mut controller, id, targets.clone(), now);
        assert!(snapshot.is_none());
        group.bench_function(BenchmarkId::new("same", size), |bencher| {
            bencher.iter_batched(
                || targets.clone(),
                |targets| discover(&mut controller, id, targets, now),
                BatchSize::PerIteration,
            );
        });

        // One leaves and one comes. Two sets in turn, so that each is a change.
        let sets = [self::targets(1..size + 1, now), targets];
        let mut turn = sets.iter().cycle();
        let (_, snapshot) = discover(&mut controller, id, next(&mut turn), now);
        assert_eq!(candidates(snapshot.as_ref(), id), Some(size as usize));
        group.bench_function(BenchmarkId::new("one_replaced", size), |bencher| {
            bencher.iter_batched(
                || next(&mut turn),
                |targets| discover(&mut controller, id, targets, now),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn next<'s>(turn: &mut impl Iterator<Item = &'s Vec<Target>>) -> Vec<Target> {
    turn.next().cloned().expect("a cycle does not end")
}

/// What is measured.
fn discover(
    controller: &mut Controller,
    id: GroupId,
    targets: Vec<Target>,
    now: Instant,
) -> (Vec<Effect>, Option<Snapshot>) {
    let update = Update::Set {
        targets,
        problems: Vec::new(),
        at: now,
    };
    let effects = controller.apply(Event::Discovered(id, update), now);
    (effects, controller.snapshot())
}

/// A controller that waits for its group's first set, and the group.
fn controller(config: &Config, now: Instant) -> (Controller, GroupId) {
    let mut controller = Controller::new(WORKERS);
    let effects = controller.configure(config, &[ListenerId(0)], now);
    controller.snapshot();
    let id = effects
        .iter()
        .find_map(|effect| match effect {
            Effect::Discover(id, _) => Some(*id),
            _ => None,
        })
        .expect("the group is discovered");
    (controller, id)
}

fn candidates(snapshot: Option<&Snapshot>, id: GroupId) -> Option<usize> {
    Some(snapshot?.group(id)?.candidates.len())
}

fn targets(numbers: std::ops::Range<u32>, now: Instant) -> Vec<Target> {
    numbers
        .map(|number| {
            let host = number / TASKS_PER_HOST;
            let port = 32_768 + (number % TASKS_PER_HOST) as u16;
            Target {
                key: TargetKey {
                    task: format!("arn:aws:ecs:eu-central-1:111122223333:task/prod/{number:032x}")
                        .into(),
                    container: "app".into(),
                    port: 8080,
                },
                address: ([10, 0, (host >> 8) as u8, host as u8], port).into(),
                zone: Some("eu-central-1a".into()),
                weight: 1,
                instance: Some(format!("i-{host:017x}").into()),
                shared_port: true,
                started_at: Some(1_763_640_000_000 + i64::from(number)),
                protocol_version: None,
                claim: None,
                confirmed_at: now,
            }
        })
        .collect()
}
