//! Room for a line of a log: memory that is there already, of which everything that is written
//! takes the beginning. What finds none left is told at the end, so that a line is written once more
//! where there is enough. Pure.
//!
//! An append to a vector costs a look whether it has to grow, and keeps its length in memory
//! meanwhile. A line has a hundred of them; here they are a comparison and a store each.

/// What is left of it. Nothing at the end means that there was too little: a line that ends where
/// its room ends is as good as one that does not fit, and so nothing has to be kept beside this.
#[derive(Debug, Default)]
pub(crate) struct Room<'r>(&'r mut [u8]);

impl<'r> Room<'r> {
    /// All of that.
    pub(crate) fn new(bytes: &'r mut [u8]) -> Self {
        Self(bytes)
    }

    /// How much is left. None if there was too little.
    pub(crate) fn left(&self) -> Option<usize> {
        Some(self.0.len()).filter(|left| *left > 0)
    }

    /// What has a length that is known when this is built.
    #[inline(always)]
    pub(super) fn put<const N: usize>(&mut self, bytes: &[u8; N]) {
        if let Some((place, rest)) = std::mem::take(&mut self.0).split_first_chunk_mut() {
            *place = *bytes;
            self.0 = rest;
        }
    }

    /// So many of these, which costs less than to copy no more than those. All of them need room.
    #[inline(always)]
    pub(super) fn put_first<const N: usize>(&mut self, bytes: &[u8; N], count: usize) {
        let rest = std::mem::take(&mut self.0);
        if let Some(place) = rest.first_chunk_mut() {
            *place = *bytes;
            self.0 = rest.get_mut(count..).unwrap_or_default();
        }
    }

    /// Any text as it is.
    #[inline(always)]
    pub(super) fn put_all(&mut self, text: &[u8]) {
        if let Some((place, rest)) = std::mem::take(&mut self.0).split_at_mut_checked(text.len()) {
            place.copy_from_slice(text);
            self.0 = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Room;

    #[test]
    fn what_is_written_is_there_or_is_known_to_have_found_no_room() {
        let write = |length: usize| {
            let mut bytes = vec![b'.'; length];
            let mut room = Room::new(&mut bytes);
            room.put(b"ab");
            room.put_all(b"cde");
            room.put_first(b"fghi", 1);
            room.put_all(b"");
            let left = room.left();
            (left, String::from_utf8(bytes).expect("text"))
        };
        assert_eq!(write(12), (Some(6), "abcdefghi...".to_owned()));
        assert_eq!(write(9), (Some(3), "abcdefghi".to_owned()));
        // All of the last piece needs room.
        assert_eq!(write(8), (None, "abcde...".to_owned()));
        // Nothing is written behind what found no room.
        assert_eq!(write(4), (None, "ab..".to_owned()));
        assert_eq!(write(1), (None, ".".to_owned()));
        assert_eq!(write(0), (None, String::new()));
    }
}
