//! Whether clients notice that a set of 10,000 targets is swapped: requests at a constant rate
//! through a Longshore whose file is reloaded with another target once in a second, and through
//! the same one left alone, in turns.
//!
//! A request's time counts from when it was due, not from when it was sent, so a stall counts for
//! all requests that it made late. All targets are one origin in this process, at 10,000 addresses
//! of the loopback network.

#![allow(
    clippy::disallowed_methods,
    reason = "a measurement is about real time"
)]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

const TARGETS: u32 = 10_000;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(5);
/// Clients, each with one connection, and the time between two requests of one.
const CLIENTS: u32 = 8;
const EVERY: Duration = Duration::from_millis(4);
const RELOAD_EVERY: Duration = Duration::from_secs(1);
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn main() -> ExitCode {
    let Some(program) = std::env::args_os().nth(1) else {
        eprintln!("usage: swaps PATH-OF-LONGSHORE");
        return ExitCode::from(1);
    };
    match run(Path::new(&program)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("swaps: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A Longshore with its file.
struct Proxy {
    child: Child,
    config: PathBuf,
    address: SocketAddr,
    origin: u16,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Nothing can be done about an error here, and the process ends soon anyway.
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_file(&self.config));
    }
}

impl Proxy {
    fn start(program: &Path, origin: u16) -> io::Result<Self> {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let name = format!("longshore-swaps-{}.yaml", std::process::id());
        let config = std::env::temp_dir().join(name);
        write_config(&config, free, origin, 0)?;
        let child = Command::new(program)
            .args(["run", "-c"])
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let proxy = Self {
            child,
            config,
            address: free,
            origin,
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(free).is_err() {
            if Instant::now() > deadline {
                return Err(io::Error::new(
                    ErrorKind::TimedOut,
                    "Longshore does not listen",
                ));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(proxy)
    }

    /// One target leaves and another one comes.
    fn swap(&self, number: u32) -> io::Result<()> {
        write_config(&self.config, self.address, self.origin, number)?;
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP)?;
        Ok(())
    }
}

fn write_config(path: &Path, listen: SocketAddr, origin: u16, number: u32) -> io::Result<()> {
    let mut text = format!(
        "runtime: {{workers: 1}}\nlisteners:\n  - {{name: web, address: '{listen}', default_action: [{{type: forward, target_group: app}}]}}\n\
         target_groups:\n  - name: app\n    health_check: {{enabled: false}}\n    targets:\n"
    );
    for index in number..number + TARGETS {
        let address = Ipv4Addr::from(0x7f01_0001 + index);
        text += &format!("      - {{address: {address}, port: {origin}}}\n");
    }
    std::fs::write(path, text)
}

fn run(program: &Path) -> io::Result<()> {
    let origin = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let port = origin.local_addr()?.port();
    thread::spawn(move || serve(origin));
    let proxy = Arc::new(Proxy::start(program, port)?);
    let mut number = 0;
    let mut sums: [Vec<Duration>; 2] = Default::default();
    let mut reloads = 0;
    for round in 0..=ROUNDS {
        for (kind, sum) in sums.iter_mut().enumerate() {
            let done = Arc::new(AtomicBool::new(false));
            let swaps = (kind == 1).then(|| {
                let (proxy, done) = (Arc::clone(&proxy), Arc::clone(&done));
                let first = number;
                thread::spawn(move || -> io::Result<u32> {
                    let mut count = 0;
                    while !done.load(Ordering::Relaxed) {
                        count += 1;
                        proxy.swap(first + count)?;
                        thread::sleep(RELOAD_EVERY);
                    }
                    Ok(count)
                })
            });
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let address = proxy.address;
                    thread::spawn(move || ask(address, EVERY * client / CLIENTS))
                })
                .collect();
            let mut times = Vec::new();
            for client in clients {
                let got = client
                    .join()
                    .map_err(|_| io::Error::other("a client panicked"))?;
                times.extend(got?);
            }
            done.store(true, Ordering::Relaxed);
            if let Some(swaps) = swaps {
                let count = swaps
                    .join()
                    .map_err(|_| io::Error::other("it panicked"))??;
                number += count;
                reloads += count;
            }
            // The first round warms up.
            if round > 0 {
                sum.extend(times);
            }
        }
    }
    println!("{TARGETS} targets, {ROUNDS} rounds of {ROUND:?} each; {reloads} reloads in all");
    println!("| | requests | p50 ms | p90 ms | p99 ms | p99.9 ms | max ms |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for (name, times) in ["left alone", "one reload a second"].iter().zip(&mut sums) {
        times.sort_unstable();
        let at = |share: usize| {
            let index = (times.len() * share / 1_000).min(times.len().saturating_sub(1));
            times
                .get(index)
                .map_or(0.0, |time| time.as_secs_f64() * 1_000.0)
        };
        println!(
            "| {name} | {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} |",
            times.len(),
            at(500),
            at(900),
            at(990),
            at(999),
            at(1_000)
        );
    }
    Ok(())
}

/// Asks at a constant rate for the time of a round. An answer that is not 200 is an error.
fn ask(address: SocketAddr, offset: Duration) -> io::Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let began = Instant::now() + offset;
    let mut times = Vec::new();
    let mut due = began;
    let mut buffer = [0; 4096];
    while due < began + ROUND {
        let now = Instant::now();
        if due > now {
            thread::sleep(due - now);
        }
        stream.write_all(b"GET / HTTP/1.1\r\nhost: swaps\r\n\r\n")?;
        let mut filled = 0;
        loop {
            let count = stream.read(buffer.get_mut(filled..).unwrap_or_default())?;
            if count == 0 {
                return Err(io::Error::new(
                    ErrorKind::UnexpectedEof,
                    "closed by Longshore",
                ));
            }
            filled += count;
            if buffer[..filled].ends_with(b"\r\n\r\nok") {
                break;
            }
        }
        if !buffer.starts_with(b"HTTP/1.1 200") {
            return Err(io::Error::other("an answer that is not 200"));
        }
        times.push(due.elapsed());
        due += EVERY;
    }
    Ok(times)
}

/// Serves all connections: round robin over so many targets makes as many.
fn serve(listener: std::net::TcpListener) -> io::Result<()> {
    const LISTENER: Token = Token(usize::MAX);
    listener.set_nonblocking(true)?;
    let mut listener = mio::net::TcpListener::from_std(listener);
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(256));
    let mut streams: Vec<Option<mio::net::TcpStream>> = Vec::new();
    let mut buffer = [0; 4096];
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    let at = streams.len();
                    poll.registry()
                        .register(&mut stream, Token(at), Interest::READABLE)?;
                    streams.push(Some(stream));
                }
                continue;
            }
            let Some(slot) = streams.get_mut(event.token().0) else {
                continue;
            };
            // Requests have no body, and one comes after the answer to the one before.
            while let Some(stream) = slot {
                match stream.read(&mut buffer) {
                    Ok(0) => *slot = None,
                    Ok(_) if stream.write_all(ANSWER).is_ok() => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Ok(_) | Err(_) => *slot = None,
                }
            }
        }
    }
}
