//! The table of `consistent_hash`: from a hash to a candidate. Pure.
//!
//! Maglev (Eisenbud and others, NSDI 2016, §3.4): each candidate has an order of its own in which it
//! wants the places of the table, and they take turns. All get the same number of places, give or
//! take one, and when one leaves, almost only its places change hands. The order comes from the
//! target's identity alone, so that two processes with the same targets have the same table.

use std::sync::Arc;

use longshore_discovery::TargetKey;

use super::endpoint::Endpoint;

/// Sizes of tables: primes, so that each step leads to every place.
const SIZES: [u32; 5] = [1_021, 4_093, 16_381, 65_521, 262_139];

/// A table has at least this many places for each candidate, up to the largest table. The fewer, the
/// more other places change hands with those of a candidate that leaves, and the coarser are
/// weights; the more, the longer the control task makes a table.
const PLACES_PER_CANDIDATE: usize = 100;

/// From a hash to a candidate's place in the list.
#[derive(Debug, Default)]
pub struct Maglev {
    places: Box<[u32]>,
}

impl Maglev {
    /// A table for candidates with these weights, at least one of them above 0.
    #[must_use]
    pub fn new(candidates: &[Arc<Endpoint>], weights: &[u64]) -> Self {
        let largest = weights.iter().copied().max().unwrap_or(0);
        if largest == 0 {
            return Self::default();
        }
        let wanted = candidates.len() * PLACES_PER_CANDIDATE;
        let size = SIZES.iter().find(|size| **size as usize >= wanted);
        let size = *size.unwrap_or(&SIZES[SIZES.len() - 1]);
        let mut wishes: Vec<Wishes> = candidates
            .iter()
            .zip(weights)
            .zip(0..)
            .filter(|((_, weight), _)| **weight > 0)
            .map(|((endpoint, weight), candidate)| {
                Wishes::new(&endpoint.key, *weight, candidate, size)
            })
            .collect();
        let mut places = vec![FREE; size as usize].into_boxed_slice();
        let mut free = size;
        while free > 0 {
            for wish in &mut wishes {
                // One with half of the largest weight takes a place in every second round.
                wish.credit += wish.weight;
                if wish.credit < largest {
                    continue;
                }
                wish.credit -= largest;
                while places[wish.next as usize] != FREE {
                    wish.step(size);
                }
                places[wish.next as usize] = wish.candidate;
                free -= 1;
                if free == 0 {
                    break;
                }
            }
        }
        Self { places }
    }

    /// Candidates in the order in which a request with this hash wants them: that of its place,
    /// then those of the places behind. One may come several times.
    pub fn wanted(&self, hash: u64) -> impl Iterator<Item = usize> + '_ {
        let size = self.places.len();
        let first = match size {
            0 => 0,
            size => (hash % size as u64) as usize,
        };
        let (before, from) = self.places.split_at(first);
        from.iter().chain(before).map(|place| *place as usize)
    }

    /// How many places there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.places.len()
    }
}

const FREE: u32 = u32::MAX;

/// The order in which one candidate wants places.
struct Wishes {
    candidate: u32,
    weight: u64,
    credit: u64,
    next: u32,
    stride: u32,
}

impl Wishes {
    fn new(key: &TargetKey, weight: u64, candidate: u32, size: u32) -> Self {
        let mut hash = Hasher::default();
        hash.write(key.task.as_bytes());
        hash.write(b"\0");
        hash.write(key.container.as_bytes());
        hash.write(&key.port.to_be_bytes());
        let hash = hash.finish();
        #[allow(clippy::cast_possible_truncation, reason = "below size")]
        let below = |bound: u32, bits: u64| (bits % u64::from(bound)) as u32;
        Self {
            candidate,
            weight,
            credit: 0,
            next: below(size, hash >> 32),
            stride: 1 + below(size - 1, hash & 0xFFFF_FFFF),
        }
    }

    fn step(&mut self, size: u32) {
        self.next += self.stride;
        if self.next >= size {
            self.next -= size;
        }
    }
}

/// FNV-1a with a final mix (that of MurmurHash3), the same in every process and version: the hash
/// of a request must mean the same target for each balancer. Not against somebody who looks for
/// collisions: whoever can choose a value can send the same one again anyway.
#[derive(Debug)]
pub struct Hasher(u64);

impl Default for Hasher {
    fn default() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }
}

impl Hasher {
    /// Takes bytes.
    pub fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }

    /// The hash.
    #[must_use]
    pub fn finish(&self) -> u64 {
        let mut hash = self.0;
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
        hash ^ (hash >> 33)
    }
}
