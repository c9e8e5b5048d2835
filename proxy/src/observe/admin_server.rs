//! The connections of the admin server: few, and none that stalls for long. A client that never
//! reads, or never finishes asking, holds its answer in memory meanwhile.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Sleep;

/// Connections at a time, at the most. Each may hold an answer of some megabytes.
const CONNECTIONS_MAX: usize = 64;

/// How long a client may take for the head of a request, or be idle between two.
const HEAD_LIMIT: Duration = Duration::from_secs(60);

/// How long a client may take in nothing of its answer.
const STALL_LIMIT: Duration = Duration::from_secs(10);

/// The pause after an accept that failed.
const PAUSE: Duration = Duration::from_millis(100);

/// What became of connections.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    served: AtomicU64,
    refused: AtomicU64,
    stalled: AtomicU64,
}

impl Counts {
    /// Each fate with its number.
    pub(crate) fn get(&self) -> [(&'static str, u64); 3] {
        [
            ("served", self.served.load(Ordering::Relaxed)),
            ("refused", self.refused.load(Ordering::Relaxed)),
            ("stalled", self.stalled.load(Ordering::Relaxed)),
        ]
    }
}

/// Accepts until the runtime ends.
pub(super) async fn serve(socket: TcpListener, router: Router, counts: Arc<Counts>) -> Infallible {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let stream = match socket.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the admin server cannot accept");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            counts.refused.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        counts.served.fetch_add(1, Ordering::Relaxed);
        let (router, counts) = (router.clone(), Arc::clone(&counts));
        tokio::spawn(async move {
            let stream = Impatient {
                stream,
                stalled: None,
                counts,
            };
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_LIMIT)
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection of the admin server did not end well");
            }
            drop(place);
        });
    }
}

/// A connection that ends if its client takes in nothing for too long.
struct Impatient {
    stream: TcpStream,
    /// Until when the client has to take in something, while there is something.
    stalled: Option<Pin<Box<Sleep>>>,
    counts: Arc<Counts>,
}

impl Impatient {
    fn judge<T>(
        &mut self,
        cx: &mut Context<'_>,
        moved: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if moved.is_ready() {
            self.stalled = None;
            return moved;
        }
        let limit = || Box::pin(tokio::time::sleep(STALL_LIMIT));
        let over = self.stalled.get_or_insert_with(limit).as_mut().poll(cx);
        over.map(|()| {
            self.counts.stalled.fetch_add(1, Ordering::Relaxed);
            Err(io::ErrorKind::TimedOut.into())
        })
    }
}

impl AsyncRead for Impatient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let moved = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(cx, moved)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let moved = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.judge(cx, moved)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
