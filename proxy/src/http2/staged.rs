//! Bytes of HTTP/1.1 that were written here to be read next. Pure.

use tokio::io::ReadBuf;

/// Bytes that are read next, in storage that is used again for others.
#[derive(Debug, Default)]
pub(super) struct Staged {
    bytes: Vec<u8>,
    /// How much of them was read.
    given: usize,
}

impl From<Vec<u8>> for Staged {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, given: 0 }
    }
}

impl Staged {
    /// All was read.
    pub(super) fn is_given(&self) -> bool {
        self.given == self.bytes.len()
    }

    /// Gives what fits into the room. False if all was read before.
    pub(super) fn give(&mut self, room: &mut ReadBuf<'_>) -> bool {
        if self.is_given() {
            return false;
        }
        let rest = &self.bytes[self.given..];
        let count = rest.len().min(room.remaining());
        room.put_slice(&rest[..count]);
        self.given += count;
        true
    }

    /// Others are read next.
    pub(super) fn write<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        self.bytes.clear();
        self.given = 0;
        write(&mut self.bytes)
    }

    /// The storage, without what is in it.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(self).bytes;
        bytes.clear();
        bytes
    }
}
