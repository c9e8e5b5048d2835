//! What operators see of the controller, as plain data.

use std::time::Instant;

use serde::Serialize;

use super::controller::Controller;
use super::group::{Draining, Group, Member};
use super::outlier::{Cause, Phase};
use super::threshold::{Failure, State};
use crate::observe::metrics::GroupFigures;

/// `/targets`.
#[derive(Debug, Clone, Serialize)]
pub struct TargetsView {
    /// The number of the snapshot in force.
    pub generation: u64,
    /// The groups, by id.
    pub target_groups: Vec<GroupView>,
}

/// One group.
#[derive(Debug, Clone, Serialize)]
pub struct GroupView {
    /// Its name.
    pub name: String,
    /// `fixed`, or the key of the group's source.
    pub source: &'static str,
    /// `fresh`, `stale` (the latest look failed; the last good targets serve), `remembered` (never
    /// answered since a restart; the last good targets from before it serve) or `waiting` (never
    /// answered).
    pub discovery: &'static str,
    /// Seconds since the source last answered.
    pub discovery_age_seconds: Option<f64>,
    /// Why the latest look failed.
    pub discovery_error: Option<String>,
    /// All targets are unhealthy, and requests go to them all the same.
    pub fail_open: bool,
    /// Requests that wait because every target works at as many as it may.
    pub requests_waiting: u64,
    /// Registered and draining targets.
    pub targets: Vec<TargetView>,
    /// Tasks that are no targets, and why.
    pub not_targets: Vec<ProblemView>,
}

/// One target.
#[derive(Debug, Clone, Serialize)]
pub struct TargetView {
    /// `task/container:port`.
    pub id: String,
    /// The task's ARN, for discovered targets.
    pub task: Option<String>,
    /// Where it is.
    pub address: String,
    /// The host's EC2 instance.
    pub instance: Option<String>,
    /// Its availability zone.
    pub zone: Option<String>,
    /// `initial`, `healthy`, `unhealthy` or `draining`.
    pub state: &'static str,
    /// ALB's reason code.
    pub reason: Option<&'static str>,
    /// The same for people.
    pub description: Option<String>,
    /// Seconds since it was registered, or since it began to drain.
    pub age_seconds: f64,
    /// Its weight among the targets of its group.
    pub weight: u16,
    /// Percent of its weight that counts at the moment: less than 100 in slow start, and while an
    /// anomaly is mitigated.
    pub weight_percent: u64,
    /// That it is taken out because of the requests that it got; absent if it is not.
    pub ejection: Option<EjectionView>,
    /// What ALB's anomaly detection says; none while it drains.
    pub anomaly: Option<AnomalyView>,
    /// Requests in flight.
    pub in_flight: u64,
    /// Requests that it was given.
    pub requests: u64,
    /// Requests that failed there.
    pub failures: u64,
    /// Requests that it answered with 5xx, or that failed there for a reason of its own.
    pub errors: u64,
}

/// A target that is out because of the requests that it got, or on trial after that.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct EjectionView {
    /// `ejected`: it gets no requests; `trial`: it gets a few.
    pub state: &'static str,
    /// The key of `outlier_detection` that decided.
    pub reason: &'static str,
    /// The same for people.
    pub description: &'static str,
    /// For how long it has been so.
    pub since_seconds: f64,
    /// How long until it is on trial; none if it is.
    pub until_seconds: Option<f64>,
    /// How often it was taken out in a row.
    pub times: u32,
}

/// Whether a target fails more than the others of its group, in ALB's words.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct AnomalyView {
    /// `normal` or `anomalous`.
    pub result: &'static str,
    /// `yes` or `no`: it gets fewer requests for that reason.
    pub mitigation_in_effect: &'static str,
}

/// A task that is no target.
#[derive(Debug, Clone, Serialize)]
pub struct ProblemView {
    /// The task.
    pub subject: String,
    /// Why.
    pub reason: String,
}

impl Controller {
    /// All groups and their targets.
    #[must_use]
    pub fn view(&self, now: Instant) -> TargetsView {
        TargetsView {
            generation: self.generation(),
            target_groups: self.groups.values().map(|group| group.view(now)).collect(),
        }
    }

    /// The figures for a scrape.
    pub(super) fn figures(&self, now: Instant) -> Vec<GroupFigures> {
        self.groups
            .values()
            .map(|group| GroupFigures {
                name: group.name.to_string(),
                initial: group.count(State::Initial),
                healthy: group.count(State::Healthy),
                unhealthy: group.count(State::Unhealthy),
                draining: group.draining.len() as u64,
                ejected: group.ejected(),
                waiting: group.admission.waiting() as u64,
                ejections: group.ejections,
                discovery_failures: group.source.failures,
                discovery_age: group.age(now).map_or(0.0, |age| age.as_secs_f64()),
            })
            .collect()
    }
}

impl Group {
    fn view(&self, now: Instant) -> GroupView {
        let targets = self.members.iter().map(|member| {
            let slow_start = self.config.slow_start.get();
            let percent = member.slow_start.percent(slow_start, now);
            member.view(percent, now)
        });
        let draining = self.draining.iter().map(|draining| draining.view(now));
        let discovery = self.config.discovery.as_ref();
        let fixed = discovery.is_none();
        GroupView {
            name: self.name.to_string(),
            source: discovery.map_or("fixed", |discovery| {
                discovery.sources().first().copied().unwrap_or("none")
            }),
            discovery: match (&self.source.error, self.source.answered) {
                (Some(_), _) => "stale",
                (None, Some(_)) => "fresh",
                (None, None) if self.source.remembered.is_some() => "remembered",
                (None, None) => "waiting",
            },
            discovery_age_seconds: if fixed {
                None
            } else {
                self.age(now).map(|age| age.as_secs_f64())
            },
            discovery_error: self.source.error.clone(),
            fail_open: self.has_no_healthy() && self.count(State::Unhealthy) > 0,
            requests_waiting: self.admission.waiting() as u64,
            targets: targets.chain(draining).collect(),
            not_targets: self
                .source
                .problems
                .iter()
                .map(|problem| ProblemView {
                    subject: problem.subject.clone(),
                    reason: problem.reason.clone(),
                })
                .collect(),
        }
    }
}

impl Member {
    /// `percent`: of its weight, by slow start.
    fn view(&self, percent: u64, now: Instant) -> TargetView {
        let failure = self.health.failure();
        let initial = self.health.state() == State::Initial;
        TargetView {
            state: self.health.state().name(),
            reason: match failure {
                Some(failure) => Some(failure.code()),
                None => initial.then_some("Elb.InitialHealthChecking"),
            },
            description: failure.map(Failure::description),
            ejection: self.ejection(now),
            weight_percent: percent * self.anomaly.percent / 100,
            anomaly: Some(AnomalyView {
                result: if self.anomaly.anomalous {
                    "anomalous"
                } else {
                    "normal"
                },
                mitigation_in_effect: if self.anomaly.percent < 100 {
                    "yes"
                } else {
                    "no"
                },
            }),
            age_seconds: now.saturating_duration_since(self.since).as_secs_f64(),
            ..target_view(&self.target, &self.endpoint)
        }
    }
}

impl Group {
    /// How many targets are out or on trial.
    fn ejected(&self) -> u64 {
        let members = self.members.iter();
        members.filter(|member| !member.outlier.is_in()).count() as u64
    }
}

impl Member {
    fn ejection(&self, now: Instant) -> Option<EjectionView> {
        let (state, cause, until): (_, Cause, _) = match self.outlier.phase {
            Phase::In => return None,
            Phase::Out { cause, until } => ("ejected", cause, Some(until)),
            Phase::Trial { cause, .. } => ("trial", cause, None),
        };
        let since = self.outlier.since.unwrap_or(now);
        Some(EjectionView {
            state,
            reason: cause.name(),
            description: cause.description(),
            since_seconds: now.saturating_duration_since(since).as_secs_f64(),
            until_seconds: until.map(|until| until.saturating_duration_since(now).as_secs_f64()),
            times: self.outlier.times,
        })
    }
}

impl Draining {
    fn view(&self, now: Instant) -> TargetView {
        TargetView {
            state: "draining",
            reason: Some("Target.DeregistrationInProgress"),
            age_seconds: now.saturating_duration_since(self.since).as_secs_f64(),
            ..target_view(&self.target, &self.endpoint)
        }
    }
}

fn target_view(
    target: &longshore_discovery::Target,
    endpoint: &crate::upstream::endpoint::Endpoint,
) -> TargetView {
    TargetView {
        id: target.key.to_string(),
        task: target
            .key
            .task
            .starts_with("arn:")
            .then(|| target.key.task.to_string()),
        address: target.address.to_string(),
        instance: target.instance.as_ref().map(ToString::to_string),
        zone: target.zone.as_ref().map(ToString::to_string),
        state: "",
        reason: None,
        description: None,
        age_seconds: 0.0,
        weight: target.weight,
        weight_percent: 100,
        ejection: None,
        anomaly: None,
        in_flight: endpoint.in_flight(),
        requests: endpoint.requests(),
        failures: endpoint.failures(),
        errors: endpoint.errors(),
    }
}
