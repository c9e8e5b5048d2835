//! One request and its response between two sockets, driven by the client's own task: no second
//! task, no channel, no copy of a body. Each wait is a poll of everything that may end it.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use longshore_config::ProxyProtocol;

use super::admit::WEBSOCKET;
use super::compress::coder::Coder;
use super::compress::{Coded, Coding, Compression};
use super::desync::Finding;
use super::download::{Download, DownloadError};
use super::headers::{self, Delivery, push_field, push_status};
use super::link::Link;
use super::policy::Terms;
use super::sticky::{Setting, Sticky};
use super::upload::{Upload, UploadError};
use crate::clock;
use crate::control::snapshot::Limits;
use crate::http1::body::Body;
use crate::http1::field::{Field, Kind, is_named, kind};
use crate::http1::head::{ResponseHead, room};
use crate::http2::outbound;
use crate::observe::ledger::Matched;
use crate::serve::client::Client;
use crate::upstream::endpoint::{Endpoint, Loss};
use crate::upstream::error::AttemptError;
use crate::upstream::lease::Lease;
use crate::upstream::pool::Connection;

/// The largest response head, in bytes (ALB: 32 K, beyond it 502).
const RESPONSE_HEAD_MAX: usize = 32 * 1024;

/// The most bytes of 1xx responses before the last one. Not their number: a target may say every few
/// seconds that it is still at work.
const INTERIMS_MAX: usize = RESPONSE_HEAD_MAX;

/// How long after a request began its connection may end as one that the target had closed before,
/// in milliseconds. Its word of that is on the way at most that long.
const CLOSED_BEFORE: u64 = 1_000;

/// What of a request matters for its response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inbound<'s> {
    pub(crate) is_head: bool,
    pub(crate) is_1_1: bool,
    /// The connection must end after the response.
    pub(crate) close: bool,
    /// It may be sent again after it may have reached a target.
    pub(crate) replayable: bool,
    /// Its method is idempotent.
    pub(crate) idempotent: bool,
    /// Its method is safe.
    pub(crate) safe: bool,
    /// It asks for a WebSocket.
    pub(crate) websocket: bool,
    /// Neither of its connections is to be used again: what a target makes of it is not sure.
    pub(crate) alone: bool,
    /// With which PROXY header its target is connected to. Then its connection serves it alone: the
    /// header speaks of one client.
    pub(crate) announced: Option<ProxyProtocol>,
    /// Which rule it met.
    pub(crate) matched: Matched,
    /// By what it was classified; none if it is compliant.
    pub(crate) finding: Option<Finding>,
    /// What cookies its response sets; none without sticky sessions.
    pub(crate) sticky: Option<&'s Sticky>,
    /// It is gRPC, as far as its fields tell.
    pub(crate) is_grpc: bool,
    /// What its rule does besides the action. None if nothing.
    pub(crate) terms: Option<&'s Terms>,
}

impl Inbound<'_> {
    /// The Connection field of its response.
    pub(crate) fn connection(&self, close: bool) -> Option<&'static str> {
        if close {
            Some("close")
        } else if self.is_1_1 {
            None
        } else {
            // RFC 9112 §C.2.2: an HTTP/1.0 client that asked for it is told.
            Some("keep-alive")
        }
    }

    /// Whether a field behind the request's body is kept back, as it would be in its head.
    fn drops(&self, client: &Client, name: &str) -> bool {
        let edits = self.terms.and_then(|terms| terms.policy.request.as_ref());
        let attributes = &client.worker.shared.load().attributes;
        headers::is_kept_back(name, &client.forwarded, edits, attributes)
    }

    /// The same behind the response's.
    fn drops_of_response(&self, name: &str) -> bool {
        let edits = self.terms.and_then(Terms::response_edits);
        edits.is_some_and(|edits| edits.drops(name))
    }
}

/// A response whose head is written for the client.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) download: Download,
    /// The target's connection may serve again, as far as the head tells.
    pub(crate) reusable: bool,
    /// It is not to, whatever the target says.
    pub(crate) alone: bool,
    /// Both connections are a WebSocket from here on.
    pub(crate) switches: bool,
    /// The client's connection ends with it.
    pub(crate) close: bool,
    /// The client knows its end only by the end of the connection.
    pub(crate) until_close: bool,
}

impl Response {
    /// Another one is read in its place, and its connection ends.
    pub(crate) fn leave(&self, connection: &Connection) {
        if self.reusable {
            connection.ended_by_us();
        } else {
            connection.ended(Loss::Announced);
        }
    }
}

/// How far the wait for the head of a response has come.
pub(crate) struct Asking {
    /// The target may have closed the connection before.
    rested: bool,
    /// When it began (`Timers::now`).
    since: u64,
    /// Why the target took no more of the request.
    failure: Option<io::Error>,
    /// Bytes of them.
    interims: usize,
    /// From the end of the request to the head, until that time runs.
    head_limit: Option<Duration>,
}

impl Asking {
    /// An attempt begins.
    pub(crate) fn begin(
        client: &Client,
        connection: &mut Connection,
        lease: &Lease,
        limits: &Limits,
    ) -> Self {
        connection.begin();
        client.attempt_begins(lease.local(), limits.idle);
        Self {
            rested: connection.has_rested(),
            since: client.worker.timers.now(),
            failure: None,
            interims: 0,
            head_limit: limits.response_header,
        }
    }

    /// Whether a connection that ended before the head of the response was closed by its target
    /// while nothing went on, which says nothing against it. That it took its time, began to answer
    /// or ended this one stream does.
    fn was_closed_before(&self, connection: &Connection, cause: &io::Error, now: u64) -> bool {
        self.rested
            && now.saturating_sub(self.since) <= CLOSED_BEFORE
            && self.interims == 0
            && connection.wire.input.is_empty()
            && !outbound::is_reset(cause)
    }
}

/// Sends the request and waits for the head of the response.
pub(crate) async fn ask(
    client: &Client,
    link: &mut Link,
    connection: &mut Connection,
    upload: &mut Upload,
    inbound: &Inbound<'_>,
    lease: &Lease,
    limits: &Limits,
) -> Result<Response, AttemptError> {
    let mut asking = Asking::begin(client, connection, lease, limits);
    poll_fn(|cx| {
        poll_ask(
            client,
            link,
            connection,
            upload,
            inbound,
            lease,
            limits,
            &mut asking,
            cx,
        )
    })
    .await
}

/// The same, one step of it.
#[allow(
    clippy::too_many_arguments,
    reason = "each is one thing that moves, or that limits how"
)]
pub(crate) fn poll_ask(
    client: &Client,
    link: &mut Link,
    connection: &mut Connection,
    upload: &mut Upload,
    inbound: &Inbound<'_>,
    lease: &Lease,
    limits: &Limits,
    asking: &mut Asking,
    cx: &mut Context<'_>,
) -> Poll<Result<Response, AttemptError>> {
    let buffers = &client.worker.buffers;
    if !upload.is_over() {
        let moved = || client.bytes_moved();
        let drops = |name: &str| inbound.drops(client, name);
        match upload.poll(link, &mut connection.wire, buffers, moved, drops, cx) {
            Poll::Ready(Err(UploadError::Gone)) => {
                return Poll::Ready(Err(AttemptError::ClientGone));
            }
            Poll::Ready(Err(UploadError::Body(error))) => {
                return Poll::Ready(Err(AttemptError::RequestBody(error.0)));
            }
            Poll::Ready(Err(UploadError::TooLarge)) => {
                return Poll::Ready(Err(AttemptError::RequestBodyTooLarge));
            }
            // A target that answers before it has read all may have closed already: its answer
            // is still to be read.
            Poll::Ready(Err(UploadError::Target(error))) => asking.failure = Some(error),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
    }
    if asking.head_limit.is_some()
        && upload.is_over()
        && let Some(limit) = asking.head_limit.take()
    {
        client.limit_head(limit, limits.idle);
    }
    // The body that a client holds back may never come after a final response.
    let close = inbound.close || upload.is_held_back();
    let interims = &mut asking.interims;
    let head = poll_head(client, link, connection, inbound, close, interims, cx);
    if let Poll::Ready(response) = head {
        if upload.is_held_back() && response.is_ok() {
            upload.stop();
        }
        if !upload.is_over() && matches!(&response, Ok(response) if response.switches) {
            let what = "101 before it had the request";
            return Poll::Ready(Err(AttemptError::Malformed(what)));
        }
        return Poll::Ready(response.map_err(|error| match error {
            HeadError::Malformed(what) => AttemptError::Malformed(what),
            HeadError::Closed(cause) if outbound::is_refusal(&cause) => {
                AttemptError::Refused(cause)
            }
            HeadError::Closed(cause) => {
                connection.lost(Loss::Sudden);
                let now = client.worker.timers.now();
                AttemptError::Closed {
                    reused: asking.was_closed_before(connection, &cause, now),
                    stale: connection.may_be_stale(),
                    sent: upload.is_touched(),
                    cause: asking.failure.take().unwrap_or(cause),
                }
            }
        }));
    }
    // The target may not take what is left of the request for long.
    if link.poll_gone(upload.is_over(), buffers, cx).is_ready() {
        return Poll::Ready(Err(AttemptError::ClientGone));
    }
    client
        .poll_quiet(lease.endpoint(), limits.idle, cx)
        .map(|quiet| {
            let input = link.wire.input.len();
            Err(match quiet {
                Quiet::TooLong | Quiet::Late if upload.waits_for_client(input) => {
                    AttemptError::RequestTimeout
                }
                Quiet::TooLong | Quiet::Late => AttemptError::ResponseTimeout,
                Quiet::Overdue => AttemptError::Overdue,
                Quiet::Expired => AttemptError::Expired,
            })
        })
}

/// Why an exchange in which nothing moves is over.
pub(crate) enum Quiet {
    /// Nothing moved for the idle time limit.
    TooLong,
    /// The target's deregistration delay ended.
    Expired,
    /// The attempt's time is over.
    Late,
    /// The request's time is over.
    Overdue,
}

enum HeadError {
    Closed(io::Error),
    Malformed(&'static str),
}

fn poll_head(
    client: &Client,
    link: &mut Link,
    connection: &mut Connection,
    inbound: &Inbound<'_>,
    close: bool,
    interims: &mut usize,
    cx: &mut Context<'_>,
) -> Poll<Result<Response, HeadError>> {
    loop {
        // Interim responses. If the client is gone, a later step finds out.
        let flushed = link.poll_flush(cx);
        if !connection.wire.input.is_empty() {
            // More than the client takes is not read: it would not say anything about the target.
            if flushed.is_pending() {
                return Poll::Pending;
            }
            match take_head(client, link, connection, inbound, close) {
                Ok(Taken::Response(response)) => return Poll::Ready(Ok(response)),
                Ok(Taken::Interim(len)) => {
                    *interims += len;
                    if *interims > INTERIMS_MAX {
                        let what = "more interim responses than anybody needs";
                        return Poll::Ready(Err(HeadError::Malformed(what)));
                    }
                    continue;
                }
                Ok(Taken::Part) if connection.wire.input.len() >= RESPONSE_HEAD_MAX => {
                    return Poll::Ready(Err(HeadError::Malformed("its head is too large")));
                }
                Ok(Taken::Part) => {}
                Err(what) => return Poll::Ready(Err(HeadError::Malformed(what))),
            }
        }
        let read = connection.wire.poll_fill(&client.worker.buffers, 1, cx);
        match std::task::ready!(read) {
            Ok(0) if !connection.wire.input.is_empty() => {
                // It began to answer: that it reached the target is sure.
                return Poll::Ready(Err(HeadError::Closed(io::ErrorKind::UnexpectedEof.into())));
            }
            Ok(0) => {
                let cause = io::ErrorKind::ConnectionAborted.into();
                return Poll::Ready(Err(HeadError::Closed(cause)));
            }
            Ok(_) => client.bytes_moved(),
            Err(error) => return Poll::Ready(Err(HeadError::Closed(error))),
        }
    }
}

enum Taken {
    Response(Response),
    /// A 1xx response, which is not the last, and its length.
    Interim(usize),
    Part,
}

/// Reads a head out of the connection's input and writes it for the client. `close`: the client's
/// connection ends with the response.
fn take_head(
    client: &Client,
    link: &mut Link,
    connection: &mut Connection,
    inbound: &Inbound<'_>,
    close: bool,
) -> Result<Taken, &'static str> {
    let mut room = room();
    let head = match ResponseHead::parse(connection.wire.input.data(), &mut room) {
        Ok(Some(head)) => head,
        Ok(None) => return Ok(Taken::Part),
        Err(_) => return Err("it is no HTTP/1.1 response"),
    };
    link.lend(&client.worker.buffers);
    let switches = headers::switches(&head, inbound.websocket)?;
    let mut understood = headers::understand(&head, inbound.is_head)?;
    let len = head.len;
    if len > RESPONSE_HEAD_MAX {
        return Err("its head is too large");
    }
    if head.status < 200 && !switches {
        // RFC 9110 §15.2: others are passed on. `100 Continue` is said by us (see `Upload`).
        if head.status != 100 && inbound.is_1_1 {
            push_status(&mut link.output, head.status, head.reason);
            for field in head.fields {
                let named = understood.names_fields && is_named(head.fields, field.name);
                if kind(field.name) == Kind::Other && !named {
                    push_field(&mut link.output, field.name, field.value);
                }
            }
            link.output.extend_from_slice(b"\r\n");
        }
        connection.wire.input.consume(len);
        return Ok(Taken::Interim(len));
    }
    let (coded, coder) = match inbound.terms.and_then(Terms::compression) {
        // Chunks are needed for a length that nobody knows.
        Some((compression, coding)) if inbound.is_1_1 && !switches => {
            let (coded, coder) = compress(client, compression, coding, &head, &understood, inbound);
            (Some(coded), coder)
        }
        _ => (None, None),
    };
    if coded.is_some_and(|coded| coded.coding.is_some()) {
        understood.length = None;
    }
    let known = switches || (matches!(understood.body, Body::Length(_)) && coder.is_none());
    let chunked = !known && inbound.is_1_1;
    let until_close = !known && !inbound.is_1_1;
    let close = close || until_close || client.should_close();
    let delivery = Delivery {
        chunked,
        connection: if switches {
            Some("Upgrade")
        } else if client.is_http2() {
            // It says so by a frame.
            None
        } else {
            inbound.connection(close)
        },
    };
    let date = client.worker.date();
    let endpoint = connection.endpoint();
    headers::write_response(
        &mut link.output,
        &head,
        &understood,
        delivery,
        &date,
        inbound.terms.and_then(Terms::response_edits),
        coded,
        |out| {
            if switches {
                push_field(out, "Upgrade", WEBSOCKET.as_bytes());
            }
            if let Some(sticky) = inbound.sticky {
                set_cookies(client, sticky, endpoint, head.fields, out);
            }
        },
    );
    let response = Response {
        status: head.status,
        download: Download::new(understood.body, chunked).with_coder(coder),
        reusable: understood.reusable && !switches,
        alone: inbound.alone || inbound.announced.is_some(),
        switches,
        close,
        until_close,
    };
    connection.wire.input.consume(len);
    Ok(Taken::Response(response))
}

/// What compression does to a response: to its head, and to its body.
#[cold]
fn compress(
    client: &Client,
    compression: &Compression,
    coding: Option<Coding>,
    head: &ResponseHead<'_>,
    understood: &headers::Understood,
    inbound: &Inbound<'_>,
) -> (Coded, Option<Box<Coder>>) {
    if !compression.suits(head, understood) {
        // It speaks of what the client has, which may have been compressed.
        let not_modified = head.status == 304 && coding.is_some();
        let coded = Coded {
            coding: None,
            weak: not_modified,
            varies: not_modified,
        };
        return (coded, None);
    }
    let worker = &client.worker;
    let level = compression.level();
    let coder = coding
        .filter(|_| !inbound.is_head)
        .and_then(|coding| worker.coders.make(coding, level));
    // The head of a response to HEAD is that of one to GET.
    let coding = coding.filter(|_| inbound.is_head || coder.is_some());
    if let Some(coding) = coding.filter(|_| coder.is_some()) {
        worker.metrics.compressed.count(coding as usize);
    }
    let coded = Coded {
        coding,
        weak: coding.is_some(),
        varies: true,
    };
    (coded, coder)
}

/// Says where the client stays from now on: where this response came from.
fn set_cookies(
    client: &Client,
    sticky: &Sticky,
    endpoint: &Endpoint,
    fields: &[Field<'_>],
    out: &mut Vec<u8>,
) {
    let worker = &client.worker;
    let snapshot = worker.shared.load();
    let group = snapshot.group(sticky.group);
    let setting = Setting {
        keys: &snapshot.cookie_keys,
        now: clock::wall_millis(),
        expires: &worker.cookies_expire(),
        secure: client.is_secure(),
    };
    let with = group.and_then(|group| group.stickiness.as_ref());
    sticky.set_cookies(out, with, endpoint.identity, fields, &setting, || {
        worker.nonce()
    });
}

/// Why a response did not reach the client whole.
#[derive(Debug)]
pub(crate) enum RelayError {
    /// The client is gone, or does not read.
    Client,
    /// The target ended it early, or stalled.
    Target,
    /// The target's deregistration delay ended.
    Expired,
    /// The request's time is over.
    Overdue,
    /// It could not be compressed to its end.
    Own,
    /// The request's body ended early or is malformed, while the response was on its way.
    RequestBody,
}

/// Sends the response, and what is left of the request, until both are over.
#[allow(
    clippy::too_many_arguments,
    reason = "each is one thing that moves, or that limits how"
)]
pub(crate) async fn relay(
    client: &Client,
    link: &mut Link,
    connection: &mut Connection,
    upload: &mut Upload,
    response: &mut Response,
    inbound: &Inbound<'_>,
    lease: &Lease,
    limits: &Limits,
) -> Result<(), RelayError> {
    let buffers = &client.worker.buffers;
    let moved = || client.bytes_moved();
    let close = response.close;
    // What was written and not taken is its own from here on.
    upload.leave_client();
    client.limit_silence(limits.idle);
    let download = &mut response.download;
    poll_fn(|cx| {
        // A target may answer before it has the whole request. Both directions move on their own:
        // a client that reads only after it has sent all would stop both.
        let uploaded = upload.is_over() || {
            let drops = |name: &str| inbound.drops(client, name);
            match upload.poll(link, &mut connection.wire, buffers, moved, drops, cx) {
                Poll::Ready(Ok(())) => true,
                Poll::Ready(Err(UploadError::Target(_))) => {
                    connection.lost(Loss::Sudden);
                    true
                }
                Poll::Ready(Err(UploadError::Gone)) => {
                    return Poll::Ready(Err(RelayError::Client));
                }
                Poll::Ready(Err(UploadError::Body(_) | UploadError::TooLarge)) => {
                    return Poll::Ready(Err(RelayError::RequestBody));
                }
                Poll::Pending => false,
            }
        };
        let wire = &mut connection.wire;
        let drops = |name: &str| inbound.drops_of_response(name);
        let downloaded = match download.poll(link, wire, buffers, moved, drops, cx) {
            Poll::Ready(Ok(())) => true,
            Poll::Ready(Err(error)) => {
                tracing::debug!(%error, peer = %client.peer, "a response stopped short");
                return Poll::Ready(Err(match error {
                    DownloadError::Client(_) => RelayError::Client,
                    DownloadError::Target(error) => {
                        if let Some(reason) = outbound::passed_on(&error) {
                            link.wire.stream.end_with(reason);
                        }
                        connection.lost(Loss::Sudden);
                        RelayError::Target
                    }
                    DownloadError::Body(_) => RelayError::Target,
                    DownloadError::Coder(_) => RelayError::Own,
                }));
            }
            Poll::Pending => false,
        };
        if !downloaded && download.waits_for_client(link, connection.wire.input.len()) {
            connection.wire.stream.gather(cx);
        }
        // After a last response nobody waits for the rest of the request.
        if downloaded && (uploaded || close) {
            return Poll::Ready(Ok(()));
        }
        let may_read = uploaded && !link.is_pending();
        if link.poll_gone(may_read, buffers, cx).is_ready() {
            return Poll::Ready(Err(RelayError::Client));
        }
        let quiet = std::task::ready!(client.poll_quiet(lease.endpoint(), limits.idle, cx));
        Poll::Ready(Err(match quiet {
            Quiet::Expired => RelayError::Expired,
            Quiet::Late | Quiet::Overdue => RelayError::Overdue,
            // What was read for the client and not taken by it, or nothing but its upload is left.
            Quiet::TooLong if downloaded => RelayError::Client,
            Quiet::TooLong if download.waits_for_client(link, connection.wire.input.len()) => {
                RelayError::Client
            }
            // Both are silent, and the target may wait for what the client has not said.
            Quiet::TooLong if upload.waits_for_client(link.wire.input.len()) => RelayError::Client,
            Quiet::TooLong => RelayError::Target,
        }))
    })
    .await
}
