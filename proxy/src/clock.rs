//! The only place that reads the clock, and time as the data plane counts it.
//!
//! Decisions take time as an argument; a lint (`disallowed-methods`) keeps `Instant::now` out of
//! every other file.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

static START: LazyLock<Instant> = LazyLock::new(now);

/// Now.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is the place")]
pub fn now() -> Instant {
    Instant::now()
}

/// A moment as microseconds since the process started, so that it fits into an atomic. Moments
/// before the start are 0.
#[must_use]
pub fn micros(moment: Instant) -> u64 {
    let since = moment.saturating_duration_since(*START);
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// A time in microseconds.
#[must_use]
pub fn in_micros(took: Duration) -> u64 {
    // Not of 128 bits, as the library has it: these are looked at several times for each request.
    let whole = took.as_secs().saturating_mul(1_000_000);
    whole.saturating_add(took.subsec_micros().into())
}

/// The wall clock, as a duration since 1970-01-01.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is the place")]
pub fn wall() -> Duration {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
}

/// The wall clock in milliseconds since 1970-01-01.
#[must_use]
pub fn wall_millis() -> u64 {
    u64::try_from(wall().as_millis()).unwrap_or(u64::MAX)
}

/// The wall clock in microseconds since 1970-01-01.
#[must_use]
pub fn wall_micros() -> u64 {
    u64::try_from(wall().as_micros()).unwrap_or(u64::MAX)
}

/// The wall clock as it was read once, from which it is known for a while.
#[derive(Debug, Clone, Copy)]
pub struct Wall {
    at: Instant,
    micros: u64,
}

impl Wall {
    /// Reads it.
    #[must_use]
    pub fn read() -> Self {
        Self {
            at: now(),
            micros: wall_micros(),
        }
    }

    /// The wall clock in microseconds since 1970-01-01 at a moment that was not before.
    #[must_use]
    pub fn micros(&self, moment: Instant) -> u64 {
        let since = moment.saturating_duration_since(self.at);
        self.micros.saturating_add(in_micros(since))
    }
}

/// A moment as seconds since 1970-01-01. 32 bits of them last until 2106.
#[must_use]
pub fn epoch(wall: Duration) -> u32 {
    u32::try_from(wall.as_secs()).unwrap_or(u32::MAX)
}

/// The length of [`http_date`], in bytes.
pub const HTTP_DATE_LEN: usize = 29;

/// A moment since 1970-01-01 as HTTP writes it (RFC 9110 §5.6.7).
#[must_use]
pub fn http_date(wall: Duration) -> [u8; HTTP_DATE_LEN] {
    let text = httpdate::HttpDate::from(std::time::UNIX_EPOCH + wall).to_string();
    let mut date = [b' '; HTTP_DATE_LEN];
    for (place, byte) in date.iter_mut().zip(text.bytes()) {
        *place = byte;
    }
    date
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    #[test]
    fn the_wall_clock_goes_on_from_when_it_was_read() {
        let wall = super::Wall::read();
        assert_eq!(wall.micros(wall.at), wall.micros);
        let later = wall.at + Duration::from_nanos(90_061_000_001_999);
        assert_eq!(wall.micros(later), wall.micros + 90_061_000_001);
        let before = wall.at.checked_sub(Duration::from_millis(1));
        assert_eq!(before.map(|at| wall.micros(at)), Some(wall.micros));
    }

    #[test]
    fn a_date_is_written_as_the_rfc_shows_it() {
        let date = super::http_date(Duration::from_secs(784_111_777));
        assert_eq!(&date, b"Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
