//! WebSockets: how a connection becomes one, what goes through, and how it ends.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longshore_tests::balancer::{Running, fixed, start};
use longshore_tests::jar::{Jar, set_cookies};
use longshore_tests::origin::{Origin, read, response};
use longshore_tests::process::{Process, TempFile, free_port};
use longshore_tests::websocket::{self, AGREED, CLOSE, Frame, PING, PONG, TEXT, frame, open};
use longshore_tests::wire::{Head, Wire};
use longshore_tests::{eventually, within};
use tokio::io::AsyncWriteExt as _;

const UNCHECKED: &str = "health_check: {enabled: false}";

/// What echoing targets have seen: requests, and how each WebSocket ended.
#[derive(Default)]
struct Seen {
    heads: Vec<Head>,
    ends: Vec<Option<Frame>>,
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Seen>>);

impl Log {
    fn heads(&self) -> Vec<Head> {
        self.0.lock().expect("not poisoned").heads.clone()
    }

    fn ends(&self) -> Vec<Option<Frame>> {
        self.0.lock().expect("not poisoned").ends.clone()
    }

    /// Waits until a WebSocket has ended.
    async fn end(&self) -> Option<Frame> {
        eventually("it ends at the target", async || {
            self.ends().first().cloned()
        })
        .await
    }
}

/// A target that echoes, and says its name first.
async fn echoing(name: &'static str, log: &Log) -> Origin {
    let log = log.clone();
    Origin::raw(move |mut wire| {
        let log = log.clone();
        async move {
            while let Some(request) = read(&mut wire).await {
                let asks = request.head.get("upgrade").is_some();
                log.0.lock().expect("not poisoned").heads.push(request.head);
                if !asks {
                    wire.send(response(200, name)).await;
                    continue;
                }
                let end = websocket::echo(&mut wire, name).await;
                log.0.lock().expect("not poisoned").ends.push(end);
                return;
            }
        }
    })
    .await
}

async fn next(wire: &mut Wire) -> Frame {
    within("a frame", websocket::read(wire))
        .await
        .expect("a frame")
}

fn text(content: &str) -> Frame {
    Frame {
        first: TEXT,
        masked: false,
        content: content.into(),
    }
}

#[tokio::test]
async fn a_websocket_passes_whole_in_both_directions_and_counts_while_it_is_open() {
    let log = Log::default();
    let origin = echoing("hello", &log).await;
    let top = "admin: {address: '127.0.0.1:2'}";
    let balancer = start(&fixed(&[origin.address], UNCHECKED, top)).await;
    let mut client = Wire::connect(balancer.address()).await;
    // A frame right behind the head: nothing of it may be lost.
    let mut bytes =
        websocket::request("/chat?x=1", "Sec-WebSocket-Protocol: a, b\r\n").into_bytes();
    bytes.extend(frame(TEXT, true, b"early"));
    client.send(bytes).await;
    let head = within("a head", client.head()).await.expect("a head");
    assert_eq!(head.line, "HTTP/1.1 101 Switching Protocols");
    assert_eq!(head.get("connection"), Some("Upgrade"));
    assert_eq!(head.get("upgrade"), Some("websocket"));
    assert_eq!(
        head.get("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    assert_eq!(next(&mut client).await, text("hello"));
    assert_eq!(next(&mut client).await, text("early"));
    let asked = log.heads().remove(0);
    assert_eq!(asked.line, "GET /chat?x=1 HTTP/1.1");
    for (name, value) in [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-protocol", "a, b"),
        ("x-forwarded-for", "127.0.0.1"),
    ] {
        assert_eq!(asked.get(name), Some(value), "{asked:?}");
    }
    assert_eq!(balancer.metric("longshore_tunnels_open").await, 1);
    assert_eq!(balancer.group().await.targets[0].in_flight, 1);
    for size in [0, 1, 125, 126, 65_535, 65_536, 3_000_000] {
        let content = vec![b'x'; size];
        client.send(frame(TEXT, true, &content)).await;
        assert_eq!(next(&mut client).await.content, content, "{size}");
    }
    client.send(frame(PING, true, b"?")).await;
    assert_eq!(next(&mut client).await.first, PONG);
    client
        .send(frame(CLOSE, true, &1000_u16.to_be_bytes()))
        .await;
    assert_eq!(next(&mut client).await.status(), Some(1000));
    assert!(within("the end", client.rest()).await.is_empty());
    let end = log.end().await.expect("a close");
    assert_eq!((end.status(), end.masked), (Some(1000), true));
    eventually("it counts no more", async || {
        (balancer.group().await.targets[0].in_flight == 0).then_some(())
    })
    .await;
    assert_eq!(balancer.metric("longshore_tunnels_open").await, 0);
    assert_eq!(balancer.metric("longshore_tunnels_total").await, 1);
    assert_eq!(
        balancer.metric("longshore_responses_cut_short_total").await,
        0
    );
    assert_eq!(balancer.metric("longshore_client_aborts_total").await, 0);
}

#[tokio::test]
async fn a_switch_with_a_body_is_refused_and_reaches_no_target() {
    let log = Log::default();
    let origin = echoing("a", &log).await;
    let balancer = start(&fixed(&[origin.address], UNCHECKED, "")).await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let length = format!("Content-Length: {}\r\n", smuggled.len());
    for fields in [length.as_str(), "Transfer-Encoding: chunked\r\n"] {
        let mut client = Wire::connect(balancer.address()).await;
        client
            .send(websocket::request("/", fields) + smuggled)
            .await;
        let got = within("an answer", client.response()).await;
        assert_eq!(
            (got.status(), got.reason()),
            (400, Some("upgrade_with_body"))
        );
        assert!(within("the end", client.rest()).await.is_empty());
    }
    // An empty body is none.
    let (_, head) = open(balancer.address(), "/", "Content-Length: 0\r\n").await;
    assert_eq!(head.status(), 101);
    assert_eq!(log.heads().len(), 1);
}

#[tokio::test]
async fn what_asks_for_another_switch_is_an_ordinary_request() {
    let log = Log::default();
    let origin = echoing("a", &log).await;
    let balancer = start(&fixed(&[origin.address], UNCHECKED, "")).await;
    let mut client = Wire::connect(balancer.address()).await;
    for (method, fields) in [
        (
            "GET",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
        ),
        (
            "POST",
            "Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0",
        ),
        // Not asked for in Connection; not with GET; another protocol.
        ("GET", "Upgrade: websocket"),
        (
            "POST",
            "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0",
        ),
        ("GET", "Connection: Upgrade\r\nUpgrade: tcp"),
        ("GET", "Connection: Upgrade\r\nUpgrade: websocket2"),
        ("GET", "Connection: Upgrade"),
    ] {
        client
            .send(format!(
                "{method} / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n"
            ))
            .await;
        let got = within("a response", client.response()).await;
        assert_eq!(
            (got.status(), got.text()),
            (200, "a".to_owned()),
            "{fields}"
        );
    }
    client
        .send("GET / HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await;
    assert_eq!(within("a response", client.response()).await.status(), 200);
    for head in log.heads() {
        for name in ["upgrade", "http2-settings", "connection"] {
            assert_eq!(head.get(name), None, "{head:?}");
        }
    }
    assert_eq!(log.heads().len(), 8);
}

#[tokio::test]
async fn a_switch_to_something_else_is_an_error_and_another_answer_is_one() {
    let answers = [
        (AGREED.replace("websocket\r\n", "h2c\r\n"), 502),
        (AGREED.replace("Upgrade: websocket\r\n", ""), 502),
        (AGREED.replace("Connection: upgrade\r\n", ""), 502),
        (AGREED.replace("websocket\r\n", "websocket, h2c\r\n"), 502),
        ("HTTP/1.1 426 Upgrade Required\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nno".to_owned(), 426),
        ("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno".to_owned(), 200),
    ];
    for (answer, status) in answers {
        let told = answer.clone();
        let origin =
            Origin::http(
                move |request| match request.head.line.starts_with("GET /second ") {
                    true => response(200, "second"),
                    false => told.clone().into_bytes(),
                },
            )
            .await;
        let balancer = start(&fixed(&[origin.address], UNCHECKED, "")).await;
        let mut client = Wire::connect(balancer.address()).await;
        // What comes behind is no frame but the next request.
        let second = "GET /second HTTP/1.1\r\nHost: a\r\n\r\n";
        client.send(websocket::request("/", "") + second).await;
        let mut head = within("a head", client.head()).await.expect("a head");
        if head.status() == 103 {
            head = within("a head", client.head()).await.expect("a head");
        }
        assert_eq!(head.status(), status, "{answer}");
        assert_eq!(head.get("upgrade"), None);
        let body = within("a body", client.body(&head, true))
            .await
            .expect("a body")
            .0;
        if status == 502 {
            assert_eq!(head.get("x-longshore-reason"), Some("target_malformed"));
        } else {
            assert_eq!(body, b"no");
        }
        let got = within("a response", client.response()).await;
        assert_eq!(
            (got.status(), got.text()),
            (200, "second".to_owned()),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_target_that_is_gone_is_passed_over_before_the_switch_and_the_cookie_names_who_switched()
{
    let log = Log::default();
    let live = echoing("live", &log).await;
    let gone = Origin::ok("gone").await;
    let targets = [gone.address, live.address];
    drop(gone);
    let group = format!("{UNCHECKED}\nstickiness: {{enabled: true}}");
    let other = echoing("other", &log).await;
    let targets = [targets[0], targets[1], other.address];
    let balancer = start(&fixed(&targets, &group, "runtime: {workers: 1}")).await;
    for _ in 0..3 {
        let (mut client, head) = open(balancer.address(), "/", "").await;
        assert_eq!(head.status(), 101);
        let first = String::from_utf8(next(&mut client).await.content).expect("text");
        let mut jar = Jar::default();
        let got = longshore_tests::wire::Response {
            head,
            body: Vec::new(),
            trailers: Vec::new(),
        };
        assert_eq!(set_cookies(&got).len(), 2);
        jar.take(&got);
        for _ in 0..4 {
            assert_eq!(jar.visit(balancer.address(), "/").await.text(), first);
        }
    }
}

#[tokio::test]
async fn a_side_that_has_said_all_still_hears_the_other() {
    let origin = Origin::raw(|mut wire| async move {
        read(&mut wire).await;
        wire.send(AGREED).await;
        assert_eq!(wire.rest().await, frame(TEXT, true, b"all"));
        wire.send(frame(TEXT, false, b"heard")).await;
        wire.send(frame(CLOSE, false, &[])).await;
    })
    .await;
    let balancer = start(&fixed(&[origin.address], UNCHECKED, "")).await;
    let (mut client, _) = open(balancer.address(), "/", "").await;
    client.send(frame(TEXT, true, b"all")).await;
    client.stream.shutdown().await.expect("shut");
    assert_eq!(next(&mut client).await, text("heard"));
    assert_eq!(next(&mut client).await.first, CLOSE);
    assert!(within("the end", client.rest()).await.is_empty());
}

#[tokio::test]
async fn silence_closes_both_sides_and_a_ping_is_no_silence() {
    let log = Log::default();
    let origin = echoing("a", &log).await;
    let top = "load_balancer: {idle_timeout: 2s}";
    let balancer = start(&fixed(&[origin.address], UNCHECKED, top)).await;
    let (mut client, _) = open(balancer.address(), "/", "").await;
    assert_eq!(next(&mut client).await, text("a"));
    // What is tested is a time: longer than the limit in all, never in one piece.
    let mut before = std::time::Instant::now();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        before = std::time::Instant::now();
        client.send(frame(PING, true, b"")).await;
        assert_eq!(next(&mut client).await.first, PONG);
    }
    assert_eq!(next(&mut client).await.status(), Some(1001));
    let silent = before.elapsed();
    assert!(silent > Duration::from_millis(1_900), "after {silent:?}");
    assert!(within("the end", client.rest()).await.is_empty());
    let end = log.end().await.expect("a close");
    assert_eq!((end.status(), end.masked), (Some(1001), true));
}

#[tokio::test]
async fn a_target_that_ends_without_a_word_is_a_close_for_the_client() {
    let origin = Origin::raw(|mut wire| async move {
        read(&mut wire).await;
        wire.send(AGREED).await;
        websocket::read(&mut wire).await.expect("a frame");
        wire.send(frame(TEXT, false, b"last")).await;
    })
    .await;
    let top = "admin: {address: '127.0.0.1:2'}";
    let balancer = start(&fixed(&[origin.address], UNCHECKED, top)).await;
    let (mut client, _) = open(balancer.address(), "/", "").await;
    client.send(frame(TEXT, true, b"?")).await;
    assert_eq!(next(&mut client).await, text("last"));
    assert_eq!(next(&mut client).await.status(), Some(1001));
    assert!(within("the end", client.rest()).await.is_empty());
    eventually("it counts as cut short", async || {
        (balancer.metric("longshore_responses_cut_short_total").await == 1).then_some(())
    })
    .await;
}

/// A group whose targets are in a file, and that file.
async fn of_file(origins: &[&Origin], top: &str) -> (Running, TempFile) {
    let file = TempFile::new(&list(origins));
    let text = format!(
        "{top}\nlisteners: [{{name: web, address: '127.0.0.1:1', default_action: [{{type: forward, target_group: app}}]}}]\n\
         target_groups:\n  - name: app\n    discovery: {{file: {{path: '{}', refresh_interval: 100ms}}}}\n    {UNCHECKED}\n    deregistration_delay: 4s\n",
        PathBuf::from(file.path()).display()
    );
    let balancer = start(&text).await;
    balancer.wait_for("healthy", origins.len()).await;
    (balancer, file)
}

fn list(origins: &[&Origin]) -> String {
    let targets: Vec<String> = origins.iter().map(|it| it.address.to_string()).collect();
    format!("[{{\"targets\": {targets:?}}}]")
}

/// Another file takes the name of this one.
fn replace(file: &TempFile, text: &str) {
    let mut next = PathBuf::from(file.path());
    next.set_extension("next");
    std::fs::write(&next, text).expect("written");
    std::fs::rename(&next, file.path()).expect("renamed");
}

#[tokio::test]
async fn a_draining_target_sends_its_websockets_away_between_two_frames() {
    let log = Log::default();
    let (go, wait) = tokio::sync::watch::channel(false);
    let ends = log.clone();
    // In the middle of a frame while its target leaves, and in the middle of a message.
    let leaving = Origin::raw(move |mut wire| {
        let (mut wait, ends) = (wait.clone(), ends.clone());
        async move {
            read(&mut wire).await;
            wire.send(AGREED).await;
            let whole = frame(0x01, false, &[b'x'; 1000]);
            wire.send(&whole[..500]).await;
            wait.wait_for(|go| *go).await.expect("the test lives");
            wire.send(&whole[500..]).await;
            wire.send(frame(0x80, false, b"never seen")).await;
            let mut end = None;
            while let Ok(came) = websocket::read(&mut wire).await {
                if came.first == CLOSE {
                    wire.send(frame(CLOSE, false, &came.content)).await;
                    end = Some(came);
                    break;
                }
            }
            ends.0.lock().expect("not poisoned").ends.push(end);
        }
    })
    .await;
    let staying = echoing("staying", &Log::default()).await;
    let (balancer, file) = of_file(&[&leaving], "runtime: {websocket_close_spread: 0s}").await;
    let (mut client, _) = open(balancer.address(), "/", "").await;
    let half = within("half of a frame", client.exactly(500)).await;
    assert_eq!(half.expect("half of a frame")[..4], [0x01, 126, 3, 0xE8]);
    replace(&file, &list(&[&staying]));
    balancer.wait_for("draining", 1).await;
    // New ones go elsewhere.
    let (mut second, _) = open(balancer.address(), "/", "").await;
    assert_eq!(next(&mut second).await, text("staying"));
    go.send(true).expect("the target lives");
    // The frame was 1,004 bytes long.
    let rest = within("the other half", client.exactly(504)).await;
    assert_eq!(rest.expect("the other half"), [b'x'; 504]);
    assert_eq!(next(&mut client).await.status(), Some(1001));
    // What the client has sent before it heard of that reaches the target, and its answer.
    client.send(frame(TEXT, true, b"late")).await;
    client
        .send(frame(CLOSE, true, &1001_u16.to_be_bytes()))
        .await;
    let end = log.end().await.expect("a close");
    assert_eq!((end.status(), end.masked), (Some(1001), true));
    assert!(within("the end", client.rest()).await.is_empty());
    eventually("the target is done before its delay is over", async || {
        balancer.targets("draining").await.is_empty().then_some(())
    })
    .await;
    // The other one was left alone.
    second.send(frame(TEXT, true, b"still")).await;
    assert_eq!(next(&mut second).await, text("still"));
}

#[tokio::test]
async fn a_client_that_does_not_answer_keeps_no_target() {
    let log = Log::default();
    let leaving = echoing("a", &log).await;
    let (balancer, file) = of_file(&[&leaving], "runtime: {websocket_close_spread: 0s}").await;
    let (mut client, _) = open(balancer.address(), "/", "").await;
    assert_eq!(next(&mut client).await, text("a"));
    replace(&file, "[]");
    assert_eq!(next(&mut client).await.status(), Some(1001));
    // The delay of 4 s ends before the patience with the client.
    let end = log.end().await.expect("a close");
    assert_eq!((end.status(), end.masked), (Some(1001), true));
    balancer.wait_for("draining", 0).await;
    assert!(within("the end", client.rest()).await.is_empty());
}

#[tokio::test]
async fn what_has_no_frames_stays_open_until_the_delay_is_over() {
    let leaving = Origin::raw(|mut wire| async move {
        read(&mut wire).await;
        wire.send(AGREED).await;
        wire.send("plain text").await;
        wire.rest().await;
    })
    .await;
    let (balancer, file) = of_file(&[&leaving], "runtime: {websocket_close_spread: 0s}").await;
    let (mut client, _) = open(balancer.address(), "/", "").await;
    assert_eq!(
        within("text", client.exactly(10)).await.expect("text"),
        b"plain text"
    );
    replace(&file, "[]");
    balancer.wait_for("draining", 1).await;
    let before = std::time::Instant::now();
    assert!(
        within("the end", client.rest()).await.is_empty(),
        "no frame of ours"
    );
    assert!(before.elapsed() > Duration::from_secs(2));
}

#[tokio::test]
async fn sigterm_sends_websockets_away_one_by_one_and_the_process_ends() {
    const COUNT: usize = 40;
    let log = Log::default();
    let origin = echoing("a", &log).await;
    let config = TempFile::new(&format!(
        "runtime: {{drain_timeout: 20s, websocket_close_spread: 2s}}\nlisteners: [{{name: web, address: '127.0.0.1:{}', default_action: [{{type: forward, target_group: app}}]}}]\n\
         target_groups: [{{name: app, targets: [{{address: 127.0.0.1, port: {}}}], health_check: {{enabled: false}}}}]\n",
        free_port(),
        origin.address.port()
    ));
    let (mut process, address) = Process::run(&config);
    let mut clients = Vec::new();
    for _ in 0..COUNT {
        let (mut client, _) = open(address, "/", "").await;
        assert_eq!(next(&mut client).await, text("a"));
        clients.push(client);
    }
    process.signal("TERM");
    let start = std::time::Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for mut client in clients {
        tasks.spawn(async move {
            let close = next(&mut client).await;
            let after = start.elapsed();
            assert_eq!(close.status(), Some(1001));
            client.send(frame(CLOSE, true, &close.content)).await;
            assert!(within("the end", client.rest()).await.is_empty());
            after
        });
    }
    let mut times = Vec::new();
    while let Some(after) = tasks.join_next().await {
        times.push(after.expect("closed well"));
    }
    times.sort();
    let (first, last) = (times[0], times[COUNT - 1]);
    println!("closed from {first:?} to {last:?}");
    assert!(last - first > Duration::from_millis(500), "not all at once");
    assert!(process.wait().success());
    let ends = log.ends();
    assert_eq!(ends.len(), COUNT);
    assert!(
        ends.iter()
            .all(|end| end.as_ref().and_then(Frame::status) == Some(1001))
    );
}
