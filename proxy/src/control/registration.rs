//! How targets come to a group and leave it: identity, addresses, draining.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use longshore_config::ProtocolVersion;
use longshore_discovery::{Target, TargetKey};

use super::anomaly::Anomaly;
use super::controller::{Controller, Effect};
use super::group::{Draining, Member};
use super::ids::GroupId;
use super::outlier::Outlier;
use super::slow_start::SlowStart;
use super::spoken;
use super::threshold::Health;
use super::verdicts::is_usable;
use crate::upstream::endpoint::Endpoint;

impl Controller {
    /// Takes the whole set of a group's targets.
    pub(super) fn replace_targets(
        &mut self,
        id: GroupId,
        targets: Vec<Target>,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        group.source.answered.get_or_insert(now);
        let named: BTreeMap<&TargetKey, SocketAddr> = targets
            .iter()
            .map(|target| (&target.key, target.address))
            .collect();
        group
            .superseded
            .retain(|key, address| named.get(key) == Some(address));
        let gone: Vec<TargetKey> = group
            .members
            .iter()
            .filter(|member| named.get(&member.target.key) != Some(&member.target.address))
            .map(|member| member.target.key.clone())
            .collect();
        for key in gone {
            self.drain(id, &key, now, effects);
        }
        self.agree(id, &spoken::said(targets.iter()), now, effects);
        // Those that come into a group without healthy targets have nobody to be compared with.
        let alone = self
            .groups
            .get(&id)
            .is_none_or(|group| !group.members.iter().any(Member::is_healthy));
        for target in targets {
            self.register(id, target, alone, now, effects);
        }
    }

    /// Takes a target. `alone`: the group has no healthy ones that it joins.
    pub(super) fn register(
        &mut self,
        id: GroupId,
        target: Target,
        alone: bool,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let workers = self.workers;
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        if let Some(member) = group.members.get_mut(&target.key) {
            member.endpoint.confirm(target.confirmed_at);
            if !member.target.same_place(&target) {
                self.stale.insert(id);
            }
            member.target = target;
            return;
        }
        if target.holds_address() && self.address_is_of_younger(&target) {
            if let Some(group) = self.groups.get_mut(&id) {
                group.superseded.insert(target.key, target.address);
            }
            return;
        }
        self.supersede(&target, effects);
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        group.superseded.remove(&target.key);
        tracing::info!(target_group = %group.name, target = %target.key, address = %target.address, "registered");
        let http2 = group.spoken.version != ProtocolVersion::Http1;
        let endpoint = Endpoint::speaking(
            Arc::clone(&group.name),
            &target,
            workers,
            group.tls.as_deref(),
            http2,
        );
        let mut member = Member {
            health: Health::new(),
            usable: is_usable(&self.own_addresses, target.address),
            watched: None,
            since: now,
            slow_start: if alone {
                SlowStart::Exempt
            } else {
                SlowStart::Due
            },
            anomaly: Anomaly::default(),
            outlier: Outlier::default(),
            drained: false,
            weight: None,
            forgiven: false,
            endpoint,
            target,
        };
        self.watch(id, &mut member, now, effects);
        self.addresses.insert(id, &member);
        let (endpoint, healthy) = (member.endpoint.id, member.is_healthy());
        if let Some(group) = self.groups.get_mut(&id) {
            group.members.insert(member);
            if healthy {
                group.starts(endpoint, now);
            }
        }
        self.stale.insert(id);
    }

    /// Whether a target that is registered at the same address started later.
    fn address_is_of_younger(&self, target: &Target) -> bool {
        let others = self.addresses.others(target.address, &target.key);
        others.iter().any(|(id, key)| {
            let group = self.groups.get(id);
            group
                .and_then(|group| group.members.get(key))
                .is_some_and(|member| member.target.started_at > target.started_at)
        })
    }

    /// A newcomer at an address that another target holds: the other one is gone, whatever its
    /// source says, because two tasks cannot have one port of a host. Its connections end, so that
    /// none of its requests reaches the newcomer. What is in flight at the newcomer itself, from
    /// before it left and came back, goes on.
    fn supersede(&mut self, newcomer: &Target, effects: &mut Vec<Effect>) {
        for (id, key) in self.addresses.others(newcomer.address, &newcomer.key) {
            let Some(group) = self.groups.get_mut(&id) else {
                continue;
            };
            let Some(member) = group.members.remove(&key) else {
                continue;
            };
            tracing::warn!(
                target_group = %group.name,
                target = %key,
                address = %newcomer.address,
                newcomer = %newcomer.key,
                "its address went to another target"
            );
            group.forget_requests(&member);
            self.addresses.remove(id, &member);
            member.endpoint.expire();
            self.checks.leave_all(id, &member, effects);
            group.superseded.insert(key, newcomer.address);
            self.stale.insert(id);
        }
        let draining = self.groups.values().flat_map(|group| &group.draining);
        for draining in draining.chain(&self.orphans) {
            let target = &draining.target;
            if target.holds_address()
                && target.address == newcomer.address
                && target.key != newcomer.key
            {
                draining.endpoint.expire();
            }
        }
    }

    /// A target left: nothing new goes there, what is in flight has the deregistration delay.
    pub(super) fn drain(
        &mut self,
        id: GroupId,
        key: &TargetKey,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        let Some(member) = group.members.remove(key) else {
            return;
        };
        group.forget_requests(&member);
        self.addresses.remove(id, &member);
        tracing::info!(target_group = %group.name, target = %key, in_flight = member.endpoint.in_flight(), "draining");
        self.checks.leave_all(id, &member, effects);
        let delay = group.config.deregistration_delay.get();
        let draining = Draining::new(&group.name, member, delay, now);
        group.draining.push(draining);
        self.stale.insert(id);
    }

    pub(super) fn end_draining(&mut self, now: Instant) {
        for group in self.groups.values_mut() {
            Draining::end(&mut group.draining, now);
        }
        Draining::end(&mut self.orphans, now);
    }
}
