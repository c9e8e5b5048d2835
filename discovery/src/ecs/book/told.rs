//! What an event changes in the book. Events come late, twice and in no order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::aim::Aim;
use super::super::event::TaskEvent;
use super::super::resolve::Unresolved;
use super::{Book, Entry};

/// Up to this age an event alone makes a target of a task that is not known. What it says of an
/// address may be wrong by now if it is older, so it only asks for a look.
const EVENT_LIFE: Duration = Duration::from_secs(60);

/// How long a list speaks against tasks that only such an event tells of. The age of an event is
/// told by two clocks: if ours is ahead, one that has just started seems to be older than the list.
const LIST_LIFE: Duration = Duration::from_secs(15);

/// How long it is remembered that a task was told to stop: far longer than an event is believed,
/// and than an answer of ECS lags behind.
const TOMB_LIFE: Duration = Duration::from_secs(900);

/// The most tasks of one service that are remembered so: two deployments of 1,000 tasks and their
/// failed starts. The oldest go first.
const TOMBS_MAX: usize = 4096;

/// What follows from an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Nothing that was not known, or nothing that can be believed.
    Nothing,
    /// A task was told to stop: the set changes at once.
    Gone,
    /// A task came, or changed.
    Changed,
    /// A look would tell more.
    Look,
    /// A look would tell more, and at that time it is early enough: there was one just now.
    Later(Instant),
}

/// The tasks that were told to stop, for a while.
#[derive(Debug, Default)]
pub(super) struct Tombs {
    since: BTreeMap<Arc<str>, Instant>,
    order: BTreeSet<(Instant, Arc<str>)>,
}

impl Tombs {
    pub(super) fn holds(&self, arn: &str) -> bool {
        self.since.contains_key(arn)
    }

    pub(super) fn add(&mut self, arn: &Arc<str>, now: Instant) {
        if !self.holds(arn) {
            self.since.insert(Arc::clone(arn), now);
            self.order.insert((now, Arc::clone(arn)));
        }
        while let Some((at, _)) = self.order.first()
            && (self.order.len() > TOMBS_MAX || now.saturating_duration_since(*at) >= TOMB_LIFE)
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.since.remove(&oldest);
        }
    }
}

impl Book {
    /// Takes an event about a task of this service. `age` is how long ago it was so.
    pub fn told(&mut self, event: &TaskEvent, age: Duration, now: Instant) -> Told {
        let task = &event.task;
        if self.tombs.holds(&task.arn) {
            return Told::Nothing;
        }
        let known = self
            .tasks
            .get(&task.arn)
            .and_then(|entry| entry.task.as_ref());
        if known.is_some_and(|known| known.version >= task.version) {
            return Told::Nothing;
        }
        if !task.desired_running {
            self.tombs.add(&task.arn, now);
            return match self.tasks.remove(&task.arn) {
                Some(_) => Told::Gone,
                None => Told::Nothing,
            };
        }
        let seen = now.checked_sub(age);
        if !self.tasks.contains_key(&task.arn) && (age > EVENT_LIFE || seen.is_none()) {
            // A list that was asked for long after the event, and lacks the task, knows better, if
            // the clocks agree. So it puts off the look that a crowd of old events asks for.
            let later = |looked: &Instant| seen.is_some_and(|seen| *looked > seen + EVENT_LIFE);
            let again = self.looked_at.filter(later).map(|at| at + LIST_LIFE);
            return match again {
                Some(again) if again > now => Told::Later(again),
                _ => Told::Look,
            };
        }
        let entry = self.tasks.entry(Arc::clone(&task.arn)).or_insert(Entry {
            described_at: seen,
            seen_at: Some(now),
            ..Entry::default()
        });
        let mut task = task.clone();
        if !event.tells_health {
            let known = entry.task.as_ref();
            task.unhealthy = known.is_some_and(|known| known.unhealthy);
            task.checked = known.is_some_and(|known| known.checked);
        }
        entry.task = Some(task);
        // It tells all that a list and a description would.
        entry.listed_at = entry.listed_at.max(seen);
        entry.described_at = entry.described_at.max(seen);
        entry.absent_since = None;
        entry.missing = 0;
        Told::Changed
    }

    /// The tasks that run and should. Events tell of each change of it.
    #[must_use]
    pub fn serving(&self) -> BTreeSet<Arc<str>> {
        let serves = |entry: &Entry| {
            let task = entry.task.as_ref();
            task.is_some_and(|task| task.desired_running && task.last_status == "RUNNING")
        };
        let tasks = self.tasks.iter().filter(|(_, entry)| serves(entry));
        tasks.map(|(arn, _)| Arc::clone(arn)).collect()
    }

    /// Whether something is open that no event will settle: a task that left the list or is not
    /// described, or one that runs and is no target for want of a port, an address or health.
    #[must_use]
    pub fn wants_look(&self, aim: &impl Aim) -> bool {
        self.tasks.values().any(|entry| {
            let runs = entry
                .task
                .as_ref()
                .is_none_or(|t| t.last_status == "RUNNING");
            entry.absent_since.is_some()
                || (runs && matches!(self.state(entry, aim), Err(Unresolved::Waiting(_))))
        })
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests stand outside: they choose the times that they hand in"
)]
#[path = "told_tests.rs"]
mod tests;
