//! How checks come to targets, and their results to verdicts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::checks::{CheckId, Checks};
use super::controller::{Controller, Effect};
use super::group::Member;
use super::ids::GroupId;
use super::threshold::{Failure, Health, Thresholds};

/// A check that a target has, and from when on its results count: one that began earlier may be
/// about whoever was at the address before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watched {
    pub(super) by: CheckId,
    since: Instant,
}

impl Checks {
    /// Ends what is known of a member's checks.
    pub(super) fn leave_all(&mut self, id: GroupId, member: &Member, effects: &mut Vec<Effect>) {
        if let Some(watched) = member.watched {
            self.leave(watched.by, (id, member.endpoint.id), effects);
        }
    }
}

impl Controller {
    /// Has a new member checked, unless its group's are not. If the same target is checked in the
    /// same way for another group, that one's verdict is its own.
    pub(super) fn watch(
        &mut self,
        id: GroupId,
        member: &mut Member,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        if !member.usable {
            return;
        }
        let Some(group) = self.groups.get(&id) else {
            return;
        };
        let Some(check) = &group.check else {
            member.health = Health::unchecked();
            return;
        };
        let address = member.target.address;
        let address = SocketAddr::new(address.ip(), group.config.check_port(address.port()));
        let subject = (id, member.endpoint.id);
        let by = self
            .checks
            .want(address, &Arc::clone(check), subject, effects);
        member.watched = Some(Watched { by, since: now });
        let known = self
            .checks
            .subjects(by)
            .into_iter()
            .find_map(|(id, endpoint)| {
                let other = self.groups.get(&id)?.members.find_endpoint(endpoint)?;
                (other.target.key == member.target.key).then(|| other.health.clone())
            });
        if let Some(health) = known {
            member.health = health;
        }
    }

    /// Checks a group's targets as it says now. Verdicts stay until the new checks turn them.
    pub(super) fn change_checks(&mut self, id: GroupId, now: Instant, effects: &mut Vec<Effect>) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        let check = group.config.check(group.spoken.version).map(Arc::new);
        group.check.clone_from(&check);
        for member in group.members.iter_mut() {
            let address = member.target.address;
            let usable = is_usable(&self.own_addresses, address);
            if usable != member.usable {
                member.usable = usable;
                self.stale.insert(id);
            }
            let before = member.watched;
            let subject = (id, member.endpoint.id);
            member.watched = check.as_ref().filter(|_| usable).map(|check| {
                let port = group.config.check_port(address.port());
                let address = SocketAddr::new(address.ip(), port);
                if let Some(before) = before
                    && self.checks.is(before.by, address, check)
                {
                    return before;
                }
                let by = self.checks.want(address, check, subject, effects);
                Watched { by, since: now }
            });
            if check.is_none() {
                member.health = Health::unchecked();
            }
            if let Some(before) = before
                && member.watched.is_none_or(|after| after.by != before.by)
            {
                self.checks.leave(before.by, subject, effects);
            }
        }
    }

    /// Takes the result of a check that began then, for all who want it.
    pub(super) fn checked(
        &mut self,
        check: CheckId,
        began: Instant,
        result: &Result<(), Failure>,
        now: Instant,
    ) {
        for (id, endpoint) in self.checks.subjects(check) {
            let Some(group) = self.groups.get_mut(&id) else {
                continue;
            };
            let set = &group.config.health_check;
            let thresholds = Thresholds {
                healthy: set.healthy_threshold.get(),
                unhealthy: set.unhealthy_threshold.get(),
            };
            let Some(member) = group.members.by_endpoint(endpoint) else {
                continue;
            };
            if member.watched.is_none_or(|watched| began < watched.since) {
                continue;
            }
            group.counts.add(result);
            match result {
                Ok(()) if group.check_passed(endpoint, now) => {
                    self.stale.insert(id);
                }
                Err(failure) if group.forgives(endpoint, failure, now) => continue,
                Ok(()) | Err(_) => {}
            }
            let Some(member) = group.members.by_endpoint(endpoint) else {
                continue;
            };
            if !member.health.apply(result.clone(), thresholds) {
                continue;
            }
            let state = member.health.state().name();
            let why = member.health.failure().map(Failure::description);
            tracing::info!(target_group = %group.name, target = %member.target.key, address = %member.target.address, state, why, "health");
            self.stale.insert(id);
            if member.is_healthy() {
                group.starts(endpoint, now);
            } else {
                member.slow_start.unhealthy();
            }
        }
    }
}

/// Whether a target can be at an address: it is one of a host, and not this process itself.
pub(super) fn is_usable(own: &std::collections::BTreeSet<SocketAddr>, address: SocketAddr) -> bool {
    let ip = address.ip();
    let broadcast = ip == std::net::IpAddr::V4(std::net::Ipv4Addr::BROADCAST);
    !ip.is_unspecified() && !ip.is_multicast() && !broadcast && !own.contains(&address)
}
