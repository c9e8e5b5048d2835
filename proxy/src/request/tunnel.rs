//! A client's connection and a target's that are one WebSocket: bytes in both directions until one
//! side ends, at the pace of the slower one, without a buffer while nothing moves.
//!
//! If the target or the process is about to go, the client is told to come back elsewhere by a
//! Close frame between two frames of the target. Its answer closes the target's side.

mod frames;

use std::future::poll_fn;
use std::io;
use std::ops::ControlFlow;
use std::task::{Context, Poll, ready};

use super::link::Link;
use crate::control::snapshot::Limits;
use crate::http1::buffer::{Buffer, Buffers, LARGE, SMALL};
use crate::http1::wire::Wire;
use crate::serve::client::Client;
use crate::serve::worker::Worker;
use crate::upstream::endpoint::Endpoint;
use frames::{CLOSE, Frames, masked_close};

/// How long a side has to answer a Close, or to end its connection after both have closed.
const CLOSE_GRACE: u64 = 5_000;

/// One end of a tunnel. HTTP/1.1 has a socket on either side; a stream of HTTP/2 (RFC 8441) needs
/// no more than this.
pub(super) trait End {
    /// What was read and not used.
    fn input(&mut self) -> &mut Buffer;
    /// Reads more; 0 says that no more comes.
    fn poll_fill(
        &mut self,
        buffers: &Buffers,
        want: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>>;
    /// Sends what waits from before.
    fn poll_flush(&mut self, buffers: &Buffers, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Sends of these bytes. If it is not ready, the next call begins with the same bytes.
    fn poll_send(&mut self, data: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>>;
    /// Says that no more comes from here.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Ready when it does not listen any more, nor says anything, though nothing is read from it. A
    /// stream of HTTP/2 is reset then; that a socket was is seen by who reads or writes.
    fn poll_gone(&mut self, buffers: &Buffers, cx: &mut Context<'_>) -> Poll<()>;
}

impl End for Wire {
    fn input(&mut self) -> &mut Buffer {
        &mut self.input
    }

    fn poll_fill(
        &mut self,
        buffers: &Buffers,
        want: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.poll_fill(buffers, want, cx)
    }

    fn poll_flush(&mut self, _: &Buffers, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_send(&mut self, data: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.poll_send(data, &[], cx)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_shutdown(cx)
    }

    fn poll_gone(&mut self, _: &Buffers, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl End for Link {
    fn input(&mut self) -> &mut Buffer {
        &mut self.wire.input
    }

    fn poll_fill(
        &mut self,
        buffers: &Buffers,
        want: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.wire.poll_fill(buffers, want, cx)
    }

    fn poll_flush(&mut self, buffers: &Buffers, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_pending() {
            ready!(self.poll_flush(cx))?;
            self.give_back(buffers);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_send(&mut self, data: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.wire.poll_send(data, &[], cx)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.poll_shutdown(cx)
    }

    fn poll_gone(&mut self, buffers: &Buffers, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_gone(false, buffers, cx)
    }
}

/// How a tunnel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// In order, begun by the client or by us.
    Closed,
    /// In order, begun by the target.
    ByTarget,
    /// The client is gone, or does not read.
    ClientGone,
    /// The target ended its connection without a word.
    TargetGone,
}

/// Why a direction cannot go on.
enum Fault {
    From(io::Error),
    To(io::Error),
}

/// One direction.
struct Flow {
    /// What has gone out.
    frames: Frames,
    /// How many bytes were offered when the other end was not ready: as many are offered again.
    offered: usize,
    /// How much the next read may bring.
    want: usize,
    /// Our Close is to go out, as soon as it comes between two frames.
    closing: bool,
    /// A Close of ours on its way, and how much of it has gone.
    close: Option<([u8; 8], usize, usize)>,
    /// Our Close has gone: nothing may follow it.
    is_over: bool,
    /// A Close of ours goes out if no more comes and there was none: a target that is gone.
    closes_at_end: bool,
    /// No more comes.
    ended: bool,
    /// And that without a Close before.
    vanished: bool,
    /// And the other end was told so, or does not want to know.
    told: bool,
}

impl Flow {
    fn new(frames: Frames, closes_at_end: bool) -> Self {
        Self {
            frames,
            closes_at_end,
            offered: 0,
            want: 1,
            closing: false,
            close: None,
            is_over: false,
            ended: false,
            vanished: false,
            told: false,
        }
    }

    /// Our Close can come and is not there yet.
    fn may_close(&self) -> bool {
        !self.frames.are_lost() && !self.frames.are_closed() && !self.told
    }

    /// Our Close can go out now.
    fn is_between_frames(&self) -> bool {
        self.may_close() && self.frames.at_boundary() && self.offered == 0 && self.close.is_none()
    }

    /// Nothing more comes.
    fn end(&mut self) {
        self.ended = true;
        self.vanished = self.may_close();
        self.closing |= self.closes_at_end;
    }

    /// Moves what can be moved. Ready when all has come and the other end knows. `close` makes a
    /// Close frame for this direction; `moved` is told how many bytes have moved.
    fn poll(
        &mut self,
        from: &mut impl End,
        to: &mut impl End,
        buffers: &Buffers,
        close: impl Fn() -> ([u8; 8], usize),
        moved: impl Fn(usize),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        loop {
            if self.told {
                return Poll::Ready(Ok(()));
            }
            ready!(to.poll_flush(buffers, cx)).map_err(Fault::To)?;
            if self.closing && self.is_between_frames() {
                let (bytes, len) = close();
                self.close = Some((bytes, len, 0));
            }
            if let Some((bytes, len, sent)) = &mut self.close {
                *sent += ready!(to.poll_send(&bytes[*sent..*len], cx)).map_err(Fault::To)?;
                if sent == len {
                    self.frames.advance(&bytes[..*len]);
                    self.close = None;
                    self.is_over = true;
                }
                continue;
            }
            let len = from.input().len();
            if len > 0 && self.is_over {
                from.input().consume(len);
                continue;
            }
            if len > 0 {
                let data = from.input().data();
                let most = if self.closing && self.may_close() {
                    self.frames.rest_of_frame(data).max(self.offered).min(len)
                } else {
                    len
                };
                let Poll::Ready(sent) = to.poll_send(&data[..most], cx) else {
                    self.offered = most;
                    return Poll::Pending;
                };
                let sent = sent.map_err(Fault::To)?;
                self.offered = 0;
                self.frames.advance(&data[..sent]);
                from.input().consume(sent);
                moved(sent);
                continue;
            }
            if self.ended {
                ready!(to.poll_shutdown(cx)).map_err(Fault::To)?;
                self.told = true;
                continue;
            }
            match ready!(from.poll_fill(buffers, self.want, cx)) {
                Ok(0) => self.end(),
                Ok(count) => self.want = if count < SMALL { 1 } else { LARGE },
                // Reset, which is an end as well.
                Err(_) if self.closes_at_end => self.end(),
                Err(error) => return Poll::Ready(Err(Fault::From(error))),
            }
        }
    }
}

/// When and how a tunnel is ended by us.
struct Leaving {
    /// That its target has left, or that the process drains, was heard.
    heard: [bool; 2],
    /// When the client is told (`Timers::now`).
    at: Option<u64>,
    /// When the next side is not waited for any longer.
    patience: Option<u64>,
}

/// A tunnel in the worker's count, however it ends.
struct Open<'c>(&'c Client);

impl<'c> Open<'c> {
    fn new(client: &'c Client) -> Self {
        client.worker.metrics.tunnels.add(1);
        client.worker.metrics.tunnels_open.add(1);
        Self(client)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.worker.metrics.tunnels_open.subtract(1);
    }
}

struct Tunnel<'c, N, F> {
    client: &'c Client,
    endpoint: &'c Endpoint,
    limits: &'c Limits,
    near: &'c mut N,
    far: &'c mut F,
    /// From the client to the target.
    up: Flow,
    /// From the target to the client.
    down: Flow,
    /// Whose Close, or end, was first.
    first: Option<Ended>,
    leaving: Leaving,
}

/// Relays until the end. `near` is the client's, `far` the target's.
pub(super) async fn run<N: End, F: End>(
    client: &Client,
    near: &mut N,
    far: &mut F,
    endpoint: &Endpoint,
    limits: &Limits,
) -> Ended {
    let _open = Open::new(client);
    let mut tunnel = Tunnel {
        client,
        endpoint,
        limits,
        near,
        far,
        up: Flow::new(Frames::of_client(), false),
        down: Flow::new(Frames::of_server(), true),
        first: None,
        leaving: Leaving {
            heard: [false; 2],
            at: None,
            patience: None,
        },
    };
    client.hear_of_retiring(true);
    poll_fn(|cx| tunnel.poll(cx)).await
}

impl<N: End, F: End> Tunnel<'_, N, F> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        loop {
            self.hear();
            if let Some(ended) = self.lose_patience() {
                return Poll::Ready(ended);
            }
            if let Some(ended) = self.move_bytes(cx) {
                return Poll::Ready(ended);
            }
            let moments = [self.leaving.at, self.leaving.patience];
            let moment = moments.into_iter().flatten().min();
            let idle = self.limits.idle;
            match ready!(self.client.poll_tunnel(self.endpoint, idle, moment, cx)) {
                ControlFlow::Continue(()) => {}
                ControlFlow::Break(()) => {
                    self.say_goodbye(cx);
                    return Poll::Ready(self.first.unwrap_or(Ended::Closed));
                }
            }
        }
    }

    /// Draws the moment at which the client is told, once its target or the process is to go.
    fn hear(&mut self) {
        let worker = &self.client.worker;
        let causes = [
            (self.endpoint.is_retired(), self.endpoint.delay()),
            (worker.is_draining(), self.limits.drain),
        ];
        for (heard, (happened, has)) in self.leaving.heard.iter_mut().zip(causes) {
            if happened && !*heard {
                *heard = true;
                self.client.hear_of_retiring(false);
                let spread = self.limits.close_spread.min(has / 2);
                let spread = u64::try_from(spread.as_millis()).unwrap_or(u64::MAX - 1);
                let at = worker.timers.now() + worker.draw(spread + 1);
                self.leaving.at = Some(self.leaving.at.map_or(at, |before| before.min(at)));
            }
        }
    }

    /// Takes the next step to the end if its time has come.
    fn lose_patience(&mut self) -> Option<Ended> {
        let now = self.client.worker.timers.now();
        if self.leaving.at.is_some_and(|at| at <= now) {
            self.leaving.at = None;
            if self.down.may_close() && !self.down.closing {
                self.client.worker.metrics.tunnels_sent_away.add(1);
                self.down.closing = true;
                self.first.get_or_insert(Ended::Closed);
                self.leaving.patience.get_or_insert(now + CLOSE_GRACE);
            }
        }
        if self.leaving.patience.is_some_and(|until| until <= now) {
            self.leaving.patience = None;
            if self.up.closing || !self.up.may_close() {
                return Some(self.first.unwrap_or(Ended::Closed));
            }
            // The client does not answer. The target is told all the same.
            self.up.closing = true;
            self.leaving.patience = Some(now + CLOSE_GRACE);
        }
        None
    }

    fn move_bytes(&mut self, cx: &mut Context<'_>) -> Option<Ended> {
        let (client, worker) = (self.client, &self.client.worker);
        let moved = |direction: usize| {
            move |count: usize| {
                client.bytes_moved();
                let count = u64::try_from(count).unwrap_or(u64::MAX);
                client.worker.metrics.tunnel_bytes[direction].add(count);
            }
        };
        let masked = || {
            let close = masked_close(mask(worker));
            (close, close.len())
        };
        let plain = || {
            let mut close = [0; 8];
            close[..CLOSE.len()].copy_from_slice(&CLOSE);
            (close, CLOSE.len())
        };
        let buffers = &worker.buffers;
        let up = self
            .up
            .poll(self.near, self.far, buffers, masked, moved(0), cx);
        let waits = up.is_pending();
        match up {
            Poll::Ready(Err(Fault::From(error))) => {
                tracing::debug!(%error, peer = %client.peer, "a tunnel lost its client");
                return Some(self.first.unwrap_or(Ended::ClientGone));
            }
            // What it has sent before is still to be read.
            Poll::Ready(Err(Fault::To(_))) => self.up.told = true,
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        // Where nothing is read, as it has said all, or more than the target takes.
        if (waits || self.up.ended) && self.near.poll_gone(buffers, cx).is_ready() {
            return Some(self.first.unwrap_or(Ended::ClientGone));
        }
        if self.up.frames.are_closed() || self.up.ended {
            self.first.get_or_insert(Ended::Closed);
        }
        let down = self
            .down
            .poll(self.far, self.near, buffers, plain, moved(1), cx);
        if let Poll::Ready(Err(Fault::From(error) | Fault::To(error))) = down {
            tracing::debug!(%error, peer = %client.peer, "a tunnel lost its client");
            return Some(self.first.unwrap_or(Ended::ClientGone));
        }
        let both = self.up.frames.are_closed() && self.down.frames.are_closed();
        if self.down.vanished {
            self.first.get_or_insert(Ended::TargetGone);
        } else if self.down.ended || self.down.frames.are_closed() {
            self.first.get_or_insert(Ended::ByTarget);
        }
        if both || self.down.vanished {
            let until = worker.timers.now() + CLOSE_GRACE;
            self.leaving.patience.get_or_insert(until);
        }
        let over = self.down.told && (self.up.told || self.up.frames.are_closed());
        over.then(|| self.first.unwrap_or(Ended::Closed))
    }

    /// Tells both sides that it is over, as far as that goes without waiting.
    fn say_goodbye(&mut self, cx: &mut Context<'_>) {
        let worker = &self.client.worker;
        if self.down.is_between_frames() && self.near.poll_flush(&worker.buffers, cx).is_ready() {
            report(&self.near.poll_send(&CLOSE, cx));
        }
        if self.up.is_between_frames() {
            let close = masked_close(mask(worker));
            report(&self.far.poll_send(&close, cx));
        }
    }
}

/// A last word that was not heard changes nothing.
fn report(sent: &Poll<io::Result<usize>>) {
    if let Poll::Ready(Err(error)) = sent {
        tracing::debug!(%error, "a tunnel ended without a Close");
    }
}

/// Drawn, so that what a client sends in clear cannot be chosen by anybody (RFC 6455 §10.3).
fn mask(worker: &Worker) -> [u8; 4] {
    let [.., a, b, c, d] = worker.draw(1 << 32).to_be_bytes();
    [a, b, c, d]
}
