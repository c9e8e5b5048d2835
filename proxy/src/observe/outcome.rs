//! The record of one request: the source of what metrics say about it.

use crate::request::desync::Finding;
use crate::serve::connection::Client;

/// One request from its head to its last byte. Recorded when dropped, so that a request whose
/// client leaves is recorded too.
pub(crate) struct Outcome<'c> {
    client: &'c Client,
    status: Option<u16>,
    /// By what the request was classified; none if it is compliant.
    finding: Option<Finding>,
    complete: bool,
    cut_short: bool,
}

impl<'c> Outcome<'c> {
    /// A request's head was read.
    pub(crate) fn start(client: &'c Client, finding: Option<Finding>) -> Self {
        client.request_begins();
        Self {
            client,
            status: None,
            finding,
            complete: false,
            cut_short: false,
        }
    }

    /// A response begins, ours or a target's.
    pub(crate) fn respond(&mut self, status: u16) {
        self.status = Some(status);
        self.client.response_begins();
    }

    /// Another attempt follows.
    pub(crate) fn retried(&self) {
        self.client.worker.metrics.retries.add(1);
    }

    /// The last byte of the response was sent.
    pub(crate) fn complete(&mut self) {
        self.complete = true;
    }

    /// The target's response ended before its end.
    pub(crate) fn cut_short(&mut self) {
        self.cut_short = true;
    }
}

impl Drop for Outcome<'_> {
    fn drop(&mut self) {
        self.client.request_ends();
        let metrics = &self.client.worker.metrics;
        if let Some(finding) = self.finding {
            metrics.classified(finding);
        }
        match self.status {
            Some(status) => metrics.responded(status),
            None => metrics.client_aborts.add(1),
        }
        if self.cut_short {
            metrics.responses_cut_short.add(1);
        } else if self.status.is_some() && !self.complete {
            metrics.client_aborts.add(1);
        }
    }
}
