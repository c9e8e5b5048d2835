//! Which candidate is next, for each algorithm. No IO, no clock, no allocation: time, chance and
//! the request's hash are given.
//!
//! A pick costs the same for ten candidates as for ten thousand, except where a list is short enough
//! to be gone through (`EXACT_MAX`), and where hardly a candidate can be used.

use std::sync::Arc;

use longshore_config::Algorithm;

use super::cursors::Cursors;
use super::endpoint::Endpoint;
use super::load::Figures;
use super::maglev::Maglev;
use super::shares::Shares;

/// Up to this many candidates `least_outstanding_requests` looks at all of them.
const EXACT_MAX: usize = 16;

/// Of longer lists it looks at this many, by chance. That is not always the least busy of all, but
/// hardly ever a busy one: with two already, the longest queue of n targets grows with log log n.
const CHOICES: usize = 4;

/// How often the algorithm is asked anew if its choice cannot be used. Then the list is gone
/// through.
const TRIES: usize = 16;

/// What one request means to the target with the highest weight.
const COST: u64 = 1 << 16;

/// What a pick depends on beside the candidates.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// Which worker asks.
    pub worker: usize,
    /// When, in milliseconds of the clock that the group uses.
    pub now: u64,
    /// A random number below the given one.
    pub draw: &'a dyn Fn(u64) -> u64,
    /// The hash of what `consistent_hash` looks at, if the request has it.
    pub hash: Option<u64>,
}

/// A target that may be picked.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Its live side.
    pub endpoint: Arc<Endpoint>,
    /// How much it can take, in comparison with the others.
    pub weight: u64,
    /// Its share of the requests, in comparison with the others. That is its weight, unless some
    /// zones are preferred. One without a share is picked when no other can be used.
    pub share: u64,
}

/// How one group's candidates are picked.
#[derive(Debug)]
pub struct Picker {
    algorithm: Algorithm,
    shares: Shares,
    /// What a request means to each: the less, the higher its weight. Empty if all are equal.
    costs: Box<[u64]>,
    /// Those with a share have it by their weight.
    by_weight: bool,
    /// How many have a share.
    sharing: usize,
    table: Arc<Table>,
    cursors: Arc<Cursors>,
}

/// The table of `consistent_hash`, and for what it was made.
#[derive(Debug, Default)]
struct Table {
    maglev: Maglev,
    shares: Box<[u64]>,
}

impl Picker {
    /// For these candidates. `before` is the group's picker until now with its candidates, and both
    /// lists are in the order of their keys: whose turn was next is next, and a table that is
    /// still right is kept.
    #[must_use]
    pub fn new(
        algorithm: Algorithm,
        candidates: &[Candidate],
        cursors: Arc<Cursors>,
        before: Option<(&Self, &[Arc<Endpoint>])>,
    ) -> Self {
        let parts: Box<[u64]> = candidates.iter().map(|one| one.share).collect();
        let mut shares = Shares::new(&parts);
        if let Some((picker, old)) = before {
            shares.go_on_from(&picker.shares, cursors.position(), |index| {
                let key = &old.get(index)?.key;
                let found = candidates.binary_search_by(|one| one.endpoint.key.cmp(key));
                found.ok()
            });
        }
        let table = if algorithm == Algorithm::ConsistentHash {
            table(candidates, parts, before)
        } else {
            Arc::default()
        };
        let mut sharing = candidates.iter().filter(|one| one.share > 0);
        let first = sharing.next();
        let by_weight = first.is_none_or(|first| {
            let parts = |a: u64, b: u64| u128::from(a) * u128::from(b);
            sharing.all(|one| parts(one.share, first.weight) == parts(first.share, one.weight))
        });
        let heaviest = candidates.iter().map(|one| one.weight).max().unwrap_or(1);
        let even = candidates.iter().all(|one| one.weight == heaviest);
        let cost = |one: &Candidate| heaviest.saturating_mul(COST) / one.weight.max(1);
        Self {
            algorithm,
            shares,
            costs: if even {
                Box::default()
            } else {
                candidates.iter().map(cost).collect()
            },
            by_weight,
            sharing: candidates.iter().filter(|one| one.share > 0).count(),
            table,
            cursors,
        }
    }

    /// Picks one of the candidates that it was made for, in the same order. None if `usable`
    /// allows none.
    pub fn pick<'c>(
        &self,
        candidates: &'c [Arc<Endpoint>],
        asked: &Asked<'_>,
        usable: impl Fn(&Endpoint) -> bool,
    ) -> Option<&'c Arc<Endpoint>> {
        if self.shares.slots() == 0 {
            return None;
        }
        let is_usable = |index: usize| usable(&candidates[index]);
        let picked = match self.algorithm {
            Algorithm::RoundRobin => self.in_turn(asked, &is_usable),
            Algorithm::WeightedRandom => self.by_chance(asked, &is_usable),
            Algorithm::LeastOutstandingRequests => {
                let outstanding = |index: usize| candidates[index].load().outstanding();
                if self.by_weight && self.sharing <= EXACT_MAX {
                    self.least_of_all(asked, &outstanding, &is_usable)
                } else {
                    self.least_of_some(asked, &outstanding, &is_usable)
                }
            }
            Algorithm::PeakEwma => {
                let figures = |index: usize| candidates[index].load().figures(asked.now);
                self.better_of_two(asked, figures, &is_usable)
            }
            Algorithm::ConsistentHash => match asked.hash {
                Some(hash) => {
                    let mut wanted = self.table.maglev.wanted(hash).take(TRIES * TRIES);
                    wanted.find(|index| is_usable(*index))
                }
                None => self.by_chance(asked, &is_usable),
            },
        };
        let picked = picked.or_else(|| self.any(asked, &is_usable))?;
        Some(&candidates[picked])
    }

    /// The cursors, to be carried on.
    #[must_use]
    pub fn cursors(&self) -> &Arc<Cursors> {
        &self.cursors
    }

    /// Bytes on the heap that belong to it alone.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.shares.memory()
            + size_of_val(&*self.costs)
            + self.table.maglev.size() * size_of::<u32>()
            + size_of_val(&*self.table.shares)
    }

    fn in_turn(&self, asked: &Asked<'_>, usable: &impl Fn(usize) -> bool) -> Option<usize> {
        for _ in 0..TRIES {
            // A turn that somebody cannot take is gone. Else the next one would have two each time.
            let position = self
                .cursors
                .next(asked.worker, asked.now, self.shares.slots());
            let index = self.shares.turn(position);
            if usable(index) {
                return Some(index);
            }
        }
        None
    }

    fn by_chance(&self, asked: &Asked<'_>, usable: &impl Fn(usize) -> bool) -> Option<usize> {
        (0..TRIES)
            .map(|_| self.drawn(asked))
            .find(|index| usable(*index))
    }

    fn drawn(&self, asked: &Asked<'_>) -> usize {
        self.shares.owner((asked.draw)(self.shares.slots()))
    }

    #[inline]
    fn cost(&self, index: usize) -> u64 {
        self.costs.get(index).copied().unwrap_or(COST)
    }

    /// How busy a target would be with one request more, for its weight. An idle one has room for
    /// one, whatever its weight.
    #[inline]
    fn busy(&self, index: usize, outstanding: u32) -> u64 {
        match outstanding {
            0 => 0,
            some => (u64::from(some) + 1).saturating_mul(self.cost(index)),
        }
    }

    /// Of equals the one whose turn it is, so that an idle group is served evenly.
    fn least_of_all(
        &self,
        asked: &Asked<'_>,
        outstanding: &impl Fn(usize) -> u32,
        usable: &impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let count = self.shares.candidates();
        let position = self
            .cursors
            .next(asked.worker, asked.now, self.shares.slots());
        let start = self.shares.turn(position);
        let mut best = None;
        let mut least = u64::MAX;
        let mut equals = 0;
        for index in (start..count).chain(0..start) {
            let busy = self.busy(index, outstanding(index));
            if busy > least || !self.shares.has(index) || !usable(index) {
                continue;
            }
            if busy == least && best.is_some() {
                equals += 1;
            } else {
                (best, least, equals) = (Some(index), busy, 0);
            }
            // Nobody is less busy than one that is idle, and it is its turn.
            if busy == 0 && index == start {
                break;
            }
        }
        let first = best?;
        // The first behind one that is busy would have the turns of both.
        if equals > 0 && first != start {
            for _ in 0..count.min(CHOICES) {
                let position = self
                    .cursors
                    .next(asked.worker, asked.now, self.shares.slots());
                let index = self.shares.turn(position);
                if usable(index) && self.busy(index, outstanding(index)) <= least {
                    return Some(index);
                }
            }
        }
        Some(first)
    }

    fn least_of_some(
        &self,
        asked: &Asked<'_>,
        outstanding: &impl Fn(usize) -> u32,
        usable: &impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let mut best: Option<(usize, u64)> = None;
        let mut looked = 0;
        for _ in 0..TRIES {
            let index = self.drawn(asked);
            if !usable(index) {
                continue;
            }
            let busy = self.busy(index, outstanding(index));
            if best.is_none_or(|(_, least)| busy < least) {
                best = Some((index, busy));
            }
            looked += 1;
            // Nobody is less busy than one that is idle.
            if looked == CHOICES || busy == 0 {
                break;
            }
        }
        best.map(|(index, _)| index)
    }

    fn better_of_two(
        &self,
        asked: &Asked<'_>,
        figures: impl Fn(usize) -> Figures,
        usable: &impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let mut first: Option<usize> = None;
        for _ in 0..TRIES {
            let index = self.drawn(asked);
            if first == Some(index) || !usable(index) {
                continue;
            }
            let Some(known) = first else {
                first = Some(index);
                if self.sharing == 1 {
                    break;
                }
                continue;
            };
            let (one, other) = (figures(known), figures(index));
            let other_wins = other.beats(self.cost(index), &one, self.cost(known));
            return Some(if other_wins { index } else { known });
        }
        first
    }

    /// The first that can be used, from anywhere; those with a share before others.
    #[cold]
    fn any(&self, asked: &Asked<'_>, usable: &impl Fn(usize) -> bool) -> Option<usize> {
        let count = self.shares.candidates();
        let start = usize::try_from((asked.draw)(count as u64)).unwrap_or(0);
        let all = || (start..count).chain(0..start);
        let mut sharing = all().filter(|index| self.shares.has(*index));
        let mut others = all().filter(|index| !self.shares.has(*index));
        sharing
            .find(|index| usable(*index))
            .or_else(|| others.find(|index| usable(*index)))
    }
}

fn table(
    candidates: &[Candidate],
    shares: Box<[u64]>,
    before: Option<(&Picker, &[Arc<Endpoint>])>,
) -> Arc<Table> {
    if let Some((picker, old)) = before
        && picker.table.shares == shares
        && old.len() == candidates.len()
        && old
            .iter()
            .zip(candidates)
            .all(|(old, new)| old.key == new.endpoint.key)
    {
        return Arc::clone(&picker.table);
    }
    let endpoints: Vec<Arc<Endpoint>> = candidates
        .iter()
        .map(|one| Arc::clone(&one.endpoint))
        .collect();
    Arc::new(Table {
        maglev: Maglev::new(&endpoints, &shares),
        shares,
    })
}

#[cfg(test)]
#[path = "picker_tests.rs"]
mod tests;
