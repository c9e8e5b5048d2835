//! What is believed about a service: whether its tasks are in motion, and which of its task sets
//! serves. Pure: time is an argument.
//!
//! It is asked for with `DescribeServices`, whose limit (20 calls a second) is not that of tasks.
//! So it tells cheaply when to look at tasks, and when not to.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::api::{Service, Task, TaskSet};
use crate::target::Problem;

/// How old an answer may be if nothing is in motion. What a deployment does shows in the list of
/// tasks first, and then the service is asked about at once.
const REST_LIFE: Duration = Duration::from_secs(60);

/// How long a service counts as in motion after its last change: one that cannot place its tasks,
/// or whose deployment hangs, is not polled for days.
const MOTION_MAX: Duration = Duration::from_secs(600);

/// The longest wait after failures.
const RETRY_CAP: Duration = Duration::from_secs(60);

/// How much a service moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Motion {
    /// Nothing, as far as is known.
    Rest,
    /// Tasks start or stop.
    Tasks,
    /// A deployment is under way.
    Rollout,
}

/// One service.
#[derive(Debug, Default)]
pub struct ServiceBook {
    known: Option<Service>,
    /// The start of the call that told it.
    asked_at: Option<Instant>,
    /// When an answer last differed from the one before.
    moved_at: Option<Instant>,
    /// The id of the set that was last told to be PRIMARY.
    primary: Option<Arc<str>>,
    failure: Option<Failure>,
}

#[derive(Debug)]
struct Failure {
    reason: String,
    times: u32,
    at: Instant,
}

impl ServiceBook {
    /// Takes an answer to a call that began at that time.
    pub fn answered(&mut self, mut service: Service, began: Instant) {
        self.failure = None;
        if self.asked_at.is_some_and(|known| known > began) {
            return;
        }
        self.asked_at = Some(began);
        if let Some(primary) = service.primary() {
            // An answer without one leaves the known one in its place: production is somewhere.
            self.primary = Some(Arc::clone(&primary.id));
        }
        // A service that had sets and has none now: its tasks are ending, and none of them is to
        // serve because the answer has no word about it.
        let known = self.known.as_ref().and_then(|it| it.task_sets.as_ref());
        if let (Some(sets), Some(known)) = (&mut service.task_sets, known)
            && sets.is_empty()
        {
            sets.clone_from(known);
        }
        if self.known.as_ref() != Some(&service) {
            self.moved_at = Some(began);
            self.known = Some(service);
        }
    }

    /// The call failed. What was known stays.
    pub fn failed(&mut self, reason: String, now: Instant) {
        let times = self.failure.as_ref().map_or(0, |failure| failure.times);
        self.failure = Some(Failure {
            reason,
            times: times.saturating_add(1),
            at: now,
        });
    }

    /// What was told last.
    #[must_use]
    pub fn known(&self) -> Option<&Service> {
        self.known.as_ref()
    }

    /// The id of the task set that was last told to be PRIMARY.
    #[must_use]
    pub fn primary(&self) -> Option<&Arc<str>> {
        self.primary.as_ref()
    }

    /// Whether it has task sets, of which only one serves.
    #[must_use]
    pub fn has_sets(&self) -> bool {
        let service = self.known.as_ref();
        service.is_some_and(|service| service.task_sets.is_some())
    }

    /// When to ask again. `stir`: something shows that the service may have changed.
    #[must_use]
    pub fn due(&self, stir: bool, every: Duration, now: Instant) -> Instant {
        let regular = match self.asked_at {
            None => now,
            Some(at) if stir || self.has_sets() || self.motion(now) > Motion::Rest => at + every,
            Some(at) => at + REST_LIFE,
        };
        match &self.failure {
            None => regular,
            Some(failure) => {
                let pause = Duration::from_secs(1 << failure.times.min(6)).min(RETRY_CAP);
                regular.max(failure.at + pause)
            }
        }
    }

    /// How much it moves now.
    #[must_use]
    pub fn motion(&self, now: Instant) -> Motion {
        let Some(service) = &self.known else {
            return Motion::Rest;
        };
        let recent = |at: Instant| now.saturating_duration_since(at) < MOTION_MAX;
        if !self.moved_at.is_some_and(recent) {
            return Motion::Rest;
        }
        match service {
            Service { rolling: true, .. } => Motion::Rollout,
            Service {
                desired,
                running,
                pending,
                ..
            } if desired != running || *pending > 0 => Motion::Tasks,
            _ => Motion::Rest,
        }
    }

    /// Whether it is meant to have no tasks, as of a call that began at that time or later.
    #[must_use]
    pub fn wants_none(&self, since: Instant) -> bool {
        let none = self.known.as_ref().is_some_and(|known| known.desired == 0);
        none && self.asked_at.is_some_and(|asked| asked >= since)
    }

    /// Whether DescribeTasks would show more tasks RUNNING than the book has. True if that is
    /// not known.
    #[must_use]
    pub fn tells_more_than(&self, running: usize, now: Instant) -> bool {
        let (Some(service), Some(at)) = (&self.known, self.asked_at) else {
            return true;
        };
        let old = now.saturating_duration_since(at) >= REST_LIFE || self.failure.is_some();
        old || usize::try_from(service.running).is_ok_and(|told| told > running)
    }

    /// The rule that task sets set for tasks, given the sets that tasks name.
    #[must_use]
    pub fn rule<'s>(&'s self, named: &BTreeSet<&Arc<str>>) -> SetRule<'s> {
        let Some(sets) = self.known.as_ref().and_then(|it| it.task_sets.as_deref()) else {
            return SetRule::None;
        };
        // No task names a set that the service has: then this is not how tasks and sets belong
        // together, and everything would be lost by a rule that is not understood.
        if !sets.iter().any(|set| named.contains(&set.id)) {
            return SetRule::None;
        }
        SetRule::Only(self.primary.as_ref(), sets)
    }

    /// What operators should know of it.
    #[must_use]
    pub fn problem(&self) -> Option<Problem> {
        let failure = self.failure.as_ref()?;
        let follows = match (&self.known, self.has_sets()) {
            (Some(_), true) => "the PRIMARY task set is the one that was known",
            (Some(_), false) => "deployments are not looked at more often",
            (None, _) => {
                "deployments are not looked at more often, and the tasks of all task sets are targets"
            }
        };
        Some(Problem {
            subject: "service".to_owned(),
            reason: format!(
                "{} (it needs the permission ecs:DescribeServices); meanwhile {follows}",
                failure.reason
            ),
        })
    }
}

/// Which tasks may serve.
#[derive(Debug, Clone, Copy)]
pub enum SetRule<'s> {
    /// All.
    None,
    /// Those of the PRIMARY set, if one was ever told; these are the known ones.
    Only(Option<&'s Arc<str>>, &'s [TaskSet]),
}

impl SetRule<'_> {
    /// Why a task does not serve. None: it may.
    #[must_use]
    pub fn excludes(&self, task: &Task) -> Option<String> {
        let Self::Only(primary, sets) = self else {
            return None;
        };
        // A task that names no set was not started for one.
        let own = task.started_by.as_ref()?;
        if *primary == Some(own) {
            return None;
        }
        let status = sets.iter().find(|set| set.id == *own);
        let status = status.map_or("not told of yet", |set| &*set.status);
        Some(format!("its task set {own} is {status}, not PRIMARY"))
    }
}

impl Service {
    /// The task set that serves production.
    #[must_use]
    pub fn primary(&self) -> Option<&TaskSet> {
        let sets = self.task_sets.as_deref().unwrap_or_default();
        sets.iter().find(|set| &*set.status == "PRIMARY")
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests stand outside: they choose the times that they hand in"
)]
#[path = "service_tests.rs"]
mod tests;
