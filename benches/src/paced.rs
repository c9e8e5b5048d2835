//! Requests over HTTP/1.1 at a constant rate, with the time of each counted from when it was due: a
//! stall counts for all requests that it made late (no coordinated omission).
//!
//! `paced ADDRESS PATH LENGTH CONNECTIONS SECONDS RATE`. A request that is due while all connections
//! are at work waits, and its time goes on. Each answer must have 200 and LENGTH bytes.

#![allow(
    clippy::disallowed_methods,
    reason = "a measurement is about real time"
)]

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

const TIMER: Token = Token(usize::MAX);
/// The first part of the time, which is not counted.
const WARM_UP: Duration = Duration::from_millis(500);
/// How long after the end late answers are waited for. Those that do not come then are counted with
/// the time that they have had.
const GRACE: Duration = Duration::from_secs(2);
/// The longest time that is told from longer ones.
const LONGEST: Duration = Duration::from_secs(600);

struct Plan {
    address: SocketAddr,
    request: Vec<u8>,
    length: usize,
    connections: usize,
    time: Duration,
    rate: f64,
}

fn main() -> ExitCode {
    let Some(plan) = plan(std::env::args().skip(1).collect()) else {
        eprintln!("usage: paced ADDRESS PATH LENGTH CONNECTIONS SECONDS RATE");
        return ExitCode::FAILURE;
    };
    match run(&plan) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("paced: {error}");
            ExitCode::FAILURE
        }
    }
}

fn plan(words: Vec<String>) -> Option<Plan> {
    let [address, path, length, connections, seconds, rate] = &words[..] else {
        return None;
    };
    let rate: f64 = rate.parse().ok()?;
    (rate > 0.0).then_some(Plan {
        address: address.parse().ok()?,
        request: format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes(),
        length: length.parse().ok()?,
        connections: connections.parse().ok()?,
        time: Duration::from_secs(seconds.parse().ok()?),
        rate,
    })
}

/// One connection, with when its request was due.
struct Client {
    stream: TcpStream,
    due: Option<Instant>,
    received: Vec<u8>,
    /// Bytes of head and body together, once the head is there.
    whole: Option<usize>,
    count: usize,
}

fn run(plan: &Plan) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
    poll.registry()
        .register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
    let mut clients = Vec::with_capacity(plan.connections);
    for index in 0..plan.connections {
        let stream = std::net::TcpStream::connect(plan.address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry()
            .register(&mut stream, Token(index), Interest::READABLE)?;
        clients.push(Client {
            stream,
            due: None,
            received: Vec::new(),
            whole: None,
            count: 0,
        });
    }
    let mut idle: VecDeque<usize> = (0..plan.connections).collect();
    let mut waiting: VecDeque<Instant> = VecDeque::new();
    let longest = u64::try_from(LONGEST.as_nanos()).unwrap_or(u64::MAX);
    let mut histogram =
        Histogram::<u64>::new_with_bounds(1, longest, 3).map_err(io::Error::other)?;
    let (mut failed, mut sent) = (0_u64, 0_u32);
    let begin = Instant::now();
    let end = begin + WARM_UP + plan.time;
    let due_at = |number: u32| begin + Duration::from_secs_f64(f64::from(number) / plan.rate);
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; 256 * 1024];
    let note = |histogram: &mut Histogram<u64>, due: Instant, now: Instant| {
        if due >= begin + WARM_UP {
            let nanos = u64::try_from((now - due).as_nanos()).unwrap_or(u64::MAX);
            histogram.saturating_record(nanos);
        }
    };
    loop {
        let now = Instant::now();
        while due_at(sent) <= now && due_at(sent) < end {
            waiting.push_back(due_at(sent));
            sent += 1;
        }
        while !waiting.is_empty()
            && let Some(at) = idle.pop_front()
        {
            let client = &mut clients[at];
            client.due = waiting.pop_front();
            client.stream.write_all(&plan.request)?;
        }
        let all_answered = waiting.is_empty() && idle.len() == plan.connections;
        if now >= end && (all_answered || now >= end + GRACE) {
            break;
        }
        let next = due_at(sent).min(end.max(now + Duration::from_millis(1)));
        arm(&timer, next.saturating_duration_since(Instant::now()))?;
        match poll.poll(&mut events, Some(Duration::from_millis(100))) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            if event.token() == TIMER {
                continue;
            }
            let Token(at) = event.token();
            let client = &mut clients[at];
            match client.advance(plan.length, &mut buffer) {
                Ok(false) => continue,
                Ok(true) => {}
                Err(error) => {
                    return Err(io::Error::other(format!("a connection failed: {error}")));
                }
            }
            if !client.received.starts_with(b"HTTP/1.1 200 ") {
                failed += 1;
            }
            client.received.clear();
            (client.whole, client.count) = (None, 0);
            if let Some(due) = client.due.take() {
                note(&mut histogram, due, Instant::now());
            }
            idle.push_back(at);
        }
    }
    // What was never answered has at least the time that it has had.
    let now = Instant::now();
    let unanswered = clients.iter().filter_map(|client| client.due);
    let mut late = 0_u64;
    for due in unanswered.chain(waiting) {
        late += 1;
        note(&mut histogram, due, now);
    }
    println!("done {}", histogram.len());
    println!("failed {failed}");
    println!("late {late}");
    for (name, share) in [
        ("p50", 50.0),
        ("p99", 99.0),
        ("p99.9", 99.9),
        ("max", 100.0),
    ] {
        println!("{name} {}", histogram.value_at_percentile(share) / 1_000);
    }
    Ok(())
}

/// An event after so long, and at once if it is nothing.
fn arm(timer: &rustix::fd::OwnedFd, after: Duration) -> io::Result<()> {
    let value = Timespec {
        tv_sec: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(after.subsec_nanos().max(1)),
    };
    let spec = Itimerspec {
        it_interval: Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        },
        it_value: value,
    };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &spec)?;
    Ok(())
}

impl Client {
    /// Reads what is there. Whether the response is whole.
    fn advance(&mut self, length: usize, buffer: &mut [u8]) -> io::Result<bool> {
        loop {
            let count = match self.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            };
            self.count += count;
            if self.whole.is_none() {
                self.received.extend_from_slice(&buffer[..count]);
                let mut fours = self.received.windows(4);
                self.whole = fours
                    .position(|four| four == b"\r\n\r\n")
                    .map(|head| head + 4 + length);
            }
            match self.whole {
                Some(whole) if self.count == whole => return Ok(true),
                Some(whole) if self.count > whole => {
                    return Err(io::Error::other("more than the answer"));
                }
                _ => {}
            }
        }
    }
}
