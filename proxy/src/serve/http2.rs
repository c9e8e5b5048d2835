//! One client connection with HTTP/2: its streams, each a request of its own, with limits around
//! all of them.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use tokio::io::ReadBuf;

use super::client::{Client, DRAIN_IDLE};
use crate::http1::buffer::{Buffer, LARGE};
use crate::http1::stream::Stream;
use crate::http2::inbound::Inbound;
use crate::http2::transport::{LIST_MAX, Shared, Transport};
use crate::http2::watch::{Abuse, RESETS_MAX};
use crate::request::{self, link::Link};

/// Streams that a client may have open at a time (ALB).
const STREAMS_MAX: u32 = 128;

/// Requests on one connection, after which the client is told to open another one (ALB).
const REQUESTS_MAX: u64 = 10_000;

/// Requests beyond [`REQUESTS_MAX`] that may be on their way before the client has heard of it. A
/// client that goes on after them does not listen.
const REQUESTS_ON_THEIR_WAY: u64 = 1_000;

/// What a client may send on one stream before the target has taken it, and on all together.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// What is kept of a response for a client that gives window and does not read, for each stream.
const SEND_BUFFER: usize = 64 * 1024;

/// How long the last words to a client may take, and how long what it still sends is read then:
/// bytes that nobody reads make the kernel reset the connection, which can overtake them.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long a stream whose request is not whole is left as it is after its response. Then it is reset
/// with NO_ERROR, which is right (RFC 9113 §8.1), but some clients forget the response over it: curl
/// 7.88 does if both come before it has stopped to send. Meanwhile they get no window.
const READING: Duration = Duration::from_millis(500);

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
    let shared = Shared::new(stream, &client.worker.timers);
    client.worker.metrics.http2_connections.add(1);
    let transport = Transport::new(Rc::clone(&shared), before);
    let handshake = Builder::new()
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(LIST_MAX)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .enable_connect_protocol()
        // Ours counts all resets.
        .max_pending_accept_reset_streams(RESETS_MAX as usize)
        .handshake::<_, Bytes>(transport);
    let mut handshake = pin!(handshake);
    let begun = poll_fn(|cx| match handshake.as_mut().poll(cx) {
        Poll::Ready(begun) => Poll::Ready(begun.map_err(Some)),
        Poll::Pending => client.poll_head_limit(cx).map(|()| Err(None)),
    });
    match begun.await {
        Ok(h2) => Serving::new(client, h2, &shared).run().await,
        Err(error) => tracing::debug!(?error, peer = %client.peer, "HTTP/2 did not begin"),
    }
    farewell(&shared).await;
}

/// Lets the client read the last words.
async fn farewell(shared: &Shared) {
    let ended = tokio::time::timeout(FAREWELL, async {
        poll_fn(|cx| shared.stream.borrow_mut().poll_shutdown(cx)).await?;
        let mut space = [0; 4096];
        poll_fn(|cx| {
            loop {
                let mut room = ReadBuf::new(&mut space);
                std::task::ready!(shared.stream.borrow_mut().poll_read(&mut room, cx))?;
                if room.filled().is_empty() {
                    return Poll::Ready(Ok::<_, std::io::Error>(()));
                }
            }
        })
        .await
    });
    // The time being over is an end like another.
    if let Ok(Err(error)) = ended.await {
        tracing::debug!(%error, "a connection did not end well");
    }
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
    shared: &'c Rc<Shared>,
    h2: Connection<Transport, Bytes>,
    streams: Rc<Streams>,
    requests: u64,
    end: End,
}

impl<'c> Serving<'c> {
    fn new(client: &'c Client, h2: Connection<Transport, Bytes>, shared: &'c Rc<Shared>) -> Self {
        let streams = Rc::new(Streams::default());
        streams.ended.set(client.worker.timers.now());
        Self {
            client,
            shared,
            h2,
            streams,
            requests: 0,
            end: End::Open,
        }
    }

    async fn run(mut self) {
        poll_fn(|cx| {
            loop {
                match self.h2.poll_accept(cx) {
                    Poll::Ready(Some(Ok((request, respond)))) => self.accept(request, respond),
                    Poll::Ready(Some(Err(error))) => {
                        tracing::debug!(%error, peer = %self.client.peer, "HTTP/2 ended");
                        return Poll::Ready(());
                    }
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Pending => match self.look(cx) {
                        // What it decided is to be sent.
                        Poll::Ready(true) => {}
                        Poll::Ready(false) => return Poll::Ready(()),
                        Poll::Pending => return Poll::Pending,
                    },
                }
            }
        })
        .await;
    }

    /// A new stream: a task of its own, on this thread.
    fn accept(&mut self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        let client = self.client;
        self.requests += 1;
        client.worker.metrics.http2_streams.add(1);
        let storage = client.worker.buffers.output();
        let shared = Rc::clone(self.shared);
        let draw = || client.worker.websocket_key();
        match Inbound::new(request, respond, storage, shared, draw) {
            Ok(stream) => {
                let open = Open::new(&self.streams, client.for_stream());
                // In a box: a new task is moved six times.
                tokio::task::spawn_local(Box::pin(exchange(open, Box::new(stream))));
            }
            Err(malformed) => {
                client.worker.metrics.http2_malformed.add(1);
                tracing::debug!(%malformed, peer = %client.peer, "a stream was refused");
            }
        }
    }

    /// Looks at all that may end the connection. Ready with false if it is over, and with true if
    /// there is something to send.
    fn look(&mut self, cx: &Context<'_>) -> Poll<bool> {
        let worker = &self.client.worker;
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
            self.h2.graceful_shutdown();
            return Poll::Ready(true);
        }
        let limit = match self.end {
            End::Now => FAREWELL,
            _ if worker.is_draining() => DRAIN_IDLE,
            _ => self.client.idle_limit(),
        };
        let left = limit.saturating_sub(self.idle_for());
        if left.is_zero() {
            if self.end == End::Now {
                return Poll::Ready(false);
            }
            self.end_now(Reason::NO_ERROR);
            return Poll::Ready(true);
        }
        // Whatever happens, this is looked at again then.
        self.client.wake_after(left, cx);
        Poll::Pending
    }

    fn end_now(&mut self, reason: Reason) {
        self.end = End::Now;
        self.streams.ended.set(self.client.worker.timers.now());
        self.h2.abrupt_shutdown(reason);
    }

    fn abuse(&self) -> Option<Abuse> {
        if self.requests > REQUESTS_MAX + REQUESTS_ON_THEIR_WAY {
            return Some(Abuse::Requests);
        }
        self.shared.abuse()
    }

    /// How long nothing has happened that counts. Frames without a request do not (ALB: PING does
    /// not reset the idle time); each stream has limits of its own.
    fn idle_for(&self) -> Duration {
        let now = self.client.worker.timers.now();
        if self.end != End::Now && self.streams.open.get() > 0 {
            return Duration::ZERO;
        }
        let mut since = self.streams.ended.get();
        if self.end != End::Now && self.h2.has_streams() {
            // The rest of a response is on its way to a client that reads.
            since = since.max(self.shared.wrote.get());
        }
        Duration::from_millis(now.saturating_sub(since))
    }
}

/// One request and its response.
#[allow(
    clippy::manual_async_fn,
    reason = "that would have room for its arguments twice, and a stream has this memory to itself"
)]
fn exchange(open: Open, mut stream: Box<Inbound>) -> impl Future<Output = ()> {
    async move {
        let client = &open.client;
        // It may have been reset before this task ran: then no target shall see it.
        if poll_fn(|cx| Poll::Ready(stream.is_gone(cx))).await {
            client.worker.metrics.client_aborts.add(1);
            return;
        }
        let mut link = Link::new(Stream::Http2(stream));
        link.lend(&client.worker.buffers);
        let buffers = &client.worker.buffers;
        // The head is at hand.
        loop {
            let read = poll_fn(|cx| Poll::Ready(link.wire.poll_fill(buffers, 1, cx))).await;
            let Stream::Http2(stream) = &mut link.wire.stream else {
                return;
            };
            if stream.has_given_head() || link.wire.input.len() >= LARGE {
                break;
            }
            if !matches!(read, Poll::Ready(Ok(1..))) {
                return;
            }
        }
        request::handle(client, &mut link).await;
        buffers.forget(&mut link.wire.input);
        link.give_back(buffers);
        if let Stream::Http2(stream) = &mut link.wire.stream {
            if poll_fn(|cx| Poll::Ready(stream.poll_end(cx)))
                .await
                .is_pending()
            {
                // The time being over is an end like another. In a box, as most need none of it.
                let end = poll_fn(|cx| stream.poll_end(cx));
                drop(Box::pin(tokio::time::timeout(READING, end)).await);
            }
            buffers.put_output(stream.take_storage());
        }
    }
}
