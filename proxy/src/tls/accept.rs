//! Handshakes with clients: bounded in time and number, and one step of one of them at a time, so
//! that those who are connected wait for no more than that.
//!
//! A step with a signature takes up to a millisecond. Many clients that come at once would, each in
//! its own task, take turns with the requests of others as equals: a hundred of them are a tenth of
//! a second. So a handshake takes a turn for each step, and keeps it until everything else that
//! was ready has run.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustls::HandshakeKind;
use rustls::server::UnbufferedServerConnection;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::choice::take_asked;
use super::listener::ListenerTls;
use super::stream::TlsStream;
use crate::clock;
use crate::observe::counters::TIMES;
use crate::serve::worker::Worker;

/// The most handshakes of one worker at a time. Each takes some 10 KB. A core makes a few thousand
/// a second, so one that is at work is done long before as many have come after it; those that are
/// still there when one more comes are those that wait for a client that says nothing.
const HANDSHAKES_MAX: usize = 1024;

/// The handshakes of a worker.
pub(crate) struct Handshakes {
    /// By age. With one more than [`HANDSHAKES_MAX`], the oldest ends.
    seats: RefCell<BTreeMap<u64, Rc<Seat>>>,
    next: Cell<u64>,
    turn: Semaphore,
}

#[derive(Default)]
struct Seat {
    lost: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Default for Handshakes {
    fn default() -> Self {
        Self {
            seats: RefCell::default(),
            next: Cell::new(0),
            turn: Semaphore::new(1),
        }
    }
}

impl Handshakes {
    fn sit(self: &Rc<Self>) -> Seated {
        let number = self.next.get();
        self.next.set(number + 1);
        let seat = Rc::<Seat>::default();
        let mut seats = self.seats.borrow_mut();
        if seats.len() >= HANDSHAKES_MAX
            && let Some((_, oldest)) = seats.pop_first()
        {
            oldest.lost.set(true);
            if let Some(waker) = oldest.waker.take() {
                waker.wake();
            }
        }
        seats.insert(number, Rc::clone(&seat));
        Seated {
            all: Rc::clone(self),
            number,
            seat,
        }
    }
}

/// A handshake in the count; gone when dropped.
struct Seated {
    all: Rc<Handshakes>,
    number: u64,
    seat: Rc<Seat>,
}

impl Seated {
    /// Ready when it has to make room.
    fn poll_lost(&self, cx: &Context<'_>) -> Poll<()> {
        if self.seat.lost.get() {
            return Poll::Ready(());
        }
        self.seat.waker.replace(Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        self.all.seats.borrow_mut().remove(&self.number);
    }
}

/// How a handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With a new session.
    Full = 0,
    /// With a session of before.
    Resumed = 1,
    /// The two did not come together, or the client left.
    Failed = 2,
    /// The client took too long.
    Timeout = 3,
    /// It had to make room for newer ones.
    Shed = 4,
}

impl Ended {
    /// All of them, in order.
    pub(crate) const ALL: [Self; 5] = [
        Self::Full,
        Self::Resumed,
        Self::Failed,
        Self::Timeout,
        Self::Shed,
    ];

    /// Its name in metrics.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Resumed => "resumed",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::Shed => "shed",
        }
    }
}

/// A handshake after which there is no connection.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) ended: Ended,
    /// What was wrong, if it failed.
    pub(crate) error: Option<io::Error>,
}

/// A handshake that was made.
pub(crate) struct Accepted {
    pub(crate) stream: TlsStream,
    /// The name that the client has asked for; empty if it did not.
    pub(crate) server_name: Box<str>,
    pub(crate) took: Duration,
}

/// Makes the handshake with a client.
pub(crate) async fn accept(
    worker: &Rc<Worker>,
    tls: &ListenerTls,
    limit: Duration,
    socket: TcpStream,
) -> Result<Accepted, Lost> {
    let made = UnbufferedServerConnection::new(Arc::clone(&tls.config));
    let mut stream = match made {
        Ok(connection) => TlsStream::new(socket, connection),
        Err(error) => {
            tracing::error!(%error, "no handshake can be made");
            let ended = Ended::Failed;
            worker.metrics.handshakes.count(ended as usize);
            return Err(Lost {
                ended,
                error: Some(io::Error::other(error)),
            });
        }
    };
    let begun = clock::now();
    let handshakes = &worker.handshakes;
    let seated = handshakes.sit();
    let slot = worker.timers.slot();
    slot.set(limit);
    let ended = poll_fn(|cx| {
        if seated.poll_lost(cx).is_ready() {
            return Poll::Ready(Ended::Shed);
        }
        slot.poll(cx).map(|()| Ended::Timeout)
    });
    let mut server_name = Box::default();
    let driven = tokio::select! {
        biased;
        ended = ended => Err(Lost { ended, error: None }),
        driven = drive(handshakes, &mut stream, &mut server_name) => driven.map_err(|error| {
            tracing::debug!(%error, "a handshake failed");
            Lost { ended: Ended::Failed, error: Some(error) }
        }),
    };
    let ended = match &driven {
        Ok(()) if stream.tls().handshake_kind() == Some(HandshakeKind::Resumed) => Ended::Resumed,
        Ok(()) => Ended::Full,
        Err(lost) => lost.ended,
    };
    worker.metrics.handshakes.count(ended as usize);
    driven?;
    let took = clock::now().saturating_duration_since(begun);
    worker.metrics.handshake_times.note(&TIMES, took);
    Ok(Accepted {
        stream,
        server_name,
        took,
    })
}

async fn drive(
    handshakes: &Handshakes,
    stream: &mut TlsStream,
    server_name: &mut Box<str>,
) -> io::Result<()> {
    loop {
        poll_fn(|cx| stream.poll_handshake_ready(cx)).await?;
        // It is never closed.
        let turn = handshakes.turn.acquire().await.map_err(io::Error::other)?;
        let step = poll_fn(|cx| Poll::Ready(stream.poll_handshake(cx))).await;
        if let Some(name) = take_asked() {
            *server_name = name;
        }
        if let Poll::Ready(done) = step {
            return done;
        }
        // Whatever is ready runs, and the kernel is asked what else is, before the next step of
        // any handshake.
        tokio::task::yield_now().await;
        drop(turn);
    }
}
