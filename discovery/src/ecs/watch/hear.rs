//! What comes by way of the queue.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::{GATHER, Watch};
use crate::clock::{now, wall};
use crate::ecs::aim::Aim;
use crate::ecs::book::Told;
use crate::ecs::event::TaskEvent;
use crate::ecs::feed::Subscription;

/// What comes by way of the queue.
pub(super) enum Heard {
    Event(Arc<TaskEvent>),
    Missed,
    State,
}

/// Waits for news of the queue; for ever without one.
pub(super) async fn hear(events: &mut Option<Subscription>) -> Heard {
    let Some(subscription) = events else {
        return std::future::pending().await;
    };
    let mut state = subscription.state.clone();
    tokio::select! {
        event = subscription.events.recv() => match event {
            Ok(event) => Heard::Event(event),
            Err(RecvError::Lagged(_)) => Heard::Missed,
            // The subscription holds a sender, so this does not happen.
            Err(RecvError::Closed) => std::future::pending().await,
        },
        Ok(()) = state.changed() => {
            subscription.state.mark_unchanged();
            Heard::State
        }
        else => std::future::pending().await,
    }
}

impl<A: Aim> Watch<A> {
    pub(super) fn take(&mut self, heard: Heard) {
        match heard {
            Heard::Event(event) => self.take_event(&event),
            Heard::Missed => {
                self.trust.excuse();
                self.look_by(now());
            }
            Heard::State => self.trust.excuse(),
        }
        // What has come meanwhile goes into the same set.
        while let Some(more) = self.events.as_mut().map(|it| it.events.try_recv()) {
            match more {
                Ok(event) => self.take_event(&event),
                Err(TryRecvError::Lagged(_)) => {
                    self.trust.excuse();
                    self.look_by(now());
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    fn take_event(&mut self, event: &TaskEvent) {
        if !self.aim.concerns(event) {
            return;
        }
        self.trust.told(&event.task.arn);
        let since = u64::try_from(event.at).unwrap_or_default();
        // Never in the future, whatever the two clocks say.
        let age = wall().saturating_sub(Duration::from_millis(since));
        let now = now();
        match self.book.told(event, age, now) {
            Told::Nothing => {}
            Told::Gone => self.send_at = Some(now),
            Told::Changed => self.send_at = self.send_at.or(Some(now + GATHER)),
            Told::Look => self.look_by(now),
            Told::Later(at) => self.look_by(at),
        }
    }
}
