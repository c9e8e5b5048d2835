//! When a connection with HTTP/2 on which nothing comes is asked for a sign of life (PING), and
//! when it is given up. Pure.
//!
//! A request must not wait for all of its time on a connection whose other end is gone. But a
//! target that works for long and says nothing meanwhile is no sign of that, and servers of gRPC
//! end connections that are asked more often than they like: more than twice without a frame of
//! theirs that carries something, sooner than five minutes apart. So it is asked only while a
//! stream waits, at most twice like that, and later at most every five and a half minutes.

/// How long nothing came, while a stream waits, when it is asked.
pub(super) const ASK_AFTER: u64 = 10_000;

/// How much longer nothing may come then. New streams go elsewhere meanwhile. Together with
/// [`ASK_AFTER`] it is half of the usual `idle_timeout`. A target that cannot answer a PING for so
/// long because it computes would be ended by others too (Go's clients wait 15 s).
pub(super) const GIVE_UP_AFTER: u64 = 20_000;

/// How often it is asked without a frame in between that carries something.
const ASKED_MAX: u32 = 2;

/// Beyond that it is asked so seldom. Servers of gRPC take one in five minutes.
const APART: u64 = 330_000;

/// The most that one look counts. Looks are a second apart; if they were not, it was this process
/// that stood still.
const LOOK_MAX: u64 = 2_000;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Wait,
    Ask,
    GiveUp,
}

/// What came since the look before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Signs {
    /// Any byte.
    pub(super) heard: bool,
    /// A frame that carries something: HEADERS or DATA.
    pub(super) answered: bool,
    /// A stream was opened.
    pub(super) opened: bool,
}

/// What is known of one connection. All times are in milliseconds.
#[derive(Debug)]
pub(super) struct Silence {
    looked: u64,
    /// For how long nothing came while a stream waited.
    quiet: u64,
    /// For how long nothing has come since it was asked.
    asked: Option<u64>,
    /// How often it was asked since a frame came that carries something.
    asks: u32,
    /// How long ago it was asked the latest time.
    since_ask: u64,
    /// A stream was opened since then.
    opened: bool,
}

impl Silence {
    /// At the beginning of a connection.
    pub(super) fn new(now: u64) -> Self {
        Self {
            looked: now,
            quiet: 0,
            asked: None,
            asks: 0,
            since_ask: 0,
            opened: false,
        }
    }

    /// It was asked and has said nothing since.
    pub(super) fn is_suspect(&self) -> bool {
        self.asked.is_some()
    }

    /// Looks at a connection. `waits`: there is a stream on it.
    pub(super) fn look(&mut self, now: u64, signs: Signs, waits: bool) -> Step {
        let passed = now.saturating_sub(self.looked).min(LOOK_MAX);
        self.looked = now;
        self.since_ask = self.since_ask.saturating_add(passed);
        self.opened |= signs.opened;
        if signs.answered {
            self.asks = 0;
        }
        if signs.heard {
            self.quiet = 0;
            self.asked = None;
            return Step::Wait;
        }
        if let Some(asked) = &mut self.asked {
            *asked += passed;
            return if *asked < GIVE_UP_AFTER {
                Step::Wait
            } else {
                Step::GiveUp
            };
        }
        if !waits {
            self.quiet = 0;
            return Step::Wait;
        }
        self.quiet += passed;
        let may_ask = (self.opened && self.asks < ASKED_MAX) || self.since_ask >= APART;
        if self.quiet < ASK_AFTER || !may_ask {
            return Step::Wait;
        }
        self.asked = Some(0);
        self.asks += 1;
        self.since_ask = 0;
        self.opened = false;
        Step::Ask
    }
}

#[cfg(test)]
#[path = "silence_tests.rs"]
mod tests;
