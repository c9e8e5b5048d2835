//! Idle connections, each after one request: what they cost a proxy is seen from outside.
//!
//! `idle ADDRESS PATH LENGTH COUNT plain|tls`: opens them, prints `open COUNT`, and holds them until
//! standard input ends or the process is ended.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;

const NAME: &str = "bench.test";
const ANSWER: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(held) => {
            println!("open {}", held.len());
            loop {
                thread::park();
            }
        }
        Err(error) => {
            eprintln!("idle: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The sockets; what TLS keeps of them is given up, as nothing more is said.
fn run(words: &[String]) -> io::Result<Vec<TcpStream>> {
    let usage = || io::Error::other("usage: idle ADDRESS PATH LENGTH COUNT plain|tls");
    let [address, path, length, count, how] = words else {
        return Err(usage());
    };
    let address: SocketAddr = address.parse().map_err(|_| usage())?;
    let length: usize = length.parse().map_err(|_| usage())?;
    let count: usize = count.parse().map_err(|_| usage())?;
    let config = match how.as_str() {
        "plain" => None,
        "tls" => Some(longshore_benches::tls::client_config().map_err(io::Error::other)?),
        _ => return Err(usage()),
    };
    let request = format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        held.push(open(address, &request, length, config.as_ref())?);
    }
    Ok(held)
}

fn open(
    address: SocketAddr,
    request: &str,
    length: usize,
    config: Option<&Arc<ClientConfig>>,
) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER))?;
    match config {
        None => ask(&mut stream, request, length)?,
        Some(config) => {
            let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
            let mut tls =
                ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
            ask(
                &mut rustls::Stream::new(&mut tls, &mut stream),
                request,
                length,
            )?;
        }
    }
    Ok(stream)
}

fn ask(stream: &mut (impl Read + Write), request: &str, length: usize) -> io::Result<()> {
    stream.write_all(request.as_bytes())?;
    let mut received = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        let head = received.windows(4).position(|four| four == b"\r\n\r\n");
        if head.is_some_and(|head| received.len() >= head + 4 + length) {
            break;
        }
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => received.extend_from_slice(&buffer[..count]),
        }
    }
    if received.starts_with(b"HTTP/1.1 200 ") {
        Ok(())
    } else {
        Err(io::Error::other("an answer that is not 200"))
    }
}
