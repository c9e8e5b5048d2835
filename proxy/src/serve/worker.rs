//! One worker: a thread with its own sockets, connections, and runtime.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::crowd::{ConnectionLimits, Place};
use super::{connection, desks::Desks, listener, timers::TICK, timers::Timers};
use crate::app::dropped;
use crate::clock::{self, Wall};
use crate::control::controller::Event;
use crate::control::ids::{GroupId, ListenerId};
use crate::control::run::Message;
use crate::control::snapshot::Shared;
use crate::http1::buffer::Buffers;
use crate::observe::metrics::WorkerMetrics;
use crate::observe::recorder::{Recorder, Settings};
use crate::request::answer::Reason;
use crate::request::compress::coder::Coders;
use crate::request::sticky::ticket::NONCE;
use crate::request::trace::Seed;
use crate::tls::accept::Handshakes;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::pool::Pool;

/// Orders waiting for a worker, at the most. Connections are handed over only while there is room.
const ORDERS_MAX: usize = 1024;

/// How often the idle connections to targets are gone through.
const SWEEP: Duration = Duration::from_secs(1);

/// How long a browser keeps the balancer's cookies. ALB's, fixed: what they say is good for a time
/// of its own.
const COOKIE_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a worker is told to do. Small, because they wait in blocks of 32.
#[derive(Debug)]
pub(crate) enum Order {
    /// Accept from this socket. The sender is dropped when it is closed.
    Listen(ListenerId, TcpListener, oneshot::Sender<()>),
    /// Stop accepting from this listener.
    Unlisten(ListenerId),
    /// Say that all orders before this one are done.
    Answer(oneshot::Sender<()>),
    /// Serve a connection that another worker accepted, and added to this one's load.
    Serve(ListenerId, TcpStream, SocketAddr),
    /// Note that of requests from now on.
    Record(Box<Settings>),
    /// Tell what is known of the latest requests: of a trace or a connection, or of any, at most so
    /// many.
    Recall(
        Option<String>,
        usize,
        oneshot::Sender<Vec<serde_json::Value>>,
    ),
    /// Accept nothing new, and tell clients to go.
    Drain,
}

/// How others reach a worker.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    pub(crate) orders: mpsc::Sender<Order>,
    /// Client connections that it has open.
    pub(crate) connections: Arc<Load>,
    pub(crate) metrics: Arc<WorkerMetrics>,
}

/// A worker's number of connections, alone on its cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Load(AtomicUsize);

impl Load {
    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn subtract(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The receiving end of a [`Handle`].
#[derive(Debug)]
pub(crate) struct Inbox(mpsc::Receiver<Order>);

impl Handle {
    pub(crate) fn new() -> (Self, Inbox) {
        let (orders, inbox) = mpsc::channel(ORDERS_MAX);
        let handle = Self {
            orders,
            connections: Arc::default(),
            metrics: Arc::default(),
        };
        (handle, Inbox(inbox))
    }
}

/// What all tasks of one worker share. Never leaves its thread.
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) pool: Pool,
    pub(crate) buffers: Buffers,
    /// Where requests are worked at.
    pub(super) desks: Desks,
    pub(crate) timers: Rc<Timers>,
    /// TLS handshakes with clients.
    pub(crate) handshakes: Rc<Handshakes>,
    pub(crate) metrics: Arc<WorkerMetrics>,
    /// Responses that are being compressed.
    pub(crate) coders: Coders,
    /// What is noted of requests.
    pub(crate) recorder: Recorder,
    /// How many copies of requests are at work.
    pub(crate) copies: Cell<usize>,
    /// All workers, to hand connections to; this one stands at `index`.
    pub(crate) peers: Arc<[Handle]>,
    /// To the control task.
    outbox: mpsc::Sender<Message>,
    /// Since when (`Timers::now`) it drains.
    draining: Cell<Option<u64>>,
    /// Nobody wants it any more, and what it still has to do ends unfinished.
    over: Cell<bool>,
    /// The date for messages, at most a second old.
    date: Cell<[u8; clock::HTTP_DATE_LEN]>,
    /// When cookies that are set now expire, as a date, at most a second off.
    cookies_expire: Cell<[u8; clock::HTTP_DATE_LEN]>,
    /// Seconds since 1970-01-01, at most a second old.
    epoch: Cell<u32>,
    /// The wall clock as of the latest tick.
    wall: Cell<Wall>,
    rng: RefCell<SmallRng>,
}

impl Worker {
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get().is_some()
    }

    pub(crate) fn draining_since(&self) -> Option<u64> {
        self.draining.get()
    }

    /// Requests that end now are ended by this process, and not by their client.
    pub(crate) fn is_over(&self) -> bool {
        self.over.get()
    }

    /// The date as responses state it.
    pub(crate) fn date(&self) -> [u8; clock::HTTP_DATE_LEN] {
        self.date.get()
    }

    /// The wall clock at a moment of now, in microseconds since 1970-01-01. A clock that was set
    /// meanwhile is seen with the next tick.
    pub(crate) fn wall_micros(&self, now: Instant) -> u64 {
        self.wall.get().micros(now)
    }

    /// When a browser drops a cookie that is set now, as a date.
    pub(crate) fn cookies_expire(&self) -> [u8; clock::HTTP_DATE_LEN] {
        self.cookies_expire.get()
    }

    /// What the identifier of a trace is made of. It tells requests apart and keeps no secret.
    pub(crate) fn trace_seed(&self) -> Seed {
        // Two draws. An array would be drawn byte by byte.
        let (first, second): (u64, u32) = {
            let mut rng = self.rng.borrow_mut();
            (rng.random(), rng.random())
        };
        let mut random = [0; 12];
        random[..8].copy_from_slice(&first.to_le_bytes());
        random[8..].copy_from_slice(&second.to_le_bytes());
        Seed {
            epoch: self.epoch.get(),
            random,
        }
    }

    /// A nonce for a cookie. See [`crate::request::sticky::ticket`] for why it need not come from a
    /// source of ciphers.
    pub(crate) fn nonce(&self) -> [u8; NONCE] {
        self.rng.borrow_mut().random()
    }

    /// What a target is asked for a WebSocket with.
    pub(crate) fn websocket_key(&self) -> [u8; 16] {
        self.rng.borrow_mut().random()
    }

    /// A random number, to tell connections apart.
    pub(crate) fn number(&self) -> u64 {
        self.rng.borrow_mut().random()
    }

    /// A random number below `bound`.
    pub(crate) fn draw(&self, bound: u64) -> u64 {
        self.rng.borrow_mut().random_range(0..bound.max(1))
    }

    /// Asks the control task to look at an endpoint, once until it does.
    pub(crate) fn call(&self, group: GroupId, endpoint: &Endpoint) {
        if endpoint.call() {
            let event = Event::Called(group, endpoint.id);
            if self.outbox.try_send(Message::Event(event)).is_err() {
                // It has more to do than it can; the next fault asks again.
                endpoint.answer_call();
            }
        }
    }

    fn load(&self) -> &Load {
        &self.peers[self.index].connections
    }

    /// Client connections that are open, over all workers.
    pub(crate) fn open(&self) -> usize {
        let all = self.peers.iter().map(|peer| peer.connections.get());
        all.sum()
    }

    /// Serves a connection in a task of its own.
    pub(crate) fn serve(
        self: &Rc<Self>,
        listener: ListenerId,
        stream: tokio::net::TcpStream,
        peer: SocketAddr,
    ) {
        self.load().add();
        self.serve_counted(Counted::new(Rc::clone(self)), listener, stream, peer);
    }

    fn serve_counted(
        self: &Rc<Self>,
        counted: Counted,
        listener: ListenerId,
        stream: tokio::net::TcpStream,
        peer: SocketAddr,
    ) {
        let Some(agreed) = self.shared.load().listener(listener).cloned() else {
            tracing::error!(%peer, "a connection of a listener that is not known");
            return;
        };
        let begin = connection::begin(counted, listener, agreed, stream, peer);
        // The task is the connection: what was around it would hold its arguments once more.
        tokio::task::spawn_local(connection::serve(Box::pin(begin)));
    }
}

/// An open connection in the worker's count and in that of its address, however it ends.
pub(super) struct Counted {
    worker: Rc<Worker>,
    place: Place,
}

impl Counted {
    /// Takes over what was added to the worker's load.
    fn new(worker: Rc<Worker>) -> Self {
        Self {
            worker,
            place: Place::default(),
        }
    }

    /// Whose it is.
    pub(super) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// Takes a place among the connections from there.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn enter(&mut self, limits: ConnectionLimits, source: IpAddr) -> Result<(), Reason> {
        let crowd = &self.worker.shared.crowd;
        self.place = crowd.enter(limits, || self.worker.open(), source)?;
        Ok(())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let place = std::mem::take(&mut self.place);
        self.worker.shared.crowd.leave(place);
        self.worker.load().subtract();
    }
}

/// Runs a worker until its orders end, or, once told to drain, until its last connection is
/// closed; or until nobody wants it any more.
///
/// # Errors
/// If the runtime cannot be made.
pub(crate) fn run(
    index: usize,
    shared: Arc<Shared>,
    peers: Arc<[Handle]>,
    seed: u64,
    outbox: mpsc::Sender<Message>,
    inbox: Inbox,
    unwanted: watch::Receiver<()>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())?;
    let worker = Rc::new(Worker {
        index,
        shared,
        pool: Pool::new(index),
        buffers: Buffers::default(),
        desks: Desks::default(),
        date: Cell::new(clock::http_date(clock::wall())),
        cookies_expire: Cell::new(clock::http_date(clock::wall() + COOKIE_LIFE)),
        epoch: Cell::new(clock::epoch(clock::wall())),
        wall: Cell::new(Wall::read()),
        timers: Timers::new(),
        handshakes: Rc::default(),
        metrics: Arc::clone(&peers[index].metrics),
        coders: Coders::default(),
        recorder: Recorder::default(),
        copies: Cell::new(0),
        peers,
        outbox,
        draining: Cell::new(None),
        over: Cell::new(false),
        rng: RefCell::new(SmallRng::seed_from_u64(seed.wrapping_add(index as u64))),
    });
    runtime.block_on(async {
        tokio::select! {
            () = work(&worker, inbox) => {}
            () = dropped(unwanted) => worker.over.set(true),
        }
    });
    Ok(())
}

async fn work(worker: &Rc<Worker>, Inbox(mut inbox): Inbox) {
    let mut accepting = Accepting::default();
    let reaper = {
        let worker = Rc::clone(worker);
        tokio::task::spawn_local(async move { worker.pool.reap(&worker.timers).await })
    };
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut since_sweep = Duration::ZERO;
    let mut told_all = false;
    loop {
        tokio::select! {
            order = inbox.recv(), if !told_all => match order {
                None => told_all = true,
                Some(order) => obey(worker, &mut accepting, order),
            },
            _ = tick.tick() => {
                worker.timers.tick();
                worker.wall.set(Wall::read());
                worker.recorder.flush();
                since_sweep += TICK;
                if since_sweep >= SWEEP {
                    since_sweep = Duration::ZERO;
                    let idle = worker.pool.sweep(&worker.timers, &worker.metrics);
                    worker.metrics.idle_connections.set(idle as u64);
                    let now = clock::wall();
                    worker.date.set(clock::http_date(now));
                    worker.epoch.set(clock::epoch(now));
                    worker
                        .cookies_expire
                        .set(clock::http_date(now + COOKIE_LIFE));
                }
                accepting.ending.retain(|task| !task.is_finished());
                if worker.is_draining()
                    && worker.load().get() == 0
                    && accepting.ending.is_empty()
                {
                    if told_all {
                        break;
                    }
                    // What others have sent is still read, also if it is a connection.
                    inbox.close();
                }
            }
        }
    }
    reaper.abort();
    // What was gathered goes out, and the log's thread may end.
    worker.recorder.set(Settings::default());
}

/// A worker's listening sockets.
#[derive(Default)]
struct Accepting {
    /// The tasks that accept, each with what ends it when dropped.
    open: HashMap<ListenerId, (JoinHandle<()>, oneshot::Sender<()>)>,
    /// Those that take what is left.
    ending: Vec<JoinHandle<()>>,
}

fn obey(worker: &Rc<Worker>, accepting: &mut Accepting, order: Order) {
    match order {
        Order::Listen(id, socket, open) => match tokio::net::TcpListener::from_std(socket) {
            Ok(socket) => {
                let (stop, stopped) = oneshot::channel();
                let worker = Rc::clone(worker);
                let task = tokio::task::spawn_local(async move {
                    listener::accept(worker, id, socket, stopped).await;
                    drop(open);
                });
                accepting.open.insert(id, (task, stop));
            }
            Err(error) => tracing::error!(%error, "a listening socket cannot be used"),
        },
        Order::Unlisten(id) => {
            let task = accepting.open.remove(&id).map(|(task, _)| task);
            accepting.ending.extend(task);
        }
        // Whoever is gone does not want to know any more.
        Order::Answer(reply) => reply.send(()).unwrap_or_default(),
        Order::Serve(id, stream, peer) => {
            let counted = Counted::new(Rc::clone(worker));
            match tokio::net::TcpStream::from_std(stream) {
                Ok(stream) => worker.serve_counted(counted, id, stream, peer),
                Err(error) => tracing::error!(%error, "a connection from another worker is lost"),
            }
        }
        Order::Record(settings) => worker.recorder.set(*settings),
        Order::Recall(about, most, reply) => {
            // Whoever is gone does not want to know any more.
            drop(reply.send(worker.recorder.recall(about.as_deref(), most)));
        }
        Order::Drain => {
            worker.draining.set(Some(worker.timers.now()));
            // Connections that the kernel has completed are requests that clients have sent: the
            // accept tasks take them before they end.
            let tasks = accepting.open.drain().map(|(_, (task, _))| task);
            accepting.ending.extend(tasks);
            worker.timers.wake_all();
        }
    }
}
