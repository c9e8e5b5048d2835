//! Requests at a constant rate through a Longshore with ten thousand targets, to see whether clients
//! notice what happens beside them.
//!
//! A request's time counts from when it was due, not from when it was sent, so a stall counts for
//! all requests that it made late. All targets are one origin in this process, at 10,000 addresses
//! of the loopback network.

#![allow(
    clippy::disallowed_methods,
    reason = "a measurement is about real time"
)]

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

/// How many targets there are.
pub const TARGETS: u32 = 10_000;
/// How long one round lasts.
pub const ROUND: Duration = Duration::from_secs(5);
/// Clients, each with one connection.
const CLIENTS: u32 = 8;
/// The time between two requests of one client.
const EVERY: Duration = Duration::from_millis(4);
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A Longshore with its file.
pub struct Proxy {
    child: Child,
    config: PathBuf,
    /// Where it listens.
    pub address: SocketAddr,
    origin: u16,
    /// More keys of the file.
    top: String,
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
    /// Starts that program before an origin that it starts too, and waits until it listens. `top`:
    /// more keys of the file.
    ///
    /// # Errors
    /// If one of them does not start.
    pub fn start(program: &Path, top: &str) -> io::Result<Self> {
        // Each target has a connection here and one there.
        let limit = getrlimit(Resource::Nofile);
        let all = Rlimit {
            current: limit.maximum,
            ..limit
        };
        setrlimit(Resource::Nofile, all)?;
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        let origin = listener.local_addr()?.port();
        thread::spawn(move || serve(listener));
        let address = free_address()?;
        let name = format!("longshore-steady-{}.yaml", std::process::id());
        let config = std::env::temp_dir().join(name);
        write_config(&config, top, address, origin, 0)?;
        let child = Command::new(program)
            .args(["run", "-c"])
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let proxy = Self {
            child,
            config,
            address,
            origin,
            top: top.to_owned(),
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).is_err() {
            if Instant::now() > deadline {
                let error = "Longshore does not listen";
                return Err(io::Error::new(ErrorKind::TimedOut, error));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(proxy)
    }

    /// Reads its file again, in which so many targets have left and others have come.
    ///
    /// # Errors
    /// If the file cannot be written, or the process is gone.
    pub fn swap(&self, number: u32) -> io::Result<()> {
        write_config(&self.config, &self.top, self.address, self.origin, number)?;
        kill_process(Pid::from_child(&self.child), Signal::HUP)?;
        Ok(())
    }
}

/// An address that nobody has.
///
/// # Errors
/// If there is none.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

fn write_config(
    path: &Path,
    top: &str,
    listen: SocketAddr,
    origin: u16,
    number: u32,
) -> io::Result<()> {
    let mut text = format!(
        "{top}runtime: {{workers: 1}}\nlisteners:\n  - {{name: web, address: '{listen}', default_action: [{{type: forward, target_group: app}}]}}\n\
         target_groups:\n  - name: app\n    health_check: {{enabled: false}}\n    targets:\n"
    );
    for index in number..number + TARGETS {
        let address = Ipv4Addr::from(0x7f01_0001 + index);
        text += &format!("      - {{address: {address}, port: {origin}}}\n");
    }
    std::fs::write(path, text)
}

/// A round of requests. Each with its time; an answer that is not 200 is an error.
///
/// # Errors
/// The first of a client.
pub fn round(address: SocketAddr) -> io::Result<Vec<Duration>> {
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| thread::spawn(move || ask(address, EVERY * client / CLIENTS)))
        .collect();
    let mut times = Vec::new();
    for client in clients {
        let got = client
            .join()
            .map_err(|_| io::Error::other("a client panicked"))?;
        times.extend(got?);
    }
    Ok(times)
}

/// Asks at a constant rate for the time of a round.
fn ask(address: SocketAddr, offset: Duration) -> io::Result<Vec<Duration>> {
    let mut client = Client::connect(address)?;
    let began = Instant::now() + offset;
    let mut times = Vec::new();
    let mut due = began;
    while due < began + ROUND {
        let now = Instant::now();
        if due > now {
            thread::sleep(due - now);
        }
        client.ask()?;
        times.push(due.elapsed());
        due += EVERY;
    }
    Ok(times)
}

/// A client with one connection.
pub struct Client(TcpStream);

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// If that fails.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self(stream))
    }

    /// A request and its answer.
    ///
    /// # Errors
    /// If it is not 200.
    pub fn ask(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        self.0
            .write_all(b"GET / HTTP/1.1\r\nhost: steady\r\n\r\n")?;
        let mut filled = 0;
        while !buffer[..filled].ends_with(b"\r\n\r\nok") {
            let room = buffer.get_mut(filled..).unwrap_or_default();
            let count = self.0.read(room)?;
            if count == 0 {
                let error = "closed by Longshore";
                return Err(io::Error::new(ErrorKind::UnexpectedEof, error));
            }
            filled += count;
        }
        if !buffer.starts_with(b"HTTP/1.1 200") {
            return Err(io::Error::other("an answer that is not 200"));
        }
        Ok(())
    }
}

/// Prints a table of times, each row with its name.
pub fn print_table(rows: &mut [(&str, Vec<Duration>)]) {
    println!("| | requests | p50 ms | p90 ms | p99 ms | p99.9 ms | max ms |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for (name, times) in rows {
        times.sort_unstable();
        println!(
            "| {name} | {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} |",
            times.len(),
            millis(times, 500),
            millis(times, 900),
            millis(times, 990),
            millis(times, 999),
            millis(times, 1_000)
        );
    }
}

/// The time that this share, of a thousand, of sorted times is not above, in milliseconds.
#[must_use]
pub fn millis(times: &[Duration], share: usize) -> f64 {
    let index = (times.len() * share / 1_000).min(times.len().saturating_sub(1));
    let time = times.get(index);
    time.map_or(0.0, |time| time.as_secs_f64() * 1_000.0)
}

/// Serves all connections: round robin over so many targets makes as many.
fn serve(listener: TcpListener) -> io::Result<()> {
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
