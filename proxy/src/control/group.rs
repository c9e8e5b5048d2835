//! One target group as the controller knows it, and what requests see of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_config::{
    Algorithm, AnomalyMitigation, Check, RetryBudget, TargetGroup as GroupConfig, Timeouts,
};
use longshore_discovery::{Problem, Target, TargetKey};
use tokio::sync::Notify;

use super::anomaly::{self, Anomaly};
use super::figures::CheckCounts;
use super::outlier::{self, Cause, Outlier};
use super::registry::Members;
use super::routing::{Facts, Routing, Rules};
use super::slow_start::SlowStart;
use super::spoken::Spoken;
use super::threshold::{Health, State};
use super::verdicts::Watched;
use super::zones;
use crate::observe::counters::{PerWorker, Sides};
use crate::observe::ledger::GroupSide;
use crate::request::answer::Reason;
use crate::request::hash::HashKey;
use crate::request::retry::Policy;
use crate::tls::target::TargetTls;
use crate::upstream::admission::Admission;
use crate::upstream::budget::Budget;
use crate::upstream::cursors::Cursors;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::picker::{Candidate, Picker};
use crate::upstream::stickiness::Stickiness;
use crate::upstream::target_group::{Control, TargetGroup};

/// One group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: Arc<str>,
    pub(super) config: GroupConfig,
    /// It is not in the file: labels make it.
    pub(super) by_labels: bool,
    pub(super) tls: Option<Arc<TargetTls>>,
    /// What its targets are spoken to in.
    pub(super) spoken: Spoken,
    /// How its targets are checked. None if they are not.
    pub(super) check: Option<Arc<Check>>,
    /// A rule forwards to it.
    pub(super) in_use: bool,
    /// Requests are copied to it.
    pub(super) is_mirror: bool,
    /// What its checks have shown so far.
    pub(super) counts: CheckCounts,
    pub(super) members: Members,
    pub(super) draining: Vec<Draining>,
    pub(super) source: Source,
    /// Targets that their source still names, at an address where a younger target is, and that
    /// address.
    pub(super) superseded: BTreeMap<TargetKey, SocketAddr>,
    pub(super) cursors: Arc<Cursors>,
    /// Requests that came while it was open to unhealthy targets.
    pub(super) unhealthy_routing: Arc<PerWorker>,
    /// What is counted of its requests.
    pub(super) ledger: Arc<Sides<GroupSide>>,
    /// One for each source: labels of several may make a group.
    pub(super) look_now: Box<[Arc<Notify>]>,
    pub(super) admission: Arc<Admission>,
    pub(super) budget: Arc<Budget>,
    /// Requests of its targets as of the latest look.
    pub(super) budget_seen: u64,
    /// Endpoints that are out or on trial because of what requests showed.
    pub(super) suspects: BTreeSet<u64>,
    /// Those that would be out if not too many were.
    pub(super) waiting: BTreeSet<u64>,
    /// How often targets were taken out, by cause.
    pub(super) ejections: [u64; Cause::ALL.len()],
    /// When failures and latencies are compared next.
    pub(super) next_comparison: Option<Instant>,
}

/// A registered target.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) target: Target,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) health: Health,
    /// It can be at its address; see [`super::verdicts::is_usable`].
    pub(super) usable: bool,
    pub(super) watched: Option<Watched>,
    pub(super) since: Instant,
    pub(super) slow_start: SlowStart,
    pub(super) anomaly: Anomaly,
    pub(super) outlier: Outlier,
    /// An operator wants it to get no new requests.
    pub(super) drained: bool,
    /// The weight that an operator gave it.
    pub(super) weight: Option<u16>,
    /// Its latest check timed out and was not counted.
    pub(super) forgiven: bool,
}

/// A target that left, with requests in flight.
#[derive(Debug)]
pub(super) struct Draining {
    pub(super) group: Arc<str>,
    pub(super) target: Target,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) since: Instant,
    pub(super) until: Instant,
}

impl Draining {
    /// A member leaves: nothing new goes there, what is in flight has so long.
    pub(super) fn new(group: &Arc<str>, member: Member, delay: Duration, now: Instant) -> Self {
        member.endpoint.retire(delay);
        Self {
            group: Arc::clone(group),
            target: member.target,
            endpoint: member.endpoint,
            since: now,
            until: now + delay,
        }
    }

    /// Whether it goes on. Told of when it ends.
    fn goes_on(&self, now: Instant) -> bool {
        if now >= self.until {
            self.endpoint.expire();
        }
        let done = self.endpoint.is_expired() || self.endpoint.in_flight() == 0;
        if done {
            tracing::info!(
                target_group = %self.group,
                target = %self.target.key,
                in_flight = self.endpoint.in_flight(),
                after_ms = now.saturating_duration_since(self.since).as_millis(),
                "deregistered"
            );
        }
        !done
    }

    /// Ends those whose time is over.
    pub(super) fn end(all: &mut Vec<Self>, now: Instant) {
        all.retain(|draining| draining.goes_on(now));
    }
}

/// What is known about a group's source.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// When it last answered.
    pub(super) answered: Option<Instant>,
    /// When the targets that were known before the restart were.
    pub(super) remembered: Option<Instant>,
    /// Why its latest look failed, if it did.
    pub(super) error: Option<String>,
    /// Others that tell of the same group answer all the same.
    pub(super) speaks_in_part: bool,
    pub(super) failures: u64,
    pub(super) problems: Vec<Problem>,
}

impl Source {
    /// How long ago it answered, in this process or before a restart.
    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        let at = self.answered.or(self.remembered)?;
        Some(now.saturating_duration_since(at))
    }

    /// Whether a doubt about a target may be settled by asking. A source that is gone for days must
    /// not make those of another one trusted unseen.
    pub(super) fn can_confirm(&self) -> bool {
        self.error.is_none() || self.speaks_in_part
    }

    /// `fresh`, `stale`, `remembered` or `waiting`.
    pub(super) fn state(&self) -> &'static str {
        match (&self.error, self.answered) {
            (Some(_), _) => "stale",
            (None, Some(_)) => "fresh",
            (None, None) if self.remembered.is_some() => "remembered",
            (None, None) => "waiting",
        }
    }
}

impl Member {
    pub(super) fn is_healthy(&self) -> bool {
        self.health.state() == State::Healthy
    }

    /// Its weight among the targets of its group.
    pub(super) fn weight(&self) -> u16 {
        match self.drained {
            true => 0,
            false => self.weight.unwrap_or(self.target.weight),
        }
    }

    pub(super) fn facts(&self) -> Facts<'_> {
        Facts {
            state: self.health.state(),
            zone: self.target.zone.as_deref(),
        }
    }

    /// What happened at it so far.
    pub(super) fn counts(&self) -> anomaly::Counts {
        anomaly::Counts {
            requests: self.endpoint.requests(),
            errors: self.endpoint.errors(),
        }
    }
}

impl Group {
    /// Who gets requests. `own`: the zone of this process; `away`: those that requests are moved
    /// away from.
    pub(super) fn route(
        &self,
        own: Option<&str>,
        away: &BTreeSet<String>,
    ) -> (Routing, Vec<&Member>) {
        let counted: Vec<&Member> = self.counted().collect();
        let facts: Vec<Facts<'_>> = counted.iter().map(|member| member.facts()).collect();
        let mut routing = self.rules(own, away).route(&facts);
        // Those that only a file from before the restart knows are used if they pass, and not
        // merely because nobody passes: nobody has seen them since.
        if self.source.answered.is_none() {
            routing.picked.retain(|place| counted[*place].is_healthy());
        }
        routing.fail_open &= !routing.picked.is_empty();
        // Requests decide between those that checks let through, and never about all of them.
        let picked = routing.picked.iter().map(|place| counted[*place]);
        let heeds_outliers = self.heeds_outliers(picked);
        // With a table of hashes, those that are out keep their places without a permit. Else values
        // of others would move too, and those of the target would move twice.
        let keeps_out = self.config.load_balancing_algorithm_type == Algorithm::ConsistentHash;
        if heeds_outliers && !keeps_out {
            let is_out = |place: &usize| counted[*place].outlier.is_out();
            routing.picked.retain(|place| !is_out(place));
        }
        let members = routing.picked.iter().map(|place| counted[*place]).collect();
        (routing, members)
    }

    pub(super) fn rules<'z>(
        &'z self,
        own: Option<&'z str>,
        away: &'z BTreeSet<String>,
    ) -> Rules<'z> {
        Rules {
            minimum: self.config.routing_minimum(),
            cross_zone: self.config.load_balancing_cross_zone_enabled,
            own,
            away,
        }
    }

    /// The members that may get requests at all.
    pub(super) fn counted(&self) -> impl Iterator<Item = &Member> {
        let members = self.members.iter();
        members.filter(|member| member.usable && member.weight() > 0)
    }

    /// What requests see of the group. `own_zone` is that of this process, `before` what they have
    /// seen until now.
    pub(super) fn publish(
        &self,
        own_zone: Option<&str>,
        away: &BTreeSet<String>,
        before: Option<&TargetGroup>,
        now: Instant,
    ) -> TargetGroup {
        let (routing, members) = self.route(own_zone, away);
        let weighed = self.candidates(&members, &routing, own_zone, away, now);
        let picker = Picker::new(
            self.config.load_balancing_algorithm_type,
            &weighed,
            Arc::clone(&self.cursors),
            before.map(|before| (&before.picker, &*before.candidates)),
        );
        let candidates: Box<[Arc<Endpoint>]> =
            weighed.into_iter().map(|one| one.endpoint).collect();
        TargetGroup {
            name: Arc::clone(&self.name),
            unhealthy_routing: routing
                .fail_open
                .then(|| Arc::clone(&self.unhealthy_routing)),
            ledger: Arc::clone(&self.ledger),
            stickiness: Stickiness::new(&self.config, &candidates),
            candidates,
            empty: if self.counted().next().is_none() {
                Reason::NoTargets
            } else {
                Reason::NoCheckedTarget
            },
            algorithm: self.config.load_balancing_algorithm_type,
            picker,
            hash: self.config.hash_policy.as_ref().map(HashKey::new),
            proxy_protocol: self.config.proxy_protocol,
            look_now: self.look_now.clone(),
            can_confirm: self.source.can_confirm(),
            is_discovered: self.config.discovery.is_some() || self.by_labels,
            outliers: outlier::limits(&self.config.outlier_detection),
            has_trials: self.heeds_outliers(members.iter().copied())
                && members.iter().any(|member| !member.outlier.is_in()),
            retry: self
                .config
                .retry
                .as_ref()
                .map(|retry| Arc::new(Policy::new(retry))),
            budget: Arc::clone(&self.budget),
            timeouts: (self.config.timeouts != Timeouts::default()).then_some(self.config.timeouts),
            control: self
                .config
                .target_control
                .as_ref()
                .map(|control| Control::new(control, &self.admission)),
            protocol_version: self.spoken.version,
            is_timed: self.config.outlier_detection.enabled
                && self.config.outlier_detection.latency_factor.get() > 0,
        }
    }

    fn candidates(
        &self,
        members: &[&Member],
        routing: &Routing,
        own_zone: Option<&str>,
        away: &BTreeSet<String>,
        now: Instant,
    ) -> Vec<Candidate> {
        // In percent of percent, so that a share of 5 % of one of 1 % is a whole number.
        let weights: Vec<u64> = members
            .iter()
            .map(|member| {
                let slow_start = self.config.slow_start.get();
                let percent = member.slow_start.percent(slow_start, now);
                u64::from(member.weight()) * percent * member.anomaly.percent
            })
            .collect();
        let zones: BTreeSet<&str> = self
            .counted()
            .filter(|_| own_zone.is_some())
            .filter_map(|member| member.target.zone.as_deref())
            // A zone that requests are moved away from has no balancers that get any.
            .filter(|zone| !away.contains(*zone))
            .collect();
        let placed: Vec<(Option<&str>, u64)> = members
            .iter()
            .zip(&weights)
            .filter(|_| own_zone.is_some())
            .map(|(member, weight)| (member.target.zone.as_deref(), *weight))
            .collect();
        let shares = match zones::parts(routing.cross_zone, own_zone, &zones, &placed) {
            Some(parts) => zones::shares(&weights, &parts),
            None => weights.clone(),
        };
        members
            .iter()
            .zip(weights)
            .zip(shares)
            .map(|((member, weight), share)| Candidate {
                endpoint: Arc::clone(&member.endpoint),
                weight,
                share,
            })
            .collect()
    }

    /// A target that has just become healthy starts slowly, if it should.
    pub(super) fn starts(&mut self, endpoint: u64, now: Instant) {
        let duration = self.config.slow_start.get();
        let others = !duration.is_zero()
            && self.members.iter().any(|member| {
                member.endpoint.id != endpoint
                    && member.is_healthy()
                    && !member.slow_start.is_rising()
            });
        if let Some(member) = self.members.by_endpoint(endpoint) {
            member.slow_start.healthy(duration, others, now);
        }
    }

    /// Ends slow starts whose time is over. True if any share rises or has just risen.
    pub(super) fn tend_slow_starts(&mut self, now: Instant) -> bool {
        let duration = self.config.slow_start.get();
        let mut rising = false;
        for member in self.members.iter_mut() {
            rising |= member.slow_start.is_rising();
            member.slow_start.tend(duration, now);
        }
        rising
    }

    /// Whether shares can follow anomalies.
    pub(super) fn mitigates(&self) -> bool {
        self.config.load_balancing_algorithm_anomaly_mitigation == AnomalyMitigation::On
    }

    /// Compares the targets' errors. True if a share changed.
    pub(super) fn judge(&mut self) -> bool {
        let mitigates = self.mitigates();
        for member in self
            .members
            .iter_mut()
            .filter(|member| !member.is_healthy())
        {
            let counts = member.counts();
            member.anomaly.reset(counts);
        }
        let healthy = self.members.iter_mut().filter(|member| member.is_healthy());
        let counted = healthy.map(|member| {
            let counts = member.counts();
            (&mut member.anomaly, counts)
        });
        anomaly::judge(counted, mitigates)
    }

    pub(super) fn new_budget(config: &RetryBudget) -> Arc<Budget> {
        let budget = Budget::default();
        budget.set(1_000 * config.min_per_second.get());
        Arc::new(budget)
    }

    /// Allows retries by the requests since the last time, which was so long ago.
    pub(super) fn tend_budget(&mut self, since: Duration) {
        let requests = self.members.iter().map(|member| member.endpoint.requests());
        let requests = requests.sum::<u64>();
        let new = requests.saturating_sub(self.budget_seen);
        self.budget_seen = requests;
        let config = &self.config.retry_budget;
        let seconds = since.as_secs().max(1);
        let part = new * 1_000 / seconds * config.percent.get() / 100;
        self.budget.set(part + 1_000 * config.min_per_second.get());
    }

    /// A member is no longer one. It takes its requests with it, or those of the others would not
    /// count until they are as many.
    pub(super) fn forget_requests(&mut self, member: &Member) {
        let gone = member.endpoint.requests();
        self.budget_seen = self.budget_seen.saturating_sub(gone);
    }

    /// How long ago the source answered, in this process or before a restart.
    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        self.source.age(now)
    }
}
