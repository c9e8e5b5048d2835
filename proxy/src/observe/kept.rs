//! Lines about the latest requests, for those who ask what became of one. Pure.

use std::collections::VecDeque;

/// How long a line is that counts for one, in bytes. Most have half of it.
const LINE: usize = 2 * 1024;

/// So many of the latest lines, in a row. Were each what its request has noted, at a place of its
/// own, a worker would go through memory that no cache has for every request, to write one and to
/// use that of the oldest again.
#[derive(Debug, Default)]
pub(super) struct Kept {
    text: VecDeque<u8>,
    lengths: VecDeque<usize>,
}

impl Kept {
    /// Keeps a line, and of those before as many as there is room for: `most` with this one, or
    /// fewer that are long.
    pub(super) fn push(&mut self, line: &[u8], most: usize) {
        let room = most * LINE;
        self.shorten(most.saturating_sub(1), room.saturating_sub(line.len()));
        if most == 0 {
            return;
        }
        // It grows as a vector does, but not beyond its room: it goes through all of its memory.
        if self.text.capacity() - self.text.len() < line.len() {
            let length = (2 * self.text.capacity())
                .min(room)
                .max(self.text.len() + line.len());
            self.text.reserve_exact(length - self.text.len());
        }
        self.text.extend(line);
        self.lengths.push_back(line.len());
    }

    /// Keeps the latest, at most so many, and the memory that they want.
    pub(super) fn keep(&mut self, most: usize) {
        self.shorten(most, most * LINE);
        self.text.shrink_to(most * LINE);
        self.lengths.shrink_to(most);
    }

    fn shorten(&mut self, most: usize, bytes: usize) {
        while (self.lengths.len() > most || self.text.len() > bytes)
            && let Some(oldest) = self.lengths.pop_front()
        {
            self.text.drain(..oldest);
        }
    }

    /// All of them.
    pub(super) fn latest_first(&mut self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &*self.text.make_contiguous();
        self.lengths.iter().rev().map(move |length| {
            let (before, line) = rest.split_at(rest.len() - length);
            rest = before;
            line
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Kept, LINE};

    fn line(number: usize) -> Vec<u8> {
        format!("{number}:{}\n", "x".repeat(number * 7 % 40)).into_bytes()
    }

    #[test]
    fn the_latest_lines_are_kept_whole_and_come_first() {
        let mut kept = Kept::default();
        for number in 0..1_000 {
            kept.push(&line(number), 7);
            // Looking at them all puts them in order: now and then, so that they also wrap around.
            if number % 100 == 99 {
                let found: Vec<_> = kept.latest_first().map(<[u8]>::to_vec).collect();
                let expected: Vec<_> = (number - 6..=number).rev().map(line).collect();
                assert_eq!(found, expected);
            }
        }
        assert!(kept.text.capacity() <= 7 * LINE);
        kept.keep(2);
        assert_eq!(kept.latest_first().count(), 2);
        kept.push(&line(1), 0);
        assert_eq!(kept.latest_first().count(), 0);
        kept.keep(0);
        assert_eq!((kept.text.capacity(), kept.lengths.capacity()), (0, 0));
    }

    #[test]
    fn long_lines_are_fewer_and_the_latest_is_always_there() {
        let mut kept = Kept::default();
        for number in 0..50_u8 {
            kept.push(&[number; 3 * LINE], 10);
        }
        let found: Vec<_> = kept.latest_first().map(|line| line[0]).collect();
        assert_eq!(found, [49, 48, 47]);
        assert!(kept.text.capacity() <= 10 * LINE);
        kept.push(&[b'x'; 11 * LINE], 10);
        assert_eq!(kept.latest_first().count(), 1);
        kept.push(b"short\n", 10);
        let found: Vec<_> = kept.latest_first().collect();
        assert_eq!(found, [b"short\n"]);
    }
}
