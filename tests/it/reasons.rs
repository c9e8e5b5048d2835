//! Each reason for an answer of our own: it stands in the response, in the access log, in the
//! metrics, and in what `explain` tells of the request.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use longshore::request::answer::Reason;
use longshore_tests::origin::{Origin, read};
use longshore_tests::process::{Process, TempFile, free_port, output};
use longshore_tests::wire::{Response, Wire};
use longshore_tests::{admin, eventually, within};
use serde_json::Value;

/// The rules of the listener: the path, the action or its group, and what stands beside them.
const RULES: [(&str, &str, &str); 25] = [
    (
        "/fixed",
        "{type: fixed_response, fixed_response: {status_code: 418}}",
        "",
    ),
    (
        "/redirect*",
        "{type: redirect, redirect: {status_code: HTTP_302, path: '/to/#{path}'}}",
        "",
    ),
    ("/h2", "h2", ""),
    ("/denied", "app", "policy: {source_ip_deny: [127.0.0.1]}"),
    (
        "/rate",
        "app",
        "policy: {rate_limit: {requests: 1, period: 1h}}",
    ),
    (
        "/password",
        "app",
        "policy: {basic_auth: {users: {bo: $2b$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy}}}",
    ),
    (
        "/guess",
        "app",
        "policy: {basic_auth: {users: {bo: $2b$10$abcdefghijklmnopqrstuug7uV/rfOsuPOAUg70eqWWWMjvHc6jZm}}}",
    ),
    ("/small", "app", "policy: {request_body_limit: 5}"),
    (
        "/cors",
        "app",
        "policy: {cors: {allow_origins: ['https://shop.example']}}",
    ),
    (
        "/transform*",
        "app",
        "transform: [{type: url_rewrite, url_rewrite_config: {rewrite: {regex: '^/transform', replace: ''}}}]",
    ),
    ("/none", "none", ""),
    ("/new", "new", ""),
    ("/refused", "refused", ""),
    ("/blackhole", "blackhole", ""),
    ("/tls", "tls", ""),
    ("/closes", "closes", ""),
    ("/garbage", "garbage", ""),
    ("/silent", "silent", ""),
    ("/busy", "busy", ""),
    (
        "/total",
        "{type: forward, target_group: silent, timeouts: {response_header: 30s, total: 300ms}}",
        "",
    ),
    ("/upload", "waits", ""),
    ("/leaving", "leaving", ""),
    ("/removed", "removed", ""),
    ("/ok", "app", ""),
    ("/h2/plain", "h2", ""),
];

/// Where requests go, and what the process says of them.
struct World {
    file: TempFile,
    process: Process,
    web: SocketAddr,
    second: SocketAddr,
    admin: SocketAddr,
    /// The file, with `SECOND`, `LEAVING`, `REMOVED` and `RUNTIME` for what a reload changes.
    text: String,
    left: Vec<(&'static str, String)>,
    /// What the process runs with, alive as long as it.
    origins: BTreeMap<&'static str, Origin>,
    log: std::path::PathBuf,
    /// Fills the queue of a socket that nobody accepts from.
    _full: (socket2::Socket, Vec<tokio::net::TcpStream>),
}

/// A listening socket whose queue is full: it drops further handshakes.
async fn blackhole() -> (SocketAddr, (socket2::Socket, Vec<tokio::net::TcpStream>)) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    socket.bind(&any.into()).expect("bound");
    socket.listen(0).expect("listening");
    let address = socket
        .local_addr()
        .expect("bound")
        .as_socket()
        .expect("IPv4");
    let mut fill = Vec::new();
    let limit = Duration::from_millis(200);
    while let Ok(Ok(stream)) =
        tokio::time::timeout(limit, tokio::net::TcpStream::connect(address)).await
    {
        fill.push(stream);
        assert!(fill.len() < 100, "the queue fills");
    }
    (address, (socket, fill))
}

async fn silent() -> Origin {
    Origin::raw(|mut wire| async move {
        wire.rest().await;
    })
    .await
}

async fn origins() -> BTreeMap<&'static str, Origin> {
    let closes = Origin::raw(|mut wire| async move {
        read(&mut wire).await;
    });
    let garbage = Origin::raw(|mut wire| async move {
        read(&mut wire).await;
        wire.send("what is this\r\n\r\n").await;
        wire.rest().await;
    });
    let no_tls = Origin::raw(|mut wire| async move {
        wire.send("this is no TLS\r\n").await;
        wire.rest().await;
    });
    let mut all = BTreeMap::from([
        ("app", Origin::ok("ok").await),
        ("tls", no_tls.await),
        ("h2", Origin::ok("no HTTP/2").await),
        ("closes", closes.await),
        ("garbage", garbage.await),
    ]);
    for name in ["silent", "waits", "busy", "leaving", "removed", "new"] {
        all.insert(name, silent().await);
    }
    all
}

fn rules() -> String {
    let mut text = String::new();
    for (number, (path, action, more)) in RULES.iter().enumerate() {
        let action = match action.starts_with('{') {
            true => (*action).to_owned(),
            false => format!("{{type: forward, target_group: {action}}}"),
        };
        let gone = if *path == "/removed" { "REMOVED" } else { "" };
        let priority = number + 1;
        write!(
            text,
            "{gone}      - priority: {priority}\n{gone}        condition: [{{path_pattern: {{values: ['{path}']}}}}]\n{gone}        action: [{action}]\n"
        )
        .expect("written");
        if !more.is_empty() {
            writeln!(text, "        {more}").expect("written");
        }
    }
    text
}

impl World {
    async fn start() -> Self {
        let origins = origins().await;
        let (hole, full) = blackhole().await;
        let refused: SocketAddr = ([127, 0, 0, 1], free_port()).into();
        let name = format!("longshore-reasons-{}", std::process::id());
        let log = std::env::temp_dir().join(name);
        std::fs::remove_file(&log).unwrap_or_default();
        let (port, second, admin) = (free_port(), free_port(), free_port());
        let group = |name: &str, at: SocketAddr, more: &str| {
            let off = "health_check: {enabled: false}";
            let more = if more.is_empty() {
                off.to_owned()
            } else {
                format!("{off}, {more}")
            };
            format!(
                "  - {{name: {name}, targets: [{{address: {}, port: {}}}], {more}}}\n",
                at.ip(),
                at.port()
            )
        };
        let of = |name: &str, more: &str| group(name, origins[name].address, more);
        let check = "health_check: {path: /h, interval: 300, timeout: 120}";
        let unchecked = |name: &str| {
            let at = origins[name].address;
            format!(
                "  - {{name: {name}, targets: [{{address: {}, port: {}}}], {check}}}\n",
                at.ip(),
                at.port()
            )
        };
        let leaving = of("leaving", "deregistration_delay: 0");
        let groups = [
            of("app", ""),
            "  - {name: none, targets: []}\n".to_owned(),
            unchecked("new"),
            group("refused", refused, ""),
            group("blackhole", hole, "timeouts: {connect: 300ms}"),
            of("tls", "protocol: HTTPS"),
            of("h2", "protocol_version: HTTP2"),
            of("closes", ""),
            of("garbage", ""),
            of("silent", "timeouts: {response_header: 300ms}"),
            of("waits", ""),
            of(
                "busy",
                "target_control: {max_concurrent_requests: 1, queue_length: 1, queue_timeout: 1s}",
            ),
            format!("LEAVING{leaving}"),
            format!("REMOVED{}", unchecked("removed")),
        ];
        let text = format!(
            "admin: {{address: '127.0.0.1:{admin}', recent_requests: 2000}}
runtime: {{workers: 1RUNTIME}}
load_balancer: {{request_header_timeout: 1, idle_timeout: 2, access_logs: {{path: '{}', format: json}}}}
listeners:
  - name: web
    address: 127.0.0.1:{port}
    default_action: [{{type: forward, target_group: app}}]
    rules:
{}SECOND  - {{name: second, address: '127.0.0.1:{second}', default_action: [{{type: forward, target_group: app}}]}}
target_groups:
{}",
            log.display(),
            rules(),
            groups.concat()
        );
        let file = TempFile::new(&fill(&text, &[]));
        let (process, web) = Process::run(&file);
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            file,
            process,
            web,
            second: at(second),
            admin: at(admin),
            text,
            left: Vec::new(),
            origins,
            log,
            _full: full,
        }
    }

    /// A file in which this is otherwise is read: lines that begin with a mark are left out, and a
    /// mark becomes a text.
    async fn reload(&mut self, mark: &'static str, by: &str) {
        self.left.push((mark, by.to_owned()));
        self.file.write(&fill(&self.text, &self.left));
        admin::reload(self.admin).await;
    }

    /// The answer to bytes on a new connection.
    async fn ask(&self, bytes: impl AsRef<[u8]>) -> Response {
        let mut client = Wire::connect(self.web).await;
        client.send(bytes).await;
        within("an answer", client.response()).await
    }

    async fn get(&self, path: &str, fields: &str) -> Response {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
            .await
    }

    /// A request that is at its target, or on its way there.
    async fn begin(&self, path: &str) -> Wire {
        let mut client = Wire::connect(self.web).await;
        client
            .send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        client
    }

    async fn reaches(&self, name: &str, count: usize) {
        eventually("the request is at the target", async || {
            (self.origins[name].connections() == count).then_some(())
        })
        .await;
    }

    /// What the access log says of requests with a reason.
    fn lines(&self, reason: Reason) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let whole = text.lines().filter(|line| line.ends_with('}'));
        whole
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .filter(|line: &Value| line["reason"] == reason.name())
            .collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        std::fs::remove_file(&self.log).unwrap_or_default();
    }
}

/// The text with these marks left out, and all others taken away.
fn fill(text: &str, left: &[(&'static str, String)]) -> String {
    let mut out = text.to_owned();
    for mark in ["SECOND", "LEAVING", "REMOVED", "RUNTIME"] {
        let changed = left.iter().rev().find(|(name, _)| *name == mark);
        out = match changed {
            Some((_, by)) if by.is_empty() => {
                let lines = out.lines().filter(|line| !line.starts_with(mark));
                lines.map(|line| format!("{line}\n")).collect()
            }
            Some((_, by)) => out.replace(mark, by),
            None => out.replace(mark, ""),
        };
    }
    out
}

/// Makes a request that is answered for this reason. A new variant has no case here, and this does
/// not compile.
async fn provoke(world: &mut World, reason: Reason) -> Response {
    let long = |count: usize| "x".repeat(count);
    match reason {
        Reason::FixedResponse => world.get("/fixed", "").await,
        Reason::Redirect => world.get("/redirect", "").await,
        Reason::MalformedRequest => world.ask("BAD\r\n\r\n").await,
        Reason::RequestHeaderTooLarge => {
            world.get("/ok", &format!("A: {}\r\n", long(17_000))).await
        }
        Reason::UriTooLong => world.get(&format!("/{}", long(17_000)), "").await,
        Reason::VersionNotSupported => world.ask("GET /ok HTTP/2\r\nHost: a\r\n\r\n").await,
        Reason::TooManyForwardedAddresses => {
            let all = vec!["192.0.2.1"; 31].join(", ");
            world.get("/ok", &format!("X-Forwarded-For: {all}\r\n")).await
        }
        Reason::BadHost => world.ask("GET /ok HTTP/1.1\r\n\r\n").await,
        Reason::BadTarget => world.get("/a%zz", "").await,
        Reason::BadLength => world.get("/ok", "Content-Length: x\r\n").await,
        Reason::AmbiguousLength => {
            world.ask("POST /ok HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").await
        }
        Reason::UnsupportedTransferEncoding => {
            world.ask("POST /ok HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n").await
        }
        Reason::UpgradeWithBody => {
            let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
            world.ask(format!("GET /ok HTTP/1.1\r\nHost: a\r\n{upgrade}Content-Length: 5\r\n\r\nhello")).await
        }
        Reason::DesyncMitigation => {
            world.ask("POST /ok HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello").await
        }
        Reason::ProtocolVersionMismatch => world.get("/h2", "").await,
        Reason::MethodNotAllowed => world.ask("TRACE /ok HTTP/1.1\r\nHost: a\r\n\r\n").await,
        Reason::SourceIpDenied => world.get("/denied", "").await,
        Reason::RateLimited => {
            assert_eq!(world.get("/rate", "").await.status(), 200);
            world.get("/rate", "").await
        }
        Reason::Unauthorized => world.get("/password", "").await,
        Reason::AuthenticationBusy => busy_with_passwords(world).await,
        Reason::RequestBodyTooLarge => {
            world.ask("POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nhello!").await
        }
        Reason::CorsPreflight => {
            world.ask("OPTIONS /cors HTTP/1.1\r\nHost: a\r\nOrigin: https://shop.example\r\nAccess-Control-Request-Method: PUT\r\n\r\n").await
        }
        Reason::RequestHeaderTimeout => world.ask("GET /ok HTTP/1.1\r\nHo").await,
        Reason::RequestBodyTimeout => {
            world.ask("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\npart").await
        }
        Reason::RequestBodyIncomplete => {
            world.ask("POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n").await
        }
        Reason::RedirectTooLong => world.get(&format!("/redirect/{}", long(9_000)), "").await,
        Reason::TransformFailed => world.get("/transform", "").await,
        Reason::ListenerRemoved => {
            let mut client = Wire::connect(world.second).await;
            assert_eq!(client.get("/ok").await.status(), 200);
            world.reload("SECOND", "").await;
            client.get("/ok").await
        }
        Reason::GroupRemoved => {
            let mut client = Wire::connect(world.web).await;
            // The second is read right behind the first: it waits when that is answered.
            let two = ["/ok", "/removed"].map(|path| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
            client.send(two.concat()).await;
            assert_eq!(within("an answer", client.response()).await.status(), 200);
            world.reload("REMOVED", "").await;
            within("an answer", client.response()).await
        }
        Reason::NoTargets => world.get("/none", "").await,
        Reason::NoCheckedTarget => world.get("/new", "").await,
        Reason::ConnectFailed => world.get("/refused", "").await,
        Reason::ConnectTimeout => world.get("/blackhole", "").await,
        Reason::TargetTlsFailed => world.get("/tls", "").await,
        Reason::TargetNotHttp2 => over_http2(world.web, "/h2/plain").await,
        Reason::TargetClosed => world.get("/closes", "").await,
        Reason::TargetMalformed => world.get("/garbage", "").await,
        Reason::TargetTimeout => world.get("/silent", "").await,
        Reason::DeregistrationDelayElapsed => {
            let mut client = world.begin("/leaving").await;
            world.reaches("leaving", 1).await;
            let empty = "  - {name: leaving, targets: [], deregistration_delay: 0}\n#";
            world.reload("LEAVING", empty).await;
            within("an answer", client.response()).await
        }
        Reason::TotalTimeout => world.get("/total", "").await,
        Reason::QueueFull | Reason::QueueTimeout => {
            let before = world.origins["busy"].connections();
            let _working = world.begin("/busy").await;
            world.reaches("busy", before + 1).await;
            if reason == Reason::QueueTimeout {
                return world.get("/busy", "").await;
            }
            let _waiting = world.begin("/busy").await;
            eventually("one waits", async || {
                let waiting = admin::figure(world.admin, "longshore_requests_waiting{target_group=\"busy\"}");
                (waiting.await == Some(1.0)).then_some(())
            })
            .await;
            world.get("/busy", "").await
        }
        Reason::SourceConnectionLimit => {
            world.reload("RUNTIME", ", max_connections_per_source: 1").await;
            one_too_many(world).await
        }
        Reason::MemoryLimit => {
            // What the least is that a file may say is less than a process has.
            world.reload("RUNTIME", ", max_memory: 33554432").await;
            eventually("there is too much memory", async || {
                let got = world.get("/ok", "").await;
                (got.status() == 503).then_some(got)
            })
            .await
        }
        Reason::ConnectionLimit => {
            world.reload("RUNTIME", ", max_connections: 1").await;
            one_too_many(world).await
        }
    }
}

/// The answer to a second connection.
async fn one_too_many(world: &World) -> Response {
    let first = eventually("there is room", async || {
        let mut client = Wire::connect(world.web).await;
        (client.get("/ok").await.status() == 200).then_some(client)
    })
    .await;
    let second = world.get("/ok", "").await;
    drop(first);
    second
}

/// The answer to one guess too many.
async fn busy_with_passwords(world: &World) -> Response {
    let mut guesses = Vec::new();
    for _ in 0..100 {
        let mut client = Wire::connect(world.web).await;
        client
            .send("GET /guess HTTP/1.1\r\nHost: a\r\nAuthorization: Basic Ym86MDAw\r\n\r\n")
            .await;
        guesses.push(client);
    }
    let mut found = None;
    for mut client in guesses {
        let got = within("an answer", client.response()).await;
        if got.status() == 503 {
            found = Some(got);
        }
    }
    found.expect("not all of them wait")
}

/// The answer to a request over HTTP/2.
async fn over_http2(address: SocketAddr, path: &str) -> Response {
    let stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("connected");
    let (sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    // How it ended is seen by its request.
    let driver = tokio::spawn(async move { drop(connection.await) });
    let mut sender = sender.ready().await.expect("ready");
    let request = http::Request::get(format!("http://a.test{path}")).body(());
    let (response, _) = sender
        .send_request(request.expect("a request"), true)
        .expect("open");
    let response = within("a response", response).await.expect("one");
    driver.abort();
    let mut head = longshore_tests::wire::Head {
        line: format!("HTTP/2 {}", response.status().as_u16()),
        fields: Vec::new(),
    };
    for (name, value) in response.headers() {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        head.fields.push((name.to_string(), value));
    }
    Response {
        head,
        body: Vec::new(),
        trailers: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_reason_stands_in_the_response_the_log_the_metrics_and_what_explain_tells() {
    let mut world = World::start().await;
    let mut statuses = BTreeMap::new();
    for reason in Reason::ALL {
        let name = reason.name();
        let got = provoke(&mut world, reason).await;
        let said = match reason {
            Reason::FixedResponse | Reason::Redirect | Reason::CorsPreflight => None,
            _ => Some(name),
        };
        assert_eq!(got.reason(), said, "{name}: {}", got.head.line);
        let status = match reason {
            Reason::FixedResponse => 418,
            Reason::Redirect => 302,
            _ => reason.status().as_u16(),
        };
        assert_eq!(got.status(), status, "{name}");
        statuses.insert(name, status);
    }
    assert_eq!(statuses.len(), Reason::ALL.len());
    let admin = world.admin;
    for reason in Reason::ALL {
        let name = reason.name();
        let series = format!("longshore_answers_total{{reason=\"{name}\"}}");
        // A worker counts and writes when the last byte is out.
        let lines = eventually(&format!("{name} is logged and counted"), async || {
            let lines = world.lines(reason);
            let counted = admin::figure(admin, &series).await.unwrap_or(0.0);
            (!lines.is_empty() && counted == lines.len() as f64).then_some(lines)
        })
        .await;
        let line = lines.last().expect("at least one");
        assert_eq!(line["status"], statuses[name], "{line}");
        let id = line["connection"].as_str().expect("each has one");
        let url = format!("http://{admin}");
        let got = output(&["explain", "--admin", &url, "--trace-id", id]);
        let text = String::from_utf8_lossy(&got.stdout).into_owned();
        let expected = format!("response  {} {name}\n", statuses[name]);
        let error = String::from_utf8_lossy(&got.stderr);
        assert!(text.contains(&expected), "{name}: {text}{error}");
    }
    world.process.signal("TERM");
    assert!(world.process.wait().success());
}
