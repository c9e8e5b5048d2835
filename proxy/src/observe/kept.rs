//! Lines about the latest requests, for those who ask what became of one. Pure.

use std::collections::VecDeque;

use memchr::memmem;

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
    /// fewer that are long. A line that is longer than all room is not kept.
    pub(super) fn push(&mut self, line: &[u8], most: usize) {
        self.shorten(
            most.saturating_sub(1),
            (most * LINE).saturating_sub(line.len()),
        );
        if line.len() <= most * LINE {
            self.text.extend(line);
            self.lengths.push_back(line.len());
        }
    }

    /// Keeps the latest, at most so many.
    pub(super) fn keep(&mut self, most: usize) {
        self.shorten(most, most * LINE);
    }

    fn shorten(&mut self, most: usize, bytes: usize) {
        while (self.lengths.len() > most || self.text.len() > bytes)
            && let Some(oldest) = self.lengths.pop_front()
        {
            self.text.drain(..oldest);
        }
    }

    /// Those in which this stands, the latest first.
    pub(super) fn with(&self, part: &[u8]) -> impl Iterator<Item = Vec<u8>> {
        let finder = memmem::Finder::new(part).into_owned();
        let mut end = self.text.len();
        let lines = self.lengths.iter().rev().map(move |length| {
            end -= length;
            self.bytes(end, *length)
        });
        lines.filter(move |line| finder.find(line).is_some())
    }

    /// So many bytes from a place on.
    fn bytes(&self, begin: usize, length: usize) -> Vec<u8> {
        let (front, back) = self.text.as_slices();
        let mut bytes = Vec::with_capacity(length);
        let of_front = front.get(begin..).unwrap_or_default();
        bytes.extend_from_slice(&of_front[..length.min(of_front.len())]);
        let begin = begin.saturating_sub(front.len());
        bytes.extend_from_slice(&back[begin..][..length - bytes.len()]);
        bytes
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
            let found: Vec<_> = kept.with(b"").collect();
            let first = (number + 1).saturating_sub(7);
            let expected: Vec<_> = (first..=number).rev().map(line).collect();
            assert_eq!(found, expected);
        }
        let found: Vec<_> = kept.with(b"995:").collect();
        assert_eq!(found, [line(995)]);
        kept.keep(2);
        assert_eq!(kept.with(b"").count(), 2);
        kept.push(&line(1), 0);
        assert!(kept.text.is_empty() && kept.lengths.is_empty());
    }

    #[test]
    fn long_lines_are_fewer_and_too_long_ones_are_none() {
        let mut kept = Kept::default();
        for number in 0..50_u8 {
            kept.push(&[number; 3 * LINE], 10);
        }
        let found: Vec<_> = kept.with(b"").map(|line| line[0]).collect();
        assert_eq!(found, [49, 48, 47]);
        kept.push(&[b'x'; 11 * LINE], 10);
        assert_eq!(kept.with(b"").count(), 0);
        kept.push(b"short\n", 10);
        assert_eq!(kept.with(b"short").count(), 1);
    }
}
