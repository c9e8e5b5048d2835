//! Open connections of one worker to its targets.
//!
//! A connection's hyper state machine is not a task of its own: while a request uses it, the
//! request's task drives it (see [`Connection::poll`]); while it is idle, a reaper task is woken
//! when the target closes it. That saves two task switches for each request.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future as _;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::endpoint::{Endpoint, Evidence, Loss, peek};
use super::error::AttemptError;
use crate::clock;
use crate::request::body::RequestBody;
use crate::serve::connection::Client;
use crate::serve::timers::Timers;

/// How long a connection may be idle, as long as its target has not shown that it closes sooner.
const IDLE_LIMIT_MILLIS: u64 = 60_000;

/// A target's own limit is believed from here on: what is closed sooner was closed for another
/// reason.
const IDLE_LIMIT_LEARNT_MIN_MILLIS: u64 = 1_000;

/// The most idle connections to one target in one worker.
const IDLE_MAX: usize = 512;

/// The largest response head, in bytes (ALB: 32 K, beyond it 502).
const RESPONSE_HEAD_MAX: usize = 32 * 1024;

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
    #[allow(
        clippy::vec_box,
        reason = "connections are moved in and out for each request, and are large"
    )]
    idle: RefCell<Vec<Box<Connection>>>,
    /// How long connections may be idle, in milliseconds: less than the target itself allows, as
    /// far as that was seen.
    idle_limit: Cell<u64>,
}

impl Local {
    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
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
            })
        });
        Rc::clone(local)
    }

    /// An idle connection to the endpoint, the latest used first. `verify`: ask the kernel
    /// whether the target has closed it; for requests that may not be sent twice.
    pub(crate) fn take(&self, local: &Local, verify: bool) -> Option<Box<Connection>> {
        loop {
            let connection = local.idle.borrow_mut().pop()?;
            if let Some(waker) = &connection.waker {
                waker.armed.store(false, Ordering::Relaxed);
            }
            if connection.sender.is_ready() && (!verify || connection.is_open()) {
                return Some(connection);
            }
            connection.lost(Loss::Sudden);
        }
    }

    /// Keeps a connection whose response is complete, if it can serve again.
    pub(crate) fn give_back(&self, mut connection: Box<Connection>, local: &Local, now: u64) {
        let waker = Arc::clone(connection.waker.get_or_insert_with(|| {
            Arc::new(IdleWaker {
                endpoint: connection.endpoint.id,
                connection: connection.id,
                armed: AtomicBool::new(false),
                queue: Arc::clone(&self.closed),
            })
        }));
        waker.armed.store(true, Ordering::Relaxed);
        // From here on the reaper is woken when the target closes the connection.
        let ended = connection.poll(&mut Context::from_waker(&Waker::from(waker)));
        if ended.is_ready() || !connection.sender.is_ready() {
            // Some targets close after each response; only one that kept its connections open
            // before may have a reason to say so now.
            if connection.served > 1 {
                connection.lost(Loss::Announced);
            }
            return;
        }
        if local.endpoint.is_retired() {
            return;
        }
        connection.idle_since = now;
        let mut idle = local.idle.borrow_mut();
        if idle.len() < IDLE_MAX {
            idle.push(connection);
        }
    }

    /// A connection over a socket that was just connected. `trusting`: see [`Endpoint::admits`].
    pub(crate) async fn adopt(
        &self,
        local: &Local,
        stream: TcpStream,
        trusting: bool,
    ) -> Result<Box<Connection>, AttemptError> {
        // Small requests must not wait for the acknowledgement of earlier ones.
        stream.set_nodelay(true).map_err(AttemptError::Connect)?;
        // The worker's number keeps ids apart that several workers note at one endpoint.
        let id = (self.next_connection.get() << 12) | (self.worker as u64 & 0xFFF);
        self.next_connection.set(self.next_connection.get() + 1);
        let endpoint = Arc::clone(&local.endpoint);
        let socket = Rc::new(RefCell::new(stream));
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(RESPONSE_HEAD_MAX)
            .handshake(TokioIo::new(Socket(Rc::clone(&socket))))
            .await
            .map_err(|error| AttemptError::Connect(io::Error::other(error)))?;
        let connection = Box::new(Connection {
            id,
            sender,
            driver: Some(driver),
            socket,
            endpoint,
            served: 0,
            idle_since: 0,
            waker: None,
        });
        // Noted only now: the connection's drop takes the second handle away again, and a handle
        // that stayed would vouch for the target for ever.
        let second = SockRef::from(&*connection.socket.borrow())
            .try_clone()
            .map_err(AttemptError::Connect)?;
        // While this waited, the target may have left and its port may have gone to another task.
        if connection.endpoint.admits(id, second.into(), trusting) {
            Ok(connection)
        } else {
            Err(AttemptError::Doubtful)
        }
    }

    /// Closes idle connections that are too old or whose target has left, and forgets endpoints
    /// that nobody uses. To be called about once a second.
    pub(crate) fn sweep(&self, now: u64) {
        self.locals.borrow_mut().retain(|_, local| {
            let retired = local.endpoint.is_retired();
            local.idle.borrow_mut().retain(|connection| {
                let keep =
                    !retired && now.saturating_sub(connection.idle_since) < local.idle_limit.get();
                // The target may have closed it a moment ago, unseen: then that is the sign.
                if !keep && !connection.is_open() {
                    connection.lost(Loss::Sudden);
                }
                keep
            });
            !(retired && Rc::strong_count(local) == 1)
        });
    }

    /// Drops idle connections as their targets close them. Runs as long as the worker.
    pub(crate) async fn reap(&self, timers: &Timers) {
        loop {
            self.closed.notify.notified().await;
            for (endpoint, connection) in self.closed.take() {
                let local = self.locals.borrow().get(&endpoint).cloned();
                if let Some(local) = local {
                    local.reap(connection, timers.now());
                }
            }
        }
    }
}

impl Local {
    fn reap(&self, id: u64, now: u64) {
        let mut idle = self.idle.borrow_mut();
        // In use again, or gone: then the wake-up was for what has happened since.
        let Some(index) = idle.iter().position(|connection| connection.id == id) else {
            return;
        };
        let connection = &mut idle[index];
        let Some(waker) = connection.waker.clone() else {
            return;
        };
        waker.armed.store(true, Ordering::Relaxed);
        let waker = Waker::from(waker);
        if connection.poll(&mut Context::from_waker(&waker)).is_ready() {
            let connection = idle.swap_remove(index);
            drop(idle);
            self.learn_idle_limit(now.saturating_sub(connection.idle_since));
            connection.lost(Loss::Sudden);
        }
    }

    /// The target closed a connection that was idle for so long. From now on we close ours before
    /// it does: that races with no request, and raises no doubt about the target.
    fn learn_idle_limit(&self, idle_for: u64) {
        if idle_for >= IDLE_LIMIT_LEARNT_MIN_MILLIS {
            let ours = idle_for * 3 / 4;
            self.idle_limit.set(self.idle_limit.get().min(ours));
        }
    }
}

/// One HTTP/1.1 connection to a target.
pub(crate) struct Connection {
    id: u64,
    pub(crate) sender: http1::SendRequest<RequestBody>,
    /// None once it has ended: only its drop tells what becomes of a request that it had not
    /// taken yet.
    driver: Option<http1::Connection<TokioIo<Socket>, RequestBody>>,
    socket: Rc<RefCell<TcpStream>>,
    endpoint: Arc<Endpoint>,
    /// Requests that it was used for, the present one included.
    pub(crate) served: u64,
    idle_since: u64,
    waker: Option<Arc<IdleWaker>>,
}

impl Connection {
    /// Moves bytes. Ready when the connection has ended.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        let Some(driver) = &mut self.driver else {
            return Poll::Ready(Ok(()));
        };
        let ended = std::task::ready!(Pin::new(driver).poll(cx));
        self.driver = None;
        Poll::Ready(ended)
    }

    /// It ended without our doing.
    pub(crate) fn lost(&self, loss: Loss) {
        self.endpoint.lost_connection(clock::now(), loss);
    }

    /// Goes on moving bytes in a task of its own, until request and response are both over, the
    /// target's deregistration delay ends, or neither side moves for the idle time limit. Then the
    /// connection closes.
    pub(crate) fn detach(self: Box<Self>, client: Rc<Client>, local: &Rc<Local>, idle: Duration) {
        let slot = client.worker.timers.slot();
        slot.set(idle);
        slot.watch(local);
        tokio::task::spawn_local(async move {
            let mut connection = self;
            std::future::poll_fn(|cx| {
                // How it ends is told to the bodies on both sides.
                if connection.poll(cx).is_ready() {
                    connection.lost(Loss::Sudden);
                    return Poll::Ready(());
                }
                if connection.sender.is_ready() {
                    return Poll::Ready(());
                }
                loop {
                    std::task::ready!(slot.poll(cx));
                    let quiet = client.quiet_for();
                    if connection.endpoint.is_expired() || quiet >= idle {
                        return Poll::Ready(());
                    }
                    slot.set(idle - quiet);
                }
            })
            .await;
        });
    }

    fn is_open(&self) -> bool {
        peek(&SockRef::from(&*self.socket.borrow())) == Evidence::Alive
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.endpoint.shared_port {
            self.endpoint.closed(self.id);
        }
    }
}

/// The socket of a connection, which hyper owns and the pool may ask.
pub(crate) struct Socket(Rc<RefCell<TcpStream>>);

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(cx)
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

/// Wakes the reaper for one connection. Made once for each connection.
struct IdleWaker {
    endpoint: u64,
    connection: u64,
    /// The connection is idle. When a request uses it, its wake-ups are not for the reaper.
    armed: AtomicBool,
    queue: Arc<ClosedQueue>,
}

impl Wake for IdleWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.armed.swap(false, Ordering::Relaxed) {
            return;
        }
        self.queue
            .ids
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((self.endpoint, self.connection));
        self.queue.notify.notify_one();
    }
}
