use std::io;
use std::time::Duration;

use longshore_config::{Ranged, Retry, RetryMethods, RetryOn, Span};

use super::{ATTEMPTS_MAX, Failed, Known, Policy, Verdict, decide, is_idempotent};
use crate::upstream::error::AttemptError;

/// A GET that one target has seen.
const GET: Known = Known {
    idempotent: true,
    untouched: false,
    repeatable: true,
    attempts: 1,
    seen: 1,
};

fn closed(reused: bool, sent: bool) -> AttemptError {
    AttemptError::Closed {
        reused,
        stale: reused,
        sent,
        cause: io::ErrorKind::ConnectionReset.into(),
    }
}

fn after(error: &AttemptError, known: Known, policy: &Policy) -> Verdict {
    decide(Failed::Error(error), known, policy)
}

fn policy(change: impl FnOnce(&mut Retry)) -> Policy {
    let mut retry = Retry::default();
    change(&mut retry);
    Policy::new(&retry)
}

#[test]
fn the_default_of_the_file_is_that_without_a_word() {
    assert_eq!(policy(|_| {}), Policy::DEFAULT);
}

#[test]
fn only_idempotent_requests_without_a_body_are_replayed() {
    for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
        assert!(is_idempotent(method), "{method}");
    }
    // Methods are case-sensitive (RFC 9110 §9.1).
    for method in ["POST", "PATCH", "PURGE", "get"] {
        assert!(!is_idempotent(method), "{method}");
    }
    let default = &Policy::DEFAULT;
    assert_eq!(after(&closed(false, true), GET, default), Verdict::Within);
    assert_eq!(after(&closed(true, true), GET, default), Verdict::Retry);
    for known in [
        Known {
            idempotent: false,
            ..GET
        },
        Known {
            repeatable: false,
            ..GET
        },
        Known { seen: 2, ..GET },
    ] {
        for reused in [false, true] {
            let verdict = after(&closed(reused, true), known, default);
            assert_eq!(verdict, Verdict::Stop, "{known:?}");
        }
    }
}

#[test]
fn what_was_not_sent_is_always_tried_elsewhere_up_to_the_limit() {
    let post = Known {
        idempotent: false,
        untouched: true,
        repeatable: false,
        ..GET
    };
    let never = policy(|retry| {
        retry.attempts = Ranged::new(1).expect("within");
        retry.on = Vec::new();
    });
    for error in [
        AttemptError::ConnectTimeout,
        AttemptError::Doubtful,
        closed(false, false),
    ] {
        for policy in [&Policy::DEFAULT, &never] {
            let attempts = ATTEMPTS_MAX - 1;
            let known = Known { attempts, ..post };
            assert_eq!(after(&error, known, policy), Verdict::Retry);
            let attempts = ATTEMPTS_MAX;
            let known = Known { attempts, ..post };
            assert_eq!(after(&error, known, policy), Verdict::Stop);
        }
    }
}

#[test]
fn an_answer_that_came_too_late_is_asked_for_again_only_if_that_is_wanted() {
    let wanted = policy(|retry| retry.on = vec![RetryOn::Timeout]);
    let late = AttemptError::ResponseTimeout;
    assert_eq!(after(&late, GET, &Policy::DEFAULT), Verdict::Stop);
    assert_eq!(after(&late, GET, &wanted), Verdict::Within);
    let reset = after(&closed(false, true), GET, &wanted);
    assert_eq!(reset, Verdict::Stop, "only what is listed");
    for error in [
        AttemptError::Expired,
        AttemptError::Overdue,
        AttemptError::RequestTimeout,
        AttemptError::RequestBody("x"),
        AttemptError::ClientGone,
    ] {
        assert_eq!(after(&error, GET, &wanted), Verdict::Stop, "{error}");
    }
}

#[test]
fn listed_statuses_are_tried_again_and_no_others() {
    let wanted = policy(|retry| {
        retry.on = [400, 429, 503, 599].map(RetryOn::Status).into();
    });
    for status in 100..=999 {
        let named = [400, 429, 503, 599].contains(&status);
        let verdict = decide(Failed::Status(status), GET, &wanted);
        assert_eq!(verdict == Verdict::Within, named, "{status}");
        let verdict = decide(Failed::Status(status), GET, &Policy::DEFAULT);
        assert_eq!(verdict, Verdict::Stop);
    }
}

#[test]
fn a_post_is_sent_again_only_if_all_methods_are_and_its_body_is_kept() {
    let wanted = policy(|retry| {
        retry.methods = RetryMethods::All;
        retry.attempts = Ranged::new(3).expect("within");
    });
    let post = Known {
        idempotent: false,
        seen: 2,
        ..GET
    };
    let verdict = |known| after(&closed(false, true), known, &wanted);
    assert_eq!(verdict(post), Verdict::Within);
    assert_eq!(verdict(Known { seen: 3, ..post }), Verdict::Stop);
    let gone = Known {
        repeatable: false,
        ..post
    };
    assert_eq!(verdict(gone), Verdict::Stop);
}

#[test]
fn each_wait_is_about_twice_as_long_as_the_one_before() {
    let wanted = policy(|retry| retry.backoff = Span::from_millis(100).expect("within"));
    for (retry, most) in [(1, 100), (2, 200), (3, 400)] {
        for chance in [0, 500, 999] {
            let wait = wanted.wait(retry, chance).as_millis();
            assert!((most / 2..=most).contains(&wait), "{retry}: {wait}");
        }
    }
    assert_eq!(Policy::DEFAULT.wait(1, 999), Duration::ZERO);
}
