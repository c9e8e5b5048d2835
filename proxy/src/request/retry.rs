//! May a failed attempt be followed by another? Every such decision is made here. Pure.

use std::time::Duration;

use longshore_config as config;

use crate::upstream::error::AttemptError;

/// The most attempts for one request. Generous, because an attempt that could not connect costs
/// little and hurts nobody.
pub const ATTEMPTS_MAX: usize = 16;

/// What is tried again after a target may have seen a request: by a rule or its group, or
/// [`Self::DEFAULT`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The most targets that may see a request.
    pub attempts: usize,
    reset: bool,
    timeout: bool,
    malformed: bool,
    /// A bit for each status from 400 on.
    statuses: [u64; 4],
    any_method: bool,
    /// Bodies up to so many bytes are kept.
    pub body_max: usize,
    /// The longest time of one attempt to the head of its response.
    pub per_try: Option<Duration>,
    /// The wait before the first retry.
    pub backoff: Duration,
    /// After so long without an answer, another target is asked too.
    pub hedge_after: Option<Duration>,
}

impl Policy {
    /// Without a word in the file: once, after the end of a connection.
    pub const DEFAULT: Self = Self {
        attempts: 2,
        reset: true,
        timeout: false,
        malformed: false,
        statuses: [0; 4],
        any_method: false,
        body_max: 0,
        per_try: None,
        backoff: Duration::ZERO,
        hedge_after: None,
    };

    /// As the file says.
    #[must_use]
    pub fn new(retry: &config::Retry) -> Self {
        let has = |on| retry.on.contains(&on);
        let mut statuses = [0; 4];
        for on in &retry.on {
            if let config::RetryOn::Status(code) = on
                && let Some((word, bit)) = place(*code)
            {
                statuses[word] |= bit;
            }
        }
        let count = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        Self {
            attempts: count(retry.attempts.get()),
            reset: has(config::RetryOn::Reset),
            timeout: has(config::RetryOn::Timeout),
            malformed: has(config::RetryOn::Malformed),
            statuses,
            any_method: retry.methods == config::RetryMethods::All,
            body_max: count(retry.body_buffer.get()),
            per_try: retry.per_try_timeout.map(config::Span::get),
            backoff: retry.backoff.get(),
            hedge_after: retry.hedge_after.map(config::Span::get),
        }
    }

    /// Whether a response with that status may be followed by another attempt.
    #[must_use]
    pub fn names(&self, status: u16) -> bool {
        place(status).is_some_and(|(word, bit)| self.statuses[word] & bit != 0)
    }

    /// How long to wait before the n-th retry; `chance` is a random number below 1000, so that
    /// those who failed together do not come back together.
    #[must_use]
    pub fn wait(&self, retry: usize, chance: u64) -> Duration {
        let doubled = u32::try_from(retry.saturating_sub(1)).unwrap_or(16).min(16);
        let wait = self.backoff.saturating_mul(1 << doubled);
        wait / 2 + wait.mul_f64(f64::from(u16::try_from(chance).unwrap_or(999)) / 2_000.0)
    }
}

/// The bit of a status from 400 to 599.
fn place(status: u16) -> Option<(usize, u64)> {
    let index = status.checked_sub(400).filter(|index| *index < 200)?;
    Some((usize::from(index / 64), 1 << (index % 64)))
}

/// Whether a method is safe (RFC 9110 §9.2.1), without TRACE, which no target is sent.
#[must_use]
pub fn is_safe(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS")
}

/// Whether a method is idempotent (RFC 9110 §9.2.2).
#[must_use]
pub fn is_idempotent(method: &str) -> bool {
    is_safe(method) || matches!(method, "PUT" | "DELETE")
}

/// What failed.
#[derive(Debug, Clone, Copy)]
pub enum Failed<'e> {
    /// No response.
    Error(&'e AttemptError),
    /// A response with that status.
    Status(u16),
}

/// What is known of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// See [`is_idempotent`].
    pub idempotent: bool,
    /// Nothing of it was sent in this attempt.
    pub untouched: bool,
    /// All of it can be sent again: it has no body, or what was read of it is kept.
    pub repeatable: bool,
    /// Attempts so far, this one included.
    pub attempts: usize,
    /// How many of them a target may have seen, this one included.
    pub seen: usize,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: the client is told.
    Stop,
    /// Another attempt, whatever the budget: nothing was sent, or an idle connection was closed,
    /// which any target may do at any time (RFC 9112 §9.3.1).
    Retry,
    /// Another attempt if the group's budget allows it.
    Within,
}

/// Whether another attempt is right.
#[must_use]
pub fn decide(failed: Failed<'_>, known: Known, policy: &Policy) -> Verdict {
    if known.attempts >= ATTEMPTS_MAX {
        return Verdict::Stop;
    }
    // A request that kills its target must not be shown to all of them.
    let again =
        (known.idempotent || policy.any_method) && known.repeatable && known.seen < policy.attempts;
    let within = |wanted: bool| {
        if wanted && again {
            Verdict::Within
        } else {
            Verdict::Stop
        }
    };
    match failed {
        Failed::Status(status) => within(policy.names(status)),
        Failed::Error(error) => match error {
            // Nothing was sent.
            AttemptError::Connect(_)
            | AttemptError::Tls(_)
            | AttemptError::NotHttp2(_)
            | AttemptError::ConnectTimeout
            | AttemptError::Doubtful => Verdict::Retry,
            // It was not processed (RFC 9113 §8.7).
            AttemptError::Refused(_) if known.untouched || known.repeatable => Verdict::Retry,
            AttemptError::Refused(_) => Verdict::Stop,
            AttemptError::Closed { sent: false, .. } if known.untouched => Verdict::Retry,
            AttemptError::Closed { reused: true, .. } if again && known.idempotent => {
                Verdict::Retry
            }
            AttemptError::Closed { .. } => within(policy.reset),
            AttemptError::Malformed(_) => within(policy.malformed),
            AttemptError::ResponseTimeout => within(policy.timeout),
            AttemptError::Expired
            | AttemptError::Overdue
            | AttemptError::RequestTimeout
            | AttemptError::RequestBody(_)
            | AttemptError::RequestBodyTooLarge
            | AttemptError::ClientGone => Verdict::Stop,
        },
    }
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
