//! Bodies: streamed in both directions, a frame at a time, never gathered.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::clock;
use crate::observe::outcome::Outcome;
use crate::serve::timers::Slot;
use crate::serve::worker::Worker;
use crate::upstream::endpoint::Loss;
use crate::upstream::lease::Lease;
use crate::upstream::pool::Connection;

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// hyper's word on the connection that the body came from.
    #[error(transparent)]
    Peer(#[from] hyper::Error),
    /// Nothing came for the idle time limit.
    #[error("the target sent nothing for the idle time limit")]
    Idle,
    /// The target left, and its deregistration delay is over.
    #[error("the target's deregistration delay is over")]
    Expired,
}

/// How far a request body has come.
#[derive(Debug, Default)]
pub struct Upload {
    done: Cell<bool>,
    failed: Cell<bool>,
}

impl Upload {
    /// All of it was handed on.
    pub(crate) fn is_done(&self) -> bool {
        self.done.get()
    }

    /// The client ended it early or broke its framing.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.get()
    }
}

/// A request body on its way to a target.
pub enum RequestBody {
    /// None.
    Empty,
    /// From the client, as it comes.
    Client {
        /// The client's side.
        incoming: Incoming,
        /// How far it has come.
        upload: Rc<Upload>,
    },
}

impl RequestBody {
    /// The body of a request; the second part is there if there is one.
    pub(crate) fn new(incoming: Incoming) -> (Self, Option<Rc<Upload>>) {
        if incoming.is_end_stream() {
            return (Self::Empty, None);
        }
        let upload = Rc::new(Upload::default());
        let body = Self::Client {
            incoming,
            upload: Rc::clone(&upload),
        };
        (body, Some(upload))
    }
}

impl Drop for RequestBody {
    /// hyper drops the body when it has sent the last of it, or will send no more.
    fn drop(&mut self) {
        if let Self::Client { upload, .. } = self {
            upload.done.set(true);
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self::Client { incoming, upload } = self.get_mut() else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(&mut *incoming).poll_frame(cx);
        match &polled {
            Poll::Ready(None) => upload.done.set(true),
            Poll::Ready(Some(Err(_))) => upload.failed.set(true),
            Poll::Ready(Some(Ok(_))) if incoming.is_end_stream() => upload.done.set(true),
            _ => {}
        }
        polled.map(|frame| frame.map(|frame| frame.map_err(BodyError::Peer)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Client { incoming, .. } => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Client { incoming, .. } => incoming.size_hint(),
        }
    }
}

/// A response body on its way to the client.
pub struct ResponseBody(Source);

enum Source {
    Full(Option<Bytes>),
    Target(Box<TargetBody>),
}

impl ResponseBody {
    /// A body that is at hand.
    #[must_use]
    pub fn full(bytes: Bytes) -> Self {
        Self(Source::Full((!bytes.is_empty()).then_some(bytes)))
    }

    /// A body that a target sends.
    pub(crate) fn target(body: TargetBody) -> Self {
        Self(Source::Target(Box::new(body)))
    }
}

/// What a response body needs until its last byte: the connection that it comes over, which goes
/// back into the pool then, and the lease and outcome, which end then.
pub(crate) struct TargetBody {
    pub(crate) incoming: Incoming,
    /// None once it is given back, has ended, or runs as a task of its own.
    pub(crate) connection: Option<Box<Connection>>,
    pub(crate) lease: Option<Lease>,
    pub(crate) slot: Slot,
    pub(crate) idle_timeout: Duration,
    pub(crate) worker: Rc<Worker>,
    pub(crate) outcome: Outcome,
}

impl TargetBody {
    /// The response is complete: its connection may serve again.
    fn finish(&mut self) {
        if let (Some(connection), Some(lease)) = (self.connection.take(), &self.lease) {
            self.worker
                .pool
                .give_back(connection, lease.local(), self.worker.timers.now());
        }
        self.lease = None;
        self.outcome.complete();
    }

    /// Ends at once if there is no body.
    pub(crate) fn started(mut self) -> Self {
        if self.incoming.is_end_stream() {
            self.finish();
        } else {
            self.slot.set(self.idle_timeout);
        }
        self
    }

    fn fail(&mut self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(lease) = self.lease.take() {
            lease.failed();
            if matches!(error, BodyError::Peer(_)) {
                lease.endpoint().lost_connection(clock::now(), Loss::Sudden);
            }
        }
        self.connection = None;
        self.outcome.cut_short();
        Poll::Ready(Some(Err(error)))
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut driven = false;
        loop {
            let incoming = Pin::new(&mut self.incoming);
            let polled = if self.connection.is_some() {
                // This task drives the connection, so the body needs no wake-up of its own.
                incoming.poll_frame(&mut Context::from_waker(Waker::noop()))
            } else {
                incoming.poll_frame(cx)
            };
            match polled {
                Poll::Ready(Some(Ok(frame))) => {
                    if self.is_expired() {
                        return self.fail(BodyError::Expired);
                    }
                    self.slot.set(self.idle_timeout);
                    if self.incoming.is_end_stream() {
                        self.finish();
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                Poll::Ready(Some(Err(error))) => return self.fail(error.into()),
                Poll::Ready(None) => {
                    self.finish();
                    return Poll::Ready(None);
                }
                Poll::Pending => {}
            }
            match &mut self.connection {
                Some(connection) if !driven => {
                    driven = true;
                    if connection.poll(cx).is_ready() {
                        // What it had read is still in the body, and so is its error. The loss is
                        // noted before the connection goes: between the two, a new one to the
                        // port's next owner would look good.
                        if connection.served > 1 {
                            connection.lost(Loss::Announced);
                        }
                        self.connection = None;
                    }
                }
                _ => break,
            }
        }
        loop {
            std::task::ready!(self.slot.poll(cx));
            if self.is_expired() {
                return self.fail(BodyError::Expired);
            }
            // An upload that goes on meanwhile, or a client that only now took what was there, is
            // not the target's silence.
            let quiet = self.outcome.client_quiet_for();
            if quiet >= self.idle_timeout {
                return self.fail(BodyError::Idle);
            }
            self.slot.set(self.idle_timeout - quiet);
        }
    }

    fn is_expired(&self) -> bool {
        self.lease
            .as_ref()
            .is_some_and(|lease| lease.endpoint().is_expired())
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.get_mut().0 {
            Source::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Target(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Full(bytes) => bytes.is_none(),
            Source::Target(body) => body.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Source::Target(body) => body.incoming.size_hint(),
        }
    }
}
