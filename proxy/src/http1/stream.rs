//! What carries the bytes of a connection, on either side: everything that depends on it is here.

use std::io::{self, IoSlice};
use std::net;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;

use crate::http2::inbound::Inbound;
use crate::http2::outbound::Outbound;
use crate::tls::stream::TlsStream;

/// A connection to a client or a target. An enum and not a trait object: the plain socket must cost
/// what a plain socket costs.
#[derive(Debug)]
pub(crate) enum Stream {
    /// The socket itself.
    Plain(TcpStream),
    /// TLS over one.
    Tls(Box<TlsStream>),
    /// One request of a client's HTTP/2 connection.
    Http2(Box<Inbound>),
    /// One request on an HTTP/2 connection to a target.
    Outbound(Box<Outbound>),
}

impl Stream {
    /// Reads what is there. Nothing read means that the other side sends no more.
    pub(crate) fn poll_read(
        &mut self,
        room: &mut ReadBuf<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, room),
            Self::Tls(tls) => tls.poll_read(room, cx),
            Self::Http2(stream) => stream.poll_read(room, cx),
            Self::Outbound(stream) => stream.poll_read(room, cx),
        }
    }

    /// Nobody reads at the moment: what comes is to take no more room than it has bytes.
    pub(crate) fn gather(&mut self, cx: &mut Context<'_>) {
        if let Self::Outbound(stream) = self {
            stream.gather(cx);
        }
    }

    /// Sends of the first two slices that have bytes.
    pub(crate) fn poll_write_slices(
        &mut self,
        slices: &[IoSlice<'_>],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut slices = slices.iter().filter(|slice| !slice.is_empty());
        let first = slices.next().map_or(&[][..], |slice| slice);
        let second = slices.next().map_or(&[][..], |slice| slice);
        self.poll_write(first, second, cx)
    }

    /// Sends of the first bytes, then of the second. Tells how many in all.
    ///
    /// If it is not ready, the next call has to begin with the same bytes.
    pub(crate) fn poll_write(
        &mut self,
        first: &[u8],
        second: &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => {
                let socket = Pin::new(socket);
                match (first, second) {
                    (first, []) => socket.poll_write(cx, first),
                    ([], second) => socket.poll_write(cx, second),
                    (first, second) => {
                        socket.poll_write_vectored(cx, &[IoSlice::new(first), IoSlice::new(second)])
                    }
                }
            }
            Self::Tls(tls) => tls.poll_write(first, second, cx),
            Self::Http2(stream) => stream.poll_write(first, second, cx),
            Self::Outbound(stream) => stream.poll_write(first, second, cx),
        }
    }

    /// Part of a write that is not ready yet may have reached the other side.
    pub(crate) fn is_writing(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Http2(_) | Self::Outbound(_) => false,
            Self::Tls(tls) => tls.is_writing(),
        }
    }

    /// Makes the handshake of a stream that begins with one.
    pub(crate) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) | Self::Http2(_) | Self::Outbound(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => tls.poll_handshake(cx),
        }
    }

    /// Says that no more comes from here. What the other side sends can still be read.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(tls) => tls.poll_shutdown(cx),
            Self::Http2(stream) => {
                stream.finish();
                Poll::Ready(Ok(()))
            }
            // Its messages say themselves where they end.
            Self::Outbound(_) => Poll::Ready(Ok(())),
        }
    }

    /// Whether the other side has sent nothing and not closed, as far as the event loop knows. No
    /// system call unless it has something to tell. What it finds is lost.
    pub(crate) fn is_quiet(&mut self) -> bool {
        match self {
            Self::Plain(socket) => socket
                .try_read(&mut [0])
                .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock),
            Self::Tls(tls) => tls.is_quiet(),
            // It serves once, and never waits to be used again.
            Self::Http2(_) | Self::Outbound(_) => false,
        }
    }

    /// Ready when something happened, with anything to read or the end.
    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp()
            .map_or(Poll::Pending, |socket| socket.poll_read_ready(cx))
    }

    /// Small messages are not held back until earlier ones are acknowledged.
    pub(crate) fn set_nodelay(&self) -> io::Result<()> {
        self.tcp().map_or(Ok(()), |socket| socket.set_nodelay(true))
    }

    /// Its end, when dropped, cannot be taken for the end of what was sent.
    pub(crate) fn reset_on_drop(&mut self) -> io::Result<()> {
        if let Self::Tls(tls) = self {
            tls.be_silent();
        }
        // A stream of HTTP/2 that is cut short is reset in any case.
        self.socket()
            .map_or(Ok(()), |socket| socket.set_linger(Some(Duration::ZERO)))
    }

    /// Whether the kernel has sent all that it was given, or the other side is gone. Only before the
    /// end is said ([`Self::poll_shutdown`]): after that the kernel says yes at once.
    pub(crate) fn is_sent(&self) -> bool {
        let Some(tcp) = self.tcp() else {
            return true;
        };
        // There is room only when nothing waits to be sent. (Also SIOCOUTQ would tell, but nothing
        // asks for it without unsafe code.)
        let marked = SockRef::from(tcp).set_tcp_notsent_lowat(1);
        let mut room = [PollFd::new(tcp, PollFlags::OUT)];
        let asked = marked.is_ok() && poll(&mut room, Some(&Timespec::default())).is_ok();
        !asked || !room[0].revents().is_empty()
    }

    /// The socket below, for questions to the kernel. None if it serves others too.
    pub(crate) fn socket(&self) -> Option<SockRef<'_>> {
        self.tcp().map(SockRef::from)
    }

    /// How a stream of HTTP/2 ends that is cut short from now on. Nothing else has words for it.
    pub(crate) fn end_with(&mut self, reason: h2::Reason) {
        if let Self::Http2(stream) = self {
            stream.end_with(reason);
        }
    }

    /// A second handle on the socket below.
    pub(crate) fn handle(&self) -> io::Result<net::TcpStream> {
        let socket = self.socket().ok_or(io::ErrorKind::Unsupported)?;
        socket.try_clone().map(net::TcpStream::from)
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(socket) => Some(socket),
            Self::Tls(tls) => Some(tls.socket()),
            Self::Http2(_) | Self::Outbound(_) => None,
        }
    }
}
