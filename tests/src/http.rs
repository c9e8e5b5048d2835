//! Requests on any stream, for clients that go on while a test does something to the balancer.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::DEADLINE;

/// A connection, with TLS or without.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A whole response with a length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// It says that the connection ends.
    pub closes: bool,
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Reads a head, and not a byte more.
///
/// # Errors
/// If the connection ends first, or nothing comes for too long.
pub async fn head(stream: &mut (impl Stream + ?Sized)) -> io::Result<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let byte = tokio::time::timeout(DEADLINE, stream.read_u8()).await;
        bytes.push(byte.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??);
    }
    String::from_utf8(bytes).map_err(|_| broken("a head that is no text"))
}

/// Sends a request and reads its response, which must be whole.
///
/// # Errors
/// If the connection ends first, or what comes has no length.
pub async fn ask(stream: &mut (impl Stream + ?Sized), request: &str) -> io::Result<Answer> {
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let head = head(stream).await?.to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
    let field = |name: &str| {
        let mut lines = head.split("\r\n");
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    };
    let length = field("content-length").and_then(|text| text.parse().ok());
    let mut body = vec![0; length.ok_or_else(|| broken("no length"))?];
    let read = tokio::time::timeout(DEADLINE, stream.read_exact(&mut body)).await;
    read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    Ok(Answer {
        status: status.ok_or_else(|| broken("no status"))?,
        closes: field("connection") == Some("close"),
    })
}

/// Begins HTTP/2 on a stream. The task drives the connection.
///
/// # Panics
/// If there is none.
pub async fn over_http2(stream: impl Stream + 'static) -> (SendRequest<Bytes>, JoinHandle<()>) {
    let (sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    // How it ended is seen by its requests.
    let driver = tokio::spawn(async move { drop(connection.await) });
    (sender, driver)
}

/// A client with HTTP/2 that has made its connection.
///
/// # Panics
/// If there is none.
pub async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.expect("connected");
    let (sender, _) = over_http2(stream).await;
    sender.ready().await.expect("ready")
}

/// Asks for a URL, and reads the whole response. Its status.
///
/// # Panics
/// If the URL is none.
pub fn get_over_http2(
    sender: &SendRequest<Bytes>,
    url: &str,
) -> impl Future<Output = Result<u16, h2::Error>> + Send + use<> {
    let sender = sender.clone();
    let request = http::Request::get(url).body(()).expect("a URL");
    async move {
        let mut sender = sender.ready().await?;
        let (response, _) = sender.send_request(request, true)?;
        let response = response.await?;
        let status = response.status().as_u16();
        let mut body = response.into_body();
        while let Some(data) = body.data().await {
            let length = data?.len();
            body.flow_control().release_capacity(length)?;
        }
        Ok(status)
    }
}
