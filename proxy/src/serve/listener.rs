//! Listening sockets: bind, accept, and even out the workers.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::worker::{Order, Worker};
use crate::control::ids::ListenerId;

/// Connections that the kernel may hold until they are accepted. The kernel lowers it to
/// `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;

/// The first and the longest pause after an accept that failed for want of resources.
const PAUSE: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How many more connections than the least busy worker one may have before it hands new ones
/// over. The kernel spreads connections by a hash, which leaves small numbers uneven.
const SLACK: usize = 1;

/// One socket for each worker on the same address.
///
/// # Errors
/// If the address is in use, also by a process that would share it, or cannot be bound.
pub(crate) fn bind(
    address: SocketAddr,
    workers: usize,
) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    // Sockets with SO_REUSEPORT share an address with those of any process of the same user that
    // asks for it, and then half of the connections go to the other. So the address is taken
    // without sharing first.
    let mut address = address;
    {
        let probe = socket(address)?;
        probe.bind(&address.into())?;
        address = local(&probe)?;
        probe.listen(1)?;
    }
    let mut sockets = Vec::with_capacity(workers);
    for _ in 0..workers.max(1) {
        let socket = socket(address)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        sockets.push(socket.into());
    }
    Ok((address, sockets))
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

/// Accepts until the task is aborted or the worker drains.
pub(crate) async fn accept(worker: Rc<Worker>, id: ListenerId, socket: tokio::net::TcpListener) {
    let mut pause = PAUSE;
    let slot = worker.timers.slot();
    loop {
        let accepted = std::future::poll_fn(|cx| {
            // What the kernel holds is taken before the worker's state is looked at.
            if let std::task::Poll::Ready(accepted) = socket.poll_accept(cx) {
                return std::task::Poll::Ready(Some(accepted));
            }
            if worker.is_draining() {
                return std::task::Poll::Ready(None);
            }
            // Drain wakes every slot; no limit is set, so nothing else does.
            slot.poll(cx).map(|()| None)
        });
        match accepted.await {
            None => return,
            Some(Ok((stream, peer))) => {
                pause = PAUSE;
                worker.metrics.accepted.add(1);
                place(&worker, id, stream, peer);
            }
            Some(Err(error)) if concerns_one_connection(&error) => {}
            Some(Err(error)) => {
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
        Ok(stream) => permit.send(Order::Serve(id, stream, peer)),
        Err(error) => tracing::warn!(%error, "a connection was lost between two workers"),
    }
}
