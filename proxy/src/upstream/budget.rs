//! How many retries a group allows itself, so that they do not finish off targets that are in
//! trouble. Requests write nothing here, only retries do. No clock: time is an argument.

use std::sync::atomic::{AtomicU64, Ordering};

const SECOND: u64 = 1_000_000;

/// Retries in each second, over all workers: those of one second may come at once.
#[derive(Debug, Default)]
pub struct Budget {
    /// Microseconds for each retry; 0: none is allowed.
    each: AtomicU64,
    /// Until when retries are spent, in microseconds.
    spent: AtomicU64,
}

impl Budget {
    /// Allows so many retries in 1000 seconds from now on.
    pub fn set(&self, in_1000_seconds: u64) {
        let each = (1_000 * SECOND)
            .checked_div(in_1000_seconds)
            .map_or(0, |each| each.max(1));
        self.each.store(each, Ordering::Relaxed);
    }

    /// Takes one, if there is one.
    pub fn take(&self, now_micros: u64) -> bool {
        let each = self.each.load(Ordering::Relaxed);
        if each == 0 {
            return false;
        }
        let relaxed = Ordering::Relaxed;
        let taken = self.spent.fetch_update(relaxed, relaxed, |spent| {
            let next = spent.max(now_micros) + each;
            (next <= now_micros + SECOND.max(each)).then_some(next)
        });
        taken.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, SECOND};

    #[test]
    fn those_of_a_second_may_come_at_once_and_no_more() {
        let budget = Budget::default();
        assert!(!budget.take(0), "none is allowed");
        budget.set(10_000);
        let now = 5 * SECOND;
        let taken = |now| (0..100).filter(|_| budget.take(now)).count();
        assert_eq!(taken(now), 10);
        assert_eq!(taken(now + SECOND / 2), 5);
        assert_eq!(taken(now + 60 * SECOND), 10, "what was not used is gone");
    }

    #[test]
    fn one_in_ten_seconds_is_one_in_ten_seconds() {
        let budget = Budget::default();
        budget.set(100);
        assert!(budget.take(0) && !budget.take(9 * SECOND));
        assert!(budget.take(10 * SECOND));
    }
}
