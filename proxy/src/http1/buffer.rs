//! Buffers for what was read and not used yet, lent by the worker while there is something in them.
//!
//! A connection that waits holds none: ten thousand idle clients cost ten thousand sockets, not
//! their buffers.

use std::cell::RefCell;

/// The size of most buffers, in bytes. Holds nearly every head, with a small body.
pub const SMALL: usize = 16 * 1024;
/// The size of buffers for large heads and bodies, in bytes; the largest head that can be read.
pub const LARGE: usize = 64 * 1024;

/// The most buffers of each kind that a worker keeps for later.
const SMALL_KEPT: usize = 256;
const LARGE_KEPT: usize = 32;
/// The most vectors for output that are kept, and the largest that is.
const OUTPUT_KEPT: usize = 256;
const OUTPUT_KEPT_SIZE: usize = SMALL;

/// Bytes that were read, in storage that may be absent while there are none.
#[derive(Debug, Default)]
pub struct Buffer {
    storage: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// Bytes that were read elsewhere. Beyond [`LARGE`] they do not count.
    #[must_use]
    pub fn of(storage: Vec<u8>) -> Self {
        Self {
            end: storage.len().min(LARGE),
            start: 0,
            storage,
        }
    }

    /// What is in it.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.storage[self.start..self.end]
    }

    /// Nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The number of bytes in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// The first bytes were used.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.len(), "more was used than there was");
        self.start += count;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Room for more, at the end of what is there.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        &mut self.storage[self.end..]
    }

    /// So many bytes were written into the room.
    pub(crate) fn filled(&mut self, count: usize) {
        self.end += count;
        debug_assert!(self.end <= self.storage.len());
    }
}

/// The spare buffers of one worker.
#[derive(Debug, Default)]
pub struct Buffers {
    small: RefCell<Vec<Vec<u8>>>,
    large: RefCell<Vec<Vec<u8>>>,
    output: RefCell<Vec<Vec<u8>>>,
}

impl Buffers {
    /// Makes room in a buffer, for `want` bytes if that can be. False if it is full and as large as
    /// buffers get.
    pub(crate) fn reserve(&self, buffer: &mut Buffer, want: usize) -> bool {
        if buffer.is_empty() {
            let size = if want > SMALL { LARGE } else { SMALL };
            if buffer.storage.len() < size {
                self.release(buffer);
                buffer.storage = self.storage(size);
            }
            return true;
        }
        if buffer.end < buffer.storage.len() {
            return true;
        }
        if buffer.start > 0 {
            buffer.storage.copy_within(buffer.start..buffer.end, 0);
            buffer.end -= buffer.start;
            buffer.start = 0;
            return true;
        }
        if buffer.storage.len() >= LARGE {
            return false;
        }
        let mut storage = self.storage(LARGE);
        storage[..buffer.end].copy_from_slice(&buffer.storage[..buffer.end]);
        self.keep(std::mem::replace(&mut buffer.storage, storage));
        true
    }

    fn storage(&self, size: usize) -> Vec<u8> {
        let kept = if size == SMALL {
            &self.small
        } else {
            &self.large
        };
        let kept = kept.borrow_mut().pop();
        kept.unwrap_or_else(|| vec![0; size])
    }

    /// Takes a buffer's storage back if there is nothing in it.
    pub(crate) fn release(&self, buffer: &mut Buffer) {
        if buffer.is_empty() && !buffer.storage.is_empty() {
            self.keep(std::mem::take(&mut buffer.storage));
        }
    }

    /// Drops what is in a buffer, and takes its storage back.
    pub(crate) fn forget(&self, buffer: &mut Buffer) {
        buffer.consume(buffer.len());
        self.release(buffer);
    }

    fn keep(&self, storage: Vec<u8>) {
        let (kept, most) = match storage.len() {
            SMALL => (&self.small, SMALL_KEPT),
            LARGE => (&self.large, LARGE_KEPT),
            // That of a head that was written here (see [`Buffer::of`]).
            _ => return self.put_output(storage),
        };
        let mut kept = kept.borrow_mut();
        if kept.len() < most {
            kept.push(storage);
        }
    }

    /// An empty vector for what is to be sent.
    pub(crate) fn output(&self) -> Vec<u8> {
        let kept = self.output.borrow_mut().pop();
        kept.unwrap_or_else(|| Vec::with_capacity(1024))
    }

    /// Takes a vector of [`Self::output`] back.
    pub(crate) fn put_output(&self, mut output: Vec<u8>) {
        let mut kept = self.output.borrow_mut();
        let fits = (1..=OUTPUT_KEPT_SIZE).contains(&output.capacity());
        if fits && kept.len() < OUTPUT_KEPT {
            output.clear();
            kept.push(output);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Buffer, Buffers, LARGE, SMALL};

    #[test]
    fn a_full_buffer_moves_its_rest_then_grows_then_is_full() {
        let buffers = Buffers::default();
        let mut buffer = Buffer::default();
        assert!(buffers.reserve(&mut buffer, 1));
        let room = buffer.space().len();
        assert_eq!(room, SMALL);
        buffer.space()[0..3].copy_from_slice(b"abc");
        buffer.filled(room);
        buffer.consume(1);
        assert!(buffers.reserve(&mut buffer, 1));
        assert_eq!(&buffer.data()[..2], b"bc");
        assert_eq!(buffer.space().len(), 1);
        buffer.filled(1);
        assert!(buffers.reserve(&mut buffer, 1));
        assert_eq!(&buffer.data()[..2], b"bc");
        let room = buffer.space().len();
        assert_eq!(room, LARGE - SMALL);
        buffer.filled(room);
        assert!(!buffers.reserve(&mut buffer, 1));
    }

    #[test]
    fn storage_goes_back_only_from_an_empty_buffer_and_is_used_again() {
        let buffers = Buffers::default();
        let mut buffer = Buffer::default();
        buffers.reserve(&mut buffer, 1);
        buffer.filled(1);
        buffers.release(&mut buffer);
        assert_eq!(buffer.len(), 1);
        buffer.consume(1);
        buffers.release(&mut buffer);
        assert_eq!(buffers.small.borrow().len(), 1);
        buffers.reserve(&mut buffer, LARGE);
        assert_eq!(buffer.space().len(), LARGE);
        assert_eq!(buffers.small.borrow().len(), 1);
        buffers.release(&mut buffer);
        buffers.reserve(&mut buffer, 1);
        assert!(buffers.small.borrow().is_empty());
    }
}
