//! The live side of one target in one group: what must outlive a snapshot.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use longshore_discovery::{Target, TargetKey};
use socket2::SockRef;

use super::identity::Identity;
use super::load::Load;
use super::passive::{Fault, Passive, Runs, Seen, Timed, latest_success, seen};
use super::trial::Trial;
use crate::clock;
use crate::observe::counters::{TARGET_TIMES, class};
use crate::observe::ledger::TargetSide;
use crate::tls::target::TargetTls;

/// How long ECS may take to learn that a task has ended by itself. Until then it confirms a task
/// that is gone, so a look counts only from so long after a loss.
const REPORT_LAG_MICROS: u64 = 1_000_000;

/// One target in one group. Keyed by the target's identity, never by its address.
#[derive(Debug)]
pub struct Endpoint {
    /// Unique in the process and never used again.
    pub id: u64,
    /// The group it belongs to.
    pub group: Arc<str>,
    /// What it is.
    pub key: TargetKey,
    /// The same as text.
    pub name: Box<str>,
    /// What it is, as cookies of sticky sessions name it.
    pub identity: Identity,
    /// Where it is. An endpoint whose target moves is replaced by another endpoint.
    pub address: SocketAddr,
    /// See [`Target::shared_port`].
    pub shared_port: bool,
    /// How it is connected to; none: in plain.
    pub tls: Option<TargetTls>,
    /// It is spoken to in HTTP/2.
    pub http2: bool,
    /// It left its group: nothing new may be sent to it.
    retired: AtomicBool,
    /// How long what is in flight then has, in milliseconds.
    delay: AtomicU64,
    /// Its deregistration delay is over, or its address went to another target: what is still in
    /// flight ends.
    expired: AtomicBool,
    /// When its presence was last confirmed (`clock::micros`).
    confirmed: AtomicU64,
    /// A look that began after this moment tells whether it is there after a connection was lost
    /// without our doing (`clock::micros`; 0: none was lost).
    lost: AtomicU64,
    /// What it is like over all workers, for algorithms that need to know.
    load: Load,
    workers: Box<[WorkerSide]>,
    /// The control task has been asked to look at it, and has not done so.
    called: AtomicBool,
    /// How it may show that it is well again.
    pub(crate) trial: Trial,
    /// It has kept a connection open for a second request.
    reuses: AtomicBool,
    /// When the target ended a connection after a response, before it was known to keep any: a look
    /// that began after this moment and shows it tells that it does so while it lives
    /// (`clock::micros`; 0: never).
    ended: AtomicU64,
    /// The same of a target that does keep them, when it announced the end of one
    /// (`Connection: close`, GOAWAY).
    announced: AtomicU64,
    /// The open connections of all workers, if `shared_port`; see `evidence`.
    connections: Mutex<Vec<(u64, TcpStream)>>,
}

/// What one worker writes for each request; on its own cache lines, so that no other worker's
/// requests wait for it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct WorkerSide {
    in_flight: AtomicU32,
    requests: AtomicU64,
    failures: AtomicU64,
    errors: AtomicU64,
    passive: Passive,
    figures: TargetSide,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Adds to a counter that only the calling thread writes: a load and a store, no locked
/// instruction.
fn add_own(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

impl Endpoint {
    /// The live side of a target. `workers` is the number of worker threads.
    #[must_use]
    pub fn new(group: Arc<str>, target: &Target, workers: usize) -> Arc<Self> {
        Self::speaking(group, target, workers, None, false)
    }

    /// The same with TLS, and with HTTP/2.
    #[must_use]
    pub fn speaking(
        group: Arc<str>,
        target: &Target,
        workers: usize,
        tls: Option<&TargetTls>,
        http2: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            group,
            key: target.key.clone(),
            name: target.key.to_string().into(),
            identity: Identity::target(&target.key),
            address: target.address,
            shared_port: target.shared_port,
            tls: tls.map(|tls| tls.for_target(http2)),
            http2,
            retired: AtomicBool::new(false),
            delay: AtomicU64::new(0),
            expired: AtomicBool::new(false),
            confirmed: AtomicU64::new(clock::micros(target.confirmed_at)),
            lost: AtomicU64::new(0),
            load: Load::default(),
            workers: (0..workers.max(1)).map(|_| WorkerSide::default()).collect(),
            called: AtomicBool::new(false),
            trial: Trial::default(),
            reuses: AtomicBool::new(false),
            ended: AtomicU64::new(0),
            announced: AtomicU64::new(0),
            connections: Mutex::new(Vec::new()),
        })
    }

    /// Nothing new goes here any more. What is in flight has that long.
    pub fn retire(&self, delay: Duration) {
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.delay.store(millis, Ordering::Relaxed);
        self.retired.store(true, Ordering::Release);
    }

    /// How long what is in flight has, or had, from when it was retired.
    #[must_use]
    pub fn delay(&self) -> Duration {
        Duration::from_millis(self.delay.load(Ordering::Relaxed))
    }

    /// See [`Self::retire`].
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// What is still in flight ends.
    pub fn expire(&self) {
        self.retired.store(true, Ordering::Release);
        self.expired.store(true, Ordering::Release);
    }

    /// See [`Self::expire`].
    #[must_use]
    pub fn is_expired(&self) -> bool {
        self.expired.load(Ordering::Acquire)
    }

    /// A look at the world that began at that moment showed the target in its place.
    pub fn confirm(&self, at: Instant) {
        self.confirmed
            .fetch_max(clock::micros(at), Ordering::AcqRel);
    }

    /// A connection ended without our doing.
    pub fn lost_connection(&self, at: Instant, loss: Loss) {
        if self.shared_port {
            self.lost.fetch_max(counts_from(at, loss), Ordering::AcqRel);
        }
    }

    /// A connection ended without our doing, after a response.
    ///
    /// Some targets end each of theirs, and would be in doubt for ever; others end one now and then
    /// and say so, and would be in doubt for [`REPORT_LAG_MICROS`] each time. But until a target was
    /// seen to outlive such an end, it may as well have been its own.
    pub fn ended_connection(&self, at: Instant, loss: Loss) {
        if !self.reuses() {
            if !self.has_outlived(&self.ended) {
                self.ended
                    .fetch_max(counts_from(at, Loss::Sudden), Ordering::AcqRel);
                self.lost_connection(at, Loss::Sudden);
            }
        } else if loss == Loss::Announced && self.has_outlived(&self.announced) {
            self.lost_connection(at, Loss::Announced);
        } else {
            if loss == Loss::Announced {
                self.announced
                    .fetch_max(counts_from(at, Loss::Sudden), Ordering::AcqRel);
            }
            self.lost_connection(at, Loss::Sudden);
        }
    }

    /// Whether a look that began after an end that was noted there has shown it.
    fn has_outlived(&self, end: &AtomicU64) -> bool {
        let end = end.load(Ordering::Acquire);
        end != 0 && self.was_confirmed_after(end)
    }

    /// Whether a new connection might reach another task that was given this port.
    ///
    /// Only ports of a host's dynamic range change hands, and only after the task's connections
    /// were closed. So there is doubt when a connection was lost after the latest confirmation
    /// and no other one is open that proves that the task lives.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        self.shared_port
            && !self.is_confirmed_since_loss()
            && evidence(&self.connections()) != Evidence::Alive
    }

    /// Takes note of a connection that was just made, by a second handle on its socket, if it
    /// surely leads to this target. `trusting`: also if it is not sure.
    ///
    /// Asked and noted in one step: two new connections to a port's next owner, made by two workers
    /// at the same time, must not vouch for each other.
    pub(crate) fn admits(&self, connection: u64, socket: TcpStream, trusting: bool) -> bool {
        if self.is_retired() {
            return false;
        }
        if !self.shared_port {
            return true;
        }
        let mut connections = self.connections();
        let sure = match evidence(&connections) {
            // The old process closed all of its connections before its port could be taken, so
            // one that is open now proves that this is still it.
            Evidence::Alive => true,
            // Nobody may have taken note of the close yet.
            Evidence::Closed => {
                self.lost_connection(clock::now(), Loss::Sudden);
                false
            }
            Evidence::None => self.is_confirmed_since_loss(),
        };
        if sure || trusting {
            connections.push((connection, socket));
        }
        sure || trusting
    }

    /// It keeps connections open after a response.
    pub(crate) fn reuses(&self) -> bool {
        self.reuses.load(Ordering::Relaxed)
    }

    /// A connection serves its second request.
    pub(crate) fn reused(&self) {
        if !self.reuses() {
            self.reuses.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a look that began after that (`clock::micros`) has shown it in its place.
    pub(crate) fn was_confirmed_after(&self, since: u64) -> bool {
        self.confirmed.load(Ordering::Acquire) > since
    }

    fn is_confirmed_since_loss(&self) -> bool {
        let lost = self.lost.load(Ordering::Acquire);
        lost == 0 || self.confirmed.load(Ordering::Acquire) > lost
    }

    fn connections(&self) -> MutexGuard<'_, Vec<(u64, TcpStream)>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection is closed on our side.
    pub(crate) fn closed(&self, connection: u64) {
        self.connections().retain(|(id, _)| *id != connection);
    }

    /// Requests in flight, over all workers.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.workers
            .iter()
            .map(|side| u64::from(side.in_flight.load(Ordering::Relaxed)))
            .sum()
    }

    /// Requests that were given to it.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.workers
            .iter()
            .map(|side| side.requests.load(Ordering::Relaxed))
            .sum()
    }

    /// Requests that failed at it: no connection, or no response.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.workers
            .iter()
            .map(|side| side.failures.load(Ordering::Relaxed))
            .sum()
    }

    /// Requests that it answered with 5xx, or that failed for a reason that is its own: what ALB's
    /// anomaly detection counts.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.workers
            .iter()
            .map(|side| side.errors.load(Ordering::Relaxed))
            .sum()
    }

    /// Requests in flight as `least_outstanding_requests` counts them.
    #[must_use]
    pub fn outstanding(&self) -> u32 {
        self.load.outstanding()
    }

    /// Bytes that it takes, without what is open at it.
    #[must_use]
    pub fn memory(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.workers)
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Without a word: the task may have ended just now, and ECS may not know it yet.
    Sudden,
    /// After a response with `Connection: close`, or GOAWAY, at a target that was seen to go on
    /// after such an end. If it is going away this time, it was most likely told to stop, and then
    /// it is stopped for ECS already.
    Announced,
}

/// When a look must have begun to tell whether the target outlived a loss.
fn counts_from(at: Instant, loss: Loss) -> u64 {
    let at = clock::micros(at).max(1);
    match loss {
        Loss::Sudden => at + REPORT_LAG_MICROS,
        Loss::Announced => at,
    }
}

/// What a look at a connection says about the process at its other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Evidence {
    Alive,
    Closed,
    /// Nothing. Data that waits to be read hides whether a close comes after it.
    None,
}

/// What open connections say. Asks the kernel, so a close counts from the moment its packet
/// arrived, not from when a worker took note.
fn evidence(connections: &[(u64, TcpStream)]) -> Evidence {
    let mut evidence = Evidence::None;
    for (_, socket) in connections {
        match peek(&SockRef::from(socket)) {
            Evidence::Alive => return Evidence::Alive,
            Evidence::Closed => evidence = Evidence::Closed,
            Evidence::None => {}
        }
    }
    evidence
}

/// Asks the kernel about a connection, without taking anything from it.
pub(crate) fn peek(socket: &SockRef<'_>) -> Evidence {
    let mut byte = [std::mem::MaybeUninit::uninit()];
    match socket.peek(&mut byte) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Evidence::Alive,
        Ok(0) | Err(_) => Evidence::Closed,
        Ok(_) => Evidence::None,
    }
}

impl Endpoint {
    /// A request of a worker begins. `counted`: the group's algorithm needs the number over all
    /// workers.
    pub fn begin(&self, worker: usize, counted: bool) {
        let side = self.side(worker);
        side.in_flight.fetch_add(1, Ordering::Relaxed);
        add_own(&side.requests);
        if counted {
            self.load.begin();
        }
    }

    /// A request of a worker begins, if fewer than `limit` are in flight over all workers.
    pub(crate) fn begin_below(&self, worker: usize, limit: u32) -> bool {
        let begins = self.load.begin_below(limit);
        if begins {
            self.begin(worker, false);
        }
        begins
    }

    /// A request of a worker ends.
    pub fn end(&self, worker: usize, counted: bool) {
        self.side(worker).in_flight.fetch_sub(1, Ordering::Relaxed);
        if counted {
            self.load.end();
        }
    }

    /// A request of a worker failed here.
    pub(crate) fn failed(&self, worker: usize) {
        add_own(&self.side(worker).failures);
    }

    /// A request had its response head after so many microseconds, or failed, at a time in
    /// milliseconds. For groups whose algorithm needs to know.
    pub fn observe(&self, micros: u64, failed: bool, now_millis: u64) {
        self.load.observe(micros, failed, now_millis);
    }

    /// The head of a response to a worker's request is there.
    pub(crate) fn answered(&self, worker: usize, status: u16, took: Duration) {
        let figures = &self.side(worker).figures;
        figures.responses.count(class(status));
        figures.time.note(&TARGET_TIMES, took);
    }

    /// What each worker counted of its responses.
    pub(crate) fn figures(&self) -> impl Iterator<Item = &TargetSide> + Clone {
        self.workers.iter().map(|side| &side.figures)
    }

    /// A request of a worker ended in an error of the target's.
    pub(crate) fn erred(&self, worker: usize) {
        add_own(&self.side(worker).errors);
    }

    /// A request of a worker succeeded, its response is out; at a time in milliseconds
    /// (`Timers::now`).
    pub fn succeeded(&self, worker: usize, now: u64) {
        self.side(worker).passive.succeeded(now);
    }

    /// A request of a worker ended badly. Tells that worker's run.
    pub fn faulted(&self, worker: usize, fault: Fault, now: u64) -> Runs {
        let parts = self.workers.iter().map(|side| &side.passive);
        let succeeded = latest_success(parts);
        self.side(worker).passive.failed(fault, now, succeeded)
    }

    /// A response head of a worker's request took so long.
    pub fn took(&self, worker: usize, micros: u64) {
        self.side(worker).passive.took(micros);
    }

    /// What requests of all workers show.
    #[must_use]
    pub fn seen(&self) -> Seen {
        seen(self.workers.iter().map(|side| &side.passive))
    }

    /// How long response heads took, over all workers.
    #[must_use]
    pub fn timed(&self) -> Timed {
        let all = self.workers.iter().map(|side| side.passive.timed());
        all.fold(Timed::default(), |sum, one| Timed {
            micros: sum.micros.wrapping_add(one.micros),
            count: sum.count + one.count,
        })
    }

    /// The control task is to look at it. False if it knows already.
    pub(crate) fn call(&self) -> bool {
        !self.called.load(Ordering::Relaxed) && !self.called.swap(true, Ordering::AcqRel)
    }

    /// The control task looks now, or could not be asked.
    pub(crate) fn answer_call(&self) {
        self.called.store(false, Ordering::Release);
    }

    /// How many workers there are.
    pub(crate) fn workers(&self) -> usize {
        self.workers.len()
    }

    /// What it is like over all workers.
    pub(crate) fn load(&self) -> &Load {
        &self.load
    }

    fn side(&self, worker: usize) -> &WorkerSide {
        // Not the remainder: a request would divide some six times.
        self.workers.get(worker).unwrap_or(&self.workers[0])
    }
}

#[cfg(test)]
#[path = "endpoint_tests.rs"]
mod tests;
