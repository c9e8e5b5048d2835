//! Copies of requests for a second group, whose responses nobody reads. Nothing of it can touch the
//! request itself: it has a task, a connection and a time limit of its own.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use longshore_config as config;
use tokio::sync::oneshot;

use super::headers::understand;
use crate::control::ids::GroupId;
use crate::http1::body::Body;
use crate::http1::chunked::Part;
use crate::http1::head::{ResponseHead, room};
use crate::http1::wire::Wire;
use crate::serve::client::Client;
use crate::serve::worker::Worker;
use crate::upstream::connect::connect;
use crate::upstream::endpoint::{Endpoint, Loss};
use crate::upstream::lease::{Feedback, Lease};
use crate::upstream::picker::Asked;

/// The most copies of a worker that are at work; more are left out.
const COPIES_MAX: usize = 256;

/// The largest head of a response to a copy, in bytes.
const HEAD_MAX: usize = 32 * 1024;

/// What becomes of copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The target has answered.
    Answered,
    /// No target, no connection, no response in time.
    Failed,
    /// It was not sent: too large a body, a client that left, too many at work.
    LeftOut,
}

impl Fate {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Answered, Self::Failed, Self::LeftOut];

    /// Its stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::LeftOut => "left_out",
        }
    }
}

/// What a policy says of copies.
#[derive(Debug)]
pub struct Mirror {
    group: GroupId,
    percent: u64,
    body_max: usize,
    timeout: Duration,
}

impl Mirror {
    /// As the file says. None for a group that does not exist, which a validated file does not name.
    #[must_use]
    pub fn new(settings: &config::Mirror, group: Option<GroupId>) -> Option<Self> {
        Some(Self {
            group: group?,
            percent: settings.percent.get(),
            body_max: usize::try_from(settings.body_max.get()).unwrap_or(usize::MAX),
            timeout: settings.timeout.get(),
        })
    }

    /// Begins a copy of a request whose head is written for a target, if it is this one's turn.
    pub(crate) fn copy(&self, client: &Client, head: &[u8], to_head: bool) -> Option<Box<Copy>> {
        let worker = &client.worker;
        if self.percent == 0 || worker.draw(100) >= self.percent {
            return None;
        }
        if worker.copies.get() >= COPIES_MAX {
            worker.metrics.mirrored.count(Fate::LeftOut as usize);
            return None;
        }
        let announced = {
            let snapshot = worker.shared.load();
            let group = snapshot.group(self.group);
            group.and_then(|group| group.proxy_protocol)
        };
        let (sender, request) = oneshot::channel();
        let order = Order {
            worker: Rc::clone(worker),
            _counted: Counted::new(worker),
            group: self.group,
            header: announced.map(|version| client.proxy_header(version)),
            to_head,
            timeout: self.timeout,
        };
        tokio::task::spawn_local(order.run(request));
        Some(Box::new(Copy {
            bytes: head.to_vec(),
            max: head.len() + self.body_max,
            sender,
        }))
    }
}

/// A request that is still being read. Dropped before its end, it is left out.
#[derive(Debug)]
pub(crate) struct Copy {
    bytes: Vec<u8>,
    max: usize,
    sender: oneshot::Sender<Vec<u8>>,
}

impl Copy {
    /// Takes in more of it, as it goes to its own target. False if that is too much.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> bool {
        let fits = self.bytes.len() + bytes.len() <= self.max;
        if fits {
            self.bytes.extend_from_slice(bytes);
        }
        fits
    }

    /// All of it is there.
    pub(crate) fn send(self) {
        // Its task waits for nothing else; if the worker is about to end, it is gone.
        drop(self.sender.send(self.bytes));
    }
}

/// What the task of a copy knows.
struct Order {
    worker: Rc<Worker>,
    _counted: Counted,
    group: GroupId,
    /// With what its connection begins.
    header: Option<Vec<u8>>,
    to_head: bool,
    timeout: Duration,
}

/// A copy at work, in the worker's count.
struct Counted(Rc<Worker>);

impl Counted {
    fn new(worker: &Rc<Worker>) -> Self {
        worker.copies.set(worker.copies.get() + 1);
        Self(Rc::clone(worker))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.copies.set(self.0.copies.get() - 1);
    }
}

impl Order {
    async fn run(self, request: oneshot::Receiver<Vec<u8>>) {
        let fate = match request.await {
            Err(_) => Fate::LeftOut,
            Ok(bytes) => match tokio::time::timeout(self.timeout, self.exchange(&bytes)).await {
                Ok(Ok(())) => Fate::Answered,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a copy of a request failed");
                    Fate::Failed
                }
                Err(_) => Fate::Failed,
            },
        };
        self.worker.metrics.mirrored.count(fate as usize);
    }

    /// Sends it and reads the response to its end.
    async fn exchange(&self, bytes: &[u8]) -> io::Result<()> {
        let worker = &self.worker;
        let lease = self.pick().ok_or_else(|| io::Error::other("no target"))?;
        let now = worker.timers.now();
        let pooled = match self.header {
            // Its connection speaks of one client.
            Some(_) => None,
            None => worker.pool.take(lease.local(), true, now),
        };
        let mut connection = match pooled {
            Some(connection) => connection,
            None => connect(
                &worker.pool,
                lease.local(),
                self.timeout,
                false,
                self.header.as_deref(),
                || worker.timers.now(),
            )
            .await
            .map_err(io::Error::other)?,
        };
        connection.begin();
        let mut sent = 0;
        while sent < bytes.len() {
            sent += poll_fn(|cx| connection.wire.poll_send(&bytes[sent..], &[], cx)).await?;
        }
        let (body, reusable) = self.head(&mut connection.wire).await?;
        self.discard(&mut connection.wire, body).await?;
        if !reusable {
            connection.ended(Loss::Announced);
        } else if self.header.is_none() {
            let now = worker.timers.now();
            let buffers = &worker.buffers;
            worker
                .pool
                .give_back(connection, lease.local(), buffers, now);
        }
        Ok(())
    }

    /// A target that may be asked without harm to those that requests depend on: one that has room
    /// and is not on trial.
    fn pick(&self) -> Option<Lease> {
        let worker = &self.worker;
        let snapshot = worker.shared.load();
        let group = snapshot.group(self.group)?;
        let feedback = if group.is_counted() || group.is_measured() {
            Feedback::Counted
        } else {
            Feedback::None
        };
        let asked = Asked {
            worker: worker.index,
            now: worker.timers.now(),
            draw: &|bound| worker.draw(bound),
            hash: None,
        };
        let control = group.control.as_ref();
        let usable = |endpoint: &Endpoint| {
            !endpoint.is_doubtful()
                && endpoint.trial.is_over()
                && control.is_none_or(|control| endpoint.outstanding() < control.limit)
        };
        let local = worker.pool.local(group.pick(&asked, usable)?);
        match control {
            None => Some(Lease::begin(local, worker.index, feedback, false)),
            Some(control) => Lease::begin_below(local, worker.index, feedback, false, control),
        }
    }

    /// The head of the last response: how its body goes on, and whether the connection may serve
    /// again.
    async fn head(&self, wire: &mut Wire) -> io::Result<(Body, bool)> {
        loop {
            let found = {
                let mut room = room();
                match ResponseHead::parse(wire.input.data(), &mut room) {
                    Ok(Some(head)) if head.status == 101 => {
                        return Err(io::Error::other("a switch that was not asked for"));
                    }
                    Ok(Some(head)) => {
                        let understood =
                            understand(&head, self.to_head).map_err(io::Error::other)?;
                        Some((head.len, head.status, understood))
                    }
                    Ok(None) => None,
                    Err(_) => return Err(io::Error::other("it is no HTTP/1.1 response")),
                }
            };
            match found {
                Some((len, status, understood)) => {
                    wire.input.consume(len);
                    if status >= 200 {
                        return Ok((understood.body, understood.reusable));
                    }
                }
                None if wire.input.len() >= HEAD_MAX => {
                    return Err(io::Error::other("its head is too large"));
                }
                None => {
                    if self.fill(wire).await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
            }
        }
    }

    async fn discard(&self, wire: &mut Wire, mut body: Body) -> io::Result<()> {
        loop {
            match &mut body {
                Body::Chunked(chunks) => {
                    while let Part::Framing(count) | Part::Data(count) =
                        chunks.next(wire.input.data()).map_err(io::Error::other)?
                    {
                        wire.input.consume(count);
                    }
                }
                Body::Length(_) | Body::UntilClose => {
                    let count = body.plain(wire.input.len());
                    wire.input.consume(count);
                    body.advance(count);
                }
            }
            if body.is_done() {
                return Ok(());
            }
            if self.fill(wire).await? == 0 {
                return match body {
                    Body::UntilClose => Ok(()),
                    _ => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }

    async fn fill(&self, wire: &mut Wire) -> io::Result<usize> {
        poll_fn(|cx| wire.poll_fill(&self.worker.buffers, 1, cx)).await
    }
}
