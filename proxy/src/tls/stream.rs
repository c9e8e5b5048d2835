//! TLS over a socket, on either side, without a buffer of our own.
//!
//! A write is done when the kernel has it: what was encrypted and not taken by the socket belongs
//! to a write that is not ready yet. So "written" means the same here as on a plain socket, and
//! whoever measures progress or holds back a sender need not know of TLS.

use std::fmt;
use std::io::{self, BufRead as _, IoSlice, Write as _};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::Connection;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;

/// The most that is read from the socket at once: a record with its frame.
const READ: usize = 16 * 1024;

/// The most records without content that are read in one look at an idle connection.
const LOOK: usize = 16;

/// A connection with TLS.
pub(crate) struct TlsStream {
    socket: TcpStream,
    tls: Connection,
    /// What was encrypted of a write that is not ready yet.
    taken: usize,
    /// It ends without a word, so that what was sent does not look whole.
    silent: bool,
}

impl TlsStream {
    pub(crate) fn new(socket: TcpStream, tls: impl Into<Connection>) -> Self {
        Self {
            socket,
            tls: tls.into(),
            taken: 0,
            silent: false,
        }
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// What was agreed on.
    pub(crate) fn tls(&self) -> &Connection {
        &self.tls
    }

    /// Part of a write that is not ready yet may have reached the other side.
    pub(crate) fn is_writing(&self) -> bool {
        self.taken > 0
    }

    /// Ready when there is something to do for the handshake.
    pub(crate) fn poll_handshake_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.tls.wants_write() {
            self.socket.poll_write_ready(cx)
        } else {
            self.socket.poll_read_ready(cx)
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
            if !self.tls.is_handshaking() {
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
            match self.take(room) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Content, or the end that the other side has announced.
                taken => return Poll::Ready(taken),
            }
            // The content of what is read fits into the room or, if a record was half read before,
            // into the library's own buffer, which has room for one.
            let count = READ.min(room.remaining());
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
            let mut writer = self.tls.writer();
            self.taken = match (first, second) {
                (first, []) => writer.write(first),
                ([], second) => writer.write(second),
                (first, second) => {
                    writer.write_vectored(&[IoSlice::new(first), IoSlice::new(second)])
                }
            }?;
        }
        std::task::ready!(self.poll_drain(cx))?;
        Poll::Ready(Ok(std::mem::take(&mut self.taken)))
    }

    /// See [`crate::http1::stream::Stream::poll_shutdown`].
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Queued once, however often it is called.
        self.tls.send_close_notify();
        std::task::ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    /// See [`crate::http1::stream::Stream::is_quiet`]. What is no content, such as the session
    /// tickets that targets send after the handshake, is taken in and says nothing.
    pub(crate) fn is_quiet(&mut self) -> bool {
        for _ in 0..LOOK {
            let mut scratch = [0; READ];
            match self.socket.try_read(&mut scratch) {
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
                Ok(0) => return false,
                Ok(count) => {
                    if self.digest(&scratch[..count], None).is_err() {
                        return false;
                    }
                    let has_content = self.tls.process_new_packets().map_or(true, |state| {
                        state.plaintext_bytes_to_read() > 0 || state.peer_has_closed()
                    });
                    if has_content {
                        return false;
                    }
                }
            }
        }
        false
    }

    /// The end, when dropped, says nothing.
    pub(crate) fn be_silent(&mut self) {
        self.silent = true;
    }

    /// Content that was decrypted. `WouldBlock` if there is none; nothing at the announced end.
    fn take(&mut self, room: &mut ReadBuf<'_>) -> io::Result<()> {
        // Not `read`, which wants the whole room initialized: 16 KB for each small request.
        let mut reader = self.tls.reader();
        let content = reader.fill_buf()?;
        let count = content.len().min(room.remaining());
        room.put_slice(&content[..count]);
        reader.consume(count);
        Ok(())
    }

    /// Reads up to so many bytes of the socket and understands them. Content goes into the room, if
    /// there is any.
    fn poll_receive(
        &mut self,
        count: usize,
        room: Option<&mut ReadBuf<'_>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut scratch = [MaybeUninit::uninit(); READ];
        let mut read = ReadBuf::uninit(&mut scratch[..count]);
        std::task::ready!(Pin::new(&mut self.socket).poll_read(cx, &mut read))?;
        let received = read.filled();
        let count = received.len();
        if let Err(error) = self.digest(received, room) {
            // The alert says why; that it cannot be sent changes nothing.
            self.poll_drain(cx).map_err(drop).is_ready();
            self.silent = true;
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(count))
    }

    fn digest(
        &mut self,
        mut received: &[u8],
        mut room: Option<&mut ReadBuf<'_>>,
    ) -> io::Result<()> {
        while !received.is_empty() {
            let count = self.tls.read_tls(&mut received)?;
            self.tls
                .process_new_packets()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            // The library holds the content of one record and no more.
            if let Some(room) = room.as_deref_mut().filter(|room| room.remaining() > 0) {
                match self.take(room) {
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                    _ => {}
                }
            }
            if count == 0 {
                // After the announced end nothing counts.
                break;
            }
        }
        Ok(())
    }

    /// Sends what is encrypted.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.wants_write() {
            let mut out = Out {
                socket: &mut self.socket,
                cx,
            };
            match self.tls.write_tls(&mut out) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for TlsStream {
    /// The other side is told that this is the end (RFC 8446 §6.1), if its socket takes it at once.
    fn drop(&mut self) {
        if self.silent || self.tls.is_handshaking() {
            return;
        }
        self.tls.send_close_notify();
        let mut out = Now(&self.socket);
        while self.tls.wants_write() && self.tls.write_tls(&mut out).is_ok_and(|sent| sent > 0) {}
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TlsStream").field(&self.socket).finish()
    }
}

/// A socket whose task is woken when it takes more.
struct Out<'a, 'c> {
    socket: &'a mut TcpStream,
    cx: &'a mut Context<'c>,
}

impl Out<'_, '_> {
    fn now<T>(polled: Poll<io::Result<T>>) -> io::Result<T> {
        match polled {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl io::Write for Out<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::now(Pin::new(&mut *self.socket).poll_write(self.cx, bytes))
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        Self::now(Pin::new(&mut *self.socket).poll_write_vectored(self.cx, parts))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A socket for what it takes at once.
struct Now<'a>(&'a TcpStream);

impl io::Write for Now<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
