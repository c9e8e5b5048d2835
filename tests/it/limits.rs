//! Time limits and want of resources.

use std::time::{Duration, Instant};

use longshore_tests::balancer::{fixed, start};
use longshore_tests::origin::{Origin, read};
use longshore_tests::process::{Process, TempFile, free_port};
use longshore_tests::wire::Wire;
use longshore_tests::{eventually, within};

const NO_CHECK: &str = "health_check: {enabled: false}";

#[tokio::test]
async fn a_request_head_that_trickles_is_answered_with_408() {
    let origin = Origin::ok("ok").await;
    let balancer = start(&fixed(
        &[origin.address],
        NO_CHECK,
        "load_balancer: {request_header_timeout: 1}",
    ))
    .await;
    let mut client = Wire::connect(balancer.address()).await;
    // One whole request first: the limit must hold for every request of a connection.
    assert_eq!(client.get("/").await.status(), 200);
    let began = Instant::now();
    client.send("GET / HTTP/1.1\r\n").await;
    let trickle = async {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let sent = tokio::io::AsyncWriteExt::write_all(&mut client.stream, b"X: y\r\n").await;
            // Its own error, or the answer, ends it.
            if sent.is_err() || began.elapsed() > Duration::from_secs(2) {
                break;
            }
        }
    };
    trickle.await;
    let got = within("an answer", client.try_response()).await;
    let status = got.map(|got| (got.status(), got.reason().map(ToOwned::to_owned)));
    // Bytes that come after the answer make the kernel reset the connection, which can overtake it.
    if let Ok(status) = status {
        assert_eq!(status, (408, Some("request_header_timeout".to_owned())));
    }
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(origin.seen().len(), 1);
}

#[tokio::test]
async fn a_silent_half_head_is_answered_with_408() {
    let origin = Origin::ok("ok").await;
    let balancer = start(&fixed(
        &[origin.address],
        NO_CHECK,
        "load_balancer: {request_header_timeout: 1}",
    ))
    .await;
    let mut client = Wire::connect(balancer.address()).await;
    client.send("GET / HTTP/1.1\r\nHo").await;
    let got = within("an answer", client.response()).await;
    assert_eq!(
        (got.status(), got.reason()),
        (408, Some("request_header_timeout"))
    );
    assert!(within("the end", client.rest()).await.is_empty());
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_the_idle_timeout_and_not_before() {
    let origin = Origin::ok("ok").await;
    let balancer = start(&fixed(
        &[origin.address],
        NO_CHECK,
        "load_balancer: {idle_timeout: 1}",
    ))
    .await;
    let mut client = Wire::connect(balancer.address()).await;
    let began = Instant::now();
    assert_eq!(client.get("/").await.status(), 200);
    assert!(within("the end", client.rest()).await.is_empty());
    assert!(
        began.elapsed() >= Duration::from_millis(950),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_target_that_does_not_answer_in_time_gives_504() {
    let origin = Origin::raw(|mut wire| async move {
        read(&mut wire).await;
        wire.rest().await;
    })
    .await;
    let balancer = start(&fixed(
        &[origin.address],
        NO_CHECK,
        "load_balancer: {idle_timeout: 1}",
    ))
    .await;
    let mut client = Wire::connect(balancer.address()).await;
    let began = Instant::now();
    let got = within("an answer", client.get("/")).await;
    assert_eq!((got.status(), got.reason()), (504, Some("target_timeout")));
    assert!(
        began.elapsed() >= Duration::from_millis(950),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(
        origin.connections(),
        1,
        "a request that may be at work is not sent again"
    );
}

#[tokio::test]
async fn a_target_that_stalls_in_its_body_ends_the_response_visibly() {
    let origin = Origin::raw(|mut wire| async move {
        read(&mut wire).await;
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
            .await;
        wire.rest().await;
    })
    .await;
    let balancer = start(&fixed(
        &[origin.address],
        NO_CHECK,
        "load_balancer: {idle_timeout: 1}",
    ))
    .await;
    let mut client = Wire::connect(balancer.address()).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let got = within("the end", client.try_response()).await;
    assert!(got.is_err(), "{got:?}");
}

#[tokio::test]
async fn a_slow_but_steady_upload_is_not_cut_by_the_idle_timeout() {
    let origin = Origin::ok("ok").await;
    let balancer = start(&fixed(
        &[origin.address],
        NO_CHECK,
        "load_balancer: {idle_timeout: 2}",
    ))
    .await;
    let mut client = Wire::connect(balancer.address()).await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
        .await;
    for _ in 0..10 {
        // The pace of the client, not a wait for the balancer.
        tokio::time::sleep(Duration::from_millis(300)).await;
        client.send("x").await;
    }
    assert_eq!(within("an answer", client.response()).await.status(), 200);
}

/// An address at which nobody answers a handshake, and nobody refuses it.
struct Silent {
    address: std::net::SocketAddr,
    _listener: socket2::Socket,
    _fill: Vec<tokio::net::TcpStream>,
}

impl Silent {
    async fn listen() -> Self {
        // A listener whose queue is full drops further handshakes.
        let kind = socket2::Type::STREAM;
        let listener = socket2::Socket::new(socket2::Domain::IPV4, kind, None).expect("a socket");
        let any: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
        listener.bind(&any.into()).expect("bound");
        listener.listen(0).expect("listening");
        let address = listener.local_addr().expect("bound");
        let address = address.as_socket().expect("IPv4");
        let mut fill = Vec::new();
        while let Ok(Ok(stream)) = tokio::time::timeout(
            Duration::from_millis(200),
            tokio::net::TcpStream::connect(address),
        )
        .await
        {
            fill.push(stream);
            assert!(fill.len() < 100, "the queue fills");
        }
        Self {
            address,
            _listener: listener,
            _fill: fill,
        }
    }
}

#[tokio::test]
async fn a_connect_that_takes_too_long_gives_504() {
    let silent = Silent::listen().await;
    let address = silent.address;
    let balancer = start(&fixed(
        &[address],
        NO_CHECK,
        "load_balancer: {connect_timeout: 300ms}",
    ))
    .await;
    let mut client = Wire::connect(balancer.address()).await;
    let got = within("an answer", client.get("/")).await;
    assert_eq!((got.status(), got.reason()), (504, Some("connect_timeout")));
}

#[tokio::test]
async fn a_connect_to_a_target_that_leaves_meanwhile_goes_elsewhere_at_once() {
    let silent = Silent::listen().await;
    let origin = Origin::ok("ok").await;
    // Long enough that it cannot be what ends the wait.
    let text = |targets: &[std::net::SocketAddr]| {
        fixed(targets, NO_CHECK, "load_balancer: {connect_timeout: 60s}")
    };
    let mut balancer = start(&text(&[silent.address, origin.address])).await;
    let address = balancer.address();
    // Two requests in turns: one of them is for the silent target.
    let mut clients = tokio::task::JoinSet::new();
    for method in ["POST", "POST"] {
        let mut client = Wire::connect(address).await;
        clients.spawn(async move {
            let head = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
            client.send(head).await;
            within("an answer", client.response()).await.status()
        });
    }
    let first = clients.join_next().await.expect("one").expect("no panic");
    assert_eq!(first, 200);
    eventually("the other one waits", async || {
        let targets = balancer.group().await.targets;
        let waiting = targets.iter().map(|target| target.in_flight).sum::<u64>();
        (waiting == 1).then_some(())
    })
    .await;
    let next = longshore_tests::balancer::config(&text(&[origin.address]));
    balancer.balancer.reload(next).await.expect("reloaded");
    let began = Instant::now();
    let second = clients.join_next().await.expect("one").expect("no panic");
    assert_eq!(second, 200);
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(origin.seen().len(), 2);
}

#[tokio::test]
async fn a_connection_older_than_client_keep_alive_is_told_to_close() {
    // 60 s is the least that a file may say, so only the other side is tested here: a young
    // connection is not told.
    let origin = Origin::ok("ok").await;
    let balancer = start(&fixed(
        &[origin.address],
        NO_CHECK,
        "load_balancer: {client_keep_alive: 60}",
    ))
    .await;
    let mut client = Wire::connect(balancer.address()).await;
    for _ in 0..3 {
        assert_eq!(client.get("/").await.head.get("connection"), None);
    }
}

#[tokio::test]
async fn out_of_file_descriptors_it_neither_dies_nor_spins_and_recovers() {
    let origin = Origin::ok("ok").await;
    let config = TempFile::new(&format!(
        "runtime: {{workers: 1}}\nlisteners: [{{name: web, address: '127.0.0.1:{}', default_action: [{{type: forward, target_group: app}}]}}]\n\
         target_groups: [{{name: app, targets: [{{address: 127.0.0.1, port: {}}}], health_check: {{enabled: false}}}}]\n",
        free_port(),
        origin.address.port()
    ));
    let path = config.path().to_str().expect("text").to_owned();
    let mut process = Process::start_with_files(48, &["run", "-c", &path]);
    let line = process.wait_for_line("listening ");
    let address = line
        .rsplit(' ')
        .next()
        .and_then(|address| address.parse().ok())
        .expect("an address");
    let mut held = Vec::new();
    for _ in 0..80 {
        held.push(Wire::connect(address).await);
    }
    process.wait_for_line("accept failed");
    let before = process.processor_time();
    let began = Instant::now();
    // An observation, not a wait: how much does it work while it can do nothing?
    tokio::time::sleep(Duration::from_secs(1)).await;
    let used = process.processor_time().saturating_sub(before);
    assert!(
        used < began.elapsed() / 4,
        "it spins: {used:?} of {:?}",
        began.elapsed()
    );
    drop(held);
    let mut client = Wire::connect(address).await;
    assert_eq!(within("an answer", client.get("/")).await.status(), 200);
}

#[tokio::test]
async fn the_wait_for_a_response_counts_from_the_end_of_the_upload() {
    let origin = Origin::raw(|mut wire| async move {
        read(&mut wire).await;
        // The target's own work: less than the limit, and with the upload more.
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .await;
    })
    .await;
    let top = "load_balancer: {idle_timeout: 2}";
    let balancer = start(&fixed(&[origin.address], NO_CHECK, top)).await;
    let mut client = Wire::connect(balancer.address()).await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
        .await;
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        client.send("x").await;
    }
    assert_eq!(within("a response", client.response()).await.status(), 200);
}

#[tokio::test]
async fn an_upload_that_stalls_is_answered_with_408_and_is_not_the_targets_fault() {
    let origin = Origin::raw(|mut wire| async move {
        wire.rest().await;
    })
    .await;
    let top = "load_balancer: {idle_timeout: 1}";
    let balancer = start(&fixed(&[origin.address], NO_CHECK, top)).await;
    let mut client = Wire::connect(balancer.address()).await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\npart")
        .await;
    let got = within("an answer", client.response()).await;
    assert_eq!(
        (got.status(), got.reason()),
        (408, Some("request_body_timeout"))
    );
    assert_eq!(got.head.get("connection"), Some("close"));
    assert_eq!(balancer.group().await.targets[0].failures, 0);
}

#[tokio::test]
async fn a_client_that_stalls_is_not_the_targets_fault_whichever_limit_ends_it() {
    // One that has answered waits for the rest of the request, and one that has not, too.
    for (answer, keys) in [
        ("", "retry: {on: [timeout], per_try_timeout: 500ms}"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
            "timeouts: {idle: 1s}",
        ),
    ] {
        let origin = Origin::raw(move |mut wire| async move {
            let got = within("a head", wire.head()).await;
            assert!(got.is_ok(), "{got:?}");
            if !answer.is_empty() {
                wire.send(answer).await;
            }
            wire.rest().await;
        })
        .await;
        let keys = format!("{NO_CHECK}\n{keys}");
        let balancer = start(&fixed(&[origin.address], &keys, "")).await;
        let mut client = Wire::connect(balancer.address()).await;
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\npart")
            .await;
        if answer.is_empty() {
            let got = within("an answer", client.response()).await;
            assert_eq!(
                (got.status(), got.reason()),
                (408, Some("request_body_timeout"))
            );
        } else {
            let begun = Instant::now();
            let got = within("the end", client.try_response()).await;
            assert!(got.is_err(), "{got:?}");
            // That of the group, and not of all.
            assert!(begun.elapsed() < Duration::from_secs(20));
        }
        eventually("the request is over", async || {
            (balancer.group().await.targets[0].in_flight == 0).then_some(())
        })
        .await;
        assert_eq!(balancer.group().await.targets[0].failures, 0, "{keys}");
    }
}

#[tokio::test]
async fn empty_lines_after_a_request_are_no_request() {
    let origin = Origin::ok("ok").await;
    let top = "load_balancer: {request_header_timeout: 1, idle_timeout: 2}";
    let balancer = start(&fixed(&[origin.address], NO_CHECK, top)).await;
    let mut client = Wire::connect(balancer.address()).await;
    let began = Instant::now();
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n\r\n")
        .await;
    assert_eq!(within("a response", client.response()).await.status(), 200);
    let rest = within("the end", client.rest()).await;
    assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(&rest));
    assert!(began.elapsed() >= Duration::from_millis(1_900));
}

#[tokio::test]
async fn an_answer_to_a_client_that_stalls_harms_no_other_when_its_target_ends() {
    let origin = Origin::raw(|mut wire| async move {
        wire.rest().await;
    })
    .await;
    let top = "runtime: {workers: 1}";
    let group = format!("{NO_CHECK}\nderegistration_delay: 0");
    let mut balancer = start(&fixed(&[origin.address], &group, top)).await;
    let mut stalled = Wire::connect(balancer.address()).await;
    stalled
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nx")
        .await;
    eventually("the request is at the target", async || {
        (origin.connections() == 1).then_some(())
    })
    .await;
    let address = balancer.address();
    let without = longshore_tests::balancer::config(&fixed(&[], &group, top));
    balancer.balancer.reload(without).await.expect("reloaded");
    let got = within("an answer", stalled.response()).await;
    assert_eq!(
        (got.status(), got.reason()),
        (502, Some("deregistration_delay_elapsed"))
    );
    // The rest of its body never comes, and the only worker goes on.
    let mut other = Wire::connect(address).await;
    let got = within("an answer", other.get("/")).await;
    assert_eq!((got.status(), got.reason()), (503, Some("no_targets")));
}
