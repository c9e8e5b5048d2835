//! What B adds to A, and how sure that is. Pure.
//!
//! Rounds are drawn with replacement, each with both of its sides, so that what a round had in
//! common (the state of the machine) stays in common. The percentiles of the drawn rounds together
//! are compared, ten thousand times, and the interval is what 95 % of these differences are in.
//! With few rounds that interval is known to be too narrow, so it is widened as Student's t asks
//! for (the "expanded percentile" interval of T. Hesterberg, "What Teachers Should Know About the
//! Bootstrap", 2014, §5.3).

use hdrhistogram::Histogram;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

/// The percentiles that are compared, as they are called, and as parts of 1.
pub(crate) const PERCENTILES: [(&str, f64); 4] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// How often rounds are drawn.
const DRAWS: usize = 10_000;

/// Of less rounds nothing is certain: all of four lie on one side of 0 by chance every eighth time,
/// and no drawing of rounds can tell.
pub(crate) const ROUNDS_MIN: usize = 5;

/// Less than this many requests above a percentile say nothing about it.
const ABOVE_MIN: f64 = 10.0;

/// A difference in microseconds, and between which it is with a confidence of 95 %. No interval
/// with less than two rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Difference {
    pub(crate) estimate: f64,
    pub(crate) interval: Option<(f64, f64)>,
    /// Whether there are enough requests for this percentile.
    pub(crate) is_known: bool,
    /// Whether there are enough rounds for an interval that can be trusted.
    pub(crate) is_sure: bool,
}

impl Difference {
    /// Whether the two sides differ for certain.
    pub(crate) fn is_certain(&self) -> bool {
        let apart = |(low, high): (f64, f64)| low > 0.0 || high < 0.0;
        self.is_known && self.is_sure && self.interval.is_some_and(apart)
    }
}

/// The latencies of one side in all rounds of a step, so that percentiles of any choice of rounds
/// are found quickly.
#[derive(Debug)]
pub(crate) struct Pool {
    /// Microseconds that occurred, ascending.
    values: Vec<u64>,
    /// For each round: how many requests took at most the value at that place.
    below: Vec<Vec<u64>>,
}

impl Pool {
    pub(crate) fn new(rounds: &[&Histogram<u64>]) -> Self {
        let recorded = |round: &Histogram<u64>| -> Vec<(u64, u64)> {
            let all = round.iter_recorded();
            all.map(|item| (item.value_iterated_to(), item.count_at_value()))
                .collect()
        };
        let rounds: Vec<Vec<(u64, u64)>> = rounds.iter().map(|round| recorded(round)).collect();
        let mut values: Vec<u64> = rounds.iter().flatten().map(|(value, _)| *value).collect();
        values.sort_unstable();
        values.dedup();
        let below = rounds.iter().map(|round| {
            let mut counts = round.iter().copied().peekable();
            let mut sum = 0;
            let at_most = |value: &u64| {
                while let Some((_, count)) = counts.next_if(|(at, _)| at <= value) {
                    sum += count;
                }
                sum
            };
            values.iter().map(at_most).collect()
        });
        let below = below.collect();
        Self { values, below }
    }

    /// How many requests are in the rounds, each counted that often.
    fn len(&self, weights: &[u64]) -> u64 {
        self.at_most(self.values.len(), weights)
    }

    /// How many requests took at most the value before that place.
    fn at_most(&self, end: usize, weights: &[u64]) -> u64 {
        let Some(place) = end.checked_sub(1) else {
            return 0;
        };
        let counts = self.below.iter().zip(weights);
        let counts = counts.map(|(below, weight)| below.get(place).copied().unwrap_or(0) * weight);
        counts.sum()
    }

    /// A percentile in microseconds. None without requests.
    pub(crate) fn percentile(&self, part: f64, weights: &[u64]) -> Option<f64> {
        let all = self.len(weights);
        let rank = ((all as f64 * part).ceil() as u64).max(1);
        let (mut low, mut high) = (0, self.values.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.at_most(middle + 1, weights) < rank {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        self.values.get(low).map(|value| *value as f64)
    }
}

/// What B adds to A at each of [`PERCENTILES`]. None without requests on both sides.
pub(crate) fn added(a: &Pool, b: &Pool, seed: u64) -> Option<[Difference; PERCENTILES.len()]> {
    differences(a, b, seed, DRAWS)
}

fn differences(
    a: &Pool,
    b: &Pool,
    seed: u64,
    draws: usize,
) -> Option<[Difference; PERCENTILES.len()]> {
    let rounds = a.below.len().min(b.below.len());
    let once = vec![1; rounds];
    let differ =
        |part, weights: &[u64]| Some(b.percentile(part, weights)? - a.percentile(part, weights)?);
    let mut drawn: Vec<Vec<f64>> = PERCENTILES.map(|_| Vec::with_capacity(draws)).into();
    let mut rng = SmallRng::seed_from_u64(seed);
    for _ in 0..(if rounds < 2 { 0 } else { draws }) {
        let mut weights = vec![0; rounds];
        for _ in 0..rounds {
            if let Some(weight) = weights.get_mut(rng.random_range(0..rounds)) {
                *weight += 1;
            }
        }
        for (list, (_, part)) in drawn.iter_mut().zip(PERCENTILES) {
            // Rounds in which nothing succeeded say nothing.
            list.extend(differ(part, &weights));
        }
    }
    let tail = tail(rounds);
    let fewest = a.len(&once).min(b.len(&once)) as f64;
    let mut differences = drawn
        .into_iter()
        .zip(PERCENTILES)
        .map(|(mut list, (_, part))| {
            list.sort_unstable_by(f64::total_cmp);
            let last = list.len().checked_sub(1);
            let from = last.map(|last| (last as f64 * tail).floor() as usize);
            let interval = last
                .zip(from)
                .and_then(|(last, from)| Some((*list.get(from)?, *list.get(last - from)?)));
            Some(Difference {
                estimate: differ(part, &once)?,
                interval,
                is_known: fewest * (1.0 - part) >= ABOVE_MIN,
                is_sure: rounds >= ROUNDS_MIN,
            })
        });
    let mut next = || differences.next().flatten();
    Some([next()?, next()?, next()?, next()?])
}

/// The part of the draws on each side of the interval: 2.5 %, and less with few rounds.
fn tail(rounds: usize) -> f64 {
    let rounds = rounds.max(2) as f64;
    normal_below(-(rounds / (rounds - 1.0)).sqrt() * student(rounds as usize - 1))
}

/// The 97.5 % quantile of Student's t.
fn student(freedom: usize) -> f64 {
    const FEW: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
        2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
        2.052, 2.048, 2.045, 2.042,
    ];
    let few = freedom.checked_sub(1).and_then(|place| FEW.get(place));
    // Right to three figures beyond the table.
    few.copied().unwrap_or(1.96 + 2.43 / freedom as f64)
}

/// The part of the normal distribution below `x` (Abramowitz and Stegun, 26.2.17: wrong by less
/// than 1e-7).
fn normal_below(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
    let terms = [
        0.319_381_530,
        -0.356_563_782,
        1.781_477_937,
        -1.821_255_978,
        1.330_274_429,
    ];
    let sum = terms.iter().rev().fold(0.0, |sum, term| (sum + term) * t);
    let above = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * sum;
    if x < 0.0 { above } else { 1.0 - above }
}

#[cfg(test)]
#[path = "statistics_tests.rs"]
mod tests;
