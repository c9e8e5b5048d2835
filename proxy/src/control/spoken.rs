//! Which HTTP the targets of a group are spoken to in: what the file says, or else what they say
//! themselves.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use longshore_config::{ProtocolVersion, TargetGroup as GroupConfig};
use longshore_discovery::Target;

use super::controller::{Controller, Effect};
use super::group::Member;
use super::ids::GroupId;
use super::threshold::Health;

/// What a group's targets are spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spoken {
    pub(super) version: ProtocolVersion,
    pub(super) by: By,
}

/// Who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// The key of the file, or of a label.
    Configuration,
    /// All targets of which it is known.
    Targets,
    /// Some of them; others say something else.
    SomeTargets,
    /// Nobody.
    Default,
}

impl By {
    /// For `/targets`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Targets => "targets",
            Self::SomeTargets => "some_targets",
            Self::Default => "default",
        }
    }
}

impl Spoken {
    const DEFAULT: Self = Self {
        version: ProtocolVersion::Http1,
        by: By::Default,
    };

    /// What is spoken to a group whose targets are not known yet.
    pub(super) fn first(config: &GroupConfig) -> Self {
        Self::DEFAULT.next(config, false, &BTreeSet::new())
    }

    /// What is spoken when targets say that.
    ///
    /// Where they disagree, what was spoken stays as long as one of them says it: in a deployment
    /// that changes it, the old tasks serve on, and the last of them decides when to change over.
    fn next(self, config: &GroupConfig, is_mirror: bool, said: &BTreeSet<ProtocolVersion>) -> Self {
        if let Some(version) = config.protocol_version {
            let by = By::Configuration;
            return Self { version, by };
        }
        // Copies of requests are sent with HTTP/1.1 alone.
        if !config.learns_protocol() || is_mirror {
            return Self::DEFAULT;
        }
        let known = matches!(self.by, By::Targets | By::SomeTargets);
        let mut all = said.iter().copied();
        match (all.next(), all.next()) {
            (None, _) if known => self,
            (None, _) => Self::DEFAULT,
            (Some(version), None) => Self {
                version,
                by: By::Targets,
            },
            (Some(least), Some(_)) => Self {
                version: match known && said.contains(&self.version) {
                    true => self.version,
                    false => least,
                },
                by: By::SomeTargets,
            },
        }
    }
}

/// What targets say.
pub(super) fn said<'t>(targets: impl Iterator<Item = &'t Target>) -> BTreeSet<ProtocolVersion> {
    targets
        .filter_map(|target| target.protocol_version)
        .collect()
}

impl Controller {
    /// Takes what the targets of a group say that they speak. If that changes what they are spoken
    /// to in, connections are made anew: requests in flight end on the old ones. Who was healthy
    /// stays it until a check says otherwise; everybody else is checked as a newcomer. What operators
    /// changed stays.
    pub(super) fn agree(
        &mut self,
        id: GroupId,
        said: &BTreeSet<ProtocolVersion>,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        let before = group.spoken;
        let spoken = before.next(&group.config, group.is_mirror, said);
        if spoken == before {
            return;
        }
        group.spoken = spoken;
        let version = spoken.version.name();
        if spoken.by == By::SomeTargets {
            let said: Vec<&str> = said.iter().map(|version| version.name()).collect();
            tracing::warn!(
                target_group = %group.name,
                protocol_version = version,
                ?said,
                "its targets do not agree on what they speak; set `protocol_version`, or wait for a deployment to end"
            );
        } else {
            tracing::info!(target_group = %group.name, protocol_version = version, by = spoken.by.name(), "what its targets are spoken to in");
        }
        self.stale.insert(id);
        if spoken.version == before.version {
            return;
        }
        group.check = group.config.check(spoken.version).map(Arc::new);
        let members = group.members.iter();
        let again: Vec<(Target, Kept)> = members
            .map(|member| (member.target.clone(), Kept::of(member)))
            .collect();
        for (target, _) in &again {
            self.drain(id, &target.key, now, effects);
        }
        for (target, kept) in again {
            let key = target.key.clone();
            self.register(id, target, true, now, effects);
            let group = self.groups.get_mut(&id);
            if let Some(member) = group.and_then(|group| group.members.get_mut(&key)) {
                kept.give(member);
            }
        }
    }
}

/// What stays of a member whose connections are made anew.
struct Kept {
    /// None: it was not healthy.
    health: Option<Health>,
    drained: bool,
    weight: Option<u16>,
}

impl Kept {
    fn of(member: &Member) -> Self {
        Self {
            health: member.is_healthy().then(|| member.health.clone()),
            drained: member.drained,
            weight: member.weight,
        }
    }

    fn give(self, member: &mut Member) {
        if let Some(health) = self.health {
            member.health = health;
        }
        (member.drained, member.weight) = (self.drained, self.weight);
    }
}

#[cfg(test)]
#[path = "spoken_tests.rs"]
mod tests;
