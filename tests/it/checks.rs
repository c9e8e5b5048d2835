//! Health checks: what is asked in each protocol, what each answer means, and that no target, however
//! it behaves, holds a check up for longer than its time limit.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longshore_tests::balancer::{Running, config, fixed, start};
use longshore_tests::checked::{Asked, Http2, Reply};
use longshore_tests::eventually;
use longshore_tests::grpc::GrpcServer;
use longshore_tests::origin::{Origin, read, response};
use longshore_tests::secure;
use longshore_tests::wire::Wire;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A message of `grpc.health.v1` that says so.
const SERVING: [u8; 7] = [0, 0, 0, 0, 2, 8, 1];
const NOT_SERVING: [u8; 7] = [0, 0, 0, 0, 2, 8, 2];

async fn checked(origin: std::net::SocketAddr, keys: &str) -> Running {
    let check = format!("health_check: {{interval: 1, timeout: 1, {keys}}}");
    start(&fixed(&[origin], &check, "")).await
}

/// The state of the only target, its reason and description, once it has a verdict.
async fn verdict(balancer: &Running) -> (&'static str, Option<&'static str>, String) {
    eventually("a verdict", async || {
        let target = balancer.group().await.targets.remove(0);
        let text = target.description.unwrap_or_default();
        (target.state != "initial").then_some((target.state, target.reason, text))
    })
    .await
}

/// What a target does with its n-th connection decides the verdict and its reason.
async fn fails(origin: &Origin, keys: &str, reason: &str, description: &str) {
    let balancer = checked(origin.address, keys).await;
    let found = verdict(&balancer).await;
    assert_eq!(
        (found.0, found.1),
        ("unhealthy", Some(reason)),
        "{keys}: {}",
        found.2
    );
    assert!(
        found.2.contains(description),
        "{:?} {description:?}",
        found.2
    );
}

#[tokio::test]
async fn a_status_passes_by_the_matcher_also_one_of_5xx() {
    let origin = Origin::http(|_| response(503, "")).await;
    fails(
        &origin,
        "path: /",
        "Target.ResponseCodeMismatch",
        "Health checks failed with these codes: [503]",
    )
    .await;
    let balancer = checked(origin.address, "matcher: '200,500-503'").await;
    assert_eq!(verdict(&balancer).await.0, "healthy");
}

#[tokio::test]
async fn a_redirect_is_a_status_like_others_and_is_not_followed() {
    let origin = Origin::http(|request| {
        if request.head.line.starts_with("GET / ") {
            b"HTTP/1.1 302 Found\r\nlocation: /there\r\ncontent-length: 0\r\n\r\n".to_vec()
        } else {
            response(200, "")
        }
    })
    .await;
    fails(&origin, "path: /", "Target.ResponseCodeMismatch", "[302]").await;
}

#[tokio::test]
async fn a_check_is_sent_as_the_file_says() {
    let (tell, mut told) = tokio::sync::mpsc::channel(100);
    let origin = Origin::at(([127, 0, 0, 1], 0).into(), move |mut wire, _| {
        let tell = tell.clone();
        async move {
            if let Some(request) = read(&mut wire).await {
                wire.send(response(200, "ok")).await;
                tell.send(request).await.unwrap_or_default();
            }
        }
    })
    .await;
    let keys = "method: POST, path: '/deep?all=1', headers: {Host: app.internal, X-Probe: '1', User-Agent: probe}";
    let balancer = checked(origin.address, keys).await;
    assert_eq!(verdict(&balancer).await.0, "healthy");
    let request = told.recv().await.expect("a check");
    assert_eq!(request.head.line, "POST /deep?all=1 HTTP/1.1");
    for (name, value) in [
        ("host", "app.internal"),
        ("x-probe", "1"),
        ("user-agent", "probe"),
        ("connection", "close"),
        ("content-length", "0"),
    ] {
        assert_eq!(request.head.get(name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn another_port_and_another_protocol_than_those_of_the_traffic_can_be_checked() {
    let traffic = Origin::ok("traffic").await;
    let tls = secure::acceptor(&[b"http/1.1"]);
    let health = Origin::raw(move |wire| {
        let tls = tls.clone();
        async move {
            let Ok(mut stream) = tls.accept(wire.stream).await else {
                return;
            };
            let mut head = [0; 1024];
            if stream.read(&mut head).await.is_ok() {
                stream
                    .write_all(&response(200, "ok"))
                    .await
                    .unwrap_or_default();
                stream.shutdown().await.unwrap_or_default();
            }
        }
    })
    .await;
    let keys = format!(
        "protocol: HTTPS, port: {}, body: {{contains: ok}}",
        health.address.port()
    );
    let balancer = checked(traffic.address, &keys).await;
    assert_eq!(verdict(&balancer).await, ("healthy", None, String::new()));
    let mut client = Wire::connect(balancer.address()).await;
    assert_eq!(client.get("/").await.text(), "traffic");
}

#[tokio::test]
async fn an_https_check_takes_any_certificate_and_nothing_that_is_not_tls() {
    let plain = Origin::raw(|mut wire| async move {
        wire.send(response(400, "")).await;
        drop(wire.rest().await);
    })
    .await;
    fails(
        &plain,
        "protocol: HTTPS",
        "Target.FailedHealthChecks",
        "Health checks failed: ",
    )
    .await;
    // A server that begins no handshake is late, not wrong.
    let silent = Origin::raw(|mut wire| async move { drop(wire.rest().await) }).await;
    fails(
        &silent,
        "protocol: HTTPS",
        "Target.Timeout",
        "Request timed out",
    )
    .await;
}

#[tokio::test]
async fn a_tcp_check_only_connects() {
    let origin = Origin::raw(|mut wire| async move { drop(wire.rest().await) }).await;
    let balancer = checked(origin.address, "protocol: TCP").await;
    assert_eq!(verdict(&balancer).await.0, "healthy");
    let address = origin.address;
    drop(origin);
    eventually("the target is unhealthy", async || {
        let targets = balancer.targets("unhealthy").await;
        let target = targets.first()?;
        assert_eq!(target.address, address.to_string());
        assert_eq!(target.reason, Some("Target.FailedHealthChecks"));
        target
            .description
            .clone()?
            .contains("refused")
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_body_must_hold_what_the_file_says_within_its_first_64_kib() {
    let body = format!("{{\"status\":\"up\"}}{}late", "x".repeat(64 * 1024));
    let origin = Origin::http(move |_| response(200, &body)).await;
    for keys in [
        "body: {contains: '\"up\"'}",
        "body: {regex: '^.\"status\":\"(up|warn)'}",
    ] {
        let balancer = checked(origin.address, keys).await;
        assert_eq!(verdict(&balancer).await.0, "healthy", "{keys}");
    }
    for keys in ["body: {contains: late}", "body: {regex: 'down$'}"] {
        fails(
            &origin,
            keys,
            "Target.FailedHealthChecks",
            "the body does not hold",
        )
        .await;
    }
}

#[tokio::test]
async fn half_a_response_is_a_failure_and_never_a_pass() {
    for half in [
        "HTTP/1.1 200 OK\r\ncontent-le",
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n123",
        "nonsense\r\n\r\n",
        "",
    ] {
        let origin = Origin::raw(move |mut wire| async move {
            wire.head().await.map(drop).unwrap_or_default();
            wire.send(half).await;
        })
        .await;
        fails(
            &origin,
            "path: /",
            "Target.FailedHealthChecks",
            "Health checks failed: ",
        )
        .await;
    }
}

#[tokio::test]
async fn a_slow_head_or_a_trickling_body_times_out_however_many_bytes_come() {
    for head in [
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n",
    ] {
        let origin = Origin::raw(move |mut wire| async move {
            wire.head().await.map(drop).unwrap_or_default();
            let mut next = head.to_owned();
            loop {
                if wire.stream.write_all(next.as_bytes()).await.is_err() {
                    return;
                }
                next = if head.is_empty() {
                    String::new()
                } else {
                    "x".to_owned()
                };
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
        fails(&origin, "path: /", "Target.Timeout", "Request timed out").await;
    }
}

#[tokio::test]
async fn a_body_without_an_end_is_read_no_further_than_it_is_looked_at() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let origin = Origin::raw(move |mut wire| {
        let count = Arc::clone(&count);
        async move {
            wire.head().await.map(drop).unwrap_or_default();
            wire.send("HTTP/1.1 200 OK\r\n\r\n").await;
            let block = vec![b'x'; 16 * 1024];
            while wire.stream.write_all(&block).await.is_ok() {
                count.fetch_add(block.len(), Ordering::Relaxed);
            }
        }
    })
    .await;
    let keys = "interval: 300".to_owned();
    let check = format!("health_check: {{timeout: 5, {keys}}}");
    let balancer = start(&fixed(&[origin.address], &check, "")).await;
    assert_eq!(verdict(&balancer).await.0, "healthy");
    eventually("the connection of the check ends", async || {
        (origin.open() == 0).then_some(())
    })
    .await;
    // What sockets hold between them, and what was looked at.
    assert!(sent.load(Ordering::Relaxed) < 16 << 20, "{sent:?}");
}

#[tokio::test]
async fn an_http2_check_passes_in_the_clear_and_over_tls() {
    for tls in [None, Some(secure::acceptor(&[b"h2"]))] {
        let protocol = if tls.is_some() { "HTTPS" } else { "HTTP" };
        let origin = Http2::start(tls, |_| Reply::default()).await;
        let keys = format!(
            "protocol: {protocol}, protocol_version: HTTP2, path: /health, headers: {{X-Probe: '1'}}"
        );
        let balancer = checked(origin.address, &keys).await;
        assert_eq!(
            verdict(&balancer).await,
            ("healthy", None, String::new()),
            "{protocol}"
        );
        let asked = origin.asked().remove(0);
        let scheme = protocol.to_lowercase();
        assert_eq!(
            asked.line,
            format!("GET {scheme}://{}/health", origin.address)
        );
        assert_eq!(asked.fields["x-probe"], "1");
        assert_eq!(asked.fields["user-agent"], "ELB-HealthChecker/2.0");
        assert!(!asked.fields.contains_key("connection"));
    }
    let h1 = Origin::ok("ok").await;
    fails(
        &h1,
        "protocol_version: HTTP2",
        "Target.FailedHealthChecks",
        "Health checks failed: ",
    )
    .await;
}

#[tokio::test]
async fn a_grpc_check_is_albs_and_passes_by_the_code_alone() {
    // What a server answers for a method that it does not have.
    let origin = Http2::start(None, |_| Reply::grpc("12", &[])).await;
    let balancer = checked(origin.address, "protocol_version: GRPC").await;
    assert_eq!(verdict(&balancer).await.0, "healthy");
    let asked = origin.asked().remove(0);
    assert_eq!(
        asked.line,
        format!("POST http://{}/AWS.ALB/healthcheck", origin.address)
    );
    assert_eq!(asked.fields["content-type"], "application/grpc");
    assert_eq!(asked.fields["te"], "trailers");
    assert_eq!(&*asked.body, [0; 5]);

    let balancer = checked(
        origin.address,
        "protocol_version: GRPC, matcher: '0-11,13-99'",
    )
    .await;
    let found = verdict(&balancer).await;
    assert_eq!(found.1, Some("Target.ResponseCodeMismatch"));
    assert!(found.2.ends_with("these codes: [12]"), "{}", found.2);
}

#[tokio::test]
async fn what_is_no_grpc_never_passes_whatever_its_status() {
    // A 404 in HTML stands for UNIMPLEMENTED elsewhere, which is the code that passes by default.
    let page = |status: u16| {
        move |_: &Asked| {
            let mut reply = Reply::default();
            *reply.head.status_mut() = status.try_into().expect("a status");
            reply.body = "<html>".into();
            reply
        }
    };
    for (reply, description) in [
        (
            Box::new(page(404)) as Box<dyn Fn(&Asked) -> Reply + Send + Sync>,
            "status 404",
        ),
        (Box::new(page(200)), "content type none"),
        (
            Box::new(|_: &Asked| Reply::grpc("many", &[])),
            "no grpc-status",
        ),
        (
            Box::new(|_: &Asked| Reply::grpc("0", &[0; 5000])),
            "more than 4096 bytes",
        ),
    ] {
        let origin = Http2::start(None, reply).await;
        let balancer = checked(origin.address, "protocol_version: GRPC, matcher: '0-99'").await;
        let found = verdict(&balancer).await;
        assert_eq!(found.1, Some("Target.FailedHealthChecks"), "{}", found.2);
        assert!(found.2.contains(description), "{} {description}", found.2);
    }
}

#[tokio::test]
async fn a_grpc_service_is_healthy_only_while_it_says_that_it_serves() {
    let says = Arc::new(Mutex::new(Reply::grpc("0", &SERVING)));
    let told = Arc::clone(&says);
    let origin = Http2::start(Some(secure::acceptor(&[b"h2"])), move |_| {
        told.lock().expect("not poisoned").clone()
    })
    .await;
    let keys = "protocol: HTTPS, protocol_version: GRPC, grpc_service: shop.Cart, healthy_threshold: 1, unhealthy_threshold: 1";
    let balancer = checked(origin.address, keys).await;
    assert_eq!(verdict(&balancer).await.0, "healthy");
    let asked = origin.asked().remove(0);
    assert!(
        asked.line.ends_with("/grpc.health.v1.Health/Check"),
        "{}",
        asked.line
    );
    assert_eq!(&asked.body[..], b"\0\0\0\0\x0b\x0a\x09shop.Cart");

    for (reply, reason) in [
        (Reply::grpc("0", &NOT_SERVING), "Target.FailedHealthChecks"),
        (Reply::grpc("5", &[]), "Target.ResponseCodeMismatch"),
        (Reply::grpc("0", &[]), "Target.FailedHealthChecks"),
    ] {
        *says.lock().expect("not poisoned") = reply;
        eventually(reason, async || {
            let targets = balancer.targets("unhealthy").await;
            (targets.first()?.reason == Some(reason)).then_some(())
        })
        .await;
        *says.lock().expect("not poisoned") = Reply::grpc("0", &SERVING);
        balancer.wait_for("healthy", 1).await;
    }
}

#[tokio::test]
async fn groups_with_the_same_target_and_check_share_it_whatever_the_number_of_workers() {
    let counts: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
    let counted = Arc::clone(&counts);
    let origin = Origin::http(move |request| {
        let mut counts = counted.lock().expect("not poisoned");
        *counts.entry(request.head.line.clone()).or_default() += 1;
        response(200, "")
    })
    .await;
    let port = origin.address.port();
    let group = |name: &str, path: &str| {
        format!(
            "  - {{name: {name}, targets: [{{address: 127.0.0.1, port: {port}}}], health_check: {{path: {path}, interval: 300}}}}\n"
        )
    };
    let text = format!(
        "runtime: {{workers: 4}}\nlisteners:\n  - {{name: a, address: '127.0.0.1:1', default_action: [{{type: forward, target_group: one}}]}}\n  \
         - {{name: b, address: '127.0.0.1:2', default_action: [{{type: forward, target_group: two}}]}}\ntarget_groups:\n{}{}{}",
        group("one", "/same"),
        group("two", "/same"),
        group("three", "/other"),
    );
    let balancer = start(&text).await;
    eventually("all are healthy", async || {
        let view = balancer.balancer.targets().await.expect("alive");
        let mut groups = view.target_groups.iter();
        groups
            .all(|group| group.targets[0].verdict == Some("healthy"))
            .then_some(())
    })
    .await;
    let counts = counts.lock().expect("not poisoned").clone();
    let shared = counts["GET /same HTTP/1.1"];
    // The second group asked for one more at once, so as not to wait for the interval.
    assert!(shared <= 2, "{counts:?}");
    assert_eq!(counts["GET /other HTTP/1.1"], 1, "{counts:?}");
}

#[tokio::test]
async fn a_changed_check_keeps_the_verdict_until_it_says_otherwise() {
    let origin = Origin::http(|request| {
        let fails = request.head.line.contains("/fails");
        response(if fails { 500 } else { 200 }, "")
    })
    .await;
    let text = |path: &str| {
        let check = format!(
            "health_check: {{path: {path}, interval: 1, timeout: 1, unhealthy_threshold: 2}}"
        );
        fixed(&[origin.address], &check, "")
    };
    let mut balancer = start(&text("/passes")).await;
    balancer.wait_for("healthy", 1).await;
    balancer
        .balancer
        .reload(config(&text("/fails")))
        .await
        .expect("reloaded");
    assert_eq!(
        balancer.targets("healthy").await.len(),
        1,
        "the verdict stays"
    );
    balancer.wait_for("unhealthy", 1).await;
    balancer
        .balancer
        .reload(config(&text("/passes")))
        .await
        .expect("reloaded");
    assert_eq!(
        balancer.targets("unhealthy").await.len(),
        1,
        "the verdict stays"
    );
}

#[tokio::test]
async fn checks_of_targets_that_came_together_are_spread_over_the_interval() {
    let times: Arc<Mutex<Vec<std::time::Instant>>> = Arc::default();
    let noted = Arc::clone(&times);
    let origin = Origin::at(([0, 0, 0, 0], 0).into(), move |mut wire, _| {
        let noted = Arc::clone(&noted);
        async move {
            if read(&mut wire).await.is_some() {
                noted
                    .lock()
                    .expect("not poisoned")
                    .push(std::time::Instant::now());
                wire.send(response(200, "")).await;
            }
        }
    })
    .await;
    let targets: Vec<std::net::SocketAddr> = (1..=40)
        .map(|host| ([127, 0, 1, host], origin.address.port()).into())
        .collect();
    let check = "health_check: {interval: 2, timeout: 2}";
    let balancer = start(&fixed(&targets, check, "")).await;
    balancer.wait_for("healthy", 40).await;
    eventually("two checks of each", async || {
        (times.lock().expect("not poisoned").len() >= 80).then_some(())
    })
    .await;
    let times = times.lock().expect("not poisoned").clone();
    let second = &times[40..80];
    let spread = second[39] - second[0];
    // Drawn from 0.2 s to 2 s: that 40 of them lie within half a second has no chance.
    assert!(spread > Duration::from_millis(500), "{spread:?}");
}

#[tokio::test]
async fn a_real_grpc_server_is_healthy_as_its_service_says() {
    let Some(mut server) = GrpcServer::start() else {
        return;
    };
    server.set("shop.Cart", "SERVING");
    let thresholds = "healthy_threshold: 1, unhealthy_threshold: 1";
    let keys = format!("protocol_version: GRPC, grpc_service: shop.Cart, {thresholds}");
    let balancer = checked(server.address, &keys).await;
    // A server that has just started may be too late for its first check.
    balancer.wait_for("healthy", 1).await;
    assert_eq!(verdict(&balancer).await, ("healthy", None, String::new()));
    server.set("shop.Cart", "NOT_SERVING");
    balancer.wait_for("unhealthy", 1).await;
    assert_eq!(
        verdict(&balancer).await.1,
        Some("Target.FailedHealthChecks")
    );
    server.set("shop.Cart", "SERVING");
    balancer.wait_for("healthy", 1).await;

    // The server as a whole, and a service that it does not know: NOT_FOUND.
    let balancer = checked(
        server.address,
        "protocol_version: GRPC, path: /grpc.health.v1.Health/Check",
    )
    .await;
    balancer.wait_for("healthy", 1).await;
    let balancer = checked(
        server.address,
        "protocol_version: GRPC, grpc_service: other",
    )
    .await;
    let found = verdict(&balancer).await;
    assert_eq!(found.1, Some("Target.ResponseCodeMismatch"));
    assert!(found.2.ends_with("these codes: [5]"), "{}", found.2);
    // ALB's own path is a method that it does not have: UNIMPLEMENTED passes.
    let balancer = checked(server.address, "protocol_version: GRPC").await;
    balancer.wait_for("healthy", 1).await;
}
