//! Which task sets of the services of a whole cluster serve. Pure: time is an argument.
//!
//! A watch of one service asks about it anyway. A cluster has many services, and only one whose
//! tasks come from several deployments or task sets at a time can have tasks that are not to
//! serve, so only those are asked about: at rest none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::api::{Service, Task};
use super::service::ServiceBook;
use crate::target::Problem;

/// The most services that are asked about in one look. The others follow in the next ones.
const ASKED_MAX: usize = 10;

/// How long an answer counts whose PRIMARY set has no task any more: until the next one nothing
/// serves.
const URGENT: Duration = Duration::from_millis(250);

/// What the tasks of a service were started by.
#[derive(Debug, Default)]
struct Starters<'t> {
    all: BTreeSet<&'t Arc<str>>,
    /// That of the task that runs longest.
    first: Option<(i64, &'t Arc<str>)>,
}

/// What is believed about the services of a cluster that had to be asked about.
#[derive(Debug, Default)]
pub struct Services {
    known: BTreeMap<Arc<str>, ServiceBook>,
}

/// The services of tasks, and which of them serve.
#[derive(Debug)]
pub struct Serving<'t> {
    services: &'t Services,
    starters: BTreeMap<&'t Arc<str>, Starters<'t>>,
}

impl Services {
    /// Looks at tasks: those that want to be targets.
    pub fn of<'t>(&'t self, tasks: impl Iterator<Item = &'t Task>) -> Serving<'t> {
        let mut starters: BTreeMap<&Arc<str>, Starters<'_>> = BTreeMap::new();
        for task in tasks {
            let (Some(service), Some(by)) = (&task.service, &task.started_by) else {
                continue;
            };
            let of = starters.entry(service).or_default();
            of.all.insert(by);
            if let Some(at) = task.started_at {
                of.first = of.first.min(Some((at, by))).or(Some((at, by)));
            }
        }
        Serving {
            services: self,
            starters,
        }
    }

    /// Takes an answer to a call that began at that time.
    pub fn answered(&mut self, name: &Arc<str>, service: Service, began: Instant) {
        let book = self.known.entry(Arc::clone(name)).or_default();
        book.answered(service, began);
    }

    /// The call failed. What was known stays.
    pub fn failed(&mut self, name: &Arc<str>, reason: String, now: Instant) {
        let book = self.known.entry(Arc::clone(name)).or_default();
        book.failed(reason, now);
    }

    /// Forgets services without a task.
    pub fn retain(&mut self, names: &BTreeSet<Arc<str>>) {
        self.known.retain(|name, _| names.contains(name));
    }

    /// What operators should know.
    pub fn problems(&self) -> impl Iterator<Item = Problem> {
        self.known.iter().filter_map(|(name, book)| {
            let problem = book.problem()?;
            Some(Problem {
                subject: format!("service {name}"),
                ..problem
            })
        })
    }
}

impl Serving<'_> {
    /// The names of all services.
    #[must_use]
    pub fn names(&self) -> BTreeSet<Arc<str>> {
        self.starters.keys().map(|name| Arc::clone(name)).collect()
    }

    /// When to ask about which, the most urgent first.
    fn questions(
        &self,
        every: Duration,
        now: Instant,
    ) -> impl Iterator<Item = (Instant, &Arc<str>)> {
        self.starters.iter().filter_map(move |(name, starters)| {
            let book = self.services.known.get(*name);
            // None of the one that was told to serve: that may have changed.
            let sets = book.filter(|book| book.has_sets());
            let other =
                sets.is_some_and(|book| book.primary().is_none_or(|id| !starters.all.contains(id)));
            let gone = other && book.is_some_and(|book| book.primary().is_some());
            let every = if gone { every.min(URGENT) } else { every };
            let due = book.map_or(now, |book| book.due(true, every, now));
            (starters.all.len() > 1 || other).then_some((due, *name))
        })
    }

    /// When to ask next. None: not at all.
    #[must_use]
    pub fn next(&self, every: Duration, now: Instant) -> Option<Instant> {
        self.questions(every, now).map(|(due, _)| due).min()
    }

    /// The services to ask about now.
    #[must_use]
    pub fn due(&self, every: Duration, now: Instant) -> Vec<Arc<str>> {
        let mut due: Vec<_> = self
            .questions(every, now)
            .filter(|(at, _)| *at <= now)
            .collect();
        due.sort_unstable();
        let due = due.into_iter().take(ASKED_MAX);
        due.map(|(_, name)| Arc::clone(name)).collect()
    }

    /// Why a task does not serve. None: it may.
    #[must_use]
    pub fn excludes(&self, task: &Task) -> Option<String> {
        let service = task.service.as_ref()?;
        let starters = self.starters.get(service)?;
        match self.services.known.get(service) {
            Some(book) => book.rule(&starters.all).excludes(task),
            // Which of them serves is asked at once. Until then it is the one that did.
            None => {
                let own = task.started_by.as_ref()?;
                let (_, first) = starters.first?;
                (starters.all.len() > 1 && own != first)
                    .then(|| format!("whether {own} serves, beside {first}, is being asked of ECS"))
            }
        }
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests stand outside: they choose the times that they hand in"
)]
#[path = "services_tests.rs"]
mod tests;
