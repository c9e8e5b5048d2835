//! Connections with HTTP/2 to one target, of one worker: which of them takes the next stream, and
//! when there is one more.
//!
//! All streams wait for a new connection together, and one of them makes it. A connection ends on
//! its own when it is out of the list and its last stream is over.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Ping, PingPong};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::endpoint::Loss;
use super::error::AttemptError;
use super::line_socket::{Socket, Transport};
use super::pool::{Connection, Local};
use super::silence::{Signs, Silence, Step};
use crate::http1::stream::Stream;
use crate::http2::flow::Carries;
use crate::http2::outbound::Outbound;
use crate::http2::watch::Abuse;
use crate::tls::policy;

/// Streams on one connection, at the most, if the target allows as many. More would wait for each
/// other: one connection is one sequence of bytes.
const STREAMS_MAX: usize = 100;

/// What a target may send on one stream before the client has taken it. On all together it is so
/// much that clients that do not read never stop those that do.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * 128;

/// The largest list of fields that is read. Larger than the largest head of a response.
const LIST_MAX: u32 = 64 * 1024;

/// What is kept of a request for a target that does not read, for each stream.
const SEND_BUFFER: usize = 64 * 1024;

/// Streams that we have reset and whose last frames are expected, for a second each: more than clients
/// give up at a time.
const RESETS_REMEMBERED: usize = 1_024;

/// Why connections are given up: for each [`Abuse`] of the target, and for its silence.
pub(crate) const CAUSES: usize = Abuse::ALL.len() + 1;
const SILENT: usize = CAUSES - 1;

/// The stable name of a cause, in metrics.
pub(crate) fn cause(place: usize) -> &'static str {
    Abuse::ALL.get(place).map_or("silent", |abuse| abuse.name())
}

/// The connections of one worker to one target.
#[derive(Default)]
pub(crate) struct Lines {
    open: RefCell<Vec<Rc<Line>>>,
    /// Those too that take no more streams and have some.
    all: RefCell<Vec<Weak<Line>>>,
    /// How many were given up, by cause, since somebody asked.
    given_up: Cell<[u32; CAUSES]>,
    /// Somebody makes one more.
    opening: Cell<bool>,
    /// That has ended.
    opened: Notify,
    /// How, for those who waited for it; counted, so that each sees only what came meanwhile.
    failed: RefCell<(u64, Option<AttemptError>)>,
}

/// One connection.
struct Line {
    sender: SendRequest<Bytes>,
    socket: Rc<Socket>,
    streams: Cell<usize>,
    served: Cell<u64>,
    /// Since when it has had no stream: not later than this (`Timers::now`).
    idle_since: Cell<u64>,
    /// And not earlier than this, once a sweep has seen it.
    idle_seen: Cell<Option<u64>>,
    silence: RefCell<Silence>,
    /// A stream was opened since the latest sweep.
    opened: Cell<bool>,
    ping: RefCell<Option<PingPong>>,
    /// Ends the task that moves its frames.
    driver: OnceCell<AbortHandle>,
}

impl Lines {
    /// A stream on the connection with the fewest, if one has room. `verify`: ask the kernel whether
    /// it is open; for requests that may not be sent twice.
    pub(crate) fn stream(&self, local: &Local, verify: bool, now: u64) -> Option<Box<Connection>> {
        loop {
            let mut open = self.open.borrow_mut();
            let with_room = open.iter().enumerate().filter(|(_, line)| line.has_room());
            let (place, _) = with_room.min_by_key(|(_, line)| line.streams.get())?;
            let line = Rc::clone(&open[place]);
            // It goes away, all numbers of streams were used, or its target may close it any moment.
            if !line.is_open(verify) || line.idled(now) >= local.idle_limit() {
                open.swap_remove(place);
                continue;
            }
            drop(open);
            return Some(line.stream(local, now));
        }
    }

    /// Lets connections go that have been without a stream for so long, or all of them: they end
    /// with their last stream. Those on which nothing comes are asked for a sign of life, and
    /// given up without one.
    pub(crate) fn sweep(&self, now: u64, limit: u64, all: bool) {
        let mut open = self.open.borrow_mut();
        open.retain(|line| {
            if line.streams.get() > 0 {
                line.idle_since.set(now);
            } else if line.idle_seen.get().is_none() {
                line.idle_seen.set(Some(now));
            }
            !all && line.idled(now) < limit && !line.socket.is_worn()
        });
        self.all.borrow_mut().retain(|line| {
            let Some(line) = line.upgrade() else {
                return false;
            };
            if line.lives(now) {
                return true;
            }
            open.retain(|other| !Rc::ptr_eq(other, &line));
            self.count(SILENT);
            false
        });
    }

    /// How many connections were given up since the call before, by cause.
    pub(crate) fn take_given_up(&self) -> [u32; CAUSES] {
        self.given_up.replace([0; CAUSES])
    }

    fn count(&self, cause: usize) {
        let mut counts = self.given_up.get();
        counts[cause] += 1;
        self.given_up.set(counts);
    }

    /// A stream on a new connection. `connect` makes the connection.
    pub(crate) async fn open(
        local: &Rc<Local>,
        now: impl Fn() -> u64,
        connect: impl AsyncFn() -> Result<Box<Connection>, AttemptError>,
    ) -> Result<Box<Connection>, AttemptError> {
        let lines = local.lines();
        let mut seen = lines.failed.borrow().0;
        loop {
            if let Some(stream) = lines.stream(local, false, now()) {
                return Ok(stream);
            }
            if lines.opening.replace(true) {
                lines.opened.notified().await;
                let failed = lines.failed.borrow();
                if failed.0 != seen
                    && let Some(error) = &failed.1
                {
                    return Err(error.alike());
                }
                seen = failed.0;
                continue;
            }
            let turn = Turn(lines);
            let line = match connect().await {
                Ok(connection) => begin(connection, now()).await,
                Err(error) => Err(error),
            };
            match line {
                Ok((line, driver)) => {
                    lines.open.borrow_mut().push(Rc::clone(&line));
                    lines.all.borrow_mut().push(Rc::downgrade(&line));
                    let driver = drive(Rc::clone(local), Rc::clone(&line), driver);
                    let task = tokio::task::spawn_local(driver);
                    // It is set here and nowhere else.
                    drop(line.driver.set(task.abort_handle()));
                    drop(turn);
                    if !line.has_room() {
                        let error = io::Error::other("the target allows no streams");
                        return Err(AttemptError::Refused(error));
                    }
                    return Ok(line.stream(local, now()));
                }
                // Whoever trusts the target asks it.
                Err(AttemptError::Doubtful) => return Err(AttemptError::Doubtful),
                Err(error) => {
                    let mut failed = lines.failed.borrow_mut();
                    failed.0 += 1;
                    failed.1 = Some(error.alike());
                    drop(failed);
                    return Err(error);
                }
            }
        }
    }
}

/// Whoever has it makes a connection; the others wait for its end.
struct Turn<'l>(&'l Lines);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.opening.set(false);
        self.0.opened.notify_waiters();
    }
}

impl Line {
    fn has_room(&self) -> bool {
        let allowed = self.sender.current_max_send_streams();
        self.streams.get() < allowed.min(STREAMS_MAX) && !self.is_suspect()
    }

    /// It was asked for a sign of life, and none has come.
    fn is_suspect(&self) -> bool {
        self.silence.borrow().is_suspect() && !self.socket.has_heard()
    }

    /// Looks whether something came, and asks for it or ends the connection if nothing did.
    fn lives(&self, now: u64) -> bool {
        self.socket.end_resting(now);
        let (heard, answered) = self.socket.signs(now);
        let signs = Signs {
            heard,
            answered,
            opened: self.opened.take(),
        };
        let waits = self.streams.get() > 0;
        match self.silence.borrow_mut().look(now, signs, waits) {
            Step::Wait => true,
            Step::Ask => {
                if let Some(ping) = &mut *self.ping.borrow_mut() {
                    // One that was not answered is still to be answered. Other errors are those of
                    // a connection that has ended.
                    drop(ping.poll_pong(&mut Context::from_waker(Waker::noop())));
                    drop(ping.send_ping(Ping::opaque()));
                }
                true
            }
            Step::GiveUp => {
                let connection = self.socket.connection.borrow();
                let target = connection.endpoint().address;
                tracing::info!(%target, "a connection with HTTP/2 gives no sign of life");
                connection.lost(Loss::Sudden);
                // Its streams end with the library's side of it.
                if let Some(driver) = self.driver.get() {
                    driver.abort();
                }
                false
            }
        }
    }

    fn is_open(&self, verify: bool) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let ready = self.sender.clone().poll_ready(&mut cx);
        matches!(ready, Poll::Ready(Ok(())))
            && !self.socket.is_at_end()
            && !(verify && self.socket.connection.borrow().is_closed())
    }

    /// For how long it has had no stream, at the most.
    fn idled(&self, now: u64) -> u64 {
        match self.streams.get() {
            0 => now.saturating_sub(self.idle_since.get()),
            _ => 0,
        }
    }

    fn stream(self: &Rc<Self>, local: &Local, now: u64) -> Box<Connection> {
        let idled = self.idled(now);
        self.idle_since.set(now);
        self.idle_seen.set(None);
        self.streams.set(self.streams.get() + 1);
        self.opened.set(true);
        self.socket.opened();
        let served = self.served.replace(self.served.get() + 1);
        let place = Box::new(Place(Rc::clone(self)));
        let secure = local.endpoint().tls.is_some();
        let carrier = Rc::clone(&self.socket) as Rc<dyn Carries>;
        let stream = Outbound::new(self.sender.clone(), secure, carrier, place);
        let stream = Stream::Outbound(Box::new(stream));
        Box::new(Connection::stream(local, stream, served, idled))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // The socket is the library's, whose connection lasts as long as its streams.
        self.socket.end_resting(u64::MAX);
    }
}

/// The place of a stream on its connection.
struct Place(Rc<Line>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
    }
}

type Driver = h2::client::Connection<Transport, Bytes>;

/// Begins HTTP/2 on a connection, up to the target's settings: they come first (RFC 9113 §3.4), so
/// that nothing of a request is sent to whoever speaks something else.
async fn begin(connection: Box<Connection>, now: u64) -> Result<(Rc<Line>, Driver), AttemptError> {
    let agreed = match &connection.wire.stream {
        Stream::Tls(tls) => tls.tls().alpn_protocol().map(<[u8]>::to_vec),
        _ => None,
    };
    // One that knows nothing of ALPN may speak it all the same, as ALB's targets do.
    if agreed.is_some_and(|agreed| agreed != policy::H2) {
        return Err(AttemptError::NotHttp2("it agreed on another protocol"));
    }
    let socket = Socket::new(connection, now);
    let begun = Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(LIST_MAX)
        .max_send_buffer_size(SEND_BUFFER)
        // Clients reset streams as they like, and frames of such a stream may be on their way. What the
        // library has forgotten it counts as an error of its own, and ends the connection for many of
        // them, with all the streams of others. What a target may send in vain is bounded by `Watch`.
        .max_concurrent_reset_streams(RESETS_REMEMBERED)
        .max_local_error_reset_streams(None)
        .handshake(Transport(Rc::clone(&socket)))
        .await;
    let (sender, mut driver) = begun.map_err(|error| socket.failure(error))?;
    poll_fn(|cx| match Pin::new(&mut driver).poll(cx) {
        Poll::Ready(Err(error)) => Poll::Ready(Err(socket.failure(error))),
        Poll::Ready(Ok(())) => Poll::Ready(Err(socket.failure(None))),
        Poll::Pending if socket.has_settings() => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    })
    .await?;
    let line = Line {
        sender,
        socket,
        streams: Cell::new(0),
        served: Cell::new(0),
        idle_since: Cell::new(now),
        idle_seen: Cell::new(None),
        silence: RefCell::new(Silence::new(now)),
        opened: Cell::new(false),
        ping: RefCell::new(driver.ping_pong()),
        driver: OnceCell::new(),
    };
    Ok((Rc::new(line), driver))
}

/// Moves the frames of a connection, to its end.
async fn drive(local: Rc<Local>, line: Rc<Line>, driver: Driver) {
    let socket = Rc::clone(&line.socket);
    // Only the list and streams keep it: without them the library closes it.
    let weak = Rc::downgrade(&line);
    drop(line);
    let ended = driver.await;
    if let Some(abuse) = socket.abuse() {
        socket.say_why();
        local.lines().count(abuse as usize);
        let target = local.endpoint().address;
        tracing::info!(%target, abuse = abuse.name(), "HTTP/2 abused by a target");
    }
    let Some(line) = weak.upgrade() else {
        // We let it go.
        socket.connection.borrow().ended_by_us();
        return;
    };
    let mut open = local.lines().open.borrow_mut();
    open.retain(|other| !Rc::ptr_eq(other, &line));
    drop(open);
    let mut cx = Context::from_waker(Waker::noop());
    let said = line.sender.clone().poll_ready(&mut cx);
    let announced =
        matches!(said, Poll::Ready(Err(error)) if error.is_go_away() && error.is_remote());
    // Closed without a word while nothing went on: its target does that after some time. Whoever says
    // so before takes no request along.
    if !announced
        && socket.abuse().is_none()
        && line.streams.get() == 0
        && let Some(seen) = line.idle_seen.get()
    {
        local.learn_idle_limit(socket.looked().saturating_sub(seen));
    }
    let connection = socket.connection.borrow();
    match ended {
        _ if announced => connection.ended(Loss::Announced),
        Ok(()) if line.streams.get() == 0 => connection.ended(Loss::Sudden),
        _ => connection.lost(Loss::Sudden),
    }
}
