//! The members of all groups, found by key, by endpoint, and by address. Pure.
//!
//! With thousands of targets, a scan for each health check or each registration would be work
//! that grows with the square.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use longshore_discovery::TargetKey;

use super::group::Member;
use super::ids::GroupId;

/// The registered targets of one group.
#[derive(Debug, Default)]
pub(super) struct Members {
    by_key: BTreeMap<TargetKey, Member>,
    by_endpoint: BTreeMap<u64, TargetKey>,
}

impl Members {
    pub(super) fn insert(&mut self, member: Member) {
        let key = member.target.key.clone();
        self.by_endpoint.insert(member.endpoint.id, key.clone());
        self.by_key.insert(key, member);
    }

    pub(super) fn remove(&mut self, key: &TargetKey) -> Option<Member> {
        let member = self.by_key.remove(key)?;
        self.by_endpoint.remove(&member.endpoint.id);
        Some(member)
    }

    pub(super) fn get(&self, key: &TargetKey) -> Option<&Member> {
        self.by_key.get(key)
    }

    pub(super) fn get_mut(&mut self, key: &TargetKey) -> Option<&mut Member> {
        self.by_key.get_mut(key)
    }

    /// The member with that endpoint.
    pub(super) fn by_endpoint(&mut self, endpoint: u64) -> Option<&mut Member> {
        self.by_key.get_mut(self.by_endpoint.get(&endpoint)?)
    }

    pub(super) fn find_endpoint(&self, endpoint: u64) -> Option<&Member> {
        self.by_key.get(self.by_endpoint.get(&endpoint)?)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.by_key.values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.by_key.values_mut()
    }

    pub(super) fn into_iter(self) -> impl Iterator<Item = Member> {
        self.by_key.into_values()
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }
}

/// Who is at which address, of the targets whose address others can get.
#[derive(Debug, Default)]
pub(super) struct Addresses(BTreeMap<SocketAddr, BTreeSet<(GroupId, TargetKey)>>);

impl Addresses {
    pub(super) fn insert(&mut self, group: GroupId, member: &Member) {
        if member.target.holds_address() {
            self.0
                .entry(member.target.address)
                .or_default()
                .insert((group, member.target.key.clone()));
        }
    }

    pub(super) fn remove(&mut self, group: GroupId, member: &Member) {
        if let Some(holders) = self.0.get_mut(&member.target.address) {
            holders.remove(&(group, member.target.key.clone()));
            if holders.is_empty() {
                self.0.remove(&member.target.address);
            }
        }
    }

    /// The members at an address that are not this target. The same target may be in several
    /// groups, and a container may have been renamed since one of their sources saw it first.
    pub(super) fn others(&self, address: SocketAddr, key: &TargetKey) -> Vec<(GroupId, TargetKey)> {
        let holders = self.0.get(&address).into_iter().flatten();
        holders
            .filter(|(_, holder)| (&holder.task, holder.port) != (&key.task, key.port))
            .cloned()
            .collect()
    }
}
