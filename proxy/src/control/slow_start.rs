//! Slow start: the share of a target that has just become healthy rises in a straight line. Pure.
//!
//! ALB's rules: a target starts slowly only if another one is healthy and does not; targets that
//! came into a group without healthy targets do not; one that was unhealthy starts slowly again.
//! ALB does it for `round_robin` only; here a share is a share for every algorithm.

use std::time::{Duration, Instant};

/// How often shares are set anew while one rises: at most 3.3 % at once with the shortest duration.
pub(super) const STEP: Duration = Duration::from_secs(1);

/// Where one target stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlowStart {
    /// It came into a group without healthy targets, and was not healthy itself since.
    Exempt,
    /// It will start slowly once it is healthy.
    Due,
    /// It has its full share.
    Over,
    /// Since then it gets more and more.
    Since(Instant),
}

impl SlowStart {
    /// It has just become healthy. `others`: another target is healthy and has its full share.
    pub(super) fn healthy(&mut self, duration: Duration, others: bool, now: Instant) {
        *self = if duration.is_zero() || !others || *self == Self::Exempt {
            Self::Over
        } else {
            Self::Since(now)
        };
    }

    /// It is not healthy any more.
    pub(super) fn unhealthy(&mut self) {
        if *self != Self::Exempt {
            *self = Self::Due;
        }
    }

    /// Percent of its full share, 1 to 100.
    pub(super) fn percent(self, duration: Duration, now: Instant) -> u64 {
        let Self::Since(start) = self else {
            return 100;
        };
        let passed = now.saturating_duration_since(start);
        if passed >= duration {
            return 100;
        }
        let percent = passed.as_millis() * 100 / duration.as_millis().max(1);
        // With nothing at all it would have no chance to warm up.
        u64::try_from(percent).unwrap_or(100).clamp(1, 100)
    }

    /// Whether its share rises.
    pub(super) fn is_rising(self) -> bool {
        matches!(self, Self::Since(_))
    }

    /// Ends it when its time is over.
    pub(super) fn tend(&mut self, duration: Duration, now: Instant) {
        if self.is_rising() && self.percent(duration, now) == 100 {
            *self = Self::Over;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::SlowStart;
    use crate::clock;

    const DURATION: Duration = Duration::from_secs(100);

    #[test]
    fn a_share_rises_in_a_straight_line_and_then_stays() {
        let start = clock::now();
        let mut slow = SlowStart::Due;
        slow.healthy(DURATION, true, start);
        for (seconds, percent) in [(0, 1), (1, 1), (2, 2), (50, 50), (99, 99), (100, 100)] {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(slow.percent(DURATION, now), percent, "{seconds} s");
            slow.tend(DURATION, now);
            assert_eq!(slow.is_rising(), percent < 100);
        }
        assert_eq!(slow, SlowStart::Over);
    }

    #[test]
    fn only_one_that_joins_others_starts_slowly_and_one_that_recovers_does_so_again() {
        let now = clock::now();
        let mut slow = SlowStart::Due;
        slow.healthy(DURATION, false, now);
        assert_eq!(slow, SlowStart::Over);
        slow.unhealthy();
        slow.healthy(DURATION, true, now);
        assert_eq!(slow, SlowStart::Since(now));
        slow.unhealthy();
        slow.healthy(Duration::ZERO, true, now);
        assert_eq!(slow, SlowStart::Over);
        let mut first = SlowStart::Exempt;
        first.unhealthy();
        first.healthy(DURATION, true, now);
        assert_eq!(first, SlowStart::Over);
        first.unhealthy();
        first.healthy(DURATION, true, now);
        assert!(first.is_rising());
    }
}
