//! What is sent: whole sets, and failures.

use std::time::Instant;

use super::{BLIND_LOOKS, Ended, Watch};
use crate::clock::now;
use crate::ecs::aim::Aim;
use crate::ecs::feed::State;
use crate::target::{Problem, Target, Update};

impl<A: Aim> Watch<A> {
    /// Sends what a look found.
    pub(in super::super) async fn send_all(&mut self, at: Instant) -> Result<(), Ended> {
        let (targets, problems) = self.whole();
        match &self.blind {
            // A list alone says little for long: no task's state is known anew.
            Some((looks, error)) if *looks >= BLIND_LOOKS => {
                let error = error.to_string();
                self.send(Update::Changed { targets, problems }).await?;
                self.send(Update::Failed { error, at }).await?;
            }
            _ => {
                let update = Update::Set {
                    targets,
                    problems,
                    at,
                };
                self.send(update).await?;
            }
        }
        self.open_since = None;
        self.sent();
        Ok(())
    }

    /// Sends what events told. Cut short, it begins anew: the time for it stays.
    pub(super) async fn send_change(&mut self) -> Result<(), Ended> {
        if self.complete {
            let (targets, problems) = self.whole();
            self.send(Update::Changed { targets, problems }).await?;
        }
        self.sent();
        Ok(())
    }

    fn sent(&mut self) {
        self.send_at = None;
        match self.book.wants_look(&self.aim) {
            true => self.open_since = self.open_since.or(Some(now())),
            false => self.open_since = None,
        }
    }

    fn whole(&mut self) -> (Vec<Target>, Vec<Problem>) {
        let (targets, more) = self.book.targets(&self.aim);
        let mut problems = self.problems.clone();
        problems.extend(more);
        problems.extend(self.book.service.problem());
        problems.extend(self.book.services.problems());
        let reason = self
            .events
            .as_ref()
            .and_then(|events| match &*events.state.borrow() {
                State::Starting | State::Works => None,
                State::Fails(error) => Some(format!("polling as without it: {error}")),
            });
        let reason = match reason {
            None if self.events.is_some() && !self.trust.holds(now()) => Some(
                "polling as without it for ten minutes: looks found changes that no event told"
                    .to_owned(),
            ),
            reason => reason,
        };
        problems.extend(reason.map(|reason| Problem {
            subject: "events_queue".to_owned(),
            reason,
        }));
        (targets, problems)
    }

    pub(in super::super) async fn send(&self, update: Update) -> Result<(), Ended> {
        self.out.send(update).await.map_err(|_| Ended::Unheard)
    }
}
