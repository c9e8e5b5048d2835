//! The position of a group's round robin, one for all workers.
//!
//! If each worker had a position of its own, a short run of requests over many workers would not be
//! spread: each begins somewhere, and a few requests say nothing to the others. One position that
//! each request counts up would be a cache line that all workers write. So a worker takes single
//! positions as long as it has few requests, which costs nothing anybody could notice, and whole
//! blocks of them when it has many.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many single positions a worker takes in one [`EPOCH_SHIFT`] before it takes blocks.
const SINGLES: u64 = 32;

/// About how many positions a block has.
const BLOCK: u64 = 64;

/// Milliseconds to the time in which single positions are counted (64 ms), as a shift.
const EPOCH_SHIFT: u32 = 6;

/// The positions of one group. They outlive snapshots.
#[derive(Debug)]
pub struct Cursors {
    shared: Shared,
    workers: Box<[Cursor]>,
}

/// The first position that no worker has. On cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shared(AtomicU64);

/// What one worker has taken. On cache lines of its own; only that worker writes it, so loads and
/// stores suffice.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Cursor {
    next: AtomicU64,
    end: AtomicU64,
    epoch: AtomicU64,
    singles: AtomicU64,
}

impl Cursors {
    /// For that many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            shared: Shared::default(),
            workers: (0..workers.max(1)).map(|_| Cursor::default()).collect(),
        }
    }

    /// The next position for a worker, at a time in milliseconds, in a list of that many slots.
    #[inline]
    pub fn next(&self, worker: usize, now: u64, slots: u64) -> u64 {
        // Not a remainder: a division costs as much as all the rest.
        let cursor = self.workers.get(worker).unwrap_or(&self.workers[0]);
        let next = cursor.next.load(Ordering::Relaxed);
        if next < cursor.end.load(Ordering::Relaxed) {
            cursor.next.store(next + 1, Ordering::Relaxed);
            return next;
        }
        self.take(cursor, now, slots)
    }

    #[cold]
    fn take(&self, cursor: &Cursor, now: u64, slots: u64) -> u64 {
        let epoch = now >> EPOCH_SHIFT;
        let mut singles = 0;
        if cursor.epoch.load(Ordering::Relaxed) == epoch {
            singles = cursor.singles.load(Ordering::Relaxed);
        } else {
            cursor.epoch.store(epoch, Ordering::Relaxed);
        }
        cursor.singles.store(singles + 1, Ordering::Relaxed);
        let count = if singles < SINGLES { 1 } else { block(slots) };
        let first = self.shared.0.fetch_add(count, Ordering::Relaxed);
        cursor.next.store(first + 1, Ordering::Relaxed);
        cursor.end.store(first + count, Ordering::Relaxed);
        first
    }

    /// The position of the next turn: exactly, if there is one worker or if there are few requests;
    /// else the first one that no worker has taken.
    #[must_use]
    pub fn position(&self) -> u64 {
        let shared = self.shared.0.load(Ordering::Relaxed);
        match &*self.workers {
            // It has the rest of its block still before it.
            [only] if shared == only.end.load(Ordering::Relaxed) => {
                only.next.load(Ordering::Relaxed)
            }
            _ => shared,
        }
    }
}

/// One more than whole rounds: so two workers that take blocks one after the other begin with
/// neighbours, and are not in step.
fn block(slots: u64) -> u64 {
    match BLOCK.checked_div(slots) {
        None | Some(0) => BLOCK,
        Some(rounds) => rounds * slots + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, Cursors, SINGLES, block};

    #[test]
    fn a_block_is_whole_rounds_and_one() {
        for slots in 1..=BLOCK {
            assert_eq!(block(slots) % slots, 1 % slots, "{slots}");
            assert!(block(slots) > BLOCK / 2 && block(slots) <= BLOCK + 1);
        }
        assert_eq!(block(BLOCK + 1), BLOCK);
    }

    #[test]
    fn workers_share_one_sequence_while_they_have_few_requests() {
        let cursors = Cursors::new(8);
        for position in 0..8 * SINGLES {
            assert_eq!(cursors.next((position % 8) as usize, 1_000, 3), position);
        }
    }

    #[test]
    fn no_position_is_given_twice_and_a_busy_worker_takes_blocks() {
        let cursors = Cursors::new(4);
        let mut given = std::collections::BTreeSet::new();
        for turn in 0..100_000_u64 {
            let worker = (turn * turn % 7 % 4) as usize;
            assert!(given.insert(cursors.next(worker, turn / 1_000, 5)));
        }
        let (first, last) = (given.first(), given.last());
        assert_eq!(first, Some(&0));
        // What is not given was taken by a worker that has not used it yet.
        assert!(last < Some(&(100_000 + 4 * block(5))), "{last:?}");
        assert!(cursors.position() > 100_000);
    }

    #[test]
    fn a_worker_that_becomes_quiet_takes_single_positions_again() {
        let cursors = Cursors::new(2);
        for _ in 0..=SINGLES {
            cursors.next(0, 0, 3);
        }
        assert_eq!(cursors.position(), SINGLES + block(3));
        for _ in 1..block(3) {
            cursors.next(0, 0, 3);
        }
        cursors.next(0, 1_000, 3);
        assert_eq!(cursors.position(), SINGLES + block(3) + 1);
    }
}
