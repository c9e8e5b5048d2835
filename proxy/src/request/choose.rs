//! Which target is asked next, and whether to wait for one.

use std::cell::Cell;
use std::time::Duration;

use super::Destination;
use super::answer::Reason;
use super::attempts::Attempts;
use crate::clock;
use crate::control::ids::GroupId;
use crate::serve::client::Client;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::identity::Identity;
use crate::upstream::lease::{Feedback, Lease};
use crate::upstream::picker::Asked;
use crate::upstream::trial::Ended;

/// How long a request waits when no target can be used at the moment, but one is likely to be soon:
/// when that every target is still in its place is in doubt (after the wait it is used all the
/// same: an outage of discovery must not become one of the service), when all targets are new and
/// wait for their first health check, or when none that a source told of can be connected to.
const TARGET_WAIT: Duration = Duration::from_secs(3);

/// When so many discovered targets in a row cannot be connected to, what is known of the group is
/// more likely out of date than that all of them fail: a deployment has replaced them since the
/// latest look. The source is asked before more of them are. Below half of `ATTEMPTS_MAX`, so that
/// as many can be tried after that.
const UNREACHED_MAX: usize = 7;

/// What comes next for a request.
pub(super) enum Choice {
    Lease(Lease),
    /// No target can be used, but one may be soon.
    Wait,
    /// All work at as many requests as they may, or those that are left to this request do
    /// (`pinned`), as the one at which its client stays.
    Queue {
        pinned: bool,
    },
    Answer(Reason),
}

/// Picks a target that was not tried yet: the one at which the client stays, if it can be used.
pub(super) fn choose(
    client: &Client,
    to: Destination,
    stays: Option<Identity>,
    replayable: bool,
    waits: bool,
    attempts: &mut Attempts,
) -> Choice {
    let snapshot = client.worker.shared.load();
    let Some(group) = snapshot.group(to.group) else {
        return Choice::Answer(Reason::GroupRemoved);
    };
    if group.candidates.is_empty() {
        return match group.empty {
            Reason::NoCheckedTarget if attempts.may_wait() => Choice::Wait,
            reason => Choice::Answer(reason),
        };
    }
    if let Some(counted) = &group.unhealthy_routing
        && attempts.is_first()
    {
        counted.count(client.worker.index);
    }
    attempts.trust_if(!group.can_confirm);
    let feedback = if group.is_measured() || (group.is_timed && group.control.is_some()) {
        Feedback::Measured(clock::now())
    } else if group.is_counted() {
        Feedback::Counted
    } else if group.is_timed {
        Feedback::Timed(clock::now())
    } else {
        Feedback::None
    };
    let asked = Asked {
        worker: client.worker.index,
        now: match feedback {
            Feedback::Measured(now) => clock::micros(now) / 1_000,
            Feedback::Counted | Feedback::Timed(_) | Feedback::None => client.worker.timers.now(),
        },
        draw: &|bound| client.worker.draw(bound),
        hash: to.hash,
    };
    if let Some(control) = &group.control
        && !waits
        && control.admission.is_behind(client.worker.index)
    {
        return Choice::Queue { pinned: false };
    }
    let has_room = |endpoint: &Endpoint| {
        let control = group.control.as_ref();
        control.is_none_or(|control| endpoint.outstanding() < control.limit)
    };
    let outdated = attempts.unreached() > 0 && group.is_discovered && attempts.may_ask();
    if outdated && attempts.unreached() >= UNREACHED_MAX {
        return Choice::Wait;
    }
    loop {
        let full = Cell::new(false);
        let doubt = Cell::new(false);
        // Somebody else could use a target that this request cannot.
        let passed = Cell::new(false);
        let is_on_trial =
            |endpoint: &Endpoint| group.has_trials && !endpoint.trial.allows(replayable);
        let sure = |endpoint: &Endpoint| {
            if is_on_trial(endpoint) {
                return false;
            }
            let doubtful = !attempts.trusts() && endpoint.is_doubtful();
            doubt.set(doubt.get() || doubtful);
            !doubtful
        };
        // A stale connection does not speak against the target at which the client stays, if there
        // is no doubt: moving it costs its session, and the next connection is a new one.
        let stayed = stays.and_then(|target| {
            group.find(target, |endpoint| {
                (!attempts.tried(endpoint.id) || attempts.was_stale(endpoint.id)) && sure(endpoint)
            })
        });
        if stayed.is_some_and(|endpoint| !has_room(endpoint)) {
            // To move the client would cost its session.
            return Choice::Queue { pinned: true };
        }
        let picked = stayed.or_else(|| {
            group.pick(&asked, |endpoint| {
                let others = attempts.tried(endpoint.id) || is_on_trial(endpoint);
                passed.set(passed.get() || (others && has_room(endpoint)));
                let usable = !others && sure(endpoint);
                let room = !usable || has_room(endpoint);
                full.set(full.get() || !room);
                usable && room
            })
        });
        return match picked {
            Some(endpoint) => {
                let on_trial = if group.has_trials {
                    let Some(on_trial) = endpoint.trial.take(replayable) else {
                        // Another worker took the permit.
                        continue;
                    };
                    on_trial
                } else {
                    false
                };
                let local = client.worker.pool.local(endpoint);
                let index = client.worker.index;
                match &group.control {
                    None => Choice::Lease(Lease::begin(local, index, feedback, on_trial)),
                    Some(control) => {
                        match Lease::begin_below(local, index, feedback, on_trial, control) {
                            Some(lease) => Choice::Lease(lease),
                            // Another worker took the room.
                            None => {
                                if on_trial {
                                    endpoint.trial.ended(Ended::Untold);
                                }
                                continue;
                            }
                        }
                    }
                }
            }
            // Those behind it need not wait for what only this one waits for.
            None if full.get() => Choice::Queue {
                pinned: passed.get(),
            },
            None if attempts.takes_second_chance() => continue,
            // In doubt, or all of them have just left and the next snapshot is about to come.
            None if (doubt.get() || attempts.has_only_doubts()) && attempts.may_wait() => {
                Choice::Wait
            }
            None if outdated => Choice::Wait,
            None => Choice::Answer(attempts.failure()),
        };
    }
}

/// Waits until a target can be used, or until the wait is too long.
pub(super) async fn wait_for_target(client: &Client, group: GroupId, attempts: &mut Attempts) {
    let mut changes = client.worker.shared.changes();
    // What is known is out of date then: only a target that a later look shows is worth a try.
    let since = (attempts.unreached() > 0).then(|| clock::micros(clock::now()));
    let worth = |endpoint: &Endpoint| since.is_none_or(|at| endpoint.was_confirmed_after(at));
    let usable = async {
        // Looks first: the change may have come between the failed pick and here.
        loop {
            let over = client
                .worker
                .shared
                .load()
                .group(group)
                .is_none_or(|group| {
                    for source in &group.look_now {
                        source.notify_one();
                    }
                    (group.candidates.is_empty() && group.empty == Reason::NoTargets)
                        || (!group.can_confirm && !group.candidates.is_empty())
                        || group.candidates.iter().any(|endpoint| {
                            !endpoint.is_retired() && !endpoint.is_doubtful() && worth(endpoint)
                        })
                });
            if over || changes.changed().await.is_err() {
                return;
            }
        }
    };
    let timely = tokio::time::timeout(client.left_of(TARGET_WAIT), usable).await;
    attempts.waited(timely.is_ok());
}
