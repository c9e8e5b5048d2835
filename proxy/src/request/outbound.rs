//! A request on its way to targets, and what its attempts have shown. No IO.

use std::net::SocketAddr;
use std::rc::Rc;

use http::request::Parts;
use http::{HeaderValue, Request, Version, header};
use hyper::body::{Body as _, Incoming};

use super::answer::Reason;
use super::body::{RequestBody, Upload};
use super::reason_for;
use super::retry::{self, is_replayable};
use crate::upstream::error::AttemptError;
use crate::upstream::lease::Lease;

/// A request that may have to be sent more than once.
pub(crate) struct Outbound {
    /// None while an attempt has it, if it may be sent only once.
    request: Option<Request<RequestBody>>,
    upload: Option<Rc<Upload>>,
    replayable: bool,
}

impl Outbound {
    /// `local` is where the client connected to; it is the Host of an HTTP/1.0 request that has
    /// none, because HTTP/1.1 needs one (ALB puts its own name there).
    pub(crate) fn new(mut head: Parts, incoming: Incoming, local: SocketAddr) -> Self {
        let (body, upload) = RequestBody::new(incoming);
        if upload.is_some() && body.size_hint().exact().is_none() {
            // Without it hyper sends no body with methods that seldom have one, such as GET.
            let chunked = HeaderValue::from_static("chunked");
            head.headers.insert(header::TRANSFER_ENCODING, chunked);
        }
        let replayable = is_replayable(&head.method, upload.is_some());
        head.version = Version::HTTP_11;
        if !head.headers.contains_key(header::HOST)
            && let Ok(host) = HeaderValue::from_str(&local.to_string())
        {
            head.headers.insert(header::HOST, host);
        }
        Self {
            request: Some(Request::from_parts(head, body)),
            upload,
            replayable,
        }
    }

    /// The request's body, if it has one.
    pub(crate) fn upload(&self) -> Option<&Rc<Upload>> {
        self.upload.as_ref()
    }

    /// The request to send. A replayable one is copied, because the target may close the
    /// connection without an answer.
    pub(crate) fn request(&mut self) -> Option<Request<RequestBody>> {
        if !self.replayable {
            return self.request.take();
        }
        let original = self.request.as_ref()?;
        let mut copy = Request::new(RequestBody::Empty);
        copy.method_mut().clone_from(original.method());
        copy.uri_mut().clone_from(original.uri());
        copy.headers_mut().clone_from(original.headers());
        Some(copy)
    }

    /// Takes back a request of which nothing was sent.
    pub(crate) fn put_back(&mut self, request: Request<RequestBody>) {
        self.request = Some(request);
    }

    /// See [`retry::may_retry`].
    pub(crate) fn may_retry(&self, error: &AttemptError, attempts: &Attempts) -> bool {
        let whole = self.request.is_some();
        let (count, lost) = (attempts.count(), attempts.lost());
        retry::may_retry(error, self.replayable, whole, count, lost)
    }

    /// May be sent again after a failed attempt.
    pub(crate) fn is_replayable(&self) -> bool {
        self.replayable
    }

    pub(crate) fn upload_is_open(&self) -> bool {
        self.upload.as_ref().is_some_and(|upload| !upload.is_done())
    }

    pub(crate) fn upload_has_failed(&self) -> bool {
        self.upload
            .as_ref()
            .is_some_and(|upload| upload.has_failed())
    }
}

/// How often one request waits for a target. The second time means that what was confirmed in the
/// first was lost again.
const WAITS_MAX: usize = 2;

/// What the attempts of one request have shown.
#[derive(Default)]
pub(crate) struct Attempts {
    count: usize,
    /// How often the request may have reached a target that did not answer.
    lost: usize,
    /// Endpoints that are not asked again. Grows only when something fails.
    tried: Vec<u64>,
    /// An attempt found out after connecting that its target is in doubt.
    doubtful: bool,
    waits: usize,
    trusting: bool,
    fresh: bool,
    second_chance: bool,
    failure: Option<Reason>,
}

impl Attempts {
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn lost(&self) -> usize {
        self.lost
    }

    pub(crate) fn tried(&self, endpoint: u64) -> bool {
        self.tried.contains(&endpoint)
    }

    /// Notes a failed attempt.
    pub(crate) fn note(&mut self, lease: &Lease, error: &AttemptError) {
        self.count += 1;
        self.failure = Some(reason_for(error));
        match error {
            AttemptError::Client => {}
            AttemptError::Doubtful => self.doubtful = true,
            AttemptError::Closed { sent, .. } => {
                self.lost += usize::from(*sent);
                lease.failed();
            }
            _ => lease.failed(),
        }
        self.tried.push(lease.endpoint().id);
        if matches!(error, AttemptError::Closed { reused: true, .. }) {
            // Most likely the connection was stale, and others in the pool are too. The target may
            // be well, but another one is the safer choice while there is one.
            self.fresh = true;
            self.second_chance = true;
        }
    }

    /// Whether targets that were tried may be tried once more, because only a stale connection
    /// speaks against them.
    pub(crate) fn takes_second_chance(&mut self) -> bool {
        let taken = std::mem::take(&mut self.second_chance);
        if taken {
            self.tried.clear();
        }
        taken
    }

    /// Whether no attempt has failed for another reason than doubt.
    pub(crate) fn has_only_doubts(&self) -> bool {
        self.doubtful || self.failure.is_none()
    }

    /// Whether to wait for a target.
    pub(crate) fn may_wait(&self) -> bool {
        self.waits < WAITS_MAX && !self.trusting
    }

    /// A wait is over, and every target may be tried again. If it was in vain, those that nobody
    /// could confirm are trusted: doubt alone never fails a request.
    pub(crate) fn waited(&mut self, usable: bool) {
        self.waits += 1;
        self.trusting |= !usable || self.waits >= WAITS_MAX;
        self.doubtful = false;
        self.tried.clear();
    }

    /// Trust targets, because nobody could confirm them.
    pub(crate) fn trust_if(&mut self, cannot_confirm: bool) {
        self.trusting |= cannot_confirm;
    }

    pub(crate) fn trusts(&self) -> bool {
        self.trusting
    }

    pub(crate) fn wants_fresh_connection(&self) -> bool {
        self.fresh
    }

    /// Why no target is left.
    pub(crate) fn failure(&self) -> Reason {
        self.failure.unwrap_or(Reason::ConnectFailed)
    }
}
