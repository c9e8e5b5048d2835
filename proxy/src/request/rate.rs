//! How many requests each client may make: GCRA over a table of fixed size, for all workers.
//!
//! Not a crate: those that count by key keep a map, which grows with the number of clients and
//! locks a shard for each request. Here a value has one word in a table that is made once, so
//! memory is bounded whatever clients send, and no worker waits for another.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use longshore_config as config;

use super::hash::HashKey;
use super::rules::Facts;

/// How many words a value may be in.
const WAYS: usize = 4;

/// The bits of a word that hold a time, in microseconds: enough for nine years. The others tell
/// values apart that share a place.
const TIME_BITS: u32 = 48;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;

/// How often a word is written anew that another worker has just written, before its say is taken.
const TRIES: usize = 8;

/// A limit and what it remembers.
#[derive(Debug)]
pub struct RateLimit {
    key: HashKey,
    /// The time that one request stands for, in microseconds.
    interval: u64,
    /// How far ahead of the clock a value may be: the time of a burst.
    tolerance: u64,
    /// Drawn for each limit, so that nobody can find values that share a place.
    hasher: RandomState,
    /// For each place a tag, and the time at which the value's requests so far are paid for
    /// (GCRA's theoretical arrival time).
    words: Box<[AtomicU64]>,
    settings: config::RateLimit,
}

impl RateLimit {
    /// The limit of the file.
    #[must_use]
    pub fn new(settings: &config::RateLimit) -> Self {
        let requests = settings.requests.get();
        let period = u64::try_from(settings.period.get().as_micros()).unwrap_or(u64::MAX);
        let interval = (period / requests).max(1);
        let burst = settings.burst.map_or(requests, |burst| burst.get());
        let places = usize::try_from(settings.max_keys.get()).unwrap_or(WAYS);
        Self {
            key: settings
                .key
                .as_ref()
                .map_or(HashKey::SourceAddress, HashKey::new),
            interval,
            tolerance: interval.saturating_mul(burst).min(TIME_MASK / 2),
            hasher: RandomState::new(),
            words: (0..places.next_multiple_of(WAYS))
                .map(|_| AtomicU64::new(0))
                .collect(),
            settings: settings.clone(),
        }
    }

    /// Whether it is made of these settings.
    #[must_use]
    pub fn is_of(&self, settings: &config::RateLimit) -> bool {
        self.settings == *settings
    }

    /// Takes a request at a time in microseconds since the start.
    ///
    /// # Errors
    /// It is one too many; how long until the next one may come. A request without what is counted
    /// by is counted with all others like it.
    pub fn take(&self, facts: &Facts<'_>, now: u64) -> Result<(), Duration> {
        let hash = self
            .key
            .with_value(facts, |value| self.hasher.hash_one(value))
            .unwrap_or(0);
        self.take_hashed(hash, now)
    }

    fn take_hashed(&self, hash: u64, now: u64) -> Result<(), Duration> {
        // 0 is no time yet.
        let now = (now & TIME_MASK).max(1);
        let tag = hash >> TIME_BITS;
        let sets = self.words.len() / WAYS;
        let set = usize::try_from((hash & TIME_MASK) % sets as u64).unwrap_or(0) * WAYS;
        let words = &self.words[set..set + WAYS];
        for _ in 0..TRIES {
            let (word, before) = find(words, tag, now);
            let paid = if before >> TIME_BITS == tag {
                (before & TIME_MASK).max(now)
            } else {
                now
            };
            let next = paid + self.interval;
            if let Some(wait) = next
                .checked_sub(now + self.tolerance)
                .filter(|wait| *wait > 0)
            {
                return Err(Duration::from_micros(wait));
            }
            let after = tag << TIME_BITS | (next & TIME_MASK);
            let written =
                word.compare_exchange(before, after, Ordering::Relaxed, Ordering::Relaxed);
            if written.is_ok() {
                return Ok(());
            }
        }
        // So many workers count one value at this moment that each has seen the others' requests.
        Ok(())
    }
}

/// The word for a tag: its own, or one whose requests are paid for, or else the one that is next
/// to be. The value that had the last is forgotten: it has asked least.
fn find(words: &[AtomicU64], tag: u64, now: u64) -> (&AtomicU64, u64) {
    let mut best: Option<(&AtomicU64, u64)> = None;
    for word in words {
        let value = word.load(Ordering::Relaxed);
        if value >> TIME_BITS == tag && value & TIME_MASK > now {
            return (word, value);
        }
        if best.is_none_or(|(_, other)| value & TIME_MASK < other & TIME_MASK) {
            best = Some((word, value));
        }
    }
    best.unwrap_or((&words[0], 0))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use longshore_config::{Ranged, Span};

    use super::{RateLimit, WAYS};

    fn limit(requests: u64, seconds: u64, burst: Option<u64>, keys: u64) -> RateLimit {
        RateLimit::new(&longshore_config::RateLimit {
            requests: Ranged::new(requests).expect("in bounds"),
            period: Span::from_millis(seconds * 1000).expect("in bounds"),
            burst: burst.map(|burst| Ranged::new(burst).expect("in bounds")),
            key: None,
            max_keys: Ranged::new(keys).expect("in bounds"),
        })
    }

    const SECOND: u64 = 1_000_000;

    #[test]
    fn a_burst_gets_through_and_then_the_rate() {
        let limit = limit(10, 1, Some(3), 1024);
        let start = 5 * SECOND;
        for _ in 0..3 {
            assert_eq!(limit.take_hashed(7, start), Ok(()));
        }
        assert_eq!(limit.take_hashed(7, start), Err(Duration::from_millis(100)));
        assert_eq!(
            limit.take_hashed(8, start),
            Ok(()),
            "another value has its own"
        );
        assert_eq!(
            limit.take_hashed(7, start + 99_000),
            Err(Duration::from_millis(1))
        );
        assert_eq!(limit.take_hashed(7, start + 100_000), Ok(()));
        assert!(limit.take_hashed(7, start + 100_001).is_err());
        // What is refused costs nothing: after a pause the whole burst is there again.
        for _ in 0..3 {
            assert_eq!(limit.take_hashed(7, start + SECOND), Ok(()));
        }
        assert!(limit.take_hashed(7, start + SECOND).is_err());
    }

    #[test]
    fn over_a_long_time_exactly_the_rate_gets_through() {
        let limit = limit(100, 1, None, 1024);
        let passed = (0..100_000_u64)
            .filter(|step| limit.take_hashed(1, SECOND + step * 100).is_ok())
            .count();
        // 10 s at 100 a second, and one burst of 100.
        assert!((1_099..=1_101).contains(&passed), "{passed}");
    }

    #[test]
    fn more_values_than_places_take_no_more_memory_and_are_not_refused() {
        let limit = limit(1, 1, Some(1), 1024);
        assert_eq!(limit.words.len(), 1024);
        let (mut hash, mut refused) = (1_u64, 0);
        for _ in 0..100_000 {
            hash = hash
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            // A value that meets its own tag in its place is taken for another: 1 in 16,000.
            refused += usize::from(limit.take_hashed(hash, SECOND).is_err());
        }
        assert!(refused < 50, "{refused}");
        assert_eq!(limit.words.len() % WAYS, 0);
        let held = limit.take_hashed(hash, SECOND);
        assert!(held.is_err(), "the latest is remembered");
    }

    #[test]
    fn workers_together_let_no_more_through_than_one() {
        let limit = limit(1_000, 1, Some(500), 1024);
        let passed: usize = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        (0..1_000)
                            .filter(|_| limit.take_hashed(9, SECOND).is_ok())
                            .count()
                    })
                })
                .collect();
            workers
                .into_iter()
                .map(|worker| worker.join().expect("no panic"))
                .sum()
        });
        assert!((500..=510).contains(&passed), "{passed}");
    }
}
