//! Limits of HTTP/2: what a client may send, at the bound and one beyond it, and what it costs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use longshore_tests::balancer::{Running, fixed, start};
use longshore_tests::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Frames, GOAWAY, HEADERS,
    NO_ERROR, PING, PRIORITY, REFUSED_STREAM, RST_STREAM, SETTINGS, WINDOW_UPDATE, block,
    continued, frame, get,
};
use longshore_tests::origin::{Origin, read, response};
use longshore_tests::process::{Process, TempFile, free_port};
use longshore_tests::wire::Wire;
use longshore_tests::{eventually, within};
use tokio::io::AsyncWriteExt as _;

/// The bounds, as `serve/http2.rs` and `http2/watch.rs` have them.
const STREAMS_MAX: u32 = 128;
const REQUESTS_MAX: u32 = 10_000;
const REQUESTS_ON_THEIR_WAY: u32 = 1_000;
const RESETS_MAX: usize = 500;
const SETTINGS_MAX: usize = 50;
const PINGS_MAX: usize = 200;
const EMPTY_DATA_MAX: usize = 100;
const CONTINUATIONS_MAX: usize = 5;
const WINDOW_UPDATES_MAX: usize = 2_000;
const OTHERS_MAX: usize = 500;

/// What memory may grow by, whatever a client does.
const GROWTH_MAX: u64 = 32 << 20;

async fn before(origin: &Origin, top: &str) -> Running {
    let group = "health_check: {enabled: false}";
    let running = start(&fixed(&[origin.address], group, top)).await;
    running.wait_for("healthy", 1).await;
    running
}

/// What `/metrics` says.
async fn metrics(running: &Running) -> String {
    let admin = running.balancer.admin_address().expect("an admin address");
    Wire::connect(admin).await.get("/metrics").await.text()
}

const ADMIN: &str = "admin: {address: '127.0.0.1:2'}";

/// `longshore` as a process before one target, so that its memory is its own.
fn process(origin: &Origin, top: &str) -> (Process, SocketAddr, TempFile) {
    let config = TempFile::new(&format!(
        "{top}\nlisteners: [{{name: web, address: '127.0.0.1:{}', default_action: [{{type: forward, target_group: app}}]}}]\n\
         target_groups: [{{name: app, targets: [{{address: 127.0.0.1, port: {}}}], health_check: {{enabled: false}}}}]\n",
        free_port(),
        origin.address.port()
    ));
    let (process, address) = Process::run(&config);
    (process, address, config)
}

/// A client that opened stream 1 and does not end it.
async fn open(address: SocketAddr) -> Frames {
    let mut client = Frames::connect(address, &[]).await;
    let post = block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a.test"),
        (":path", "/"),
    ]);
    client.send(&frame(HEADERS, END_HEADERS, 1, &post)).await;
    client
}

/// So many frames of a kind pass, and one more ends the connection. `after`: how many of that kind
/// the client sends besides, to ask whether the connection lives. What it sent before its request
/// was given back by that.
async fn bound(what: &str, address: SocketAddr, max: usize, one: &[u8], after: usize) {
    let mut client = open(address).await;
    assert!(client.send(&one.repeat(max - after)).await);
    assert!(client.is_alive().await, "{what}: the bound is allowed");
    let mut client = open(address).await;
    // It may be closed before all is sent.
    client.send(&one.repeat(max + 1)).await;
    assert_eq!(client.end().await, Some(ENHANCE_YOUR_CALM), "{what}");
    let ended = within("the end", async { while client.next().await.is_some() {} });
    ended.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_frame_has_its_bound_and_whoever_goes_beyond_is_told_to_calm_down() {
    let origin = Origin::ok("x").await;
    let running = before(&origin, ADMIN).await;
    let at = running.address();
    let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]);
    bound("SETTINGS", at, SETTINGS_MAX, &settings, 0).await;
    let ping = frame(PING, 0, 0, &[7; 8]);
    bound("PING", at, PINGS_MAX, &ping, 1).await;
    let empty = frame(DATA, 0, 1, &[]);
    bound("empty DATA", at, EMPTY_DATA_MAX, &empty, 0).await;
    let window = frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]);
    bound("WINDOW_UPDATE", at, WINDOW_UPDATES_MAX, &window, 0).await;
    let priority = frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 1]);
    bound("PRIORITY", at, OTHERS_MAX, &priority, 0).await;
    let unknown = frame(0x42, 0, 0, b"?");
    bound("an unknown type", at, OTHERS_MAX, &unknown, 0).await;
    let metrics = metrics(&running).await;
    for (limit, count) in [
        ("settings", 1),
        ("ping", 1),
        ("empty_data", 1),
        ("window_update", 1),
        ("other", 2),
    ] {
        let line = format!("longshore_http2_abuses_total{{limit=\"{limit}\"}} {count}");
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_in_too_many_continuations_ends_the_connection() {
    let origin = Origin::ok("x").await;
    let running = before(&origin, "").await;
    for (count, allowed) in [(CONTINUATIONS_MAX, true), (CONTINUATIONS_MAX + 1, false)] {
        let mut client = Frames::connect(running.address(), &[]).await;
        client.send(&continued(1, &get("/"), count)).await;
        if allowed {
            let head = client.next_of(HEADERS).await.expect("a response");
            assert!(head.begins_with_200());
        } else {
            assert_eq!(client.end().await, Some(ENHANCE_YOUR_CALM));
        }
    }
    // Without an end: nothing is gathered for ever.
    let mut client = Frames::connect(running.address(), &[]).await;
    client.send(&frame(HEADERS, END_STREAM, 1, &[])).await;
    client
        .send(&frame(CONTINUATION, 0, 1, &[]).repeat(100_000))
        .await;
    assert_eq!(client.end().await, Some(ENHANCE_YOUR_CALM));
    assert_eq!(origin.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stream_more_than_allowed_is_refused_and_the_others_go_on() {
    let (go, wait) = tokio::sync::watch::channel(false);
    let origin = Origin::raw(move |mut wire: Wire| {
        let mut wait = wait.clone();
        async move {
            while wire.head().await.is_ok() {
                wait.wait_for(|go| *go).await.expect("told");
                wire.send(&response(200, "x")).await;
            }
        }
    })
    .await;
    let running = before(&origin, "").await;
    let mut client = Frames::connect(running.address(), &[]).await;
    let settings = client.next_of(SETTINGS).await.expect("settings");
    let max = settings
        .payload
        .chunks(6)
        .find(|setting| setting[..2] == [0, 3]);
    assert_eq!(max.expect("a limit")[2..], STREAMS_MAX.to_be_bytes());
    client.send(&frame(SETTINGS, ACK, 0, &[])).await;
    for index in 0..STREAMS_MAX {
        client.get(2 * index + 1, "/").await;
    }
    eventually("all are at the target", async || {
        (origin.open() == STREAMS_MAX as usize).then_some(())
    })
    .await;
    client.get(2 * STREAMS_MAX + 1, "/").await;
    let refused = client.next_of(RST_STREAM).await.expect("refused");
    assert_eq!(
        (refused.stream, refused.code()),
        (2 * STREAMS_MAX + 1, REFUSED_STREAM)
    );
    go.send(true).expect("heard");
    for _ in 0..STREAMS_MAX {
        let head = client.next_of(HEADERS).await.expect("a response");
        assert!(head.begins_with_200());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_opened_and_reset_reach_no_target_by_the_thousands() {
    let origin = Origin::http(|_| response(200, "x")).await;
    let running = before(&origin, "").await;
    let pair = |index: usize| {
        let stream = u32::try_from(2 * index + 1).expect("few");
        let mut bytes = frame(HEADERS, END_HEADERS | END_STREAM, stream, &get("/"));
        bytes.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        bytes
    };
    // As many as are allowed, at once.
    let mut client = Frames::connect(running.address(), &[]).await;
    let flood: Vec<u8> = (0..RESETS_MAX).flat_map(pair).collect();
    client.send(&flood).await;
    assert!(client.is_alive().await);
    // One more.
    let mut client = Frames::connect(running.address(), &[]).await;
    let flood: Vec<u8> = (0..=RESETS_MAX).flat_map(pair).collect();
    client.send(&flood).await;
    assert_eq!(client.end().await, Some(ENHANCE_YOUR_CALM));
    // As many as a connection takes.
    let mut client = Frames::connect(running.address(), &[]).await;
    for index in 0..50_000 {
        if !client.send(&pair(index)).await {
            break;
        }
    }
    assert_eq!(client.end().await, Some(ENHANCE_YOUR_CALM));
    let seen = origin.connections();
    assert!(seen <= 3 * RESETS_MAX, "{seen} reached the target");
    // Who completes as many as it resets goes on.
    let mut client = Frames::connect(running.address(), &[]).await;
    for index in 0..2 * RESETS_MAX {
        let stream = u32::try_from(4 * index + 1).expect("few");
        client.get(stream, "/").await;
        while client.next_of(DATA).await.expect("a response").flags & END_STREAM == 0 {}
        client.get(stream + 2, "/").await;
        client
            .send(&frame(RST_STREAM, 0, stream + 2, &8_u32.to_be_bytes()))
            .await;
    }
    assert!(client.is_alive().await);
}

/// Frames that make the balancer reset a stream cost the targets as much as resets.
#[tokio::test(flavor = "multi_thread")]
async fn streams_that_a_client_makes_us_reset_count_as_if_it_had_reset_them() {
    let origin = Origin::http(|_| response(200, "x")).await;
    let running = before(&origin, "").await;
    let provoked = |index: usize, way: usize| {
        let stream = u32::try_from(2 * index + 1).expect("few");
        let mut bytes = frame(HEADERS, END_HEADERS | END_STREAM, stream, &get("/"));
        bytes.extend(match way {
            0 => frame(WINDOW_UPDATE, 0, stream, &[0; 4]),
            1 => frame(DATA, 0, stream, b"x"),
            _ => {
                let depends = stream.to_be_bytes();
                frame(PRIORITY, 0, stream, &[&depends[..], &[0]].concat())
            }
        });
        bytes
    };
    for way in 0..3 {
        let mut client = Frames::connect(running.address(), &[]).await;
        let flood: Vec<u8> = (0..RESETS_MAX).flat_map(|at| provoked(at, way)).collect();
        client.send(&flood).await;
        assert!(client.is_alive().await, "{way}");
        let mut client = Frames::connect(running.address(), &[]).await;
        let flood: Vec<u8> = (0..=RESETS_MAX).flat_map(|at| provoked(at, way)).collect();
        client.send(&flood).await;
        assert_eq!(client.end().await, Some(ENHANCE_YOUR_CALM), "{way}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_ten_thousand_requests_a_client_is_told_to_go_and_loses_none() {
    let origin = Origin::ok("x").await;
    let running = before(&origin, "").await;
    let mut client = Frames::connect(running.address(), &[]).await;
    let mut answered = 0;
    let mut announced = None;
    let mut sent = 0;
    while sent < REQUESTS_MAX || answered < sent {
        while sent < REQUESTS_MAX && sent - answered < 100 {
            client.get(2 * sent + 1, "/").await;
            sent += 1;
        }
        let frame = within("a frame", client.next()).await.expect("open");
        match frame.kind {
            GOAWAY => announced = announced.or(Some((answered, frame.code()))),
            DATA if frame.flags & END_STREAM != 0 => {
                answered += 1;
                // Windows are small unless they are given back.
                let given = 1_u32.to_be_bytes();
                client
                    .send(&longshore_tests::frames::frame(WINDOW_UPDATE, 0, 0, &given))
                    .await;
            }
            PING if frame.flags & ACK == 0 => {
                let pong = longshore_tests::frames::frame(PING, ACK, 0, &frame.payload);
                client.send(&pong).await;
            }
            _ => {}
        }
    }
    assert_eq!(answered, REQUESTS_MAX);
    let (after, code) = match announced {
        Some(announced) => announced,
        None => (answered, client.end().await.expect("an end")),
    };
    assert_eq!(code, NO_ERROR);
    assert!(after >= REQUESTS_MAX - 200, "told after {after}");
    let ended = within("the end", async { while client.next().await.is_some() {} });
    ended.await;
}

/// Whoever does not heed it has a thousand more, and not one beyond.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_go_when_told_to_is_told_to_calm_down() {
    let origin = Origin::http(|_| response(204, "")).await;
    let running = before(&origin, ADMIN).await;
    for (count, allowed) in [
        (REQUESTS_MAX + REQUESTS_ON_THEIR_WAY, true),
        (REQUESTS_MAX + REQUESTS_ON_THEIR_WAY + 1, false),
    ] {
        let mut client = Frames::connect(running.address(), &[]).await;
        let (mut sent, mut answered) = (0, 0);
        let mut told = Vec::new();
        while answered < count {
            while sent < count && sent - answered < 100 {
                // It may be closed before all is sent.
                client.get(2 * sent + 1, "/").await;
                sent += 1;
            }
            // The PING that goes with the GOAWAY is not answered, so nothing ends by itself.
            match within("a frame", client.next()).await {
                Some(frame) if frame.kind == GOAWAY => told.push(frame.code()),
                Some(frame) if frame.kind == HEADERS => answered += 1,
                Some(_) => {}
                None => break,
            }
        }
        if allowed {
            assert_eq!(answered, count);
            assert_eq!(told, [NO_ERROR]);
        } else {
            assert_eq!(told.last(), Some(&ENHANCE_YOUR_CALM), "{told:?}");
            assert!(answered < count);
        }
    }
    let metrics = metrics(&running).await;
    let line = "longshore_http2_abuses_total{limit=\"requests\"} 1";
    assert!(metrics.contains(line), "{metrics}");
}

/// As bytes of HTTP/1.1, which is what the limit is about.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_64_kib_is_served_and_one_byte_more_gets_431() {
    const HEAD_MAX: usize = 64 * 1024;
    let origin = Origin::ok("x").await;
    let running = before(&origin, "").await;
    let mut client = Frames::connect(running.address(), &[]).await;
    let long = "v".repeat(10_000);
    let fixed = "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n".len();
    let field = "x-large: \r\n".len();
    for (stream, size, good) in [(1, HEAD_MAX, true), (3, HEAD_MAX + 1, false)] {
        let left = size - fixed - 6 * (field + long.len()) - field;
        let rest = "v".repeat(left);
        let mut fields = vec![
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "a.test"),
            (":path", "/"),
        ];
        fields.extend((0..6).map(|_| ("x-large", long.as_str())));
        fields.push(("x-large", &rest));
        let bytes = block(&fields);
        let parts: Vec<_> = bytes.chunks(16_384).collect();
        for (index, part) in parts.iter().enumerate() {
            let ends = if index + 1 == parts.len() {
                END_HEADERS
            } else {
                0
            };
            let out = match index {
                0 => frame(HEADERS, END_STREAM | ends, stream, part),
                _ => frame(CONTINUATION, ends, stream, part),
            };
            assert!(client.send(&out).await);
        }
        let head = client.next_of(HEADERS).await.expect("an answer");
        assert_eq!(
            (head.stream, head.begins_with_200()),
            (stream, good),
            "{size}"
        );
    }
    assert_eq!(origin.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_gets_431_and_the_connection_goes_on() {
    let origin = Origin::ok("x").await;
    let running = before(&origin, ADMIN).await;
    let mut client = Frames::connect(running.address(), &[]).await;
    let mut stream = 1;
    for (size, good) in [
        (60_000, true),
        (70_000, false),
        (90_000, false),
        (200_000, false),
    ] {
        // One value is at most 16 K long here, so that it is a matter of the sum.
        let value = "v".repeat(10_000);
        let mut fields = vec![
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "a.test"),
            (":path", "/"),
        ];
        fields.extend((0..size / 10_000).map(|_| ("x-large", value.as_str())));
        let bytes = block(&fields);
        let mut parts = bytes.chunks(16_384).peekable();
        let first = parts.next().expect("some");
        let flag = |last: bool| if last { END_HEADERS } else { 0 };
        let mut out = frame(
            HEADERS,
            END_STREAM | flag(parts.peek().is_none()),
            stream,
            first,
        );
        while let Some(part) = parts.next() {
            out.extend(frame(
                CONTINUATION,
                flag(parts.peek().is_none()),
                stream,
                part,
            ));
        }
        client.send(&out).await;
        if size > 96_000 {
            // More continuations than the largest head needs.
            assert_eq!(client.end().await, Some(ENHANCE_YOUR_CALM), "{size}");
            break;
        }
        let head = client.next_of(HEADERS).await.expect("an answer");
        assert_eq!(head.begins_with_200(), good, "{size}");
        assert_eq!(head.stream, stream);
        stream += 2;
    }
    assert_eq!(origin.seen().len(), 1);
    let metrics = metrics(&running).await;
    let line = "longshore_answers_total{reason=\"request_header_too_large\"} 2";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_gives_no_window_costs_little_memory_and_its_time_is_limited() {
    let asked = Arc::new(AtomicUsize::new(0));
    let answering = Arc::new(AtomicUsize::new(0));
    let counts = (Arc::clone(&asked), Arc::clone(&answering));
    let response: Arc<[u8]> = response(200, &"x".repeat(1 << 20)).into();
    let origin = Origin::raw(move |mut wire| {
        let ((asked, answering), response) = (counts.clone(), Arc::clone(&response));
        async move {
            while read(&mut wire).await.is_some() {
                asked.fetch_add(1, Ordering::Relaxed);
                answering.fetch_add(1, Ordering::Relaxed);
                let written = wire.stream.write_all(&response).await;
                answering.fetch_sub(1, Ordering::Relaxed);
                if written.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    let (process, address, _config) = process(
        &origin,
        "runtime: {workers: 1}\nload_balancer: {idle_timeout: 3}",
    );
    Wire::connect(address).await.get("/").await;
    let memory = process.memory();
    // No window at all, and all the window there is without a reader.
    for window in [0, 0x7FFF_FFFF] {
        let before = asked.load(Ordering::Relaxed);
        let mut client = Frames::connect(address, &[(4, window)]).await;
        if window > 0 {
            let more = 0x7FFF_0000_u32.to_be_bytes();
            client.send(&frame(WINDOW_UPDATE, 0, 0, &more)).await;
        }
        for index in 0..STREAMS_MAX {
            client.get(2 * index + 1, "/").await;
        }
        eventually("the target is asked for all", async || {
            let asked = asked.load(Ordering::Relaxed) - before;
            (asked >= STREAMS_MAX as usize).then_some(())
        })
        .await;
        // Others are served meanwhile.
        let other = within("another client", async {
            Wire::connect(address).await.get("/").await
        });
        assert_eq!(other.await.body.len(), 1 << 20);
        let grown = process.memory().saturating_sub(memory);
        println!("window {window}: {} KiB", grown >> 10);
        assert!(grown < GROWTH_MAX, "{} MiB more", grown >> 20);
        if window == 0 {
            let reset = client.next_of(RST_STREAM).await;
            assert!(reset.is_some(), "its streams end");
        }
        eventually("the target is free", async || {
            (answering.load(Ordering::Relaxed) == 0).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_leave_memory_flat_and_other_clients_unharmed() {
    let origin = Origin::ok("x").await;
    let (process, address, _config) = process(&origin, "runtime: {workers: 1}");
    Wire::connect(address).await.get("/").await;
    let memory = process.memory();
    let floods = [
        frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]),
        frame(PING, 0, 0, &[7; 8]),
        frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 1]),
        frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        frame(DATA, 0, 1, &[]),
        frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes()),
        frame(CONTINUATION, 0, 1, &[0]),
        frame(0x42, 0, 0, &[0; 100]),
    ];
    let mut attacks = tokio::task::JoinSet::new();
    for flood in floods {
        for _ in 0..8 {
            let flood = flood.repeat(1_000);
            attacks.spawn(async move {
                let mut client = open(address).await;
                for _ in 0..50 {
                    if !client.send(&flood).await {
                        break;
                    }
                }
                // An end with or without words, but an end.
                within("the end", async { while client.next().await.is_some() {} }).await;
            });
        }
    }
    let mut other = Wire::connect(address).await;
    let mut served = 0;
    while !attacks.is_empty() {
        tokio::select! {
            done = attacks.join_next() => done.expect("one").expect("ended"),
            response = other.get("/") => {
                assert_eq!(response.status(), 200);
                served += 1;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        if other.buffered() > 0 {
            break;
        }
    }
    while let Some(done) = attacks.join_next().await {
        done.expect("ended");
    }
    assert_eq!(Wire::connect(address).await.get("/").await.status(), 200);
    let grown = process.memory().saturating_sub(memory);
    println!("{served} other requests, {} KiB", grown >> 10);
    assert!(grown < GROWTH_MAX, "{} MiB more", grown >> 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_ends_and_pings_do_not_keep_it() {
    let origin = Origin::ok("x").await;
    let running = before(&origin, "load_balancer: {idle_timeout: 1}").await;
    let begun = std::time::Instant::now();
    let mut client = Frames::connect(running.address(), &[]).await;
    // The time is what is tested: one second, asked every tenth of it.
    let code = within("the end", async {
        loop {
            client.send(&frame(PING, 0, 0, &[1; 8])).await;
            match client.next().await {
                Some(frame) if frame.kind == GOAWAY => return Some(frame.code()),
                Some(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                None => return None,
            }
        }
    })
    .await;
    assert_eq!(code, Some(NO_ERROR));
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(900), "{took:?}");
}
