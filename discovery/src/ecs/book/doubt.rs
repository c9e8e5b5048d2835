//! Since when a task is known to be where it is. Time is an argument.

use std::time::Instant;

use super::super::aim::Aim;
use super::{Book, Entry};

impl Book {
    /// Somebody asked for a look, as connections to a target were lost. Which target that was is
    /// not told, so the next look describes all that a list cannot confirm.
    pub fn doubt(&mut self, now: Instant) {
        self.doubted_at = Some(now);
    }

    /// Whether a task has to be described because of that.
    pub(super) fn is_doubted(&self, entry: &Entry, aim: &impl Aim) -> bool {
        let before = |at| entry.described_at < Some(at);
        let lists_do = entry.task.as_ref().is_none_or(|it| it.interface.is_some());
        // What is no target is in nobody's doubt.
        let serves = || {
            let parts = self.resolve(entry, aim);
            parts.is_ok_and(|parts| parts.iter().any(|part| part.target.is_ok()))
        };
        !lists_do && self.doubted_at.is_some_and(before) && serves()
    }
}

impl Entry {
    /// The start of the latest look that showed it in its place. None: none did.
    ///
    /// An interface stays as long as its task, so a list is such a look. It does not show a port of
    /// the host, which a container that is restarted in place leaves to the next one: that takes a
    /// description, too.
    pub(super) fn confirmed_at(&self) -> Option<Instant> {
        let own = self.task.as_ref().is_some_and(|it| it.interface.is_some());
        match own {
            true => self.listed_at,
            false => self.listed_at.min(self.described_at),
        }
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests stand outside: they choose the times that they hand in"
)]
#[path = "doubt_tests.rs"]
mod tests;
