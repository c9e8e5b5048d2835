//! What one turn of one side counted. Pure.

use std::time::Duration;

use hdrhistogram::Histogram;

/// The longest time that is told from longer ones: a timeout, and the wait before it.
const LONGEST_MICROS: u64 = 20 * 60 * 1_000_000;

/// Figures that count in a latency: the error of a percentile is at most 0.1 %.
const DIGITS: u8 = 3;

/// A request that an idle connection began this long after it was due is late, and by our doing.
pub(crate) const LATE: Duration = Duration::from_millis(1);

/// Why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// No connection.
    Connect,
    /// No TLS on it.
    Tls,
    /// The connection or the stream ended before the response did.
    Reset,
    /// No response in time.
    Timeout,
    /// What came was no HTTP.
    Protocol,
    /// A status of 400 to 499.
    Status4xx,
    /// A status of 500 and more.
    Status5xx,
    /// No connection was free until the turn was over.
    NotSent,
}

impl Kind {
    pub(crate) const ALL: [Self; 8] = [
        Self::Connect,
        Self::Tls,
        Self::Reset,
        Self::Timeout,
        Self::Protocol,
        Self::Status4xx,
        Self::Status5xx,
        Self::NotSent,
    ];

    /// Its stable name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::Status4xx => "status_4xx",
            Self::Status5xx => "status_5xx",
            Self::NotSent => "not_sent",
        }
    }

    /// What a status is counted as, if it is a failure.
    pub(crate) fn of_status(status: u16) -> Option<Self> {
        match status {
            0..400 => None,
            400..500 => Some(Self::Status4xx),
            _ => Some(Self::Status5xx),
        }
    }
}

/// What one turn of one side counted.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    /// Microseconds from when a request was due to the end of its response, of those that succeeded.
    pub(crate) latency: Histogram<u64>,
    /// Microseconds that connecting took, with TLS.
    pub(crate) setup: Histogram<u64>,
    /// Requests that counted and were due.
    pub(crate) due: u64,
    /// By [`Kind`].
    failures: [u64; Kind::ALL.len()],
    /// Requests that found a connection idle when they were due, and those of them that began late.
    punctual: u64,
    late: u64,
    /// Bytes of HTTP, in both directions, warm-up included, and the requests that they were for.
    pub(crate) bytes: u64,
    pub(crate) carried: u64,
    /// Connections made within the time that counts.
    pub(crate) connections: u64,
    /// Seconds that count.
    pub(crate) seconds: f64,
    /// The part of the time in which the busiest thread had work, 0 to 1. 0 if it is not known.
    pub(crate) busy: f64,
}

impl Tally {
    pub(crate) fn new() -> Self {
        // Cannot fail: the bounds are constants that the library takes.
        let empty = || {
            Histogram::new_with_bounds(1, LONGEST_MICROS, DIGITS).expect("bounds that are allowed")
        };
        Self {
            latency: empty(),
            setup: empty(),
            due: 0,
            failures: [0; Kind::ALL.len()],
            punctual: 0,
            late: 0,
            bytes: 0,
            carried: 0,
            connections: 0,
            seconds: 0.0,
            busy: 0.0,
        }
    }

    /// A response came.
    pub(crate) fn succeed(&mut self, took: Duration) {
        self.latency.saturating_record(micros(took));
    }

    /// A connection was made.
    pub(crate) fn connect(&mut self, took: Duration) {
        self.setup.saturating_record(micros(took));
    }

    pub(crate) fn fail(&mut self, kind: Kind) {
        self.fail_many(kind, 1);
    }

    pub(crate) fn fail_many(&mut self, kind: Kind, count: u64) {
        if let Some(place) = self.failures.get_mut(kind as usize) {
            *place += count;
        }
    }

    /// A request that found a connection idle began that long after it was due.
    pub(crate) fn begin(&mut self, after: Duration) {
        self.punctual += 1;
        self.late += u64::from(after > LATE);
    }

    pub(crate) fn succeeded(&self) -> u64 {
        self.latency.len()
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failures.iter().sum()
    }

    pub(crate) fn failures(&self, kind: Kind) -> u64 {
        self.failures.get(kind as usize).copied().unwrap_or(0)
    }

    /// The part of the requests that the generator itself began late.
    pub(crate) fn late_share(&self) -> f64 {
        match self.punctual {
            0 => 0.0,
            all => self.late as f64 / all as f64,
        }
    }

    /// Adds what another thread, or another round, has counted. Seconds are not added: threads
    /// count the same ones.
    pub(crate) fn add(&mut self, other: &Self) {
        // Cannot fail: both have the same bounds.
        self.latency.add(&other.latency).expect("the same bounds");
        self.setup.add(&other.setup).expect("the same bounds");
        self.due += other.due;
        for (sum, more) in self.failures.iter_mut().zip(other.failures) {
            *sum += more;
        }
        self.punctual += other.punctual;
        self.late += other.late;
        self.bytes += other.bytes;
        self.carried += other.carried;
        self.connections += other.connections;
        self.busy = self.busy.max(other.busy);
    }
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_count_adds_up() {
        let mut sum = Tally::new();
        for number in 1..=2u64 {
            let mut part = Tally::new();
            part.succeed(Duration::from_millis(number));
            part.fail(Kind::Reset);
            part.fail_many(Kind::NotSent, 3);
            part.begin(Duration::from_millis(number * 4 - 3));
            part.busy = number as f64 / 10.0;
            sum.add(&part);
        }
        assert_eq!((sum.succeeded(), sum.failed()), (2, 8));
        assert_eq!(sum.failures(Kind::Reset), 2);
        assert_eq!(sum.failures(Kind::NotSent), 6);
        assert!((sum.late_share() - 0.5).abs() < 1e-9);
        assert!((sum.busy - 0.2).abs() < 1e-9);
        assert!(sum.latency.max().abs_diff(2_000) <= 2);
    }

    #[test]
    fn each_kind_has_a_place_and_a_name_of_its_own() {
        let mut names = std::collections::BTreeSet::new();
        for (place, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
            assert!(names.insert(kind.name()));
        }
        assert_eq!(Kind::of_status(399), None);
        assert_eq!(Kind::of_status(400), Some(Kind::Status4xx));
        assert_eq!(Kind::of_status(503), Some(Kind::Status5xx));
    }
}
