//! What is believed about the tasks of a service. No IO and no clock: time is an argument.
//!
//! The rules (see the crate's `README.md`):
//! a task that left the list is asked about once more before it goes; a batch that failed leaves
//! its tasks as they were; an answer with a lower version than the known one is ignored.

mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_config::EcsDiscovery;

use super::api::{Definition, Described, Host, Hosts, Task};
use super::known::Known;
use super::port::wants_definition;
use super::resolve::{Unresolved, resolve};
use crate::target::{Problem, Target};
pub use told::Told;
use told::Tombs;

/// How long a task that left the list is kept while no answer says that it stopped. ECS lists a
/// task as long as it should run, so after this the list is believed.
const UNCONFIRMED_LIMIT: Duration = Duration::from_secs(60);

/// How often in a row ECS may not know a task that left the list before it is gone. Right after a
/// start ECS may not know a task either (eventual consistency), hence more than one.
const MISSING_LIMIT: u32 = 2;

/// How long a description is believed. What changes without the list showing it: the verdict of
/// the container's own health check, and the host port after a restart within the task.
const DESCRIPTION_LIFE: Duration = Duration::from_secs(60);

/// When more than half of so many tasks or more would go at once, without an answer that says that
/// they stopped, that is more likely an error than the truth.
const SHRINK_MIN: usize = 4;

/// How long such tasks are kept.
const SHRINK_LIMIT: Duration = Duration::from_secs(300);

/// The state of one service.
#[derive(Debug, Default)]
pub struct Book {
    tasks: BTreeMap<Arc<str>, Entry>,
    /// Container instances with their addresses.
    pub hosts: Known<Host>,
    /// Task definitions.
    pub definitions: Known<Definition>,
    /// How many tasks are kept by the shrink guard.
    frozen: usize,
    /// Tasks that were told to stop. They never run again, whatever an older answer says.
    tombs: Tombs,
    /// The start of the latest complete list.
    looked_at: Option<Instant>,
}

#[derive(Debug, Default)]
struct Entry {
    /// The newest description. None: listed, but not described yet.
    task: Option<Task>,
    /// The start of the latest list that showed it, or the time of the latest event that did.
    listed_at: Option<Instant>,
    /// Since when the list lacks it.
    absent_since: Option<Instant>,
    /// How often in a row ECS did not know it.
    missing: u32,
    /// When it was last described.
    described_at: Option<Instant>,
}

impl Book {
    /// Nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The tasks to describe, given the ARNs that are listed now: new ones, those that are no
    /// targets yet, those that left the list, and those whose description is old.
    #[must_use]
    pub fn to_describe(
        &self,
        listed: &BTreeSet<Arc<str>>,
        spec: &EcsDiscovery,
        now: Instant,
    ) -> Vec<Arc<str>> {
        let known = self
            .tasks
            .iter()
            .filter(|(arn, entry)| {
                let old = entry
                    .described_at
                    .is_none_or(|at| now.saturating_duration_since(at) >= DESCRIPTION_LIFE);
                old || !listed.contains(*arn) || self.resolve(entry, spec).is_err()
            })
            .map(|(arn, _)| arn);
        let new = listed
            .iter()
            .filter(|arn| !self.tasks.contains_key(*arn) && !self.tombs.holds(arn));
        known.chain(new).cloned().collect()
    }

    /// Takes the answer to a describe call. Tasks that it does not speak of stay as they were.
    pub fn described(&mut self, answer: Described, now: Instant) {
        for task in answer.tasks {
            if self.tombs.holds(&task.arn) {
                continue;
            }
            let entry = self.tasks.entry(Arc::clone(&task.arn)).or_insert(Entry {
                absent_since: Some(now),
                ..Entry::default()
            });
            entry.missing = 0;
            entry.described_at = Some(now);
            if task.desired_running {
                // Whatever the list says: ECS wants it to run.
                entry.absent_since = None;
            }
            if entry
                .task
                .as_ref()
                .is_none_or(|known| known.version <= task.version)
            {
                entry.task = Some(task);
            }
        }
        for arn in answer.missing {
            if let Some(entry) = self.tasks.get_mut(&arn) {
                entry.missing += 1;
            }
        }
    }

    /// Takes a complete list that was asked for at `began`; to be called after the answers that
    /// [`Self::to_describe`] led to.
    pub fn listed(&mut self, listed: &BTreeSet<Arc<str>>, began: Instant) {
        self.looked_at = Some(began);
        for arn in listed {
            if self.tombs.holds(arn) {
                continue;
            }
            let entry = self.tasks.entry(Arc::clone(arn)).or_default();
            entry.listed_at = entry.listed_at.max(Some(began));
            entry.absent_since = None;
        }
        let known = self.tasks.len();
        let waited = |entry: &Entry| {
            let since = entry.absent_since.unwrap_or(began);
            began.saturating_duration_since(since)
        };
        // Gone by a word of ECS, or for want of one.
        let stopped = |entry: &Entry| entry.task.as_ref().is_none_or(|task| !task.desired_running);
        let unheard =
            |entry: &Entry| entry.missing >= MISSING_LIMIT || waited(entry) >= UNCONFIRMED_LIMIT;
        let mut doubtful = 0;
        // What an event told since the list was asked for is newer than the list.
        let lacks = |arn: &Arc<str>, entry: &Entry| {
            !listed.contains(arn) && entry.listed_at.is_none_or(|at| at <= began)
        };
        for (arn, entry) in &mut self.tasks {
            if lacks(arn, entry) {
                entry.absent_since.get_or_insert(began);
                doubtful += usize::from(!stopped(entry) && unheard(entry));
            }
        }
        let shrinks = known >= SHRINK_MIN && doubtful * 2 > known;
        self.frozen = 0;
        let tombs = &mut self.tombs;
        self.tasks.retain(|arn, entry| {
            if !lacks(arn, entry) {
                return true;
            }
            if entry
                .task
                .as_ref()
                .is_some_and(|task| !task.desired_running)
            {
                tombs.add(arn, began);
            }
            let frozen = shrinks && unheard(entry) && waited(entry) < SHRINK_LIMIT;
            let stays = !stopped(entry) && (frozen || !unheard(entry));
            self.frozen += usize::from(stays && frozen);
            stays
        });
        let described = || self.tasks.values().filter_map(|entry| entry.task.as_ref());
        let used = described().filter_map(|task| task.host.as_ref());
        self.hosts.retain(&used.collect());
        let used = described().filter_map(|task| task.definition.as_ref());
        self.definitions.retain(&used.collect());
    }

    /// The container instances whose addresses are wanted and not known.
    #[must_use]
    pub fn unknown_hosts(&self, now: Instant) -> Vec<Arc<str>> {
        let wanted: BTreeSet<&Arc<str>> = self
            .tasks
            .values()
            .filter_map(|entry| entry.task.as_ref())
            .filter(|task| task.desired_running && task.interface.is_none())
            .filter_map(|task| task.host.as_ref())
            .filter(|host| self.hosts.is_due(host, Host::life, now))
            .collect();
        wanted.into_iter().cloned().collect()
    }

    /// Takes an answer about container instances.
    pub fn found_hosts(&mut self, answer: Hosts, now: Instant) {
        for host in answer.found {
            self.hosts.found(Arc::clone(&host.arn), host, now);
        }
        for (arn, reason) in answer.unknown {
            self.hosts.refused(arn, reason, now);
        }
    }

    /// The task definitions that are wanted and not known.
    #[must_use]
    pub fn unknown_definitions(&self, spec: &EcsDiscovery, now: Instant) -> Vec<Arc<str>> {
        let wanted: BTreeSet<&Arc<str>> = self
            .tasks
            .values()
            .filter_map(|entry| entry.task.as_ref())
            .filter(|task| wants_definition(task, spec))
            .filter_map(|task| task.definition.as_ref())
            .filter(|definition| self.definitions.is_due(definition, |_| None, now))
            .collect();
        wanted.into_iter().cloned().collect()
    }

    /// Whether a task is on its way up, so that the next look should come soon.
    #[must_use]
    pub fn is_unsettled(&self, spec: &EcsDiscovery) -> bool {
        self.tasks.values().any(|entry| {
            entry.absent_since.is_none()
                && matches!(self.resolve(entry, spec), Err(Unresolved::Waiting(_)))
        })
    }

    /// The targets, and the tasks that are none.
    #[must_use]
    pub fn targets(&self, spec: &EcsDiscovery) -> (Vec<Target>, Vec<Problem>) {
        let mut targets = Vec::new();
        let mut problems = Vec::new();
        if self.frozen > 0 {
            problems.push(Problem {
                subject: format!("{} tasks", self.frozen),
                reason: format!(
                    "kept for at most {} s: they left the list all at once, and ECS does not say that they stopped",
                    SHRINK_LIMIT.as_secs()
                ),
            });
        }
        for (arn, entry) in &self.tasks {
            match self.resolve(entry, spec) {
                Ok(target) => targets.push(target),
                Err(Unresolved::Gone) => {}
                Err(Unresolved::Waiting(reason) | Unresolved::Wrong(reason)) => {
                    problems.push(Problem {
                        subject: arn.rsplit('/').next().unwrap_or(arn).to_owned(),
                        reason,
                    });
                }
            }
        }
        (targets, problems)
    }

    fn resolve(&self, entry: &Entry, spec: &EcsDiscovery) -> Result<Target, Unresolved> {
        let Some(task) = &entry.task else {
            let reason = "ECS does not describe it yet".to_owned();
            return Err(Unresolved::Waiting(reason));
        };
        // A task is only ever asked about because a list showed it, or an event told of it.
        let listed_at = entry.listed_at.ok_or(Unresolved::Gone)?;
        let (host, definition) = (
            self.hosts.state(task.host.as_deref()),
            self.definitions.state(task.definition.as_deref()),
        );
        resolve(task, &host, &definition, spec, listed_at)
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests stand outside: they choose the times that they hand in"
)]
#[path = "book_tests.rs"]
mod tests;

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests stand outside: they choose the times that they hand in"
)]
#[path = "book_known_tests.rs"]
mod known_tests;
