//! The life of one request, top to bottom.
//!
//! The order of the steps and every `return` are here; what is pure and has a name is called from
//! here. Each attempt reads the newest snapshot, so that a retry can reach a target that did not
//! exist at the first try, and never one that has left.

pub mod admit;
pub mod answer;
pub mod body;
pub mod headers;
mod outbound;
pub mod pattern;
pub mod redirect;
pub mod retry;
pub mod rules;

use std::cell::Cell;
use std::task::{Context, Poll};
use std::time::Duration;

use http::request::Parts;
use http::{Request, Response};
use hyper::body::Incoming;

use crate::control::ids::GroupId;
use crate::control::snapshot::Limits;
use crate::observe::outcome::Outcome;
use crate::serve::connection::Client;
use crate::serve::timers::Slot;
use crate::upstream::connect::connect;
use crate::upstream::error::AttemptError;
use crate::upstream::forward::{Interrupt, forward};
use crate::upstream::lease::Lease;
use crate::upstream::pool::Connection;
use answer::Reason;
use body::{ResponseBody, TargetBody};
use outbound::{Attempts, Outbound};
use rules::{Action, Facts};

/// How long a request waits when no target can be used at the moment, but one is likely to be soon:
/// when that every target is still in its place is in doubt (after the wait it is used all the
/// same: an outage of discovery must not become one of the service), or when all targets are new
/// and wait for their first health check.
const TARGET_WAIT: Duration = Duration::from_secs(3);

/// Answers one request of a client.
pub(crate) async fn handle(client: &Client, request: Request<Incoming>) -> Response<ResponseBody> {
    let outcome = Outcome::start(client);
    let (mut head, incoming) = request.into_parts();

    if let Err(reason) = admit::admit(&mut head) {
        return outcome.answer(reason);
    }

    let (group, limits) = {
        let snapshot = client.worker.shared.load();
        let Some(listener) = snapshot.listener(client.listener) else {
            return outcome.answer(Reason::ListenerRemoved);
        };
        let facts = facts(client, &head);
        match listener.rules.action(&facts) {
            Action::Forward(split) => match split.choose(|sum| client.worker.draw(sum)) {
                Some(group) => (group, snapshot.limits),
                None => return outcome.answer(Reason::GroupRemoved),
            },
            Action::Redirect(redirect) => {
                return match redirect.location(&facts, "http", client.local.port()) {
                    Some(location) => outcome.own(
                        Reason::Redirect,
                        answer::redirect(redirect.status, location),
                    ),
                    None => outcome.answer(Reason::RedirectInvalid),
                };
            }
            Action::Fixed(fixed) => {
                let response =
                    answer::fixed(fixed.status, fixed.content_type.clone(), fixed.body.clone());
                return outcome.own(Reason::FixedResponse, response);
            }
        }
    };

    headers::to_target(&mut head.headers, &client.forwarded);
    let mut outbound = Outbound::new(head, incoming, client.local);
    client.uploads(outbound.upload());
    let mut attempts = Attempts::default();
    let slot = client.worker.timers.slot();

    loop {
        let lease = match choose(client, group, &mut attempts) {
            Choice::Lease(lease) => lease,
            Choice::Wait => {
                wait_for_target(client, group, &mut attempts).await;
                continue;
            }
            Choice::Answer(reason) => return outcome.answer(reason),
        };
        match attempt(client, &lease, &mut outbound, &attempts, &limits, &slot).await {
            Ok((response, connection)) => {
                return relay(
                    client, response, connection, &outbound, lease, slot, &limits, outcome,
                );
            }
            Err(error) => {
                attempts.note(&lease, &error);
                if !outbound.may_retry(&error, &attempts) {
                    return outcome.answer(reason_for(&error));
                }
                outcome.retried();
            }
        }
    }
}

fn facts<'r>(client: &Client, head: &'r Parts) -> Facts<'r> {
    let host = head.headers.get(http::header::HOST);
    Facts {
        method: &head.method,
        host: host.and_then(|host| host.to_str().ok()).unwrap_or_default(),
        path: head.uri.path(),
        query: head.uri.query(),
        headers: &head.headers,
        source: client.peer.ip(),
    }
}

/// What comes next for a request.
enum Choice {
    Lease(Lease),
    /// No target can be used, but one may be soon.
    Wait,
    Answer(Reason),
}

/// Picks a target that was not tried yet.
fn choose(client: &Client, group: GroupId, attempts: &mut Attempts) -> Choice {
    let snapshot = client.worker.shared.load();
    let Some(group) = snapshot.group(group) else {
        return Choice::Answer(Reason::GroupRemoved);
    };
    if group.candidates.is_empty() {
        return match group.empty {
            Reason::NoCheckedTarget if attempts.may_wait() => Choice::Wait,
            reason => Choice::Answer(reason),
        };
    }
    attempts.trust_if(!group.can_confirm);
    loop {
        let doubt = Cell::new(false);
        let picked = group.pick(client.worker.index, |endpoint| {
            if attempts.tried(endpoint.id) {
                return false;
            }
            let doubtful = !attempts.trusts() && endpoint.is_doubtful();
            doubt.set(doubt.get() || doubtful);
            !doubtful
        });
        return match picked {
            Some(endpoint) => Choice::Lease(Lease::begin(
                client.worker.pool.local(endpoint),
                client.worker.index,
                group.is_counted(),
            )),
            None if attempts.takes_second_chance() => continue,
            // In doubt, or all of them have just left and the next snapshot is about to come.
            None if (doubt.get() || attempts.has_only_doubts()) && attempts.may_wait() => {
                Choice::Wait
            }
            None => Choice::Answer(attempts.failure()),
        };
    }
}

/// Waits until a target can be used, or until the wait is too long.
async fn wait_for_target(client: &Client, group: GroupId, attempts: &mut Attempts) {
    let mut changes = client.worker.shared.changes();
    let usable = async {
        // Looks first: the change may have come between the failed pick and here.
        loop {
            let over = client
                .worker
                .shared
                .load()
                .group(group)
                .is_none_or(|group| {
                    group.look_now.notify_one();
                    (group.candidates.is_empty() && group.empty == Reason::NoTargets)
                        || (!group.can_confirm && !group.candidates.is_empty())
                        || group
                            .candidates
                            .iter()
                            .any(|endpoint| !endpoint.is_retired() && !endpoint.is_doubtful())
                });
            if over || changes.changed().await.is_err() {
                return;
            }
        }
    };
    let timely = tokio::time::timeout(TARGET_WAIT, usable).await;
    attempts.waited(timely.is_ok());
}

/// One attempt at one target, up to the head of its response.
async fn attempt(
    client: &Client,
    lease: &Lease,
    outbound: &mut Outbound,
    attempts: &Attempts,
    limits: &Limits,
    slot: &Slot,
) -> Result<(Response<Incoming>, Box<Connection>), AttemptError> {
    let pool = &client.worker.pool;
    let pooled = if attempts.wants_fresh_connection() {
        None
    } else {
        pool.take(lease.local(), !outbound.is_replayable())
    };
    let mut connection = match pooled {
        Some(connection) => connection,
        None => connect(pool, lease.local(), limits.connect, attempts.trusts()).await?,
    };
    let Some(request) = outbound.request() else {
        return Err(AttemptError::Client);
    };
    slot.set(limits.idle);
    slot.watch(lease.local());
    let sent = forward(&mut connection, request, |cx| {
        interrupt(client, lease, limits, slot, cx)
    });
    match sent.await {
        Ok(response) => {
            headers::check_response(response.status(), response.headers())
                .map_err(AttemptError::Malformed)?;
            Ok((response, connection))
        }
        Err(failed) => {
            if let Some(unsent) = failed.unsent {
                outbound.put_back(unsent);
            }
            if outbound.upload_has_failed() {
                return Err(AttemptError::Client);
            }
            Err(failed.error)
        }
    }
}

/// Whether the wait for a response is over for another reason than a response.
fn interrupt(
    client: &Client,
    lease: &Lease,
    limits: &Limits,
    slot: &Slot,
    cx: &Context<'_>,
) -> Poll<Interrupt> {
    std::task::ready!(slot.poll(cx));
    if lease.endpoint().is_expired() {
        return Poll::Ready(Interrupt::Expired);
    }
    // The limit counts from the last byte that the client sent: a long upload is no wait.
    let quiet = client.quiet_for();
    if quiet < limits.idle {
        slot.set(limits.idle - quiet);
        std::task::ready!(slot.poll(cx));
    }
    Poll::Ready(Interrupt::Late)
}

/// Hands a target's response to the client.
#[allow(
    clippy::too_many_arguments,
    reason = "each is one thing that ends with the body"
)]
fn relay(
    client: &Client,
    response: Response<Incoming>,
    connection: Box<Connection>,
    outbound: &Outbound,
    lease: Lease,
    slot: Slot,
    limits: &Limits,
    mut outcome: Outcome,
) -> Response<ResponseBody> {
    let (mut head, incoming) = response.into_parts();
    headers::to_client(&mut head.headers);
    // The version is that of each connection (RFC 9112 §2.3), not of the target.
    head.version = http::Version::HTTP_11;
    outcome.respond(&mut head);
    // The target answers before it has the whole request. From here on both directions must move
    // on their own: a client that reads only after it has sent all would stop both.
    let connection = if outbound.upload_is_open() {
        connection.detach(client.rc(), lease.local(), limits.idle);
        None
    } else {
        Some(connection)
    };
    let body = TargetBody {
        incoming,
        connection,
        lease: Some(lease),
        slot,
        idle_timeout: limits.idle,
        worker: std::rc::Rc::clone(&client.worker),
        outcome,
    };
    Response::from_parts(head, ResponseBody::target(body.started()))
}

/// The reason that the client is told for an attempt's failure.
fn reason_for(error: &AttemptError) -> Reason {
    match error {
        AttemptError::Connect(_) | AttemptError::Doubtful => Reason::ConnectFailed,
        AttemptError::ConnectTimeout => Reason::ConnectTimeout,
        AttemptError::Closed { .. } => Reason::TargetClosed,
        AttemptError::Malformed(_) => Reason::TargetMalformed,
        AttemptError::ResponseTimeout => Reason::TargetTimeout,
        AttemptError::Expired => Reason::DeregistrationDelayElapsed,
        AttemptError::Client => Reason::RequestBodyIncomplete,
    }
}
