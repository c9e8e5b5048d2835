//! What is believed about the tasks of a service. No IO and no clock: time is an argument.
//!
//! The rules (see the crate's `README.md`):
//! a task that left the list is asked about once more before it goes; a batch that failed leaves
//! its tasks as they were; an answer with a lower version than the known one is ignored.

mod awaited;
mod doubt;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::aim::{Aim, Part, Wish};
use super::api::{BATCH, Definition, Described, Host, Hosts, Task};
use super::known::{Known, State};
use super::resolve::Unresolved;
use super::service::{ServiceBook, SetRule};
use super::services::{Services, Serving};
use crate::target::{Problem, Target};
pub use told::Told;
use told::Tombs;

/// How long a task that left the list is kept while no answer says that it stopped. ECS lists a
/// task as long as it should run, so after this the list is believed.
const UNCONFIRMED_LIMIT: Duration = Duration::from_secs(60);

/// How often in a row ECS may not know a task that left the list before it is gone. Right after a
/// start ECS may not know a task either (eventual consistency), hence more than one.
const MISSING_LIMIT: u32 = 2;

/// How long a description is believed. What changes without the list showing it: the host port
/// after a restart within the task, and the verdict of the container's own health check.
const DESCRIPTION_LIFE: Duration = Duration::from_secs(120);

/// How long it is believed in a service whose tasks have such a check.
const CHECKED_LIFE: Duration = Duration::from_secs(60);

/// A description this old is renewed if that costs no call of its own.
const FILL_AGE: Duration = Duration::from_secs(20);

/// How long a task that gives no reason to expect anything new, and is no target, is left alone.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long a task counts as one on its way up.
const STARTING_MAX: Duration = Duration::from_secs(600);

/// How much older than the list an answer may be that says that a service wants no tasks.
const ALONGSIDE: Duration = Duration::from_secs(2);

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
    /// The service itself.
    pub service: ServiceBook,
    /// The services of a whole cluster.
    pub services: Services,
    /// How many tasks are kept by the shrink guard.
    frozen: usize,
    /// Tasks that were told to stop. They never run again, whatever an older answer says.
    tombs: Tombs,
    /// The start of the latest complete list.
    looked_at: Option<Instant>,
    /// When somebody last asked for a look.
    doubted_at: Option<Instant>,
}

#[derive(Debug, Default)]
struct Entry {
    /// The newest description. None: listed, but not described yet.
    task: Option<Task>,
    /// When it was first heard of.
    seen_at: Option<Instant>,
    /// The start of the latest list that showed it, or the time of the latest event that did.
    listed_at: Option<Instant>,
    /// Since when the list lacks it.
    absent_since: Option<Instant>,
    /// How often in a row ECS did not know it.
    missing: u32,
    /// When it was last asked about with an answer that counts, or the time of the latest event.
    described_at: Option<Instant>,
}

impl Entry {
    fn is_older(&self, age: Duration, now: Instant) -> bool {
        let old = |at| now.saturating_duration_since(at) >= age;
        self.described_at.is_none_or(old)
    }

    /// Whether it is known and does not run yet.
    fn is_starting(&self) -> bool {
        let task = self.task.as_ref();
        task.is_some_and(|task| task.desired_running && task.last_status != "RUNNING")
    }
}

impl Book {
    /// Nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// How many tasks are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether a list shows tasks that came or went.
    #[must_use]
    pub fn differs(&self, listed: &BTreeSet<Arc<str>>) -> bool {
        let came = |arn: &Arc<str>| !self.tasks.contains_key(arn) && !self.tombs.holds(arn);
        listed.iter().any(came) || self.tasks.keys().any(|arn| !listed.contains(arn))
    }

    /// The tasks to describe, given the ARNs that are listed now: new ones, those that are no
    /// targets yet, those that left the list, those that are in doubt, and those whose description
    /// is old. The room that is left in the last call goes to those whose description is oldest.
    #[must_use]
    pub fn to_describe(
        &self,
        listed: &BTreeSet<Arc<str>>,
        aim: &impl Aim,
        now: Instant,
    ) -> Vec<Arc<str>> {
        let mut tasks = self.tasks.values().filter_map(|entry| entry.task.as_ref());
        let life = match tasks.any(|task| task.checked) {
            true => CHECKED_LIFE,
            false => DESCRIPTION_LIFE,
        };
        let more_run = self.service.tells_more_than(self.running(), now);
        let needed = |arn: &Arc<str>, entry: &Entry| {
            let older = |age| entry.is_older(age, now);
            older(life)
                || !listed.contains(arn)
                || self.is_doubted(entry, aim)
                || match self.state(entry, aim) {
                    Ok(()) => false,
                    Err(Unresolved::Waiting(_)) if entry.is_starting() => {
                        more_run || older(PATIENCE)
                    }
                    Err(Unresolved::Wrong(_)) => older(PATIENCE),
                    Err(Unresolved::Waiting(_) | Unresolved::Gone) => true,
                }
        };
        let (mut asked, mut others) = (Vec::new(), Vec::new());
        for (arn, entry) in &self.tasks {
            if needed(arn, entry) {
                asked.push(Arc::clone(arn));
            } else if entry.is_older(FILL_AGE, now) || entry.is_starting() {
                others.push((entry.described_at, arn));
            }
        }
        let new = |arn: &&Arc<str>| !self.tasks.contains_key(*arn) && !self.tombs.holds(arn);
        asked.extend(listed.iter().filter(new).cloned());
        let room = asked.len().next_multiple_of(BATCH) - asked.len();
        others.sort_unstable();
        let fill = others.into_iter().take(room);
        asked.extend(fill.map(|(_, arn)| Arc::clone(arn)));
        asked
    }

    /// The tasks on their way up that are worth describing now: the service has more that run
    /// than are known to.
    #[must_use]
    pub fn starting(&self, now: Instant) -> Vec<Arc<str>> {
        if !self.service.tells_more_than(self.running(), now) {
            return Vec::new();
        }
        let starting = self.tasks.iter().filter(|(_, entry)| entry.is_starting());
        starting.map(|(arn, _)| Arc::clone(arn)).collect()
    }

    /// How many tasks run, as far as is known.
    fn running(&self) -> usize {
        let tasks = self.tasks.values().filter_map(|entry| entry.task.as_ref());
        tasks.filter(|task| task.last_status == "RUNNING").count()
    }

    /// Takes the answer to a describe call that was made at `asked`. Tasks that it does not speak of
    /// stay as they were.
    pub fn described(&mut self, answer: Described, asked: Instant) {
        for task in answer.tasks {
            if self.tombs.holds(&task.arn) {
                continue;
            }
            let entry = self.tasks.entry(Arc::clone(&task.arn)).or_insert(Entry {
                absent_since: Some(asked),
                seen_at: Some(asked),
                ..Entry::default()
            });
            entry.missing = 0;
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
                entry.described_at = entry.described_at.max(Some(asked));
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
            entry.seen_at = Some(entry.seen_at.map_or(began, |at| at.min(began)));
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
        // A service that is meant to have none loses all of them, and that is the truth.
        let none = self
            .service
            .wants_none(began.checked_sub(ALONGSIDE).unwrap_or(began));
        let shrinks = known >= SHRINK_MIN && doubtful * 2 > known && !none;
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
    pub fn unknown_definitions(&self, aim: &impl Aim, now: Instant) -> Vec<Arc<str>> {
        let wanted: BTreeSet<&Arc<str>> = self
            .wanted_definitions(aim)
            .filter(|definition| self.definitions.is_due(definition, |_| None, now))
            .collect();
        wanted.into_iter().cloned().collect()
    }

    /// The task definitions that somebody wants, known or not. What would only help is asked for a
    /// few times: a permission that is missing must not cost calls for ever.
    fn wanted_definitions(&self, aim: &impl Aim) -> impl Iterator<Item = &Arc<str>> {
        let tasks = self.tasks.values().filter_map(|entry| entry.task.as_ref());
        tasks.filter_map(|task| {
            let arn = task.definition.as_ref()?;
            let hopeless = || matches!(self.definitions.state(Some(arn)), State::Refused(_));
            match aim.definition(task) {
                Wish::Nothing => None,
                Wish::Help => (!hopeless()).then_some(arn),
                Wish::Need => Some(arn),
            }
        })
    }

    /// When hosts or definitions that are wanted and not known may be asked for. None: all are
    /// known for good.
    #[must_use]
    pub fn next_question(&self, aim: &impl Aim, now: Instant) -> Option<Instant> {
        let running = || self.tasks.values().filter_map(|entry| entry.task.as_ref());
        let hosts = running()
            .filter(|task| task.desired_running && task.interface.is_none())
            .filter_map(|task| task.host.as_ref())
            .filter_map(|host| self.hosts.due_at(host, Host::life, now));
        let definitions = self
            .wanted_definitions(aim)
            .filter_map(|definition| self.definitions.due_at(definition, |_| None, now));
        hosts.chain(definitions).min()
    }

    /// Whether a task is on its way up, so that the next look should come soon.
    #[must_use]
    pub fn is_unsettled(&self, aim: &impl Aim, now: Instant) -> bool {
        self.tasks.values().any(|entry| {
            let recent = |at| now.saturating_duration_since(at) < STARTING_MAX;
            entry.absent_since.is_none()
                && entry.seen_at.is_some_and(recent)
                && matches!(self.state(entry, aim), Err(Unresolved::Waiting(_)))
        })
    }

    /// The targets, and the tasks that are none.
    #[must_use]
    pub fn targets(&self, aim: &impl Aim) -> (Vec<Target>, Vec<Problem>) {
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
        let rule = self.set_rule();
        let serving = self.serving_sets(aim);
        for (arn, entry) in &self.tasks {
            let standby = entry
                .task
                .as_ref()
                .and_then(|task| rule.excludes(task).or_else(|| serving.excludes(task)));
            let id = arn.rsplit('/').next().unwrap_or(arn);
            let mut problem = |part: Option<&str>, reason| {
                let subject = match part {
                    Some(part) => format!("{id}/{part}"),
                    None => id.to_owned(),
                };
                problems.push(Problem { subject, reason });
            };
            let parts = match (self.resolve(entry, aim), standby) {
                (Err(Unresolved::Gone), _) => continue,
                (Ok(parts), _) if parts.is_empty() => continue,
                (_, Some(standby)) => {
                    problem(None, standby);
                    continue;
                }
                (Err(Unresolved::Waiting(reason) | Unresolved::Wrong(reason)), None) => {
                    problem(None, reason);
                    continue;
                }
                (Ok(parts), None) => parts,
            };
            for part in parts {
                match part.target {
                    Ok(target) => targets.push(target),
                    Err(Unresolved::Gone) => {}
                    Err(Unresolved::Waiting(reason) | Unresolved::Wrong(reason)) => {
                        problem(part.container.as_deref(), reason);
                    }
                }
            }
        }
        (targets, problems)
    }

    /// The rule that task sets set for the tasks of the service.
    fn set_rule(&self) -> SetRule<'_> {
        let described = self.tasks.values().filter_map(|entry| entry.task.as_ref());
        let named = described.filter_map(|task| task.started_by.as_ref());
        self.service.rule(&named.collect())
    }

    /// Which task sets of a whole cluster serve, as far as there is a question.
    #[must_use]
    pub fn serving_sets(&self, aim: &impl Aim) -> Serving<'_> {
        let all = aim.service().is_none();
        let entries = self.tasks.values().filter(|_| all);
        let wanted = entries.filter(|entry| {
            let parts = self.resolve(entry, aim);
            parts.is_ok_and(|parts| !parts.is_empty())
        });
        self.services
            .of(wanted.filter_map(|entry| entry.task.as_ref()))
    }

    /// Whether a task is all that it is meant to be; if not, what is to be waited for first.
    fn state(&self, entry: &Entry, aim: &impl Aim) -> Result<(), Unresolved> {
        let mut wrong = None;
        for part in self.resolve(entry, aim)? {
            match part.target {
                Ok(_) => {}
                Err(Unresolved::Wrong(reason)) => wrong = Some(Unresolved::Wrong(reason)),
                Err(other) => return Err(other),
            }
        }
        wrong.map_or(Ok(()), Err)
    }

    fn resolve(&self, entry: &Entry, aim: &impl Aim) -> Result<Vec<Part>, Unresolved> {
        let Some(task) = &entry.task else {
            let reason = "ECS does not describe it yet".to_owned();
            return Err(Unresolved::Waiting(reason));
        };
        // A task is only ever asked about because a list showed it, or an event told of it.
        let confirmed_at = entry.confirmed_at().ok_or(Unresolved::Gone)?;
        let (host, definition) = (
            self.hosts.state(task.host.as_deref()),
            self.definitions.state(task.definition.as_deref()),
        );
        aim.parts(task, &host, &definition, confirmed_at)
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests stand outside: they choose the times that they hand in"
)]
#[path = "book_tests.rs"]
pub(super) mod tests;

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests stand outside: they choose the times that they hand in"
)]
#[path = "book_known_tests.rs"]
mod known_tests;
