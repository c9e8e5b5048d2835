//! Targets that do what a test says.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::wire::{Head, Wire};

/// A request as it reached a target.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its head.
    pub head: Head,
    /// Its body.
    pub body: Vec<u8>,
    /// Its trailers.
    pub trailers: Vec<(String, String)>,
}

/// A target. It ends when dropped, and its connections with it.
pub struct Origin {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

/// Counts a connection down when its task ends.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Origin {
    /// Each connection is a call of `serve`.
    pub async fn raw<F, S>(serve: S) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
        S: Fn(Wire) -> F + Send + Sync + 'static,
    {
        Self::at(([127, 0, 0, 1], 0).into(), move |wire, _| serve(wire)).await
    }

    /// Like [`Self::raw`], at an address, and with the place to note requests.
    pub async fn at<F, S>(address: SocketAddr, serve: S) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
        S: Fn(Wire, Arc<Mutex<Vec<Seen>>>) -> F + Send + Sync + 'static,
    {
        let listener = TcpListener::bind(address).await.expect("bound");
        let address = listener.local_addr().expect("bound");
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let connections = Arc::new(AtomicUsize::new(0));
        let open = Arc::new(AtomicUsize::new(0));
        let task = {
            let (seen, connections) = (Arc::clone(&seen), Arc::clone(&connections));
            let open = Arc::clone(&open);
            tokio::spawn(async move {
                // Connections end with the origin: their tasks are in a set that is dropped.
                let mut tasks = tokio::task::JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    connections.fetch_add(1, Ordering::Relaxed);
                    open.fetch_add(1, Ordering::Relaxed);
                    let (open, served) = (
                        Open(Arc::clone(&open)),
                        serve(Wire::from(stream), Arc::clone(&seen)),
                    );
                    tasks.spawn(async move {
                        served.await;
                        drop(open);
                    });
                }
            })
        };
        Self {
            address,
            seen,
            connections,
            open,
            task,
        }
    }

    /// Answers each request with what `reply` makes of it: the bytes of a response. An empty one
    /// closes the connection.
    pub async fn http<R>(reply: R) -> Self
    where
        R: Fn(&Seen) -> Vec<u8> + Send + Sync + 'static,
    {
        let reply = Arc::new(reply);
        Self::at(([127, 0, 0, 1], 0).into(), move |mut wire, seen| {
            let reply = Arc::clone(&reply);
            async move {
                while let Some(request) = read(&mut wire).await {
                    let bytes = reply(&request);
                    seen.lock().expect("not poisoned").push(request);
                    if bytes.is_empty() {
                        return;
                    }
                    // A balancer that is gone does not read; that is its right.
                    if tokio::io::AsyncWriteExt::write_all(&mut wire.stream, &bytes)
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
            }
        })
        .await
    }

    /// Answers each request with 200 and the same body.
    pub async fn ok(body: &str) -> Self {
        let response = response(200, body);
        Self::http(move |_| response.clone()).await
    }

    /// The requests that it has read, without health checks.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        let seen = self.seen.lock().expect("not poisoned");
        seen.iter()
            .filter(|request| request.head.get("user-agent") != Some("ELB-HealthChecker/2.0"))
            .cloned()
            .collect()
    }

    /// The connections that are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// The connections that were made to it.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// Reads one request. None when the connection ends.
pub async fn read(wire: &mut Wire) -> Option<Seen> {
    let head = wire.head().await.ok()?;
    let (body, trailers) = wire.body(&head, false).await.ok()?;
    Some(Seen {
        head,
        body,
        trailers,
    })
}

/// A response with a length.
#[must_use]
pub fn response(status: u16, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
