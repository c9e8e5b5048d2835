//! May a failed attempt be followed by another? Every such decision is made here. Pure.

use crate::upstream::error::AttemptError;

/// The most attempts for one request. Generous, because an attempt that could not connect costs
/// little and hurts nobody.
pub const ATTEMPTS_MAX: usize = 16;

/// How often a request is sent again after its bytes may have reached a target.
pub const REPLAYS_MAX: usize = 1;

/// Whether a request may be sent again after its bytes may have reached a target: if its method is
/// idempotent (RFC 9110 §9.2.2) and there is no body that is gone by then.
#[must_use]
pub fn is_replayable(method: &str, has_body: bool) -> bool {
    !has_body && matches!(method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE")
}

/// Whether another attempt is right. `replayable`: see [`is_replayable`]. `body_left`: the request
/// body, if any, is still whole. `lost`: how often, this time included, the request may have
/// reached a target that did not answer.
#[must_use]
pub fn may_retry(
    error: &AttemptError,
    replayable: bool,
    body_left: bool,
    attempts: usize,
    lost: usize,
) -> bool {
    if attempts >= ATTEMPTS_MAX {
        return false;
    }
    match error {
        // Nothing was sent.
        AttemptError::Connect(_)
        | AttemptError::Tls(_)
        | AttemptError::ConnectTimeout
        | AttemptError::Doubtful => true,
        AttemptError::Closed { sent: false, .. } => body_left,
        // RFC 9112 §9.3.1: the target may close an idle connection at any time, also while the
        // request is on its way. A target that does it with a new connection is broken, and the
        // next one may be whole; the request is harmless to repeat.
        // But only once (§9.2.2): a request that kills its target must not be shown to all of them.
        AttemptError::Closed { sent: true, .. } => replayable && lost <= REPLAYS_MAX,
        AttemptError::Malformed(_)
        | AttemptError::ResponseTimeout
        | AttemptError::Expired
        | AttemptError::RequestTimeout
        | AttemptError::RequestBody(_)
        | AttemptError::RequestBodyTooLarge
        | AttemptError::ClientGone => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{ATTEMPTS_MAX, AttemptError, is_replayable, may_retry};

    #[test]
    fn only_idempotent_requests_without_a_body_are_replayed() {
        for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
            assert!(is_replayable(method, false), "{method}");
            assert!(!is_replayable(method, true), "{method}");
        }
        // Methods are case-sensitive (RFC 9110 §9.1).
        for method in ["POST", "PATCH", "PURGE", "get"] {
            assert!(!is_replayable(method, false), "{method}");
        }
    }

    #[test]
    fn a_failed_connect_is_always_retried_elsewhere_up_to_the_limit() {
        for error in [AttemptError::ConnectTimeout, AttemptError::Doubtful] {
            assert!(may_retry(&error, false, true, ATTEMPTS_MAX - 1, 0));
            assert!(!may_retry(&error, true, true, ATTEMPTS_MAX, 0));
        }
    }

    #[test]
    fn an_answer_that_came_too_late_is_never_asked_for_twice() {
        for error in [
            AttemptError::ResponseTimeout,
            AttemptError::Expired,
            AttemptError::RequestTimeout,
            AttemptError::RequestBody("x"),
            AttemptError::RequestBodyTooLarge,
            AttemptError::ClientGone,
        ] {
            assert!(!may_retry(&error, true, true, 1, 0));
        }
    }
}
