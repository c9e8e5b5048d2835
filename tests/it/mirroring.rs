//! Copies of requests for a second group.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use longshore_tests::balancer::{Running, start};
use longshore_tests::origin::{Origin, response};
use longshore_tests::wire::Wire;
use longshore_tests::{eventually, within};

async fn balancer(settings: &str, app: &Origin, shadow: SocketAddr) -> Running {
    start(&format!(
        "runtime: {{workers: 1}}
admin: {{address: '127.0.0.1:2'}}
listeners:
  - name: web
    address: 127.0.0.1:1
    default_action: [{{type: forward, target_group: app}}]
    policy: {{mirror: {{target_group: shadow{settings}}}, request_headers: {{set: {{X-Env: prod}}}}}}
    rules:
      - priority: 1
        condition: [{{path_pattern: {{values: ['/off*']}}}}]
        action: [{{type: forward, target_group: app}}]
        policy: {{mirror: {{target_group: shadow, percent: 0}}}}
target_groups:
  - {{name: app, targets: [{{address: {}, port: {}}}], health_check: {{enabled: false}}}}
  - {{name: shadow, targets: [{{address: {}, port: {}}}], health_check: {{enabled: false}}}}
",
        app.address.ip(),
        app.address.port(),
        shadow.ip(),
        shadow.port(),
    ))
    .await
}

/// How many copies had this result.
async fn counted(running: &Running, result: &str) -> u64 {
    let admin = running.balancer.admin_address().expect("an admin server");
    let metrics = Wire::connect(admin).await.get("/metrics").await.text();
    let name = format!("longshore_mirrored_requests_total{{result=\"{result}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.and_then(|count| count.parse().ok()).expect("a count")
}

async fn wait_for(running: &Running, result: &str, count: u64) {
    eventually(&format!("{count} are {result}"), async || {
        (counted(running, result).await == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_mirror_gets_what_the_target_gets_and_its_responses_reach_nobody() {
    let app = Origin::ok("app").await;
    let shadow = Origin::http(|seen| {
        if seen.head.line.contains("/chunks") {
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nSet-Cookie: shadow=1\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_vec()
        } else {
            response(500, "shadow")
        }
    })
    .await;
    let running = balancer("", &app, shadow.address).await;
    let mut client = Wire::connect(running.address()).await;
    for (number, request) in [
        "GET /a?b=c HTTP/1.1\r\nHost: h\r\nCookie: d=e\r\n\r\n",
        "POST /chunks HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nX-Trailer: t\r\n\r\n",
        "PUT /length HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\n\r\nabcdefg",
        "GET /off HTTP/1.1\r\nHost: h\r\n\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        client.send(request).await;
        let got = within("an answer", client.response()).await;
        assert_eq!((got.status(), got.text()), (200, "app".to_owned()), "{request}");
        assert_eq!(got.head.get("set-cookie"), None);
        let copies = (number + 1).min(3);
        wait_for(&running, "answered", copies as u64).await;
    }
    let (seen, copies) = (app.seen(), shadow.seen());
    assert_eq!((seen.len(), copies.len()), (4, 3));
    for (one, other) in seen.iter().zip(&copies) {
        assert_eq!(one.head, other.head);
        assert_eq!((&one.body, &one.trailers), (&other.body, &other.trailers));
    }
    assert_eq!(copies[0].head.get("x-env"), Some("prod"));
    assert_eq!(copies[1].body, b"abcdefg");
    assert_eq!(shadow.connections(), 1, "its connection is used again");
    assert_eq!(counted(&running, "failed").await, 0);
}

#[tokio::test]
async fn a_mirror_that_is_dead_slow_or_wrong_disturbs_nobody() {
    let app = Origin::ok("app").await;
    // Nobody listens; nobody answers; what comes is no response; it ends early.
    let dead = {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        socket.local_addr().expect("bound")
    };
    let silent = Origin::raw(|mut wire| async move {
        drop(wire.rest().await);
    })
    .await;
    let wrong = Origin::http(|_| b"hello\r\n\r\n".to_vec()).await;
    let short = Origin::http(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nx".to_vec()).await;
    for (what, address) in [
        ("dead", dead),
        ("silent", silent.address),
        ("wrong", wrong.address),
        ("short", short.address),
    ] {
        let running = balancer(", timeout: 300ms", &app, address).await;
        let mut client = Wire::connect(running.address()).await;
        let began = Instant::now();
        for _ in 0..20 {
            let got = within("an answer", client.get("/")).await;
            assert_eq!(
                (got.status(), got.text()),
                (200, "app".to_owned()),
                "{what}"
            );
        }
        // Had each waited for its copy, this were 6 s.
        assert!(began.elapsed() < Duration::from_secs(5), "{what}");
        wait_for(&running, "failed", 20).await;
        assert_eq!(counted(&running, "answered").await, 0, "{what}");
    }
}

#[tokio::test]
async fn large_bodies_and_requests_that_end_early_are_not_copied() {
    let app = Origin::ok("app").await;
    let shadow = Origin::ok("shadow").await;
    let running = balancer(", body_max: 1000", &app, shadow.address).await;
    let mut client = Wire::connect(running.address()).await;
    let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
    for (request, copied) in [
        (
            format!(
                "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n{}",
                "x".repeat(1000)
            ),
            true,
        ),
        (
            format!(
                "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n{}",
                "x".repeat(1001)
            ),
            false,
        ),
        (
            format!(
                "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n"
            ),
            true,
        ),
        (
            format!(
                "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{chunk}{chunk}0\r\n\r\n"
            ),
            false,
        ),
    ] {
        let before = (
            counted(&running, "answered").await,
            counted(&running, "left_out").await,
        );
        client.send(&request).await;
        assert_eq!(within("an answer", client.response()).await.status(), 200);
        if copied {
            wait_for(&running, "answered", before.0 + 1).await;
        } else {
            wait_for(&running, "left_out", before.1 + 1).await;
        }
    }
    // A client that leaves in its body.
    let before = counted(&running, "left_out").await;
    client
        .send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhel")
        .await;
    drop(client);
    wait_for(&running, "left_out", before + 1).await;
    assert_eq!(shadow.seen().len(), 2);
}

#[tokio::test]
async fn a_part_of_the_requests_is_copied() {
    let (app, shadow) = (Origin::ok("app").await, Origin::ok("shadow").await);
    let running = balancer(", percent: 25", &app, shadow.address).await;
    let mut client = Wire::connect(running.address()).await;
    for _ in 0..400 {
        assert_eq!(client.get("/").await.status(), 200);
    }
    // Six standard deviations: the seed of the balancer is fixed, its worker's turns are not.
    eventually("a quarter has come", async || {
        (48..=152).contains(&shadow.seen().len()).then_some(())
    })
    .await;
}
