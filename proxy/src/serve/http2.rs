//! One client connection with HTTP/2: its streams, each a request of its own, with limits around
//! all of them.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use h2::Reason;

use super::client::{Client, DRAIN_IDLE};
use super::farewell::{LINGER, sent};
use crate::http1::buffer::Buffer;
use crate::http1::stream::Stream;
use crate::http2::connection::Connection;
use crate::http2::engine::{Event, Opened};
use crate::http2::inbound::Inbound;
use crate::http2::watch::Abuse;
use crate::request::{self, link::Link};

/// Streams that a client may have open at a time (ALB).
const STREAMS_MAX: u32 = 128;

/// Requests on one connection, after which the client is told to open another one (ALB).
const REQUESTS_MAX: u64 = 10_000;

/// Requests beyond [`REQUESTS_MAX`] that may be on their way before the client has heard of it. A
/// client that goes on after them does not listen.
const REQUESTS_ON_THEIR_WAY: u64 = 1_000;

/// How long the last words to a client may take, and how long it may be silent then while what it
/// still sends is read: bytes that nobody reads make the kernel reset the connection, which can
/// overtake them.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long a stream whose request is not whole is left as it is after its response. Then it is reset
/// with NO_ERROR, which is right (RFC 9113 §8.1), but some clients forget the response over it: curl
/// 7.88 does if both come before it has stopped to send. Meanwhile they get no window.
const READING: Duration = Duration::from_millis(500);

/// How long a connection is without streams before it gives up the room for them: the next request
/// pays for it again.
const REST: Duration = Duration::from_secs(1);

/// A connection's streams, counted.
#[derive(Default)]
struct Streams {
    open: Cell<usize>,
    /// When the latest one ended (`Timers::now`).
    ended: Cell<u64>,
}

/// One open stream, however it ends.
struct Open {
    streams: Rc<Streams>,
    client: Client,
}

impl Open {
    fn new(streams: &Rc<Streams>, client: Client) -> Self {
        streams.open.set(streams.open.get() + 1);
        Self {
            streams: Rc::clone(streams),
            client,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.streams.open.set(self.streams.open.get() - 1);
        self.streams.ended.set(self.client.worker.timers.now());
    }
}

/// Serves a connection to its end. `before`: what was read from it already.
pub(crate) async fn serve(client: &Client, stream: Stream, before: Buffer) {
    let connection = Connection::new(&client.worker, stream, before, STREAMS_MAX);
    client.worker.metrics.http2_connections.add(1);
    // They are part of this task, and no tasks of their own: what they say at a time goes together,
    // and nobody else has to be told of each.
    let mut streams = FuturesUnordered::new();
    let mut serving = Serving::new(client, &connection);
    poll_fn(|cx| serving.poll(&mut streams, guarded, cx)).await;
    // Streams that are left were reset, and see it. Meanwhile the client reads the last words. The
    // time being over is an end like another. In a box: connections need no room for it before.
    let farewell = Box::pin(farewell(client, &connection, serving.is_well()));
    let streams = tokio::time::timeout(FAREWELL, streams.map(drop).collect::<()>());
    let (farewell, _) = tokio::join!(farewell, streams);
    if let Err(error) = farewell {
        tracing::debug!(%error, "a connection did not end well");
    }
}

/// Has the client read all that it was sent, and drops what it still sends. `is_well`: it has broken
/// nothing, and is given time.
async fn farewell(client: &Client, connection: &Connection, is_well: bool) -> io::Result<()> {
    if is_well {
        sent(|| connection.is_sent()).await;
    }
    // Whoever does not hear that the process ends should not keep it.
    let all = match is_well && !client.worker.is_draining() {
        true => LINGER,
        false => FAREWELL,
    };
    let ended = tokio::time::timeout(all, async {
        loop {
            let read = poll_fn(|cx| connection.poll_farewell(cx));
            match tokio::time::timeout(FAREWELL, read).await {
                Ok(Ok(0)) | Err(_) => return Ok(()),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error),
            }
        }
    });
    ended.await.unwrap_or(Ok(()))
}

/// How far a connection is from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It goes on.
    Open,
    /// The client was told to open no more streams.
    Announced,
    /// The last words are on their way.
    Now,
}

struct Serving<'c> {
    client: &'c Client,
    connection: &'c Rc<Connection>,
    streams: Rc<Streams>,
    requests: u64,
    end: End,
    /// Why the last words are said, if they are said before the end.
    reason: Reason,
}

impl<'c> Serving<'c> {
    fn new(client: &'c Client, connection: &'c Rc<Connection>) -> Self {
        let streams = Rc::new(Streams::default());
        streams.ended.set(client.worker.timers.now());
        Self {
            client,
            connection,
            streams,
            requests: 0,
            end: End::Open,
            reason: Reason::NO_ERROR,
        }
    }

    /// The client has broken nothing.
    fn is_well(&self) -> bool {
        self.reason == Reason::NO_ERROR
    }

    /// The rest of a response is on its way to a client that has broken nothing.
    fn owes(&self) -> bool {
        self.is_well() && self.connection.is_unsent()
    }

    /// Leads the streams and the connection on. Ready at the end of the connection. `exchange` makes
    /// a stream.
    fn poll<F: Future>(
        &mut self,
        streams: &mut FuturesUnordered<F>,
        exchange: impl Fn(Open, Box<Inbound>, Vec<u8>) -> F,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        // What streams say now is looked at below in any case.
        self.connection.awake();
        let mut accepted = 0;
        loop {
            while let Poll::Ready(Some(_)) = streams.poll_next_unpin(cx) {}
            match self.connection.poll_event(cx) {
                Poll::Ready(Some(Event::Request(opened))) => {
                    let (open, stream, head) = self.accept(opened);
                    streams.push(exchange(open, stream, head));
                    accepted += 1;
                    if accepted >= STREAMS_MAX {
                        // Those that are answered here end at once: others on this thread are to
                        // have their turn.
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                Poll::Ready(Some(Event::Malformed(why))) => {
                    self.client.worker.metrics.http2_malformed.add(1);
                    tracing::debug!(why, peer = %self.client.peer, "a stream was refused");
                }
                Poll::Ready(None) => return Poll::Ready(()),
                // As any head, its beginning has a time limit of its own.
                Poll::Pending if self.begins() => return self.client.poll_head_limit(cx),
                Poll::Pending => match self.look(cx) {
                    // What it decided is to be sent.
                    Poll::Ready(true) => {}
                    Poll::Ready(false) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }

    /// Nothing has come that would have to be looked at.
    fn begins(&self) -> bool {
        let connection = self.connection;
        let sound = connection.abuse().is_none() && !connection.is_ending();
        let stays = self.end == End::Open && !self.client.worker.is_draining();
        stays && !connection.has_begun() && sound
    }

    /// What a new stream is made of.
    fn accept(&mut self, opened: Opened) -> (Open, Box<Inbound>, Vec<u8>) {
        let client = self.client;
        self.requests += 1;
        client.worker.metrics.http2_streams.add(1);
        let (stream, head) = Inbound::new(self.connection, opened);
        let open = Open::new(&self.streams, client.for_stream());
        (open, Box::new(stream), head)
    }

    /// Looks at all that may end the connection. Ready with false if it is over, and with true if
    /// there is something to send.
    fn look(&mut self, cx: &Context<'_>) -> Poll<bool> {
        let worker = &self.client.worker;
        if self.end != End::Now && self.connection.is_ending() {
            // The protocol was broken, and the client is told so.
            self.end_now(Reason::PROTOCOL_ERROR);
        }
        if self.end != End::Now
            && let Some(abuse) = self.abuse()
        {
            worker.metrics.abused(abuse);
            tracing::info!(peer = %self.client.peer, abuse = abuse.name(), "HTTP/2 abused");
            self.end_now(Reason::ENHANCE_YOUR_CALM);
            return Poll::Ready(true);
        }
        let enough = self.requests >= REQUESTS_MAX || worker.shared.crowd.sheds_requests();
        if self.end == End::Open && (enough || self.client.is_to_go()) {
            self.end = End::Announced;
            // However long it was idle before: a request may be on its way.
            self.streams.ended.set(worker.timers.now());
            self.connection.announce_end();
            return Poll::Ready(true);
        }
        let limit = match self.end {
            // As over HTTP/1.1, a client that reads slowly has its time also when the process ends.
            _ if self.owes() => self.client.idle_limit(),
            End::Now => FAREWELL,
            _ if worker.is_draining() => DRAIN_IDLE,
            _ => self.client.idle_limit(),
        };
        let idle = self.idle_for();
        let left = limit.saturating_sub(idle);
        if left.is_zero() {
            if self.end == End::Now {
                return Poll::Ready(false);
            }
            self.end_now(Reason::NO_ERROR);
            return Poll::Ready(true);
        }
        let next = if self.streams.open.get() > 0 {
            left
        } else if idle < REST {
            left.min(REST - idle)
        } else {
            self.connection.rest();
            left
        };
        // Whatever happens, this is looked at again then.
        self.client.wake_after(next, cx);
        Poll::Pending
    }

    fn end_now(&mut self, reason: Reason) {
        self.end = End::Now;
        self.reason = reason;
        self.streams.ended.set(self.client.worker.timers.now());
        self.connection.end(reason);
    }

    fn abuse(&self) -> Option<Abuse> {
        if self.requests > REQUESTS_MAX + REQUESTS_ON_THEIR_WAY {
            return Some(Abuse::Requests);
        }
        self.connection.abuse()
    }

    /// How long nothing has happened that counts. Frames without a request do not (ALB: PING does
    /// not reset the idle time); each stream has limits of its own.
    fn idle_for(&self) -> Duration {
        let now = self.client.worker.timers.now();
        if self.end != End::Now && self.streams.open.get() > 0 {
            return Duration::ZERO;
        }
        let mut since = self.streams.ended.get();
        // The rest of a response is on its way to a client that reads.
        if self.end != End::Now && self.connection.is_busy() {
            since = since.max(self.connection.wrote());
        } else if self.owes() {
            since = self.connection.wrote();
        }
        Duration::from_millis(now.saturating_sub(since))
    }
}

/// One request and its response. A fault of ours in it ends it alone, and not the connection.
fn guarded(
    open: Open,
    stream: Box<Inbound>,
    head: Vec<u8>,
) -> impl Future<Output = std::thread::Result<()>> {
    // In a box: it is moved several times before it is polled.
    AssertUnwindSafe(Box::pin(exchange(open, stream, head))).catch_unwind()
}

/// See [`guarded`].
#[allow(
    clippy::manual_async_fn,
    reason = "that would have room for its arguments twice, and a stream has this memory to itself"
)]
fn exchange(open: Open, stream: Box<Inbound>, head: Vec<u8>) -> impl Future<Output = ()> {
    async move {
        let client = &open.client;
        let buffers = &client.worker.buffers;
        // It may have been reset before it was polled: then no target shall see it.
        let gone = poll_fn(|cx| Poll::Ready(stream.poll_gone(cx).is_ready()));
        if gone.await {
            buffers.put_output(head);
            client.worker.metrics.client_aborts.add(1);
            return;
        }
        let mut link = Link::new(Stream::Http2(stream)).with_input(head);
        request::handle(client, &mut link).await;
        buffers.forget(&mut link.wire.input);
        link.give_back(buffers);
        if let Stream::Http2(stream) = &mut link.wire.stream
            && poll_fn(|cx| Poll::Ready(stream.poll_end(cx)))
                .await
                .is_pending()
        {
            // The time being over is an end like another. In a box, as most need none of it.
            let end = poll_fn(|cx| stream.poll_end(cx));
            drop(Box::pin(tokio::time::timeout(READING, end)).await);
        }
    }
}
