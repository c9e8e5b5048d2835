//! Proof of one request in flight on one endpoint.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::admission::Admission;
use super::endpoint::Endpoint;
use super::passive::{Fault, Runs};
use super::pool::Local;
use super::target_group::Control;
use super::trial::Ended;
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
    /// Only how long they take, each worker for itself.
    Timed(Instant),
}

impl Feedback {
    /// Whether requests in flight are counted over all workers.
    fn is_counted(self) -> bool {
        matches!(self, Self::Counted | Self::Measured(_))
    }
}

/// One request in flight; it ends when dropped.
pub(crate) struct Lease {
    local: Rc<Local>,
    worker: usize,
    feedback: Feedback,
    /// It is one of the requests of a trial, which has not ended.
    on_trial: Cell<bool>,
    /// Who may be waiting for its end.
    admission: Option<Arc<Admission>>,
}

impl Lease {
    /// Begins.
    pub(crate) fn begin(
        local: Rc<Local>,
        worker: usize,
        feedback: Feedback,
        on_trial: bool,
    ) -> Self {
        local.endpoint().begin(worker, feedback.is_counted());
        Self {
            local,
            worker,
            feedback,
            on_trial: Cell::new(on_trial),
            admission: None,
        }
    }

    /// Begins, if the target has room. `feedback` is one that counts.
    pub(crate) fn begin_below(
        local: Rc<Local>,
        worker: usize,
        feedback: Feedback,
        on_trial: bool,
        control: &Control,
    ) -> Option<Self> {
        debug_assert!(feedback.is_counted(), "the end is counted");
        local
            .endpoint()
            .begin_below(worker, control.limit)
            .then(|| Self {
                local,
                worker,
                feedback,
                on_trial: Cell::new(on_trial),
                admission: Some(Arc::clone(&control.admission)),
            })
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

    /// The head of the target's response is there, after so long.
    pub(crate) fn answered(&self, status: u16, took: Duration) {
        self.endpoint().answered(self.worker, status, took);
        self.ended_with(status >= 500);
    }

    /// The target is to blame for a failure.
    pub(crate) fn erred(&self) {
        self.ended_with(true);
    }

    /// The whole response is out, and its status is good.
    pub(crate) fn succeeded(&self, now: u64) {
        self.endpoint().succeeded(self.worker, now);
        self.tell_trial(Ended::Well);
    }

    /// It ended badly. Tells how often in a row that happened to this worker.
    pub(crate) fn faulted(&self, fault: Fault, now: u64) -> Runs {
        self.tell_trial(Ended::Badly);
        self.endpoint().faulted(self.worker, fault, now)
    }

    /// Whether it is one of a trial that has not ended.
    pub(crate) fn is_on_trial(&self) -> bool {
        self.on_trial.get()
    }

    fn tell_trial(&self, how: Ended) {
        if self.on_trial.take() {
            self.endpoint().trial.ended(how);
        }
    }

    fn ended_with(&self, error: bool) {
        if error {
            self.endpoint().erred(self.worker);
        }
        if let Feedback::Measured(begun) | Feedback::Timed(begun) = self.feedback {
            let now = clock::now();
            let took = now.saturating_duration_since(begun).as_micros();
            let micros = u64::try_from(took).unwrap_or(u64::MAX);
            if !error {
                self.endpoint().took(self.worker, micros);
            }
            if !self.feedback.is_counted() {
                return;
            }
            self.endpoint()
                .observe(micros, error, clock::micros(now) / 1_000);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.tell_trial(Ended::Untold);
        let counted = self.feedback.is_counted();
        self.local.endpoint().end(self.worker, counted);
        if let Some(admission) = &self.admission {
            admission.release();
        }
    }
}
