//! Open connections of one worker to its targets.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};

use tokio::sync::Notify;

use super::endpoint::{Endpoint, Evidence, Loss, peek};
use super::error::AttemptError;
use super::lines::Lines;
use crate::clock;
use crate::http1::buffer::Buffers;
use crate::http1::stream::Stream;
use crate::http1::wire::Wire;
use crate::observe::metrics::WorkerMetrics;
use crate::serve::timers::Timers;

/// How long a connection may be idle, as long as its target has not shown that it closes sooner.
const IDLE_LIMIT_MILLIS: u64 = 60_000;

/// A target's own limit is believed from here on: what is closed sooner was closed for another
/// reason.
const IDLE_LIMIT_LEARNT_MIN_MILLIS: u64 = 1_000;

/// The most idle connections to one target in one worker.
const IDLE_MAX: usize = 512;

/// A worker's side of all endpoints.
pub(crate) struct Pool {
    locals: RefCell<HashMap<u64, Rc<Local>, BuildHasherDefault<IdHasher>>>,
    closed: Arc<ClosedQueue>,
    worker: usize,
    next_connection: Cell<u64>,
}

/// A worker's side of one endpoint. Requests hold it by `Rc`: the reference count of the endpoint
/// itself is shared by all workers, and writing it for each request would make them wait for each
/// other's cache line.
pub(crate) struct Local {
    endpoint: Arc<Endpoint>,
    /// Each in its box, which it keeps: a request moves a connection some ten times.
    #[allow(clippy::vec_box, reason = "what is taken out is moved on as it is")]
    idle: RefCell<Vec<Box<Connection>>>,
    /// How long connections may be idle, in milliseconds: less than the target itself allows, as
    /// far as that was seen.
    idle_limit: Cell<u64>,
    /// Its connections with HTTP/2.
    lines: OnceCell<Box<Lines>>,
}

impl Local {
    /// This worker's connections with HTTP/2.
    pub(crate) fn lines(&self) -> &Lines {
        self.lines.get_or_init(Box::default)
    }

    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// How long connections may be idle, in milliseconds.
    pub(super) fn idle_limit(&self) -> u64 {
        self.idle_limit.get()
    }
}

/// Ids of endpoints are counted up, so they need no mixing.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        // The table takes its tag from the upper bits.
        self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = id;
    }
}

impl Pool {
    pub(crate) fn new(worker: usize) -> Self {
        Self {
            locals: RefCell::default(),
            closed: Arc::default(),
            worker,
            next_connection: Cell::new(0),
        }
    }

    /// This worker's side of an endpoint.
    pub(crate) fn local(&self, endpoint: &Arc<Endpoint>) -> Rc<Local> {
        let mut locals = self.locals.borrow_mut();
        let local = locals.entry(endpoint.id).or_insert_with(|| {
            Rc::new(Local {
                endpoint: Arc::clone(endpoint),
                idle: RefCell::default(),
                idle_limit: Cell::new(IDLE_LIMIT_MILLIS),
                lines: OnceCell::new(),
            })
        });
        Rc::clone(local)
    }

    /// An idle connection to the endpoint, the latest used first, on which nothing has happened as
    /// far as the event loop knows. `verify`: ask the kernel too; for requests that may not be
    /// sent twice.
    pub(crate) fn take(&self, local: &Local, verify: bool, now: u64) -> Option<Box<Connection>> {
        if local.endpoint.http2 {
            return local.lines().stream(local, verify, now);
        }
        loop {
            let mut connection = local.idle.borrow_mut().pop()?;
            let idle_for = now.saturating_sub(connection.idle_since);
            if !connection.wire.is_quiet() || (verify && !connection.is_open()) {
                connection.ended_idle(idle_for);
            } else if idle_for < local.idle_limit.get() {
                connection.idled = idle_for;
                return Some(connection);
            }
        }
    }

    /// Keeps a connection whose response is complete and did not rule that out.
    pub(crate) fn give_back(
        &self,
        mut connection: Box<Connection>,
        local: &Local,
        buffers: &Buffers,
        now: u64,
    ) {
        if !connection.wire.input.is_empty() {
            // More than one response to one request: what the next bytes would mean is unknown.
            return;
        }
        buffers.release(&mut connection.wire.input);
        if local.endpoint.is_retired() || connection.is_stream() {
            return;
        }
        connection.idle_since = now;
        // For others the sweep does it, if they are idle for long.
        if local.endpoint.shared_port {
            connection.watch(&self.closed);
        }
        let mut idle = local.idle.borrow_mut();
        if idle.len() < IDLE_MAX {
            idle.push(connection);
        }
    }

    /// A connection over a stream that was just made. `trusting`: see [`Endpoint::admits`].
    pub(crate) fn adopt(
        &self,
        local: &Local,
        stream: Stream,
        trusting: bool,
    ) -> Result<Box<Connection>, AttemptError> {
        // Small requests must not wait for the acknowledgement of earlier ones.
        stream.set_nodelay().map_err(AttemptError::Connect)?;
        // The worker's number keeps ids apart that several workers note at one endpoint.
        let id = (self.next_connection.get() << 12) | (self.worker as u64 & 0xFFF);
        self.next_connection.set(self.next_connection.get() + 1);
        let connection = Box::new(Connection {
            id,
            wire: Wire::new(stream),
            endpoint: Arc::clone(&local.endpoint),
            served: 0,
            idle_since: 0,
            idled: 0,
            waker: None,
            watched: false,
            noted: Cell::new(false),
        });
        // While this waited, the target may have left and its port may have gone to another task.
        // A second handle is noted only now: the connection's drop takes it away again, and one
        // that stayed would vouch for the target for ever.
        let endpoint = &connection.endpoint;
        let admitted = if endpoint.shared_port {
            let handle = connection.wire.stream.handle();
            let handle = handle.map_err(AttemptError::Connect)?;
            endpoint.admits(id, handle, trusting)
        } else {
            !endpoint.is_retired()
        };
        if admitted {
            Ok(connection)
        } else {
            Err(AttemptError::Doubtful)
        }
    }

    /// Closes idle connections that are too old or whose target has left, and forgets endpoints
    /// that nobody uses. Tells how many connections stay. To be called about once a second.
    pub(crate) fn sweep(&self, timers: &Timers, metrics: &WorkerMetrics) -> usize {
        let mut idle = 0;
        let now = timers.now();
        self.locals.borrow_mut().retain(|_, local| {
            let retired = local.endpoint.is_retired();
            let limit = local.idle_limit.get();
            if let Some(lines) = local.lines.get() {
                lines.sweep(now, limit, retired);
                metrics.gave_up(lines.take_given_up());
            }
            local.idle.borrow_mut().retain_mut(|connection| {
                if !retired && now.saturating_sub(connection.idle_since) < limit {
                    connection.watch(&self.closed);
                    return true;
                }
                false
            });
            idle += local.idle.borrow().len();
            !(retired && Rc::strong_count(local) == 1)
        });
        idle
    }

    /// Drops idle connections as their targets close them. Runs as long as the worker.
    pub(crate) async fn reap(&self, timers: &Timers) {
        loop {
            self.closed.notify.notified().await;
            for (endpoint, connection) in self.closed.take() {
                let local = self.locals.borrow().get(&endpoint).cloned();
                if let Some(local) = local {
                    local.reap(connection, &self.closed, timers.now());
                }
            }
        }
    }
}

impl Local {
    fn reap(&self, id: u64, closed: &Arc<ClosedQueue>, now: u64) {
        let mut idle = self.idle.borrow_mut();
        // In use again, or gone: then the wake-up was for what has happened since.
        let Some(index) = idle.iter().position(|connection| connection.id == id) else {
            return;
        };
        let connection = &mut idle[index];
        connection.watched = false;
        if connection.wire.is_quiet() {
            connection.watch(closed);
            return;
        }
        let connection = idle.swap_remove(index);
        drop(idle);
        let idle_for = now.saturating_sub(connection.idle_since);
        self.learn_idle_limit(idle_for);
        connection.ended_idle(idle_for);
    }

    /// The target closed a connection that was idle for so long. From now on we close ours before
    /// it does: that races with no request, and raises no doubt about the target.
    pub(super) fn learn_idle_limit(&self, idle_for: u64) {
        if idle_for >= IDLE_LIMIT_LEARNT_MIN_MILLIS {
            let ours = idle_for * 3 / 4;
            self.idle_limit.set(self.idle_limit.get().min(ours));
        }
    }
}

/// One HTTP/1.1 connection to a target.
pub(crate) struct Connection {
    id: u64,
    pub(crate) wire: Wire,
    endpoint: Arc<Endpoint>,
    /// Requests that it was used for, the present one included.
    pub(crate) served: u64,
    idle_since: u64,
    /// For how many milliseconds it was idle before its latest request.
    idled: u64,
    /// Wakes the reaper when something happens while it is idle.
    waker: Option<Waker>,
    /// The waker is in place.
    watched: bool,
    /// That the target closed it was noted.
    noted: Cell<bool>,
}

impl Connection {
    /// One stream of a connection that has had so many. What is noted of connections is noted for
    /// that one.
    pub(crate) fn stream(local: &Local, stream: Stream, served: u64, idled: u64) -> Self {
        Self {
            id: 0,
            wire: Wire::new(stream),
            endpoint: Arc::clone(&local.endpoint),
            served,
            idle_since: 0,
            idled,
            waker: None,
            watched: false,
            noted: Cell::new(true),
        }
    }

    fn is_stream(&self) -> bool {
        matches!(self.wire.stream, Stream::Outbound(_))
    }

    /// The kernel knows that the target has closed it.
    pub(crate) fn is_closed(&self) -> bool {
        self.evidence() == Evidence::Closed
    }

    /// Where it leads.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// It ended without our doing, in the middle of a request.
    pub(crate) fn lost(&self, loss: Loss) {
        if self.is_stream() {
            return;
        }
        self.noted.set(true);
        self.endpoint.lost_connection(clock::now(), loss);
    }

    /// It ended without our doing, after a response.
    pub(crate) fn ended(&self, loss: Loss) {
        if self.is_stream() {
            return;
        }
        self.noted.set(true);
        self.endpoint.ended_connection(clock::now(), loss);
    }

    /// It ends because the client or we want it: that its target closes it then is no sign.
    pub(crate) fn ended_by_us(&self) {
        self.noted.set(true);
    }

    /// The target may have closed it while nothing went on: it was used before, and as far as it is
    /// known not at work since.
    pub(crate) fn has_rested(&self) -> bool {
        self.served > 1 && (!self.is_stream() || self.idled > 0)
    }

    /// It was idle for so long that, if it is closed now, the likely cause is the target's own
    /// limit. What closes sooner is a target that goes away.
    pub(crate) fn may_be_stale(&self) -> bool {
        self.served > 1 && self.idled >= IDLE_LIMIT_LEARNT_MIN_MILLIS
    }

    /// It ended while it was idle for so many milliseconds.
    fn ended_idle(&self, idle_for: u64) {
        if idle_for >= IDLE_LIMIT_LEARNT_MIN_MILLIS {
            self.lost(Loss::Sudden);
        } else {
            self.ended(Loss::Sudden);
        }
    }

    fn evidence(&self) -> Evidence {
        let socket = self.wire.stream.socket();
        socket.map_or(Evidence::None, |socket| peek(&socket))
    }

    fn is_open(&self) -> bool {
        self.evidence() == Evidence::Alive
    }

    /// From here on the reaper is woken when the target closes the connection.
    fn watch(&mut self, closed: &Arc<ClosedQueue>) {
        if self.watched {
            return;
        }
        self.watched = true;
        let waker = self.waker.get_or_insert_with(|| {
            Waker::from(Arc::new(IdleWaker {
                endpoint: self.endpoint.id,
                connection: self.id,
                queue: Arc::clone(closed),
            }))
        });
        let ready = self
            .wire
            .stream
            .poll_read_ready(&mut Context::from_waker(waker));
        if ready.is_ready() {
            waker.wake_by_ref();
        }
    }

    /// A request uses it.
    pub(crate) fn begin(&mut self) {
        self.served += 1;
        self.watched = false;
        if self.served > 1 {
            self.endpoint.reused();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.endpoint.shared_port && !self.is_stream() {
            // The target may have closed it a moment ago, unseen: then that is a sign, and with
            // this handle it would be lost.
            if !self.noted.get() && self.evidence() == Evidence::Closed {
                self.ended(Loss::Sudden);
            }
            self.endpoint.closed(self.id);
        }
    }
}

/// Idle connections on which something happened.
#[derive(Default)]
struct ClosedQueue {
    ids: Mutex<Vec<(u64, u64)>>,
    notify: Notify,
}

impl ClosedQueue {
    fn take(&self) -> Vec<(u64, u64)> {
        std::mem::take(&mut *self.ids.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Wakes the reaper for one connection. A wake-up takes it out of its place until the reaper has
/// looked, so the queue has each connection once.
struct IdleWaker {
    endpoint: u64,
    connection: u64,
    queue: Arc<ClosedQueue>,
}

impl Wake for IdleWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.queue
            .ids
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((self.endpoint, self.connection));
        self.queue.notify.notify_one();
    }
}
