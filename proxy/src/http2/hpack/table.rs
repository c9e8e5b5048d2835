//! The tables of HPACK (RFC 7541 §2.3).

use std::collections::VecDeque;

/// The static table (Appendix A); the first entry has the index 1.
pub(super) const STATIC: [(&[u8], &[u8]); 61] = [
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
];

/// The largest dynamic table that the other side may fill, in bytes as §4.1 counts them: the value
/// that holds as long as nothing else is agreed on.
pub(super) const SIZE_MAX: usize = 4096;

/// What an entry counts beside its bytes (§4.1).
const OVERHEAD: usize = 32;

/// A name and a value, one behind the other.
#[derive(Debug)]
struct Entry {
    bytes: Box<[u8]>,
    name: usize,
}

impl Entry {
    fn size(&self) -> usize {
        self.bytes.len() + OVERHEAD
    }
}

/// The dynamic table (§2.3.2).
#[derive(Debug)]
pub(super) struct Table {
    /// The newest first.
    entries: VecDeque<Entry>,
    size: usize,
    max: usize,
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            max: SIZE_MAX,
        }
    }

    /// The entry with this index, in both tables. None if there is none.
    pub(super) fn get(&self, index: usize) -> Option<(&[u8], &[u8])> {
        let place = index.checked_sub(1)?;
        match STATIC.get(place) {
            Some(entry) => Some(*entry),
            None => {
                let entry = self.entries.get(place - STATIC.len())?;
                Some(entry.bytes.split_at(entry.name))
            }
        }
    }

    /// §4.4. The name may be that of an entry that leaves for it.
    pub(super) fn add(&mut self, name: &[u8], value: &[u8]) {
        let size = name.len() + value.len() + OVERHEAD;
        if size > self.max {
            self.shrink(0);
            return;
        }
        self.shrink(self.max - size);
        self.size += size;
        self.entries.push_front(Entry {
            bytes: [name, value].concat().into(),
            name: name.len(),
        });
    }

    /// As [`Self::add`], with the name of an entry. None if there is no such entry.
    pub(super) fn add_named(&mut self, index: usize, value: &[u8]) -> Option<()> {
        let name = self.get(index)?.0.to_vec();
        self.add(&name, value);
        Some(())
    }

    /// §4.3. False if it may not become so large.
    pub(super) fn resize(&mut self, max: usize) -> bool {
        if max > SIZE_MAX {
            return false;
        }
        self.max = max;
        self.shrink(max);
        true
    }

    fn shrink(&mut self, size: usize) {
        while self.size > size {
            let Some(entry) = self.entries.pop_back() else {
                return;
            };
            self.size -= entry.size();
        }
    }
}
