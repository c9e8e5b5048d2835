//! Proof of one request in flight on one endpoint.

use std::rc::Rc;
use std::time::Instant;

use super::endpoint::Endpoint;
use super::pool::Local;
use crate::clock;

/// What a group's algorithm needs to know of requests, over all workers. Nothing else is written
/// where other workers read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feedback {
    /// Nothing.
    None,
    /// How many are in flight.
    Counted,
    /// Also how long they take and whether they fail, counted from that moment.
    Measured(Instant),
}

/// One request in flight; it ends when dropped.
pub(crate) struct Lease {
    local: Rc<Local>,
    worker: usize,
    feedback: Feedback,
}

impl Lease {
    /// Begins.
    pub(crate) fn begin(local: Rc<Local>, worker: usize, feedback: Feedback) -> Self {
        local.endpoint().begin(worker, feedback != Feedback::None);
        Self {
            local,
            worker,
            feedback,
        }
    }

    /// This worker's side of the endpoint.
    pub(crate) fn local(&self) -> &Rc<Local> {
        &self.local
    }

    /// The endpoint.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        self.local.endpoint()
    }

    /// The request failed at the target.
    pub(crate) fn failed(&self) {
        self.endpoint().failed(self.worker);
    }

    /// The head of the target's response is there.
    pub(crate) fn answered(&self, status: u16) {
        self.ended_with(status >= 500);
    }

    /// The target is to blame for a failure.
    pub(crate) fn erred(&self) {
        self.ended_with(true);
    }

    fn ended_with(&self, error: bool) {
        if error {
            self.endpoint().erred(self.worker);
        }
        if let Feedback::Measured(begun) = self.feedback {
            let now = clock::now();
            let took = now.saturating_duration_since(begun).as_micros();
            let micros = u64::try_from(took).unwrap_or(u64::MAX);
            self.endpoint()
                .observe(micros, error, clock::micros(now) / 1_000);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let counted = self.feedback != Feedback::None;
        self.local.endpoint().end(self.worker, counted);
    }
}
