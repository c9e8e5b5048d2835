//! Outliers: targets that are taken out because of the requests that they got, for a while, and
//! come back on trial. Pure.

use std::time::{Duration, Instant};

use longshore_config::OutlierDetection;

use super::anomaly::Counts;
use crate::upstream::passive::{Fault, Timed};
use crate::upstream::trial::Shown;

/// With fewer targets nobody can tell who is the exception, as for anomalies.
const TARGETS_MIN: usize = 3;

/// A target on trial that nobody has asked for so long is asked with any request, also with one that
/// cannot be repeated: without a body and idempotent is none of a service that only takes POST.
const ANY_AFTER: Duration = Duration::from_secs(1);

/// Why a target was taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// It refused connections.
    Refused,
    /// Requests in a row had no response.
    Failures,
    /// The same, or 502, 503 or 504.
    GatewayErrors,
    /// The same, or any 5xx.
    ServerErrors,
    /// More of its requests failed than of the others'.
    FailurePercent,
    /// It was slower than the others.
    Latency,
}

impl Cause {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Refused,
        Self::Failures,
        Self::GatewayErrors,
        Self::ServerErrors,
        Self::FailurePercent,
        Self::Latency,
    ];

    /// Its name, which is that of the key that decides.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused_connections",
            Self::Failures => "consecutive_failures",
            Self::GatewayErrors => "consecutive_gateway_errors",
            Self::ServerErrors => "consecutive_5xx",
            Self::FailurePercent => "failure_percent",
            Self::Latency => "latency_factor",
        }
    }

    /// For people.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::Refused => "it refused a connection",
            Self::Failures => "requests in a row had no response",
            Self::GatewayErrors => "requests in a row had no response, or 502, 503 or 504",
            Self::ServerErrors => "requests in a row had no response, or a 5xx",
            Self::FailurePercent => "more of its requests failed than of the others'",
            Self::Latency => "it was slower than the others",
        }
    }

    /// Whether a health check that passes speaks against it. A check says nothing of errors and
    /// delays that only other requests meet.
    pub(super) const fn is_of_connections(self) -> bool {
        matches!(self, Self::Refused | Self::Failures)
    }
}

impl From<Fault> for Cause {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused => Self::Refused,
            Fault::Failed => Self::Failures,
            Fault::Gateway => Self::GatewayErrors,
            Fault::Server => Self::ServerErrors,
        }
    }
}

/// Where a target stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It gets its share.
    In,
    /// It gets nothing until then.
    Out { cause: Cause, until: Instant },
    /// It gets a few requests.
    Trial { cause: Cause, trial: Trial },
}

/// A trial: one request, then two, then four … until so many went well as are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trial {
    /// What had been shown before it.
    before: Shown,
    granted: u32,
    /// When the latest were granted.
    at: Instant,
}

/// What comes next in a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Wait for what is on its way.
    Nothing,
    /// Let so many requests through; true: of any kind.
    Grant(u32, bool),
    /// It is well.
    Return,
    /// It is not.
    Relapse,
}

impl Trial {
    pub(super) fn new(before: Shown, now: Instant) -> Self {
        Self {
            before,
            granted: 1,
            at: now,
        }
    }

    /// Takes what was shown. `left`: how many granted requests have not come; `wanted`: how many must
    /// go well.
    pub(super) fn next(&mut self, shown: Shown, left: u32, wanted: u32, now: Instant) -> Next {
        let well = shown.well.wrapping_sub(self.before.well);
        let untold = shown.untold.wrapping_sub(self.before.untold);
        if shown.badly != self.before.badly {
            return Next::Relapse;
        }
        if well >= wanted {
            return Next::Return;
        }
        if left > 0 {
            let waits = now.saturating_duration_since(self.at) >= ANY_AFTER;
            return if waits {
                Next::Grant(left, true)
            } else {
                Next::Nothing
            };
        }
        if well + untold < self.granted {
            return Next::Nothing;
        }
        let more = well.max(1).min(wanted - well);
        self.granted += more;
        self.at = now;
        Next::Grant(more, false)
    }
}

/// What requests made believe of one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outlier {
    pub(super) phase: Phase,
    /// Since when; none if it never changed.
    pub(super) since: Option<Instant>,
    /// How often it was taken out without a long enough stay in between.
    pub(super) times: u32,
    /// Counters as of the latest comparison.
    counts: Counts,
    timed: Timed,
}

impl Default for Outlier {
    fn default() -> Self {
        Self {
            phase: Phase::In,
            since: None,
            times: 0,
            counts: Counts::default(),
            timed: Timed::default(),
        }
    }
}

impl Outlier {
    pub(super) fn is_in(&self) -> bool {
        self.phase == Phase::In
    }

    pub(super) fn is_out(&self) -> bool {
        matches!(self.phase, Phase::Out { .. })
    }

    pub(super) fn is_on_trial(&self) -> bool {
        matches!(self.phase, Phase::Trial { .. })
    }

    /// Takes it out. Each time in a row it is out for twice as long; who stayed in for as long as it
    /// was out last begins anew.
    pub(super) fn eject(&mut self, cause: Cause, policy: &OutlierDetection, now: Instant) {
        let stayed = self.since.map(|since| now.saturating_duration_since(since));
        let forgiven = stayed.is_none_or(|stayed| stayed >= duration(policy, self.times));
        if self.is_in() && forgiven {
            self.times = 0;
        }
        self.times = self.times.saturating_add(1);
        self.since = Some(now);
        let until = now + duration(policy, self.times);
        self.phase = Phase::Out { cause, until };
    }

    pub(super) fn enter(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.since = Some(now);
    }
}

/// How long a target is out at its n-th time in a row.
fn duration(policy: &OutlierDetection, times: u32) -> Duration {
    let factor = 1_u32
        .checked_shl(times.saturating_sub(1))
        .unwrap_or(u32::MAX);
    let base = policy.base_ejection_time.get();
    base.saturating_mul(factor)
        .min(policy.max_ejection_time.get())
}

/// The limits of runs, as `[refused, without a response, gateway, 5xx]`. None: nothing is watched.
pub(super) fn limits(policy: &OutlierDetection) -> Option<[u16; 4]> {
    let limit = |value: u64| u16::try_from(value).unwrap_or(u16::MAX);
    policy.enabled.then(|| {
        [
            limit(policy.refused_connections.get()),
            limit(policy.consecutive_failures.get()),
            limit(policy.consecutive_gateway_errors.get()),
            limit(policy.consecutive_5xx.get()),
        ]
    })
}

/// How many of so many healthy targets may be out: one of two at least, and one always stays.
pub(super) fn room(policy: &OutlierDetection, healthy: usize) -> usize {
    let percent = usize::try_from(policy.max_ejection_percent.get()).unwrap_or(100);
    (healthy * percent / 100)
        .max(1)
        .min(healthy.saturating_sub(1))
}

/// Compares targets by what happened since the last time. Tells for each whether it stands out.
pub(super) fn compare<'a>(
    targets: impl Iterator<Item = (&'a mut Outlier, Counts, Timed)>,
    policy: &OutlierDetection,
) -> Vec<Option<Cause>> {
    let periods: Vec<(Counts, Timed)> = targets
        .map(|(outlier, counts, timed)| {
            let period = counts.since(outlier.counts);
            let took = Timed {
                micros: timed.micros.wrapping_sub(outlier.timed.micros),
                count: timed.count.saturating_sub(outlier.timed.count),
            };
            (outlier.counts, outlier.timed) = (counts, timed);
            (period, took)
        })
        .collect();
    let volume = policy.request_volume.get();
    let means: Vec<u64> = periods
        .iter()
        .map(|(_, took)| took.micros / took.count.max(1))
        .collect();
    periods
        .iter()
        .enumerate()
        .map(|(index, (period, took))| {
            if periods.len() < TARGETS_MIN {
                return None;
            }
            let others = || periods.iter().enumerate().filter(|(at, _)| *at != index);
            if fails(policy, *period, volume, others().map(|(_, (one, _))| *one)) {
                return Some(Cause::FailurePercent);
            }
            let factor = policy.latency_factor.get();
            if factor == 0 || took.count < volume {
                return None;
            }
            let mut usual: Vec<u64> = others()
                .filter(|(_, (_, took))| took.count >= volume)
                .map(|(at, _)| means[at])
                .collect();
            usual.sort_unstable();
            let median = usual.get(usual.len() / 2)?;
            (means[index] > median.saturating_mul(factor)).then_some(Cause::Latency)
        })
        .collect()
}

/// Whether so many percent of a target's requests failed, and twice as many as of the others'.
fn fails(
    policy: &OutlierDetection,
    period: Counts,
    volume: u64,
    others: impl Iterator<Item = Counts>,
) -> bool {
    let percent = policy.failure_percent.get();
    if percent == 0 || period.requests < volume {
        return false;
    }
    let all = others.fold(Counts::default(), |sum, one| Counts {
        requests: sum.requests + one.requests,
        errors: sum.errors + one.errors,
    });
    period.errors * 100 >= percent * period.requests
        && u128::from(period.errors) * u128::from(all.requests)
            > 2 * u128::from(all.errors) * u128::from(period.requests)
}

#[cfg(test)]
#[path = "outlier_tests.rs"]
mod tests;
