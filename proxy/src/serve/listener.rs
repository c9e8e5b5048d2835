//! Listening sockets: bind, accept, and even out the workers.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::sync::oneshot;

use super::worker::{Order, Worker};
use crate::control::ids::ListenerId;

/// Connections that the kernel may hold until they are accepted. The kernel lowers it to
/// `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;

/// The first and the longest pause after an accept that failed for want of resources.
const PAUSE: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How often, and in which steps, a socket that is closed is looked at for connections that had
/// begun: for a quarter of a second, in which nearly every handshake ends.
const CLOSING_STEPS: u32 = 26;
const CLOSING_STEP: Duration = Duration::from_millis(10);

/// How many more connections than the least busy worker one may have before it hands new ones
/// over. The kernel spreads connections by a hash, which leaves small numbers uneven.
const SLACK: usize = 1;

/// One socket for each worker on the same address, where nobody is connected yet: whoever comes is
/// refused.
pub(crate) struct Bound {
    /// With the port that the kernel chose where 0 was asked for.
    pub(crate) address: SocketAddr,
    sockets: Vec<Socket>,
}

/// Takes an address.
///
/// # Errors
/// If the address is in use, also by a process that would share it, or cannot be bound.
pub(crate) fn bind(address: SocketAddr, workers: usize) -> io::Result<Bound> {
    // Sockets with SO_REUSEPORT share an address with those of any process of the same user that
    // asks for it, and then half of the connections go to the other. So the address is taken
    // without sharing first. That socket must not listen: it would be closed with connections.
    let address = {
        let probe = socket(address)?;
        probe.bind(&address.into())?;
        local(&probe)?
    };
    let mut sockets = Vec::with_capacity(workers);
    for _ in 0..workers.max(1) {
        let socket = socket(address)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        sockets.push(socket);
    }
    Ok(Bound { address, sockets })
}

impl Bound {
    /// From here on the kernel connects whoever comes, so nothing that may fail should stand
    /// between this and accepting: a socket that is closed resets them.
    ///
    /// # Errors
    /// If another process has come to listen there since the address was taken.
    pub(crate) fn listen(self) -> io::Result<Vec<TcpListener>> {
        // Another process may have taken the address meanwhile to share it; if it listens, this
        // fails. Those two steps have nothing between them that takes time.
        socket(self.address)?.bind(&self.address.into())?;
        let listen = |socket: Socket| {
            socket.set_nonblocking(true)?;
            socket.listen(BACKLOG)?;
            Ok(socket.into())
        };
        self.sockets.into_iter().map(listen).collect()
    }
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // Connections of an earlier process in TIME_WAIT must not keep the address.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `port: 8080` means IPv4 too.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    Ok(socket)
}

fn local(socket: &Socket) -> io::Result<SocketAddr> {
    socket
        .local_addr()?
        .as_socket()
        .ok_or_else(|| io::Error::other("the socket has no IP address"))
}

/// Accepts until it is told to stop, by a message or by the end of its sender. Then it takes what
/// the kernel holds, and closes the socket.
pub(crate) async fn accept(
    worker: Rc<Worker>,
    id: ListenerId,
    socket: tokio::net::TcpListener,
    stop: oneshot::Receiver<()>,
) {
    tokio::select! {
        never = accept_all(&worker, id, &socket) => match never {},
        _ = stop => {}
    }
    close(&worker, id, socket).await;
}

async fn accept_all(
    worker: &Rc<Worker>,
    id: ListenerId,
    socket: &tokio::net::TcpListener,
) -> Infallible {
    let mut pause = PAUSE;
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => {
                pause = PAUSE;
                worker.metrics.accepted.add(1);
                place(worker, id, stream, peer);
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                // Out of descriptors or memory. The connection stays in the kernel's queue, so
                // trying again at once would only burn the processor that could free something.
                worker.metrics.accept_errors.add(1);
                tracing::warn!(%error, pause_ms = pause.as_millis(), "accept failed");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// Closes a listening socket. The kernel makes connections by itself, and closing resets those
/// that were not accepted yet, whose clients may have sent their request. So first no more begin,
/// then those that have begun are taken.
async fn close(worker: &Rc<Worker>, id: ListenerId, socket: tokio::net::TcpListener) {
    let socket = match socket.into_std() {
        Ok(socket) => Socket::from(socket),
        Err(error) => {
            tracing::warn!(%error, "connections of a listening socket may be lost");
            return;
        }
    };
    // A client whose SYN is dropped sends it again a second later, and finds the port closed.
    if let Err(error) = socket.attach_filter(&no_syn()) {
        tracing::debug!(%error, "a listening socket takes no filter");
    }
    for left in (0..CLOSING_STEPS).rev() {
        while let Some((stream, peer)) = next(&socket) {
            worker.metrics.accepted.add(1);
            // Not handed over: another worker may have ended.
            worker.serve(id, stream, peer);
        }
        if left > 0 {
            tokio::time::sleep(CLOSING_STEP).await;
        }
    }
}

/// A connection that is there.
fn next(socket: &Socket) -> Option<(tokio::net::TcpStream, SocketAddr)> {
    loop {
        let accepted = socket.accept().and_then(|(stream, peer)| {
            stream.set_nonblocking(true)?;
            let peer = peer.as_socket().ok_or(io::ErrorKind::Unsupported)?;
            Ok((tokio::net::TcpStream::from_std(stream.into())?, peer))
        });
        match accepted {
            Ok(accepted) => return Some(accepted),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                return None;
            }
        }
    }
}

/// A filter for a listening socket that drops what begins a connection: a segment with SYN and
/// without ACK. What goes on with one that has begun passes.
fn no_syn() -> [SockFilter; 5] {
    // Where the flags are in a TCP header, and two of them (RFC 9293 §3.1).
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    // Operations of classic BPF, as linux/bpf_common.h numbers them: load a byte, and, jump if
    // equal, return.
    const LOAD: u16 = 0x30;
    const AND: u16 = 0x54;
    const IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    [
        SockFilter::new(LOAD, 0, 0, FLAGS),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
}

/// accept(2): errors of the connection that was about to be accepted, not of the socket.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
            | io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
    )
}

/// Serves a new connection here, or hands it to the least busy worker. After its first byte a
/// connection never moves.
fn place(worker: &Rc<Worker>, id: ListenerId, stream: tokio::net::TcpStream, peer: SocketAddr) {
    let own = worker.peers[worker.index].connections.get();
    let least = worker
        .peers
        .iter()
        .min_by_key(|other| other.connections.get());
    let Some(other) = least.filter(|other| own > other.connections.get() + SLACK) else {
        worker.serve(id, stream, peer);
        return;
    };
    let Ok(permit) = other.orders.try_reserve() else {
        worker.serve(id, stream, peer);
        return;
    };
    match stream.into_std() {
        Ok(stream) => {
            // At once: a worker that stands still would be the least busy one for all that come.
            other.connections.add();
            permit.send(Order::Serve(id, stream, peer));
        }
        Err(error) => tracing::warn!(%error, "a connection was lost between two workers"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::TcpStream;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// An address of one test alone, so that no other one listens there.
    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, last], 0))
    }

    #[test]
    fn whoever_comes_before_it_listens_is_refused() {
        let bound = bind(address(4), 2).expect("bound");
        let at = bound.address;
        let early = TcpStream::connect(at).expect_err("refused");
        assert_eq!(early.kind(), ErrorKind::ConnectionRefused);
        let sockets = bound.listen().expect("listening");
        assert_eq!(sockets.len(), 2);
        TcpStream::connect(at).expect("connected");
    }

    #[test]
    fn to_take_an_address_connects_nobody() {
        let at = bind(address(5), 1).expect("bound").address;
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let client = || {
                let mut tried = 0;
                loop {
                    let refused = TcpStream::connect(at).expect_err("refused");
                    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
                    tried += 1;
                    if stop.load(Ordering::Relaxed) {
                        return tried;
                    }
                }
            };
            let clients = [scope.spawn(client), scope.spawn(client)];
            for _ in 0..10_000 {
                bind(at, 2).expect("bound");
            }
            stop.store(true, Ordering::Relaxed);
            for client in clients {
                assert!(client.join().expect("nobody was connected") > 0);
            }
        });
    }

    #[test]
    fn of_two_that_take_an_address_at_a_time_one_listens() {
        let one = bind(address(7), 1).expect("bound");
        let two = bind(one.address, 1).expect("nobody listens yet");
        let _one = one.listen().expect("listening");
        let error = two.listen().expect_err("refused, though both would share");
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn an_address_that_somebody_listens_on_is_not_shared() {
        let other = bind(address(6), 1).expect("bound");
        let at = other.address;
        let _other = other.listen().expect("listening");
        let error = bind(at, 1).err().expect("refused, though both would share");
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
    }
}
