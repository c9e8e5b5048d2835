use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use longshore_config::Algorithm;
use longshore_discovery::{Target, TargetKey};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{Asked, Candidate, Picker};
use crate::clock;
use crate::upstream::cursors::Cursors;
use crate::upstream::endpoint::Endpoint;

const ALL: [Algorithm; 5] = [
    Algorithm::RoundRobin,
    Algorithm::LeastOutstandingRequests,
    Algorithm::WeightedRandom,
    Algorithm::PeakEwma,
    Algorithm::ConsistentHash,
];

fn endpoint(number: u32, workers: usize) -> Arc<Endpoint> {
    let target = Target {
        key: TargetKey {
            task: format!("task/{number:08}").into(),
            container: "app".into(),
            port: 80,
        },
        address: ([127, 0, 0, 1], 80).into(),
        zone: None,
        weight: 1,
        instance: None,
        shared_port: false,
        started_at: None,
        protocol_version: None,
        claim: None,
        confirmed_at: clock::now(),
    };
    Endpoint::new("app".into(), &target, workers)
}

fn endpoints(count: u32) -> Vec<Arc<Endpoint>> {
    (0..count).map(|number| endpoint(number, 8)).collect()
}

/// A group, its workers and their luck.
struct Group {
    algorithm: Algorithm,
    endpoints: Vec<Arc<Endpoint>>,
    picker: Picker,
    rng: RefCell<SmallRng>,
    now: u64,
}

impl Group {
    fn new(algorithm: Algorithm, weights: &[u64], seed: u64) -> Self {
        Self::of(algorithm, weights, 8, seed)
    }

    fn of(algorithm: Algorithm, weights: &[u64], workers: usize, seed: u64) -> Self {
        println!("{algorithm:?}, seed {seed}");
        let endpoints = endpoints(u32::try_from(weights.len()).expect("few"));
        let candidates = candidates(&endpoints, weights);
        let cursors = Arc::new(Cursors::new(workers));
        Self {
            algorithm,
            picker: Picker::new(algorithm, &candidates, cursors, None),
            endpoints,
            rng: RefCell::new(SmallRng::seed_from_u64(seed)),
            now: 0,
        }
    }

    /// The list changes.
    fn replace(&mut self, endpoints: Vec<Arc<Endpoint>>, weights: &[u64]) {
        let candidates = candidates(&endpoints, weights);
        let before = Some((&self.picker, &*self.endpoints));
        let cursors = Arc::clone(self.picker.cursors());
        self.picker = Picker::new(self.algorithm, &candidates, cursors, before);
        self.endpoints = endpoints;
    }

    fn pick_for(
        &self,
        worker: usize,
        hash: Option<u64>,
        usable: impl Fn(&Endpoint) -> bool,
    ) -> Option<&Arc<Endpoint>> {
        let draw = |bound: u64| self.rng.borrow_mut().random_range(0..bound);
        let asked = Asked {
            worker,
            now: self.now,
            draw: &draw,
            hash,
        };
        self.picker.pick(&self.endpoints, &asked, usable)
    }

    fn pick(&self, worker: usize) -> usize {
        let hash = self.rng.borrow_mut().random();
        let picked = self.pick_for(worker, Some(hash), |_| true);
        let id = picked.expect("a candidate").id;
        let found = self.endpoints.iter().position(|one| one.id == id);
        found.expect("one of the list")
    }

    /// How often each is picked by workers in turn.
    fn counts(&mut self, picks: usize, workers: usize) -> Vec<usize> {
        let mut counts = vec![0; self.endpoints.len()];
        for turn in 0..picks {
            self.now += u64::from(turn % 10 == 0);
            counts[self.pick(turn % workers)] += 1;
        }
        counts
    }
}

fn candidates(endpoints: &[Arc<Endpoint>], weights: &[u64]) -> Vec<Candidate> {
    endpoints
        .iter()
        .zip(weights)
        .map(|(endpoint, weight)| Candidate {
            endpoint: Arc::clone(endpoint),
            weight: *weight,
            share: *weight,
        })
        .collect()
}

/// How far a count may be from its expectation: what chance does in one of 10^8 cases, and what the
/// tables and blocks round.
fn tolerance(algorithm: Algorithm, picks: usize, share: f64, workers: usize) -> f64 {
    let expected = picks as f64 * share;
    match algorithm {
        Algorithm::RoundRobin => workers as f64 * 2.0,
        // A place of the table more or less, and chance.
        Algorithm::ConsistentHash => 6.0 * expected.sqrt() + expected * 0.05,
        _ => 6.0 * expected.sqrt(),
    }
}

fn assert_spread(algorithm: Algorithm, counts: &[usize], weights: &[u64], workers: usize) {
    let picks: usize = counts.iter().sum();
    let all: u64 = weights.iter().sum();
    for (count, weight) in counts.iter().zip(weights) {
        let share = *weight as f64 / all as f64;
        let expected = picks as f64 * share;
        let off = (*count as f64 - expected).abs();
        assert!(
            off <= tolerance(algorithm, picks, share, workers),
            "{algorithm:?}, {workers} workers, {weights:?}: {counts:?}"
        );
    }
}

#[test]
fn every_algorithm_gives_every_idle_target_its_share() {
    for algorithm in ALL {
        for workers in [1, 2, 8] {
            for weights in [
                vec![1; 3],
                vec![1; 40],
                vec![5, 1, 1],
                vec![999, 1, 500, 0, 250],
                (1..=40).collect::<Vec<u64>>(),
            ] {
                // Two that are compared are two different ones: in a list of few, the heavy one
                // cannot be both, and has less than its share.
                if algorithm == Algorithm::PeakEwma && weights.len() < 40 && weights[0] != 1 {
                    continue;
                }
                let mut group = Group::new(algorithm, &weights, 1);
                let counts = group.counts(30_000, workers);
                assert_spread(algorithm, &counts, &weights, workers);
            }
        }
    }
}

#[test]
fn round_robin_gives_three_targets_eight_each_of_24_requests_of_eight_workers() {
    for seed in 0..50 {
        let mut group = Group::new(Algorithm::RoundRobin, &[1, 1, 1], seed);
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut counts = [0; 3];
        for turn in 1..=24 {
            group.now += rng.random_range(0..3);
            // One request for each connection, and the kernel chooses the worker.
            counts[group.pick(rng.random_range(0..8))] += 1;
            let (least, most) = (counts.iter().min(), counts.iter().max());
            assert!(
                most.zip(least).is_some_and(|(a, b)| a - b <= 1),
                "{turn}: {counts:?}"
            );
        }
        assert_eq!(counts, [8, 8, 8]);
    }
}

#[test]
fn busy_workers_that_take_blocks_are_not_in_step() {
    for targets in [2, 3, 4, 5, 8, 16] {
        let group = Group::new(Algorithm::RoundRobin, &vec![1; targets], 2);
        // Beyond the single positions.
        for turn in 0..8 * 40 {
            group.pick(turn % 8);
        }
        for _ in 0..500 {
            // One request of each worker at the same time.
            let mut counts = vec![0; targets];
            for worker in 0..8 {
                counts[group.pick(worker)] += 1;
            }
            let most = counts.iter().max().copied().unwrap_or(0);
            assert!(most <= 8_usize.div_ceil(targets) + 1, "{counts:?}");
        }
    }
}

#[test]
fn round_robin_with_one_worker_goes_strictly_in_turn() {
    let mut group = Group::of(Algorithm::RoundRobin, &[1, 1, 1], 1, 3);
    let picks: Vec<usize> = (0..300).map(|_| group.pick(0)).collect();
    assert!(picks.windows(2).all(|pair| pair[1] == (pair[0] + 1) % 3));
    // One leaves, and the next one is still the next one.
    let (next, after) = ((picks[299] + 1) % 3, (picks[299] + 2) % 3);
    let names: Vec<u64> = group.endpoints.iter().map(|one| one.id).collect();
    let stay = [next.min(after), next.max(after)];
    let endpoints = stay
        .map(|index| Arc::clone(&group.endpoints[index]))
        .to_vec();
    group.replace(endpoints, &[1, 1]);
    let id = group.endpoints[group.pick(0)].id;
    assert_eq!(id, names[next]);
}

#[test]
fn shares_hold_while_targets_come_and_go_between_picks() {
    for algorithm in ALL {
        for workers in [1, 2, 8] {
            let mut group = Group::new(algorithm, &[1; 5], 4);
            let all: Vec<Arc<Endpoint>> = group.endpoints.clone();
            let mut rng = SmallRng::seed_from_u64(4);
            let (mut expected, mut counts) = (BTreeMap::new(), BTreeMap::new());
            let picks = 6_000;
            for turn in 0..picks {
                group.now += 1;
                let stays = rng.random_range(1_u32..32);
                let list: Vec<Arc<Endpoint>> = (0..5)
                    .filter(|index| stays >> index & 1 == 1)
                    .map(|index| Arc::clone(&all[index]))
                    .collect();
                for endpoint in &list {
                    *expected.entry(endpoint.id).or_insert(0.0) += 1.0 / list.len() as f64;
                }
                let weights = vec![1; list.len()];
                group.replace(list, &weights);
                let picked = group.endpoints[group.pick(turn % workers)].id;
                *counts.entry(picked).or_insert(0.0) += 1.0;
            }
            for (id, expected) in expected {
                let count: f64 = counts.get(&id).copied().unwrap_or(0.0);
                let bound = 6.0 * f64::sqrt(expected) + expected * 0.05;
                assert!(
                    (count - expected).abs() < bound,
                    "{algorithm:?}, {workers} workers: {count} and not {expected}"
                );
            }
        }
    }
}

#[test]
fn a_candidate_that_is_not_usable_is_passed_over_and_the_others_share_evenly() {
    for algorithm in ALL {
        for targets in [3_usize, 50] {
            let group = Group::new(algorithm, &vec![1; targets], 5);
            let barred = group.endpoints[1].id;
            let mut counts = BTreeMap::new();
            let picks = 20_000;
            for turn in 0..picks {
                let hash = group.rng.borrow_mut().random();
                let picked = group.pick_for(turn % 8, Some(hash), |one| one.id != barred);
                *counts.entry(picked.expect("a candidate").id).or_insert(0) += 1;
            }
            assert_eq!(counts.len(), targets - 1);
            let fair = picks as f64 / (targets - 1) as f64;
            // Where a table has the places of one that is barred, its neighbours get them.
            let bound = 6.0 * fair.sqrt() + fair * 0.08;
            for count in counts.values() {
                let off = (f64::from(*count) - fair).abs();
                assert!(off < bound, "{algorithm:?}: {counts:?}");
            }
        }
    }
}

#[test]
fn the_only_usable_one_of_many_is_found_and_without_any_there_is_none() {
    for algorithm in ALL {
        let group = Group::new(algorithm, &vec![1; 1_000], 6);
        let only = group.endpoints[613].id;
        for worker in 0..8 {
            let picked = group.pick_for(worker, Some(7), |one| one.id == only);
            assert_eq!(picked.map(|one| one.id), Some(only));
            assert!(group.pick_for(worker, Some(7), |_| false).is_none());
        }
        let none = Group::new(algorithm, &[], 6);
        assert!(none.pick_for(0, Some(7), |_| true).is_none());
    }
}

#[test]
fn one_without_a_share_is_picked_when_no_other_can_be_used() {
    for algorithm in ALL {
        let endpoints = endpoints(4);
        let mut list = candidates(&endpoints, &[1; 4]);
        list[2].share = 0;
        list[3].share = 0;
        let mut group = Group::new(algorithm, &[1], 7);
        group.picker = Picker::new(algorithm, &list, Arc::new(Cursors::new(8)), None);
        group.endpoints = endpoints;
        let counts = group.counts(1_000, 8);
        assert_eq!(counts[2..], [0, 0], "{algorithm:?}");
        let near = [group.endpoints[0].id, group.endpoints[1].id];
        for worker in 0..8 {
            let picked = group.pick_for(worker, Some(9), |one| !near.contains(&one.id));
            assert!(picked.is_some(), "{algorithm:?}");
            let picked = group.pick_for(worker, Some(9), |one| one.id != near[0]);
            assert_eq!(picked.map(|one| one.id), Some(near[1]), "{algorithm:?}");
        }
    }
}

#[test]
fn least_outstanding_requests_takes_the_least_busy_for_its_weight() {
    let group = Group::new(Algorithm::LeastOutstandingRequests, &[1, 1, 1], 8);
    let busy = [0, 0, 2];
    for index in busy {
        group.endpoints[index].begin(0, true);
    }
    for _ in 0..10 {
        assert_eq!(group.pick(0), 1);
    }
    for index in busy {
        group.endpoints[index].end(0, true);
    }
    let idle = |one: &Arc<Endpoint>| one.outstanding() == 0 && one.in_flight() == 0;
    assert!(group.endpoints.iter().all(idle));
    // With 10 and 1 as weights, eleven requests in flight are ten and one.
    let group = Group::new(Algorithm::LeastOutstandingRequests, &[10, 1], 8);
    let mut counts = [0; 2];
    for _ in 0..22 {
        let index = group.pick(0);
        group.endpoints[index].begin(0, true);
        counts[index] += 1;
    }
    assert_eq!(counts, [20, 2]);
}

#[test]
fn equals_beside_a_busy_one_share_evenly() {
    let mut group = Group::new(Algorithm::LeastOutstandingRequests, &[1; 4], 9);
    group.endpoints[1].begin(0, true);
    let counts = group.counts(9_000, 1);
    assert_eq!(counts[1], 0);
    for index in [0, 2, 3] {
        assert!((2_700..3_300).contains(&counts[index]), "{counts:?}");
    }
}

#[test]
fn of_ten_thousand_the_least_busy_half_gets_nearly_everything() {
    let group = Group::new(Algorithm::LeastOutstandingRequests, &vec![1; 10_000], 10);
    for endpoint in group.endpoints.iter().step_by(2) {
        endpoint.begin(0, true);
    }
    let busy = (0..20_000)
        .filter(|_| group.pick(0).is_multiple_of(2))
        .count();
    // All four by chance are busy in 1 of 16 cases.
    assert!((900..1_600).contains(&busy), "{busy}");
}

#[test]
fn consistent_hash_sends_the_same_value_to_the_same_target_also_after_others_left() {
    let weights = [1; 20];
    let mut group = Group::new(Algorithm::ConsistentHash, &weights, 11);
    let target = |group: &Group, hash: u64| {
        group
            .pick_for((hash % 8) as usize, Some(hash), |_| true)
            .expect("one")
            .id
    };
    let mut rng = SmallRng::seed_from_u64(11);
    let hashes: Vec<u64> = (0..20_000).map(|_| rng.random()).collect();
    let before: Vec<u64> = hashes.iter().map(|hash| target(&group, *hash)).collect();
    for (hash, id) in hashes.iter().zip(&before) {
        assert_eq!(target(&group, *hash), *id);
    }
    let gone = group.endpoints[7].id;
    let mut rest = group.endpoints.clone();
    rest.remove(7);
    group.replace(rest, &[1; 19]);
    let (mut moved, mut had_to) = (0, 0);
    for (hash, id) in hashes.iter().zip(&before) {
        let now = target(&group, *hash);
        had_to += usize::from(*id == gone);
        moved += usize::from(*id != gone && now != *id);
        assert_ne!(now, gone);
    }
    assert!((800..1_200).contains(&had_to), "{had_to} of 20,000");
    assert!(moved < 400, "{moved} moved without need, of 20,000");
    println!("{had_to} had to move, {moved} others did");
}

#[test]
fn two_processes_with_the_same_targets_hash_alike() {
    let one = Group::new(Algorithm::ConsistentHash, &[3, 1, 2], 12);
    let other = Group::new(Algorithm::ConsistentHash, &[3, 1, 2], 13);
    for hash in (0..1_000_u64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15)) {
        let key = |group: &Group| {
            group
                .pick_for(0, Some(hash), |_| true)
                .map(|one| one.key.clone())
        };
        assert_eq!(key(&one), key(&other));
    }
}

#[test]
fn a_hash_whose_target_cannot_be_used_goes_to_the_same_next_one() {
    let group = Group::new(Algorithm::ConsistentHash, &[1; 10], 14);
    for hash in (0..500_u64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15)) {
        let first = group.pick_for(0, Some(hash), |_| true).expect("one").id;
        let second = |worker| {
            group
                .pick_for(worker, Some(hash), |one| one.id != first)
                .map(|one| one.id)
        };
        let found = second(0);
        assert!(found.is_some_and(|id| id != first));
        assert!((1..8).all(|worker| second(worker) == found));
    }
}

#[test]
fn a_request_without_what_is_hashed_goes_anywhere() {
    let group = Group::new(Algorithm::ConsistentHash, &[1; 4], 15);
    let mut counts = BTreeMap::new();
    for _ in 0..4_000 {
        let picked = group.pick_for(0, None, |_| true).expect("one").id;
        *counts.entry(picked).or_insert(0) += 1;
    }
    assert!(
        counts.values().all(|count| (800..1_200).contains(count)),
        "{counts:?}"
    );
}

#[test]
fn a_table_is_kept_as_long_as_it_is_right() {
    let mut group = Group::new(Algorithm::ConsistentHash, &[1; 4], 16);
    let table = Arc::clone(&group.picker.table);
    let same = group.endpoints.clone();
    group.replace(same.clone(), &[1; 4]);
    assert!(Arc::ptr_eq(&table, &group.picker.table));
    group.replace(same, &[1, 1, 1, 2]);
    assert!(!Arc::ptr_eq(&table, &group.picker.table));
}

/// Requests arrive, are served by targets that take so many milliseconds each, and end. Returns the
/// times in the system, sorted, and the requests for each target.
fn simulate(algorithm: Algorithm, millis: &[u64], requests: u64) -> (Vec<u64>, Vec<u64>) {
    let mut group = Group::new(algorithm, &vec![1; millis.len()], 17);
    let mut ends: BTreeMap<(u64, u64), (usize, u64)> = BTreeMap::new();
    let mut free_at = vec![0_u64; millis.len()];
    let (mut times, mut counts) = (Vec::new(), vec![0; millis.len()]);
    let finish = |group: &Group, index: usize, begun: u64, now: u64| {
        group.endpoints[index].end(0, true);
        let micros = (now - begun) * 1_000;
        group.endpoints[index].load().observe(micros, false, now);
    };
    for number in 0..requests {
        let now = number * 2;
        group.now = now;
        while let Some(entry) = ends.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((at, _), (index, begun)) = entry.remove_entry();
            finish(&group, index, begun, at);
        }
        let index = group.pick((number % 8) as usize);
        group.endpoints[index].begin(0, true);
        counts[index] += 1;
        // Each serves one request after the other.
        let end = free_at[index].max(now) + millis[index];
        free_at[index] = end;
        times.push(end - now);
        ends.insert((end, number), (index, now));
    }
    times.sort_unstable();
    (times, counts)
}

#[test]
fn a_slow_target_spoils_the_tail_of_round_robin_and_not_that_of_the_others() {
    // 500 requests a second to five targets, one of them 20 times slower: 5 ms and 100 ms.
    let millis = [5, 5, 100, 5, 5];
    let p99 = |algorithm| {
        let (times, counts) = simulate(algorithm, &millis, 20_000);
        let p99 = times[times.len() * 99 / 100];
        println!(
            "{algorithm:?}: p50 {} ms, p99 {p99} ms, requests {counts:?}",
            times[times.len() / 2]
        );
        (p99, counts)
    };
    let (even, _) = p99(Algorithm::RoundRobin);
    let (least, _) = p99(Algorithm::LeastOutstandingRequests);
    let (ewma, counts) = p99(Algorithm::PeakEwma);
    assert!(even > 10_000, "its queue grows without end: {even}");
    assert!(least <= 110, "{least}");
    assert!(ewma <= 25, "{ewma}");
    assert!(
        counts[2] > 0 && counts[2] < 200,
        "asked now and then: {counts:?}"
    );
}

#[test]
fn a_newcomer_is_neither_flooded_nor_starved_by_peak_ewma() {
    let mut group = Group::new(Algorithm::PeakEwma, &[1; 5], 18);
    for endpoint in &group.endpoints {
        endpoint.load().observe(5_000, false, 0);
    }
    let mut with_new = group.endpoints.clone();
    with_new.push(endpoint(99, 8));
    group.replace(with_new, &[1; 6]);
    // Bursts of twelve at once, before the newcomer has answered anything.
    let mut counts = vec![0; 6];
    for _ in 0..100 {
        let burst: Vec<usize> = (0..12)
            .map(|worker| {
                let index = group.pick(worker % 8);
                group.endpoints[index].begin(0, true);
                counts[index] += 1;
                index
            })
            .collect();
        for index in burst {
            group.endpoints[index].end(0, true);
        }
    }
    assert!((120..=280).contains(&counts[5]), "{counts:?}");
}
