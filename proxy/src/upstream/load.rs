//! How busy, how fast and how reliable a target is, over all workers, for the algorithms that need
//! it. No clock: time is an argument.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// After so many milliseconds a figure has lost 63 % of its say. Short enough that a newcomer whose
/// first request was slow, because its caches were cold, is asked again within seconds; long enough
/// that a target that is always slow is asked only now and then.
const MEMORY_MILLIS: f32 = 5_000.0;

/// By how much a target that always fails seems slower than it is.
const FAILURE_FACTOR: f32 = 50.0;

/// How much one failure, or one success after it, says.
const FAILURE_STEP: f32 = 0.1;

/// What all workers write at a target, on cache lines of its own: who only asks whether the target
/// is retired does not wait for them. Nothing is written unless the group's algorithm needs it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Load {
    outstanding: AtomicU32,
    /// Microseconds to the response head, by [`pack`].
    latency: AtomicU64,
    /// The part of requests that failed, by [`pack`].
    failing: AtomicU64,
}

/// A figure and when it was true (milliseconds, wrapping). 0 is none.
fn pack(value: f32, at: u32) -> u64 {
    u64::from(value.to_bits()) << 32 | u64::from(at)
}

/// A figure, and how much it still says.
fn unpack(packed: u64, now: u32) -> (f32, f32) {
    #[allow(clippy::cast_possible_truncation, reason = "one half each")]
    let (value, at) = (f32::from_bits((packed >> 32) as u32), packed as u32);
    if packed == 0 {
        return (0.0, 0.0);
    }
    let age = now.wrapping_sub(at);
    // A clock of another thread may be ahead by a moment.
    if age == 0 || age > u32::MAX / 2 {
        return (value, 1.0);
    }
    #[allow(clippy::cast_precision_loss, reason = "no precision is needed")]
    let say = (-(age as f32) / MEMORY_MILLIS).exp();
    (value, say)
}

/// What two targets are compared by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    latency: f32,
    /// How much the latency still says; 0 if none was seen.
    say: f32,
    failing: f32,
    outstanding: u32,
}

impl Load {
    pub(crate) fn begin(&self) {
        self.outstanding.fetch_add(1, Ordering::Relaxed);
    }

    /// Begins one if fewer than `limit` are in flight.
    pub(crate) fn begin_below(&self, limit: u32) -> bool {
        let relaxed = Ordering::Relaxed;
        let begun = self
            .outstanding
            .fetch_update(relaxed, relaxed, |outstanding| {
                (outstanding < limit).then(|| outstanding + 1)
            });
        begun.is_ok()
    }

    pub(crate) fn end(&self) {
        self.outstanding.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn outstanding(&self) -> u32 {
        self.outstanding.load(Ordering::Relaxed)
    }

    /// Takes the outcome of a request: how long its response head took, and whether it failed.
    ///
    /// The latency follows a peak at once, and comes down slowly. A failure never lowers it, and is
    /// never the first figure: a target that fails fast is not a fast one.
    pub(crate) fn observe(&self, micros: u64, failed: bool, now_millis: u64) {
        #[allow(clippy::cast_possible_truncation, reason = "wraps after 49 days")]
        let now = now_millis as u32;
        #[allow(clippy::cast_precision_loss, reason = "no precision is needed")]
        let micros = micros.max(1) as f32;
        let latency = |packed| {
            let (known, say) = unpack(packed, now);
            if failed && (packed == 0 || known >= micros) {
                return None;
            }
            let next = known.max(micros);
            let next = if known > micros {
                micros + (known - micros) * say.min(0.999)
            } else {
                next
            };
            Some(pack(next, now))
        };
        // An outcome that another worker's overtakes is counted after it.
        let relaxed = Ordering::Relaxed;
        self.latency
            .fetch_update(relaxed, relaxed, latency)
            .unwrap_or_default();
        let failing = |packed| {
            let (known, say) = unpack(packed, now);
            let known = known * say;
            let next = if failed {
                known + (1.0 - known) * FAILURE_STEP
            } else {
                known * (1.0 - FAILURE_STEP)
            };
            // What is as good as nothing is not written: most targets do not fail.
            (failed || known > 0.0).then(|| if next < 1e-4 { 0 } else { pack(next, now) })
        };
        self.failing
            .fetch_update(relaxed, relaxed, failing)
            .unwrap_or_default();
    }

    pub(crate) fn figures(&self, now_millis: u64) -> Figures {
        #[allow(clippy::cast_possible_truncation, reason = "wraps after 49 days")]
        let now = now_millis as u32;
        let (latency, say) = unpack(self.latency.load(Ordering::Relaxed), now);
        let (failing, known) = unpack(self.failing.load(Ordering::Relaxed), now);
        Figures {
            latency,
            say,
            failing: failing * known,
            outstanding: self.outstanding(),
        }
    }
}

impl Figures {
    /// Whether this target is the better choice of two. `cost` and `other_cost` say what one
    /// request means to each: the less, the higher their weight.
    ///
    /// What is known of a latency gets old, and is then replaced bit by bit by that of the other
    /// target: a guess as good as any. So a target without a figure, or with an old one, is judged
    /// by its requests in flight: it is neither flooded, as one with the latency 0 would be, nor
    /// does it starve, as one with an old peak would.
    pub(crate) fn beats(&self, cost: u64, other: &Self, other_cost: u64) -> bool {
        let price = |one: &Self, cost: u64, rival: &Self, rival_cost: u64| {
            let latency = one.latency * one.say + rival.latency * (1.0 - one.say);
            #[allow(clippy::cast_precision_loss, reason = "no precision is needed")]
            let (cost, rival_cost) = (cost as f32, rival_cost as f32);
            // An idle target has room for one request, whatever its weight.
            let load = if one.outstanding == 0 {
                1.0
            } else {
                #[allow(clippy::cast_precision_loss, reason = "no precision is needed")]
                let taken = one.outstanding as f32 + 1.0;
                taken * (cost / rival_cost).max(1.0)
            };
            latency.max(1.0) * load * (1.0 + FAILURE_FACTOR * one.failing)
        };
        price(self, cost, other, other_cost) < price(other, other_cost, self, cost)
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
