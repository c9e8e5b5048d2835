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

#[tokio::test]
async fn fail_open_leaves_out_new_and_draining_targets() {
    let (bad, health) = target("bad").await;
    health.store(500, Ordering::Relaxed);
    let hangs = Origin::raw(|mut wire| async move { drop(wire.rest().await) }).await;
    let leaves = Origin::ok("leaves").await;
    let check = "health_check: {path: /health, interval: 100, timeout: 100}";
    let all = [bad.address, hangs.address, leaves.address];
    let mut balancer = start(&fixed(&all, check, "")).await;
    balancer.wait_for("unhealthy", 1).await;
    balancer.wait_for("healthy", 1).await;
    let mut client = Wire::connect(balancer.address()).await;
    assert_eq!(client.get("/").await.text(), "leaves");
    assert!(!balancer.group().await.fail_open);

    let next = longshore_tests::balancer::config(&fixed(&all[..2], check, ""));
    balancer.balancer.reload(next).await.expect("reloaded");
    assert!(balancer.group().await.fail_open);
    for _ in 0..10 {
        assert_eq!(client.get("/").await.text(), "bad");
    }
    assert_eq!(hangs.connections(), 1, "its check and nothing else");
    assert_eq!(balancer.targets("initial").await.len(), 1);
}

#[tokio::test]
async fn a_group_with_fewer_healthy_targets_than_it_needs_is_open_and_counts_its_requests() {
    let (a, _) = target("a").await;
    let (b, health) = target("b").await;
    let admin = "admin: {address: '127.0.0.1:2'}";
    let keys = format!(
        "{CHECK}\ntarget_group_health: {{unhealthy_state_routing: {{minimum_healthy_targets_percentage: 60}}}}"
    );
    let balancer = start(&fixed(&[a.address, b.address], &keys, admin)).await;
    balancer.wait_for("healthy", 2).await;
    let mut client = Wire::connect(balancer.address()).await;
    client.get("/").await;
    health.store(500, Ordering::Relaxed);
    balancer.wait_for("unhealthy", 1).await;
    let mut texts = std::collections::BTreeSet::new();
    for _ in 0..8 {
        texts.insert(client.get("/").await.text());
    }
    assert_eq!(texts, ["a".to_owned(), "b".to_owned()].into());
    let at = balancer.balancer.admin_address().expect("admin");
    let metrics = Wire::connect(at).await.get("/metrics").await.text();
    for line in [
        "longshore_unhealthy_routing_requests_total{target_group=\"app\"} 8",
        "longshore_target_group_fail_open{target_group=\"app\"} 1",
        "longshore_targets{target_group=\"app\",state=\"healthy\"} 1",
        "longshore_targets{target_group=\"app\",state=\"unhealthy\"} 1",
        "longshore_health_checks_running 2",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line}\n{metrics}"
        );
    }
    for result in ["passed", "Target.ResponseCodeMismatch"] {
        let name =
            format!("longshore_health_checks_total{{target_group=\"app\",result=\"{result}\"}} ");
        let line = metrics
            .lines()
            .find(|line| line.starts_with(&name))
            .expect(result);
        assert_ne!(line.rsplit(' ').next(), Some("0"), "{line}");
    }
}

#[tokio::test]
async fn a_balancer_is_ready_only_while_the_groups_that_say_so_have_enough_targets() {
    let (a, health) = target("a").await;
    let (b, _) = target("b").await;
    let admin = "admin: {address: '127.0.0.1:2'}";
    let text = |more: &str| fixed(&[a.address, b.address], &format!("{CHECK}\n{more}"), admin);
    let minimum = "target_group_health: {dns_failover: {minimum_healthy_targets_count: 2}}";
    let mut balancer = start(&text(minimum)).await;
    balancer.wait_for("healthy", 2).await;
    let at = balancer.balancer.admin_address().expect("admin");
    let mut admin = Wire::connect(at).await;
    assert_eq!(admin.get("/readyz").await.status(), 200);
    health.store(500, Ordering::Relaxed);
    balancer.wait_for("unhealthy", 1).await;
    let got = admin.get("/readyz").await;
    assert_eq!(got.status(), 503);
    assert!(
        got.text()
            .contains("target group app: 1 of 2 targets are healthy"),
        "{}",
        got.text()
    );
    // Requests that come all the same are served.
    let mut client = Wire::connect(balancer.address()).await;
    assert_eq!(client.get("/").await.text(), "b");
    // Without the key it does not depend on targets.
    let without = longshore_tests::balancer::config(&text(""));
    balancer.balancer.reload(without).await.expect("reloaded");
    assert_eq!(admin.get("/readyz").await.status(), 200);
}

#[tokio::test]
async fn groups_of_a_forward_take_over_from_each_other_if_the_rule_says_so() {
    let (a, health) = target("a").await;
    let (b, _) = target("b").await;
    let group = |name: &str, origin: &Origin| {
        format!(
            "  - {{name: {name}, targets: [{{address: 127.0.0.1, port: {}}}], {CHECK}}}\n",
            origin.address.port()
        )
    };
    let text = |failover: bool| {
        format!(
            "listeners: [{{name: web, address: '127.0.0.1:1', default_action: [{{type: forward, forward: {{failover: {failover}, target_group: [{{name: a, weight: 9}}, {{name: b, weight: 1}}]}}}}]}}]\n\
             target_groups:\n{}{}",
            group("a", &a),
            group("b", &b)
        )
    };
    let mut balancer = start(&text(true)).await;
    balancer.wait_for("healthy", 1).await;
    let mut client = Wire::connect(balancer.address()).await;
    let mut texts = Vec::new();
    for _ in 0..30 {
        texts.push(client.get("/").await.text());
    }
    assert!(texts.contains(&"a".to_owned()), "{texts:?}");
    health.store(500, Ordering::Relaxed);
    balancer.wait_for("unhealthy", 1).await;
    for _ in 0..30 {
        assert_eq!(client.get("/").await.text(), "b");
    }
    // As at ALB, without it each group keeps its share.
    let next = longshore_tests::balancer::config(&text(false));
    balancer.balancer.reload(next).await.expect("reloaded");
    let mut texts = Vec::new();
    for _ in 0..30 {
        texts.push(client.get("/").await.text());
    }
    assert!(texts.contains(&"a".to_owned()), "{texts:?}");
}

#[tokio::test]
async fn a_zone_that_requests_are_moved_away_from_gets_none_and_its_balancer_is_not_ready() {
    let (a, _) = target("a").await;
    let (b, _) = target("b").await;
    let text = |away: &str, zone: &str| {
        format!(
            "admin: {{address: '127.0.0.1:2'}}\nruntime: {{zone: {zone}}}\nload_balancer: {{zonal_shift: {{away_from: [{away}]}}}}\n\
             listeners: [{{name: web, address: '127.0.0.1:1', default_action: [{{type: forward, target_group: app}}]}}]\n\
             target_groups:\n  - name: app\n    load_balancing_cross_zone_enabled: true\n    {CHECK}\n    targets:\n      - {{address: 127.0.0.1, port: {}, zone: a}}\n      - {{address: 127.0.0.1, port: {}, zone: b}}\n",
            a.address.port(),
            b.address.port()
        )
    };
    let mut balancer = start(&text("a", "b")).await;
    balancer.wait_for("healthy", 2).await;
    let mut client = Wire::connect(balancer.address()).await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.text(), "b");
    }
    let targets = balancer.targets("healthy").await;
    let shown = |zone: &str| {
        let target = targets
            .iter()
            .find(|target| target.zone.as_deref() == Some(zone));
        target.expect(zone).administrative_override
    };
    assert_eq!(
        (shown("a"), shown("b")),
        ("zonal_shift_active", "no_override")
    );
    let at = balancer.balancer.admin_address().expect("admin");
    let mut admin = Wire::connect(at).await;
    assert_eq!(admin.get("/readyz").await.status(), 200);

    for (away, zone, ready, texts) in [("", "b", 200, vec!["a", "b"]), ("b", "b", 503, vec!["a"])] {
        let next = longshore_tests::balancer::config(&text(away, zone));
        balancer.balancer.reload(next).await.expect("reloaded");
        let mut found = std::collections::BTreeSet::new();
        for _ in 0..10 {
            found.insert(client.get("/").await.text());
        }
        assert_eq!(found.into_iter().collect::<Vec<_>>(), texts);
        assert_eq!(admin.get("/readyz").await.status(), ready);
    }
    assert!(
        admin
            .get("/readyz")
            .await
            .text()
            .contains("moved away from zone b")
    );
}

#[tokio::test]
async fn without_cross_zone_an_unhealthy_zone_sends_its_requests_to_a_healthy_one() {
    let (a, health) = target("a").await;
    let (b, health_b) = target("b").await;
    let text = format!(
        "runtime: {{zone: a}}\nlisteners: [{{name: web, address: '127.0.0.1:1', default_action: [{{type: forward, target_group: app}}]}}]\n\
         target_groups:\n  - name: app\n    load_balancing_cross_zone_enabled: false\n    {CHECK}\n    targets:\n      - {{address: 127.0.0.1, port: {}, zone: a}}\n      - {{address: 127.0.0.1, port: {}, zone: b}}\n",
        a.address.port(),
        b.address.port()
    );
    let balancer = start(&text).await;
    balancer.wait_for("healthy", 2).await;
    let mut client = Wire::connect(balancer.address()).await;
    for (state, wanted) in [((200, 200), "a"), ((500, 200), "b"), ((500, 500), "a")] {
        health.store(state.0, Ordering::Relaxed);
        health_b.store(state.1, Ordering::Relaxed);
        let healthy = usize::from(state.0 == 200) + usize::from(state.1 == 200);
        balancer.wait_for("healthy", healthy).await;
        for _ in 0..6 {
            assert_eq!(client.get("/").await.text(), wanted, "{state:?}");
        }
    }
}
