//! The two directions of a stream: DATA as the bytes of an HTTP/1.1 body, under flow control.
//!
//! What is read is acknowledged to the peer only as the relay takes it, and what is written is
//! accepted only while the peer gives window: the slower side sets the pace, and nothing piles up.

use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use h2::{RecvStream, SendStream};
use tokio::io::ReadBuf;

use super::head::{Content, Framing, push_trailers, trailers};
use super::staged::Staged;
use crate::http1::chunked::{Part, push_size};

/// The most that is handed to the library at once. What goes beyond the window waits there, so it
/// is also the most that a stalled stream has there.
const PIECE: usize = 32 * 1024;

/// A connection that carries streams.
pub(crate) trait Carries {
    /// So many bytes of data are sent on it. See [`super::watch::Watch::sending`].
    fn sending(&self, length: usize);

    /// A stream of which all was sent and read, and whose end the peer has not said yet.
    fn rests(&self, received: RecvStream, sent: SendStream<Bytes>);
}

/// DATA that comes.
pub(crate) struct Receiver {
    body: RecvStream,
    framing: Framing,
    /// Content that came and was not taken, and what came after it (see [`Self::gather`]).
    content: Bytes,
    gathered: Vec<u8>,
    /// How it ended, behind what was gathered.
    failed: Option<h2::Error>,
    /// Bytes of HTTP/1.1 that go before the rest of the content.
    staged: Staged,
    state: Coming,
    /// What is still to be read of a length that the head states.
    left: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coming {
    Content,
    Trailers,
    Over,
}

impl Receiver {
    /// `head` is read first. `length`: what it states.
    pub(crate) fn new(
        body: RecvStream,
        head: Vec<u8>,
        framing: Framing,
        length: Option<u64>,
    ) -> Self {
        Self {
            left: length,
            body,
            framing,
            content: Bytes::new(),
            gathered: Vec::new(),
            failed: None,
            staged: head.into(),
            state: match framing {
                Framing::None => Coming::Over,
                Framing::Length | Framing::Chunked => Coming::Content,
            },
        }
    }

    /// All was read. The peer may not have said yet that there is no more.
    pub(crate) fn is_whole(&self) -> bool {
        let last = self.state == Coming::Over || self.left == Some(0);
        last && self.staged.is_given()
    }

    /// The peer has said that there is no more.
    pub(crate) fn has_ended(&self) -> bool {
        self.body.is_end_stream()
    }

    /// The stream, for which nothing is left to be done but to hear of its end.
    pub(crate) fn into_stream(self) -> RecvStream {
        self.body
    }

    /// Reads into the room what is there. Ready with nothing when it is over.
    ///
    /// # Errors
    /// If the peer ended the stream early.
    pub(crate) fn poll_read(
        &mut self,
        room: &mut ReadBuf<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), h2::Error>> {
        let start = room.filled().len();
        while room.remaining() > 0 {
            if self.staged.give(room) {
                continue;
            }
            if !self.content.is_empty() {
                let count = self.content.len().min(room.remaining());
                room.put_slice(&self.content[..count]);
                self.content.advance(count);
                self.left = self.left.map(|left| left.saturating_sub(count as u64));
                // Fails only if more is released than came.
                self.body.flow_control().release_capacity(count)?;
                if self.content.is_empty() && self.framing == Framing::Chunked {
                    self.staged
                        .write(|staged| staged.extend_from_slice(b"\r\n"));
                }
                continue;
            }
            if !self.gathered.is_empty() {
                let gathered = std::mem::take(&mut self.gathered);
                self.begin(gathered.into());
                continue;
            }
            if let Some(error) = self.failed.take() {
                return Poll::Ready(Err(error));
            }
            match self.state {
                Coming::Content => match self.body.poll_data(cx) {
                    Poll::Ready(Some(Ok(content))) => self.begin(content),
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                    Poll::Ready(None) => self.state = Coming::Trailers,
                    Poll::Pending => return pending_unless(room, start),
                },
                Coming::Trailers => match self.body.poll_trailers(cx) {
                    Poll::Ready(Ok(trailers)) => {
                        self.state = Coming::Over;
                        if self.framing == Framing::Chunked {
                            self.staged
                                .write(|staged| push_trailers(staged, trailers.as_ref()));
                        }
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return pending_unless(room, start),
                },
                Coming::Over => break,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes over what came, while nobody reads it: as bytes, of which there are no more than the
    /// window. The library keeps some 250 bytes for each frame, and a frame may hold one. Gives no
    /// window.
    pub(crate) fn gather(&mut self, cx: &mut Context<'_>) {
        while self.state == Coming::Content && self.failed.is_none() {
            match self.body.poll_data(cx) {
                Poll::Ready(Some(Ok(content))) => self.gathered.extend_from_slice(&content),
                Poll::Ready(Some(Err(error))) => self.failed = Some(error),
                Poll::Ready(None) => self.state = Coming::Trailers,
                Poll::Pending => return,
            }
        }
    }

    /// What is read next.
    fn begin(&mut self, content: Bytes) {
        if !content.is_empty() && self.framing == Framing::Chunked {
            self.staged.write(|staged| push_size(staged, content.len()));
        }
        self.content = content;
    }
}

/// Not ready, except with what was read before.
fn pending_unless(room: &ReadBuf<'_>, start: usize) -> Poll<Result<(), h2::Error>> {
    if room.filled().len() > start {
        Poll::Ready(Ok(()))
    } else {
        Poll::Pending
    }
}

/// DATA that goes.
pub(crate) struct Sender {
    stream: SendStream<Bytes>,
    content: Content,
    /// What is left of the chunk that is being read.
    chunk: usize,
    ended: bool,
    /// Its connection, which is told what is sent.
    carrier: Rc<dyn Carries>,
}

impl Sender {
    /// `ended`: the head was all.
    pub(crate) fn new(
        stream: SendStream<Bytes>,
        content: Content,
        ended: bool,
        carrier: Rc<dyn Carries>,
    ) -> Self {
        Self {
            stream,
            content,
            chunk: 0,
            ended,
            carrier,
        }
    }

    /// All of it was handed over.
    pub(crate) fn is_over(&self) -> bool {
        self.ended
    }

    /// The stream.
    pub(crate) fn stream(&mut self) -> &mut SendStream<Bytes> {
        &mut self.stream
    }

    /// The same, for which nothing is left to be done.
    pub(crate) fn into_stream(self) -> SendStream<Bytes> {
        self.stream
    }

    /// Takes of the bytes of a body. Tells how many. Not ready while there is no window.
    ///
    /// # Errors
    /// If the stream has ended, or the bytes are not those of the body.
    pub(crate) fn poll_write(
        &mut self,
        bytes: &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if self.ended {
            return Poll::Ready(Err(io::Error::other("bytes after the end of a message")));
        }
        let mut has_room = false;
        let mut used = 0;
        let mut pieces = Pieces::default();
        let mut end = false;
        loop {
            let rest = &bytes[used..];
            let owed = match &mut self.content {
                Content::Length(left) => usize::try_from(*left).unwrap_or(usize::MAX),
                Content::Chunked(_) => self.chunk,
            };
            if owed > 0 {
                if rest.is_empty() || pieces.len() >= PIECE {
                    break;
                }
                if !has_room {
                    match self.poll_room(cx) {
                        Poll::Ready(Ok(())) => has_room = true,
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                        Poll::Pending if used == 0 => return Poll::Pending,
                        Poll::Pending => break,
                    }
                }
                let count = owed.min(rest.len()).min(PIECE - pieces.len());
                pieces.add(bytes, used..used + count);
                used += count;
                match &mut self.content {
                    Content::Length(left) => *left -= count as u64,
                    Content::Chunked(_) => self.chunk -= count,
                }
                continue;
            }
            match &mut self.content {
                Content::Length(_) => {
                    end = true;
                    break;
                }
                Content::Chunked(chunks) => match chunks.next(rest).map_err(io::Error::other)? {
                    Part::Framing(count) => used += count,
                    Part::Data(count) => self.chunk = count,
                    Part::End => {
                        end = true;
                        break;
                    }
                    Part::More => break,
                },
            }
        }
        if used == 0 && !end {
            return Poll::Ready(Err(io::Error::other("a chunk in pieces")));
        }
        self.hand_over(pieces.into_bytes(bytes), end)?;
        Poll::Ready(Ok(used))
    }

    fn hand_over(&mut self, content: Bytes, end: bool) -> io::Result<()> {
        let trailing = match &self.content {
            Content::Chunked(chunks) if end && !chunks.trailers().is_empty() => {
                Some(trailers(chunks.trailers()).map_err(io::Error::other)?)
            }
            _ => None,
        };
        let ends = end && trailing.is_none();
        self.carrier.sending(content.len());
        if ends || !content.is_empty() {
            self.stream.send_data(content, ends).map_err(gone)?;
        }
        if let Some(trailing) = trailing {
            self.stream.send_trailers(trailing).map_err(gone)?;
        }
        self.ended |= end;
        Ok(())
    }

    /// Ready while the peer gives window.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.stream.capacity() > 0 {
            return Poll::Ready(Ok(()));
        }
        self.stream.reserve_capacity(1);
        loop {
            if self.stream.capacity() > 0 {
                return Poll::Ready(Ok(()));
            }
            match std::task::ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(gone(error))),
                None => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            }
        }
    }
}

/// Parts of some bytes, copied when they are all known: one is the usual number.
#[derive(Default)]
struct Pieces {
    first: Range<usize>,
    gathered: Vec<u8>,
}

impl Pieces {
    fn len(&self) -> usize {
        self.first.len().max(self.gathered.len())
    }

    fn add(&mut self, bytes: &[u8], range: Range<usize>) {
        if self.first.is_empty() {
            self.first = range;
        } else if self.gathered.is_empty() && self.first.end == range.start {
            self.first.end = range.end;
        } else {
            if self.gathered.is_empty() {
                self.gathered.extend_from_slice(&bytes[self.first.clone()]);
            }
            self.gathered.extend_from_slice(&bytes[range]);
        }
    }

    fn into_bytes(self, bytes: &[u8]) -> Bytes {
        if self.gathered.is_empty() {
            Bytes::copy_from_slice(&bytes[self.first])
        } else {
            self.gathered.into()
        }
    }
}

/// What the relay is told when a stream has ended.
pub(crate) fn gone(error: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}
