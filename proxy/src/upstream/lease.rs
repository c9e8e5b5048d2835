//! Proof of one request in flight on one endpoint.

use std::rc::Rc;

use super::endpoint::Endpoint;
use super::pool::Local;

/// One request in flight; it ends when dropped.
pub(crate) struct Lease {
    local: Rc<Local>,
    worker: usize,
    counted: bool,
}

impl Lease {
    /// Begins. `counted`: the group's algorithm needs the number over all workers.
    pub(crate) fn begin(local: Rc<Local>, worker: usize, counted: bool) -> Self {
        local.endpoint().begin(worker, counted);
        Self {
            local,
            worker,
            counted,
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
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.local.endpoint().end(self.worker, self.counted);
    }
}
