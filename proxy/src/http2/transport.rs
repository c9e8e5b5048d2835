//! The socket below a client's HTTP/2 connection, with what was read from it before, and with a
//! watch over what comes.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::watch::{Abuse, Sends, Watch};
use crate::http1::buffer::Buffer;
use crate::http1::stream::Stream;
use crate::serve::timers::Timers;

/// The largest list of fields that is read, in bytes as RFC 9113 §6.5.2 counts them. Larger than
/// the largest head ([`crate::http1::buffer::LARGE`], as ALB has it), so that one a little too large
/// gets an answer with its reason. Beyond this the library answers 431 by itself.
pub(crate) const LIST_MAX: u32 = 96 * 1024;

/// What the connection, its transport and its streams share.
pub(crate) struct Shared {
    pub(crate) stream: RefCell<Stream>,
    watch: RefCell<Watch>,
    timers: Rc<Timers>,
    abuse: Cell<Option<Abuse>>,
    /// When a byte was last taken by the peer (`Timers::now`).
    pub(crate) wrote: Cell<u64>,
}

impl Shared {
    pub(crate) fn new(stream: Stream, timers: &Rc<Timers>) -> Rc<Self> {
        Rc::new(Self {
            stream: RefCell::new(stream),
            watch: RefCell::new(Watch::new(timers.now())),
            timers: Rc::clone(timers),
            abuse: Cell::new(None),
            wrote: Cell::new(timers.now()),
        })
    }

    /// What the peer has sent too many of. Nothing is read any more then.
    pub(crate) fn abuse(&self) -> Option<Abuse> {
        self.abuse.get()
    }

    /// See [`Watch::completed`].
    pub(crate) fn completed(&self) {
        self.watch.borrow_mut().completed();
    }
}

impl Sends for Shared {
    fn sending(&self, length: usize) {
        self.watch.borrow_mut().sending(length);
    }
}

/// What the library reads and writes.
pub(crate) struct Transport {
    shared: Rc<Shared>,
    /// What was read before it was known to be HTTP/2.
    before: Buffer,
}

impl Transport {
    pub(crate) fn new(shared: Rc<Shared>, before: Buffer) -> Self {
        Self { shared, before }
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.shared.abuse.get().is_some() {
            return Poll::Pending;
        }
        let start = room.filled().len();
        if self.before.is_empty() {
            std::task::ready!(self.shared.stream.borrow_mut().poll_read(room, cx))?;
        } else {
            let count = self.before.len().min(room.remaining());
            room.put_slice(&self.before.data()[..count]);
            self.before.consume(count);
            if self.before.is_empty() {
                self.before = Buffer::default();
            }
        }
        let now = self.shared.timers.now();
        let watched = self
            .shared
            .watch
            .borrow_mut()
            .read(&room.filled()[start..], now);
        if let Err(abuse) = watched {
            // What came is for nobody. The connection's task looks after each poll.
            self.shared.abuse.set(Some(abuse));
            room.set_filled(start);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.shared.stream.borrow_mut().poll_write(bytes, &[], cx);
        self.shared.note(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self
            .shared
            .stream
            .borrow_mut()
            .poll_write_slices(slices, cx);
        self.shared.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What was taken was sent.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.stream.borrow_mut().poll_shutdown(cx)
    }
}

impl Shared {
    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(count)) if count > 0) {
            self.wrote.set(self.timers.now());
        }
        written
    }
}
