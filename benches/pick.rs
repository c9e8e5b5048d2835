//! `Picker::pick`: how long it takes to choose an endpoint, for each algorithm, by the number of
//! candidates; how long it takes to make a picker for a snapshot; and how much memory it takes.
//!
//! `counter` is the simplest round robin, which Longshore had first: a counter for each worker and a
//! remainder, without weights, and with the workers apart from each other. It is here to be compared
//! with.
//!
//! Endpoints have between 0 and 3 requests in flight and a latency that was seen. Chance comes from
//! the generator that workers have. The endpoints lie in memory in the order of the candidates,
//! which those of a process that has run for long do not.

use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use criterion::{BenchmarkId, Criterion};
use longshore::clock;
use longshore::upstream::cursors::Cursors;
use longshore::upstream::endpoint::Endpoint;
use longshore::upstream::picker::{Asked, Candidate, Picker};
use longshore_config::Algorithm;
use longshore_discovery::{Target, TargetKey};

const SIZES: [u32; 3] = [10, 100, 10_000];
const WORKERS: usize = 2;
const ALGORITHMS: [(&str, Algorithm); 5] = [
    ("round_robin", Algorithm::RoundRobin),
    (
        "least_outstanding_requests",
        Algorithm::LeastOutstandingRequests,
    ),
    ("weighted_random", Algorithm::WeightedRandom),
    ("peak_ewma", Algorithm::PeakEwma),
    ("consistent_hash", Algorithm::ConsistentHash),
];

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    counter(&mut criterion);
    for (name, algorithm) in ALGORITHMS {
        one_pick(&mut criterion, &format!("pick/{name}"), algorithm, |_| 1);
    }
    let uneven = |number: u32| u64::from(number % 7 + 1);
    let round_robin = Algorithm::RoundRobin;
    one_pick(
        &mut criterion,
        "pick/round_robin_weighted",
        round_robin,
        uneven,
    );
    make(&mut criterion);
    criterion.final_summary();
    memory();
}

fn counter(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pick/counter");
    for size in SIZES {
        let candidates = endpoints(size);
        let counters: Box<[AtomicUsize]> = (0..WORKERS).map(|_| AtomicUsize::new(0)).collect();
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| {
                let candidates = black_box(&candidates);
                let counter = &counters[black_box(0_usize) % counters.len()];
                let start = counter.load(Ordering::Relaxed);
                counter.store(start.wrapping_add(1), Ordering::Relaxed);
                let (before, from) = candidates.split_at(start % candidates.len());
                from.iter()
                    .chain(before)
                    .find(|endpoint| !endpoint.is_retired())
            });
        });
    }
    group.finish();
}

fn one_pick(
    criterion: &mut Criterion,
    name: &str,
    algorithm: Algorithm,
    weight: impl Fn(u32) -> u64,
) {
    let mut group = criterion.benchmark_group(name);
    for size in SIZES {
        let endpoints = endpoints(size);
        let picker = picker(algorithm, &endpoints, &weight);
        let random = RefCell::new(0x2545_F491_4F6C_DD1D_u64);
        // As quick as the generator of a worker, which is not public: xorshift64*.
        let draw = |bound: u64| {
            let mut state = random.borrow_mut();
            *state ^= *state >> 12;
            *state ^= *state << 25;
            *state ^= *state >> 27;
            let bits = state.wrapping_mul(0x2545_F491_4F6C_DD1D);
            ((u128::from(bits) * u128::from(bound)) >> 64) as u64
        };
        let hash = Cell::new(0_u64);
        let next = || {
            hash.set(hash.get().wrapping_add(0x9E37_79B9_7F4A_7C15));
            let asked = Asked {
                worker: 0,
                now: 1_000,
                draw: &draw,
                hash: Some(hash.get()),
            };
            // What `TargetGroup::pick` asks of every candidate.
            picker.pick(black_box(&endpoints), &asked, |one| !one.is_retired())
        };
        assert!(next().is_some());
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(next);
        });
    }
    group.finish();
}

/// What the control task pays for a picker in each snapshot that changes the group.
fn make(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pick/make");
    group.sample_size(10);
    for (name, algorithm) in ALGORITHMS {
        let endpoints = endpoints(10_000);
        group.bench_function(BenchmarkId::new(name, 10_000), |bencher| {
            bencher.iter(|| picker(algorithm, &endpoints, &|number| u64::from(number % 7 + 1)));
        });
    }
    group.finish();
}

fn memory() {
    println!("memory in bytes for each of 10,000 targets, with {WORKERS} workers:");
    let endpoints = endpoints(10_000);
    let each = |bytes: usize| bytes as f64 / endpoints.len() as f64;
    println!("  endpoint: {}", endpoints[0].memory());
    for (name, algorithm) in ALGORITHMS {
        let even = picker(algorithm, &endpoints, &|_| 1);
        let uneven = picker(algorithm, &endpoints, &|number| u64::from(number % 7 + 1));
        println!(
            "  picker, {name}: {:.1}, with weights {:.1}",
            each(even.memory()),
            each(uneven.memory())
        );
    }
}

fn picker(
    algorithm: Algorithm,
    endpoints: &[Arc<Endpoint>],
    weight: &impl Fn(u32) -> u64,
) -> Picker {
    let candidates: Vec<Candidate> = endpoints
        .iter()
        .zip(0..)
        .map(|(endpoint, number)| Candidate {
            endpoint: Arc::clone(endpoint),
            weight: weight(number),
            share: weight(number),
        })
        .collect();
    Picker::new(
        algorithm,
        &candidates,
        Arc::new(Cursors::new(WORKERS)),
        None,
    )
}

fn endpoints(count: u32) -> Vec<Arc<Endpoint>> {
    let name: Arc<str> = "app".into();
    let now = clock::now();
    (0..count)
        .map(|number| {
            let target = Target {
                key: TargetKey {
                    task: format!("arn:aws:ecs:eu-central-1:111122223333:task/prod/{number:032x}")
                        .into(),
                    container: "app".into(),
                    port: 8080,
                },
                address: ([10, 0, (number >> 8) as u8, number as u8], 32_768).into(),
                zone: None,
                weight: 1,
                instance: None,
                shared_port: true,
                started_at: Some(1_763_640_000_000 + i64::from(number)),
                protocol_version: None,
                claim: None,
                confirmed_at: now,
            };
            let endpoint = Endpoint::new(Arc::clone(&name), &target, WORKERS);
            for _ in 0..number % 4 {
                endpoint.begin(0, true);
            }
            endpoint.observe(1_000 + u64::from(number % 100), false, 500);
            endpoint
        })
        .collect()
}
