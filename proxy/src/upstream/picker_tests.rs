use std::collections::BTreeMap;
use std::sync::Arc;

use longshore_config::Algorithm;
use longshore_discovery::{Target, TargetKey};

use super::{Cursors, pick};
use crate::clock;
use crate::upstream::endpoint::Endpoint;

fn endpoints(count: u16) -> Vec<Arc<Endpoint>> {
    (0..count)
        .map(|port| {
            let target = Target {
                key: TargetKey {
                    task: "fixed".into(),
                    container: "127.0.0.1".into(),
                    port,
                },
                address: ([127, 0, 0, 1], port).into(),
                zone: None,
                instance: None,
                shared_port: false,
                started_at: None,
                confirmed_at: clock::now(),
            };
            Endpoint::new("app".into(), &target, 2)
        })
        .collect()
}

#[test]
fn round_robin_gives_every_candidate_its_turn() {
    let candidates = endpoints(3);
    let cursors = Cursors::new(2);
    for worker in 0..2 {
        let mut counts = BTreeMap::new();
        for _ in 0..300 {
            let picked = pick(Algorithm::RoundRobin, &candidates, &cursors, worker, |_| {
                true
            });
            *counts.entry(picked.expect("a candidate").id).or_insert(0) += 1;
        }
        assert!(counts.values().all(|count| *count == 100), "{counts:?}");
    }
}

#[test]
fn a_candidate_that_is_not_usable_is_passed_over() {
    let candidates = endpoints(3);
    let cursors = Cursors::new(1);
    let barred = candidates[1].id;
    for algorithm in [Algorithm::RoundRobin, Algorithm::LeastOutstandingRequests] {
        for _ in 0..100 {
            let picked = pick(algorithm, &candidates, &cursors, 0, |endpoint| {
                endpoint.id != barred
            });
            assert_ne!(picked.expect("a candidate").id, barred);
        }
        assert!(pick(algorithm, &candidates, &cursors, 0, |_| false).is_none());
        assert!(pick(algorithm, &[], &cursors, 0, |_| true).is_none());
    }
}

#[test]
fn least_outstanding_requests_takes_the_least_busy() {
    let candidates = endpoints(3);
    let cursors = Cursors::new(1);
    let busy = [0, 0, 2];
    for index in busy {
        candidates[index].begin(0, true);
    }
    for _ in 0..10 {
        let picked = pick(
            Algorithm::LeastOutstandingRequests,
            &candidates,
            &cursors,
            0,
            |_| true,
        );
        assert_eq!(picked.expect("a candidate").id, candidates[1].id);
    }
    for index in busy {
        candidates[index].end(0, true);
    }
    assert!(
        candidates
            .iter()
            .all(|endpoint| endpoint.outstanding() == 0 && endpoint.in_flight() == 0)
    );
}

#[test]
fn least_outstanding_requests_serves_idle_candidates_evenly() {
    let candidates = endpoints(4);
    let cursors = Cursors::new(1);
    let mut counts = BTreeMap::new();
    for _ in 0..400 {
        let picked = pick(
            Algorithm::LeastOutstandingRequests,
            &candidates,
            &cursors,
            0,
            |_| true,
        );
        *counts.entry(picked.expect("a candidate").id).or_insert(0) += 1;
    }
    assert!(counts.values().all(|count| *count == 100), "{counts:?}");
}
