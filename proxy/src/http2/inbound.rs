//! A client's stream, which reads and writes like a connection that carries one HTTP/1.1 request
//! and its response.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use h2::Reason;
use tokio::io::ReadBuf;

use super::connection::Connection;
use super::engine::Opened;
use super::fields::trailer;
use super::head::{Content, Framing};
use super::staged::Staged;
use crate::http1::chunked::{Chunks, Part, push_size};
use crate::http1::field::{Kind, kind_of, length};
use crate::http1::head::Written;

/// One request on a client's connection, behind its head.
pub(crate) struct Inbound {
    connection: Rc<Connection>,
    id: u32,
    framing: Framing,
    /// Bytes of HTTP/1.1 that are read before content.
    staged: Staged,
    /// What is left of the chunk that is being read.
    chunk: usize,
    /// Nothing comes behind what is staged.
    read: bool,
    /// Once the head of the response was sent.
    sending: Option<Sending>,
    to_head: bool,
    /// It asks for a WebSocket.
    websocket: bool,
    /// It is one: what comes and goes is no message of HTTP any more.
    switched: bool,
    /// What the client is told if the response does not become whole.
    ends_with: Reason,
}

/// What of a response's body is to come.
#[derive(Debug)]
struct Sending {
    content: Content,
    /// What is left of the chunk that is being written.
    chunk: usize,
    ended: bool,
}

impl std::fmt::Debug for Inbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Inbound").field(&self.id).finish()
    }
}

impl Inbound {
    /// A request as it came: its stream, and its head in HTTP/1.1.
    pub(crate) fn new(connection: &Rc<Connection>, opened: Opened) -> (Self, Vec<u8>) {
        let Opened { id, request } = opened;
        let stream = Self {
            connection: Rc::clone(connection),
            id,
            framing: request.framing,
            staged: Staged::default(),
            chunk: 0,
            read: request.framing == Framing::None,
            sending: None,
            to_head: request.to_head,
            websocket: request.websocket,
            switched: false,
            ends_with: Reason::INTERNAL_ERROR,
        };
        (stream, request.text)
    }

    /// All of the response was handed over.
    fn has_said_all(&self) -> bool {
        self.sending.as_ref().is_some_and(|sending| sending.ended)
    }

    /// Ready when a client that has its whole response sends no more of its request. What it sends
    /// gets no window.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.has_said_all() || self.switched {
            return Poll::Ready(());
        }
        match self.connection.streams().stream(self.id) {
            Some(stream) if !stream.has_ended() && !stream.is_reset() => {
                stream.watch(cx);
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// Nothing of the request is left to be read.
    pub(crate) fn is_read(&self) -> bool {
        self.read && self.staged.is_given() && !self.switched
    }

    /// See [`crate::http1::stream::Stream::end_with`].
    pub(crate) fn end_with(&mut self, reason: Reason) {
        self.ends_with = reason;
    }

    pub(crate) fn poll_read(
        &mut self,
        room: &mut ReadBuf<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let before = room.filled().len();
        while room.remaining() > 0 {
            if self.staged.give(room) {
                continue;
            }
            if self.read || !self.read_content(room, cx) {
                break;
            }
        }
        if room.filled().len() > before || (self.read && self.switched) {
            return Poll::Ready(Ok(()));
        }
        // The end of a request would look like the end of the connection, and the client may wait
        // for long.
        self.poll_gone(cx).map(Err)
    }

    /// Reads of what came, or stages what belongs to it. False if there is nothing at the moment.
    fn read_content(&mut self, room: &mut ReadBuf<'_>, cx: &Context<'_>) -> bool {
        let mut engine = self.connection.engine();
        let Some(stream) = engine.stream(self.id) else {
            return false;
        };
        let chunked = self.framing == Framing::Chunked;
        let content = stream.content();
        if content.is_empty() {
            if !stream.has_ended() {
                stream.watch(cx);
                return false;
            }
            let trailers = stream.take_trailers();
            drop(engine);
            self.read = true;
            if chunked {
                self.staged.write(|staged| {
                    staged.extend_from_slice(b"0\r\n");
                    staged.extend_from_slice(&trailers);
                    staged.extend_from_slice(b"\r\n");
                });
            }
            return true;
        }
        if chunked && self.chunk == 0 {
            let size = content.len();
            drop(engine);
            self.chunk = size;
            self.staged.write(|staged| push_size(staged, size));
            return true;
        }
        let most = if chunked { self.chunk } else { content.len() };
        let count = most.min(content.len()).min(room.remaining());
        room.put_slice(&content[..count]);
        engine.take(self.id, count);
        drop(engine);
        if chunked {
            self.chunk -= count;
            if self.chunk == 0 {
                self.staged
                    .write(|staged| staged.extend_from_slice(b"\r\n"));
            }
        }
        true
    }

    /// Ready when the client has reset the stream, or its connection is gone.
    pub(crate) fn poll_gone(&self, cx: &Context<'_>) -> Poll<io::Error> {
        match self.connection.streams().stream(self.id) {
            Some(stream) if !stream.is_reset() => {
                stream.watch(cx);
                Poll::Pending
            }
            _ => Poll::Ready(io::ErrorKind::ConnectionReset.into()),
        }
    }

    /// Takes of the first bytes, then of the second.
    pub(crate) fn poll_write(
        &mut self,
        first: &[u8],
        second: &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut used = 0;
        while self.sending.is_none() && used < first.len() {
            used += self.head(&first[used..])?;
        }
        for (index, part) in [&first[used..], second].into_iter().enumerate() {
            // A head is written whole, and always first.
            let Some(sending) = &mut self.sending else {
                return Poll::Ready(Ok(used));
            };
            if part.is_empty() {
                continue;
            }
            match sending.poll_write(&self.connection, self.id, part, cx) {
                Poll::Ready(Ok(count)) => {
                    used += count;
                    if sending.ended {
                        self.connection.completed();
                    }
                    if count < part.len() || index == 1 {
                        return Poll::Ready(Ok(used));
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if used == 0 => return Poll::Pending,
                Poll::Pending => return Poll::Ready(Ok(used)),
            }
        }
        Poll::Ready(Ok(used))
    }

    /// Sends the head at the beginning of these bytes. Tells its length.
    fn head(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let none = || io::Error::other("no whole head");
        let mut head = Written::begin(bytes).ok_or_else(none)?;
        let switches = head.status == 101 && self.websocket;
        // The target agreed to a WebSocket, which is said with 200 here (RFC 8441 §5). Whether it has
        // understood the key is not looked at: it is asked because the operator named it.
        let status = if switches { 200 } else { head.status };
        let mut engine = self.connection.engine();
        if engine
            .stream(self.id)
            .is_none_or(|stream| stream.is_reset())
        {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let block = engine.begin_head(status);
        let mut content = Some(Content::Length(0));
        while let Some((name, value)) = head.field() {
            match kind_of(name) {
                Kind::Connection | Kind::Hop | Kind::Upgrade => continue,
                Kind::TransferEncoding => {
                    content = Some(Content::Chunked(Chunks::default()));
                    continue;
                }
                Kind::ContentLength => content = length(value).map(Content::Length),
                _ if switches && name.eq_ignore_ascii_case(b"sec-websocket-accept") => continue,
                _ => {}
            }
            engine.field(name, value);
        }
        let (Some(rest), Some(content)) = (head.end(), content) else {
            engine.take_back(block);
            return Err(none());
        };
        let content = match status {
            _ if switches => Content::Length(u64::MAX),
            100..=199 | 204 | 304 => Content::Length(0),
            _ if self.to_head => Content::Length(0),
            _ => content,
        };
        let interim = status < 200;
        let ends = !interim && content == Content::Length(0);
        engine.end_block(block, self.id, ends);
        drop(engine);
        let count = bytes.len() - rest.len();
        if interim {
            return Ok(count);
        }
        if ends {
            self.connection.completed();
        }
        self.sending = Some(Sending {
            content,
            chunk: 0,
            ended: ends,
        });
        if switches {
            self.switched = true;
            self.ends_with = Reason::CANCEL;
        }
        Ok(count)
    }

    /// Says that no more comes, where nothing else does.
    pub(crate) fn finish(&mut self) {
        if let Some(sending) = &mut self.sending
            && self.switched
            && !sending.ended
        {
            sending.ended = true;
            self.connection.completed();
            self.connection.engine().content(self.id, &[], true);
        }
    }
}

impl Sending {
    /// Takes of the bytes of a body. Tells how many. Not ready while there is no window.
    ///
    /// # Errors
    /// If the stream has ended, or the bytes are not those of the body.
    fn poll_write(
        &mut self,
        connection: &Connection,
        id: u32,
        bytes: &[u8],
        cx: &Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Err(io::Error::other("bytes after the end of a message")));
        }
        let mut engine = connection.engine();
        if engine.stream(id).is_none_or(|stream| stream.is_reset()) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let mut used = 0;
        while !self.ended {
            let rest = &bytes[used..];
            let owed = match &self.content {
                Content::Length(left) => usize::try_from(*left).unwrap_or(usize::MAX),
                Content::Chunked(_) => self.chunk,
            };
            if owed > 0 {
                if rest.is_empty() {
                    break;
                }
                if engine.poll_room(id, cx).is_pending() {
                    if used == 0 {
                        return Poll::Pending;
                    }
                    break;
                }
                let count = owed.min(rest.len()).min(engine.room(id));
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                }
                match &mut self.content {
                    Content::Length(left) => {
                        *left -= count as u64;
                        self.ended = *left == 0;
                    }
                    Content::Chunked(_) => self.chunk -= count,
                }
                connection.sending(count);
                engine.content(id, &rest[..count], self.ended);
                used += count;
                continue;
            }
            let Content::Chunked(chunks) = &mut self.content else {
                break;
            };
            match chunks.next(rest).map_err(io::Error::other)? {
                Part::Framing(count) => used += count,
                Part::Data(count) => self.chunk = count,
                Part::End => {
                    self.ended = true;
                    let mut fields = Vec::new();
                    for line in chunks.trailers().split(|byte| *byte == b'\n') {
                        let line = line.strip_suffix(b"\r").unwrap_or(line);
                        if !line.is_empty() {
                            fields.extend(trailer(line).map_err(io::Error::other)?);
                        }
                    }
                    if fields.is_empty() {
                        engine.content(id, &[], true);
                    } else {
                        engine.respond_trailers(id, fields.into_iter());
                    }
                }
                Part::More => break,
            }
        }
        if used == 0 && !self.ended {
            return Poll::Ready(Err(io::Error::other("a chunk in pieces")));
        }
        Poll::Ready(Ok(used))
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        // A response that was cut short must not look whole. What the client still sends of its
        // request after a whole one is refused, without calling it an error (RFC 9113 §8.1).
        self.connection.engine().leave(self.id, self.ends_with);
    }
}
