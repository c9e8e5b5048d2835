//! A request on its way from the client to a target.

use std::io;
use std::task::{Context, Poll};

use super::link::Link;
use super::mirror::Copy;
use crate::http1::body::Body;
use crate::http1::buffer::{Buffers, LARGE};
use crate::http1::chunked::{BadChunk, Part, push, push_end};
use crate::http1::wire::Wire;

/// How far a request has come.
pub(crate) struct Upload {
    /// What the client still owes.
    pub(crate) body: Body,
    /// What is to be sent next: the head first, then chunks. `sent` of it was. All of the request so
    /// far while it is kept.
    output: Vec<u8>,
    sent: usize,
    /// Something may have reached the target.
    touched: bool,
    expects_continue: bool,
    /// It goes no further, though some is left.
    stopped: bool,
    /// The client is being sent a response, by whoever has it.
    answered: bool,
    /// All that was read of it is in `output`, which may grow up to this; 0 when it is not.
    kept: usize,
    /// How much of a body in chunks may still come.
    allowance: u64,
    /// What goes to another group when all of it was read.
    copy: Option<Box<Copy>>,
}

/// Why an upload stopped.
#[derive(Debug)]
pub(crate) enum UploadError {
    /// The client is gone.
    Gone,
    /// What the client sent is no body.
    Body(BadChunk),
    /// It is larger than allowed.
    TooLarge,
    /// The target takes no more. It may have answered before.
    Target(io::Error),
}

impl Upload {
    /// A request whose head is written for the target. A body up to `body_max` bytes is kept.
    pub(crate) fn new(head: Vec<u8>, body: Body, expects_continue: bool, body_max: usize) -> Self {
        let keeps = match body {
            Body::Length(length) => length <= body_max as u64,
            _ => body_max > 0 || body.is_done(),
        };
        Self {
            // A head is never empty.
            kept: if keeps { head.len() + body_max } else { 0 },
            body,
            output: head,
            sent: 0,
            touched: false,
            expects_continue,
            stopped: false,
            answered: false,
            allowance: u64::MAX,
            copy: None,
        }
    }

    /// The same, with a body of at most so many bytes. One that states its length is refused before
    /// it is made.
    pub(crate) fn with_limit(self, limit: Option<u64>) -> Self {
        Self {
            allowance: limit.unwrap_or(u64::MAX),
            ..self
        }
    }

    /// The same, of which another group gets a copy.
    pub(crate) fn with_copy(self, copy: Option<Box<Copy>>) -> Self {
        Self { copy, ..self }
    }

    /// From the beginning, for another target. Right only if nothing was sent, or if it is
    /// [`Self::is_repeatable`].
    pub(crate) fn rewind(&mut self) {
        self.sent = 0;
        self.touched = false;
        self.stopped = false;
    }

    /// The whole request once more, for a second target at the same time. Right only if it is done
    /// and [`Self::is_repeatable`].
    pub(crate) fn again(&self) -> Self {
        Self {
            body: Body::NONE,
            output: self.output.clone(),
            sent: 0,
            touched: false,
            expects_continue: false,
            stopped: false,
            answered: false,
            kept: self.kept,
            allowance: self.allowance,
            copy: None,
        }
    }

    /// All of it can be sent again: it has no body, or what was read of it is kept.
    pub(crate) fn is_repeatable(&self) -> bool {
        self.kept > 0
    }

    /// Some of it may have reached a target.
    pub(crate) fn is_touched(&self) -> bool {
        self.touched
    }

    /// All of it was sent.
    pub(crate) fn is_done(&self) -> bool {
        self.body.is_done() && self.sent == self.output.len()
    }

    /// It does not go on, because all of it was sent or the target takes no more.
    pub(crate) fn is_over(&self) -> bool {
        self.stopped || self.is_done()
    }

    /// It stays as it is. A body that the client holds back may never come once it has a response,
    /// and to ask for it then would be read as part of that response.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
        self.expects_continue = false;
    }

    /// Nothing is written to the client from here on: over TLS, a write that is not ready has to be
    /// repeated by whoever began it, with the same bytes.
    pub(crate) fn leave_client(&mut self) {
        self.answered = true;
    }

    /// More can go only when the client has sent more.
    pub(crate) fn waits_for_client(&self, input: usize) -> bool {
        !self.is_over() && self.sent == self.output.len() && self.body.plain(input) == 0
    }

    /// The client has not been told to send its body: nobody can tell where its next request
    /// begins.
    pub(crate) fn is_held_back(&self) -> bool {
        self.expects_continue && !self.body.is_done()
    }

    /// The vector that it was made with. It is over then.
    pub(crate) fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Moves what can be moved. Ready when it is over. `moved` is called when bytes have moved;
    /// `drops` tells which trailers do not go on.
    pub(crate) fn poll(
        &mut self,
        link: &mut Link,
        target: &mut Wire,
        buffers: &Buffers,
        moved: impl Fn(),
        drops: impl Fn(&str) -> bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), UploadError>> {
        loop {
            if self.body.is_done()
                && let Some(copy) = self.copy.take()
            {
                copy.send();
            }
            let mut plain = self.body.plain(link.wire.input.len());
            if plain > 0 && self.kept > 0 {
                if self.output.len() + plain <= self.kept {
                    let content = &link.wire.input.data()[..plain];
                    self.output.extend_from_slice(content);
                    push_copy(&mut self.copy, content);
                    link.wire.input.consume(plain);
                    self.body.advance(plain);
                    plain = 0;
                } else {
                    self.kept = 0;
                }
            }
            if self.sent < self.output.len() || plain > 0 {
                let head = &self.output[self.sent..];
                let content = &link.wire.input.data()[..plain];
                let sent = target.poll_send(head, content, cx);
                if !matches!(sent, Poll::Ready(Ok(_))) {
                    // Behind TLS, the first records of a write may be on their way already.
                    self.touched |= target.stream.is_writing();
                }
                match std::task::ready!(sent) {
                    Ok(count) => {
                        let of_head = count.min(head.len());
                        self.sent += of_head;
                        push_copy(&mut self.copy, &content[..count - of_head]);
                        link.wire.input.consume(count - of_head);
                        self.body.advance(count - of_head);
                        self.touched = true;
                        moved();
                    }
                    Err(error) => {
                        self.stopped = true;
                        return Poll::Ready(Err(UploadError::Target(error)));
                    }
                }
                continue;
            }
            if self.body.is_done() {
                return Poll::Ready(Ok(()));
            }
            if self.encode(link, &drops)? {
                continue;
            }
            if !self.answered {
                if std::mem::take(&mut self.expects_continue) && link.wire.input.is_empty() {
                    link.output
                        .extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                }
                let sent = link.sent();
                if matches!(link.poll_flush(cx), Poll::Ready(Err(_))) {
                    return Poll::Ready(Err(UploadError::Gone));
                }
                if link.sent() != sent {
                    moved();
                }
            }
            match std::task::ready!(link.wire.poll_fill(buffers, self.body.wants(), cx)) {
                Ok(0) | Err(_) => return Poll::Ready(Err(UploadError::Gone)),
                Ok(_) => moved(),
            }
        }
    }

    /// Turns the chunks that came into chunks to send. False if there are none.
    fn encode(
        &mut self,
        link: &mut Link,
        drops: impl Fn(&str) -> bool,
    ) -> Result<bool, UploadError> {
        let Body::Chunked(chunks) = &mut self.body else {
            return Ok(false);
        };
        if self.kept > 0 && self.output.len() >= self.kept {
            self.kept = 0;
        }
        if self.kept == 0 {
            self.output.clear();
            self.sent = 0;
        }
        let before = self.output.len();
        let input = &mut link.wire.input;
        while self.output.len() - before < LARGE {
            match chunks.next(input.data()).map_err(UploadError::Body)? {
                Part::Framing(count) => input.consume(count),
                Part::Data(count) => {
                    let left = self.allowance.checked_sub(count as u64);
                    self.allowance = left.ok_or(UploadError::TooLarge)?;
                    push(&mut self.output, &input.data()[..count]);
                    input.consume(count);
                }
                Part::End => {
                    chunks.strip(&drops);
                    push_end(&mut self.output, chunks.trailers());
                    break;
                }
                Part::More => break,
            }
        }
        push_copy(&mut self.copy, &self.output[before..]);
        Ok(self.output.len() > before)
    }
}

/// Puts more into a copy. One that becomes too large is left out.
fn push_copy(copy: &mut Option<Box<Copy>>, bytes: &[u8]) {
    if copy.as_mut().is_some_and(|copy| !copy.push(bytes)) {
        *copy = None;
    }
}
