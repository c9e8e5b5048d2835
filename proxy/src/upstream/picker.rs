//! Which candidate is next. Pure: cursors and loads are given, no clock, no allocation.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use longshore_config::Algorithm;

use super::endpoint::Endpoint;

/// The position of each worker's round robin. It outlives snapshots, so that a change of the set
/// does not send the next requests of every worker to the same first target.
#[derive(Debug)]
pub struct Cursors(Box<[Cursor]>);

/// On cache lines of its own: each worker writes its cursor for each request.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Cursor(AtomicUsize);

impl Cursors {
    /// Cursors for that many workers, spread so that they do not run in step.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self(
            (0..workers.max(1))
                .map(|worker| Cursor(AtomicUsize::new(worker.wrapping_mul(0x9E37_79B9))))
                .collect(),
        )
    }

    /// The next position of a worker. Only that worker writes it, so a load and a store suffice.
    fn next(&self, worker: usize) -> usize {
        let cursor = &self.0[worker % self.0.len()].0;
        let position = cursor.load(Ordering::Relaxed);
        cursor.store(position.wrapping_add(1), Ordering::Relaxed);
        position
    }
}

/// Picks a candidate that `usable` allows. None if there is no such candidate.
pub fn pick<'c>(
    algorithm: Algorithm,
    candidates: &'c [Arc<Endpoint>],
    cursors: &Cursors,
    worker: usize,
    usable: impl Fn(&Endpoint) -> bool,
) -> Option<&'c Arc<Endpoint>> {
    let count = candidates.len();
    if count == 0 {
        return None;
    }
    let start = cursors.next(worker) % count;
    let (before, from) = candidates.split_at(start);
    let mut in_turn = from
        .iter()
        .chain(before)
        .filter(|endpoint| usable(endpoint));
    match algorithm {
        Algorithm::RoundRobin => in_turn.next(),
        // The first of several equals in turn, so that an idle group is served evenly.
        Algorithm::LeastOutstandingRequests => {
            in_turn.min_by_key(|endpoint| endpoint.outstanding())
        }
    }
}

#[cfg(test)]
#[path = "picker_tests.rs"]
mod tests;
