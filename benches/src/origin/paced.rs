//! Requests over HTTP/1.1 at a constant rate, with the time of each counted from when it was due: a
//! stall counts for all requests that it made late (no coordinated omission).
//!
//! Asked for by `/paced/ADDRESS,PATH,LENGTH,CONNECTIONS,SECONDS,RATE`. A request that is due while
//! all connections are at work waits, and its time goes on. Each answer must have 200 and LENGTH
//! bytes.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use longshore_benches::percentile;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

/// The token of the first connection, above all of the origin's.
pub(crate) const FIRST_TOKEN: usize = 1 << 32;
/// The first part of the time, which is not counted.
const WARM_UP: Duration = Duration::from_millis(300);
/// How long after the end late answers are waited for. Those that do not come then are counted with
/// the time that they have had.
const GRACE: Duration = Duration::from_secs(2);
/// What the figures are taken of beside the whole time: the machine stands still for some
/// milliseconds a few times in a second, and most parts as short as this are without that.
const PART: Duration = Duration::from_millis(20);
/// The fewest requests in a part: of fewer, the 99th percentile is the longest time.
const LEAST: usize = 100;
/// Requests a second that are more than any machine makes.
const HIGHEST: f64 = 1e7;
/// How many bytes of an answer are taken at once.
const CHUNK: usize = 256 * 1024;

struct Plan {
    address: SocketAddr,
    request: Vec<u8>,
    length: usize,
    connections: usize,
    time: Duration,
    rate: f64,
}

/// Load that is being made.
pub(crate) struct Paced {
    plan: Plan,
    clients: Vec<Client>,
    /// Those of them without a request.
    idle: VecDeque<usize>,
    /// Numbers of the requests that are due and that no connection has taken.
    waiting: VecDeque<u32>,
    begin: Instant,
    end: Instant,
    /// Nanoseconds of each request that was due, by its number; none before its answer.
    times: Vec<Option<u64>>,
    failed: u64,
    buffer: Vec<u8>,
}

/// One connection, with the number of its request.
struct Client {
    stream: TcpStream,
    request: Option<u32>,
    received: Vec<u8>,
    /// Bytes of head and body together, once the head is there.
    whole: Option<usize>,
    count: usize,
}

impl Plan {
    fn of(order: &str) -> Option<Self> {
        let words: Vec<&str> = order.split(',').collect();
        let [address, path, length, connections, seconds, rate] = words[..] else {
            return None;
        };
        let rate: f64 = rate.parse().ok()?;
        (rate > 0.0 && rate <= HIGHEST).then_some(Self {
            address: address.parse().ok()?,
            request: format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes(),
            length: length.parse().ok()?,
            connections: connections.parse().ok()?,
            time: Duration::from_secs(seconds.parse().ok()?),
            rate,
        })
    }
}

impl Plan {
    /// How many requests are due in that time.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rates are above 0 and bounded, and times are some minutes"
    )]
    fn requests(&self, time: Duration) -> usize {
        (self.rate * time.as_secs_f64()) as usize
    }
}

impl Paced {
    /// Connects all clients.
    ///
    /// # Errors
    /// A sentence about an order that is not understood, or that cannot be followed.
    pub(crate) fn begin(order: &str, registry: &Registry) -> Result<Self, String> {
        let Some(plan) = Plan::of(order) else {
            return Err(format!("an order that is not understood: {order}"));
        };
        let clients: io::Result<Vec<Client>> = (0..plan.connections)
            .map(|index| Client::connect(plan.address, Token(FIRST_TOKEN + index), registry))
            .collect();
        let clients = clients.map_err(|error| format!("cannot connect: {error}"))?;
        let now = Instant::now();
        Ok(Self {
            idle: (0..plan.connections).collect(),
            waiting: VecDeque::new(),
            begin: now,
            end: now + WARM_UP + plan.time,
            // All at once: a copy of some megabytes would be a stall.
            times: Vec::with_capacity(plan.requests(WARM_UP + plan.time) + 1),
            failed: 0,
            buffer: vec![0; CHUNK],
            clients,
            plan,
        })
    }

    /// Sends what is due. The figures, once all is over.
    ///
    /// # Errors
    /// A sentence about a connection that failed.
    pub(crate) fn send(&mut self, now: Instant) -> Result<Option<String>, String> {
        loop {
            let number = count(self.times.len());
            let due = self.due(number);
            if due > now || due >= self.end {
                break;
            }
            self.times.push(None);
            self.waiting.push_back(number);
        }
        while !self.waiting.is_empty()
            && let Some(at) = self.idle.pop_front()
        {
            let client = &mut self.clients[at];
            client.request = self.waiting.pop_front();
            let written = client.stream.write_all(&self.plan.request);
            written.map_err(|error| failed(&error))?;
        }
        let all_answered = self.waiting.is_empty() && self.idle.len() == self.clients.len();
        let over = now >= self.end && (all_answered || now >= self.end + GRACE);
        Ok(over.then(|| self.figures(now)))
    }

    /// Takes what has come for a client.
    ///
    /// # Errors
    /// A sentence about a connection that failed, or an answer that is too long.
    pub(crate) fn receive(&mut self, at: usize, now: Instant) -> Result<(), String> {
        // Its connection may be one of an order before.
        let Some(client) = self.clients.get_mut(at) else {
            return Ok(());
        };
        let whole = client.advance(self.plan.length, &mut self.buffer);
        if !whole.map_err(|error| failed(&error))? {
            return Ok(());
        }
        if !client.received.starts_with(b"HTTP/1.1 200 ") {
            self.failed += 1;
        }
        client.received.clear();
        (client.whole, client.count) = (None, 0);
        if let Some(number) = client.request.take() {
            let time = self.time(number, now);
            self.times[number as usize] = Some(time);
        }
        self.idle.push_back(at);
        Ok(())
    }

    fn due(&self, number: u32) -> Instant {
        self.begin + Duration::from_secs_f64(f64::from(number) / self.plan.rate)
    }

    /// How long ago a request was due, in nanoseconds.
    fn time(&self, number: u32, now: Instant) -> u64 {
        let time = now.saturating_duration_since(self.due(number));
        u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
    }

    fn figures(&self, now: Instant) -> String {
        let numbers = 0..count(self.times.len());
        let counted = numbers.skip_while(|&number| self.due(number) < self.begin + WARM_UP);
        // What was never answered has at least the time that it has had.
        let times: Vec<u64> = counted
            .map(|number| self.times[number as usize].unwrap_or_else(|| self.time(number, now)))
            .collect();
        let late = self.times.iter().filter(|time| time.is_none()).count();
        figures(
            &times,
            self.plan.requests(PART).max(LEAST),
            self.failed,
            late,
        )
    }
}

/// What is said at the end: percentiles in nanoseconds of all `times`, which are in the order in
/// which the requests were due, and the 99th of each `part` of them.
fn figures(times: &[u64], part: usize, failed: u64, late: usize) -> String {
    let at = |times: &[u64], share| {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        percentile(&sorted, share).unwrap_or(0)
    };
    let mut text = format!("failed {failed}\nlate {late}\n");
    let mut line = |name, value| {
        writeln!(text, "{name} {value}").expect("a String takes all that is written");
    };
    for (name, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        line(name, at(times, share));
    }
    for part in times.chunks_exact(part) {
        line("part_p99", at(part, 0.99));
    }
    text
}

/// A number of requests: at most some minutes of some ten thousand a second.
fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn failed(error: &io::Error) -> String {
    format!("a connection failed: {error}")
}

impl Client {
    fn connect(address: SocketAddr, token: Token, registry: &Registry) -> io::Result<Self> {
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        registry.register(&mut stream, token, Interest::READABLE)?;
        Ok(Self {
            stream,
            request: None,
            received: Vec::new(),
            whole: None,
            count: 0,
        })
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_of_all_and_of_each_part() {
        let times: Vec<u64> = (1..=250).collect();
        let text = figures(&times, 100, 1, 2);
        assert_eq!(
            text,
            "failed 1\nlate 2\np50 125\np99 248\np99.9 250\npart_p99 99\npart_p99 199\n"
        );
    }

    #[test]
    fn an_order_is_six_words() {
        let plan = Plan::of("127.0.0.1:80,/body/9,9,64,2,1000.5").unwrap();
        assert_eq!(
            (plan.length, plan.connections, plan.requests(PART)),
            (9, 64, 20)
        );
        for wrong in [
            "",
            "127.0.0.1:80,/,9,64,2",
            "127.0.0.1:80,/,9,64,2,0",
            "127.0.0.1:80,/,9,64,2,inf",
            "here,/,9,64,2,1",
        ] {
            assert!(Plan::of(wrong).is_none(), "{wrong}");
        }
    }
}
