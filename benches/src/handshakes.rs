//! TLS 1.3 handshakes that go on with a session, one after the other on each of some
//! connections, with one request each: the load of the row `tls-resumed`. wrk and h2load keep no
//! sessions.
//!
//! `handshakes ADDRESS PATH LENGTH CONNECTIONS SECONDS`. Each answer must be `longshore_benches::
//! body(LENGTH)`. The first handshake of each connection is a full one; later ones that are full
//! are counted and named.

#![allow(
    clippy::disallowed_methods,
    reason = "a measurement is about real time"
)]

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind};

/// The name asked for: that of the comparison's certificate.
const NAME: &str = "bench.test";
/// A connection that takes this long at the end of the run hangs.
const HANGS: Duration = Duration::from_secs(2);
/// How many failures are told in words.
const TOLD: usize = 5;

/// What is asked, and how long.
struct Plan {
    address: SocketAddr,
    request: Vec<u8>,
    body: Vec<u8>,
    connections: usize,
    time: Duration,
}

/// What came of it.
#[derive(Default)]
struct Counts {
    latencies_us: Vec<u64>,
    failed: u64,
    /// Full handshakes that should have been resumed ones.
    full: u64,
}

/// One connection after the other, with the session of the one before.
struct Slot {
    config: Arc<ClientConfig>,
    token: Token,
    now: Option<Exchange>,
    /// Whether a session is there to go on with.
    has_session: bool,
}

struct Exchange {
    stream: TcpStream,
    tls: ClientConnection,
    since: Instant,
    received: Vec<u8>,
}

fn main() -> ExitCode {
    match plan(std::env::args().skip(1)).and_then(|plan| run(&plan).map_err(|e| e.to_string())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("handshakes: {error}");
            ExitCode::FAILURE
        }
    }
}

fn plan(words: impl Iterator<Item = String>) -> Result<Plan, String> {
    let words: Vec<String> = words.collect();
    let [address, path, length, connections, seconds] = &words[..] else {
        return Err("usage: handshakes ADDRESS PATH LENGTH CONNECTIONS SECONDS".into());
    };
    let number = |text: &String| {
        text.parse::<u32>()
            .map_err(|_| format!("{text} is no number"))
    };
    Ok(Plan {
        address: address
            .parse()
            .map_err(|_| format!("{address} is no address"))?,
        request: format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n")
            .into_bytes(),
        body: longshore_benches::body(number(length)? as usize),
        connections: number(connections)? as usize,
        time: Duration::from_secs(number(seconds)?.into()),
    })
}

fn run(plan: &Plan) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut slots = Vec::with_capacity(plan.connections);
    for index in 0..plan.connections {
        let mut slot = Slot {
            config: longshore_benches::tls::client_config().map_err(io::Error::other)?,
            token: Token(index),
            now: None,
            has_session: false,
        };
        slot.connect(plan, &poll)?;
        slots.push(slot);
    }
    let begin = Instant::now();
    let mut counts = Counts::default();
    let mut events = Events::with_capacity(1024);
    while begin.elapsed() < plan.time {
        match poll.poll(&mut events, Some(Duration::from_millis(100))) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            let Token(index) = event.token();
            slots[index].advance(plan, &poll, &mut counts)?;
        }
    }
    let time = begin.elapsed();
    let mut hanging = slots.iter().filter_map(|slot| slot.now.as_ref());
    if let Some(hangs) = hanging.find(|exchange| exchange.since.elapsed() > HANGS) {
        eprintln!("handshakes: one hangs for {:?}", hangs.since.elapsed());
        counts.failed += 1;
    }
    let others = [("failed", counts.failed), ("full", counts.full)];
    longshore_benches::print_counts(&mut counts.latencies_us, time, &others);
    Ok(())
}

impl Counts {
    fn fail(&mut self, why: &str) {
        self.failed += 1;
        if self.failed <= TOLD as u64 {
            eprintln!("handshakes: {why}");
        }
    }
}

impl Slot {
    fn connect(&mut self, plan: &Plan, poll: &Poll) -> io::Result<()> {
        let since = Instant::now();
        let mut stream = TcpStream::connect(plan.address)?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
        let mut tls =
            ClientConnection::new(Arc::clone(&self.config), name).map_err(io::Error::other)?;
        // It goes with the last message of the handshake.
        tls.writer().write_all(&plan.request)?;
        poll.registry().register(
            &mut stream,
            self.token,
            Interest::READABLE | Interest::WRITABLE,
        )?;
        self.now = Some(Exchange {
            stream,
            tls,
            since,
            received: Vec::with_capacity(plan.body.len() + 1024),
        });
        Ok(())
    }

    /// Does what can be done without waiting, and begins again when all is done.
    fn advance(&mut self, plan: &Plan, poll: &Poll, counts: &mut Counts) -> io::Result<()> {
        let Some(exchange) = &mut self.now else {
            return Ok(());
        };
        match exchange.advance(&plan.body) {
            Ok(false) => return Ok(()),
            Ok(true) => {
                let passed = exchange.since.elapsed().as_micros();
                counts
                    .latencies_us
                    .push(u64::try_from(passed).unwrap_or(u64::MAX));
                let resumed = exchange.tls.handshake_kind() == Some(HandshakeKind::Resumed);
                if self.has_session && !resumed {
                    counts.full += 1;
                }
                self.has_session = true;
                exchange.close();
            }
            Err(why) => counts.fail(&why),
        }
        self.now = None;
        self.connect(plan, poll)
    }
}

impl Exchange {
    /// Whether the whole answer is there; an error says in words what is wrong.
    fn advance(&mut self, body: &[u8]) -> Result<bool, String> {
        loop {
            while self.tls.wants_write() {
                match self.tls.write_tls(&mut self.stream) {
                    Ok(_) => {}
                    Err(error) if waits(&error) => break,
                    Err(error) => return Err(format!("writing: {error}")),
                }
            }
            match self.tls.read_tls(&mut self.stream) {
                Ok(0) => return Err(format!("closed after {} bytes", self.received.len())),
                Ok(_) => {}
                Err(error) if waits(&error) => return Ok(false),
                Err(error) => return Err(format!("reading: {error}")),
            }
            let state = self.tls.process_new_packets();
            let state = state.map_err(|error| error.to_string())?;
            let old = self.received.len();
            self.received
                .resize(old + state.plaintext_bytes_to_read(), 0);
            self.tls
                .reader()
                .read_exact(&mut self.received[old..])
                .map_err(|error| error.to_string())?;
            if self.is_whole(body)? {
                return Ok(true);
            }
        }
    }

    fn is_whole(&self, body: &[u8]) -> Result<bool, String> {
        let mut fours = self.received.windows(4);
        let Some(end) = fours.position(|four| four == b"\r\n\r\n") else {
            return Ok(false);
        };
        let (head, found) = self.received.split_at(end + 4);
        if !head.starts_with(b"HTTP/1.1 200 ") {
            let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
            return Err(String::from_utf8_lossy(line).into_owned());
        }
        if found.len() < body.len() {
            return Ok(false);
        }
        if found == body {
            return Ok(true);
        }
        Err(format!(
            "{} bytes that are not the origin's body",
            found.len()
        ))
    }

    /// Says the end, as far as the socket takes it; the other side may have closed already.
    fn close(&mut self) {
        self.tls.send_close_notify();
        while self.tls.wants_write() && self.tls.write_tls(&mut self.stream).is_ok() {}
    }
}

/// Whether there will be an event when it can go on. A socket that still connects takes nothing.
fn waits(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::NotConnected
    )
}
