//! One turn: one side under a constant rate.
//!
//! Each connection (or stream of one) takes the next number when it is free. That number says when
//! its request was due, and from then on its time counts, whether it waited for its moment, for a
//! connection or for the response.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;

use crate::client::{self, Failure, Meter, Sender};
use crate::clock;
use crate::pace::pace;
use crate::schedule::Schedule;
use crate::side::{Side, Version};
use crate::tally::{Kind, Tally};

/// How often a thread looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(50);

/// How much load, besides its rate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) connections: u32,
    pub(crate) streams: u32,
    pub(crate) threads: u32,
    pub(crate) warmup: Duration,
    pub(crate) duration: Duration,
}

/// What all slots of a turn share.
struct Turn {
    side: Arc<Side>,
    /// None: each slot begins its next request at once.
    schedule: Option<Schedule>,
    shape: Shape,
    permits: Semaphore,
    next: AtomicU64,
    begin: OnceLock<Instant>,
}

impl Turn {
    fn begin(&self) -> Instant {
        *self.begin.get_or_init(clock::now)
    }

    fn counts(&self, number: u64, now: Instant) -> bool {
        match &self.schedule {
            Some(schedule) => schedule.counts(number),
            None => now >= self.begin() + self.shape.warmup,
        }
    }

    /// After this nothing begins any more.
    fn last(&self) -> Instant {
        let grace = match self.schedule {
            Some(_) => self.side.timeout,
            None => Duration::ZERO,
        };
        self.begin() + self.shape.warmup + self.shape.duration + grace
    }

    /// The next request: its number and when it is due.
    async fn take(&self) -> Option<(u64, Instant)> {
        let Some(schedule) = &self.schedule else {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            return Some((number, clock::now()));
        };
        let over = match self.permits.acquire().await {
            Ok(permit) => {
                permit.forget();
                false
            }
            // All have been let go, or the run is stopped.
            Err(_) => true,
        };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if number >= schedule.total {
            return None;
        }
        let due = self.begin() + schedule.due(number);
        (!over || due <= clock::now()).then_some((number, due))
    }
}

/// Loads a side, and waits until all is answered. `rate` of None: each connection always has a
/// request, and the rate is what the side answers.
pub(crate) fn turn(
    side: &Arc<Side>,
    rate: Option<f64>,
    shape: Shape,
    stop: &AtomicBool,
) -> Result<Tally, String> {
    let schedule = rate.map(|rate| Schedule::new(rate, shape.warmup, shape.duration));
    let turn = Turn {
        side: Arc::clone(side),
        schedule,
        shape,
        permits: Semaphore::new(0),
        next: AtomicU64::new(0),
        begin: OnceLock::new(),
    };
    let turn = Arc::new(turn);
    let threads = shape.threads.min(shape.connections).max(1);
    let ready = Barrier::new(threads as usize + 1);
    let mut sum = Tally::new();
    let mut passed = Duration::ZERO;
    std::thread::scope(|scope| -> Result<(), String> {
        let mut running = Vec::new();
        for number in 0..threads {
            let (turn, ready) = (Arc::clone(&turn), &ready);
            running.push(scope.spawn(move || thread(&turn, number, threads, ready, stop)));
        }
        // All are connected; what comes now is load.
        ready.wait();
        let begin = turn.begin();
        ready.wait();
        if let Some(schedule) = &turn.schedule {
            pace(begin, schedule, &turn.permits, stop);
        }
        // Whoever waits finds that nothing is left.
        turn.permits.close();
        for thread in running {
            let counted = thread
                .join()
                .map_err(|_| "a thread of the generator panicked")?;
            sum.add(&counted?);
        }
        passed = clock::now().saturating_duration_since(begin);
        Ok(())
    })?;
    // A side that falls behind answers some of it after the time.
    let counted = passed.saturating_sub(shape.warmup).max(shape.duration);
    sum.seconds = counted.as_secs_f64();
    match &turn.schedule {
        Some(schedule) => sum.due = schedule.counted(),
        None => sum.due = sum.succeeded() + sum.failed(),
    }
    let known = sum.succeeded() + sum.failed();
    sum.fail_many(Kind::NotSent, sum.due.saturating_sub(known));
    Ok(sum)
}

/// A thread with its share of the connections.
fn thread(
    turn: &Arc<Turn>,
    number: u32,
    threads: u32,
    ready: &Barrier,
    stop: &AtomicBool,
) -> Result<Tally, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let meter = Arc::new(Meter::default());
    let own = (0..turn.shape.connections).filter(|line| line % threads == number);
    let lines: Vec<Arc<Line>> = own.map(|line| Arc::new(Line::new(line, &meter))).collect();
    let mut sum = Tally::new();
    if let Ok(runtime) = &runtime {
        runtime.block_on(open(turn, &lines, &mut sum));
    }
    ready.wait();
    ready.wait();
    let runtime = runtime.map_err(|error| format!("cannot start a thread of load: {error}"))?;
    let before = clock::held();
    let began = clock::now();
    runtime.block_on(serve(turn, &lines, stop, &mut sum));
    let passed = clock::now().saturating_duration_since(began).as_secs_f64();
    if let (Some(before), Some(after)) = (before, clock::held()) {
        sum.busy = after.saturating_sub(before).as_secs_f64() / passed.max(1e-6);
    }
    sum.bytes = meter.bytes();
    // What still runs is ended with it: connections.
    runtime.shutdown_background();
    Ok(sum)
}

/// Makes all connections that are kept. One that cannot be made is tried again by its request.
async fn open(turn: &Arc<Turn>, lines: &[Arc<Line>], sum: &mut Tally) {
    if turn.side.churn {
        return;
    }
    let mut opening = JoinSet::new();
    for line in lines {
        let (turn, line) = (Arc::clone(turn), Arc::clone(line));
        opening.spawn(async move {
            let began = clock::now();
            let made = line.connect(&turn.side).await;
            let sender = made.ok()?;
            *line.sender.lock().await = Some(sender);
            Some(clock::now().saturating_duration_since(began))
        });
    }
    while let Some(opened) = opening.join_next().await {
        if let Ok(Some(took)) = opened {
            sum.connect(took);
        }
    }
}

/// Runs all slots to their end, or until the run is stopped.
async fn serve(turn: &Arc<Turn>, lines: &[Arc<Line>], stop: &AtomicBool, sum: &mut Tally) {
    let several = turn.side.version == Version::Two && !turn.side.churn;
    let streams = if several { turn.shape.streams } else { 1 };
    let mut slots = JoinSet::new();
    for line in lines {
        for _ in 0..streams {
            slots.spawn(slot(Arc::clone(turn), Arc::clone(line)));
        }
    }
    loop {
        match tokio::time::timeout(LOOK, slots.join_next()).await {
            Ok(Some(Ok(part))) => sum.add(&part),
            // A slot that panicked, or was cancelled, has its requests among those not sent.
            Ok(Some(Err(_))) => {}
            Ok(None) => return,
            Err(_) if stop.load(Ordering::Relaxed) => return,
            Err(_) => {}
        }
    }
}

/// What makes one request after the other.
async fn slot(turn: Arc<Turn>, line: Arc<Line>) -> Tally {
    let mut part = Tally::new();
    loop {
        let idle = clock::now();
        let Some((number, due)) = turn.take().await else {
            return part;
        };
        let began = clock::now();
        if began > turn.last() {
            return part;
        }
        let counts = turn.counts(number, began);
        if counts && idle <= due {
            part.begin(began.saturating_duration_since(due));
        }
        let answered = line.request(&turn, number, counts, &mut part).await;
        part.carried += 1;
        let took = clock::now().saturating_duration_since(due);
        if counts {
            match answered.map(Kind::of_status) {
                Ok(None) => part.succeed(took),
                Ok(Some(kind)) => part.fail(kind),
                Err(failure) => part.fail(failure.kind),
            }
        }
    }
}

/// A connection, as it is made anew when it has ended.
struct Line {
    number: u32,
    /// Of a connection that is free. With HTTP/1.1 it is empty while a request is on it.
    sender: Mutex<Option<Sender>>,
    meter: Arc<Meter>,
}

impl Line {
    fn new(number: u32, meter: &Arc<Meter>) -> Self {
        Self {
            number,
            sender: Mutex::new(None),
            meter: Arc::clone(meter),
        }
    }

    async fn connect(&self, side: &Side) -> Result<Sender, Failure> {
        let place = self.number as usize % side.addresses.len().max(1);
        let address = side.addresses.get(place).copied();
        let address = address.unwrap_or(([127, 0, 0, 1], side.target.port).into());
        let connected = client::connect(side, address, &self.meter, side.timeout).await;
        let (stream, ..) = connected?;
        client::over(stream, side.version).await
    }

    /// What sends on this connection, which is made if it is not there.
    async fn ready(&self, turn: &Turn, counts: bool, part: &mut Tally) -> Result<Sender, Failure> {
        let mut place = self.sender.lock().await;
        if !turn.side.churn
            && let Some(mut sender) = place.take()
            && sender.is_ready().await
        {
            *place = sender.shared();
            return Ok(sender);
        }
        let began = clock::now();
        let sender = self.connect(&turn.side).await?;
        part.connect(clock::now().saturating_duration_since(began));
        part.connections += u64::from(counts);
        if !turn.side.churn {
            *place = sender.shared();
        }
        Ok(sender)
    }

    async fn request(
        &self,
        turn: &Turn,
        number: u64,
        counts: bool,
        part: &mut Tally,
    ) -> Result<u16, Failure> {
        let side = &turn.side;
        let mut sender = self.ready(turn, counts, part).await?;
        let answered = client::exchange(&mut sender, side.request(number), side.timeout).await;
        let keeps = matches!(sender, Sender::One(_)) && !side.churn && answered.is_ok();
        if keeps {
            *self.sender.lock().await = Some(sender);
        }
        answered
    }
}
