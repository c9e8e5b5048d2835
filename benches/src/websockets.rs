//! WebSockets, each with one text at a time and its echo: the load of the row `websocket`.
//!
//! `websockets ADDRESS CONNECTIONS SECONDS`. Each echo must be the text that was sent.

#![allow(
    clippy::disallowed_methods,
    reason = "a measurement is about real time"
)]

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

/// The text: shorter than 126 bytes, so that its length is one byte.
const TEXT: &[u8] = b"The quick brown fox jumps over the lazy dog, and does it again!!";
const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
const OPENING: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let plan = match &words[..] {
        [address, connections, seconds] => address
            .parse()
            .ok()
            .zip(connections.parse().ok())
            .zip(seconds.parse().ok()),
        _ => None,
    };
    let Some(((address, connections), seconds)) = plan else {
        eprintln!("usage: websockets ADDRESS CONNECTIONS SECONDS");
        return ExitCode::FAILURE;
    };
    match run(address, connections, Duration::from_secs(seconds)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("websockets: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A text from a client, masked (RFC 6455 §5.3).
fn message() -> Vec<u8> {
    let length = u8::try_from(TEXT.len()).unwrap_or(125);
    let mut bytes = vec![0x81, 0x80 | length];
    bytes.extend_from_slice(&MASK);
    let masked = TEXT.iter().zip(MASK.iter().cycle());
    bytes.extend(masked.map(|(byte, mask)| byte ^ mask));
    bytes
}

/// The same from a server.
fn echo() -> Vec<u8> {
    let length = u8::try_from(TEXT.len()).unwrap_or(125);
    let mut bytes = vec![0x81, length];
    bytes.extend_from_slice(TEXT);
    bytes
}

/// Opens one with the key of RFC 6455 §1.3, whose answer is known.
fn open(address: SocketAddr) -> io::Result<std::net::TcpStream> {
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(OPENING))?;
    write!(
        stream,
        "GET /websocket HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n\r\n",
        longshore_benches::WEBSOCKET_KEY
    )?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    let text = String::from_utf8_lossy(&head);
    if !text.starts_with("HTTP/1.1 101 ") || !text.contains(longshore_benches::WEBSOCKET_ACCEPT) {
        return Err(io::Error::other(format!("no WebSocket: {text}")));
    }
    stream.set_nonblocking(true)?;
    Ok(stream)
}

struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    since: Instant,
}

fn run(address: SocketAddr, connections: usize, time: Duration) -> io::Result<()> {
    let (message, echo) = (message(), echo());
    let mut poll = Poll::new()?;
    let mut clients = Vec::with_capacity(connections);
    for index in 0..connections {
        let mut stream = TcpStream::from_std(open(address)?);
        poll.registry()
            .register(&mut stream, Token(index), Interest::READABLE)?;
        clients.push(Client {
            stream,
            received: Vec::with_capacity(2 * echo.len()),
            since: Instant::now(),
        });
    }
    let begin = Instant::now();
    for client in &mut clients {
        client.send(&message)?;
    }
    let mut latencies_us = Vec::new();
    let mut failed = 0;
    let mut buffer = [0; 4096];
    let mut events = Events::with_capacity(1024);
    while begin.elapsed() < time {
        match poll.poll(&mut events, Some(Duration::from_millis(100))) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            let client = &mut clients[event.token().0];
            match client.stream.read(&mut buffer) {
                Ok(count @ 1..) => client.received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Ok(_) | Err(_) => {
                    failed += 1;
                    continue;
                }
            }
            if client.received.len() < echo.len() {
                continue;
            }
            if client.received != echo {
                failed += 1;
            }
            client.received.clear();
            latencies_us
                .push(u64::try_from(client.since.elapsed().as_micros()).unwrap_or(u64::MAX));
            client.send(&message)?;
        }
    }
    longshore_benches::print_counts(&mut latencies_us, begin.elapsed(), &[("failed", failed)]);
    Ok(())
}

impl Client {
    /// One at a time and short, so that a socket always has room for it.
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.since = Instant::now();
        self.stream.write_all(message)
    }
}

#[cfg(test)]
mod tests {
    use super::{MASK, TEXT, echo, message};

    #[test]
    fn a_message_is_masked_and_its_echo_is_not() {
        let sent = message();
        assert_eq!(usize::from(sent[1] & 0x7f), TEXT.len());
        assert_eq!(sent[6] ^ MASK[0], TEXT[0]);
        assert_eq!(&echo()[2..], TEXT);
    }
}
