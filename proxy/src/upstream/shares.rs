//! Who has which share of the requests: weights as a line of slots, and an order in which the slots
//! take turns. Pure.
//!
//! A candidate with the weight 3 has three slots beside each other. The turns go round the line in
//! steps (`stride`) of about 0.618 of its length that have no common divisor with it: so each slot
//! comes once in a round, and the slots of one candidate come as evenly spread over the round as
//! they can. A schedule that was written down would do the same, and need a place for each slot:
//! millions for thousands of targets with weights such as 999 and 1.

/// Beyond this many slots, weights are rounded. A position times a stride then fits into 64 bits.
const SLOTS_MAX: u64 = 1 << 31;

/// The share of each of a list of candidates.
#[derive(Debug, Clone, Default)]
pub struct Shares {
    candidates: usize,
    slots: u64,
    stride: u64,
    /// The slot of position 0.
    origin: u64,
    /// For each candidate the end of its slots. Empty if each has one slot.
    ends: Box<[u64]>,
    /// For each `1 << shift` slots the candidate that has the first of them.
    guide: Box<[u32]>,
    shift: u32,
}

impl Shares {
    /// The shares of candidates with these weights, in their order.
    #[must_use]
    pub fn new(weights: &[u64]) -> Self {
        let divisor = weights.iter().fold(0, |known, weight| gcd(known, *weight));
        if weights.iter().all(|weight| *weight == divisor) {
            let slots = if divisor == 0 {
                0
            } else {
                weights.len() as u64
            };
            // In the order of the list: neither of two orders is better, and this one is known.
            return Self {
                candidates: weights.len(),
                slots,
                stride: 1,
                ..Self::default()
            };
        }
        let sum: u128 = weights.iter().map(|w| u128::from(*w / divisor)).sum();
        let scale = |weight: u64| -> u64 {
            let weight = weight / divisor;
            if sum <= u128::from(SLOTS_MAX) || weight == 0 {
                return weight;
            }
            let scaled = u128::from(weight) * u128::from(SLOTS_MAX) / sum;
            u64::try_from(scaled).unwrap_or(SLOTS_MAX).max(1)
        };
        let mut slots = 0;
        let ends: Box<[u64]> = weights
            .iter()
            .map(|weight| {
                slots += scale(*weight);
                slots
            })
            .collect();
        // At least one mark for each candidate, so that from a mark to the candidate there is one
        // step on average.
        let mut shift = 0;
        while slots >> (shift + 1) >= weights.len() as u64 {
            shift += 1;
        }
        let mut candidate = 0;
        let guide = (0..=(slots - 1) >> shift)
            .map(|mark| {
                while ends[candidate] <= mark << shift {
                    candidate += 1;
                }
                u32::try_from(candidate).unwrap_or(u32::MAX)
            })
            .collect();
        Self {
            candidates: weights.len(),
            slots,
            stride: stride(slots),
            origin: 0,
            ends,
            guide,
            shift,
        }
    }

    /// How many slots there are. 0: nobody has a share.
    #[must_use]
    #[inline]
    pub fn slots(&self) -> u64 {
        self.slots
    }

    /// How many candidates there are.
    #[must_use]
    pub fn candidates(&self) -> usize {
        self.candidates
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn memory(&self) -> usize {
        size_of_val(&*self.ends) + size_of_val(&*self.guide)
    }

    /// The candidate that a slot below [`Self::slots`] belongs to.
    #[must_use]
    #[inline]
    pub fn owner(&self, slot: u64) -> usize {
        if self.ends.is_empty() {
            return usize::try_from(slot).unwrap_or(usize::MAX);
        }
        self.find(slot)
    }

    fn find(&self, slot: u64) -> usize {
        let mark = usize::try_from(slot >> self.shift).unwrap_or(usize::MAX);
        let first = self.guide[mark] as usize;
        let last = self.guide.get(mark + 1).map_or(self.ends.len(), |next| {
            // The next mark's owner may have this mark's last slots too.
            *next as usize + 1
        });
        // Many small shares may lie behind one mark.
        first + self.ends[first..last].partition_point(|end| *end <= slot)
    }

    /// Whether a candidate has any share.
    #[must_use]
    #[inline]
    pub fn has(&self, candidate: usize) -> bool {
        self.width(candidate) > 0
    }

    /// The candidate whose turn it is at a position.
    #[must_use]
    #[inline]
    pub fn turn(&self, position: u64) -> usize {
        self.owner(self.slot(position))
    }

    #[inline]
    fn slot(&self, position: u64) -> u64 {
        let place = position % self.slots;
        let slot = if self.stride == 1 {
            self.origin + place
        } else {
            self.origin + place * self.stride % self.slots
        };
        if slot >= self.slots {
            slot - self.slots
        } else {
            slot
        }
    }

    #[inline]
    fn width(&self, candidate: usize) -> u64 {
        match self.ends.get(candidate) {
            None => u64::from((candidate as u64) < self.slots),
            Some(end) => end - self.start(candidate),
        }
    }

    fn start(&self, candidate: usize) -> u64 {
        match candidate.checked_sub(1) {
            _ if self.ends.is_empty() => candidate as u64,
            None => 0,
            Some(before) => self.ends[before],
        }
    }

    /// Goes on where other shares were at a position: whose turn was next there is next here.
    /// `now_at` tells where a candidate of the others is in this list.
    ///
    /// Otherwise a list that changes often would begin anew so often that some candidates had many
    /// turns and others none.
    pub fn go_on_from(
        &mut self,
        others: &Self,
        position: u64,
        now_at: impl Fn(usize) -> Option<usize>,
    ) {
        /// How many that have left at once are passed over.
        const STEPS_MAX: u64 = 64;
        if self.slots == 0 || others.slots == 0 {
            return;
        }
        let found = (0..STEPS_MAX).find_map(|step| {
            let slot = others.slot(position.wrapping_add(step));
            let old = others.owner(slot);
            let new = now_at(old).filter(|new| self.has(*new))?;
            // As far into its slots as it was, or a candidate with many would have its first one
            // for ever.
            let into = (slot - others.start(old)) * self.width(new) / others.width(old);
            Some(self.start(new) + into)
        });
        if let Some(slot) = found {
            let passed = position % self.slots * self.stride % self.slots;
            self.origin = (slot + self.slots - passed) % self.slots;
        }
    }
}

/// A step near the golden section of `slots`, without a common divisor, so that every slot is met.
/// Of several, the one whose continued fraction has the smallest parts: it leaves the most even
/// gaps.
fn stride(slots: u64) -> u64 {
    /// How far around the golden section is searched. Below 2^31 some number within reach has no
    /// divisor in common.
    const REACH: u64 = 32;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "at most SLOTS_MAX and the number of candidates"
    )]
    let golden = (slots as f64 * 0.618_033_988_749_894_9) as u64;
    let low = golden.saturating_sub(REACH).max(1);
    (low..=golden + REACH)
        .filter(|step| *step < slots.max(2) && gcd(*step, slots) == 1)
        .min_by_key(|step| (largest_part(*step, slots), step.abs_diff(golden)))
        .unwrap_or(1)
}

/// The largest part of the continued fraction of a/b.
fn largest_part(mut a: u64, mut b: u64) -> u64 {
    let mut largest = 0;
    // The first part is 0, as a < b.
    while a != 0 {
        largest = largest.max(b / a);
        (a, b) = (b % a, a);
    }
    largest
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
#[path = "shares_tests.rs"]
mod tests;
