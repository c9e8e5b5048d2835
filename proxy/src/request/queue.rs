//! A request that waits because every target of its group works at as many as it may.

use std::future::poll_fn;
use std::time::Duration;

use tokio::time::Instant;

use super::answer::Reason;
use crate::clock;
use crate::control::ids::GroupId;
use crate::serve::client::Client;
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
    fn join(client: &Client, group: GroupId, pinned: bool) -> Result<Self, Reason> {
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

    /// Until a target may have room.
    async fn turn(&self, client: &Client) -> Result<(), Reason> {
        let now = now();
        let until = self.until.min(now + client.left_of(TOTAL_MAX));
        // At the end of the request's time it is not the queue that was too slow.
        if wait_for_turn(&self.place, until).await || until < self.until {
            Ok(())
        } else {
            Err(Reason::QueueTimeout)
        }
    }
}

/// Waits in the queue of a group until a target may have room. `pinned`: for some targets alone.
pub(super) async fn wait(
    client: &Client,
    group: GroupId,
    pinned: bool,
    queued: &mut Option<Queued>,
) -> Result<(), Reason> {
    let queued = match queued {
        Some(queued) => {
            // It was its turn, and there was no target for it.
            queued.place.pass_on(pinned);
            queued
        }
        None => {
            let queued = queued.insert(Queued::join(client, group, pinned)?);
            if queued.place.is_first() {
                // A target may have got room just before.
                return Ok(());
            }
            queued
        }
    };
    queued.turn(client).await
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
