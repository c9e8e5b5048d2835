//! Takes targets of a group out because of what requests showed, and brings them back. No IO; time
//! is an argument.

use std::time::{Duration, Instant};

use super::group::{Group, Member};
use super::outlier::{self, Cause, Next, Outlier, Phase, Trial};
use super::threshold::Failure;
use crate::clock;

impl Member {
    /// It is healthy by its checks, and its requests do not speak against it.
    pub(super) fn is_in(&self) -> bool {
        self.is_healthy() && self.outlier.is_in()
    }

    /// What requests made believe is forgotten.
    fn acquit(&mut self) {
        self.outlier = Outlier::default();
        self.endpoint.trial.end();
    }

    /// Whether real requests were answered within so long, and none failed since.
    fn answers_well(&self, within: Duration, now: Instant) -> bool {
        let seen = self.endpoint.seen();
        let since = clock::micros(now)
            .saturating_sub(u64::try_from(within.as_micros()).unwrap_or(u64::MAX));
        seen.succeeded > 0 && seen.succeeded * 1_000 >= since && seen.runs.0[1] == 0
    }
}

impl Group {
    /// Whether what requests showed decides between those that rules and zones let through: not if
    /// all of them are out.
    pub(super) fn heeds_outliers<'m>(&self, picked: impl IntoIterator<Item = &'m Member>) -> bool {
        let mut picked = picked.into_iter();
        self.config.outlier_detection.enabled && picked.any(Member::is_in)
    }

    /// Looks at a target that failed requests. True if it is taken out.
    pub(super) fn look_at(&mut self, endpoint: u64, now: Instant) -> bool {
        let Some(limits) = outlier::limits(&self.config.outlier_detection) else {
            return false;
        };
        let Some(member) = self.members.by_endpoint(endpoint) else {
            return false;
        };
        // Before looking: what happens from here on calls again.
        member.endpoint.answer_call();
        if member.outlier.is_on_trial() {
            return self.tend_trial(endpoint, now);
        }
        let cause = member.endpoint.seen().runs.reach(limits);
        match cause {
            Some(fault) if member.is_in() => self.eject(endpoint, fault.into(), now),
            _ => false,
        }
    }

    /// Takes a target out, if not too many are. Otherwise it is looked at again with the next tick.
    fn eject(&mut self, endpoint: u64, cause: Cause, now: Instant) -> bool {
        let healthy = self.members.iter().filter(|member| member.is_healthy());
        let (count, out) = healthy.fold((0, 0), |(count, out), member| {
            (count + 1, out + usize::from(!member.outlier.is_in()))
        });
        let policy = &self.config.outlier_detection;
        let full = out >= outlier::room(policy, count);
        let Some(member) = self.members.by_endpoint(endpoint) else {
            return false;
        };
        if full && member.outlier.is_in() {
            // Not called again until then, or a target that cannot be taken out would keep the
            // control task busy.
            member.endpoint.call();
            self.waiting.insert(endpoint);
            return false;
        }
        member.outlier.eject(cause, policy, now);
        member.endpoint.trial.grant(0, false);
        member.slow_start.unhealthy();
        self.waiting.remove(&endpoint);
        self.suspects.insert(endpoint);
        self.ejections[cause as usize] += 1;
        let seconds = match member.outlier.phase {
            Phase::Out { until, .. } => until.saturating_duration_since(now).as_secs_f64(),
            Phase::In | Phase::Trial { .. } => 0.0,
        };
        tracing::warn!(
            target_group = %self.name,
            target = %member.target.key,
            address = %member.target.address,
            cause = cause.name(),
            seconds,
            times = member.outlier.times,
            "ejected"
        );
        true
    }

    /// Looks at those that are out, on trial, or wait to be taken out. True if any of them stands
    /// elsewhere now.
    pub(super) fn tend_outliers(&mut self, now: Instant) -> bool {
        let mut changed = false;
        for endpoint in std::mem::take(&mut self.waiting) {
            changed |= self.look_at(endpoint, now);
        }
        for endpoint in self.suspects.clone() {
            let enabled = self.config.outlier_detection.enabled;
            match self.members.by_endpoint(endpoint) {
                Some(member) if enabled && member.is_healthy() => match member.outlier.phase {
                    Phase::Out { until, cause } if now >= until => {
                        begin_trial(member, cause, now);
                        changed = true;
                    }
                    Phase::Out { .. } => {}
                    Phase::Trial { .. } => changed |= self.tend_trial(endpoint, now),
                    Phase::In => {
                        self.suspects.remove(&endpoint);
                    }
                },
                Some(member) => {
                    member.acquit();
                    self.suspects.remove(&endpoint);
                    changed = true;
                }
                None => {
                    self.suspects.remove(&endpoint);
                }
            }
        }
        changed
    }

    fn tend_trial(&mut self, endpoint: u64, now: Instant) -> bool {
        let policy = &self.config.outlier_detection;
        let wanted = u32::try_from(policy.trial_requests.get()).unwrap_or(u32::MAX);
        let Some(member) = self.members.by_endpoint(endpoint) else {
            return false;
        };
        let Phase::Trial { cause, mut trial } = member.outlier.phase else {
            return false;
        };
        let permits = &member.endpoint.trial;
        let next = trial.next(permits.shown(), permits.left(), wanted, now);
        member.outlier.phase = Phase::Trial { cause, trial };
        match next {
            Next::Nothing => false,
            Next::Grant(count, any) => {
                permits.grant(count, any);
                false
            }
            Next::Relapse => self.eject(endpoint, cause, now),
            Next::Return => {
                permits.end();
                member.outlier.enter(Phase::In, now);
                tracing::info!(target_group = %self.name, target = %member.target.key, address = %member.target.address, "back after an ejection");
                self.suspects.remove(&endpoint);
                self.starts(endpoint, now);
                true
            }
        }
    }

    /// A check of a target passed. True if that ends an ejection early.
    pub(super) fn check_passed(&mut self, endpoint: u64, now: Instant) -> bool {
        let Some(member) = self.members.by_endpoint(endpoint) else {
            return false;
        };
        member.forgiven = false;
        match member.outlier.phase {
            Phase::Out { cause, .. } if cause.is_of_connections() => {
                begin_trial(member, cause, now);
                true
            }
            Phase::In | Phase::Out { .. } | Phase::Trial { .. } => false,
        }
    }

    /// Whether a check that failed is not to count: it timed out, the one failure would decide, and
    /// real requests were answered meanwhile. The next one in a row counts.
    pub(super) fn forgives(&mut self, endpoint: u64, failure: &Failure, now: Instant) -> bool {
        let check = &self.config.health_check;
        let within = check.interval.get();
        let applies = check.unhealthy_threshold.get() == 1
            && self.config.outlier_detection.enabled
            && *failure == Failure::Timeout;
        let Some(member) = self.members.by_endpoint(endpoint).filter(|_| applies) else {
            return false;
        };
        let forgives = !member.forgiven && member.is_healthy() && member.answers_well(within, now);
        member.forgiven = forgives;
        forgives
    }

    /// Compares the targets' failures and latencies, when it is time. True if one is taken out.
    pub(super) fn compare(&mut self, now: Instant) -> bool {
        let policy = self.config.outlier_detection.clone();
        let wanted = policy.failure_percent.get() > 0 || policy.latency_factor.get() > 0;
        if !policy.enabled || !wanted || self.next_comparison.is_some_and(|next| now < next) {
            return false;
        }
        self.next_comparison = Some(now + policy.interval.get());
        let ids: Vec<u64> = self
            .members
            .iter()
            .filter(|member| member.is_in())
            .map(|member| member.endpoint.id)
            .collect();
        let compared = self.members.iter_mut().filter(|member| member.is_in());
        let counted = compared.map(|member| {
            let (counts, timed) = (member.counts(), member.endpoint.timed());
            (&mut member.outlier, counts, timed)
        });
        let causes = outlier::compare(counted, &policy);
        let mut changed = false;
        for (endpoint, cause) in ids.into_iter().zip(causes) {
            if let Some(cause) = cause {
                changed |= self.eject(endpoint, cause, now);
                // What waits is judged by its runs, and this was none.
                self.waiting.remove(&endpoint);
            }
        }
        changed
    }
}

fn begin_trial(member: &mut Member, cause: Cause, now: Instant) {
    let shown = member.endpoint.trial.shown();
    let trial = Trial::new(shown, now);
    member.outlier.enter(Phase::Trial { cause, trial }, now);
    member.endpoint.trial.grant(1, false);
}
