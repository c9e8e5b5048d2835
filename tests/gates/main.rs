//! What a request and a connection may cost, in figures that a busy machine does not change: blocks
//! of memory for each request, bytes for each idle connection.
//!
//! A program of its own with one test, because every allocation of the process counts. Clients and
//! targets are threads with a buffer each: they allocate nothing while it is counted.

#![allow(clippy::disallowed_methods, reason = "tests watch real time")]
#![allow(
    clippy::expect_used,
    reason = "what cannot go on fails the test, at the place where it happened"
)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use longshore_tests::balancer::{Running, fixed, https_to, start};
use longshore_tests::certificates::{Folder, Key};
use longshore_tests::secure::connect;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// Requests that are counted, after as many that are not: pools and buffers are warm then.
const REQUESTS: u32 = 1_000;

/// What the control thread and timers may allocate beside a request, for each.
const BESIDE: f64 = 0.05;

/// Idle connections that are counted, after some that are not: tables that grow by doubling have
/// room for 512 then.
const CONNECTIONS: usize = 200;
const BEFORE: usize = 260;

/// The budgets of an idle connection: bytes that were asked for from the allocator. Some of them
/// are not its own: orders to workers wait in blocks, and one or two more of these may be there when
/// the last connection was opened.
const IDLE: &[(Idle, usize)] = &[
    (Idle::Http, 1_040),
    (Idle::Https, 3_616),
    (Idle::Http2, 2_848),
];

/// What an idle client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Idle {
    Http,
    Https,
    Http2,
}

const SMALL: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";
const CHUNKS: &[u8] =
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
const GET: &[u8] = b"GET /path?query HTTP/1.1\r\nHost: example.com\r\nUser-Agent: gates/1.0\r\nAccept: */*\r\nCookie: a=b\r\n\r\n";
const POST: &[u8] =
    b"POST /path HTTP/1.1\r\nHost: example.com\r\nContent-Length: 10\r\n\r\n0123456789";

/// A target that gives the same response to each request, whose size is known.
fn target(response: &'static [u8], body: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        // They end with the process.
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream, response, body));
        }
    });
    address
}

fn answer(mut stream: TcpStream, response: &[u8], body: usize) {
    let mut buffer = [0; 4096];
    let mut filled = 0;
    while let Ok(count @ 1..) = stream.read(&mut buffer[filled..]) {
        filled += count;
        let head = buffer[..filled]
            .windows(4)
            .position(|end| end == b"\r\n\r\n");
        if head.is_some_and(|head| filled >= head + 4 + body) {
            filled = 0;
            if stream.write_all(response).is_err() {
                return;
            }
        }
    }
}

/// Sends a request and reads its response, which ends so.
fn ask(stream: &mut TcpStream, request: &[u8], end: &[u8]) {
    let mut buffer = [0; 4096];
    let mut filled = 0;
    stream.write_all(request).expect("sent");
    while !buffer[..filled].ends_with(end) {
        let count = stream.read(&mut buffer[filled..]).expect("read");
        assert_ne!(count, 0, "closed");
        filled += count;
    }
    assert!(buffer.starts_with(b"HTTP/1.1 200 "), "another status");
}

/// Blocks that were allocated for each of many requests on one connection.
async fn blocks(
    case: &str,
    group: &str,
    top: &str,
    request: &'static [u8],
    response: &'static [u8],
) -> f64 {
    let body = if request == POST { 10 } else { 0 };
    let group = format!("health_check: {{enabled: false}}\n{group}");
    let text = fixed(&[target(response, body)], &group, top);
    let balancer = start(&text).await;
    let address = balancer.address();
    let end = &response[response.len() - 5..];
    let counted = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).expect("connected");
        stream.set_nodelay(true).expect("a socket");
        let mut many = || {
            let before = dhat::HeapStats::get().total_blocks;
            for _ in 0..REQUESTS {
                ask(&mut stream, request, end);
            }
            dhat::HeapStats::get().total_blocks - before
        };
        many();
        many()
    });
    let counted = counted.await.expect("it ended");
    #[allow(clippy::cast_precision_loss, reason = "a few thousand")]
    let each = counted as f64 / f64::from(REQUESTS);
    println!("{case}: {each:.2} blocks for each request");
    each
}

/// Bytes that each of many idle connections takes after a request.
async fn bytes(idle: Idle) -> usize {
    let folder = Folder::default();
    let balancer = before_idle(idle, &folder).await;
    let address = balancer.address();
    let mut sockets = Vec::with_capacity(BEFORE + CONNECTIONS);
    for _ in 0..BEFORE {
        sockets.push(open(idle, address).await);
    }
    let before = settled(idle).await;
    for _ in 0..CONNECTIONS {
        sockets.push(open(idle, address).await);
    }
    let counted = settled(idle).await.saturating_sub(before);
    let each = counted / CONNECTIONS;
    println!("{idle:?}: {each} bytes for each idle connection");
    each
}

/// The bytes that are in use when connections hold what they hold in the long run. One with HTTP/2
/// gives up its room for streams after a second without any, which nothing tells of: it has settled
/// when nothing was given up for longer than that.
async fn settled(idle: Idle) -> usize {
    let mut held = dhat::HeapStats::get().curr_bytes;
    if idle != Idle::Http2 {
        return held;
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut since = Instant::now();
    while since.elapsed() < Duration::from_millis(1_500) {
        assert!(
            Instant::now() < deadline,
            "what is held changes all the time"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = dhat::HeapStats::get().curr_bytes;
        if now < held {
            since = Instant::now();
        }
        held = now;
    }
    held
}

/// A balancer for clients that will be idle.
async fn before_idle(idle: Idle, folder: &Folder) -> Running {
    let target = target(SMALL, 0);
    if idle == Idle::Https {
        folder.make("site", &["site.example"], Key::Ecdsa, 30);
        return https_to(folder, "site", "mode: 'off'", target).await;
    }
    start(&fixed(&[target], "health_check: {enabled: false}", "")).await
}

/// A client after one request, which keeps no more than its socket.
async fn open(idle: Idle, address: SocketAddr) -> TcpStream {
    match idle {
        Idle::Http => plain(address).await,
        Idle::Https => secure(address).await,
        Idle::Http2 => http2(address).await,
    }
}

async fn plain(address: SocketAddr) -> TcpStream {
    let opened = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).expect("connected");
        ask(&mut stream, GET, b"hello");
        stream
    });
    opened.await.expect("it ended")
}

async fn secure(address: SocketAddr) -> TcpStream {
    let mut stream = connect(address, "site.example", &["http/1.1"]).await;
    stream.write_all(GET).await.expect("sent");
    let mut buffer = [0; 4096];
    let mut filled = 0;
    while !buffer[..filled].ends_with(b"hello") {
        filled += stream.read(&mut buffer[filled..]).await.expect("read");
    }
    let (socket, _) = stream.into_inner();
    socket.into_std().expect("a socket")
}

/// By prior knowledge: the preface, empty SETTINGS with their acknowledgement, and a GET whose
/// fields, but for the host, stand in the static table of HPACK.
async fn http2(address: SocketAddr) -> TcpStream {
    let mut request = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    request.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    request.extend_from_slice(&[0, 0, 0, 4, 1, 0, 0, 0, 0]);
    request.extend_from_slice(&[0, 0, 16, 1, 5, 0, 0, 0, 1]);
    request.extend_from_slice(b"\x82\x84\x86\x41\x0Bexample.com");
    let opened = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).expect("connected");
        stream.write_all(&request).expect("sent");
        let mut buffer = [0; 4096];
        let mut filled = 0;
        while !buffer[..filled].windows(5).any(|five| five == b"hello") {
            let count = stream.read(&mut buffer[filled..]).expect("read");
            assert_ne!(count, 0, "closed");
            filled += count;
        }
        stream
    });
    opened.await.expect("it ended")
}

/// Writes what idle connections hold, by the places where it was asked for, for dhat's viewer.
async fn write_held(idle: Idle, path: &str) {
    let folder = Folder::default();
    let profiler = dhat::Profiler::builder().file_name(path).build();
    let balancer = before_idle(idle, &folder).await;
    let mut sockets = Vec::new();
    for _ in 0..CONNECTIONS {
        sockets.push(open(idle, balancer.address()).await);
    }
    drop(profiler);
}

/// Budgets. Whoever must go beyond one says in the commit what is got for it; whoever gets far below
/// one lowers it.
#[tokio::test]
async fn requests_and_idle_connections_stay_within_their_budgets_of_memory() {
    if let Ok(path) = std::env::var("LONGSHORE_HELD") {
        for &(idle, _) in IDLE {
            write_held(idle, &format!("{path}/{idle:?}.json")).await;
        }
        return;
    }
    let _counting = dhat::Profiler::builder().testing().build();
    let sticky = "stickiness: {enabled: true, type: lb_cookie}";
    let json = "load_balancer: {access_logs: {path: /dev/null, format: json}}";
    let alb = "load_balancer: {access_logs: {path: /dev/null}}";
    let admin = "admin: {address: '127.0.0.1:2'}";
    let mut beyond = Vec::new();
    for (case, group, top, request, response, budget) in [
        ("GET", "", "", GET, SMALL, 0.0),
        ("POST", "", "", POST, SMALL, 0.0),
        ("a response in chunks", "", "", GET, CHUNKS, 1.0),
        ("GET, access log in JSON", "", json, GET, SMALL, 0.0),
        ("GET, access log as ALB's", "", alb, GET, SMALL, 0.0),
        ("GET, kept for explain", "", admin, GET, SMALL, 0.0),
        ("GET, new sticky client", sticky, "", GET, SMALL, 1.0),
    ] {
        let each = blocks(case, group, top, request, response).await;
        if each > budget + BESIDE {
            beyond.push(format!("{case}: {each} blocks, and {budget} are allowed"));
        }
    }
    for &(idle, budget) in IDLE {
        let each = bytes(idle).await;
        if each > budget {
            beyond.push(format!("{idle:?}: {each} bytes, and {budget} are allowed"));
        }
    }
    assert!(beyond.is_empty(), "{beyond:#?}");
}
