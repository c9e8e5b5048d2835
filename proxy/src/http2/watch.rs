//! What a peer's frames cost us, counted as they are read. Pure.
//!
//! The library bounds what it stores. What it answers or drops at once costs it no memory, but
//! time, and a request that is reset at once costs the targets more than the client. So each kind
//! of frame that carries no request has a budget; who overdraws it is told `ENHANCE_YOUR_CALM` and
//! loses the connection. Budgets grow with what a well-meaning peer does at the same rate. Targets
//! are watched with the same budgets: one that has gone wrong shall not take a worker with it.

/// Streams that a client may reset before they are complete, or that are reset because of what it
/// does; one that is complete gives one back.
/// A browser that leaves a page resets up to all of its streams at once.
pub(crate) const RESETS_MAX: u32 = 500;

/// SETTINGS frames. Clients send one, and few more when they measure the path.
pub(crate) const SETTINGS_MAX: u32 = 50;

/// PING frames. Clients that measure the path send one for a few DATA frames that they get.
pub(crate) const PINGS_MAX: u32 = 200;

/// DATA frames without data that do not end a stream; nobody needs them. The library has the same
/// bound, for the whole life of a connection.
pub(crate) const EMPTY_DATA_MAX: u32 = 100;

/// CONTINUATION frames in a row: with the HEADERS frame before them they hold the largest list of
/// fields that is read ([`super::fields::LIST_MAX`]).
pub(crate) const CONTINUATIONS_MAX: u32 = 5;

/// WINDOW_UPDATE frames, beside two for each DATA frame that we sent.
pub(crate) const WINDOW_UPDATES_MAX: u32 = 2_000;

/// Frames that mean nothing to us: PRIORITY and those of extensions.
pub(crate) const OTHERS_MAX: u32 = 500;

/// HEADERS frames of a target, beside two for each stream that we opened: its response and trailers.
/// What goes beyond are interim responses, which the library keeps until they are read.
pub(crate) const INTERIMS_MAX: u32 = 500;

/// How much of each budget comes back every [`REFILL_MILLIS`], so that a connection which is kept
/// alive for days by a PING each second does not run dry.
const REFILL: u32 = 60;
const REFILL_MILLIS: u64 = 60_000;

/// Of what a client sent too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Abuse {
    /// Streams that it opened and reset.
    RapidReset,
    /// SETTINGS.
    Settings,
    /// PING.
    Ping,
    /// DATA without data.
    EmptyData,
    /// CONTINUATION.
    Continuation,
    /// WINDOW_UPDATE.
    WindowUpdate,
    /// Frames that mean nothing to us.
    Other,
    /// Requests after it was told that there will be no more.
    Requests,
    /// Interim responses of a target.
    Interim,
}

impl Abuse {
    /// All, in the order of their numbers.
    pub(crate) const ALL: [Self; 9] = [
        Self::RapidReset,
        Self::Settings,
        Self::Ping,
        Self::EmptyData,
        Self::Continuation,
        Self::WindowUpdate,
        Self::Other,
        Self::Requests,
        Self::Interim,
    ];

    /// Its stable name, in logs and metrics.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::RapidReset => "rapid_reset",
            Self::Settings => "settings",
            Self::Ping => "ping",
            Self::EmptyData => "empty_data",
            Self::Continuation => "continuation",
            Self::WindowUpdate => "window_update",
            Self::Other => "other",
            Self::Requests => "requests",
            Self::Interim => "interim",
        }
    }
}

/// A number that is spent and comes back.
#[derive(Debug, Clone, Copy)]
struct Budget {
    left: u32,
    max: u32,
}

impl Budget {
    const fn new(max: u32) -> Self {
        Self { left: max, max }
    }

    fn spend(&mut self, abuse: Abuse) -> Result<(), Abuse> {
        self.left = self.left.checked_sub(1).ok_or(abuse)?;
        Ok(())
    }

    fn refill(&mut self, count: u32) {
        self.left = self.left.saturating_add(count).min(self.max);
    }
}

/// Follows the frames of one direction of a connection.
#[derive(Debug)]
pub(crate) struct Watch {
    /// The head of the frame that is being read.
    head: [u8; HEAD],
    have: usize,
    /// How much of the present frame's payload, or of the preface, is to come.
    skip: usize,
    /// CONTINUATION frames since the latest HEADERS frame.
    continuations: u32,
    refilled: u64,
    resets: Budget,
    settings: Budget,
    pings: Budget,
    empty: Budget,
    window_updates: Budget,
    others: Budget,
    /// Of a target only: a client's HEADERS are requests, which are counted elsewhere.
    interims: Option<Budget>,
    /// A frame came that carries something.
    answered: bool,
}

/// The length of a frame's head (RFC 9113 §4.1).
const HEAD: usize = 9;

/// Types of frames (RFC 9113 §6).
mod kind {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PING: u8 = 6;
    pub(super) const GOAWAY: u8 = 7;
    pub(super) const WINDOW_UPDATE: u8 = 8;
    pub(super) const CONTINUATION: u8 = 9;
}

const END_STREAM: u8 = 1;

impl Watch {
    /// At the beginning of a client's connection, before its preface, at a time in milliseconds.
    pub(crate) fn new(now: u64) -> Self {
        Self {
            head: [0; HEAD],
            have: 0,
            skip: super::PREFACE.len(),
            continuations: 0,
            refilled: now,
            resets: Budget::new(RESETS_MAX),
            settings: Budget::new(SETTINGS_MAX),
            pings: Budget::new(PINGS_MAX),
            empty: Budget::new(EMPTY_DATA_MAX),
            window_updates: Budget::new(WINDOW_UPDATES_MAX),
            others: Budget::new(OTHERS_MAX),
            interims: None,
            answered: false,
        }
    }

    /// At the beginning of a connection to a target, whose first bytes are a frame.
    pub(crate) fn of_target(now: u64) -> Self {
        Self {
            skip: 0,
            interims: Some(Budget::new(INTERIMS_MAX)),
            ..Self::new(now)
        }
    }

    /// These bytes were read.
    ///
    /// # Errors
    /// If a budget is overdrawn.
    pub(crate) fn read(&mut self, mut bytes: &[u8], now: u64) -> Result<(), Abuse> {
        if now.saturating_sub(self.refilled) >= REFILL_MILLIS {
            self.refilled = now;
            for budget in [
                &mut self.resets,
                &mut self.settings,
                &mut self.pings,
                &mut self.window_updates,
                &mut self.others,
            ] {
                budget.refill(REFILL);
            }
        }
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return Ok(());
            }
            let taken = (HEAD - self.have).min(bytes.len());
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have < HEAD {
                return Ok(());
            }
            self.have = 0;
            let [a, b, c, kind, flags, ..] = self.head;
            let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            self.skip = length;
            self.frame(kind, flags, length)?;
        }
    }

    fn frame(&mut self, kind: u8, flags: u8, length: usize) -> Result<(), Abuse> {
        match kind {
            kind::DATA if length == 0 && flags & END_STREAM == 0 => {
                self.empty.spend(Abuse::EmptyData)
            }
            kind::DATA => {
                self.answered = true;
                Ok(())
            }
            kind::GOAWAY => Ok(()),
            kind::HEADERS => {
                self.answered = true;
                if let Some(interims) = &mut self.interims {
                    interims.spend(Abuse::Interim)?;
                }
                self.continuations = 0;
                self.settings.refill(1);
                self.pings.refill(1);
                self.window_updates.refill(4);
                self.others.refill(4);
                Ok(())
            }
            kind::RST_STREAM => self.resets.spend(Abuse::RapidReset),
            kind::SETTINGS => self.settings.spend(Abuse::Settings),
            kind::PING => self.pings.spend(Abuse::Ping),
            kind::WINDOW_UPDATE => self.window_updates.spend(Abuse::WindowUpdate),
            kind::CONTINUATION => {
                self.continuations += 1;
                if self.continuations > CONTINUATIONS_MAX {
                    return Err(Abuse::Continuation);
                }
                Ok(())
            }
            _ => self.others.spend(Abuse::Other),
        }
    }

    /// We send so many bytes of data: the peer will give window for them, and may measure the path.
    pub(crate) fn sending(&mut self, length: usize) {
        let updates = u32::try_from(length / 512).unwrap_or(u32::MAX);
        self.window_updates.refill(updates.saturating_add(2));
        self.pings.refill(1);
    }

    /// A stream was opened at a target, which may reset it.
    pub(crate) fn opened(&mut self) {
        self.resets.refill(1);
        if let Some(interims) = &mut self.interims {
            interims.refill(2);
        }
    }

    /// Whether a frame came since the call before that carries something.
    pub(crate) fn take_answered(&mut self) -> bool {
        std::mem::take(&mut self.answered)
    }

    /// Half of what is never given back is spent.
    pub(crate) fn is_worn(&self) -> bool {
        self.empty.left <= EMPTY_DATA_MAX / 2
    }

    /// So many streams were ended because of what the client did.
    ///
    /// # Errors
    /// If the budget of resets is overdrawn.
    pub(crate) fn refused(&mut self, count: u32) -> Result<(), Abuse> {
        let left = self.resets.left.checked_sub(count);
        self.resets.left = left.ok_or(Abuse::RapidReset)?;
        Ok(())
    }

    /// A stream came to its regular end.
    pub(crate) fn completed(&mut self) {
        self.resets.refill(1);
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
