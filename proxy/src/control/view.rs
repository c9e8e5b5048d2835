//! What operators see of the controller, as plain data.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use longshore_discovery::{Target, TargetKey};
use serde::Serialize;

use super::controller::Controller;
use super::group::{Draining, Group, Member};
use super::map::RoutesView;
use super::outlier::{Cause, Phase};
use super::routing::Facts;
use super::secure::ListenerView;
use super::status::{Standing, Status};
use super::threshold::State;
use crate::observe::ledger::ListenerLedger;
use crate::observe::scrape::{GroupFigures, TARGETS_MAX, TargetFigures};
use crate::upstream::endpoint::Endpoint;

/// `/targets`.
#[derive(Debug, Clone, Serialize)]
pub struct TargetsView {
    /// The number of the snapshot in force.
    pub generation: u64,
    /// The listeners with TLS, by id.
    pub listeners: Vec<ListenerView>,
    /// Which listeners and rules lead to which groups, in the order of the file.
    pub routes: Vec<RoutesView>,
    /// The groups, by id.
    pub target_groups: Vec<GroupView>,
    /// Where labels of containers make groups and rules.
    pub label_discovery: Vec<LabelsView>,
    /// The zones that requests are moved away from.
    pub zonal_shift: ZonalShiftView,
}

/// The zones that requests are moved away from, by who said so.
#[derive(Debug, Clone, Serialize)]
pub struct ZonalShiftView {
    /// `load_balancer.zonal_shift` of the file.
    pub by_file: Vec<String>,
    /// `POST /zonal_shift`.
    pub by_operators: Vec<String>,
}

/// A source of labelled containers.
#[derive(Debug, Clone, Serialize)]
pub struct LabelsView {
    /// Its name.
    pub name: String,
    /// `ecs` or `docker`.
    pub source: &'static str,
    /// As for a group.
    pub discovery: &'static str,
    /// Seconds since the source last answered.
    pub discovery_age_seconds: Option<f64>,
    /// Why the latest look failed.
    pub discovery_error: Option<String>,
    /// Exposed containers that run.
    pub containers: usize,
    /// Tasks and containers that are no targets, and why: also those whose labels are refused.
    pub not_targets: Vec<ProblemView>,
}

/// One group.
#[derive(Debug, Clone, Serialize)]
pub struct GroupView {
    /// Its name.
    pub name: String,
    /// `fixed`, `labels`, or the key of the group's source.
    pub source: &'static str,
    /// `fresh`, `stale` (the latest look failed; the last good targets serve), `remembered` (never
    /// answered since a restart; the last good targets from before it serve) or `waiting` (never
    /// answered).
    pub discovery: &'static str,
    /// Seconds since the source last answered.
    pub discovery_age_seconds: Option<f64>,
    /// Why the latest look failed.
    pub discovery_error: Option<String>,
    /// What its targets are spoken to in: `HTTP1`, `HTTP2` or `GRPC`.
    pub protocol_version: &'static str,
    /// Who says so: `configuration`, `targets`, `some_targets` (others say something else) or
    /// `default`.
    pub protocol_version_by: &'static str,
    /// Too few targets are healthy, and requests go to unhealthy ones, too.
    pub fail_open: bool,
    /// Requests that wait because every target works at as many as it may.
    pub requests_waiting: u64,
    /// A rule forwards to it.
    pub in_use: bool,
    /// Registered and draining targets, and those that lost their address to a younger one.
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
    /// ALB's state: `initial`, `healthy`, `unhealthy`, `draining`, `unused` or `unavailable`.
    pub state: &'static str,
    /// ALB's reason code.
    pub reason: Option<&'static str>,
    /// The same for people.
    pub description: Option<String>,
    /// What checks have shown, whatever the state is; none while it drains.
    pub verdict: Option<&'static str>,
    /// ALB's administrative override: `no_override`, or `zonal_shift_active` for a target that gets
    /// nothing because requests are moved away from its zone; or our own `drained`, for one that an
    /// operator took out.
    pub administrative_override: &'static str,
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
    /// ALB's state for it: `unused`.
    pub state: &'static str,
    /// ALB's reason code: `Target.InvalidState`.
    pub code: &'static str,
}

impl Controller {
    /// All groups and their targets.
    #[must_use]
    pub fn view(&self, now: Instant) -> TargetsView {
        TargetsView {
            generation: self.generation(),
            listeners: self.listener_views(),
            routes: self.routes(),
            target_groups: self
                .groups
                .values()
                .map(|group| self.show(group, now))
                .collect(),
            label_discovery: self.label_views(now),
            zonal_shift: ZonalShiftView {
                by_file: self.file.load_balancer.zonal_shift.away_from.clone(),
                by_operators: self.away_by_operator.clone(),
            },
        }
    }

    fn label_views(&self, now: Instant) -> Vec<LabelsView> {
        self.labels
            .iter()
            .map(|(id, labels)| {
                let refused = self.verdict.refused.get(id).into_iter().flatten();
                let problems = labels.source.problems.iter().chain(refused);
                LabelsView {
                    name: labels.block.name.clone(),
                    source: labels.block.sources().first().copied().unwrap_or("none"),
                    discovery: labels.source.state(),
                    discovery_age_seconds: labels.source.age(now).map(|age| age.as_secs_f64()),
                    discovery_error: labels.source.error.clone(),
                    containers: labels.targets.len(),
                    not_targets: problems.map(ProblemView::new).collect(),
                }
            })
            .collect()
    }

    /// Why this balancer should get no requests, if it should not: too few targets are healthy
    /// (ALB's DNS failover), or requests are moved away from its zone.
    pub(super) fn not_ready(&self) -> Option<String> {
        let own = self.zone.as_deref();
        if let Some(zone) = own.filter(|zone| self.away.contains(*zone)) {
            return Some(format!("requests are moved away from zone {zone}"));
        }
        self.groups.values().find_map(|group| {
            let minimum = group.config.readiness_minimum()?;
            let facts: Vec<Facts<'_>> = group.counted().map(Member::facts).collect();
            let tally = group.rules(own, &self.away).tally(&facts);
            let enough = !group.in_use || minimum.is_met(tally.healthy, tally.all);
            (!enough).then(|| {
                format!(
                    "target group {}: {} of {} targets are healthy, and dns_failover wants more",
                    group.name, tally.healthy, tally.all
                )
            })
        })
    }

    /// The checks that run.
    pub(super) fn checks_running(&self) -> u64 {
        self.checks.len() as u64
    }

    /// What is counted of listeners, for a scrape.
    pub(super) fn ledgers(&self) -> Vec<(Arc<str>, Arc<ListenerLedger>)> {
        let listeners = self.listeners.values();
        listeners
            .map(|listener| (Arc::clone(&listener.name), Arc::clone(&listener.ledger)))
            .collect()
    }

    /// The targets that have figures of their own in a scrape.
    pub(super) fn target_figures(&self) -> Vec<TargetFigures> {
        let all = self.groups.values().flat_map(Group::series);
        let all = all.map(|(endpoint, target)| TargetFigures {
            endpoint: Arc::clone(endpoint),
            zone: target.zone.clone(),
        });
        all.take(TARGETS_MAX).collect()
    }

    /// The figures for a scrape.
    pub(super) fn figures(&self, now: Instant) -> Vec<GroupFigures> {
        self.groups
            .iter()
            .map(|(id, group)| {
                let published = self.published.get(id);
                let numbers = group.numbers();
                GroupFigures {
                    name: group.name.to_string(),
                    initial: numbers.initial,
                    healthy: numbers.healthy,
                    unhealthy: numbers.unhealthy,
                    draining: group.draining.len() as u64,
                    unused: numbers.unused,
                    fail_open: published.is_some_and(|it| it.unhealthy_routing.is_some()),
                    checks: group.counts,
                    unhealthy_routing: group.unhealthy_routing.sum(),
                    ejected: numbers.ejected,
                    waiting: group.admission.waiting() as u64,
                    in_flight: numbers.in_flight,
                    ledger: Arc::clone(&group.ledger),
                    ejections: group.ejections,
                    discovery_failures: group.source.failures,
                    discovery_age: group.age(now).map_or(0.0, |age| age.as_secs_f64()),
                }
            })
            .collect()
    }
}

impl Controller {
    fn show(&self, group: &Group, now: Instant) -> GroupView {
        let targets = group.members.iter().map(|member| {
            let slow_start = group.config.slow_start.get();
            let percent = member.slow_start.percent(slow_start, now);
            let has_begun = member
                .watched
                .is_some_and(|it| self.checks.has_begun(it.by));
            let standing = Standing {
                is_usable: member.usable,
                is_in_use: group.in_use || group.is_mirror,
                is_checked: group.check.is_some(),
                has_begun,
            };
            member.view(Status::of(&member.health, standing), percent, now)
        });
        let draining = group.draining.iter().map(|draining| draining.view(now));
        let superseded = group.superseded.iter().map(superseded);
        let mut targets: Vec<TargetView> = targets.chain(draining).chain(superseded).collect();
        for target in &mut targets {
            let zone = target.zone.as_ref();
            if zone.is_some_and(|zone| self.away.contains(zone)) {
                target.administrative_override = "zonal_shift_active";
            }
        }
        let (routing, _) = group.route(self.zone.as_deref(), &self.away);
        group.view(targets, routing.fail_open, now)
    }
}

impl Group {
    fn view(&self, targets: Vec<TargetView>, fail_open: bool, now: Instant) -> GroupView {
        let discovery = self.config.discovery.as_ref();
        let fixed = discovery.is_none() && !self.by_labels;
        GroupView {
            name: self.name.to_string(),
            source: match discovery {
                Some(discovery) => discovery.sources().first().copied().unwrap_or("none"),
                None if self.by_labels => "labels",
                None => "fixed",
            },
            discovery: self.source.state(),
            discovery_age_seconds: if fixed {
                None
            } else {
                self.age(now).map(|age| age.as_secs_f64())
            },
            discovery_error: self.source.error.clone(),
            protocol_version: self.spoken.version.name(),
            protocol_version_by: self.spoken.by.name(),
            requests_waiting: self.admission.waiting() as u64,
            fail_open,
            in_use: self.in_use,
            targets,
            not_targets: self.source.problems.iter().map(ProblemView::new).collect(),
        }
    }
}

impl ProblemView {
    fn new(problem: &longshore_discovery::Problem) -> Self {
        Self {
            subject: problem.subject.clone(),
            reason: problem.reason.clone(),
            state: "unused",
            code: "Target.InvalidState",
        }
    }
}

impl Member {
    /// `percent`: of its weight, by slow start.
    fn view(&self, status: Status, percent: u64, now: Instant) -> TargetView {
        TargetView {
            verdict: self.usable.then(|| self.health.state().name()),
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
            weight: self.weight.unwrap_or(self.target.weight),
            administrative_override: match self.drained {
                true => "drained",
                false => "no_override",
            },
            ..target_view(&self.target, &self.endpoint, status)
        }
    }
}

/// How many targets of a group are what, for a scrape.
#[derive(Debug, Default)]
struct Numbers {
    /// Usable and not checked yet.
    initial: u64,
    healthy: u64,
    unhealthy: u64,
    /// They can get no request at all.
    unused: u64,
    /// Out or on trial because of their requests.
    ejected: u64,
    /// Requests at all of them, and at those that drain.
    in_flight: u64,
}

impl Group {
    fn registered(&self) -> impl Iterator<Item = (&Arc<Endpoint>, &Target)> {
        let members = self.members.iter();
        members.map(|member| (&member.endpoint, &member.target))
    }

    /// Its registered targets, and those that drain; one that left and came back only once, as its
    /// figures are one series. Those that are registered are all different, and only they may be
    /// many.
    fn series(&self) -> impl Iterator<Item = (&Arc<Endpoint>, &Target)> {
        let mut seen = BTreeSet::new();
        let draining = self.draining.iter().filter(move |draining| {
            let (key, address) = (&draining.target.key, draining.target.address);
            let member = self.members.get(key);
            let is_back = member.is_some_and(|member| member.target.address == address);
            !is_back && seen.insert((key, address))
        });
        let draining = draining.map(|draining| (&draining.endpoint, &draining.target));
        self.registered().chain(draining)
    }

    /// How many targets are what. There may be thousands, and the control half does nothing else
    /// meanwhile: each is looked at once.
    fn numbers(&self) -> Numbers {
        let mut numbers = Numbers {
            unused: self.superseded.len() as u64,
            ..Numbers::default()
        };
        for member in self.members.iter() {
            *match (member.usable, member.health.state()) {
                (false, _) => &mut numbers.unused,
                (true, State::Initial) => &mut numbers.initial,
                (true, State::Healthy) => &mut numbers.healthy,
                (true, State::Unhealthy) => &mut numbers.unhealthy,
            } += 1;
            numbers.ejected += u64::from(!member.outlier.is_in());
            numbers.in_flight += member.endpoint.in_flight();
        }
        let draining = self.draining.iter();
        numbers.in_flight += draining.map(|it| it.endpoint.in_flight()).sum::<u64>();
        numbers
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
            age_seconds: now.saturating_duration_since(self.since).as_secs_f64(),
            ..target_view(&self.target, &self.endpoint, Status::draining())
        }
    }
}

fn target_view(
    target: &longshore_discovery::Target,
    endpoint: &crate::upstream::endpoint::Endpoint,
    status: Status,
) -> TargetView {
    TargetView {
        instance: target.instance.as_ref().map(ToString::to_string),
        zone: target.zone.as_ref().map(ToString::to_string),
        weight: target.weight,
        in_flight: endpoint.in_flight(),
        requests: endpoint.requests(),
        failures: endpoint.failures(),
        errors: endpoint.errors(),
        ..bare(&target.key, target.address, status)
    }
}

/// A target whose source names it at an address where a younger one is.
fn superseded((key, address): (&TargetKey, &SocketAddr)) -> TargetView {
    bare(key, *address, Status::superseded())
}

/// What is known of any target.
fn bare(key: &TargetKey, address: SocketAddr, status: Status) -> TargetView {
    TargetView {
        id: key.to_string(),
        task: key.task.starts_with("arn:").then(|| key.task.to_string()),
        address: address.to_string(),
        instance: None,
        zone: None,
        state: status.state,
        reason: status.reason,
        description: status.description,
        verdict: None,
        administrative_override: "no_override",
        age_seconds: 0.0,
        weight: 0,
        weight_percent: 100,
        ejection: None,
        anomaly: None,
        in_flight: 0,
        requests: 0,
        failures: 0,
        errors: 0,
    }
}
