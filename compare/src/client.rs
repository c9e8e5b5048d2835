//! Connections and requests.

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::side::{Side, Version};
use crate::tally::Kind;

/// A window of HTTP/2 that no response of a benchmark waits for.
const WINDOW: u32 = 4 * 1024 * 1024;

/// Why a request failed, for counting and for people.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) message: String,
}

impl Failure {
    fn new(kind: Kind, message: impl ToString) -> Self {
        let message = message.to_string();
        Self { kind, message }
    }

    fn late(limit: Duration, what: &str) -> Self {
        let limit = crate::text::span(limit);
        Self::new(Kind::Timeout, format!("{what} within {limit} (--timeout)"))
    }

    fn http(error: &hyper::Error) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        let mut io = false;
        while let Some(inner) = cause {
            io |= inner.is::<io::Error>();
            io |= inner
                .downcast_ref::<h2::Error>()
                .is_some_and(|error| error.is_reset() || error.is_go_away() || error.is_io());
            message = format!("{message}: {inner}");
            cause = inner.source();
        }
        let gone = io || error.is_closed() || error.is_canceled() || error.is_incomplete_message();
        let kind = if gone { Kind::Reset } else { Kind::Protocol };
        Self::new(kind, message)
    }

    /// What a user may do about it.
    pub(crate) fn hint(&self, secure: bool, port: u16, own: bool) -> String {
        match self.kind {
            Kind::Connect => format!(". Is something listening on port {port}?"),
            Kind::Tls if own => ". Is --ca the authority of this certificate, and the name in it \
                 that of the URL or --host? (--insecure takes any)"
                .to_owned(),
            Kind::Tls => ". Say --ca FILE with the authority's certificate, or --insecure; for \
                 another name than that of the URL, --host NAME; without TLS, http://"
                .to_owned(),
            Kind::Protocol | Kind::Reset if !secure => {
                ". Is it https://, or another version of HTTP (--http)?".to_owned()
            }
            Kind::Protocol | Kind::Reset => ". Is it another version of HTTP (--http)?".to_owned(),
            Kind::Timeout if secure => {
                ". Can it be reached from here, and does it speak TLS (else http://)?".to_owned()
            }
            Kind::Timeout => ". Can it be reached from here?".to_owned(),
            _ => String::new(),
        }
    }
}

/// Bytes of HTTP, inside of TLS.
#[derive(Debug, Default)]
pub(crate) struct Meter(AtomicU64);

impl Meter {
    fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A connection, with its bytes counted.
pub(crate) struct Stream {
    socket: Socket,
    meter: Arc<Meter>,
}

enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = match &mut this.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_read(context, buffer),
            Socket::Tls(socket) => Pin::new(socket).poll_read(context, buffer),
        };
        this.meter.add(buffer.filled().len() - before);
        polled
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = match &mut this.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Socket::Tls(socket) => Pin::new(socket).poll_write(context, bytes),
        };
        if let Poll::Ready(Ok(count)) = &polled {
            this.meter.add(*count);
        }
        polled
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Plain(socket) => Pin::new(socket).poll_flush(context),
            Socket::Tls(socket) => Pin::new(socket).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Socket::Tls(socket) => Pin::new(socket).poll_shutdown(context),
        }
    }
}

/// What sends requests on a connection.
pub(crate) enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

impl Sender {
    /// Waits until it takes a request. False if the connection has ended.
    pub(crate) async fn is_ready(&mut self) -> bool {
        match self {
            Self::One(sender) => sender.ready().await.is_ok(),
            Self::Two(sender) => sender.ready().await.is_ok(),
        }
    }

    /// Another one for the same connection, if that carries several requests.
    pub(crate) fn shared(&self) -> Option<Self> {
        match self {
            Self::One(_) => None,
            Self::Two(sender) => Some(Self::Two(sender.clone())),
        }
    }
}

/// A connection, what ALPN agreed on, and the version of TLS.
type Connected = (Stream, Option<Vec<u8>>, Option<String>);

/// Connects to an address of a side.
pub(crate) async fn connect(
    side: &Side,
    address: SocketAddr,
    meter: &Arc<Meter>,
    limit: Duration,
) -> Result<Connected, Failure> {
    let connecting = async {
        let stream = TcpStream::connect(address)
            .await
            .map_err(|error| Failure::new(Kind::Connect, error))?;
        // Small requests must not wait for acknowledgements.
        stream
            .set_nodelay(true)
            .map_err(|error| Failure::new(Kind::Connect, error))?;
        let Some((connector, name)) = &side.tls else {
            return Ok((Socket::Plain(stream), None, None));
        };
        let stream = connector
            .connect(name.clone(), stream)
            .await
            .map_err(|error| Failure::new(Kind::Tls, format!("TLS: {error}")))?;
        let (_, session) = stream.get_ref();
        let agreed = session.alpn_protocol().map(<[u8]>::to_vec);
        let version = session
            .protocol_version()
            .and_then(|version| version.as_str());
        let version = version.map(|name| name.replace("TLSv1_", "TLS 1."));
        Ok((Socket::Tls(Box::new(stream)), agreed, version))
    };
    let connected = timeout(limit, connecting).await;
    let (socket, agreed, version) =
        connected.map_err(|_| Failure::late(limit, "no connection"))??;
    let meter = Arc::clone(meter);
    Ok((Stream { socket, meter }, agreed, version))
}

/// Begins HTTP on a connection. A task carries it, and ends with the last sender.
pub(crate) async fn over(stream: Stream, version: Version) -> Result<Sender, Failure> {
    let io = TokioIo::new(stream);
    match version {
        Version::One => {
            let begun = http1::handshake(io).await;
            let (sender, connection) = begun.map_err(|error| Failure::http(&error))?;
            // What goes wrong on it is told to the request.
            tokio::spawn(async move { connection.await.unwrap_or_default() });
            Ok(Sender::One(sender))
        }
        Version::Two => {
            let begun = http2::Builder::new(TokioExecutor::new())
                .initial_stream_window_size(WINDOW)
                .initial_connection_window_size(WINDOW)
                .handshake(io)
                .await;
            let (sender, connection) = begun.map_err(|error| Failure::http(&error))?;
            // What goes wrong on it is told to the request.
            tokio::spawn(async move { connection.await.unwrap_or_default() });
            Ok(Sender::Two(sender))
        }
    }
}

/// Sends a request and reads its response to the end. The status.
pub(crate) async fn exchange(
    sender: &mut Sender,
    request: Request<Full<Bytes>>,
    limit: Duration,
) -> Result<u16, Failure> {
    let exchange = async {
        let response = match sender {
            Sender::One(sender) => sender.send_request(request).await,
            Sender::Two(sender) => sender.send_request(request).await,
        };
        let response = response.map_err(|error| Failure::http(&error))?;
        let status = response.status().as_u16();
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            frame.map_err(|error| Failure::http(&error))?;
        }
        Ok(status)
    };
    let answered = timeout(limit, exchange).await;
    answered.map_err(|_| Failure::late(limit, "no response"))?
}
