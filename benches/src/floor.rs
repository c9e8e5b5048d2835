//! The floor of the comparison: what a proxy over HTTP/1.1 cannot do without. One thread, one epoll,
//! httparse for both heads, connections to targets that are kept; for each request a read, a write
//! to the target, a read, a write to the client.
//!
//! `floor PORT TARGET…`: ports on 127.0.0.1, targets in turn. It adds no field, checks no health,
//! knows no time limit and takes only GET requests whose responses have a length: no proxy to use.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};

const LISTENER: Token = Token(usize::MAX);
/// What is read at once, on both sides.
const BUFFER: usize = 64 * 1024;
const FIELDS_MAX: usize = 64;

/// A connection on either side.
struct Link {
    stream: TcpStream,
    /// The other end of its exchange.
    other: Option<usize>,
    role: Role,
    /// What the other side has sent and this one has not taken.
    pending: Vec<u8>,
}

enum Role {
    /// With the beginning of a head that is not whole.
    Client(Vec<u8>),
    /// With the number of its target, a head that is not whole, and the bytes left of a response.
    Target {
        target: usize,
        head: Vec<u8>,
        left: Option<usize>,
    },
}

struct Relay {
    links: Vec<Option<Link>>,
    free: Vec<usize>,
    targets: Vec<SocketAddr>,
    idle: Vec<VecDeque<usize>>,
    turn: usize,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words == ["--version"] {
        println!("floor {}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    let ports: Option<Vec<u16>> = words.iter().map(|word| word.parse().ok()).collect();
    match ports.as_deref() {
        Some([listen, targets @ ..]) if !targets.is_empty() => match serve(*listen, targets) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("floor: {error}");
                ExitCode::FAILURE
            }
        },
        _ => {
            eprintln!("usage: floor PORT TARGET…");
            ExitCode::FAILURE
        }
    }
}

fn serve(listen: u16, targets: &[u16]) -> io::Result<()> {
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut listener = TcpListener::bind(local(listen))?;
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut relay = Relay {
        links: Vec::new(),
        free: Vec::new(),
        targets: targets.iter().copied().map(local).collect(),
        idle: targets.iter().map(|_| VecDeque::new()).collect(),
        turn: 0,
    };
    let mut buffer = vec![0; BUFFER];
    let mut events = Events::with_capacity(1024);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            let registry = poll.registry();
            if event.token() == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    relay.add(registry, stream, Role::Client(Vec::new()))?;
                }
                continue;
            }
            let Token(at) = event.token();
            let ended = event.is_read_closed() || event.is_error();
            if relay.advance(registry, at, ended, &mut buffer).is_err() {
                relay.close(at);
            }
        }
    }
}

impl Relay {
    fn add(&mut self, registry: &Registry, mut stream: TcpStream, role: Role) -> io::Result<usize> {
        // Fails on a connection that is not there yet, which has it later or not at all.
        stream.set_nodelay(true).unwrap_or_default();
        let at = self.free.pop().unwrap_or(self.links.len());
        registry.register(
            &mut stream,
            Token(at),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        let link = Some(Link {
            stream,
            other: None,
            role,
            pending: Vec::new(),
        });
        if at == self.links.len() {
            self.links.push(link);
        } else {
            self.links[at] = link;
        }
        Ok(at)
    }

    /// Closes a connection, and the one that it is at work with.
    fn close(&mut self, at: usize) {
        for at in [
            self.links[at].as_ref().and_then(|link| link.other),
            Some(at),
        ] {
            let Some((at, link)) = at.and_then(|at| Some((at, self.links[at].take()?))) else {
                continue;
            };
            if let Role::Target { target, .. } = link.role {
                self.idle[target].retain(|&idle| idle != at);
            }
            self.free.push(at);
        }
    }

    /// Does what can be done with one connection without waiting.
    fn advance(
        &mut self,
        registry: &Registry,
        at: usize,
        ended: bool,
        buffer: &mut [u8],
    ) -> io::Result<()> {
        loop {
            let Some(link) = &mut self.links[at] else {
                return Ok(());
            };
            if !link.pending.is_empty() {
                let pending = std::mem::take(&mut link.pending);
                link.write(&pending)?;
            }
            let count = match link.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if waits(&error) => return Ok(()),
                Err(error) => return Err(error),
            };
            match link.role {
                Role::Client(_) => self.request(registry, at, &buffer[..count])?,
                Role::Target { .. } => self.response(at, &buffer[..count])?,
            }
            // A buffer that was not filled has emptied the socket, and the next byte is an event.
            if count < buffer.len() && !ended {
                return Ok(());
            }
        }
    }

    fn request(&mut self, registry: &Registry, at: usize, bytes: &[u8]) -> io::Result<()> {
        let Some(Link {
            role: Role::Client(before),
            other: None,
            ..
        }) = &mut self.links[at]
        else {
            return Err(io::Error::other("a request before the response"));
        };
        let joined = join(before, bytes);
        let bytes = joined.as_deref().unwrap_or(bytes);
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut request = httparse::Request::new(&mut fields);
        match request.parse(bytes).map_err(io::Error::other)? {
            httparse::Status::Partial => {
                *before = bytes.to_vec();
                return Ok(());
            }
            httparse::Status::Complete(length) if length == bytes.len() => {}
            httparse::Status::Complete(_) => return Err(io::Error::other("more than a head")),
        }
        let target = self.turn % self.targets.len();
        self.turn += 1;
        let chosen = match self.idle[target].pop_back() {
            Some(chosen) => chosen,
            None => {
                let stream = TcpStream::connect(self.targets[target])?;
                let role = Role::Target {
                    target,
                    head: Vec::new(),
                    left: None,
                };
                self.add(registry, stream, role)?
            }
        };
        if let Some(client) = &mut self.links[at] {
            client.other = Some(chosen);
        }
        match &mut self.links[chosen] {
            Some(link) => {
                link.other = Some(at);
                link.write(bytes)
            }
            None => Err(io::Error::other("an idle connection that is gone")),
        }
    }

    fn response(&mut self, at: usize, bytes: &[u8]) -> io::Result<()> {
        let Some(Link {
            role: Role::Target { target, head, left },
            other,
            ..
        }) = &mut self.links[at]
        else {
            return Err(io::Error::other("no target"));
        };
        let Some(client) = *other else {
            return Err(io::Error::other("a response without a request"));
        };
        let joined = join(head, bytes);
        let bytes = joined.as_deref().unwrap_or(bytes);
        let rest = match *left {
            Some(left) => left.checked_sub(bytes.len()),
            None => match length(bytes)? {
                None => {
                    *head = bytes.to_vec();
                    return Ok(());
                }
                Some(whole) => whole.checked_sub(bytes.len()),
            },
        };
        let Some(rest) = rest else {
            return Err(io::Error::other("more than a response"));
        };
        *left = (rest > 0).then_some(rest);
        if rest == 0 {
            *other = None;
            self.idle[*target].push_back(at);
        }
        let Some(link) = &mut self.links[client] else {
            return Ok(());
        };
        if rest == 0 {
            link.other = None;
        }
        link.write(bytes)
    }
}

impl Link {
    /// Writes, and keeps what the socket does not take.
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while self.pending.is_empty() && !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if waits(&error) => break,
                Err(error) => return Err(error),
            }
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }
}

/// What came before and what came now, if something came before.
fn join(before: &mut Vec<u8>, bytes: &[u8]) -> Option<Vec<u8>> {
    if before.is_empty() {
        return None;
    }
    let mut all = std::mem::take(before);
    all.extend_from_slice(bytes);
    Some(all)
}

/// The length of a whole response, head and body. None before its head is whole.
fn length(bytes: &[u8]) -> io::Result<Option<usize>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(head) = response.parse(bytes).map_err(io::Error::other)? else {
        return Ok(None);
    };
    let mut fields = response.headers.iter();
    let body = fields
        .find(|field| field.name.eq_ignore_ascii_case("content-length"))
        .and_then(|field| {
            std::str::from_utf8(field.value)
                .ok()?
                .trim()
                .parse::<usize>()
                .ok()
        });
    match body {
        Some(body) => Ok(Some(head + body)),
        None => Err(io::Error::other("a response without a length")),
    }
}

/// Whether there will be an event when it can go on.
fn waits(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::NotConnected
    )
}

#[cfg(test)]
mod tests {
    use super::length;

    #[test]
    fn a_response_has_the_length_of_head_and_body() {
        let head = b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 3\r\n\r\n";
        assert_eq!(length(head).ok().flatten(), Some(head.len() + 3));
        assert!(length(&head[..20]).is_ok_and(|none| none.is_none()));
        assert!(length(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(length(b"hello\r\n\r\n").is_err());
    }
}
