//! The kinds of messages that are counted: a `longshore` with one worker, a target that can do
//! whatever they need, and clients that send them one after the other.

use std::net::SocketAddr;
use std::process::Command;

use bytes::Bytes;
use h2::client::SendRequest;
use longshore_tests::certificates::{Folder, Key};
use longshore_tests::http::{self, Stream};
use longshore_tests::origin::{Origin, read, response};
use longshore_tests::process::{Process, TempFile, free_port};
use longshore_tests::websocket::{self, TEXT, frame};
use longshore_tests::wire::Wire;
use longshore_tests::{secure, within};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

const FIELDS: &str = "Host: example.com\r\nUser-Agent: gates/1.0\r\nAccept: */*\r\nCookie: a=b\r\n";
const CHUNKS: &[u8] =
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

/// A sort of message, with its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A GET on a connection that stays.
    Get,
    /// A POST with ten bytes.
    Post,
    /// A GET whose response has no length.
    Chunks,
    /// A GET over TLS.
    Tls,
    /// A GET over HTTP/2, inside of TLS.
    Http2,
    /// A text of a WebSocket, and its echo.
    WebSocket,
    /// A connection with one GET, which the client ends.
    Connection,
}

/// A running `longshore`, and what is around it.
pub(crate) struct Site {
    pub(crate) process: Process,
    plain: SocketAddr,
    tls: SocketAddr,
    _origin: Origin,
    _config: TempFile,
    _certificates: Folder,
}

impl Site {
    /// Starts what `command` makes of the arguments of `longshore`. `top`: more keys of the file.
    pub(crate) async fn start(top: &str, command: impl FnOnce(&[&str]) -> Command) -> Self {
        let origin = Origin::raw(serve).await;
        let certificates = Folder::default();
        certificates.make("site", &["site.example"], Key::Ecdsa, 30);
        let [plain, tls] = [free_port(), free_port()];
        let listener = |name: &str, port: u16, more: &str| {
            format!(
                "  - {{name: {name}, address: '127.0.0.1:{port}', {more}default_action: [{{type: forward, target_group: app}}]}}\n"
            )
        };
        let more = format!(
            "protocol: HTTPS, certificates: [{{cert: '{}', key: '{}'}}], ",
            certificates.path("site.pem"),
            certificates.path("site.key")
        );
        let config = TempFile::new(&format!(
            "{top}runtime: {{workers: 1}}\nlisteners:\n{}{}target_groups:\n  - name: app\n    health_check: {{enabled: false}}\n    targets: [{{address: 127.0.0.1, port: {}}}]\n",
            listener("web", plain, ""),
            listener("secure", tls, &more),
            origin.address.port()
        ));
        let path = config.path().to_str().expect("text");
        let mut process = Process::spawn(command(&["run", "-c", path]));
        process.wait_for_line("listening ");
        process.wait_for_line("listening ");
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            process,
            plain: at(plain),
            tls: at(tls),
            _origin: origin,
            _config: config,
            _certificates: certificates,
        }
    }

    /// A request of its own, which can be found in a log.
    pub(crate) async fn mark(&self, path: &str) {
        let mut stream = TcpStream::connect(self.plain).await.expect("connected");
        get(&mut stream, path).await;
    }

    /// A client that is connected.
    pub(crate) async fn client(&self, kind: Kind) -> Client {
        match kind {
            Kind::Get | Kind::Post | Kind::Chunks => {
                let stream = TcpStream::connect(self.plain).await.expect("connected");
                stream.set_nodelay(true).expect("a socket");
                Client::Http(Box::new(stream), kind)
            }
            Kind::Tls => {
                let stream = secure::connect(self.tls, "site.example", &["http/1.1"]).await;
                Client::Http(Box::new(stream), kind)
            }
            Kind::Http2 => {
                let stream = secure::connect(self.tls, "site.example", &["h2"]).await;
                let (sender, _) = http::over_http2(stream).await;
                Client::Http2(sender.ready().await.expect("ready"))
            }
            Kind::WebSocket => {
                let (mut wire, _) = websocket::open(self.plain, "/", "").await;
                let first = websocket::read(&mut wire).await;
                assert!(first.expect("a frame").content.is_empty());
                wire.stream.set_nodelay(true).expect("a socket");
                Client::WebSocket(wire)
            }
            Kind::Connection => Client::Fresh(self.plain),
        }
    }
}

/// A client of one kind of message.
pub(crate) enum Client {
    Http(Box<dyn Stream>, Kind),
    Http2(SendRequest<Bytes>),
    WebSocket(Wire),
    Fresh(SocketAddr),
}

impl Client {
    /// Sends that many messages, each after the answer to the one before.
    pub(crate) async fn send(&mut self, count: u32) {
        for _ in 0..count {
            within("an answer", self.one()).await;
        }
    }

    async fn one(&mut self) {
        match self {
            Self::Http(stream, Kind::Chunks) => {
                let request = format!("GET /chunks HTTP/1.1\r\n{FIELDS}\r\n");
                stream.write_all(request.as_bytes()).await.expect("sent");
                let head = http::head(stream).await.expect("a head");
                assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
                let mut body = Vec::new();
                while !body.ends_with(b"0\r\n\r\n") {
                    let byte = tokio::io::AsyncReadExt::read_u8(stream).await;
                    body.push(byte.expect("a body"));
                }
            }
            Self::Http(stream, Kind::Post) => {
                let request =
                    format!("POST / HTTP/1.1\r\n{FIELDS}Content-Length: 10\r\n\r\n0123456789");
                let answer = http::ask(stream, &request).await.expect("an answer");
                assert_eq!(answer.status, 200);
            }
            Self::Http(stream, _) => get(stream, "/path?query").await,
            Self::Http2(sender) => {
                let asked = http::get_over_http2(sender, "https://site.example/path?query");
                assert_eq!(asked.await.expect("an answer"), 200);
            }
            Self::WebSocket(wire) => {
                wire.send(frame(TEXT, true, b"hello")).await;
                let came = websocket::read(wire).await.expect("a frame");
                assert_eq!(came.content, b"hello");
            }
            Self::Fresh(address) => {
                let mut stream = TcpStream::connect(*address).await.expect("connected");
                get(&mut stream, "/path?query").await;
            }
        }
    }
}

async fn get(stream: &mut (impl Stream + ?Sized), path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\n{FIELDS}\r\n");
    let answer = http::ask(stream, &request).await.expect("an answer");
    assert_eq!(answer.status, 200);
}

/// The target.
async fn serve(mut wire: Wire) {
    let small = response(200, "hello");
    while let Some(request) = read(&mut wire).await {
        if request.head.get("upgrade").is_some() {
            websocket::echo(&mut wire, "").await;
            return;
        }
        let chunks = request.head.line.contains("/chunks");
        let answer = if chunks { CHUNKS } else { &small[..] };
        // A balancer that is gone does not read; that is its right.
        if wire.stream.write_all(answer).await.is_err() {
            return;
        }
    }
}
