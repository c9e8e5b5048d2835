//! Delays that grow with each failure, with jitter from a given random source.

use std::time::Duration;

use rand::{Rng, RngExt as _};

/// A delay of `base` doubled for each failure after the first, at most `cap`, then spread evenly
/// over its upper half so that many callers do not return in step.
#[must_use]
pub fn delay(base: Duration, cap: Duration, failures: u32, rng: &mut impl Rng) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let full = base.saturating_mul(1 << doublings).min(cap);
    full.mul_f64(rng.random_range(0.5..=1.0))
}

/// `period` spread by a tenth to either side.
#[must_use]
pub fn jittered(period: Duration, rng: &mut impl Rng) -> Duration {
    period.mul_f64(rng.random_range(0.9..=1.1))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::SmallRng;

    use super::{Duration, delay};

    #[test]
    fn delays_double_up_to_the_cap_and_never_leave_their_upper_half() {
        let mut rng = SmallRng::seed_from_u64(1);
        let (base, cap) = (Duration::from_secs(1), Duration::from_secs(30));
        for (failures, full) in [(1, 1), (2, 2), (3, 4), (5, 16), (6, 30), (1_000, 30)] {
            for _ in 0..100 {
                let got = delay(base, cap, failures, &mut rng);
                let full = Duration::from_secs(full);
                assert!(got <= full && got >= full / 2, "{failures}: {got:?}");
            }
        }
    }
}
