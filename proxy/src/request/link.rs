//! The client's end of an exchange: its stream, and what is to be sent on it.

use std::io;
use std::task::{Context, Poll};

use crate::http1::buffer::{Buffer, Buffers};
use crate::http1::stream::Stream;
use crate::http1::wire::Wire;

/// A client's stream, with what was read and not used, and what was written and not sent.
pub(crate) struct Link {
    pub(crate) wire: Wire,
    /// What is to be sent next. `sent` of it was.
    pub(crate) output: Vec<u8>,
    sent: usize,
}

impl Link {
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            wire: Wire::new(stream),
            output: Vec::new(),
            sent: 0,
        }
    }

    /// The same, of which that was read already.
    pub(crate) fn with_input(mut self, input: Vec<u8>) -> Self {
        self.wire.received = input.len() as u64;
        self.wire.input = Buffer::of(input);
        self
    }

    /// Takes storage for what is to be sent.
    pub(crate) fn lend(&mut self, buffers: &Buffers) {
        if self.output.capacity() == 0 {
            self.output = buffers.output();
        }
    }

    /// Gives back the storage for what is to be sent, if all of it was: idle connections have none.
    pub(crate) fn give_back(&mut self, buffers: &Buffers) {
        if !self.is_pending() {
            buffers.put_output(std::mem::take(&mut self.output));
            self.sent = 0;
        }
    }

    /// Drops empty lines at the beginning of the input. True if nothing is left.
    pub(crate) fn skip_empty_lines(&mut self) -> bool {
        let input = &mut self.wire.input;
        let blank = |byte: &u8| !matches!(byte, b'\r' | b'\n');
        let count = input.data().iter().position(blank);
        input.consume(count.unwrap_or(input.len()));
        input.is_empty()
    }

    /// How many bytes of requests came, without what is not read yet, and how many were sent.
    pub(crate) fn moved(&self) -> (u64, u64) {
        let unread = self.wire.input.len() as u64;
        (self.wire.received.saturating_sub(unread), self.wire.sent)
    }

    /// How much of what waits was sent.
    pub(crate) fn sent(&self) -> usize {
        self.sent
    }

    /// Takes back what waits, if nothing of it was sent. False if something was.
    pub(crate) fn take_back(&mut self) -> bool {
        let whole = self.sent == 0;
        if whole {
            self.output.clear();
        }
        whole
    }

    /// Something waits to be sent.
    pub(crate) fn is_pending(&self) -> bool {
        self.sent < self.output.len()
    }

    /// Sends what waits, and then of these bytes. Tells how many of these were sent; 0 says nothing
    /// about what waits.
    pub(crate) fn poll_send(
        &mut self,
        then: &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let waiting = &self.output[self.sent..];
        let waits = waiting.len();
        let count = std::task::ready!(self.wire.poll_send(waiting, then, cx))?;
        if count < waits {
            self.sent += count;
            return Poll::Ready(Ok(0));
        }
        self.output.clear();
        self.sent = 0;
        Poll::Ready(Ok(count - waits))
    }

    /// Sends all that waits.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.is_pending() {
            std::task::ready!(self.poll_send(&[], cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when the client has gone. If it `may_read`, what the client sends meanwhile is kept for
    /// later, up to a buffer; else only that a stream of HTTP/2 was reset is seen.
    pub(crate) fn poll_gone(
        &mut self,
        may_read: bool,
        buffers: &Buffers,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        match &self.wire.stream {
            // Of such a one nothing can come that would be kept.
            Stream::Http2(stream) if !may_read || stream.is_read() => {
                buffers.release(&mut self.wire.input);
                return stream.poll_gone(cx).map(drop);
            }
            _ if !may_read => return Poll::Pending,
            _ => {}
        }
        while buffers.reserve(&mut self.wire.input, 1) {
            match std::task::ready!(self.wire.poll_fill(buffers, 1, cx)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
        // It sends faster than it is answered; a write will tell.
        Poll::Pending
    }
}
