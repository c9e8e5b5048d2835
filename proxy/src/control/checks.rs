//! Which checks run, and for whom: one for each address and each way to check, however many groups,
//! rules and listeners want it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use longshore_config::Check;

use super::controller::Effect;
use super::ids::GroupId;

/// A running check. Never used twice in a process, so that a late result concerns nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckId(pub u64);

/// An endpoint of a group.
pub(super) type Subject = (GroupId, u64);

/// All checks that run.
#[derive(Debug, Default)]
pub(super) struct Checks {
    next: u64,
    ids: BTreeMap<(SocketAddr, Arc<Check>), CheckId>,
    running: BTreeMap<CheckId, Running>,
}

#[derive(Debug)]
struct Running {
    what: (SocketAddr, Arc<Check>),
    subjects: BTreeSet<Subject>,
    /// The first one has begun.
    begun: bool,
}

impl Checks {
    /// Somebody wants to know. A check that runs already is made at once, so that nobody waits for
    /// its interval.
    pub(super) fn want(
        &mut self,
        address: SocketAddr,
        check: &Arc<Check>,
        subject: Subject,
        effects: &mut Vec<Effect>,
    ) -> CheckId {
        let what = (address, Arc::clone(check));
        if let Some(id) = self.ids.get(&what)
            && let Some(running) = self.running.get_mut(id)
        {
            running.subjects.insert(subject);
            effects.push(Effect::CheckNow(*id));
            return *id;
        }
        let id = CheckId(self.next);
        self.next += 1;
        effects.push(Effect::Watch(id, address, Arc::clone(check)));
        self.ids.insert(what.clone(), id);
        let running = Running {
            what,
            subjects: [subject].into(),
            begun: false,
        };
        self.running.insert(id, running);
        id
    }

    /// Somebody does not want to know any more.
    pub(super) fn leave(&mut self, id: CheckId, subject: Subject, effects: &mut Vec<Effect>) {
        let Some(running) = self.running.get_mut(&id) else {
            return;
        };
        running.subjects.remove(&subject);
        if running.subjects.is_empty() {
            self.ids.remove(&running.what);
            self.running.remove(&id);
            effects.push(Effect::Unwatch(id));
        }
    }

    /// Its first check has begun.
    pub(super) fn begins(&mut self, id: CheckId) {
        if let Some(running) = self.running.get_mut(&id) {
            running.begun = true;
        }
    }

    pub(super) fn has_begun(&self, id: CheckId) -> bool {
        self.running.get(&id).is_some_and(|running| running.begun)
    }

    /// Whether it is that check of that address.
    pub(super) fn is(&self, id: CheckId, address: SocketAddr, check: &Arc<Check>) -> bool {
        let running = self.running.get(&id);
        running.is_some_and(|running| running.what.0 == address && running.what.1 == *check)
    }

    /// Who wants to know.
    pub(super) fn subjects(&self, id: CheckId) -> Vec<Subject> {
        let running = self.running.get(&id);
        running.map_or_else(Vec::new, |running| {
            running.subjects.iter().copied().collect()
        })
    }

    /// The checks that run.
    pub(super) fn len(&self) -> usize {
        self.running.len()
    }
}
