//! What a target may send over HTTP/2, at the bound and one beyond it, and for how long one may say
//! nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use longshore_tests::balancer::{Running, fixed, start};
use longshore_tests::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Frame, Frames, HEADERS,
    PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, continued, frame, get,
};
use longshore_tests::origin::Origin;
use longshore_tests::process::{Process, TempFile, free_port};
use longshore_tests::wire::Wire;
use longshore_tests::within;
use tokio::net::TcpListener;

/// The bounds, as `http2/watch.rs` has them.
const SETTINGS_MAX: usize = 50;
const PINGS_MAX: usize = 200;
const EMPTY_DATA_MAX: usize = 100;
const CONTINUATIONS_MAX: usize = 5;
const WINDOW_UPDATES_MAX: usize = 2_000;
const OTHERS_MAX: usize = 500;
const RESETS_MAX: usize = 500;
const INTERIMS_MAX: usize = 500;

/// What memory may grow by, whatever a target does.
const GROWTH_MAX: u64 = 32 << 20;

/// `:status: 204`, from HPACK's table.
const NO_CONTENT: &[u8] = &[0x89];

fn interim() -> Vec<u8> {
    block(&[(":status", "103")])
}

/// A balancer before one target with HTTP/2.
async fn before(target: SocketAddr) -> Running {
    let group = "protocol_version: HTTP2\nhealth_check: {enabled: false}\noutlier_detection: {enabled: false}";
    let top = "runtime: {workers: 1}\nadmin: {address: '127.0.0.1:2'}";
    let running = start(&fixed(&[target], group, top)).await;
    running.wait_for("healthy", 1).await;
    running
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

/// What `/metrics` says.
async fn metrics(running: &Running) -> String {
    let admin = running.balancer.admin_address().expect("an admin address");
    Wire::connect(admin).await.get("/metrics").await.text()
}

/// A request that is not sent twice.
async fn post(client: &mut Frames, stream: u32) {
    let fields = block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a.test"),
        (":path", "/"),
    ]);
    let head = frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields);
    assert!(client.send(&head).await);
}

/// A target on whose connection one request waits for its response.
async fn asked(running: &Running, listener: &TcpListener) -> (Frames, Frames) {
    let mut client = Frames::connect(running.address(), &[]).await;
    post(&mut client, 1).await;
    let mut target = within("a connection", Frames::accept(listener)).await;
    target.next_of(HEADERS).await.expect("a request");
    (client, target)
}

/// So many frames of a kind pass, and one more ends the connection. `besides`: how many of that kind
/// the target sends before and after, to begin and to ask whether the connection lives.
async fn bound(
    what: &str,
    running: &Running,
    listener: &TcpListener,
    first: &[u8],
    one: &[u8],
    (max, besides): (usize, [usize; 2]),
) {
    let (_client, mut target) = asked(running, listener).await;
    assert!(target.send(first).await);
    let [before, after] = besides;
    assert!(target.send(&one.repeat(max - before - after)).await);
    assert!(target.is_alive().await, "{what}: the bound is allowed");
    // Its end is known before there is another one.
    drop(target);

    let (mut client, mut target) = asked(running, listener).await;
    // It may be closed before all is sent.
    target.send(first).await;
    target.send(&one.repeat(max - before + 1)).await;
    assert_eq!(target.end().await, Some(ENHANCE_YOUR_CALM), "{what}");
    let answer = within("an answer", async {
        loop {
            let frame = client.next().await.expect("open");
            if frame.stream == 1 && matches!(frame.kind, HEADERS | RST_STREAM) {
                return frame;
            }
        }
    });
    let answer = answer.await;
    assert!(!answer.begins_with_200() || !first.is_empty(), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_frame_of_a_target_has_its_bound_and_one_more_ends_the_connection() {
    let (listener, address) = listen().await;
    let running = before(address).await;
    let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]);
    let ping = frame(PING, 0, 0, &[7; 8]);
    let empty = frame(DATA, 0, 1, &[]);
    let head = frame(HEADERS, END_HEADERS, 1, &[0x88]);
    let window = frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]);
    let priority = frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]);
    let unknown = frame(0x42, 0, 0, b"?");
    let reset = frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes());
    let early = frame(HEADERS, END_HEADERS, 1, &interim());
    for (what, first, one, max, besides) in [
        ("SETTINGS", &[][..], &settings, SETTINGS_MAX, [1, 0]),
        ("PING", &[], &ping, PINGS_MAX, [0, 1]),
        ("empty DATA", &head, &empty, EMPTY_DATA_MAX, [0, 0]),
        ("WINDOW_UPDATE", &[], &window, WINDOW_UPDATES_MAX, [0, 0]),
        ("PRIORITY", &[], &priority, OTHERS_MAX, [0, 0]),
        ("an unknown type", &[], &unknown, OTHERS_MAX, [0, 0]),
        ("RST_STREAM", &[], &reset, RESETS_MAX, [0, 0]),
        ("interim responses", &[], &early, INTERIMS_MAX, [0, 0]),
    ] {
        let bounds = (max, besides);
        bound(what, &running, &listener, first, one, bounds).await;
    }
    // Figures of connections to targets are gathered each second.
    longshore_tests::eventually("the figures", async || {
        let metrics = metrics(&running).await;
        let causes = [
            ("settings", 1),
            ("ping", 1),
            ("empty_data", 1),
            ("window_update", 1),
            ("other", 2),
            ("rapid_reset", 1),
            ("interim", 1),
        ];
        let lines = causes.map(|(cause, count)| {
            format!("longshore_target_http2_given_up_total{{cause=\"{cause}\"}} {count}")
        });
        lines
            .iter()
            .all(|line| metrics.contains(line))
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_in_too_many_continuations_ends_the_connection() {
    let (listener, address) = listen().await;
    let running = before(address).await;
    for (count, allowed) in [(CONTINUATIONS_MAX, true), (CONTINUATIONS_MAX + 1, false)] {
        let (mut client, mut target) = asked(&running, &listener).await;
        let mut fields = vec![0x88];
        fields.extend(block(&[("x-a", "b")]));
        target.send(&continued(1, &fields, count)).await;
        let head = client.next_of(HEADERS).await.expect("a response");
        assert_eq!(head.begins_with_200(), allowed);
        if !allowed {
            assert_eq!(target.end().await, Some(ENHANCE_YOUR_CALM));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_a_target_leaves_memory_flat_and_others_unharmed() {
    let floods = [
        frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]),
        frame(PING, 0, 0, &[7; 8]),
        frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 1]),
        frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        frame(DATA, 0, 1, &[]),
        frame(DATA, 0, 1, b"x"),
        frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes()),
        frame(HEADERS, END_HEADERS, 1, &interim()),
        frame(CONTINUATION, 0, 1, &[0]),
        frame(0x42, 0, 0, &[0; 100]),
    ];
    let (listener, bad) = listen().await;
    let attacks = Arc::new(AtomicUsize::new(0));
    let ended = Arc::clone(&attacks);
    let attacker = tokio::spawn(async move {
        for turn in 0.. {
            let mut target = Frames::accept(&listener).await;
            let (flood, ended) = (
                floods[turn % floods.len()].repeat(1_000),
                Arc::clone(&ended),
            );
            tokio::spawn(async move {
                if target.next_of(HEADERS).await.is_some() {
                    // A head first, or not: DATA and resets need one to be taken at all.
                    target.send(&frame(HEADERS, END_HEADERS, 1, &[0x88])).await;
                    for _ in 0..50 {
                        if !target.send(&flood).await {
                            break;
                        }
                    }
                }
                ended.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    let good = Origin::ok("x").await;
    let config = TempFile::new(&format!(
        "runtime: {{workers: 1}}\nlisteners:\n  - name: web\n    address: '127.0.0.1:{}'\n    \
         default_action: [{{type: forward, target_group: good}}]\n    rules:\n      - priority: 1\n        \
         condition: [{{path_pattern: {{values: [/bad]}}}}]\n        action: [{{type: forward, target_group: bad}}]\n\
         target_groups:\n  - name: good\n    targets: [{{address: 127.0.0.1, port: {}}}]\n    health_check: {{enabled: false}}\n  \
         - name: bad\n    protocol_version: HTTP2\n    targets: [{{address: 127.0.0.1, port: {}}}]\n    \
         health_check: {{enabled: false}}\n    outlier_detection: {{enabled: false}}\n",
        free_port(),
        good.address.port(),
        bad.port()
    ));
    let (process, address) = Process::run(&config);
    let mut other = Wire::connect(address).await;
    assert_eq!(other.get("/").await.status(), 200);
    let memory = process.memory();
    // A client that reads nothing of its responses, so that nothing is given back by that.
    let mut served = 0;
    for turn in 0..40_u32 {
        let mut victim = Frames::connect(address, &[(4, 0)]).await;
        let head = frame(HEADERS, END_HEADERS | END_STREAM, 1, &get("/bad"));
        assert!(victim.send(&head).await);
        // Its response, an error or its end: something comes.
        let answer = within("an answer", async {
            loop {
                match victim.next().await {
                    Some(Frame {
                        kind: HEADERS | RST_STREAM,
                        ..
                    })
                    | None => break,
                    Some(_) => {}
                }
            }
        });
        answer.await;
        assert_eq!(other.get("/").await.status(), 200, "{turn}");
        served += 1;
    }
    let grown = process.memory().saturating_sub(memory);
    println!(
        "{served} other requests, {} floods ended, {} KiB",
        attacks.load(Ordering::SeqCst),
        grown >> 10
    );
    assert!(grown < GROWTH_MAX, "{} MiB more", grown >> 20);
    attacker.abort();
}

/// A target that sends as much on stream 1 as its window allows.
struct Sends {
    target: Frames,
    window: usize,
    sent: usize,
}

impl Sends {
    /// Sends until there has been no more window for a while, or so much was sent.
    async fn until(&mut self, enough: usize) {
        loop {
            while self.window > 0 && self.sent < enough {
                let count = self.window.min(16_384);
                let data = frame(DATA, 0, 1, &vec![b'x'; count]);
                assert!(self.target.send(&data).await);
                self.window -= count;
                self.sent += count;
            }
            if self.sent >= enough {
                return;
            }
            let Ok(next) = tokio::time::timeout(Duration::from_secs(1), self.target.next()).await
            else {
                return;
            };
            let next = next.expect("open");
            if next.kind == WINDOW_UPDATE && next.stream == 1 {
                let more = next.payload[..4].try_into().expect("four bytes");
                self.window += u32::from_be_bytes(more) as usize;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_gives_no_window_stops_a_target_with_http2_until_it_does() {
    const MORE: u32 = 1 << 20;
    let (listener, address) = listen().await;
    let running = before(address).await;
    let mut client = Frames::connect(running.address(), &[(4, 0)]).await;
    assert!(client.get(1, "/").await);
    let mut target = within("a connection", Frames::accept(&listener)).await;
    target.next_of(HEADERS).await.expect("a request");
    // The window that the balancer's SETTINGS give counts once they are acknowledged.
    let mut head = frame(SETTINGS, ACK, 0, &[]);
    head.extend(frame(HEADERS, END_HEADERS, 1, &[0x88]));
    assert!(target.send(&head).await);
    let mut sends = Sends {
        target,
        window: 64 * 1024,
        sent: 0,
    };
    sends.until(16 << 20).await;
    println!(
        "{} KiB were sent to a client without window",
        sends.sent >> 10
    );
    assert!(sends.sent <= 256 * 1024, "{}", sends.sent);
    for stream in [0, 1] {
        let window = frame(WINDOW_UPDATE, 0, stream, &MORE.to_be_bytes());
        assert!(client.send(&window).await);
    }
    let reads = tokio::spawn(async move {
        let mut got = 0;
        while got < MORE as usize {
            got += client.next_of(DATA).await.expect("open").payload.len();
        }
        got
    });
    within("as much as there was window", async {
        while sends.sent < MORE as usize {
            sends.until(MORE as usize).await;
        }
    })
    .await;
    assert_eq!(reads.await.expect("it reads"), MORE as usize);
}

/// A request that may not be sent twice must not meet a target that closes its idle connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_closes_idle_connections_has_them_closed_before_it_does() {
    let (listener, address) = listen().await;
    let running = before(address).await;
    let answered = async || {
        let (mut client, mut target) = asked(&running, &listener).await;
        let answer = frame(HEADERS, END_HEADERS | END_STREAM, 1, NO_CONTENT);
        assert!(target.send(&answer).await);
        client.next_of(HEADERS).await.expect("a response");
        target
    };
    let first = answered().await;
    // The time is what is tested: its target closes it after four seconds, without a word.
    tokio::time::sleep(Duration::from_secs(4)).await;
    drop(first);
    let mut second = answered().await;
    let begun = Instant::now();
    within("its end", async { while second.next().await.is_some() {} }).await;
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(900), "{took:?}");
    assert!(took < Duration::from_secs(4), "{took:?}");
}

/// A target that closes a stream in a frame of its own has done nothing wrong, and its response was
/// not for nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_whole_response_is_not_reset_though_its_end_is_said_later() {
    let (listener, address) = listen().await;
    let running = before(address).await;
    let mut client = Frames::connect(running.address(), &[]).await;
    post(&mut client, 1).await;
    let mut target = within("a connection", Frames::accept(&listener)).await;
    let fields = block(&[(":status", "200"), ("content-length", "2")]);
    let answer = |stream: u32| {
        let head = frame(HEADERS, END_HEADERS, stream, &fields);
        [head, frame(DATA, 0, stream, b"ok")].concat()
    };
    // More than the most that may rest at a time, each ended a moment after its client had it all.
    for request in 0..200 {
        let stream = 2 * request + 1;
        if request > 0 {
            post(&mut client, stream).await;
        }
        let asked = within("a request", next_of(&mut target, HEADERS)).await;
        assert_eq!(asked.expect("open").stream, stream);
        assert!(target.send(&answer(stream)).await);
        let last = within("a response", async {
            loop {
                let got = client.next().await.expect("open");
                if got.kind == DATA && got.flags & END_STREAM != 0 {
                    return got;
                }
            }
        });
        assert_eq!(last.await.stream, stream);
        assert!(target.send(&frame(DATA, END_STREAM, stream, b"")).await);
    }
    assert!(target.send(&frame(PING, 0, 0, b"all read")).await);
    within("an answer to PING", async {
        loop {
            let got = target.next().await.expect("open");
            assert_ne!(got.kind, RST_STREAM, "stream {}", got.stream);
            if got.kind == PING && got.flags & ACK != 0 {
                return;
            }
        }
    })
    .await;
    // One that is never ended is given up.
    post(&mut client, 401).await;
    within("a request", next_of(&mut target, HEADERS))
        .await
        .expect("open");
    assert!(target.send(&answer(401)).await);
    let reset = within("its end", next_of(&mut target, RST_STREAM)).await;
    assert_eq!(reset.expect("open").stream, 401);
}

/// A target that says nothing any more is asked after 10 s, gets no new streams from then on, and
/// is given up 20 s later. One that answers PINGs may take its time.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_target_is_found_out_before_requests_wait_for_all_of_their_time() {
    let (listener, address) = listen().await;
    let running = before(address).await;
    let begun = Instant::now();
    // This one lives, and answers PINGs and later its request.
    let (mut patient, mut alive) = asked(&running, &listener).await;
    let works = tokio::spawn(async move {
        let mut pings = 0;
        let respond = tokio::time::sleep(Duration::from_secs(33));
        tokio::pin!(respond);
        loop {
            tokio::select! {
                () = &mut respond => break,
                frame = alive.next() => {
                    let frame = frame.expect("it is not closed");
                    if frame.kind == PING && frame.flags & ACK == 0 {
                        pings += 1;
                        assert!(alive.send(&longshore_tests::frames::frame(PING, ACK, 0, &frame.payload)).await);
                    }
                }
            }
        }
        assert!(
            alive
                .send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, NO_CONTENT))
                .await
        );
        (alive, pings)
    });
    let (silent_listener, silent_address) = listen().await;
    let other = before(silent_address).await;
    // This one does not.
    let (mut client, mut silent) = asked(&other, &silent_listener).await;
    let ping = tokio::time::timeout(Duration::from_secs(20), next_of(&mut silent, PING));
    ping.await.expect("in time").expect("a PING");
    let asked_after = begun.elapsed();
    assert!(asked_after >= Duration::from_secs(9), "{asked_after:?}");
    // A request of now goes by another connection.
    assert!(client.get(3, "/").await);
    let mut fresh = within("a second connection", Frames::accept(&silent_listener)).await;
    fresh.next_of(HEADERS).await.expect("a request");
    let answer = frame(HEADERS, END_HEADERS | END_STREAM, 1, NO_CONTENT);
    assert!(fresh.send(&answer).await);
    let got = client.next_of(HEADERS).await.expect("a response");
    assert_eq!((got.stream, got.payload[0]), (3, NO_CONTENT[0]));
    // The first one is answered when its connection is given up: it is not known what the target
    // did with it, so it is not sent again.
    let answered = tokio::time::timeout(Duration::from_secs(40), next_of(&mut client, HEADERS));
    let got = answered.await.expect("in time").expect("an answer");
    let given_up = begun.elapsed();
    println!("asked after {asked_after:?}, given up after {given_up:?}");
    assert_eq!(got.stream, 1);
    assert!(!got.begins_with_200());
    assert!(given_up >= Duration::from_secs(28), "{given_up:?}");
    assert!(given_up <= Duration::from_secs(45), "{given_up:?}");
    assert_eq!(silent.next_of(DATA).await, None, "it is closed");
    let metrics = metrics(&other).await;
    let lines = [
        "longshore_target_http2_given_up_total{cause=\"silent\"} 1",
        "longshore_answers_total{reason=\"target_closed\"} 1",
    ];
    for line in lines {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    let (_alive, pings) = works.await.expect("it went well");
    assert_eq!(pings, 1, "one is enough for one request");
    let got = patient.next_of(HEADERS).await.expect("a response");
    assert_eq!(got.payload[0], NO_CONTENT[0]);
}

/// The next frame of a type, however long it takes.
async fn next_of(frames: &mut Frames, kind: u8) -> Option<Frame> {
    loop {
        let frame = frames.next().await?;
        if frame.kind == kind {
            return Some(frame);
        }
    }
}
