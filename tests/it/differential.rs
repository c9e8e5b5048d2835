//! Another reader of HTTP/1.1, hyper, is the judge: whatever a client sends, a target behind the
//! balancer reads what it would have read without it, or nothing.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use longshore_tests::balancer::{fixed, start};
use longshore_tests::origin::Origin;
use longshore_tests::wire::Wire;
use longshore_tests::within;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// How long the judge waits for the rest of a request. It ends every conversation, so that no test
/// has to guess whether more is to come.
const PATIENCE: Duration = Duration::from_millis(500);

/// The last request of every conversation: both sides close after it.
const LAST: &str = "GET /last HTTP/1.1\r\nHost: last\r\nConnection: close\r\n\r\n";

/// A request as hyper read it, without what belongs to one connection only or is the balancer's to
/// set.
type Read = (String, String, String, Vec<(String, Vec<u8>)>, Vec<u8>);

/// A hyper server that notes what it reads.
struct Judge {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Read>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Judge {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Judge {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("bound");
        let seen: Arc<Mutex<Vec<Read>>> = Arc::default();
        let task = {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let mut connections = JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    let seen = Arc::clone(&seen);
                    connections.spawn(async move {
                        let service = service_fn(move |request| note(Arc::clone(&seen), request));
                        let served = hyper::server::conn::http1::Builder::new()
                            .timer(TokioTimer::new())
                            .header_read_timeout(PATIENCE)
                            .serve_connection(TokioIo::new(stream), service)
                            .await;
                        // What it refuses is the point.
                        drop(served);
                    });
                }
            })
        };
        Self {
            address,
            seen,
            task,
        }
    }

    fn take(&self) -> Vec<Read> {
        std::mem::take(&mut *self.seen.lock().expect("not poisoned"))
    }
}

async fn note(
    seen: Arc<Mutex<Vec<Read>>>,
    request: http::Request<Incoming>,
) -> Result<http::Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let refused = || {
        let mut response = http::Response::new(Full::default());
        *response.status_mut() = http::StatusCode::BAD_REQUEST;
        let close = http::HeaderValue::from_static("close");
        response.headers_mut().insert("connection", close);
        Ok(response)
    };
    let Ok(Ok(body)) = tokio::time::timeout(PATIENCE, body.collect()).await else {
        return refused();
    };
    let text = |name: &str| {
        let value = head.headers.get(name).map(|value| value.as_bytes());
        String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
    };
    let host = head.uri.authority().map_or_else(
        || text("host"),
        |authority| {
            let text = authority.as_str();
            text.rsplit_once('@').map_or(text, |(_, host)| host).into()
        },
    );
    let options: Vec<String> = head
        .headers
        .get_all("connection")
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(|option| String::from_utf8_lossy(option.trim_ascii()).to_lowercase())
        .collect();
    let mut fields: Vec<(String, Vec<u8>)> = head
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
        .filter(|(name, _)| {
            // Names that an application may take for one of these are the balancer's too.
            !matches!(
                name.replace('_', "-").as_str(),
                "connection"
                    | "keep-alive"
                    | "proxy-connection"
                    | "te"
                    | "transfer-encoding"
                    | "upgrade"
                    | "expect"
                    | "content-length"
                    | "host"
                    | "x-forwarded-for"
                    | "x-forwarded-proto"
                    | "x-forwarded-port"
            ) && !options.contains(name)
        })
        .collect();
    fields.sort();
    let target = head
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    let root = if target.starts_with('?') { "/" } else { "" };
    let read = (
        head.method.to_string(),
        format!("{root}{target}"),
        host,
        fields,
        body.to_bytes().to_vec(),
    );
    seen.lock().expect("not poisoned").push(read);
    Ok(http::Response::new(Full::from("ok")))
}

/// Sends bytes and waits until the other side has closed.
async fn converse(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("connected");
    let (mut input, mut output) = stream.split();
    let mut got = Vec::new();
    let sending = async {
        // It may close before it has read all, and that is its right.
        drop(output.write_all(bytes).await);
    };
    let reading = async { drop(input.read_to_end(&mut got).await) };
    within("the end of a conversation", async {
        tokio::join!(sending, reading)
    })
    .await;
    got
}

/// The requests that hyper reads from these bytes, directly and through a balancer.
async fn compare(bytes: &[u8]) -> (Vec<Read>, Vec<Read>, Vec<u8>) {
    let judge = Judge::start().await;
    converse(judge.address, bytes).await;
    let direct = judge.take();
    // Paths as they came: the judge makes nothing of them either.
    let balancer = start(&fixed(
        &[judge.address],
        "health_check: {enabled: false}",
        "load_balancer: {idle_timeout: 1, request_header_timeout: 1, path_normalization: none, \
         enable_x_amzn_trace_id: false}\n\
         runtime: {workers: 1}",
    ))
    .await;
    let got = converse(balancer.address(), bytes).await;
    // The listener's port is put behind a Host without one.
    let port = format!(":{}", balancer.address().port());
    let mut behind = judge.take();
    for read in &mut behind {
        if let Some(host) = read.2.strip_suffix(&port) {
            read.2 = host.to_owned();
        }
    }
    (direct, behind, got)
}

/// Whether the requests behind the balancer are the first of those without it. An HTTP/1.0 request
/// may have no Host; then the balancer makes one.
fn is_prefix(behind: &[Read], direct: &[Read]) -> bool {
    behind.len() <= direct.len()
        && behind.iter().zip(direct).all(|(behind, direct)| {
            let mut behind = behind.clone();
            if direct.2.is_empty() {
                behind.2.clear();
            }
            behind == *direct
        })
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const COMMON: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /a?b=c&d HTTP/1.1\r\nHost: a:80\r\nAccept: */*\r\nCookie: a=b\r\nCookie: c=d\r\n\r\n",
    "\r\nGET /after-an-empty-line HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /bare-lf HTTP/1.1\nHost: a\n\n",
    "GET /%2e%2e//x;y HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /{a}|b HTTP/1.1\r\nHost: a\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET http://real.example/x HTTP/1.1\r\nHost: other\r\n\r\n",
    "GET http://real.example HTTP/1.1\r\nHost: other\r\n\r\n",
    "QUERY /own-method HTTP/1.1\r\nHost: a\r\n\r\n",
    "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: Chunked\r\n\r\n5;x=y\r\nhello\r\nA\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nX-Tabs:\t a \t\r\nX-Obs: \u{e4}\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: x-hop, keep-alive\r\nX-Hop: 1\r\n\r\n",
    "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\n\r\nhiGET /3 HTTP/1.1\r\nHost: c\r\n\r\n",
];

#[tokio::test]
async fn a_target_reads_common_requests_as_it_would_without_the_balancer() {
    for request in COMMON {
        let (direct, behind, got) = compare(format!("{request}{LAST}").as_bytes()).await;
        assert!(direct.len() >= 2, "{request:?}: {direct:?}");
        assert_eq!(direct, behind, "{request:?}\n{}", lossy(&got));
    }
}

/// What to put into requests so that readers may differ.
const PIECES: &[&str] = &[
    "\r",
    "\n",
    "\r\n",
    "\r\n\r\n",
    "\0",
    " ",
    "\t",
    ":",
    ";",
    ",",
    "#",
    "/",
    "?",
    "@",
    "\\",
    "%",
    "\u{80}",
    "0",
    "1",
    "5",
    "a",
    "-",
    "+",
    "_",
    "GET ",
    "/ HTTP/1.1",
    "HTTP/1.0",
    "HTTP/2.0",
    "http://b/",
    "Host: b\r\n",
    "Host:",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Content-Length : 3\r\n",
    "content-length:\t4\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "Transfer-Encoding:\u{b}chunked\r\n",
    "Transfer_Encoding: chunked\r\n",
    "X: y\r\n",
    " folded\r\n",
    "Connection: close\r\n",
    "Connection: content-length\r\n",
    "Connection: transfer-encoding\r\n",
    "Expect: 100-continue\r\n",
    "Upgrade: h2c\r\n",
    "TE: trailers\r\n",
    "0\r\n\r\n",
    "5\r\nhello\r\n",
    "ffffffffffffffff\r\n",
    "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
];

fn mutated(rng: &mut SmallRng) -> Vec<u8> {
    let mut bytes = COMMON[rng.random_range(0..COMMON.len())]
        .as_bytes()
        .to_vec();
    for _ in 0..rng.random_range(1..3) {
        let at = rng.random_range(0..=bytes.len());
        let piece = PIECES[rng.random_range(0..PIECES.len())].bytes();
        let until = match rng.random_range(0..3) {
            0 => (at + piece.len()).min(bytes.len()),
            1 => (at + rng.random_range(0..4)).min(bytes.len()),
            _ => at,
        };
        bytes.splice(at..until, piece);
    }
    bytes
}

#[tokio::test]
async fn a_target_reads_broken_requests_as_it_would_without_the_balancer_or_not_at_all() {
    let seed = std::env::var("LONGSHORE_SEED").map_or(20, |seed| seed.parse().expect("a number"));
    println!("seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut running: JoinSet<(bool, Option<String>)> = JoinSet::new();
    let (mut passed, mut wrong) = (0, Vec::new());
    for _ in 0..400 {
        if running.len() >= 16 {
            let (same, fault) = running.join_next().await.expect("some").expect("ended");
            passed += usize::from(same);
            wrong.extend(fault);
        }
        let mut bytes = mutated(&mut rng);
        bytes.extend_from_slice(LAST.as_bytes());
        running.spawn(async move {
            let (direct, behind, got) = compare(&bytes).await;
            let fault = !is_prefix(&behind, &direct);
            let fault = fault.then(|| {
                format!(
                    "{:?}\n  without: {direct:?}\n  behind: {behind:?}\n  answers: {:?}",
                    lossy(&bytes),
                    lossy(&got)
                )
            });
            let whole = !behind.is_empty() && behind.len() == direct.len();
            (whole, fault)
        });
    }
    while let Some(done) = running.join_next().await {
        let (same, fault) = done.expect("ended");
        passed += usize::from(same);
        wrong.extend(fault);
    }
    println!("{passed} of 400 passed whole");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(passed > 30, "only {passed} of 400 passed whole");
}

/// A response as hyper's client reads it: its status and body, or nothing.
async fn judged(address: SocketAddr) -> Option<(u16, Vec<u8>)> {
    let stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("connected");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .expect("a handshake needs no answer");
    let driver = tokio::spawn(connection);
    let request = http::Request::get("/")
        .header("host", "a")
        .body(Empty::<Bytes>::new())
        .expect("a request");
    let read = async {
        let response = sender.send_request(request).await.ok()?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.ok()?;
        Some((status, body.to_bytes().to_vec()))
    };
    let read = within("a response", read).await;
    driver.abort();
    read
}

#[tokio::test]
async fn a_client_gets_a_response_as_it_would_without_the_balancer_or_an_error() {
    let mut wrong = Vec::new();
    let mut same = 0;
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
        "HTTP/1.0 200 OK\r\n\r\nuntil the end",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\nX: y\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 299 Own\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\ncut",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nX y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n",
        "HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length",
        "no http at all",
        "",
    ] {
        let origin = Origin::raw(move |mut wire| async move {
            if wire.head().await.is_ok() {
                wire.send(response).await;
            }
        })
        .await;
        let direct = judged(origin.address).await;
        let balancer = start(&fixed(
            &[origin.address],
            "health_check: {enabled: false}",
            "",
        ))
        .await;
        let mut client = Wire::connect(balancer.address()).await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut head = within("a head", client.head()).await;
        while head.as_ref().is_ok_and(|head| head.status() < 200) {
            head = within("a head", client.head()).await;
        }
        let behind = match head {
            Err(_) => None,
            Ok(head) if matches!(head.status(), 204 | 304) => Some((head.status(), Vec::new())),
            Ok(head) => within("a body", client.body(&head, true))
                .await
                .ok()
                .map(|(body, _)| (head.status(), body)),
        };
        let behind = behind.filter(|(status, _)| *status != 502);
        same += usize::from(direct == behind);
        if behind.is_some() && direct != behind {
            wrong.push(format!(
                "{response:?}\n  without: {direct:?}\n  behind: {behind:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(same >= 22, "only {same} are the same");
}
