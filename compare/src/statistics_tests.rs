use super::*;

/// Latencies of a round: around a middle, with noise and a tail, all drawn from the seed.
fn round(rng: &mut SmallRng, middle: f64, drift: f64) -> Histogram<u64> {
    let mut round = Histogram::new_with_bounds(1, 1_000_000, 3).expect("bounds");
    for _ in 0..300 {
        let tail = if rng.random_range(0.0..1.0) < 0.02 {
            10.0
        } else {
            1.0
        };
        let noise = rng.random_range(0.5..1.5);
        let value = (middle + drift + 500.0 * noise * tail) as u64;
        round.record(value).expect("in bounds");
    }
    round
}

fn pools(seed: u64, rounds: usize, more: f64) -> (Pool, Pool) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut sides = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        // What the machine does to both in this round, and to each alone.
        let common = rng.random_range(0.0..2_000.0);
        for (side, more) in sides.iter_mut().zip([0.0, more]) {
            let alone = rng.random_range(0.0..100.0);
            side.push(round(&mut rng, 1_000.0 + more, common + alone));
        }
    }
    let [a, b] = sides.map(|side| Pool::new(&side.iter().collect::<Vec<_>>()));
    (a, b)
}

#[test]
fn percentiles_of_pooled_rounds_are_those_of_all_requests() {
    let mut rng = SmallRng::seed_from_u64(7);
    let rounds: Vec<_> = (0..4).map(|_| round(&mut rng, 700.0, 0.0)).collect();
    let pool = Pool::new(&rounds.iter().collect::<Vec<_>>());
    for weights in [[1, 1, 1, 1], [0, 3, 1, 0], [0, 0, 0, 4]] {
        let mut whole = Histogram::<u64>::new_with_bounds(1, 1_000_000, 3).expect("bounds");
        for (round, times) in rounds.iter().zip(weights) {
            (0..times).for_each(|_| whole.add(round).expect("the same bounds"));
        }
        for part in [0.001, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let right = whole.value_at_quantile(part) as f64;
            let got = pool.percentile(part, &weights).expect("requests");
            assert!(
                (got - right).abs() <= right * 0.002,
                "{part}: {got} {right}"
            );
        }
    }
}

#[test]
fn a_known_delay_is_found_though_the_machine_drifts_more() {
    for seed in 0..5 {
        let (a, b) = pools(seed, 10, 300.0);
        let [p50, p90, ..] = added(&a, &b, seed).expect("requests");
        for found in [p50, p90] {
            let (low, high) = found.interval.expect("rounds");
            assert!(low > 0.0 && high < 700.0, "seed {seed}: {found:?}");
            assert!(
                low <= found.estimate && found.estimate <= high,
                "seed {seed}: {found:?}"
            );
            assert!(found.is_certain());
        }
    }
}

#[test]
fn of_equal_sides_nearly_all_intervals_contain_zero() {
    for rounds in [5, 10] {
        let all = 200;
        let wrong = (0..all).filter(|seed| {
            let (a, b) = pools(1_000 + seed, rounds, 0.0);
            let [p50, ..] = differences(&a, &b, *seed, 1_000).expect("requests");
            p50.is_certain()
        });
        // 5 % are meant to; three deviations of chance more are 10 %.
        let wrong = wrong.count();
        assert!(wrong <= 20, "{rounds} rounds: {wrong} of {all}");
    }
}

#[test]
fn few_rounds_are_certain_of_nothing() {
    let (a, b) = pools(3, ROUNDS_MIN - 1, 5_000.0);
    let [p50, ..] = added(&a, &b, 1).expect("requests");
    assert!(p50.interval.is_some_and(|(low, _)| low > 0.0) && !p50.is_certain());
}

#[test]
fn the_same_seed_gives_the_same_interval() {
    let (a, b) = pools(3, 6, 50.0);
    let once = added(&a, &b, 42).expect("requests");
    assert_eq!(once, added(&a, &b, 42).expect("requests"));
    assert_ne!(once, added(&a, &b, 43).expect("requests"));
}

#[test]
fn one_round_has_no_interval_and_no_requests_no_difference() {
    let (a, b) = pools(3, 1, 50.0);
    let [p50, .., p999] = added(&a, &b, 1).expect("requests");
    assert_eq!(p50.interval, None);
    assert!(!p50.is_certain());
    // 300 requests have none above the 99.9th percentile.
    assert!(p50.is_known && !p999.is_known);
    let empty = Histogram::<u64>::new_with_bounds(1, 1_000, 3).expect("bounds");
    assert!(added(&a, &Pool::new(&[&empty]), 1).is_none());
    assert!(added(&Pool::new(&[]), &Pool::new(&[]), 1).is_none());
}

#[test]
fn tables_and_approximations_are_right() {
    for (x, right) in [
        (0.0, 0.5),
        (-1.959_964, 0.025),
        (1.0, 0.841_345),
        (-3.0, 0.001_350),
    ] {
        assert!((normal_below(x) - right).abs() < 1e-6, "{x}");
    }
    assert!((student(40) - 2.021).abs() < 0.001);
    assert!((student(99) - 1.984).abs() < 0.001);
    assert!(tail(5) < 0.0015 && tail(5) > 0.0005, "{}", tail(5));
    assert!((tail(100) - 0.025).abs() < 0.003, "{}", tail(100));
}
