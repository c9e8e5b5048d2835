//! Numbers that one thread writes and a scrape reads: no locked instruction, and no cache line that
//! two workers write.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock;

/// A number that one thread writes and others read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds, without a locked instruction: only the owning worker writes.
    pub fn add(&self, count: u64) {
        let value = self.0.load(Ordering::Relaxed).wrapping_add(count);
        self.0.store(value, Ordering::Relaxed);
    }

    /// Takes away; see [`Self::add`].
    pub fn subtract(&self, count: u64) {
        let value = self.0.load(Ordering::Relaxed).wrapping_sub(count);
        self.0.store(value, Ordering::Relaxed);
    }

    /// Takes the place of the number; see [`Self::add`].
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The number.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A row of numbers. A type of its own, because arrays of more than 32 have no default.
#[derive(Debug)]
pub struct Row<const N: usize>([Counter; N]);

impl<const N: usize> Default for Row<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl<const N: usize> Row<N> {
    /// Counts one at a place; places outside of the row count nowhere.
    pub fn count(&self, place: usize) {
        self.add(place, 1);
    }

    /// Counts so many at a place.
    pub fn add(&self, place: usize, count: u64) {
        if let Some(counter) = self.0.get(place) {
            counter.add(count);
        }
    }

    /// The numbers.
    #[must_use]
    pub fn get(&self) -> [u64; N] {
        std::array::from_fn(|place| self.0[place].get())
    }
}

/// One of these for each worker, each on cache lines of its own.
#[derive(Debug)]
pub struct Sides<T>(Box<[Padded<T>]>);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

impl<T: Default> Sides<T> {
    /// For that many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self((0..workers.max(1)).map(|_| Padded::default()).collect())
    }

    /// That of a worker; of the first for those that are not counted.
    #[must_use]
    pub fn of(&self, worker: usize) -> &T {
        // Not the remainder: a request comes here ten times, and would divide each time.
        let Padded(side) = self.0.get(worker).unwrap_or(&self.0[0]);
        side
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|Padded(side)| side)
    }

    /// The sum of a number over all workers.
    pub fn sum(&self, pick: impl Fn(&T) -> u64) -> u64 {
        self.iter().map(pick).sum()
    }

    /// The sums of a row over all workers.
    pub fn row<const N: usize>(&self, pick: impl Fn(&T) -> &Row<N>) -> [u64; N] {
        let mut sums = [0; N];
        for side in self.iter() {
            for (sum, count) in sums.iter_mut().zip(pick(side).get()) {
                *sum += count;
            }
        }
        sums
    }
}

/// A counter for each worker.
#[derive(Debug)]
pub struct PerWorker(Sides<Counter>);

impl PerWorker {
    /// For that many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self(Sides::new(workers))
    }

    /// Counts one of a worker.
    pub fn count(&self, worker: usize) {
        self.0.of(worker).add(1);
    }

    /// The sum over all workers.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.0.sum(Counter::get)
    }
}

/// Classes of status: 1xx to 5xx, and at 0 those outside.
pub const CLASSES: [&str; 6] = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Responses by class of their status.
pub type Classes = Row<{ CLASSES.len() }>;

/// The place of a status in [`CLASSES`].
#[must_use]
pub fn class(status: u16) -> usize {
    let class = usize::from(status / 100);
    if class < CLASSES.len() { class } else { 0 }
}

/// Upper bounds of times in microseconds, with which requests of all kinds are told apart.
pub const TIMES: [u64; 16] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 60_000_000,
];

/// The same for what the balancer adds itself, which should be far less than a millisecond.
pub const ADDED: [u64; 12] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000,
];

/// The same for each target: few, because there may be ten thousand targets.
pub const TARGET_TIMES: [u64; 7] = [
    1_000, 5_000, 25_000, 100_000, 500_000, 2_500_000, 10_000_000,
];

/// How often something took how long.
#[derive(Debug, Default)]
pub struct Histogram<const N: usize> {
    buckets: Row<N>,
    /// Above all bounds.
    over: Counter,
    micros: Counter,
}

impl<const N: usize> Histogram<N> {
    /// Notes a time. `bounds` are always the same.
    pub fn note(&self, bounds: &[u64; N], took: Duration) {
        self.note_micros(bounds, clock::in_micros(took));
    }

    /// The same in microseconds.
    pub fn note_micros(&self, bounds: &[u64; N], micros: u64) {
        match bounds.iter().position(|bound| micros <= *bound) {
            Some(place) => self.buckets.count(place),
            None => self.over.add(1),
        }
        self.micros.add(micros);
    }

    fn times(&self) -> Times<N> {
        Times {
            buckets: self.buckets.get(),
            over: self.over.get(),
            micros: self.micros.get(),
        }
    }
}

/// What a histogram has noted, over all workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times<const N: usize> {
    /// By bound.
    pub buckets: [u64; N],
    /// Above all bounds.
    pub over: u64,
    /// In all.
    pub micros: u64,
}

impl<const N: usize> Times<N> {
    /// The sum of histograms.
    pub fn sum<'h>(all: impl Iterator<Item = &'h Histogram<N>>) -> Self {
        let none = Self {
            buckets: [0; N],
            over: 0,
            micros: 0,
        };
        all.fold(none, |mut sum, one| {
            let one = one.times();
            for (sum, count) in sum.buckets.iter_mut().zip(one.buckets) {
                *sum += count;
            }
            sum.over += one.over;
            sum.micros = sum.micros.wrapping_add(one.micros);
            sum
        })
    }

    /// How many times were noted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum::<u64>() + self.over
    }

    /// The bounds in seconds, each with how many times lie at or below it and above the one before.
    #[must_use]
    pub fn seconds(&self, bounds: &[u64; N]) -> Vec<(f64, u64)> {
        let bounded = bounds.iter().zip(self.buckets);
        bounded
            .map(|(bound, count)| (in_seconds(*bound), count))
            // The encoder writes this bound as `+Inf`.
            .chain([(f64::MAX, self.over)])
            .collect()
    }
}

/// Microseconds as seconds.
#[must_use]
#[allow(
    clippy::cast_precision_loss,
    reason = "a figure for people; 2^53 microseconds are 285 years"
)]
pub fn in_seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::{Histogram, Sides, TARGET_TIMES, Times, class};

    #[test]
    fn times_are_noted_at_the_first_bound_that_is_not_below_them() {
        let sides: Sides<Histogram<7>> = Sides::new(2);
        for (worker, micros) in [
            (0, 0),
            (0, 1_000),
            (1, 1_001),
            (1, 10_000_000),
            (0, u64::MAX / 2),
        ] {
            sides.of(worker).note_micros(&TARGET_TIMES, micros);
        }
        let times = Times::sum(sides.iter());
        assert_eq!(times.buckets, [2, 1, 0, 0, 0, 0, 1]);
        assert_eq!((times.over, times.count()), (1, 5));
        let seconds = times.seconds(&TARGET_TIMES);
        assert_eq!(seconds[0], (0.001, 2));
        assert_eq!(seconds[7], (f64::MAX, 1));
    }

    #[test]
    fn a_status_outside_of_the_classes_is_another_one() {
        let of = [99, 100, 204, 301, 404, 599, 600, u16::MAX].map(class);
        assert_eq!(of, [0, 1, 2, 3, 4, 5, 0, 0]);
    }
}
