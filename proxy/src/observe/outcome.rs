//! The record of one request: the source of what metrics say about it.

use std::rc::Rc;
use std::time::Duration;

use http::header::CONNECTION;
use http::response;
use http::{HeaderValue, Response, StatusCode};

use crate::request::answer::{self, Reason};
use crate::request::body::ResponseBody;
use crate::serve::connection::Client;

/// One request from its head to its last byte. Recorded when dropped, so that a request whose
/// client leaves (hyper drops its future) is recorded too.
pub(crate) struct Outcome {
    client: Rc<Client>,
    status: Option<StatusCode>,
    complete: bool,
    cut_short: bool,
}

impl Outcome {
    /// A request's head was read.
    pub(crate) fn start(client: &Client) -> Self {
        let client = client.rc();
        client.request_begins();
        Self {
            client,
            status: None,
            complete: false,
            cut_short: false,
        }
    }

    /// The answer for a reason.
    pub(crate) fn answer(self, reason: Reason) -> Response<ResponseBody> {
        self.own(reason, answer::answer(reason))
    }

    /// An answer of our own.
    pub(crate) fn own(
        mut self,
        reason: Reason,
        response: Response<ResponseBody>,
    ) -> Response<ResponseBody> {
        self.client.worker.metrics.answered(reason);
        let (mut head, body) = response.into_parts();
        self.respond(&mut head);
        self.complete();
        Response::from_parts(head, body)
    }

    /// A response begins, ours or a target's. If it is the connection's last one, it says so.
    pub(crate) fn respond(&mut self, head: &mut response::Parts) {
        self.status = Some(head.status);
        self.client.response_begins();
        if self.client.should_close() {
            head.headers
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }

    /// How long no byte has moved on the client's connection.
    pub(crate) fn client_quiet_for(&self) -> Duration {
        self.client.quiet_for()
    }

    /// Another attempt follows.
    pub(crate) fn retried(&self) {
        self.client.worker.metrics.retries.add(1);
    }

    /// The last byte of the response was handed on.
    pub(crate) fn complete(&mut self) {
        if !self.complete {
            self.complete = true;
            self.client.request_ends();
        }
    }

    /// The target's response ended before its end.
    pub(crate) fn cut_short(&mut self) {
        self.cut_short = true;
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        let metrics = &self.client.worker.metrics;
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
