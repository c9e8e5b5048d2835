//! What comes.

use h2::Reason;

use super::frame::{HEAD, Head, flag, kind, setting, u31};
use super::{
    Block, ENDED_MAX, Engine, Event, FRAME_MAX, GOING, Going, Lend, Opened, Received,
    STREAM_WINDOW, Stream, WINDOW_MAX,
};
use crate::http2::PREFACE;
use crate::http2::fields::{Refused, Request, Trailers};
use crate::http2::hpack::Broken;

/// Why a connection, or a stream, cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Connection(Reason),
    Stream(Reason),
}

impl From<Broken> for Fault {
    fn from(_: Broken) -> Self {
        Self::Connection(Reason::COMPRESSION_ERROR)
    }
}

const PROTOCOL: Fault = Fault::Connection(Reason::PROTOCOL_ERROR);
const SIZE: Fault = Fault::Connection(Reason::FRAME_SIZE_ERROR);

impl Engine {
    /// Understands the frames that are complete in these bytes, which go on where those before ended
    /// as far as they were used. Tells how many were.
    pub fn receive(&mut self, bytes: &[u8], lend: &impl Lend) -> usize {
        let mut used = 0;
        if !self.preface {
            let Some(begins) = bytes.get(..PREFACE.len()) else {
                if !PREFACE.starts_with(bytes) {
                    self.end(Reason::PROTOCOL_ERROR);
                }
                return 0;
            };
            if begins != PREFACE {
                self.end(Reason::PROTOCOL_ERROR);
                return 0;
            }
            self.preface = true;
            used = PREFACE.len();
        }
        while self.going != Going::Over {
            let Some(head) = Head::parse(&bytes[used..]) else {
                break;
            };
            if head.length > FRAME_MAX {
                self.end(Reason::FRAME_SIZE_ERROR);
                break;
            }
            let start = used + HEAD;
            let Some(payload) = bytes.get(start..start + head.length) else {
                break;
            };
            used = start + head.length;
            match self.frame(head, payload, lend) {
                Ok(()) => {}
                Err(Fault::Connection(reason)) => self.end(reason),
                Err(Fault::Stream(reason)) => self.refuse(head.stream, reason),
            }
        }
        used
    }

    fn frame(&mut self, head: Head, payload: &[u8], lend: &impl Lend) -> Result<(), Fault> {
        // §3.4: SETTINGS come first. §6.2: nothing comes between the parts of a block.
        let first = !self.settled && (head.kind != kind::SETTINGS || head.has(flag::ACK));
        let between = self.block.is_some() && head.kind != kind::CONTINUATION;
        if first || between {
            return Err(PROTOCOL);
        }
        match head.kind {
            kind::DATA => self.data(head, payload),
            kind::HEADERS => self.headers(head, payload, lend),
            kind::CONTINUATION => self.continuation(head, payload, lend),
            kind::PRIORITY => priority(head, payload),
            kind::RST_STREAM => self.rst_stream(head, payload),
            kind::SETTINGS => self.settings(head, payload),
            kind::PING => self.ping(head, payload),
            kind::GOAWAY if head.stream != 0 => Err(PROTOCOL),
            kind::GOAWAY if payload.len() < 8 => Err(SIZE),
            // It opens no more streams; those that it has go on.
            kind::GOAWAY => Ok(()),
            kind::WINDOW_UPDATE => self.window_update(head, payload),
            // A client pushes nothing (§8.4).
            kind::PUSH_PROMISE => Err(PROTOCOL),
            // §5.5: extensions.
            _ => Ok(()),
        }
    }

    /// §6.1.
    fn data(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        if head.stream == 0 || self.is_idle(head.stream) {
            return Err(PROTOCOL);
        }
        // Padding counts, and so does what nobody wants any more.
        if !self.received.came(payload.len()) {
            return Err(Fault::Connection(Reason::FLOW_CONTROL_ERROR));
        }
        let content = unpadded(head, payload)?;
        let ends = head.has(flag::END_STREAM);
        let live = self.streams.get(&head.stream.into());
        let live = live.is_some_and(|stream| !stream.is_reset());
        if content.is_empty() && !(ends && live) {
            self.faults += 1;
        }
        let Some(stream) = self.streams.get_mut(&head.stream.into()) else {
            self.give_back(payload.len());
            return self.late(head.stream);
        };
        if stream.is_reset() {
            self.give_back(payload.len());
            return Ok(());
        }
        if stream.ended {
            self.give_back(payload.len());
            return Err(Fault::Stream(Reason::STREAM_CLOSED));
        }
        if !stream.received.came(payload.len()) {
            self.give_back(payload.len());
            return Err(Fault::Stream(Reason::FLOW_CONTROL_ERROR));
        }
        if let Some(owed) = &mut stream.owed {
            // §8.1.1: the length is that of the content.
            let left = owed.checked_sub(content.len() as u64);
            match left {
                Some(left) if !(ends && left > 0) => *owed = left,
                _ => {
                    self.give_back(payload.len());
                    return Err(Fault::Stream(Reason::PROTOCOL_ERROR));
                }
            }
        }
        stream.ended = ends;
        if !content.is_empty() {
            stream.add(content);
        } else if ends {
            stream.wake();
        }
        if ends && stream.finished {
            Self::close(&mut self.open, stream);
        }
        self.took(head.stream, payload.len() - content.len());
        Ok(())
    }

    /// §6.2.
    fn headers(&mut self, head: Head, payload: &[u8], lend: &impl Lend) -> Result<(), Fault> {
        if head.stream.is_multiple_of(2) {
            return Err(PROTOCOL);
        }
        let mut block = unpadded(head, payload)?;
        if head.has(flag::PRIORITY) {
            let (priority, rest) = block.split_first_chunk::<5>().ok_or(SIZE)?;
            let [a, b, c, d, _] = *priority;
            if u31([a, b, c, d]) == head.stream {
                // §5.3.1 of RFC 7540. The block would have to be read all the same.
                return Err(PROTOCOL);
            }
            block = rest;
        }
        let ends_stream = head.has(flag::END_STREAM);
        if head.has(flag::END_HEADERS) {
            return self.fields(head.stream, ends_stream, block, lend);
        }
        self.block = Some(Block {
            stream: head.stream,
            ends_stream,
            bytes: block.to_vec(),
        });
        Ok(())
    }

    /// §6.10. How many there may be is bounded by the watch.
    fn continuation(&mut self, head: Head, payload: &[u8], lend: &impl Lend) -> Result<(), Fault> {
        let Some(mut block) = self.block.take_if(|block| block.stream == head.stream) else {
            return Err(PROTOCOL);
        };
        block.bytes.extend_from_slice(payload);
        if head.has(flag::END_HEADERS) {
            return self.fields(block.stream, block.ends_stream, &block.bytes, lend);
        }
        self.block = Some(block);
        Ok(())
    }

    /// A whole block of fields. It is decoded in any case: later ones build upon it.
    fn fields(&mut self, id: u32, ends: bool, block: &[u8], lend: &impl Lend) -> Result<(), Fault> {
        if !self.is_idle(id) {
            return self.trailers(id, ends, block);
        }
        self.latest = id;
        self.head.start(|| lend.text());
        self.decoder
            .decode(block, |name, value| self.head.field(name, value))?;
        if self.going == Going::Last {
            // The client knows that this one was not looked at.
            self.faults += 1;
            return Ok(());
        }
        self.served = id;
        if self.open >= self.open_max {
            self.rst(id, Reason::REFUSED_STREAM, ends);
            return Ok(());
        }
        match self.head.finish(ends, || lend.key()) {
            Ok(request) => self.open(id, ends, request),
            Err(Refused::TooLarge) => self.too_large(id, ends),
            Err(Refused::Malformed(why)) => {
                self.rst(id, Reason::PROTOCOL_ERROR, ends);
                self.events.push_back(Event::Malformed(why));
            }
        }
        Ok(())
    }

    fn open(&mut self, id: u32, ended: bool, request: Request) {
        let received = Received::new(STREAM_WINDOW);
        let owed = request.length.filter(|_| !request.websocket);
        let stream = Stream::new(self.initial_window, received, owed, ended);
        self.streams.insert(id.into(), stream);
        self.open += 1;
        let opened = Opened { id, request };
        self.events.push_back(Event::Request(opened));
    }

    /// Fields behind the content of a request (§8.1).
    fn trailers(&mut self, id: u32, ends: bool, block: &[u8]) -> Result<(), Fault> {
        let mut trailers = Trailers::default();
        self.decoder
            .decode(block, |name, value| trailers.field(name, value))?;
        let Some(stream) = self.streams.get_mut(&id.into()) else {
            self.faults += 1;
            let known = self.ended.iter().any(|(ended, _)| *ended == id);
            if !known && self.ended.len() < ENDED_MAX && id <= self.served {
                // §5.1.1: it was skipped, and is closed by that.
                return Err(PROTOCOL);
            }
            return self.late(id);
        };
        if stream.is_reset() {
            return Ok(());
        }
        if stream.ended {
            return Err(Fault::Stream(Reason::STREAM_CLOSED));
        }
        let whole = stream.owed.is_none_or(|owed| owed == 0);
        let (true, true, Ok(lines)) = (ends, whole, trailers.finish()) else {
            return Err(Fault::Stream(Reason::PROTOCOL_ERROR));
        };
        stream.trailers = lines;
        stream.ended = true;
        stream.wake();
        if stream.finished {
            Self::close(&mut self.open, stream);
        }
        Ok(())
    }

    /// §6.4.
    fn rst_stream(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        if payload.len() != 4 {
            return Err(SIZE);
        }
        if head.stream == 0 || self.is_idle(head.stream) {
            return Err(PROTOCOL);
        }
        if let Some(stream) = self.streams.get_mut(&head.stream.into()) {
            self.had_enough += u32::from(stream.answered && !stream.is_reset());
            stream.reset();
            Self::close(&mut self.open, stream);
        }
        Ok(())
    }

    /// §6.5.
    fn settings(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        if head.stream != 0 {
            return Err(PROTOCOL);
        }
        let (settings, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() || (head.has(flag::ACK) && !payload.is_empty()) {
            return Err(SIZE);
        }
        if head.has(flag::ACK) {
            return Ok(());
        }
        self.settled = true;
        let mut window = None;
        for [a, b, value @ ..] in settings {
            let value = u32::from_be_bytes(*value);
            match u16::from_be_bytes([*a, *b]) {
                // It may have been smaller meanwhile.
                setting::HEADER_TABLE_SIZE => self.forgets = true,
                setting::ENABLE_PUSH if value > 1 => return Err(PROTOCOL),
                setting::INITIAL_WINDOW_SIZE if i64::from(value) > WINDOW_MAX => {
                    return Err(Fault::Connection(Reason::FLOW_CONTROL_ERROR));
                }
                setting::INITIAL_WINDOW_SIZE => window = Some(value.into()),
                setting::MAX_FRAME_SIZE => {
                    let size = value as usize;
                    if !(FRAME_MAX..1 << 24).contains(&size) {
                        return Err(PROTOCOL);
                    }
                    // Larger ones would only make streams wait for each other.
                    self.frame_max = FRAME_MAX;
                }
                _ => {}
            }
        }
        if let Some(window) = window {
            // Once, however many there are of them.
            self.resize_windows(window)?;
        }
        self.acknowledge_settings();
        Ok(())
    }

    /// §6.9.2: also of the streams that are open.
    fn resize_windows(&mut self, size: i64) -> Result<(), Fault> {
        let more = size - self.initial_window;
        self.initial_window = size;
        #[allow(clippy::iter_over_hash_type, reason = "no stream depends on another")]
        for stream in self.streams.values_mut() {
            if stream.is_reset() {
                continue;
            }
            stream.window += more;
            if stream.window > WINDOW_MAX {
                return Err(Fault::Connection(Reason::FLOW_CONTROL_ERROR));
            }
            if more > 0 {
                stream.wake();
            }
        }
        Ok(())
    }

    /// §6.7.
    fn ping(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        let Ok(opaque) = <[u8; 8]>::try_from(payload) else {
            return Err(SIZE);
        };
        if head.stream != 0 {
            return Err(PROTOCOL);
        }
        if !head.has(flag::ACK) {
            self.pong(opaque);
        } else if opaque == GOING && self.going == Going::Announced {
            self.say_last();
        }
        Ok(())
    }

    /// §6.9.
    fn window_update(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        let Ok(more) = <[u8; 4]>::try_from(payload) else {
            return Err(SIZE);
        };
        let more = i64::from(u31(more));
        if head.stream == 0 {
            self.window += more;
            return match more {
                0 => Err(PROTOCOL),
                _ if self.window > WINDOW_MAX => Err(Fault::Connection(Reason::FLOW_CONTROL_ERROR)),
                _ => Ok(()),
            };
        }
        if self.is_idle(head.stream) {
            return Err(PROTOCOL);
        }
        let stream = self.streams.get_mut(&head.stream.into());
        if let Some(stream) = stream.filter(|stream| !stream.is_reset()) {
            stream.window += more;
            if more == 0 {
                return Err(Fault::Stream(Reason::PROTOCOL_ERROR));
            }
            if stream.window > WINDOW_MAX {
                return Err(Fault::Stream(Reason::FLOW_CONTROL_ERROR));
            }
            stream.wake();
        }
        Ok(())
    }

    /// §5.1.1: a stream that was not opened.
    fn is_idle(&self, id: u32) -> bool {
        // A client has none with an even number.
        id > self.latest || id.is_multiple_of(2)
    }

    /// A frame of content or fields for a stream that is over. It was on its way when we ended the
    /// stream, unless the client had ended it before.
    fn late(&self, id: u32) -> Result<(), Fault> {
        match self.ended.iter().find(|(ended, _)| *ended == id) {
            Some((_, true)) => Err(Fault::Connection(Reason::STREAM_CLOSED)),
            _ => Ok(()),
        }
    }

    /// Ends a stream because of what the client did.
    fn refuse(&mut self, id: u32, reason: Reason) {
        self.faults += 1;
        let stream = self.streams.get_mut(&id.into());
        // To one that is over, or never was, nothing can be said.
        if let Some(stream) = stream.filter(|stream| stream.counts && !stream.is_reset()) {
            stream.reset();
            Self::close(&mut self.open, stream);
            self.push_reset(id, reason);
        }
    }

    /// A stream is over that has no [`Stream`] (any more).
    pub(super) fn remember(&mut self, id: u32, ended: bool) {
        if self.ended.len() == ENDED_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back((id, ended));
    }
}

/// §6.3. It means nothing to us, but has to be right.
fn priority(head: Head, payload: &[u8]) -> Result<(), Fault> {
    if head.stream == 0 {
        return Err(PROTOCOL);
    }
    match *payload {
        [a, b, c, d, _] if u31([a, b, c, d]) == head.stream => {
            Err(Fault::Stream(Reason::PROTOCOL_ERROR))
        }
        [_, _, _, _, _] => Ok(()),
        _ => Err(Fault::Stream(Reason::FRAME_SIZE_ERROR)),
    }
}

/// A payload without its padding.
fn unpadded(head: Head, payload: &[u8]) -> Result<&[u8], Fault> {
    if !head.has(flag::PADDED) {
        return Ok(payload);
    }
    let (padding, rest) = payload.split_first().ok_or(SIZE)?;
    let length = rest.len().checked_sub((*padding).into()).ok_or(PROTOCOL)?;
    Ok(&rest[..length])
}
