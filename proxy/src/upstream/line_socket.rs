//! What carries a connection with HTTP/2 to a target. It looks at the first bytes, counts frames
//! that carry nothing, and notes signs of life.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::error::AttemptError;
use super::pool::Connection;
use crate::http2::flow::Carries;
use crate::http2::watch::{Abuse, Watch};

/// The head of a frame: length, type, flags, stream.
const FRAME_HEAD: usize = 9;
const SETTINGS: u8 = 4;

/// How long a target may take to say that a stream is over whose response is whole, in milliseconds;
/// between once and twice that, as looks are a second apart.
const REST: u64 = 1_000;

/// The most streams that wait for that. The target counts them against its limit.
const RESTING_MAX: usize = 32;

/// GOAWAY with that code (RFC 9113 §6.8). A target begins no streams, so the latest one is 0.
const ENHANCE_YOUR_CALM: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11];

/// A connection, and what is seen of its bytes.
pub(super) struct Socket {
    pub(super) connection: RefCell<Box<Connection>>,
    /// The first bytes that came, and how many.
    first: Cell<[u8; FRAME_HEAD]>,
    read: Cell<usize>,
    /// The target has closed it.
    at_end: Cell<bool>,
    watch: RefCell<Watch>,
    /// What the target sent too many of.
    abuse: Cell<Option<Abuse>>,
    /// A byte came since the latest look.
    heard: Cell<bool>,
    /// The library's latest write was not taken whole.
    in_frame: Cell<bool>,
    /// The time of the latest look.
    now: Cell<u64>,
    resting: RefCell<Vec<Resting>>,
}

/// A stream of which all was sent and read. Its target is expected to say that it is over, and if it
/// does not, the stream is reset when this is dropped.
struct Resting {
    /// Not later than it began to rest (`Timers::now`).
    since: u64,
    received: RecvStream,
    _sent: SendStream<Bytes>,
}

impl Socket {
    pub(super) fn new(connection: Box<Connection>, now: u64) -> Rc<Self> {
        Rc::new(Self {
            connection: RefCell::new(connection),
            first: Cell::new([0; FRAME_HEAD]),
            read: Cell::new(0),
            at_end: Cell::new(false),
            watch: RefCell::new(Watch::of_target(now)),
            abuse: Cell::new(None),
            heard: Cell::new(false),
            in_frame: Cell::new(false),
            now: Cell::new(now),
            resting: RefCell::default(),
        })
    }

    /// The target has begun as it must.
    pub(super) fn has_settings(&self) -> bool {
        self.read.get() == FRAME_HEAD
    }

    /// Nothing more will come.
    pub(super) fn is_at_end(&self) -> bool {
        self.at_end.get()
    }

    /// What the target sent too many of. The connection is over then.
    pub(super) fn abuse(&self) -> Option<Abuse> {
        self.abuse.get()
    }

    /// The library will end the connection soon for its empty frames, however old they are.
    pub(super) fn is_worn(&self) -> bool {
        self.watch.borrow().is_worn()
    }

    /// A stream is opened on it.
    pub(super) fn opened(&self) {
        self.watch.borrow_mut().opened();
    }

    /// Lets go of streams whose targets have had a second to say that they are over.
    pub(super) fn end_resting(&self, now: u64) {
        let mut resting = self.resting.borrow_mut();
        resting.retain(|stream| now.saturating_sub(stream.since) < 2 * REST);
        if resting.is_empty() {
            resting.shrink_to_fit();
        }
    }

    /// Whether a byte came since the look before, and a frame that carries something.
    pub(super) fn signs(&self, now: u64) -> (bool, bool) {
        self.now.set(now);
        let answered = self.watch.borrow_mut().take_answered();
        (self.heard.take(), answered)
    }

    /// The time of the latest look.
    pub(super) fn looked(&self) -> u64 {
        self.now.get()
    }

    /// A byte came since the latest look.
    pub(super) fn has_heard(&self) -> bool {
        self.heard.get()
    }

    /// What it means that HTTP/2 did not begin.
    pub(super) fn failure(&self, error: impl Into<Option<h2::Error>>) -> AttemptError {
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

    /// Tells the target why the connection ends, if it can be told at once: the library does not.
    pub(super) fn say_why(&self) {
        let mut connection = self.connection.borrow_mut();
        if self.in_frame.get() {
            return;
        }
        let mut cx = Context::from_waker(Waker::noop());
        // Whoever does not read need not know.
        drop(
            connection
                .wire
                .stream
                .poll_write(&ENHANCE_YOUR_CALM, &[], &mut cx),
        );
    }

    fn wrote(&self, written: Poll<io::Result<usize>>, offered: usize) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = written {
            self.in_frame.set(count < offered);
        }
        written
    }
}

impl Carries for Socket {
    fn sending(&self, length: usize) {
        self.watch.borrow_mut().sending(length);
    }

    fn rests(&self, received: RecvStream, sent: SendStream<Bytes>) {
        let mut resting = self.resting.borrow_mut();
        if resting.len() >= RESTING_MAX {
            resting.retain(|stream| !stream.received.is_end_stream());
        }
        if resting.len() >= RESTING_MAX {
            resting.remove(0);
        }
        resting.push(Resting {
            since: self.now.get(),
            received,
            _sent: sent,
        });
    }
}

/// What the library reads and writes.
pub(super) struct Transport(pub(super) Rc<Socket>);

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let start = room.filled().len();
        let socket = &self.0;
        let mut connection = socket.connection.borrow_mut();
        let read = std::task::ready!(connection.wire.stream.poll_read(room, cx));
        if read.is_err() || room.filled().len() == start {
            socket.at_end.set(true);
        }
        read?;
        let bytes = &room.filled()[start..];
        socket.heard.set(true);
        socket.look(bytes)?;
        let watched = socket.watch.borrow_mut().read(bytes, socket.now.get());
        Poll::Ready(watched.map_err(|abuse| {
            socket.abuse.set(Some(abuse));
            socket.at_end.set(true);
            io::Error::other(abuse.name())
        }))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut connection = self.0.connection.borrow_mut();
        let written = connection.wire.stream.poll_write(bytes, &[], cx);
        self.0.wrote(written, bytes.len())
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut connection = self.0.connection.borrow_mut();
        let written = connection.wire.stream.poll_write_slices(slices, cx);
        let offered = slices.iter().map(|slice| slice.len()).sum();
        self.0.wrote(written, offered)
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
