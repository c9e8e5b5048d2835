//! How many AWS calls this process may make, over all of its groups in one region.
//!
//! ECS gives an account and region 20 describe and list calls a second, with a burst of 100, shared
//! by everything that the account runs: deployments, other tools, other Longshores. A load balancer
//! that takes them all stops deployments.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Calls a second as long as AWS does not complain.
const RATE: f64 = 5.0;
/// The least, however often AWS complains.
const RATE_MIN: f64 = 0.25;
/// Calls that may be made at once after a rest, in seconds of the full rate: enough for a cold
/// start with a thousand tasks.
const BURST_SECONDS: f64 = 4.0;
/// What the rate gains for each [`QUIET`] without a complaint, up to the full one.
const GAIN: f64 = 0.5;
const QUIET: Duration = Duration::from_secs(60);

/// Which of the account's limits a call draws on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// That of tasks and container instances; and, so that they are few, task definitions.
    Tasks,
    /// That of services.
    Services,
}

/// The budget of one region. Callers reserve a call and wait for their turn.
#[derive(Debug, Default)]
pub(super) struct Budget {
    state: Mutex<State>,
    services: Mutex<State>,
    calls: AtomicU64,
    throttled: AtomicU64,
}

impl Budget {
    /// So many calls a second, and a burst of four seconds' worth, in place of 5 and 20.
    #[must_use]
    pub(super) fn of(rate: f64) -> Self {
        Self {
            state: Mutex::new(State::of(rate)),
            services: Mutex::new(State::of(rate)),
            ..Self::default()
        }
    }
}

/// A token bucket whose rate follows what AWS says. Pure: time is an argument.
#[derive(Debug)]
struct State {
    /// The rate as long as AWS does not complain.
    full: f64,
    rate: f64,
    /// Below 0: calls that are reserved and wait.
    tokens: f64,
    filled_at: Option<Instant>,
    /// Since when AWS has not complained, as far as it was rewarded.
    quiet_since: Option<Instant>,
}

impl Default for State {
    fn default() -> Self {
        Self::of(RATE)
    }
}

impl State {
    fn of(rate: f64) -> Self {
        Self {
            full: rate,
            rate,
            tokens: rate * BURST_SECONDS,
            filled_at: None,
            quiet_since: None,
        }
    }

    /// Reserves a call. Tells how long to wait before making it.
    fn take(&mut self, now: Instant) -> Duration {
        let filled_at = *self.filled_at.get_or_insert(now);
        let passed = now.saturating_duration_since(filled_at);
        self.tokens =
            (self.tokens + self.rate * passed.as_secs_f64()).min(self.full * BURST_SECONDS);
        self.filled_at = Some(now.max(filled_at));
        if self.rate < self.full {
            let since = *self.quiet_since.get_or_insert(now);
            if now.saturating_duration_since(since) >= QUIET {
                self.rate = (self.rate + GAIN).min(self.full);
                self.quiet_since = Some(since + QUIET);
            }
        }
        self.tokens -= 1.0;
        if self.tokens >= 0.0 {
            Duration::ZERO
        } else {
            Duration::from_secs_f64(-self.tokens / self.rate)
        }
    }

    /// AWS said that there were too many calls.
    fn throttled(&mut self, now: Instant) {
        self.rate = (self.rate / 2.0).max(RATE_MIN);
        self.tokens = self.tokens.min(0.0);
        self.quiet_since = Some(now);
    }
}

impl Budget {
    /// Waits for its turn to make one call.
    pub(super) async fn take(&self, limit: Limit, now: Instant) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let wait = self.lock(limit).take(now);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// A call was refused for there were too many.
    pub(super) fn throttled(&self, limit: Limit, now: Instant) {
        self.throttled.fetch_add(1, Ordering::Relaxed);
        self.lock(limit).throttled(now);
    }

    /// Calls so far, and how many of them AWS refused as too many.
    #[must_use]
    pub(super) fn counts(&self) -> (u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.calls), read(&self.throttled))
    }

    fn lock(&self, limit: Limit) -> std::sync::MutexGuard<'_, State> {
        let state = match limit {
            Limit::Tasks => &self.state,
            Limit::Services => &self.services,
        };
        state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests stand outside: they choose the times that they hand in"
)]
mod tests {
    use std::time::{Duration, Instant};

    use super::State;

    /// How long the last of so many calls at one moment waits.
    fn wait_of(state: &mut State, calls: u32, now: Instant) -> Duration {
        (0..calls).map(|_| state.take(now)).last().expect("some")
    }

    #[test]
    fn a_burst_is_free_and_then_there_are_five_a_second() {
        let (mut state, now) = (State::default(), Instant::now());
        assert_eq!(wait_of(&mut state, 20, now), Duration::ZERO);
        assert_eq!(wait_of(&mut state, 5, now), Duration::from_secs(1));
        // 10,000 tasks, cold: 100 list calls and 100 describe calls.
        assert_eq!(wait_of(&mut state, 175, now), Duration::from_secs(36));
        let later = now + Duration::from_secs(40);
        assert_eq!(wait_of(&mut state, 20, later), Duration::ZERO);
    }

    #[test]
    fn throttling_halves_the_rate_and_quiet_minutes_bring_it_back() {
        let (mut state, mut now) = (State::default(), Instant::now());
        state.take(now);
        state.throttled(now);
        assert_eq!(state.take(now), Duration::from_secs_f64(0.4));
        for _ in 0..20 {
            state.throttled(now);
        }
        assert!(
            state.take(now) <= Duration::from_secs(8),
            "never none at all"
        );
        for minute in 1..=10 {
            now += Duration::from_secs(60);
            state.take(now);
            assert!((state.rate - (0.25 + 0.5 * f64::from(minute)).min(5.0)).abs() < 1e-9);
        }
    }
}
