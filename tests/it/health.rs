//! Who gets requests, by health.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use longshore_tests::balancer::{fixed, start};
use longshore_tests::origin::{Origin, Seen, response};
use longshore_tests::wire::Wire;

/// A target whose health check answers what the test sets.
async fn target(name: &'static str) -> (Origin, Arc<AtomicU16>) {
    let health = Arc::new(AtomicU16::new(200));
    let told = Arc::clone(&health);
    let origin = Origin::http(move |request: &Seen| {
        if request.head.line.starts_with("GET /health ") {
            response(told.load(Ordering::Relaxed), "")
        } else {
            response(200, name)
        }
    })
    .await;
    (origin, health)
}

const CHECK: &str = "health_check: {path: /health, interval: 1, timeout: 1, healthy_threshold: 2, unhealthy_threshold: 2}";

#[tokio::test]
async fn an_unhealthy_target_leaves_and_a_recovered_one_returns() {
    let (a, health) = target("a").await;
    let (b, _) = target("b").await;
    let balancer = start(&fixed(&[a.address, b.address], CHECK, "")).await;
    balancer.wait_for("healthy", 2).await;

    health.store(503, Ordering::Relaxed);
    balancer.wait_for("unhealthy", 1).await;
    let unhealthy = &balancer.targets("unhealthy").await[0];
    assert_eq!(unhealthy.address, a.address.to_string());
    assert_eq!(unhealthy.reason, Some("Target.ResponseCodeMismatch"));
    let mut client = Wire::connect(balancer.address()).await;
    for _ in 0..20 {
        assert_eq!(client.get("/").await.text(), "b");
    }

    health.store(200, Ordering::Relaxed);
    balancer.wait_for("healthy", 2).await;
    let mut texts = Vec::new();
    for _ in 0..4 {
        texts.push(client.get("/").await.text());
    }
    assert!(texts.contains(&"a".to_owned()), "{texts:?}");
}

#[tokio::test]
async fn when_all_targets_are_unhealthy_all_get_requests() {
    let (a, health_a) = target("a").await;
    let (b, health_b) = target("b").await;
    health_a.store(500, Ordering::Relaxed);
    health_b.store(500, Ordering::Relaxed);
    let balancer = start(&fixed(
        &[a.address, b.address],
        CHECK,
        "runtime: {workers: 1}",
    ))
    .await;
    balancer.wait_for("unhealthy", 2).await;
    assert!(balancer.group().await.fail_open);
    let mut client = Wire::connect(balancer.address()).await;
    let mut texts = Vec::new();
    for _ in 0..4 {
        texts.push(client.get("/").await.text());
    }
    texts.sort();
    assert_eq!(texts, ["a", "a", "b", "b"]);
}

#[tokio::test]
async fn a_check_is_albs_request() {
    let (a, _) = target("a").await;
    let balancer = start(&fixed(&[a.address], CHECK, "")).await;
    balancer.wait_for("healthy", 1).await;
    // `seen` leaves out health checks, so this target notes them itself.
    let (tell, mut told) = tokio::sync::mpsc::channel(10);
    let origin = Origin::at(([127, 0, 0, 1], 0).into(), move |mut wire, _| {
        let tell = tell.clone();
        async move {
            if let Some(request) = longshore_tests::origin::read(&mut wire).await {
                wire.send(response(200, "")).await;
                tell.send(request.head).await.unwrap_or_default();
            }
        }
    })
    .await;
    let balancer = start(&fixed(&[origin.address], CHECK, "")).await;
    let head = longshore_tests::within("a check", told.recv())
        .await
        .expect("a check");
    assert_eq!(head.line, "GET /health HTTP/1.1");
    assert_eq!(head.get("user-agent"), Some("ELB-HealthChecker/2.0"));
    assert_eq!(head.get("host"), Some(origin.address.to_string().as_str()));
    assert_eq!(head.get("connection"), Some("close"));
    balancer.wait_for("healthy", 1).await;
}

#[tokio::test]
async fn a_target_that_accepts_and_never_answers_its_check_times_out() {
    let origin = Origin::raw(|mut wire| async move {
        wire.rest().await;
    })
    .await;
    let balancer = start(&fixed(&[origin.address], CHECK, "")).await;
    balancer.wait_for("unhealthy", 1).await;
    assert_eq!(
        balancer.targets("unhealthy").await[0].reason,
        Some("Target.Timeout")
    );
}

#[tokio::test]
async fn a_group_without_targets_is_503_and_says_so() {
    let balancer = start(&fixed(&[], "", "")).await;
    let mut client = Wire::connect(balancer.address()).await;
    let got = client.get("/").await;
    assert_eq!((got.status(), got.reason()), (503, Some("no_targets")));
}

#[tokio::test]
async fn a_target_that_was_never_checked_gets_no_requests() {
    let origin = Origin::raw(|mut wire| async move {
        wire.rest().await;
    })
    .await;
    let check = "health_check: {path: /health, interval: 300, timeout: 120}";
    let balancer = start(&fixed(&[origin.address], check, "")).await;
    let mut client = Wire::connect(balancer.address()).await;
    let got = client.get("/").await;
    assert_eq!(
        (got.status(), got.reason()),
        (503, Some("no_checked_target"))
    );
    assert_eq!(
        balancer.targets("initial").await[0].reason,
        Some("Elb.InitialHealthChecking")
    );
}
