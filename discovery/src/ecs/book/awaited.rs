//! What a first look has not seen yet. Until it has, it is no whole set: one without tasks that run
//! would take away what was known before a reload, or is remembered from before a restart.

use super::super::aim::{Aim, Wish};
use super::super::api::Host;
use super::super::known::State;
use super::super::resolve::Unresolved;
use super::{Book, Entry};

impl Book {
    /// Why a task that runs cannot be judged yet, if all that it lacks is a definition or the
    /// address of its host, and that may still come. None: there is no such task.
    #[must_use]
    pub fn awaited(&self, aim: &impl Aim) -> Option<String> {
        let rule = self.set_rule();
        // What an event has told since the list was asked for is of no list, and was never lost.
        let listed = |entry: &&Entry| entry.seen_at <= self.looked_at;
        self.tasks.values().filter(listed).find_map(|entry| {
            let task = entry.task.as_ref()?;
            let runs = task.desired_running && task.last_status == "RUNNING" && !task.unhealthy;
            if !runs || rule.excludes(task).is_some() {
                return None;
            }
            self.awaits_definition(entry, aim)
                .or_else(|| self.awaits_host(entry, aim))
        })
    }

    fn awaits_definition(&self, entry: &Entry, aim: &impl Aim) -> Option<String> {
        let task = entry.task.as_ref()?;
        let arn = task.definition.as_deref()?;
        let waits = matches!(self.resolve(entry, aim), Err(Unresolved::Waiting(_)));
        if aim.definition(task) != Wish::Need || !waits {
            return None;
        }
        match self.definitions.state(Some(arn)) {
            State::Here(_) | State::Refused(_) => None,
            State::Awaited(None) => Some(format!("{arn} was not asked for yet")),
            State::Awaited(Some(reason)) => Some(reason.to_owned()),
        }
    }

    fn awaits_host(&self, entry: &Entry, aim: &impl Aim) -> Option<String> {
        let task = entry.task.as_ref()?;
        let arn = task.host.as_deref()?;
        let State::Awaited(reason) = self.hosts.state(Some(arn)) else {
            return None;
        };
        if task.interface.is_some() {
            return None;
        }
        // Whether it would be a target at any address. If not, it lacks something else as well.
        let any = Host {
            arn: arn.into(),
            instance: arn.into(),
            address: [0, 0, 0, 0].into(),
            zone: None,
        };
        let definition = self.definitions.state(task.definition.as_deref());
        let at = entry.confirmed_at()?;
        let parts = aim.parts(task, &State::Here(&any), &definition, at).ok()?;
        let serves = parts.iter().any(|part| part.target.is_ok());
        serves.then(|| match reason {
            None => format!("the address of the host {arn} is not known"),
            Some(reason) => format!("the address of the host {arn} is not known: {reason}"),
        })
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests stand outside: they choose the times that they hand in"
)]
#[path = "awaited_tests.rs"]
mod tests;
