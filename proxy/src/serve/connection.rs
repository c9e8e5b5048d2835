//! One client connection: hyper on a socket, with time limits around it.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future as _, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;

use super::timers::Slot;
use super::worker::Worker;
use crate::control::ids::ListenerId;
use crate::control::snapshot::Limits;
use crate::request;
use crate::request::answer::{Reason, raw};
use crate::request::body::Upload;
use crate::request::headers::Forwarded;

/// The largest request head, in bytes (ALB: 64 K for all headers).
const REQUEST_HEAD_MAX: usize = 64 * 1024;

/// How long an idle connection stays open while the process drains: long enough for a request
/// that is on its way, which then gets an answer with `Connection: close`.
const DRAIN_IDLE: Duration = Duration::from_secs(1);

/// Where a connection is in the cycle of its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Between requests.
    Idle,
    /// The first byte of a request was read, its head is not complete.
    Head,
    /// The request is at work; its own limits hold.
    Waiting,
    /// The response is being sent.
    Responding,
    /// All of the response was handed to hyper, not all of it to the kernel.
    Flushing,
}

/// A client connection, as its requests see it.
pub(crate) struct Client {
    pub(crate) worker: Rc<Worker>,
    pub(crate) listener: ListenerId,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) forwarded: Forwarded,
    limits: Limits,
    /// When it was accepted, when the phase began, and when a byte last moved; `Timers::now`.
    accepted: u64,
    since: Cell<u64>,
    moved: Cell<u64>,
    phase: Cell<Phase>,
    slot: Slot,
    upload: RefCell<Option<Rc<Upload>>>,
    this: Weak<Self>,
}

impl Client {
    fn new(
        worker: Rc<Worker>,
        listener: ListenerId,
        peer: SocketAddr,
        local: SocketAddr,
    ) -> Rc<Self> {
        let limits = worker.shared.load().limits;
        let now = worker.timers.now();
        let slot = worker.timers.slot();
        slot.set(limits.idle);
        let (peer, local) = (canonical(peer), canonical(local));
        Rc::new_cyclic(|this| Self {
            forwarded: Forwarded {
                address: text(&peer.ip()),
                proto: HeaderValue::from_static("http"),
                port: HeaderValue::from(local.port()),
            },
            worker,
            listener,
            peer,
            local,
            limits,
            accepted: now,
            since: Cell::new(now),
            moved: Cell::new(now),
            phase: Cell::new(Phase::Idle),
            slot,
            upload: RefCell::new(None),
            this: Weak::clone(this),
        })
    }

    /// A reference that may outlive the call.
    pub(crate) fn rc(&self) -> Rc<Self> {
        self.this
            .upgrade()
            .expect("a client is only made in an Rc, which the caller's borrow keeps")
    }

    /// A request's head is complete.
    pub(crate) fn request_begins(&self) {
        self.enter(Phase::Waiting);
    }

    /// A response's head is complete.
    pub(crate) fn response_begins(&self) {
        self.enter(Phase::Responding);
        self.slot.set(self.limits.idle);
    }

    /// The last byte of a response was handed to hyper.
    pub(crate) fn request_ends(&self) {
        self.enter(Phase::Flushing);
    }

    /// hyper's buffer is empty.
    fn flushed(&self) {
        if self.phase.get() == Phase::Flushing {
            self.enter(Phase::Idle);
            self.slot.set(self.limits.idle);
        }
    }

    /// The body of the request at work. It may go on after the response, and then what is read is
    /// not the head of another request.
    pub(crate) fn uploads(&self, upload: Option<&Rc<Upload>>) {
        self.upload.replace(upload.map(Rc::clone));
    }

    fn is_uploading(&self) -> bool {
        let upload = self.upload.borrow();
        upload.as_ref().is_some_and(|upload| !upload.is_done())
    }

    /// Whether the response that is about to be sent is to be the last one.
    pub(crate) fn should_close(&self) -> bool {
        let age = self.worker.timers.now().saturating_sub(self.accepted);
        self.worker.is_draining() || Duration::from_millis(age) >= self.limits.client_keep_alive
    }

    /// How long no byte has moved.
    pub(crate) fn quiet_for(&self) -> Duration {
        self.elapsed(&self.moved)
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(self.worker.timers.now());
    }

    fn elapsed(&self, since: &Cell<u64>) -> Duration {
        Duration::from_millis(self.worker.timers.now().saturating_sub(since.get()))
    }

    /// How long the connection may stay idle from now on.
    fn idle_left(&self) -> Duration {
        let idle = if self.is_uploading() {
            self.quiet_for()
        } else {
            self.elapsed(&self.since)
        };
        match self.worker.draining_since() {
            Some(drain) => {
                let now = self.worker.timers.now();
                let draining = Duration::from_millis(now.saturating_sub(drain));
                DRAIN_IDLE.saturating_sub(idle.min(draining))
            }
            None => self.limits.idle.saturating_sub(idle),
        }
    }

    fn bytes_moved(&self) {
        self.moved.set(self.worker.timers.now());
    }

    fn bytes_read(&self) {
        self.bytes_moved();
        if self.phase.get() == Phase::Idle && !self.is_uploading() {
            self.enter(Phase::Head);
            self.slot.set(self.limits.request_header);
        }
    }

    /// The phase whose time limit has passed.
    fn poll_limit(&self, cx: &Context<'_>) -> Poll<Phase> {
        loop {
            let phase = self.phase.get();
            let left = match phase {
                Phase::Idle => self.idle_left(),
                Phase::Head => self
                    .limits
                    .request_header
                    .saturating_sub(self.elapsed(&self.since)),
                // The request has limits of its own.
                Phase::Waiting => self.limits.idle,
                Phase::Responding | Phase::Flushing => {
                    self.limits.idle.saturating_sub(self.quiet_for())
                }
            };
            if self.worker.is_draining() && phase == Phase::Idle {
                self.slot.set(left);
            }
            std::task::ready!(self.slot.poll(cx));
            if left.is_zero() {
                return Poll::Ready(phase);
            }
            // Something has moved since the limit was set.
            self.slot.set(left);
        }
    }
}

/// An IPv4 client of a socket for both families is an IPv4 client.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn text(address: &IpAddr) -> HeaderValue {
    HeaderValue::from_str(&address.to_string()).expect("an address is visible ASCII")
}

/// Serves one connection to its end.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    listener: ListenerId,
    stream: TcpStream,
    peer: SocketAddr,
) {
    // Both fail only if the client is gone already.
    let local = match stream.set_nodelay(true).and_then(|()| stream.local_addr()) {
        Ok(local) => local,
        Err(error) => {
            tracing::debug!(%error, %peer, "a new connection is gone");
            return;
        }
    };
    let client = Client::new(worker, listener, peer, local);
    let socket = Socket {
        stream,
        client: Rc::clone(&client),
    };
    let service = {
        let client = Rc::clone(&client);
        service_fn(move |request| {
            let client = Rc::clone(&client);
            async move { Ok::<_, Infallible>(request::handle(&client, request).await) }
        })
    };
    let mut connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(REQUEST_HEAD_MAX)
        .serve_connection(TokioIo::new(socket), service);
    let ended = poll_fn(|cx| {
        if let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
            return Poll::Ready(Ok(ended));
        }
        client.poll_limit(cx).map(Err)
    })
    .await;
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, peer = %client.peer, "a connection failed"),
        Err(Phase::Head) => {
            client.worker.metrics.answered(Reason::RequestHeaderTimeout);
            let mut stream = connection.into_parts().io.into_inner().stream;
            refuse(&mut stream, Reason::RequestHeaderTimeout, client.peer).await;
        }
        Err(phase) => {
            tracing::debug!(?phase, peer = %client.peer, "a connection was idle too long")
        }
    }
}

/// A last answer on a connection whose request could not be read.
async fn refuse(stream: &mut TcpStream, reason: Reason, peer: SocketAddr) {
    let answer = raw(reason);
    let sent = tokio::time::timeout(DRAIN_IDLE, async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    });
    if let Ok(Err(error)) = sent.await {
        tracing::debug!(%error, %peer, "a last answer was not sent");
    }
}

/// The client's socket, which notes when bytes move.
struct Socket {
    stream: TcpStream,
    client: Rc<Client>,
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.client.bytes_read();
        }
        polled
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        if polled.is_ready() {
            self.client.bytes_moved();
        }
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        if polled.is_ready() {
            self.client.bytes_moved();
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper flushes when its own buffer is empty. A TCP socket has nothing to flush.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.client.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
