//! A request that waits because every target of its group works at as many as it may.

use std::future::poll_fn;
use std::time::Duration;

use tokio::time::Instant;

use super::answer::Reason;
use crate::clock;
use crate::control::ids::GroupId;
use crate::serve::connection::Client;
use crate::upstream::admission::Place;

/// From one look to the next of the first that waits.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Longer than any request may wait.
const TOTAL_MAX: Duration = Duration::from_secs(24 * 3600);

/// A place in the queue of a group, and until when it is good.
pub(super) struct Queued {
    place: Place,
    until: Instant,
}

impl Queued {
    /// At the end of the queue.
    pub(super) fn join(client: &Client, group: GroupId, pinned: bool) -> Result<Self, Reason> {
        let snapshot = client.worker.shared.load();
        let control = snapshot
            .group(group)
            .and_then(|group| group.control.as_ref());
        let control = control.ok_or(Reason::QueueFull)?;
        let (worker, most) = (client.worker.index, control.queue_length);
        let place = control.admission.join(worker, pinned, most);
        Ok(Self {
            place: place.ok_or(Reason::QueueFull)?,
            until: now() + control.queue_timeout,
        })
    }

    /// Nobody stands before it.
    pub(super) fn is_first(&self) -> bool {
        self.place.is_first()
    }

    /// There was no target for it at its turn.
    pub(super) fn pass_on(&self) {
        self.place.pass_on();
    }

    /// Until a target may have room.
    pub(super) async fn wait(&self, client: &Client) -> Result<(), Reason> {
        let now = now();
        let until = self.until.min(now + client.left_of(TOTAL_MAX));
        if wait_for_turn(&self.place, until).await || client.is_overdue() {
            Ok(())
        } else {
            Err(Reason::QueueTimeout)
        }
    }
}

/// Waits for a turn at a place in the queue, or until a time. False if that came first.
async fn wait_for_turn(place: &Place, until: Instant) -> bool {
    loop {
        // A new target, or a limit that a reload took away, wakes nobody: the first looks for itself.
        let next = until.min(now() + LOOK_AGAIN);
        let turn = tokio::time::timeout_at(next, poll_fn(|cx| place.poll_turn(cx)));
        match turn.await {
            Ok(()) => return true,
            Err(_) if now() >= until => return false,
            Err(_) if place.is_first() => return true,
            Err(_) => {}
        }
    }
}

fn now() -> Instant {
    Instant::from_std(clock::now())
}
