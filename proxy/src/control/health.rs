//! Health checks: one task for each address and check, however many groups and workers want it.

mod body;
mod grpc;
mod probe;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_config::Check;
use longshore_discovery::backoff;
use rand::{Rng, RngExt as _};
use tokio::sync::{Notify, Semaphore};

use super::threshold::Failure;
use crate::clock;
use crate::observe::check_log::Seen;
use probe::Probe;

/// How soon a target that has never passed is checked again: a new target should not wait for the
/// interval because it was asked a moment too early.
const UNTIL_FIRST_PASS: Duration = Duration::from_secs(1);

/// The most checks that are made at the same moment. Each holds a socket. Checks that are answered
/// take milliseconds, so that this is enough for some ten thousand of them in a second; of targets
/// that do not answer at all, 256 are found in one time limit.
pub(super) const SIMULTANEOUS_MAX: usize = 256;

/// What all checks share.
#[derive(Debug, Clone)]
pub(super) struct Checker {
    slots: Arc<Semaphore>,
}

impl Checker {
    pub(super) fn new() -> Self {
        Self {
            slots: Arc::new(Semaphore::new(SIMULTANEOUS_MAX)),
        }
    }
}

/// A check that has ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    pub(super) began: Instant,
    pub(super) took: Duration,
    /// What came back.
    pub(super) seen: Seen,
}

/// What a check tells.
#[derive(Debug)]
pub(super) enum Told {
    /// The first one begins.
    Begins,
    /// One has ended.
    Ended(Ended, Result<(), Failure>),
}

/// Checks until the task is aborted: at once, then at the interval, and when `ask` says so. Returns
/// when nobody listens.
pub(super) async fn watch<F: Future<Output = bool>>(
    checker: Checker,
    address: SocketAddr,
    check: Arc<Check>,
    ask: Arc<Notify>,
    mut rng: impl Rng,
    tell: impl Fn(Told) -> F,
) {
    let interval = check.interval;
    let probe = Probe::new(address, &check);
    let (mut asked, mut passed) = (false, false);
    loop {
        // The semaphore is never closed.
        let Ok(slot) = checker.slots.acquire().await else {
            return;
        };
        if !asked && !tell(Told::Begins).await {
            return;
        }
        asked = true;
        let began = clock::now();
        let result = match &probe {
            Ok(probe) => match tokio::time::timeout(check.timeout, probe.run()).await {
                Ok(result) => result,
                Err(_) => Err(Failure::Timeout),
            },
            Err(failure) => Err(failure.clone()),
        };
        drop(slot);
        let ended = Ended {
            began,
            took: clock::now().saturating_duration_since(began),
            seen: probe.as_ref().map_or(Seen::Nothing, Probe::seen),
        };
        let first_pass = result.is_ok() && !passed;
        passed |= result.is_ok();
        if !tell(Told::Ended(ended, result)).await {
            return;
        }
        let wait = if first_pass {
            // Targets that were registered together are not checked together from then on.
            interval.mul_f64(rng.random_range(0.1..=1.0))
        } else if passed {
            backoff::jittered(interval, &mut rng)
        } else {
            backoff::jittered(interval.min(UNTIL_FIRST_PASS), &mut rng)
        };
        // From beginning to beginning, as at ALB: how long a target takes does not matter.
        tokio::select! {
            () = tokio::time::sleep_until((began + wait).into()) => {}
            () = ask.notified() => {}
        }
    }
}
