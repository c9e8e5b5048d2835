//! The only clock of this crate: what is believed is decided elsewhere, with time as an argument.

use std::time::Instant;

/// The time, for the loops of the sources.
#[allow(clippy::disallowed_methods, reason = "this is the place")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
