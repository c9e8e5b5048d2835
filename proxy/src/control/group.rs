//! One target group as the controller knows it, and what requests see of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_config::TargetGroup as GroupConfig;
use longshore_discovery::{Problem, Target, TargetKey};
use tokio::sync::Notify;

use super::registry::Members;
use super::threshold::{Health, State};
use crate::request::answer::Reason;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::picker::Cursors;
use crate::upstream::stickiness::Stickiness;
use crate::upstream::target_group::TargetGroup;

/// One group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: Arc<str>,
    pub(super) config: GroupConfig,
    pub(super) members: Members,
    pub(super) draining: Vec<Draining>,
    pub(super) source: Source,
    /// Targets that their source still names, at an address where a younger target is, and that
    /// address.
    pub(super) superseded: BTreeMap<TargetKey, SocketAddr>,
    pub(super) cursors: Arc<Cursors>,
    pub(super) look_now: Arc<Notify>,
}

/// A registered target.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) target: Target,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) health: Health,
    pub(super) since: Instant,
}

/// A target that left, with requests in flight.
#[derive(Debug)]
pub(super) struct Draining {
    pub(super) target: Target,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) since: Instant,
    pub(super) until: Instant,
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
    pub(super) failures: u64,
    pub(super) problems: Vec<Problem>,
}

impl Group {
    /// What requests see of the group.
    pub(super) fn publish(&self) -> TargetGroup {
        let in_state = |state: State| -> Box<[Arc<Endpoint>]> {
            self.members
                .iter()
                .filter(|member| member.health.state() == state)
                .map(|member| Arc::clone(&member.endpoint))
                .collect()
        };
        let healthy = in_state(State::Healthy);
        let fail_open = healthy.is_empty();
        // All unhealthy: better to try than to refuse. Targets that were never checked are not
        // among them; they are about to be. Nor are those that only a file from before the restart
        // knows: nobody has seen them since.
        let candidates = if fail_open && self.source.answered.is_none() {
            Box::default()
        } else if fail_open {
            in_state(State::Unhealthy)
        } else {
            healthy
        };
        TargetGroup {
            name: Arc::clone(&self.name),
            fail_open: fail_open && !candidates.is_empty(),
            stickiness: Stickiness::new(&self.config, &candidates),
            candidates,
            empty: if self.members.is_empty() {
                Reason::NoTargets
            } else {
                Reason::NoCheckedTarget
            },
            algorithm: self.config.load_balancing_algorithm_type,
            cursors: Arc::clone(&self.cursors),
            look_now: Arc::clone(&self.look_now),
            can_confirm: self.source.error.is_none(),
        }
    }

    /// The group's targets in a state, for figures.
    pub(super) fn count(&self, state: State) -> u64 {
        self.members
            .iter()
            .filter(|member| member.health.state() == state)
            .count() as u64
    }

    /// How long ago the source answered, in this process or before a restart.
    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        self.source
            .answered
            .or(self.source.remembered)
            .map(|at| now.saturating_duration_since(at))
    }
}
