//! The life of one request, top to bottom.
//!
//! The order of the steps and every `return` are here; what is pure and has a name is called from
//! here. Each attempt reads the newest snapshot, so that a retry can reach a target that did not
//! exist at the first try, and never one that has left.

pub mod admit;
pub mod answer;
mod attempts;
pub mod attributes;
pub mod basic;
mod choose;
pub mod compress;
pub mod condition;
pub mod cors;
pub mod desync;
mod download;
pub mod edits;
mod exchange;
pub mod grpc;
pub mod hash;
pub mod headers;
mod hedge;
pub(crate) mod link;
pub mod mirror;
pub mod networks;
pub mod normal;
pub mod pattern;
mod plan;
pub mod policy;
pub mod protocol;
mod queue;
pub mod rate;
pub mod redirect;
pub mod retry;
mod rule_index;
pub mod rules;
pub mod sticky;
pub mod trace;
pub mod transform;
mod trie;
mod tunnel;
mod upload;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use crate::clock;
use crate::control::ids::GroupId;
use crate::control::snapshot::Limits;
use crate::http1::body::Body;
use crate::observe::outcome::Outcome;
use crate::serve::client::Client;
use crate::upstream::connect::connect;
use crate::upstream::endpoint::Loss;
use crate::upstream::error::AttemptError;
use crate::upstream::lease::Lease;
use crate::upstream::passive::Fault;
use crate::upstream::pool::Connection;
use answer::{Answer, Dress, Reason};
use attempts::Attempts;
use choose::{Choice, choose, wait_for_target};
pub(crate) use exchange::Quiet;
use exchange::{Inbound, RelayError, Response};
use hedge::Hedged;
use link::Link;
pub(crate) use plan::Destination;
use plan::{Plan, plan};
use policy::Terms;
use queue::Queued;
use retry::{Failed, Known, Policy as RetryPolicy, Verdict};
use sticky::Sticky;
use tunnel::Ended;
use upload::Upload;

/// The largest request body that is read only to be dropped, so that its connection can stay.
const DISCARD_MAX: u64 = 64 * 1024;

/// What comes next on a client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// The head is not complete.
    More,
    /// Another request.
    Request,
    /// Its end.
    Close,
    /// Its end, once the client has read the last response: it may still be sending.
    Linger,
    /// Its end, in a way that a client cannot take for the end of a response.
    Reset,
    /// It is no HTTP/1.1 connection.
    Http2,
}

/// Answers the request whose head begins the link's input, and records what became of it.
pub(crate) async fn handle(client: &Client, link: &mut Link) -> Next {
    let mut outcome = Outcome::new(client, link);
    let next = lead(client, link, &mut outcome).await;
    outcome.end(link);
    next
}

/// Leads a request from its head to its end.
async fn lead(client: &Client, link: &mut Link, outcome: &mut Outcome<'_>) -> Next {
    let mut plan = plan(client, link, outcome);
    if let Some(login) = plan.terms().and_then(|terms| terms.login.take()) {
        let verify = Box::pin(login.verify());
        let Some(verdict) = unless_gone(client, link, verify).await else {
            return Next::Close;
        };
        plan = plan.admit(verdict);
    }
    // Borrowed and not moved out: they are large.
    let (inbound, upload, route) = match &mut plan {
        Plan::More => return Next::More,
        Plan::Answer(inbound, body, answer, terms) => {
            outcome.start(inbound.matched, inbound.finding);
            outcome.note(|note| answer.note(note));
            let terms = terms.as_deref();
            let inbound = Inbound { terms, ..*inbound };
            return respond(client, link, outcome, &inbound, body, answer).await;
        }
        Plan::Forward(inbound, upload, route) => {
            outcome.start(inbound.matched, inbound.finding);
            (inbound, upload, &*route)
        }
    };
    let (destination, limits) = (route.destination, &route.limits);
    outcome.goes_to(destination.group);
    let retry = route.retry.as_deref().unwrap_or(&RetryPolicy::DEFAULT);
    client.limit_request(limits.total);
    let sticky = route.sticky.as_deref();
    let stays = sticky.and_then(Sticky::target);
    let inbound = Inbound {
        sticky,
        terms: route.terms.as_deref(),
        ..*inbound
    };
    let mut attempts = Attempts::new(retry.attempts);
    // Where it waits while all targets are at work.
    let mut queued: Option<Queued> = None;
    loop {
        client.limit_attempt(None);
        let (replayable, waits) = (inbound.replayable, queued.is_some());
        let choice = if client.is_overdue() {
            Choice::Answer(Reason::TotalTimeout)
        } else {
            choose(client, destination, stays, replayable, waits, &mut attempts)
        };
        let mut lease = match choice {
            Choice::Lease(lease) => lease,
            Choice::Queue { pinned } => {
                let since = clock::now();
                let turn = queue::wait(client, destination.group, pinned, &mut queued);
                let turn = unless_gone(client, link, Box::pin(turn)).await;
                outcome.waited(since);
                match turn {
                    None => return Next::Close,
                    Some(Ok(())) => continue,
                    Some(Err(reason)) => {
                        // Its client may take its time with the answer, and others wait behind it.
                        drop(queued.take());
                        return refuse(client, link, outcome, &inbound, upload, reason).await;
                    }
                }
            }
            Choice::Wait => {
                let since = clock::now();
                let waited = wait_for_target(client, destination.group, &mut attempts);
                let waited = unless_gone(client, link, Box::pin(waited)).await;
                outcome.waited(since);
                if waited.is_none() {
                    return Next::Close;
                }
                continue;
            }
            Choice::Answer(reason) => {
                drop(queued.take());
                return refuse(client, link, outcome, &inbound, upload, reason).await;
            }
        };
        queued = None;
        client.limit_attempt(retry.per_try);
        let attempted = match hedge::delay(retry, &inbound, upload, stays) {
            None => {
                let attempted = attempt(
                    client, link, &lease, upload, &inbound, &attempts, limits, outcome,
                );
                attempted.await
            }
            Some(delay) => {
                let hedged = Hedged {
                    client,
                    inbound: &inbound,
                    limits,
                    destination,
                    policy: retry,
                };
                // In a box: requests without it, which are most, need not be as large.
                let hedged = hedged.attempt(delay, link, lease, upload, &mut attempts, outcome);
                let (won, attempted) = Box::pin(hedged).await;
                lease = won;
                attempted
            }
        };
        match attempted {
            Ok((response, connection)) => {
                lease.answered(response.status, outcome.answered(response.status));
                if response.switches {
                    let group = destination.group;
                    client.worker.buffers.put_output(upload.take_output());
                    return switch(client, link, connection, group, lease, limits, outcome).await;
                }
                if let Some(fault) = Fault::of_status(response.status) {
                    blame(client, destination.group, &lease, fault);
                }
                // A target that answered before it had all may not be waited for by its client.
                if retry.names(response.status) && upload.is_done() {
                    let status = Failed::Status(response.status);
                    let known = attempts.known(&inbound, upload, 1);
                    if may_retry(client, destination.group, status, known, retry)
                        && link.take_back()
                    {
                        attempts.note_response(&lease);
                        response.leave(&connection);
                        drop((connection, lease));
                        upload.rewind();
                        outcome.is_in_vain();
                        outcome.retried();
                        if !back_off(client, link, retry, &attempts).await {
                            return Next::Close;
                        }
                        continue;
                    }
                }
                let group = destination.group;
                let relayed = relay(
                    client, link, response, &inbound, connection, upload, group, &lease, limits,
                    outcome,
                );
                return relayed.await;
            }
            Err(AttemptError::ClientGone) => return Next::Close,
            Err(error) => {
                outcome.failed(reason_for(&error));
                attempts.note(&lease, &error);
                if let Some(fault) = error.fault() {
                    blame(client, destination.group, &lease, fault);
                }
                let known = attempts.known(&inbound, upload, 0);
                let failed = Failed::Error(&error);
                drop(lease);
                if !may_retry(client, destination.group, failed, known, retry) {
                    let reason = reason_for(&error);
                    return refuse(client, link, outcome, &inbound, upload, reason).await;
                }
                upload.rewind();
                outcome.retried();
                if known.seen > 0 && !back_off(client, link, retry, &attempts).await {
                    return Next::Close;
                }
            }
        }
    }
}

/// Whether a failed attempt is followed by another: by its kind, and by what the group has left.
fn may_retry(
    client: &Client,
    group: GroupId,
    failed: Failed<'_>,
    known: Known,
    policy: &RetryPolicy,
) -> bool {
    match retry::decide(failed, known, policy) {
        Verdict::Stop => false,
        Verdict::Retry => true,
        Verdict::Within => within_budget(client, group),
    }
}

/// Whether the group has another attempt left, which is taken then.
fn within_budget(client: &Client, group: GroupId) -> bool {
    let snapshot = client.worker.shared.load();
    let now = clock::micros(clock::now());
    let group = snapshot.group(group);
    let allowed = group.is_some_and(|group| group.budget.take(now));
    if !allowed {
        client.worker.metrics.retries_refused.add(1);
    }
    allowed
}

/// Waits before a retry, if the policy says so. False if the client left meanwhile.
async fn back_off(
    client: &Client,
    link: &mut Link,
    policy: &RetryPolicy,
    attempts: &Attempts,
) -> bool {
    if policy.backoff.is_zero() {
        return true;
    }
    let wait = policy.wait(attempts.lost(), client.worker.draw(1_000));
    client.limit_attempt(None);
    let wait = Box::pin(tokio::time::sleep(client.left_of(wait)));
    unless_gone(client, link, wait).await.is_some()
}

/// One attempt at one target, up to the head of its response.
#[allow(
    clippy::too_many_arguments,
    reason = "each is one thing that an attempt needs"
)]
async fn attempt(
    client: &Client,
    link: &mut Link,
    lease: &Lease,
    upload: &mut Upload,
    inbound: &Inbound<'_>,
    attempts: &Attempts,
    limits: &Limits,
    outcome: &mut Outcome<'_>,
) -> Result<(Response, Box<Connection>), AttemptError> {
    outcome.attempts(lease);
    let mut connection = match pooled(client, lease, inbound, attempts) {
        Some(connection) => {
            outcome.reuses();
            connection
        }
        None => {
            let opened = open(client, lease, inbound, attempts, limits);
            let opened = unless_gone(client, link, opened).await;
            let opened = opened.ok_or(AttemptError::ClientGone)??;
            outcome.connected();
            opened
        }
    };
    let asked = exchange::ask(
        client,
        link,
        &mut connection,
        upload,
        inbound,
        lease,
        limits,
    );
    Ok((asked.await?, connection))
}

/// An idle connection to the target, if one may be used.
fn pooled(
    client: &Client,
    lease: &Lease,
    inbound: &Inbound<'_>,
    attempts: &Attempts,
) -> Option<Box<Connection>> {
    if attempts.wants_fresh_connection() || inbound.announced.is_some() {
        return None;
    }
    let now = client.worker.timers.now();
    let pool = &client.worker.pool;
    // What may not be sent once more must not meet one that its target has closed.
    let verify = !inbound.replayable || attempts.is_at_the_last();
    pool.take(lease.local(), verify, now)
}

/// A new connection to the target.
async fn open(
    client: &Client,
    lease: &Lease,
    inbound: &Inbound<'_>,
    attempts: &Attempts,
    limits: &Limits,
) -> Result<Box<Connection>, AttemptError> {
    let header = inbound
        .announced
        .map(|version| client.proxy_header(version));
    let connected = connect(
        &client.worker.pool,
        lease.local(),
        client.left_of(limits.connect),
        attempts.trusts(),
        header.as_deref(),
        || client.worker.timers.now(),
    );
    // In a box, as every wait that most requests do not know: idle connections have room for all that
    // is not in one.
    match Box::pin(connected).await {
        // It had what was left of the request's time, which says nothing of the target.
        Err(AttemptError::ConnectTimeout) if client.is_overdue() => Err(AttemptError::Overdue),
        connected => connected,
    }
}

/// What comes of a future, or nothing if the client leaves before.
async fn unless_gone<T>(
    client: &Client,
    link: &mut Link,
    future: impl Future<Output = T>,
) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        if let Poll::Ready(done) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        link.poll_gone(true, &client.worker.buffers, cx)
            .map(|()| None)
    })
    .await
}

/// Hands a target's response to the client.
#[allow(
    clippy::too_many_arguments,
    reason = "each is one thing that ends with the response"
)]
async fn relay(
    client: &Client,
    link: &mut Link,
    mut response: Response,
    inbound: &Inbound<'_>,
    mut connection: Box<Connection>,
    upload: &mut Upload,
    group: GroupId,
    lease: &Lease,
    limits: &Limits,
    outcome: &mut Outcome<'_>,
) -> Next {
    outcome.respond(response.status);
    let relayed = {
        let relayed = pin!(exchange::relay(
            client,
            link,
            &mut connection,
            upload,
            &mut response,
            inbound,
            lease,
            limits,
        ));
        flow(relayed, outcome).await
    };
    let next = match relayed {
        Ok(()) => {
            outcome.complete();
            let worker = &client.worker;
            if response.status < 500 {
                praise(client, group, lease);
            }
            let uploaded = upload.is_done();
            if response.reusable && uploaded && !response.alone {
                let now = worker.timers.now();
                worker
                    .pool
                    .give_back(connection, lease.local(), &worker.buffers, now);
            } else if !response.reusable {
                connection.ended(Loss::Announced);
            }
            match (uploaded, response.close) {
                (true, false) => Next::Request,
                (true, true) if inbound.close && link.wire.input.is_empty() => Next::Close,
                // The next request may be on its way already, and nobody would read it.
                _ => Next::Linger,
            }
        }
        Err(error) => {
            let whole = response.download.is_read() && !link.is_pending();
            match error {
                // The client has its response, and what it still sends matters to nobody.
                RelayError::Client | RelayError::RequestBody if whole => outcome.complete(),
                RelayError::Client | RelayError::RequestBody => {}
                RelayError::Target
                | RelayError::Expired
                | RelayError::Overdue
                | RelayError::Own => {
                    lease.failed();
                    if matches!(error, RelayError::Target) {
                        lease.erred();
                        blame(client, group, lease, Fault::Failed);
                    }
                    outcome.cut_short();
                }
            }
            if response.until_close && !whole {
                Next::Reset
            } else {
                Next::Close
            }
        }
    };
    client.worker.buffers.put_output(upload.take_output());
    next
}

/// Drives a relay to its end. Notes when what there was of the response at first is on its way.
async fn flow<T>(mut relayed: Pin<&mut impl Future<Output = T>>, outcome: &mut Outcome<'_>) -> T {
    let first = poll_fn(|cx| Poll::Ready(relayed.as_mut().poll(cx)));
    match first.await {
        Poll::Ready(relayed) => relayed,
        Poll::Pending => {
            outcome.flows();
            relayed.await
        }
    }
}

/// Relays a connection that became a WebSocket, to its end.
async fn switch(
    client: &Client,
    link: &mut Link,
    mut connection: Box<Connection>,
    group: GroupId,
    lease: Lease,
    limits: &Limits,
    outcome: &mut Outcome<'_>,
) -> Next {
    outcome.respond(101);
    praise(client, group, &lease);
    let endpoint = lease.endpoint();
    let tunnel = tunnel::run(client, link, &mut connection.wire, endpoint, limits);
    // In a box: connections without a tunnel, which are most, need not be as large as one.
    match Box::pin(tunnel).await {
        Ended::Closed => {
            connection.ended_by_us();
            outcome.complete();
            Next::Linger
        }
        Ended::ByTarget => {
            // What a target that is told to stop does.
            connection.ended(Loss::Announced);
            outcome.complete();
            Next::Linger
        }
        Ended::TargetGone => {
            connection.lost(Loss::Sudden);
            lease.failed();
            lease.erred();
            blame(client, group, &lease, Fault::Failed);
            outcome.cut_short();
            Next::Linger
        }
        Ended::ClientGone => Next::Close,
    }
}

/// A request went well at its target.
fn praise(client: &Client, group: GroupId, lease: &Lease) {
    let on_trial = lease.is_on_trial();
    lease.succeeded(client.worker.timers.now());
    if on_trial {
        client.worker.call(group, lease.endpoint());
    }
}

/// A request went badly at its target. The control task is called if that may be enough to take it
/// out.
#[cold]
fn blame(client: &Client, group: GroupId, lease: &Lease, fault: Fault) {
    let on_trial = lease.is_on_trial();
    let endpoint = lease.endpoint();
    let runs = lease.faulted(fault, client.worker.timers.now());
    let snapshot = client.worker.shared.load();
    let limits = snapshot.group(group).and_then(|group| group.outliers);
    if on_trial || limits.is_some_and(|limits| runs.calls(limits, endpoint.workers())) {
        client.worker.call(group, endpoint);
    }
}

/// Sends an answer of our own in place of a target's, for that reason.
async fn refuse(
    client: &Client,
    link: &mut Link,
    outcome: &mut Outcome<'_>,
    inbound: &Inbound<'_>,
    upload: &mut Upload,
    reason: Reason,
) -> Next {
    let close = inbound.close || upload.is_held_back();
    let inbound = Inbound { close, ..*inbound };
    let answer = Answer::error(reason);
    let body = &mut upload.body;
    Box::pin(respond(client, link, outcome, &inbound, body, &answer)).await
}

/// Sends an answer of our own. `body`: what the client still owes of its request.
async fn respond(
    client: &Client,
    link: &mut Link,
    outcome: &mut Outcome<'_>,
    inbound: &Inbound<'_>,
    body: &mut Body,
    answer: &Answer,
) -> Next {
    client.attempts_end();
    outcome.respond_because(answer.reason, answer.status.as_u16());
    let discardable =
        body.is_done() || matches!(body, Body::Length(length) if *length <= DISCARD_MAX);
    let close = answer.close || inbound.close || !discardable || client.should_close();
    let (server, _) = client.dressing();
    let dress = Dress {
        to_head: inbound.is_head,
        is_grpc: inbound.is_grpc,
        connection: inbound.connection(close),
        date: &client.worker.date(),
        server: server.as_deref(),
        edits: inbound.terms.and_then(Terms::response_edits),
    };
    link.lend(&client.worker.buffers);
    answer.write(&mut link.output, &dress);
    if !client.flush(link).await {
        return Next::Close;
    }
    outcome.complete();
    if close {
        // What it may still be sending would make the kernel reset the connection, and the reset
        // could overtake the answer.
        return if body.is_done() && inbound.close && !answer.close {
            Next::Close
        } else {
            Next::Linger
        };
    }
    if client.discard(link, body).await {
        Next::Request
    } else {
        Next::Close
    }
}

/// The reason that the client is told for an attempt's failure.
fn reason_for(error: &AttemptError) -> Reason {
    match error {
        AttemptError::Connect(_) | AttemptError::Doubtful => Reason::ConnectFailed,
        AttemptError::Tls(_) => Reason::TargetTlsFailed,
        AttemptError::NotHttp2(_) => Reason::TargetNotHttp2,
        AttemptError::ConnectTimeout => Reason::ConnectTimeout,
        AttemptError::Closed { .. } | AttemptError::Refused(_) => Reason::TargetClosed,
        AttemptError::Malformed(_) => Reason::TargetMalformed,
        AttemptError::ResponseTimeout => Reason::TargetTimeout,
        AttemptError::RequestTimeout => Reason::RequestBodyTimeout,
        AttemptError::Overdue => Reason::TotalTimeout,
        AttemptError::RequestBodyTooLarge => Reason::RequestBodyTooLarge,
        AttemptError::Expired => Reason::DeregistrationDelayElapsed,
        AttemptError::RequestBody(_) | AttemptError::ClientGone => Reason::RequestBodyIncomplete,
    }
}
