//! Connections with HTTP/2 to one target, of one worker: which of them takes the next stream, and
//! when there is one more.
//!
//! All streams wait for a new connection together, and one of them makes it. A connection ends on
//! its own when it is out of the list and its last stream is over.

use std::cell::{Cell, RefCell};
use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use super::endpoint::Loss;
use super::error::AttemptError;
use super::pool::{Connection, Local};
use crate::http1::stream::Stream;
use crate::http2::outbound::Outbound;
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

/// The head of a frame: length, type, flags, stream.
const FRAME_HEAD: usize = 9;
const SETTINGS: u8 = 4;

/// The connections of one worker to one target.
#[derive(Default)]
pub(crate) struct Lines {
    open: RefCell<Vec<Rc<Line>>>,
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
    /// Since when it has had no stream, as far as the latest sweep has seen (`Timers::now`).
    idle_since: Cell<u64>,
}

/// What carries a connection.
struct Socket {
    connection: RefCell<Box<Connection>>,
    /// The first bytes that came, and how many.
    first: Cell<[u8; FRAME_HEAD]>,
    read: Cell<usize>,
    /// The target has closed it.
    at_end: Cell<bool>,
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
            // It goes away, or all numbers of streams were used.
            if !line.is_open(verify) {
                open.swap_remove(place);
                continue;
            }
            drop(open);
            return Some(line.stream(local, now));
        }
    }

    /// Lets connections go that have been without a stream for so long, or all of them: they end
    /// with their last stream.
    pub(crate) fn sweep(&self, now: u64, limit: u64, all: bool) {
        self.open.borrow_mut().retain(|line| {
            if line.streams.get() > 0 {
                line.idle_since.set(now);
            }
            !all && now.saturating_sub(line.idle_since.get()) < limit
        });
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
                Ok(connection) => begin(connection).await,
                Err(error) => Err(error),
            };
            match line {
                Ok((line, driver)) => {
                    line.idle_since.set(now());
                    lines.open.borrow_mut().push(Rc::clone(&line));
                    tokio::task::spawn_local(drive(Rc::clone(local), Rc::clone(&line), driver));
                    drop(turn);
                    if !line.has_room() {
                        let error = io::Error::other("the target allows no streams");
                        return Err(AttemptError::Refused(error));
                    }
                    return Ok(line.stream(local, now()));
                }
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
        self.streams.get() < allowed.min(STREAMS_MAX)
    }

    fn is_open(&self, verify: bool) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let ready = self.sender.clone().poll_ready(&mut cx);
        matches!(ready, Poll::Ready(Ok(())))
            && !self.socket.at_end.get()
            && !(verify && self.socket.connection.borrow().is_closed())
    }

    fn stream(self: &Rc<Self>, local: &Local, now: u64) -> Box<Connection> {
        let idled = match self.streams.get() {
            0 => now.saturating_sub(self.idle_since.get()),
            _ => 0,
        };
        self.streams.set(self.streams.get() + 1);
        let served = self.served.replace(self.served.get() + 1);
        let place = Box::new(Place(Rc::clone(self)));
        let secure = local.endpoint().tls.is_some();
        let stream = Outbound::new(self.sender.clone(), secure, place);
        Box::new(Connection::stream(
            local,
            Stream::Outbound(Box::new(stream)),
            served,
            idled,
        ))
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
async fn begin(connection: Box<Connection>) -> Result<(Rc<Line>, Driver), AttemptError> {
    let agreed = match &connection.wire.stream {
        Stream::Tls(tls) => tls.tls().alpn_protocol().map(<[u8]>::to_vec),
        _ => None,
    };
    // One that knows nothing of ALPN may speak it all the same, as ALB's targets do.
    if agreed.is_some_and(|agreed| agreed != policy::H2) {
        return Err(AttemptError::NotHttp2("it agreed on another protocol"));
    }
    let socket = Rc::new(Socket {
        connection: RefCell::new(connection),
        first: Cell::new([0; FRAME_HEAD]),
        read: Cell::new(0),
        at_end: Cell::new(false),
    });
    let begun = Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(LIST_MAX)
        .max_send_buffer_size(SEND_BUFFER)
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
        idle_since: Cell::new(0),
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
    let connection = socket.connection.borrow();
    match ended {
        _ if announced => connection.ended(Loss::Announced),
        Ok(()) if line.streams.get() == 0 => connection.ended(Loss::Sudden),
        _ => connection.lost(Loss::Sudden),
    }
}

/// What the library reads and writes.
struct Transport(Rc<Socket>);

impl Socket {
    /// The target has begun as it must.
    fn has_settings(&self) -> bool {
        self.read.get() == FRAME_HEAD
    }

    /// What it means that HTTP/2 did not begin.
    fn failure(&self, error: impl Into<Option<h2::Error>>) -> AttemptError {
        if self.read.get() > 0 {
            return AttemptError::NotHttp2("it did not begin with SETTINGS");
        }
        let error = error.into().and_then(h2::Error::into_io);
        AttemptError::Connect(error.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()))
    }

    /// Looks at the first bytes.
    fn look(&self, bytes: &[u8]) -> io::Result<()> {
        let read = self.read.get();
        if read == FRAME_HEAD {
            return Ok(());
        }
        let mut first = self.first.get();
        let count = bytes.len().min(FRAME_HEAD - read);
        first[read..read + count].copy_from_slice(&bytes[..count]);
        self.first.set(first);
        let read = read + count;
        let [_, _, _, kind, flags, stream @ ..] = first;
        if read < FRAME_HEAD {
            self.read.set(read);
        } else if kind == SETTINGS && flags == 0 && stream == [0; 4] {
            self.read.set(FRAME_HEAD);
        } else {
            self.read.set(FRAME_HEAD - 1);
            return Err(io::Error::other("no SETTINGS"));
        }
        Ok(())
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let start = room.filled().len();
        let mut connection = self.0.connection.borrow_mut();
        let read = std::task::ready!(connection.wire.stream.poll_read(room, cx));
        if read.is_err() || room.filled().len() == start {
            self.0.at_end.set(true);
        }
        read?;
        Poll::Ready(self.0.look(&room.filled()[start..]))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut connection = self.0.connection.borrow_mut();
        connection.wire.stream.poll_write(bytes, &[], cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut connection = self.0.connection.borrow_mut();
        connection.wire.stream.poll_write_slices(slices, cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What was taken was sent.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.connection.borrow_mut().wire.stream.poll_shutdown(cx)
    }
}
