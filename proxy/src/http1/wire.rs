//! A connection's stream and what was read from it.

use std::io;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;

use super::buffer::{Buffer, Buffers};
use super::stream::Stream;

/// Data behind a head that is copied to it rather than sent from its own place: one plain write
/// costs less than a vectored one with so little.
pub(crate) const COPY_MAX: usize = 4096;

/// A connection to a client or a target.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) stream: Stream,
    pub(crate) input: Buffer,
    /// How many bytes came, and how many were sent.
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

impl Wire {
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            stream,
            input: Buffer::default(),
            received: 0,
            sent: 0,
        }
    }

    /// Reads what is there, with room for `want` bytes if that can be. 0 means that the other side
    /// sends no more. Must not be called when the buffer is full (see [`Buffers::reserve`]).
    pub(crate) fn poll_fill(
        &mut self,
        buffers: &Buffers,
        want: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if !buffers.reserve(&mut self.input, want) {
            return Poll::Ready(Err(io::Error::other("the buffer is full")));
        }
        let mut room = ReadBuf::new(self.input.space());
        let polled = self.stream.poll_read(&mut room, cx);
        let count = room.filled().len();
        match polled {
            Poll::Ready(Ok(())) => {
                self.input.filled(count);
                self.received += count as u64;
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                buffers.release(&mut self.input);
                Poll::Pending
            }
        }
    }

    /// Sends of the first bytes, then of the second. Tells how many in all.
    pub(crate) fn poll_send(
        &mut self,
        first: &[u8],
        second: &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match self.stream.poll_write(first, second, cx) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(count)) => {
                self.sent += count as u64;
                Poll::Ready(Ok(count))
            }
            other => other,
        }
    }

    /// Says that no more comes from here. What the other side sends can still be read.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_shutdown(cx)
    }

    /// Whether the other side has sent nothing and not closed, as far as the event loop knows. No
    /// system call unless it has something to tell. What it finds is lost.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.stream.is_quiet() && self.input.is_empty()
    }
}
