//! A thousand reloads under load.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use longshore_tests::certificates::{Folder, Key};
use longshore_tests::http::{self, Stream};
use longshore_tests::origin::{Origin, read, response};
use longshore_tests::process::{Process, TempFile, free_port};
use longshore_tests::websocket::{self, TEXT, frame};
use longshore_tests::{admin, secure, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const RELOADS: usize = 1_000;

/// A target that answers requests, and echoes through WebSockets.
async fn origin() -> Origin {
    Origin::raw(|mut wire| async move {
        while let Some(request) = read(&mut wire).await {
            if request.head.get("upgrade").is_some() {
                websocket::echo(&mut wire, "hello").await;
                return;
            }
            // A balancer that is gone does not read; that is its right.
            let answer = response(200, "ok");
            if wire.stream.write_all(&answer).await.is_err() {
                return;
            }
        }
    })
    .await
}

struct Ports {
    web: u16,
    tls: u16,
    admin: u16,
    /// Of a listener that comes, goes and moves.
    extra: [u16; 2],
}

/// Where that listener is: not where other tests have their ports, as they may take one while it is
/// away.
const EXTRA: [u8; 4] = [127, 0, 0, 2];

/// The file of the nth reload. What sockets stay for stays; nearly all else changes.
fn text(
    number: usize,
    ports: &Ports,
    folder: &Folder,
    targets: &[Origin],
    chat: &Origin,
) -> String {
    let pair = |name: &str| {
        let (cert, key) = (
            folder.path(&format!("{name}.pem")),
            folder.path(&format!("{name}.key")),
        );
        format!("{{cert: {cert}, key: {key}}}")
    };
    let pairs = match number % 5 {
        0 => format!("{}, {}", pair("one"), pair("two")),
        1 => pair("two"),
        _ => pair("one"),
    };
    // One of three targets is away at times, never the same two in a row.
    let away = number % 4;
    let list: String = targets
        .iter()
        .enumerate()
        .filter(|(at, _)| *at != away)
        .map(|(at, target)| {
            format!(
                "{{address: 127.0.0.1, port: {}, weight: {}}}, ",
                target.address.port(),
                1 + (at + number) % 3
            )
        })
        .collect();
    let rules = match number % 2 {
        0 => {
            "    rules:\n      - {priority: 5, condition: [{path_pattern: {values: ['/never']}}], action: [{type: fixed_response, fixed_response: {status_code: 500}}]}\n      - {priority: 6, condition: [{path_pattern: {values: ['/chat']}}], action: [{type: forward, target_group: chat}]}\n"
        }
        _ => {
            "    rules:\n      - {priority: 9, condition: [{path_pattern: {values: ['/chat', '/other']}}], action: [{type: forward, target_group: chat}], policy: {compression: {}}}\n"
        }
    };
    let action = "default_action: [{type: forward, target_group: app}]";
    let extra = match number / 10 % 4 {
        0 => String::new(),
        2 => String::new(),
        at => format!(
            "  - {{name: extra, address: '{}', {action}}}\n",
            SocketAddr::from((EXTRA, ports.extra[at / 2]))
        ),
    };
    let algorithm = ["round_robin", "least_outstanding_requests", "peak_ewma"][number % 3];
    let log = match number % 6 {
        0 => "access_logs: {path: /dev/null, format: json}, ",
        _ => "",
    };
    format!(
        "admin: {{address: '127.0.0.1:{}'}}
runtime: {{workers: 2{}}}
load_balancer: {{{log}idle_timeout: {}}}
listeners:
  - name: {}
    address: 127.0.0.1:{}
    {action}
{rules}  - name: secure
    address: 127.0.0.1:{}
    protocol: HTTPS
    certificates: [{pairs}]
    {action}
{rules}{extra}target_groups:
  - name: app
    targets: [{list}]
    load_balancing_algorithm_type: {algorithm}
    deregistration_delay: 30
    health_check: {{enabled: false}}
  - {{name: chat, targets: [{{address: 127.0.0.1, port: {}}}], deregistration_delay: {}, health_check: {{enabled: false}}}}
",
        ports.admin,
        if number.is_multiple_of(7) { ", max_connections: 5000" } else { "" },
        60 + number % 2,
        if number.is_multiple_of(3) { "web" } else { "www" },
        ports.web,
        ports.tls,
        chat.address.port(),
        30 + number % 3,
    )
}

/// What clients do, and how much of it went well.
#[derive(Clone)]
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    /// Answers of a listener that was taken away while the client was connected.
    removed: Arc<AtomicUsize>,
    web: SocketAddr,
    tls: SocketAddr,
    extra: [SocketAddr; 2],
}

/// From one request of a client to its next.
const PACE: Duration = Duration::from_millis(2);

impl Load {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    async fn well(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(PACE).await;
    }

    /// A connection that is opened when there is none.
    async fn open(&self, secure: bool) -> Box<dyn Stream> {
        match secure {
            true => Box::new(secure::connect(self.tls, "one.test", &["http/1.1"]).await),
            false => Box::new(TcpStream::connect(self.web).await.expect("connected")),
        }
    }

    /// Requests on one connection for good.
    async fn keeps(self, secure: bool) {
        let mut stream = self.open(secure).await;
        let mut count = 0;
        while self.goes_on() {
            let request = match count % 3 {
                0 => "POST / HTTP/1.1\r\nHost: one.test\r\nContent-Length: 2\r\n\r\nhi",
                _ => "GET / HTTP/1.1\r\nHost: one.test\r\n\r\n",
            };
            let got = http::ask(&mut stream, request).await;
            let got =
                got.unwrap_or_else(|error| panic!("request {count}, secure {secure}: {error}"));
            assert_eq!(
                (got.status, got.closes),
                (200, false),
                "request {count}, secure {secure}"
            );
            count += 1;
            self.well().await;
        }
    }

    /// Each request on a connection of its own.
    async fn comes_anew(self, secure: bool) {
        while self.goes_on() {
            let mut stream = self.open(secure).await;
            let request = "GET / HTTP/1.1\r\nHost: one.test\r\nConnection: close\r\n\r\n";
            let got = http::ask(&mut stream, request).await;
            assert_eq!(
                got.expect("a whole response").status,
                200,
                "secure {secure}"
            );
            self.well().await;
        }
    }

    /// Streams of one connection with HTTP/2.
    async fn streams(self, secure: bool) {
        let (mut sender, driver) = match secure {
            true => http::over_http2(secure::connect(self.tls, "one.test", &["h2"]).await).await,
            false => http::over_http2(TcpStream::connect(self.web).await.expect("connected")).await,
        };
        while self.goes_on() {
            let asked: Vec<_> = (0..4)
                .map(|_| http::get_over_http2(&sender, "http://one.test/"))
                .collect();
            for answer in asked {
                let got = within("a response", answer).await;
                assert_eq!(got.expect("a whole response"), 200, "secure {secure}");
            }
            sender = sender.ready().await.expect("the connection stays");
            self.well().await;
        }
        driver.abort();
    }

    /// A WebSocket that is open for good.
    async fn talks(self, secure: bool) {
        let mut stream = self.open(secure).await;
        let request = websocket::request("/chat", "");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let head = http::head(&mut stream).await.expect("a head");
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        let mut expected = frame(TEXT, false, b"hello");
        while self.goes_on() {
            let mut got = vec![0; expected.len()];
            let came = within("a frame", stream.read_exact(&mut got)).await;
            came.unwrap_or_else(|error| panic!("the WebSocket ended, secure {secure}: {error}"));
            assert_eq!(got, expected, "secure {secure}");
            let sent = stream.write_all(&frame(TEXT, true, b"echo")).await;
            sent.expect("the WebSocket is open");
            expected = frame(TEXT, false, b"echo");
            self.well().await;
        }
    }

    /// Requests to a listener that comes and goes. To be refused is no failure; to be connected and
    /// get no answer is one.
    async fn finds_a_listener(self, at: usize) {
        while self.goes_on() {
            let Ok(mut stream) = TcpStream::connect(self.extra[at]).await else {
                tokio::time::sleep(PACE).await;
                continue;
            };
            let got = http::ask(&mut stream, "GET / HTTP/1.1\r\nHost: one.test\r\n\r\n").await;
            match got.expect("a whole response").status {
                200 => {}
                503 => drop(self.removed.fetch_add(1, Ordering::Relaxed)),
                other => panic!("{other}"),
            }
            self.well().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_reloads_under_load_fail_no_request_and_close_no_websocket() {
    let folder = Folder::default();
    folder.make("one", &["one.test"], Key::Ecdsa, 30);
    folder.make("two", &["two.test"], Key::Ecdsa, 30);
    let ports = Ports {
        web: free_port(),
        tls: free_port(),
        admin: free_port(),
        extra: [free_port(), free_port()],
    };
    let targets = [origin().await, origin().await, origin().await];
    let chat = origin().await;
    let file = TempFile::new(&text(0, &ports, &folder, &targets, &chat));
    let (mut process, web) = Process::run(&file);
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let load = Load {
        stop: Arc::default(),
        done: Arc::default(),
        removed: Arc::default(),
        web,
        tls: at(ports.tls),
        extra: ports.extra.map(|port| SocketAddr::from((EXTRA, port))),
    };
    let mut clients = tokio::task::JoinSet::new();
    for secure in [false, true] {
        for _ in 0..2 {
            clients.spawn(load.clone().keeps(secure));
            clients.spawn(load.clone().streams(secure));
            clients.spawn(load.clone().talks(secure));
        }
        clients.spawn(load.clone().comes_anew(secure));
    }
    for place in 0..2 {
        clients.spawn(load.clone().finds_a_listener(place));
    }
    let count = clients.len();
    for number in 1..=RELOADS {
        file.write(&text(number, &ports, &folder, &targets, &chat));
        admin::reload(at(ports.admin)).await;
        if let Some(ended) = clients.try_join_next() {
            ended.unwrap_or_else(|error| panic!("by reload {number}: {error}"));
        }
    }
    load.stop.store(true, Ordering::Relaxed);
    let mut ended = 0;
    while let Some(client) = clients.join_next().await {
        client.expect("nothing failed");
        ended += 1;
    }
    assert_eq!(ended, count, "all of them to the end");
    let done = load.done.load(Ordering::Relaxed);
    let removed = load.removed.load(Ordering::Relaxed);
    println!("{RELOADS} reloads, {done} exchanges, {removed} at a listener that went");
    assert!(done > RELOADS, "{done}");
    for (series, most) in [
        ("longshore_responses_cut_short_total", 0.0),
        ("longshore_tunnels_sent_away_total", 0.0),
    ] {
        assert_eq!(
            admin::figure(at(ports.admin), series).await,
            Some(most),
            "{series}"
        );
    }
    process.signal("TERM");
    assert!(process.wait().success());
}
