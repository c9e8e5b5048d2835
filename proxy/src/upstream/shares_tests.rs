use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::Shares;

/// How often each candidate has its turn.
fn counts(shares: &Shares, positions: std::ops::Range<u64>) -> Vec<u64> {
    let mut counts = vec![0; shares.candidates()];
    for position in positions {
        counts[shares.turn(position)] += 1;
    }
    counts
}

fn weights(rng: &mut SmallRng) -> Vec<u64> {
    let count = rng.random_range(1..40);
    let largest = [1, 3, 100, 999][rng.random_range(0..4)];
    let mut weights: Vec<u64> = (0..count).map(|_| rng.random_range(0..=largest)).collect();
    weights[0] = weights[0].max(1);
    weights
}

#[test]
fn equal_weights_take_turns_in_the_order_of_the_list() {
    for weight in [1, 7, 10_000] {
        let shares = Shares::new(&[weight; 3]);
        let turns: Vec<usize> = (0..7).map(|position| shares.turn(position)).collect();
        assert_eq!(turns, [0, 1, 2, 0, 1, 2, 0]);
    }
}

#[test]
fn a_round_gives_each_exactly_its_weight_wherever_it_begins() {
    let seed = 11;
    println!("seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    for _ in 0..200 {
        let weights = weights(&mut rng);
        let divisor = weights.iter().fold(0, |a, b| super::gcd(a, *b));
        let shares = Shares::new(&weights);
        assert_eq!(shares.slots(), weights.iter().sum::<u64>() / divisor);
        let start = rng.random_range(0..1_000_000);
        let counts = counts(&shares, start..start + shares.slots());
        let wanted: Vec<u64> = weights.iter().map(|weight| weight / divisor).collect();
        assert_eq!(counts, wanted, "{weights:?} from {start}");
    }
}

#[test]
fn turns_are_spread_smoothly() {
    // In each run of turns each has its share of the run, give or take a few turns.
    let seed = 12;
    println!("seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    for _ in 0..200 {
        let weights = weights(&mut rng);
        let shares = Shares::new(&weights);
        let sum: u64 = weights.iter().sum();
        let start = rng.random_range(0..1_000_000);
        let run = rng.random_range(1..200);
        for (weight, count) in weights.iter().zip(counts(&shares, start..start + run)) {
            let fair = *weight as f64 * run as f64 / sum as f64;
            assert!(
                (count as f64 - fair).abs() <= 3.0,
                "{weights:?}, {run} turns from {start}: {count} and not {fair}"
            );
        }
    }
}

#[test]
fn the_heavy_one_does_not_come_in_a_row() {
    let shares = Shares::new(&[5, 1, 1]);
    let turns: Vec<usize> = (0..14).map(|position| shares.turn(position)).collect();
    let longest = turns.chunk_by(|a, b| a == b).map(<[usize]>::len).max();
    assert!(longest <= Some(3), "{turns:?}");
}

#[test]
fn ten_thousand_of_very_different_weights_have_their_shares() {
    let weights: Vec<u64> = (0..10_000)
        .map(|n| if n % 2 == 0 { 999 } else { 1 })
        .collect();
    let shares = Shares::new(&weights);
    for slot in (0..shares.slots()).step_by(97) {
        let owner = shares.owner(slot) as u64;
        // 1,000 slots for each pair, and 999 of them for its first.
        let wanted = slot / 1_000 * 2 + u64::from(slot % 1_000 == 999);
        assert_eq!(owner, wanted);
    }
    assert!(shares.memory() < 10_000 * 24, "{}", shares.memory());
}

#[test]
fn sums_beyond_the_limit_are_rounded_and_nobody_loses_its_share() {
    let weights: Vec<u64> = (0..1_000)
        .map(|n| if n == 0 { 1 } else { 655_350_000 + n })
        .collect();
    let shares = Shares::new(&weights);
    assert!(shares.slots() <= super::SLOTS_MAX + 1_000);
    assert!((0..1_000).all(|candidate| shares.has(candidate)));
    let last = shares.owner(shares.slots() - 1);
    assert_eq!(last, 999);
}

#[test]
fn those_of_weight_0_have_no_turn() {
    let shares = Shares::new(&[0, 2, 0, 1, 0]);
    assert_eq!(counts(&shares, 0..300), [0, 200, 0, 100, 0]);
    assert!(!shares.has(0) && shares.has(1));
    assert_eq!(Shares::new(&[]).slots(), 0);
    assert_eq!(Shares::new(&[0, 0]).slots(), 0);
}

#[test]
fn whose_turn_is_next_stays_next_when_others_come_and_go() {
    let seed = 13;
    println!("seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut names: Vec<u32> = (0..5).collect();
    let mut shares = Shares::new(&[1; 5]);
    let mut since = std::collections::BTreeMap::new();
    for position in 0..20_000_u64 {
        let turn = names[shares.turn(position)];
        // It waited for no more turns than there ever were others.
        if let Some(last) = since.insert(turn, position) {
            assert!(
                position - last <= 9,
                "{turn} waited for {} turns",
                position - last
            );
        }
        let mut new = names.clone();
        let name = rng.random_range(0..9);
        match new.binary_search(&name) {
            Ok(at) if new.len() > 1 => {
                new.remove(at);
                since.remove(&name);
            }
            Ok(_) => {}
            Err(at) => new.insert(at, name),
        }
        let mut next = Shares::new(&vec![1; new.len()]);
        next.go_on_from(&shares, position + 1, |old| {
            new.binary_search(&names[old]).ok()
        });
        (names, shares) = (new, next);
    }
}

#[test]
fn weights_hold_although_the_list_changes_all_the_time() {
    let seed = 14;
    println!("seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    // The last one comes and goes.
    let lists: [&[u64]; 2] = [&[5, 1, 1], &[5, 1, 1, 3]];
    let mut shares = Shares::new(lists[0]);
    let (mut counts, mut expected) = ([0.0_f64; 4], [0.0_f64; 4]);
    let mut position = 0;
    for change in 0..20_000 {
        let list = lists[change % 2];
        let mut next = Shares::new(list);
        next.go_on_from(&shares, position, Some);
        shares = next;
        for _ in 0..rng.random_range(1..30) {
            counts[shares.turn(position)] += 1.0;
            position += 1;
            for (sum, weight) in expected.iter_mut().zip(list) {
                *sum += *weight as f64 / list.iter().sum::<u64>() as f64;
            }
        }
    }
    // A newcomer is never the next one, which costs it part of a turn each time.
    for (count, expected) in counts.iter().zip(expected) {
        let ratio = count / expected;
        assert!((0.85..1.15).contains(&ratio), "{counts:?}, {expected:?}");
    }
}
