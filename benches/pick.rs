//! `picker::pick`: how long it takes to choose an endpoint, by the number of candidates.
//!
//! All endpoints are idle: what counts requests in flight is not public. For
//! `least_outstanding_requests` that is the same number of looks, as it always looks at all, but
//! branches that a processor foresees. The endpoints also lie in memory in the order of the
//! candidates, which those of a process that has run for long do not.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion};
use longshore::clock;
use longshore::upstream::endpoint::Endpoint;
use longshore::upstream::picker::{Cursors, pick};
use longshore_config::Algorithm;
use longshore_discovery::{Target, TargetKey};

const SIZES: [u32; 3] = [10, 100, 10_000];
const WORKERS: usize = 2;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for (name, algorithm) in [
        ("pick/round_robin", Algorithm::RoundRobin),
        (
            "pick/least_outstanding_requests",
            Algorithm::LeastOutstandingRequests,
        ),
    ] {
        one_pick(&mut criterion, name, algorithm);
    }
    criterion.final_summary();
}

fn one_pick(criterion: &mut Criterion, name: &str, algorithm: Algorithm) {
    let mut group = criterion.benchmark_group(name);
    for size in SIZES {
        let candidates = endpoints(size);
        let cursors = Cursors::new(WORKERS);
        // What `TargetGroup::pick` asks of every candidate.
        let next = || {
            pick(algorithm, black_box(&candidates), &cursors, 0, |endpoint| {
                !endpoint.is_retired()
            })
        };
        assert!(next().is_some());
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(next);
        });
    }
    group.finish();
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
                instance: None,
                shared_port: true,
                started_at: Some(1_763_640_000_000 + i64::from(number)),
                confirmed_at: now,
            };
            Endpoint::new(Arc::clone(&name), &target, WORKERS)
        })
        .collect()
}
