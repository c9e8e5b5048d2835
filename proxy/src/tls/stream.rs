//! TLS over a socket, on either side, without a buffer of our own.
//!
//! A write is done when the kernel has it: what was encrypted and not taken by the socket belongs
//! to a write that is not ready yet. So "written" means the same here as on a plain socket, and
//! whoever measures progress or holds back a sender need not know of TLS.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::CommonState;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;

use super::session::Session;

/// What a record has beside its content, at most (RFC 8446 §5.2).
const FRAME: usize = 5 + 256;

/// The most that is read from the socket at once: the largest record.
const READ: usize = 16 * 1024 + FRAME;

/// The most records without content that are read in one look at an idle connection.
const LOOK: usize = 16;

/// A connection with TLS.
pub(crate) struct TlsStream {
    socket: TcpStream,
    session: Session,
    /// What was encrypted of a write that is not ready yet.
    taken: usize,
    /// It ends without a word, so that what was sent does not look whole.
    silent: bool,
}

impl TlsStream {
    pub(crate) fn new(socket: TcpStream, session: impl Into<Session>) -> Self {
        Self {
            socket,
            session: session.into(),
            taken: 0,
            silent: false,
        }
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// What was agreed on.
    pub(crate) fn tls(&self) -> &CommonState {
        self.session.state()
    }

    /// Part of a write that is not ready yet may have reached the other side.
    pub(crate) fn is_writing(&self) -> bool {
        self.taken > 0
    }

    /// Ready when there is something to do for the handshake.
    pub(crate) fn poll_handshake_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.session.output().is_empty() {
            self.socket.poll_read_ready(cx)
        } else {
            self.socket.poll_write_ready(cx)
        }
    }

    /// One step of the handshake: reads what is there and answers it. Ready when it is over.
    ///
    /// # Errors
    /// If it cannot succeed. The other side was told so, as far as its socket took it.
    pub(crate) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            // The last flight goes out before anything else, also when it ends the handshake.
            std::task::ready!(self.poll_drain(cx))?;
            if !self.tls().is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if std::task::ready!(self.poll_receive(READ, None, cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// See [`crate::http1::stream::Stream::poll_read`].
    pub(crate) fn poll_read(
        &mut self,
        room: &mut ReadBuf<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            // Content, or the end that the other side has announced.
            if self.session.give(room) || self.session.has_ended() {
                return Poll::Ready(Ok(()));
            }
            // The content of what is read fits into the room, but for that of a record that was half
            // read before, and the last bytes of small ones. A whole record as large as the room is
            // read at once.
            let count = READ.min(room.remaining() + FRAME);
            let before = room.filled().len();
            if std::task::ready!(self.poll_receive(count, Some(room), cx))? == 0 {
                // RFC 8446 §6.1: without a word at the end, what came may have been cut short.
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            if room.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// See [`crate::http1::stream::Stream::poll_write`].
    pub(crate) fn poll_write(
        &mut self,
        first: &[u8],
        second: &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.taken == 0 {
            // What was queued otherwise, such as an update of keys.
            std::task::ready!(self.poll_drain(cx))?;
            let socket = &mut self.socket;
            self.taken = self.session.seal(first, second, |bytes| {
                Pin::new(&mut *socket).poll_write(cx, bytes)
            })?;
        }
        std::task::ready!(self.poll_drain(cx))?;
        Poll::Ready(Ok(std::mem::take(&mut self.taken)))
    }

    /// See [`crate::http1::stream::Stream::poll_shutdown`].
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.session.end();
        std::task::ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    /// See [`crate::http1::stream::Stream::is_quiet`]. What is no content, such as the session
    /// tickets that targets send after the handshake, is taken in and says nothing.
    pub(crate) fn is_quiet(&mut self) -> bool {
        for _ in 0..LOOK {
            if self.session.has_content() || self.session.has_ended() {
                return false;
            }
            let socket = &self.socket;
            let read = |space: &mut [u8]| match socket.try_read(space) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
                read => Poll::Ready(read),
            };
            match self.session.receive(READ, read, None) {
                Poll::Pending => return true,
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0) | Err(_)) => return false,
            }
        }
        false
    }

    /// The end, when dropped, says nothing.
    pub(crate) fn be_silent(&mut self) {
        self.silent = true;
    }

    /// Reads up to so many bytes of the socket and understands them. Content goes into the room, if
    /// there is any.
    fn poll_receive(
        &mut self,
        count: usize,
        room: Option<&mut ReadBuf<'_>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let socket = &mut self.socket;
        let mut failed = false;
        let read = |space: &mut [u8]| {
            let mut space = ReadBuf::new(space);
            let read = Pin::new(socket).poll_read(cx, &mut space);
            failed = matches!(read, Poll::Ready(Err(_)));
            read.map_ok(|()| space.filled().len())
        };
        let received = std::task::ready!(self.session.receive(count, read, room));
        if received.is_err() && !failed {
            // The alert says why; that it cannot be sent changes nothing.
            self.poll_drain(cx).map_err(drop).is_ready();
            self.silent = true;
        }
        Poll::Ready(received)
    }

    /// Sends what is encrypted.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.session.output().is_empty() {
            let socket = Pin::new(&mut self.socket);
            match std::task::ready!(socket.poll_write(cx, self.session.output()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.session.sent(count),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for TlsStream {
    /// The other side is told that this is the end (RFC 8446 §6.1), if its socket takes it at once.
    fn drop(&mut self) {
        if self.silent || self.tls().is_handshaking() {
            return;
        }
        self.session.end();
        while !self.session.output().is_empty() {
            match self.socket.try_write(self.session.output()) {
                Ok(count @ 1..) => self.session.sent(count),
                Ok(0) | Err(_) => return,
            }
        }
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TlsStream").field(&self.socket).finish()
    }
}
