//! Anomalies: targets that pass their health checks and fail more requests than the others
//! (ALB: Automatic Target Weights). Pure.

use std::time::Duration;

/// From one judgement to the next, as at ALB.
pub(super) const PERIOD: Duration = Duration::from_secs(5);

/// With fewer healthy targets nobody can tell who is the exception (ALB).
const TARGETS_MIN: usize = 3;

/// Fewer errors in one period are chance.
const ERRORS_MIN: u64 = 3;

/// What an anomalous target still gets, in percent of its share: enough to see when it recovers.
const PERCENT_MIN: u64 = 5;

/// How much more it gets in each period without an anomaly: all of it after 50 s.
const PERCENT_STEP: u64 = 10;

/// What is believed of one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Anomaly {
    /// Counters of its endpoint at the latest judgement.
    seen: Counts,
    pub(super) anomalous: bool,
    /// Percent of its share that it gets with mitigation.
    pub(super) percent: u64,
}

impl Default for Anomaly {
    fn default() -> Self {
        Self {
            seen: Counts::default(),
            anomalous: false,
            percent: 100,
        }
    }
}

impl Anomaly {
    /// The target is not judged now. What happens meanwhile counts neither now nor later.
    pub(super) fn reset(&mut self, now: Counts) {
        *self = Self {
            seen: now,
            ..Self::default()
        };
    }
}

/// Requests, and how many of them ended in an error of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) requests: u64,
    pub(super) errors: u64,
}

impl Counts {
    pub(super) fn since(self, before: Self) -> Self {
        let requests = self.requests.saturating_sub(before.requests);
        let errors = self.errors.saturating_sub(before.errors);
        // The end of a request may fall into a later period than its beginning.
        Self {
            requests: requests.max(errors),
            errors,
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "no precision is needed")]
    fn rate(self) -> f64 {
        self.errors as f64 / self.requests.max(1) as f64
    }
}

/// Judges the healthy targets of a group by what happened since the last time. True if a share
/// changed.
pub(super) fn judge<'a>(
    healthy: impl Iterator<Item = (&'a mut Anomaly, Counts)>,
    mitigate: bool,
) -> bool {
    let mut targets: Vec<(&mut Anomaly, Counts)> = healthy
        .map(|(anomaly, now)| {
            let period = now.since(anomaly.seen);
            anomaly.seen = now;
            (anomaly, period)
        })
        .collect();
    let enough = targets.len() >= TARGETS_MIN;
    let all = targets
        .iter()
        .fold(Counts::default(), |sum, (_, one)| Counts {
            requests: sum.requests + one.requests,
            errors: sum.errors + one.errors,
        });
    let mut changed = false;
    for (anomaly, period) in &mut targets {
        let others = Counts {
            requests: all.requests - period.requests,
            errors: all.errors - period.errors,
        };
        let fails = enough && stands_out(*period, others);
        // One that gets little is normal again only once it has shown it.
        let quiet = anomaly.anomalous && period.requests == 0;
        anomaly.anomalous = enough && (fails || quiet);
        let before = anomaly.percent;
        anomaly.percent = if !mitigate {
            100
        } else if fails {
            PERCENT_MIN
        } else if period.errors > others_allow(*period, others) || quiet {
            before
        } else {
            (before + PERCENT_STEP).min(100)
        };
        changed |= anomaly.percent != before;
    }
    changed
}

/// Whether a target fails so much more than the others that it is not by chance: more than twice as
/// often, at least one percent point more, and three standard deviations away from what the
/// others' rate would give. As more than twice as often as all others cannot be said of many, at
/// most half of a group stands out.
#[allow(clippy::cast_precision_loss, reason = "no precision is needed")]
fn stands_out(one: Counts, others: Counts) -> bool {
    if one.errors < ERRORS_MIN || others.requests == 0 {
        return false;
    }
    let (rate, usual) = (one.rate(), others.rate());
    let count = one.requests as f64;
    let deviation = (usual * (1.0 - usual) * count).sqrt();
    rate > 2.0 * usual
        && rate >= usual + 0.01
        && one.errors as f64 > usual * count + 3.0 * deviation
}

/// How many errors of a target are usual, by the rate of the others.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a rate of a count is below the count"
)]
fn others_allow(one: Counts, others: Counts) -> u64 {
    (2.0 * others.rate() * one.requests as f64).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::{Anomaly, Counts, PERCENT_MIN, judge};

    struct Group {
        anomalies: Vec<Anomaly>,
        counts: Vec<Counts>,
    }

    impl Group {
        fn new(targets: usize) -> Self {
            Self {
                anomalies: vec![Anomaly::default(); targets],
                counts: vec![Counts::default(); targets],
            }
        }

        /// A period in which each target had so many requests and errors.
        fn period(&mut self, happened: &[(u64, u64)], mitigate: bool) -> bool {
            for (counts, (requests, errors)) in self.counts.iter_mut().zip(happened) {
                counts.requests += requests;
                counts.errors += errors;
            }
            judge(
                self.anomalies.iter_mut().zip(self.counts.iter().copied()),
                mitigate,
            )
        }

        fn anomalous(&self) -> Vec<bool> {
            self.anomalies.iter().map(|one| one.anomalous).collect()
        }

        fn percents(&self) -> Vec<u64> {
            self.anomalies.iter().map(|one| one.percent).collect()
        }
    }

    #[test]
    fn a_target_that_fails_more_than_the_others_is_cut_at_once_and_recovers_step_by_step() {
        let mut group = Group::new(3);
        assert!(group.period(&[(100, 50), (100, 1), (100, 0)], true));
        assert_eq!(group.anomalous(), [true, false, false]);
        assert_eq!(group.percents(), [PERCENT_MIN, 100, 100]);
        assert!(
            !group.period(&[(5, 3), (150, 0), (150, 0)], true),
            "as it was"
        );
        for percent in [15, 25, 35, 45, 55, 65, 75, 85, 95, 100] {
            assert!(group.period(&[(10, 0), (100, 0), (100, 0)], true));
            assert_eq!(group.percents()[0], percent);
            assert_eq!(group.anomalous(), [false; 3]);
        }
        assert!(!group.period(&[(100, 0), (100, 0), (100, 0)], true));
    }

    #[test]
    fn a_target_without_requests_stays_as_it_was_judged() {
        let mut group = Group::new(3);
        group.period(&[(100, 50), (100, 0), (100, 0)], true);
        assert!(!group.period(&[(0, 0), (100, 0), (100, 0)], true));
        assert_eq!(group.anomalous(), [true, false, false]);
        group.period(&[(1, 1), (100, 0), (100, 0)], true);
        assert_eq!(
            group.percents()[0],
            PERCENT_MIN,
            "one error more is no recovery"
        );
    }

    #[test]
    fn what_happened_while_a_target_was_not_judged_does_not_count() {
        let mut group = Group::new(3);
        group.counts[0] = Counts {
            requests: 1_000,
            errors: 900,
        };
        let counts = group.counts[0];
        group.anomalies[0].reset(counts);
        assert!(!group.period(&[(100, 0), (100, 0), (100, 0)], true));
        assert_eq!(group.anomalous(), [false; 3]);
    }

    #[test]
    fn anomalies_are_seen_without_mitigation_too() {
        let mut group = Group::new(4);
        assert!(!group.period(&[(100, 50), (100, 0), (100, 0), (100, 0)], false));
        assert_eq!(group.anomalous(), [true, false, false, false]);
        assert_eq!(group.percents(), [100; 4]);
    }

    #[test]
    fn what_is_chance_or_concerns_all_or_has_too_few_to_compare_is_no_anomaly() {
        for happened in [
            vec![(100, 100), (100, 0)],
            vec![(100, 2), (100, 0), (100, 0)],
            vec![(100, 50), (100, 50), (100, 50)],
            vec![(100, 14), (100, 10), (100, 8)],
            vec![(100_000, 900), (100_000, 0), (100_000, 0)],
            vec![(100, 100), (0, 0), (0, 0)],
            vec![(0, 0), (0, 0), (0, 0)],
        ] {
            let mut group = Group::new(happened.len());
            assert!(!group.period(&happened, true), "{happened:?}");
            assert!(!group.anomalous().contains(&true), "{happened:?}");
        }
    }

    #[test]
    fn at_most_half_of_a_group_is_anomalous() {
        for bad in 0..=8_usize {
            let mut group = Group::new(8);
            let happened: Vec<(u64, u64)> = (0..8)
                .map(|target| (1_000, if target < bad { 1_000 } else { 0 }))
                .collect();
            group.period(&happened, true);
            let found = group.anomalous().iter().filter(|one| **one).count();
            assert!(found <= 4, "{bad}: {found}");
            if (1..=4).contains(&bad) {
                assert_eq!(found, bad);
            }
        }
    }
}
