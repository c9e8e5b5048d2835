//! One stream.

use std::task::{Context, Waker};

use super::Received;

/// One stream.
#[derive(Debug)]
pub struct Stream {
    /// What may still be sent.
    pub(super) window: i64,
    pub(super) received: Received,
    /// Content that came and was not taken from `taken` on.
    content: Vec<u8>,
    taken: usize,
    /// What is left of the length that the head states.
    pub(super) owed: Option<u64>,
    /// Lines of trailers that came.
    pub(super) trailers: Vec<u8>,
    /// Whether the client, and whether we have ended it.
    pub(super) ended: bool,
    pub(super) finished: bool,
    /// Content of its response was sent.
    pub(super) answered: bool,
    /// It was reset by the client, or by us because of what the client did.
    reset: bool,
    /// It counts against the limit.
    pub(super) counts: bool,
    /// It is in the line for room; it was woken from there and has its turn.
    pub(super) waits: bool,
    pub(super) turn: bool,
    waker: Option<Waker>,
}

impl Stream {
    pub(super) fn new(window: i64, received: Received, owed: Option<u64>, ended: bool) -> Self {
        Self {
            window,
            received,
            content: Vec::new(),
            taken: 0,
            owed,
            trailers: Vec::new(),
            ended,
            finished: false,
            answered: false,
            reset: false,
            counts: true,
            waits: false,
            turn: false,
            waker: None,
        }
    }

    /// Content that came and was not taken.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        &self.content[self.taken..]
    }

    pub(super) fn add(&mut self, content: &[u8]) {
        self.content.extend_from_slice(content);
        self.wake();
    }

    /// So much of it was taken.
    pub(super) fn take(&mut self, count: usize) {
        self.taken += count;
        if self.taken == self.content.len() {
            // Nothing is held for a stream that waits.
            self.content = Vec::new();
            self.taken = 0;
        } else if self.taken > self.content.len() / 2 {
            self.content.drain(..self.taken);
            self.taken = 0;
        }
    }

    /// The client has ended it.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Lines of trailers that came, once.
    pub(crate) fn take_trailers(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.trailers)
    }

    /// It was reset.
    #[must_use]
    pub fn is_reset(&self) -> bool {
        self.reset
    }

    /// It was reset.
    pub(super) fn reset(&mut self) {
        self.reset = true;
        self.wake();
    }

    /// Whoever looked is woken by the next change.
    pub(crate) fn watch(&mut self, cx: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.waker = Some(cx.waker().clone()),
        }
    }

    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}
