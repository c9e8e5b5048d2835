//! Targets for health checks over HTTP/2, with and without TLS, that note what they were asked.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A request over HTTP/2.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Method and URI.
    pub line: String,
    /// Its fields.
    pub fields: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// What it is answered.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// The status and the fields.
    pub head: Response<()>,
    /// The body.
    pub body: Bytes,
    /// The trailers.
    pub trailers: Option<HeaderMap>,
}

impl Reply {
    /// A response of gRPC: a code in the trailers, behind a message unless that is empty.
    #[must_use]
    pub fn grpc(code: &str, framed: &[u8]) -> Self {
        let mut reply = Self::default();
        let kind = http::HeaderValue::from_static("application/grpc+proto");
        reply.head.headers_mut().insert("content-type", kind);
        let code = code.parse().expect("a value");
        if framed.is_empty() {
            reply.head.headers_mut().insert("grpc-status", code);
        } else {
            reply.body = Bytes::copy_from_slice(framed);
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", code);
            reply.trailers = Some(trailers);
        }
        reply
    }
}

/// A server of HTTP/2. It ends when dropped.
pub struct Http2 {
    /// Where it listens.
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Http2 {
    /// Answers each request with what `reply` says at that time.
    pub async fn start<R>(tls: Option<TlsAcceptor>, reply: R) -> Self
    where
        R: Fn(&Asked) -> Reply + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("bound");
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (reply, noted) = (Arc::new(reply), Arc::clone(&asked));
        let task =
            tokio::spawn(async move {
                let mut tasks = tokio::task::JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    let (tls, reply, noted) = (tls.clone(), Arc::clone(&reply), Arc::clone(&noted));
                    tasks.spawn(async move {
                    let service = service_fn(move |request: Request<Incoming>| {
                        let (reply, noted) = (Arc::clone(&reply), Arc::clone(&noted));
                        async move { Ok::<_, Infallible>(answer(request, &*reply, &noted).await) }
                    });
                    let builder = http2::Builder::new(TokioExecutor::new());
                    // A client that is gone is that client's right.
                    match tls {
                        None => drop(builder.serve_connection(TokioIo::new(stream), service).await),
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else {
                                return;
                            };
                            drop(builder.serve_connection(TokioIo::new(stream), service).await);
                        }
                    }
                });
                }
            });
        Self {
            address,
            asked,
            task,
        }
    }

    /// What it was asked so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("not poisoned").clone()
    }
}

type Body = StreamBody<stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

async fn answer(
    request: Request<Incoming>,
    reply: &(dyn Fn(&Asked) -> Reply + Sync),
    noted: &Mutex<Vec<Asked>>,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await;
    let asked = Asked {
        line: format!("{} {}", parts.method, parts.uri),
        fields: parts.headers,
        body: body.map(|body| body.to_bytes()).unwrap_or_default(),
    };
    let reply = reply(&asked);
    noted.lock().expect("not poisoned").push(asked);
    let data = (!reply.body.is_empty()).then(|| Frame::data(reply.body));
    let trailers = reply.trailers.map(Frame::trailers);
    let frames: Vec<_> = [data, trailers].into_iter().flatten().map(Ok).collect();
    reply.head.map(|()| StreamBody::new(stream::iter(frames)))
}
