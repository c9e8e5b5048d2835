//! The only clocks of this crate: what is believed is decided elsewhere, with time as an argument.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The time, for the loops of the sources.
#[allow(clippy::disallowed_methods, reason = "this is the place")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The wall clock, since 1970: events have no other time.
#[allow(clippy::disallowed_methods, reason = "this is the place")]
pub(crate) fn wall() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
