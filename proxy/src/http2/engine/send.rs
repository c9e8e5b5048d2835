//! What goes.

use std::task::{Context, Poll, Waker};

use h2::Reason;

use super::frame::{HEAD, Head, flag, kind, setting};
use super::{CONNECTION_WINDOW, Engine, GOING, Going, OUT_MAX, STREAM_WINDOW, WINDOW};
use crate::http2::fields::LIST_MAX;
use crate::http2::hpack;

/// The last stream of a GOAWAY that leaves it open (RFC 9113 §6.8).
const ANY: u32 = 0x7FFF_FFFF;

/// Where a block of fields begins whose end is not written yet.
#[derive(Debug)]
pub(crate) struct Begun(usize);

impl Engine {
    /// What we say first (RFC 9113 §3.4).
    pub(super) fn begin(&mut self) {
        let settings = [
            (setting::MAX_CONCURRENT_STREAMS, self.open_max),
            (setting::INITIAL_WINDOW_SIZE, STREAM_WINDOW),
            (setting::MAX_HEADER_LIST_SIZE, LIST_MAX as u32),
            (setting::ENABLE_CONNECT_PROTOCOL, 1),
        ];
        let mut payload = Vec::with_capacity(6 * settings.len());
        for (setting, value) in settings {
            payload.extend_from_slice(&setting.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        self.push(kind::SETTINGS, 0, 0, &payload);
        let more = CONNECTION_WINDOW - WINDOW as u32;
        self.push(kind::WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
    }

    /// What is to be sent.
    pub(super) fn pending(&self) -> &[u8] {
        &self.out[self.sent..]
    }

    /// What is sent now, or as much as can be. It will not change any more.
    pub fn sending(&mut self) -> &[u8] {
        self.last_data = None;
        &self.out[self.sent..]
    }

    /// So much of it was sent.
    pub fn sent(&mut self, count: usize) {
        self.sent += count;
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
        } else if self.sent >= OUT_MAX {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Lets streams go on that wait for room, as far as there is some.
    pub(crate) fn wake_waiting(&mut self) {
        while self.room_for_all() > self.woken * self.frame_max
            && let Some(id) = self.waiting.pop_front()
        {
            let Some(stream) = self.streams.get_mut(&id.into()) else {
                continue;
            };
            stream.waits = false;
            // One whose own window is used up meanwhile takes nobody's turn.
            stream.turn = stream.window > 0 && !stream.is_reset();
            self.woken += usize::from(stream.turn);
            stream.wake();
        }
    }

    /// The vector of what is to be sent, if nothing is.
    pub(crate) fn take_storage(&mut self) -> Option<Vec<u8>> {
        let idle = self.out.is_empty() && self.out.capacity() > 0;
        idle.then(|| std::mem::take(&mut self.out))
    }

    /// Storage for what is to be sent, if there is none.
    pub(crate) fn lend_storage(&mut self, lend: impl FnOnce() -> Vec<u8>) {
        if self.out.capacity() == 0 {
            self.out = lend();
        }
    }

    /// Whoever sends is woken when there is something.
    pub(crate) fn watch(&mut self, waker: &Waker) {
        match &mut self.waker {
            Some(known) => known.clone_from(waker),
            None => self.waker = Some(waker.clone()),
        }
    }

    /// Nobody is woken: it looks by itself.
    pub(crate) fn forget_watch(&mut self) {
        self.waker = None;
    }

    /// Something is there for whoever sends.
    fn call(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn push(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let head = Head {
            length: payload.len(),
            kind,
            flags,
            stream,
        };
        self.out.extend_from_slice(&head.bytes());
        self.out.extend_from_slice(payload);
        self.last_data = None;
    }

    /// A whole head of a response to a stream. `ends`: nothing follows.
    pub fn respond(&mut self, id: u32, status: u16, fields: &[(&[u8], &[u8])], ends: bool) {
        let block = self.begin_head(status);
        for (name, value) in fields {
            self.field(name, value);
        }
        self.end_block(block, id, ends);
    }

    /// Begins the head of a response, or of an interim one. Its fields follow, and then
    /// [`Self::end_block`] or [`Self::take_back`].
    pub(crate) fn begin_head(&mut self, status: u16) -> Begun {
        let block = self.begin_block();
        hpack::status(&mut self.out, status);
        block
    }

    /// The next field of the block that was begun.
    pub(crate) fn field(&mut self, name: &[u8], value: &[u8]) {
        hpack::field(&mut self.out, name, value);
    }

    /// Nothing was begun.
    pub(crate) fn take_back(&mut self, block: Begun) {
        self.out.truncate(block.0);
    }

    /// The trailers of a response, as lines of HTTP/1.1 without the last one. They end it.
    pub(crate) fn respond_trailers<'f>(
        &mut self,
        id: u32,
        fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
    ) {
        let block = self.begin_block();
        for (name, value) in fields {
            self.field(name, value);
        }
        self.end_block(block, id, true);
    }

    /// Room for the head of a frame whose payload is written next.
    fn begin_block(&mut self) -> Begun {
        let start = self.out.len();
        self.out.extend_from_slice(&[0; HEAD]);
        if self.forgets {
            hpack::table_size_zero(&mut self.out);
        }
        Begun(start)
    }

    /// The block of fields is complete. `ends`: nothing follows it on the stream.
    pub(crate) fn end_block(&mut self, block: Begun, id: u32, ends: bool) {
        let Begun(start) = block;
        self.forgets = false;
        self.last_data = None;
        let length = self.out.len() - start - HEAD;
        let mut head = Head {
            length: length.min(self.frame_max),
            kind: kind::HEADERS,
            flags: if ends { flag::END_STREAM } else { 0 },
            stream: id,
        };
        // What does not fit goes on in others (§6.10).
        let rest = if length == head.length {
            head.flags |= flag::END_HEADERS;
            Vec::new()
        } else {
            self.out.split_off(start + HEAD + head.length)
        };
        self.out[start..start + HEAD].copy_from_slice(&head.bytes());
        let mut parts = rest.chunks(self.frame_max).peekable();
        while let Some(part) = parts.next() {
            let last = parts.peek().is_none();
            let flags = if last { flag::END_HEADERS } else { 0 };
            let head = Head {
                length: part.len(),
                kind: kind::CONTINUATION,
                flags,
                stream: id,
            };
            self.out.extend_from_slice(&head.bytes());
            self.out.extend_from_slice(part);
        }
        if ends {
            self.finish(id);
        }
        self.call();
    }

    /// How much content of a stream may be sent now.
    pub fn room(&self, id: u32) -> usize {
        let stream = self.streams.get(&id.into());
        let window = stream
            .filter(|stream| !stream.is_reset())
            .map_or(0, |stream| usize::try_from(stream.window).unwrap_or(0));
        let room = window.min(self.room_for_all());
        // Those who wait have as much, in turn.
        if self.is_contested() {
            room.min(self.frame_max)
        } else {
            room
        }
    }

    fn room_for_all(&self) -> usize {
        let window = usize::try_from(self.window).unwrap_or(0);
        window.min(OUT_MAX.saturating_sub(self.pending().len()))
    }

    /// Others wait for room, or were woken and have not used it.
    fn is_contested(&self) -> bool {
        self.woken > 0 || !self.waiting.is_empty()
    }

    /// Not ready while there is no room for content of a stream. Ready also if it was reset.
    pub(crate) fn poll_room(&mut self, id: u32, cx: &Context<'_>) -> Poll<()> {
        let shared = self.room_for_all();
        let contested = self.is_contested();
        let Some(stream) = self.streams.get_mut(&id.into()) else {
            return Poll::Ready(());
        };
        let windowless = stream.window <= 0;
        if stream.is_reset() || (!windowless && shared > 0 && (stream.turn || !contested)) {
            return Poll::Ready(());
        }
        stream.watch(cx);
        let had_turn = std::mem::take(&mut stream.turn);
        self.woken -= usize::from(had_turn);
        // For its own window it is woken by that.
        if !windowless && !std::mem::replace(&mut stream.waits, true) {
            if had_turn {
                self.waiting.push_front(id);
            } else {
                self.waiting.push_back(id);
            }
        }
        // Whoever sends gives turns.
        if shared > 0 {
            self.call();
        }
        Poll::Pending
    }

    /// Sends content of a stream: no more than there is room for. `ends`: nothing follows.
    pub fn content(&mut self, id: u32, mut content: &[u8], ends: bool) {
        let stream = self.streams.get_mut(&id.into());
        let Some(stream) = stream.filter(|stream| !stream.is_reset()) else {
            return;
        };
        self.woken -= usize::from(std::mem::take(&mut stream.turn));
        stream.answered |= !content.is_empty();
        stream.window -= content.len() as i64;
        self.window -= content.len() as i64;
        if content.is_empty() {
            if !ends {
                return;
            }
            if let Some((of, start)) = self.last_data
                && of == id
            {
                // The frame before is still here.
                self.out[start + 4] |= flag::END_STREAM;
            } else {
                self.push(kind::DATA, flag::END_STREAM, id, &[]);
            }
        }
        while !content.is_empty() {
            let (part, rest) = content.split_at(content.len().min(self.frame_max));
            let last = ends && rest.is_empty();
            let flags = if last { flag::END_STREAM } else { 0 };
            let start = self.out.len();
            self.push(kind::DATA, flags, id, part);
            self.last_data = Some((id, start));
            content = rest;
        }
        if ends {
            self.finish(id);
        }
        self.call();
    }

    /// All was said on a stream.
    fn finish(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id.into()) {
            stream.finished = true;
            if stream.ended {
                Self::close(&mut self.open, stream);
            }
        }
    }

    /// So much of a stream's content was taken.
    pub fn take(&mut self, id: u32, count: usize) {
        if let Some(stream) = self.streams.get_mut(&id.into()) {
            stream.take(count);
            self.took(id, count);
        }
    }

    /// So much of what counts in a stream's window is gone.
    pub(super) fn took(&mut self, id: u32, count: usize) {
        if count == 0 {
            return;
        }
        let stream = self.streams.get_mut(&id.into());
        let more = stream
            .filter(|stream| !stream.ended && !stream.is_reset())
            .and_then(|stream| stream.received.took(count));
        if let Some(more) = more {
            self.push(kind::WINDOW_UPDATE, 0, id, &more.to_be_bytes());
            self.call();
        }
        self.give_back(count);
    }

    /// So much of what counts in the window of all is gone.
    pub(super) fn give_back(&mut self, count: usize) {
        if let Some(more) = self.received.took(count) {
            self.push(kind::WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
            self.call();
        }
    }

    /// Nobody looks at a stream any more. If its response is not whole, the client is told so by
    /// `reason`.
    pub fn leave(&mut self, id: u32, reason: Reason) {
        let Some(mut stream) = self.streams.remove(&id.into()) else {
            return;
        };
        self.woken -= usize::from(stream.turn);
        Self::close(&mut self.open, &mut stream);
        self.remember(id, stream.ended);
        self.give_back(stream.content().len());
        // It may have been the last one.
        self.call();
        if stream.is_reset() || self.going == Going::Over {
            return;
        }
        match (stream.finished, stream.ended) {
            (true, true) => {}
            // What the client still sends of its request is no error of its own (§8.1).
            (true, false) => self.push_reset(id, Reason::NO_ERROR),
            (false, _) => self.push_reset(id, reason),
        }
    }

    pub(super) fn push_reset(&mut self, id: u32, reason: Reason) {
        let code = u32::from(reason).to_be_bytes();
        self.push(kind::RST_STREAM, 0, id, &code);
        self.call();
    }

    /// Refuses a stream that never was one of ours.
    pub(super) fn rst(&mut self, id: u32, reason: Reason, ended: bool) {
        self.faults += 1;
        self.remember(id, ended);
        self.push_reset(id, reason);
    }

    /// Answers a request whose list of fields is too large.
    pub(super) fn too_large(&mut self, id: u32, ended: bool) {
        self.faults += 1;
        self.remember(id, ended);
        self.respond(id, 431, &[], true);
        if !ended {
            self.push_reset(id, Reason::NO_ERROR);
        }
    }

    pub(super) fn acknowledge_settings(&mut self) {
        self.push(kind::SETTINGS, flag::ACK, 0, &[]);
    }

    pub(super) fn pong(&mut self, opaque: [u8; 8]) {
        self.push(kind::PING, flag::ACK, 0, &opaque);
    }

    fn goaway(&mut self, last: u32, reason: Reason) {
        let mut payload = [0; 8];
        payload[..4].copy_from_slice(&last.to_be_bytes());
        payload[4..].copy_from_slice(&u32::from(reason).to_be_bytes());
        self.push(kind::GOAWAY, 0, 0, &payload);
    }

    /// Tells the client to open no more streams. Those that it opens before it knows are served
    /// (§6.8).
    pub(crate) fn announce_end(&mut self) {
        if self.going == Going::No {
            self.going = Going::Announced;
            self.goaway(ANY, Reason::NO_ERROR);
            self.push(kind::PING, 0, 0, &GOING);
        }
    }

    /// The client knows.
    pub(super) fn say_last(&mut self) {
        self.going = Going::Last;
        self.goaway(self.served, Reason::NO_ERROR);
    }

    /// Ends the connection, and all streams with it.
    pub(crate) fn end(&mut self, reason: Reason) {
        if self.going != Going::Over {
            self.goaway(self.served, reason);
            self.gone();
        }
    }
}
