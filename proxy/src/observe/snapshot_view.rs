//! `/snapshot`: what requests see at this moment, and nothing that the control half knows besides.

use longshore_config::Algorithm;
use serde::Serialize;

use crate::control::snapshot::{Limits, Snapshot};
use crate::upstream::target_group::TargetGroup;

/// A snapshot, for people and programs.
#[derive(Debug, Serialize)]
pub(crate) struct View {
    /// Grows by one with each.
    generation: u64,
    http2: bool,
    limits: Times,
    listeners: Vec<ListenerView>,
    target_groups: Vec<GroupView>,
}

/// Time limits in seconds, where no group or rule has its own.
#[derive(Debug, Serialize)]
struct Times {
    idle_timeout: f64,
    client_keep_alive: f64,
    request_header_timeout: f64,
    connect_timeout: f64,
    tls_handshake_timeout: f64,
    drain_timeout: f64,
}

#[derive(Debug, Serialize)]
struct ListenerView {
    id: u32,
    name: String,
    tls: bool,
    rules: usize,
}

#[derive(Debug, Serialize)]
struct GroupView {
    id: u32,
    name: String,
    algorithm: &'static str,
    /// Who may be picked, in the order of their keys.
    candidates: Vec<Candidate>,
    /// What a request is answered with while there are none.
    without_candidates: Option<&'static str>,
    /// Too few are healthy, so others are candidates as well.
    fail_open: bool,
    /// Some may get a few requests only.
    has_trials: bool,
    /// Its source answers, so that doubts about a target can be cleared.
    can_confirm: bool,
}

#[derive(Debug, Serialize)]
struct Candidate {
    target: String,
    address: String,
    /// A connection to it was lost, and nothing has confirmed since that it is still there.
    in_doubt: bool,
}

impl From<&Snapshot> for View {
    fn from(snapshot: &Snapshot) -> Self {
        let listeners = snapshot.listeners().map(|(id, listener)| ListenerView {
            id: id.0,
            name: listener.name.to_string(),
            tls: listener.tls.is_some(),
            rules: listener.rules.len(),
        });
        let groups = snapshot.groups().map(|(id, group)| view(id.0, group));
        Self {
            generation: snapshot.generation,
            http2: snapshot.http2,
            limits: Times::from(&snapshot.limits),
            listeners: listeners.collect(),
            target_groups: groups.collect(),
        }
    }
}

impl From<&Limits> for Times {
    fn from(limits: &Limits) -> Self {
        Self {
            idle_timeout: limits.idle.as_secs_f64(),
            client_keep_alive: limits.client_keep_alive.as_secs_f64(),
            request_header_timeout: limits.request_header.as_secs_f64(),
            connect_timeout: limits.connect.as_secs_f64(),
            tls_handshake_timeout: limits.tls_handshake.as_secs_f64(),
            drain_timeout: limits.drain.as_secs_f64(),
        }
    }
}

fn view(id: u32, group: &TargetGroup) -> GroupView {
    let candidates = group.candidates.iter().map(|endpoint| Candidate {
        target: endpoint.name.to_string(),
        address: endpoint.address.to_string(),
        in_doubt: endpoint.is_doubtful(),
    });
    let candidates: Vec<Candidate> = candidates.collect();
    GroupView {
        id,
        name: group.name.to_string(),
        algorithm: name(group.algorithm),
        without_candidates: candidates.is_empty().then(|| group.empty.name()),
        candidates,
        fail_open: group.unhealthy_routing.is_some(),
        has_trials: group.has_trials,
        can_confirm: group.can_confirm,
    }
}

/// As the file calls it.
fn name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::RoundRobin => "round_robin",
        Algorithm::LeastOutstandingRequests => "least_outstanding_requests",
        Algorithm::WeightedRandom => "weighted_random",
        Algorithm::PeakEwma => "peak_ewma",
        Algorithm::ConsistentHash => "consistent_hash",
    }
}
