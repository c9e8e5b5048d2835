//! A client connection, as its requests see it: who it is, where it is in the cycle of its requests,
//! and the time limits around them.

use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use longshore_config::ProxyProtocol;

use super::timers::Slot;
use super::worker::Worker;
use crate::control::ids::ListenerId;
use crate::control::snapshot::Limits;
use crate::http1::body::Body;
use crate::http1::buffer::LARGE;
use crate::proxy_protocol::{self, Ends};
use crate::request::Quiet;
use crate::request::headers::Forwarded;
use crate::request::link::Link;
use crate::request::policy::Policy;
use crate::tls::policy;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::pool::Local;

/// A deadline that is not set.
const NEVER: u64 = u64::MAX;

/// How long an idle connection stays open while the process drains: long enough for a request
/// that is on its way, which then gets an answer with `Connection: close`.
pub(super) const DRAIN_IDLE: Duration = Duration::from_secs(1);

/// Where a connection is in the cycle of its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Between requests.
    Idle,
    /// The first byte of a request was read, its head is not complete.
    Head,
    /// The request is at work.
    Waiting,
    /// The response is being sent.
    Responding,
}

/// What a client agreed on by TLS, for logs.
#[derive(Debug, Default)]
pub(crate) struct Agreed {
    pub(crate) version: &'static str,
    pub(crate) cipher: &'static str,
    pub(crate) server_name: Box<str>,
    pub(crate) resumed: bool,
}

impl Agreed {
    pub(super) fn new(tls: &rustls::CommonState, server_name: Box<str>) -> Self {
        let suite = tls.negotiated_cipher_suite();
        Self {
            version: tls.protocol_version().map_or("", policy::version_name),
            cipher: suite.map_or("", |suite| policy::openssl_name(suite.suite())),
            server_name,
            resumed: tls.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        }
    }
}

/// How long a client connection is waited for: of the limits at its beginning, those that it keeps.
#[derive(Debug, Clone, Copy)]
struct Patience {
    idle: Millis,
    client_keep_alive: Millis,
    request_header: Millis,
}

/// A time of up to 49 days in four bytes: every connection keeps some.
#[derive(Debug, Clone, Copy)]
struct Millis(u32);

impl Millis {
    fn new(time: Duration) -> Self {
        Self(u32::try_from(time.as_millis()).unwrap_or(u32::MAX))
    }

    fn get(self) -> Duration {
        Duration::from_millis(self.0.into())
    }
}

impl Patience {
    fn new(limits: &Limits) -> Self {
        Self {
            idle: Millis::new(limits.idle),
            client_keep_alive: Millis::new(limits.client_keep_alive),
            request_header: Millis::new(limits.request_header),
        }
    }
}

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    Http1,
    Http2,
    /// Its first bytes will tell.
    Either,
}

/// A client connection, as its requests see it.
pub(crate) struct Client {
    pub(crate) worker: Rc<Worker>,
    pub(crate) listener: ListenerId,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) forwarded: Rc<Forwarded>,
    /// Tells it apart from others in logs.
    pub(crate) number: u64,
    /// What was agreed on by TLS.
    pub(super) tls: Option<Rc<Agreed>>,
    secure: bool,
    /// It carries one request, because it is a stream among others.
    single: bool,
    /// What the connection carries.
    pub(super) speaks: Cell<Speaks>,
    limits: Patience,
    /// When it was accepted, when the phase began, and when a byte last moved; `Timers::now`.
    accepted: u64,
    since: Cell<u64>,
    moved: Cell<u64>,
    phase: Cell<Phase>,
    /// When the time of the whole request, and that of the attempt, is over; `Timers::now`.
    total: Cell<u64>,
    deadline: Cell<u64>,
    /// The one time limit that holds at the moment.
    slot: Slot,
}

impl Client {
    /// `tls`: for a client that reached us over TLS, what targets are told of that, as lines.
    pub(super) fn new(
        worker: Rc<Worker>,
        listener: ListenerId,
        peer: SocketAddr,
        local: SocketAddr,
        tls: Option<&str>,
    ) -> Self {
        let secure = tls.is_some();
        let (limits, renamed) = {
            let snapshot = worker.shared.load();
            let listener = snapshot.listener(listener);
            let renamed = listener.and_then(|listener| listener.renamed.clone());
            (Patience::new(&snapshot.limits), renamed)
        };
        let now = worker.timers.now();
        let slot = worker.timers.slot();
        slot.set(limits.idle.get());
        let (peer, local) = (canonical(peer), canonical(local));
        Self {
            forwarded: Rc::new(
                Forwarded::new(peer, scheme(secure), local.port())
                    .with_tls(tls.unwrap_or_default(), renamed.as_ref()),
            ),
            number: worker.number(),
            tls: None,
            worker,
            listener,
            peer,
            local,
            secure,
            single: false,
            speaks: Cell::new(Speaks::Http1),
            limits,
            accepted: now,
            since: Cell::new(now),
            moved: Cell::new(now),
            phase: Cell::new(Phase::Idle),
            total: Cell::new(NEVER),
            deadline: Cell::new(NEVER),
            slot,
        }
    }

    /// The same client, as one request of several at a time sees it.
    pub(super) fn for_stream(&self) -> Self {
        let now = self.worker.timers.now();
        Self {
            worker: Rc::clone(&self.worker),
            listener: self.listener,
            peer: self.peer,
            local: self.local,
            forwarded: Rc::clone(&self.forwarded),
            number: self.number,
            tls: self.tls.clone(),
            secure: self.secure,
            single: true,
            speaks: Cell::new(Speaks::Http1),
            limits: self.limits,
            accepted: self.accepted,
            since: Cell::new(now),
            moved: Cell::new(now),
            phase: Cell::new(Phase::Idle),
            total: Cell::new(NEVER),
            deadline: Cell::new(NEVER),
            slot: self.worker.timers.slot(),
        }
    }

    /// Whether it has TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.secure
    }

    /// Whether its requests come over HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        self.single
    }

    /// What was agreed on by TLS. None without.
    pub(crate) fn tls(&self) -> Option<&Agreed> {
        self.tls.as_deref()
    }

    /// ALB's word for the kind of a request.
    pub(crate) fn kind(&self, is_websocket: bool) -> &'static str {
        match (is_websocket, self.single, self.secure) {
            (true, _, false) => "ws",
            (true, _, true) => "wss",
            (false, true, _) => "h2",
            (false, false, true) => "https",
            (false, false, false) => "http",
        }
    }

    /// The scheme of the URLs that the client asks for.
    pub(crate) fn scheme(&self) -> &'static str {
        scheme(self.secure)
    }

    /// What answers of our own are written with: the `server` field, and the policy that holds
    /// before a rule was found.
    pub(crate) fn dressing(&self) -> (Option<Arc<str>>, Option<Arc<Policy>>) {
        let snapshot = self.worker.shared.load();
        match snapshot.listener(self.listener) {
            Some(listener) => (listener.server.clone(), listener.policy.clone()),
            None => (None, None),
        }
    }

    /// The PROXY header that tells a target of this client.
    pub(crate) fn proxy_header(&self, version: ProxyProtocol) -> Vec<u8> {
        let ends = Ends {
            source: self.peer,
            destination: self.local,
        };
        let mut header = Vec::new();
        proxy_protocol::write(version, Some(ends), &mut header);
        header
    }

    /// A request's head is complete.
    pub(crate) fn request_begins(&self) {
        self.enter(Phase::Waiting);
    }

    /// An attempt at a target begins: from here on silence counts, and the target's end.
    pub(crate) fn attempt_begins(&self, local: &Rc<Local>, idle: Duration) {
        self.bytes_moved();
        self.arm(idle);
        self.slot.watch(local);
    }

    /// From here on that target's end is heard of, in place of another's.
    pub(crate) fn hear_of(&self, local: &Rc<Local>) {
        self.slot.watch(local);
    }

    /// All of a request, from here on, has so long.
    pub(crate) fn limit_request(&self, total: Option<Duration>) {
        if let Some(total) = total {
            self.total.set(self.after(total));
        }
    }

    /// An attempt has so long to the head of its response, or as long as the request.
    pub(crate) fn limit_attempt(&self, limit: Option<Duration>) {
        let limit = limit.map_or(NEVER, |limit| self.after(limit));
        self.deadline.set(limit.min(self.total.get()));
    }

    /// The head of the response has to come within so long, unless the attempt has less.
    pub(crate) fn limit_head(&self, limit: Duration, idle: Duration) {
        self.deadline
            .set(self.after(limit).min(self.deadline.get()));
        self.arm(idle);
    }

    /// How much is left of a time, by the limits of the attempt.
    pub(crate) fn left_of(&self, time: Duration) -> Duration {
        match self.deadline.get() {
            NEVER => time,
            deadline => {
                let left = deadline.saturating_sub(self.worker.timers.now());
                time.min(Duration::from_millis(left))
            }
        }
    }

    /// The time of the whole request is over.
    pub(crate) fn is_overdue(&self) -> bool {
        self.worker.timers.now() >= self.total.get()
    }

    fn after(&self, time: Duration) -> u64 {
        let millis = u64::try_from(time.as_millis()).unwrap_or(NEVER);
        self.worker.timers.now().saturating_add(millis)
    }

    /// Wakes after so long, or at the deadline.
    fn arm(&self, after: Duration) {
        self.slot.set(self.left_of(after));
    }

    /// No target is asked any more.
    pub(crate) fn attempts_end(&self) {
        self.slot.unwatch();
    }

    /// A response's head is complete.
    pub(crate) fn response_begins(&self) {
        self.enter(Phase::Responding);
        self.bytes_moved();
        self.deadline.set(self.total.get());
        self.arm(self.limits.idle.get());
    }

    /// The response may be silent for so long. See [`Self::poll_quiet`].
    pub(crate) fn limit_silence(&self, idle: Duration) {
        if idle != self.limits.idle.get() {
            self.arm(idle);
        }
    }

    /// The request is over, however it ended.
    pub(crate) fn request_ends(&self) {
        self.slot.unwatch();
        self.total.set(NEVER);
        self.deadline.set(NEVER);
        self.enter(Phase::Idle);
        self.slot.set(self.limits.idle.get());
    }

    /// Whether the response that is about to be sent is to be the last one.
    pub(crate) fn should_close(&self) -> bool {
        self.single || self.is_to_go()
    }

    /// Whether the client is to open another connection.
    pub(super) fn is_to_go(&self) -> bool {
        let age = self.worker.timers.now().saturating_sub(self.accepted);
        self.worker.is_draining()
            || Duration::from_millis(age) >= self.limits.client_keep_alive.get()
    }

    /// Bytes were read or written, on either side.
    pub(crate) fn bytes_moved(&self) {
        self.moved.set(self.worker.timers.now());
    }

    /// Ready when nothing has moved for `idle`, when a deadline has passed, or when the endpoint's
    /// deregistration delay is over. It is the one of which [`Self::attempt_begins`] or
    /// [`Self::hear_of`] was told last: another one's end would be looked at again and again.
    pub(crate) fn poll_quiet(
        &self,
        endpoint: &Endpoint,
        idle: Duration,
        cx: &Context<'_>,
    ) -> Poll<Quiet> {
        loop {
            std::task::ready!(self.slot.poll(cx));
            if endpoint.is_expired() {
                return Poll::Ready(Quiet::Expired);
            }
            if self.worker.timers.now() >= self.deadline.get() {
                return Poll::Ready(if self.is_overdue() {
                    Quiet::Overdue
                } else {
                    Quiet::Late
                });
            }
            let quiet = self.elapsed(&self.moved);
            if quiet >= idle {
                return Poll::Ready(Quiet::TooLong);
            }
            self.arm(idle - quiet);
        }
    }

    /// How long it may be idle.
    pub(super) fn idle_limit(&self) -> Duration {
        self.limits.idle.get()
    }

    /// Its task is woken after that time, or when the worker begins to drain.
    pub(super) fn wake_after(&self, time: Duration, cx: &Context<'_>) {
        self.slot.set(time);
        if self.slot.poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }

    /// Ready when the time for a head is over.
    pub(super) fn poll_head_limit(&self, cx: &Context<'_>) -> Poll<()> {
        if self.phase.get() == Phase::Idle {
            self.enter(Phase::Head);
            self.slot.set(self.limits.request_header.get());
        }
        self.poll_limit(cx).map(|_| ())
    }

    /// Whether the task is to be woken when the target leaves its group.
    pub(crate) fn hear_of_retiring(&self, hear: bool) {
        self.slot.hear_of_retiring(hear);
    }

    /// Ready when nothing has moved for `idle` or the endpoint's deregistration delay is over, which
    /// ends a tunnel (`Break`), or when a moment (`Timers::now`) has come. The time of the whole
    /// request ended with the head of its response.
    pub(crate) fn poll_tunnel(
        &self,
        endpoint: &Endpoint,
        idle: Duration,
        moment: Option<u64>,
        cx: &Context<'_>,
    ) -> Poll<ControlFlow<()>> {
        loop {
            if endpoint.is_expired() {
                return Poll::Ready(ControlFlow::Break(()));
            }
            let quiet = self.elapsed(&self.moved);
            if quiet >= idle {
                return Poll::Ready(ControlFlow::Break(()));
            }
            let now = self.worker.timers.now();
            let until = moment.map(|moment| Duration::from_millis(moment.saturating_sub(now)));
            if until.is_some_and(|until| until.is_zero()) {
                return Poll::Ready(ControlFlow::Continue(()));
            }
            self.slot
                .set((idle - quiet).min(until.unwrap_or(Duration::MAX)));
            std::task::ready!(self.slot.poll(cx));
        }
    }

    /// Sends all that waits in the link. False if the client does not take it.
    pub(crate) async fn flush(&self, link: &mut Link) -> bool {
        poll_fn(|cx| match link.poll_flush(cx) {
            Poll::Ready(sent) => Poll::Ready(sent.is_ok()),
            Poll::Pending => self.poll_limit(cx).map(|_| false),
        })
        .await
    }

    /// Reads the rest of a request body and drops it. False if it does not come.
    pub(crate) async fn discard(&self, link: &mut Link, body: &mut Body) -> bool {
        poll_fn(|cx| {
            loop {
                let count = body.plain(link.wire.input.len());
                link.wire.input.consume(count);
                body.advance(count);
                if body.is_done() {
                    return Poll::Ready(true);
                }
                let buffers = &self.worker.buffers;
                match link.wire.poll_fill(buffers, body.wants(), cx) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(false),
                    Poll::Ready(Ok(_)) => self.bytes_moved(),
                    Poll::Pending => return self.poll_limit(cx).map(|_| false),
                }
            }
        })
        .await
    }

    /// Reads more of a request head. False if there is none: the client has closed, or a time limit
    /// has passed.
    async fn read(&self, link: &mut Link) -> Result<(), End> {
        poll_fn(|cx| {
            let buffers = &self.worker.buffers;
            match link.wire.poll_fill(buffers, 1, cx) {
                Poll::Ready(Ok(0) | Err(_)) => Poll::Ready(Err(End::Closed)),
                Poll::Ready(Ok(_)) => Poll::Ready(Ok(())),
                Poll::Pending => self.poll_limit(cx).map(|phase| Err(End::Limit(phase))),
            }
        })
        .await
    }

    /// Reads until there may be a whole head, or as much of one as there may be.
    pub(super) async fn read_head(&self, link: &mut Link) -> Result<(), End> {
        if self.phase.get() == Phase::Idle {
            // RFC 9112 §2.2: empty lines before a request are no part of it, and none of them makes
            // a connection one that owes a head.
            while link.skip_empty_lines() {
                self.read(link).await?;
            }
            self.enter(Phase::Head);
            self.slot.set(self.limits.request_header.get());
            return Ok(());
        }
        loop {
            // Looked through once, so that a head in many small pieces is not parsed for each.
            let looked = link.wire.input.len().saturating_sub(3);
            self.read(link).await?;
            let new = &link.wire.input.data()[looked..];
            if has_empty_line(new) || link.wire.input.len() >= LARGE {
                return Ok(());
            }
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(self.worker.timers.now());
    }

    fn elapsed(&self, since: &Cell<u64>) -> Duration {
        Duration::from_millis(self.worker.timers.now().saturating_sub(since.get()))
    }

    /// How long the connection may stay idle from now on.
    fn idle_left(&self) -> Duration {
        let idle = self.elapsed(&self.since);
        match self.worker.draining_since() {
            Some(drain) => {
                let now = self.worker.timers.now();
                let draining = Duration::from_millis(now.saturating_sub(drain));
                DRAIN_IDLE.saturating_sub(idle.min(draining))
            }
            None => self.limits.idle.get().saturating_sub(idle),
        }
    }

    /// The phase whose time limit has passed.
    fn poll_limit(&self, cx: &Context<'_>) -> Poll<Phase> {
        loop {
            let phase = self.phase.get();
            let left = match phase {
                Phase::Idle => self.idle_left(),
                Phase::Head => self
                    .limits
                    .request_header
                    .get()
                    .saturating_sub(self.elapsed(&self.since)),
                Phase::Waiting | Phase::Responding => self
                    .limits
                    .idle
                    .get()
                    .saturating_sub(self.elapsed(&self.moved)),
            };
            if self.worker.is_draining() && phase == Phase::Idle {
                self.slot.set(left);
            }
            std::task::ready!(self.slot.poll(cx));
            if left.is_zero() {
                return Poll::Ready(phase);
            }
            // Something has moved since the limit was set. Or a target's end has woken us, which
            // is nothing to this limit; and as that end stays, it would wake us for ever.
            self.slot.unwatch();
            self.slot.set(left);
        }
    }
}

/// Why there is no further request.
pub(super) enum End {
    Closed,
    Limit(Phase),
}

/// Whether an empty line ends in these bytes.
fn has_empty_line(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .enumerate()
        .any(|(at, byte)| *byte == b'\n' && matches!(bytes[..at], [.., b'\n'] | [.., b'\n', b'\r']))
}

fn scheme(secure: bool) -> &'static str {
    if secure { "https" } else { "http" }
}

/// An IPv4 client of a socket for both families is an IPv4 client.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
