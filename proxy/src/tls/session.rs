//! TLS as bytes, without IO, on the interface of rustls that has no buffers of its own: what came
//! becomes content, and content what is to be sent.
//!
//! The other interface keeps 4 KiB for what comes, for as long as a connection lives, and copies it
//! there. Here a connection that waits holds nothing but keys: what is read and what is written pass
//! through space that all connections of a thread have in common, and only what could not be used up
//! at once (part of a record, what a socket did not take) stays with its connection.

use std::cell::RefCell;
use std::io;
use std::task::Poll;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{CommonState, Error};
use tokio::io::ReadBuf;

/// The most content of a record (RFC 8446 §5.1).
const RECORD: usize = 16 * 1024;

/// The most content that is encrypted at once.
const CONTENT_MAX: usize = 4 * RECORD;

/// More than what records of that much content take beside it, with an update of keys and an alert.
const AROUND: usize = 2 * 1024;

/// The most that may wait for more: as much as rustls keeps with buffers of its own, for a message
/// of a handshake in records with their frames.
const REST_MAX: usize = 0xFFFF;

thread_local! {
    /// What was read and is being understood.
    static CAME: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// Two pieces of content as one, and what is encrypted.
    static GOES: RefCell<(Vec<u8>, Vec<u8>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// Either side of a connection.
enum Tls {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// A connection.
pub(crate) struct Session {
    tls: Tls,
    kept: Kept,
    /// What came and waits for more.
    rest: Vec<u8>,
    /// What came was wrong. rustls has noted places in it and must not be asked any more: it would
    /// look for them in what comes next.
    failed: bool,
}

/// What stays with a connection until somebody takes it.
#[derive(Default)]
struct Kept {
    /// Content for which there was no room. `given` of it was given.
    content: Vec<u8>,
    given: usize,
    /// What is to be sent. `sent` of it was.
    out: Vec<u8>,
    sent: usize,
    /// The other side has announced its end.
    ended: bool,
}

/// What is to be said once it can be.
enum Say<'s> {
    Nothing,
    /// Two pieces of content.
    Content(&'s [u8], &'s [u8]),
    /// The end.
    End,
}

/// What a look at a connection has shown.
enum Step {
    /// There may be more to do.
    On,
    /// Nothing but what comes next makes a difference.
    Waits,
    /// It was said, in so many bytes.
    Said(usize),
}

impl From<UnbufferedServerConnection> for Session {
    fn from(tls: UnbufferedServerConnection) -> Self {
        Self::new(Tls::Server(tls))
    }
}

impl From<UnbufferedClientConnection> for Session {
    fn from(tls: UnbufferedClientConnection) -> Self {
        Self::new(Tls::Client(tls))
    }
}

impl Session {
    fn new(tls: Tls) -> Self {
        let mut session = Self {
            tls,
            kept: Kept::default(),
            rest: Vec::new(),
            failed: false,
        };
        // A client speaks first.
        session.take_queued();
        session
    }

    /// What was agreed on.
    pub(super) fn state(&self) -> &CommonState {
        match &self.tls {
            Tls::Server(tls) => tls,
            Tls::Client(tls) => tls,
        }
    }

    /// Whether the other side has announced its end. There may be content from before.
    pub(super) fn has_ended(&self) -> bool {
        self.kept.ended
    }

    /// Whether there is content that was not given.
    pub(super) fn has_content(&self) -> bool {
        !self.kept.content.is_empty()
    }

    /// What is to be sent.
    pub(super) fn output(&self) -> &[u8] {
        &self.kept.out[self.kept.sent..]
    }

    /// So much of it was sent.
    pub(super) fn sent(&mut self, count: usize) {
        self.kept.sent += count;
        if self.kept.sent == self.kept.out.len() {
            self.kept.out = Vec::new();
            self.kept.sent = 0;
        }
    }

    /// Gives content for which there was no room before. False if there is none.
    pub(super) fn give(&mut self, room: &mut ReadBuf<'_>) -> bool {
        let kept = &mut self.kept;
        let content = &kept.content[kept.given..];
        if content.is_empty() {
            return false;
        }
        let count = content.len().min(room.remaining());
        room.put_slice(&content[..count]);
        kept.given += count;
        if kept.given == kept.content.len() {
            kept.content = Vec::new();
            kept.given = 0;
        }
        true
    }

    /// Has `read` read at most so many bytes, and understands them: content goes into the room, and
    /// what does not fit there is kept, as are answers. Tells how many bytes were read.
    ///
    /// # Errors
    /// If that fails, or if what came is wrong. Then [`Self::output`] says so to the other side, and
    /// nothing can be received or sealed any more.
    pub(super) fn receive(
        &mut self,
        most: usize,
        read: impl FnOnce(&mut [u8]) -> Poll<io::Result<usize>>,
        room: Option<&mut ReadBuf<'_>>,
    ) -> Poll<io::Result<usize>> {
        if self.failed {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        CAME.with_borrow_mut(|space| {
            let before = self.rest.len();
            let end = before + most;
            if space.len() < end {
                space.resize(end, 0);
            }
            let count = match read(&mut space[before..end]) {
                Poll::Ready(Ok(count)) => count,
                Poll::Pending => {
                    if before == 0 {
                        self.rest = Vec::new();
                    }
                    return Poll::Pending;
                }
                failed @ Poll::Ready(Err(_)) => return failed,
            };
            if count == 0 {
                return Poll::Ready(Ok(0));
            }
            space[..before].copy_from_slice(&self.rest);
            let came = &mut space[..before + count];
            let used = match self.understand(came, room) {
                Ok(used) => used,
                Err(error) => {
                    self.fail();
                    return Poll::Ready(Err(error));
                }
            };
            let rest = &came[used..];
            if rest.len() > REST_MAX {
                self.fail();
                let error = "a message without an end";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
            self.rest.clear();
            self.rest.reserve_exact(rest.len());
            self.rest.extend_from_slice(rest);
            Poll::Ready(Ok(count))
        })
    }

    /// Encrypts of the first bytes, then of the second, and has `write` write what comes of it; what
    /// that does not take is to be sent before anything else. Tells how many of these bytes were
    /// encrypted.
    ///
    /// # Errors
    /// If that fails.
    pub(super) fn seal(
        &mut self,
        first: &[u8],
        second: &[u8],
        mut write: impl FnMut(&[u8]) -> Poll<io::Result<usize>>,
    ) -> io::Result<usize> {
        GOES.with_borrow_mut(|(whole, out)| {
            let (first, second) = match (first, second) {
                (first, []) => (first, second),
                ([], second) => (second, &[][..]),
                // A record for each would be one more than needed.
                (first, second) if first.len() < RECORD => {
                    let (with, second) = second.split_at(second.len().min(RECORD - first.len()));
                    whole.clear();
                    whole.extend_from_slice(first);
                    whole.extend_from_slice(with);
                    (&whole[..], second)
                }
                both => both,
            };
            let first = &first[..first.len().min(CONTENT_MAX)];
            let second = &second[..second.len().min(CONTENT_MAX - first.len())];
            let taken = first.len() + second.len();
            let count = self.say(&Say::Content(first, second), out)?;
            let mut sealed = &out[..count];
            if !self.kept.out.is_empty() {
                // Something was to be said before.
                self.kept.out.extend_from_slice(sealed);
                return Ok(taken);
            }
            while !sealed.is_empty() {
                match write(sealed) {
                    Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(Ok(count)) => sealed = &sealed[count..],
                    Poll::Ready(Err(error)) => return Err(error),
                    Poll::Pending => {
                        self.kept.out.extend_from_slice(sealed);
                        break;
                    }
                }
            }
            Ok(taken)
        })
    }

    /// Announces the end, once: it is to be sent. Nothing during a handshake.
    pub(super) fn end(&mut self) {
        let mut out = Vec::new();
        // What cannot be said any more needs no end.
        if let Ok(count) = self.say(&Say::End, &mut out) {
            self.kept.out.extend_from_slice(&out[..count]);
        }
    }

    /// What came was wrong: nothing more than the alert that says so.
    fn fail(&mut self) {
        self.take_queued();
        self.rest = Vec::new();
        self.failed = true;
    }

    /// Says something, as bytes at the beginning of `out`. Tells how many.
    fn say(&mut self, say: &Say<'_>, out: &mut Vec<u8>) -> io::Result<usize> {
        if self.failed {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let most = match say {
            Say::Nothing | Say::End => AROUND,
            Say::Content(first, second) => AROUND + first.len() + second.len(),
        };
        if out.len() < most {
            out.resize(most, 0);
        }
        let mut rest = std::mem::take(&mut self.rest);
        let mut used = 0;
        let said = loop {
            let (discard, step) = self.step(&mut rest[used..], &mut None, say, out);
            used += discard;
            match step {
                Ok(Step::On) => {}
                Ok(Step::Said(count)) => break Ok(count),
                Ok(Step::Waits) => break Err(io::ErrorKind::NotConnected.into()),
                Err(error) => {
                    self.fail();
                    return Err(error);
                }
            }
        };
        rest.drain(..used);
        self.rest = rest;
        said
    }

    /// Understands what came. Tells how much of it was used; the rest has to come again, with more.
    fn understand(
        &mut self,
        came: &mut [u8],
        mut room: Option<&mut ReadBuf<'_>>,
    ) -> io::Result<usize> {
        let mut used = 0;
        loop {
            let (discard, step) = self.step(&mut came[used..], &mut room, &Say::Nothing, &mut []);
            used += discard;
            match step? {
                Step::On => {}
                // RFC 8446 §6.1: what comes after the announced end counts for nothing.
                Step::Waits | Step::Said(_) if self.kept.ended => return Ok(came.len()),
                Step::Waits | Step::Said(_) => return Ok(used),
            }
        }
    }

    /// Takes what rustls has to say already, and looks at nothing that came.
    fn take_queued(&mut self) {
        while self.state().wants_write() {
            let (_, step) = self.step(&mut [], &mut None, &Say::Nothing, &mut []);
            if step.is_err() {
                return;
            }
        }
    }

    fn step(
        &mut self,
        came: &mut [u8],
        room: &mut Option<&mut ReadBuf<'_>>,
        say: &Say<'_>,
        out: &mut [u8],
    ) -> (usize, io::Result<Step>) {
        let kept = &mut self.kept;
        match &mut self.tls {
            Tls::Server(tls) => kept.step(tls.process_tls_records(came), room, say, out),
            Tls::Client(tls) => kept.step(tls.process_tls_records(came), room, say, out),
        }
    }
}

impl Kept {
    /// Does what there is to do. Tells how much of what came is used up with it.
    fn step<Data>(
        &mut self,
        status: UnbufferedStatus<'_, '_, Data>,
        room: &mut Option<&mut ReadBuf<'_>>,
        say: &Say<'_>,
        out: &mut [u8],
    ) -> (usize, io::Result<Step>) {
        let UnbufferedStatus { mut discard, state } = status;
        let step = match state {
            Ok(ConnectionState::ReadTraffic(mut records)) => loop {
                match records.next_record() {
                    Some(Ok(record)) => {
                        discard += record.discard;
                        self.put(record.payload, room);
                    }
                    Some(Err(error)) => break Err(invalid(error)),
                    None => break Ok(Step::On),
                }
            },
            Ok(ConnectionState::EncodeTlsData(data)) => self.queue(data),
            Ok(ConnectionState::TransmitTlsData(data)) => {
                // It lies in `out`, and goes before anything else.
                data.done();
                Ok(Step::On)
            }
            Ok(ConnectionState::PeerClosed) => {
                self.ended = true;
                Ok(Step::On)
            }
            Ok(ConnectionState::Closed) => {
                self.ended = true;
                Ok(Step::Waits)
            }
            Ok(ConnectionState::BlockedHandshake) => Ok(Step::Waits),
            Ok(ConnectionState::WriteTraffic(mut traffic)) => match say {
                Say::Nothing => Ok(Step::Waits),
                Say::End => traffic
                    .queue_close_notify(out)
                    .map(Step::Said)
                    .map_err(io::Error::other),
                Say::Content(first, second) => traffic
                    .encrypt(first, out)
                    .and_then(|count| Ok(count + traffic.encrypt(second, &mut out[count..])?))
                    .map(Step::Said)
                    .map_err(io::Error::other),
            },
            // Data before the handshake is never allowed.
            Ok(other) => Err(io::Error::other(format!("{other:?}"))),
            Err(error) => Err(invalid(error)),
        };
        (discard, step)
    }

    fn put(&mut self, mut content: &[u8], room: &mut Option<&mut ReadBuf<'_>>) {
        if let Some(room) = room
            && self.content.is_empty()
        {
            let (fits, rest) = content.split_at(content.len().min(room.remaining()));
            room.put_slice(fits);
            content = rest;
        }
        self.content.extend_from_slice(content);
    }

    fn queue<Data>(&mut self, mut data: EncodeTlsData<'_, Data>) -> io::Result<Step> {
        let before = self.out.len();
        let encoded = match data.encode(&mut []) {
            Err(EncodeError::InsufficientSize(size)) => {
                self.out.resize(before + size.required_size, 0);
                data.encode(&mut self.out[before..])
            }
            other => other,
        };
        encoded.map(|_| Step::On).map_err(io::Error::other)
    }
}

fn invalid(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
