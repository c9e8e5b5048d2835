//! Targets are taken out because of what requests showed, and come back on trial.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

use longshore::control::view::{EjectionView, TargetView};
use longshore_tests::balancer::{Running, fixed, start};
use longshore_tests::eventually;
use longshore_tests::origin::{Origin, read, response};
use longshore_tests::wire::Wire;

const NO_CHECK: &str = "health_check: {enabled: false}";

/// Two ticks of the clocks of workers: what is so far apart is in the same order for all of them.
const TICKS: Duration = Duration::from_millis(120);

/// An address that refuses connections: bound, but not listening, so that nobody else gets it.
fn refusing() -> (socket2::Socket, SocketAddr) {
    let socket =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("set");
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    socket.bind(&any.into()).expect("bound");
    let address = socket.local_addr().expect("bound").as_socket();
    (socket, address.expect("IPv4"))
}

async fn view(balancer: &Running, address: SocketAddr) -> TargetView {
    let group = balancer.group().await;
    let wanted = address.to_string();
    let mut targets = group.targets.into_iter();
    targets
        .find(|target| target.address == wanted)
        .expect("the target")
}

async fn ejection(balancer: &Running, address: SocketAddr) -> Option<EjectionView> {
    view(balancer, address).await.ejection
}

async fn wait_for(balancer: &Running, address: SocketAddr, state: Option<&'static str>) {
    eventually(&format!("{address} is {state:?}"), async || {
        let now = ejection(balancer, address).await.map(|view| view.state);
        (now == state).then_some(())
    })
    .await;
}

/// A target that answers with whatever status it is told; 0 closes the connection.
async fn moody() -> (Origin, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(200));
    let answer = Arc::clone(&status);
    let origin = Origin::http(move |_| match answer.load(Ordering::Relaxed) {
        0 => Vec::new(),
        status => response(status, "x"),
    });
    (origin.await, status)
}

#[tokio::test]
async fn the_first_refused_connection_takes_a_target_out_and_no_client_notices() {
    let origin = Origin::ok("served").await;
    let (_held, refused) = refusing();
    let balancer = start(&fixed(&[refused, origin.address], NO_CHECK, "")).await;
    let mut client = Wire::connect(balancer.address()).await;
    for _ in 0..2 {
        assert_eq!(client.get("/").await.text(), "served");
    }
    wait_for(&balancer, refused, Some("ejected")).await;
    let view = view(&balancer, refused).await;
    let ejection = view.ejection.expect("ejected");
    assert_eq!(
        (view.state, ejection.reason, ejection.times),
        ("healthy", "refused_connections", 1)
    );
    let until = ejection.until_seconds.expect("it ends");
    assert!((5.0..=10.0).contains(&until), "{until}");
    // On a busy machine the second request may have tried it too, before it was out.
    let before = view.requests;
    assert!((1..=2).contains(&before), "{before}");
    for _ in 0..20 {
        assert_eq!(client.get("/").await.text(), "served");
    }
    assert_eq!(self::view(&balancer, refused).await.requests, before);
}

#[tokio::test]
async fn a_target_that_listens_again_gets_a_few_requests_first_and_then_its_share() {
    let origin = Origin::ok("served").await;
    let (held, refused) = refusing();
    let group = format!("{NO_CHECK}\noutlier_detection: {{base_ejection_time: 300ms}}");
    let top = "runtime: {workers: 2}";
    let balancer = start(&fixed(&[refused, origin.address], &group, top)).await;
    let mut client = Wire::connect(balancer.address()).await;
    // It relapses as long as nobody listens, each time for longer, and no client sees any of it.
    eventually("it was taken out twice", async || {
        assert_eq!(client.get("/").await.text(), "served");
        let ejection = ejection(&balancer, refused).await;
        ejection.is_some_and(|view| view.times >= 2).then_some(())
    })
    .await;
    drop(held);
    let back = Origin::at(refused, |mut wire, seen| async move {
        while let Some(request) = read(&mut wire).await {
            seen.lock().expect("not poisoned").push(request);
            wire.send(response(200, "back")).await;
        }
    })
    .await;
    eventually("it has its share again", async || {
        assert_eq!(client.get("/").await.status(), 200);
        let out = ejection(&balancer, refused).await.is_some();
        assert!(
            !out || back.seen().len() <= 3,
            "a few requests, not its share"
        );
        (!out).then_some(())
    })
    .await;
    let before = back.seen().len();
    for _ in 0..20 {
        assert_eq!(client.get("/").await.status(), 200);
    }
    assert_eq!(back.seen().len() - before, 10);
}

#[tokio::test]
async fn resets_in_a_row_take_a_target_out_over_all_workers_and_a_success_between_them_does_not() {
    let (bad, mood) = moody().await;
    let good = Origin::ok("served").await;
    let top = "runtime: {workers: 4}";
    // More retries in the first second than the budget of a group without traffic allows.
    let group = format!("{NO_CHECK}\nretry_budget: {{min_per_second: 1000}}");
    let balancer = start(&fixed(&[bad.address, good.address], &group, top)).await;
    for round in 0..12 {
        // Four failures, and one success.
        let succeeds = round % 5 == 4;
        mood.store(if succeeds { 200 } else { 0 }, Ordering::Relaxed);
        if succeeds {
            tokio::time::sleep(TICKS).await;
        }
        let before = bad.seen().len();
        while bad.seen().len() == before {
            let mut client = Wire::connect(balancer.address()).await;
            assert_eq!(client.get("/").await.status(), 200);
        }
        if succeeds {
            tokio::time::sleep(TICKS).await;
        }
    }
    assert!(ejection(&balancer, bad.address).await.is_none());
    mood.store(0, Ordering::Relaxed);
    eventually("it is taken out", async || {
        let mut client = Wire::connect(balancer.address()).await;
        assert_eq!(client.get("/").await.status(), 200);
        let ejection = ejection(&balancer, bad.address).await?;
        (ejection.reason == "consecutive_failures").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_5xx_takes_a_target_out_only_if_that_is_wanted() {
    for (key, statuses) in [
        ("consecutive_gateway_errors: 3", [503, 502, 504]),
        ("consecutive_5xx: 3", [500, 503, 501]),
    ] {
        let (bad, mood) = moody().await;
        let good = Origin::ok("served").await;
        for wanted in [false, true] {
            let keys = if wanted { key } else { "enabled: true" };
            let group = format!("{NO_CHECK}\noutlier_detection: {{{keys}}}");
            let balancer = start(&fixed(&[bad.address, good.address], &group, "")).await;
            let mut client = Wire::connect(balancer.address()).await;
            for round in 0..24 {
                mood.store(statuses[round / 2 % 3], Ordering::Relaxed);
                client.get("/").await;
                if round == 5 && wanted {
                    wait_for(&balancer, bad.address, Some("ejected")).await;
                }
            }
            let given = view(&balancer, bad.address).await.requests;
            assert_eq!(given, if wanted { 3 } else { 12 }, "{keys}");
        }
    }
}

#[tokio::test]
async fn half_of_the_targets_may_be_out_and_the_others_stay_though_they_refuse() {
    let mut held = Vec::new();
    let mut addresses = Vec::new();
    for _ in 0..4 {
        let (socket, address) = refusing();
        held.push(socket);
        addresses.push(address);
    }
    let balancer = start(&fixed(&addresses, NO_CHECK, "")).await;
    let mut client = Wire::connect(balancer.address()).await;
    for _ in 0..8 {
        let got = client.get("/").await;
        assert_eq!((got.status(), got.reason()), (502, Some("connect_failed")));
    }
    let out = balancer.group().await.targets;
    let out = out.iter().filter(|target| target.ejection.is_some());
    assert_eq!(out.count(), 2);
}

#[tokio::test]
async fn the_targets_of_the_only_zone_stay_though_all_are_taken_out_and_another_zone_is_well() {
    let (one, mood) = moody().await;
    let (two, also) = moody().await;
    let away = [Origin::ok("away").await, Origin::ok("away").await];
    let target = |origin: &Origin, zone: &str| {
        let port = origin.address.port();
        format!("{{address: 127.0.0.1, port: {port}, zone: {zone}}}")
    };
    let text = format!(
        "load_balancer: {{zonal_shift: {{away_from: [b]}}}}\n\
         listeners: [{{name: web, address: '127.0.0.1:1', default_action: [{{type: forward, target_group: app}}]}}]\n\
         target_groups:\n  - name: app\n    load_balancing_cross_zone_enabled: true\n    {NO_CHECK}\n    \
         outlier_detection: {{consecutive_5xx: 1}}\n    targets: [{}, {}, {}, {}]\n",
        target(&one, "a"),
        target(&two, "a"),
        target(&away[0], "b"),
        target(&away[1], "b")
    );
    let balancer = start(&text).await;
    let mut client = Wire::connect(balancer.address()).await;
    for mood in [&mood, &also] {
        mood.store(500, Ordering::Relaxed);
    }
    for address in [one.address, two.address] {
        eventually("both are out", async || {
            client.get("/").await;
            let out = ejection(&balancer, address).await;
            out.is_some_and(|view| view.state == "ejected")
                .then_some(())
        })
        .await;
    }
    for mood in [&mood, &also] {
        mood.store(200, Ordering::Relaxed);
    }
    for _ in 0..10 {
        assert_eq!(client.get("/").await.status(), 200);
    }
    for address in [one.address, two.address] {
        let still = ejection(&balancer, address).await.expect("it is out");
        assert_eq!(still.state, "ejected", "the answers came from such a one");
    }
}

#[tokio::test]
async fn a_check_that_passes_ends_an_ejection_early() {
    let origin = Origin::ok("served").await;
    let (held, refused) = refusing();
    let listener = std::net::TcpListener::from({
        held.listen(16).expect("listening");
        held
    });
    listener.set_nonblocking(true).expect("set");
    let answers = Arc::new(AtomicUsize::new(0));
    let serve = |listener: std::net::TcpListener, answers: Arc<AtomicUsize>| {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answers = Arc::clone(&answers);
                tokio::spawn(async move {
                    let mut wire = Wire::from(stream);
                    while read(&mut wire).await.is_some() {
                        answers.fetch_add(1, Ordering::Relaxed);
                        wire.send(response(200, "back")).await;
                    }
                });
            }
        })
    };
    let task = serve(listener, Arc::clone(&answers));
    let group = "health_check: {interval: 1s, timeout: 1s, unhealthy_threshold: 10}\n\
                 outlier_detection: {base_ejection_time: 1h, max_ejection_time: 1h}";
    let balancer = start(&fixed(&[refused, origin.address], group, "")).await;
    balancer.wait_for("healthy", 2).await;
    // It stops listening, and its connections end.
    task.abort();
    eventually("it is taken out", async || {
        let mut client = Wire::connect(balancer.address()).await;
        assert_eq!(client.get("/").await.status(), 200);
        ejection(&balancer, refused).await
    })
    .await;
    let socket =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("set");
    socket.set_nonblocking(true).expect("set");
    socket.bind(&refused.into()).expect("bound");
    socket.listen(16).expect("listening");
    let _task = serve(socket.into(), answers);
    let mut client = Wire::connect(balancer.address()).await;
    eventually("it is back, long before the hour is over", async || {
        assert_eq!(client.get("/").await.status(), 200);
        ejection(&balancer, refused).await.is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn one_slow_check_does_not_cut_a_target_that_answers_requests_and_the_second_does() {
    let slow = Arc::new(AtomicUsize::new(0));
    let origin = {
        let slow = Arc::clone(&slow);
        Origin::at(([127, 0, 0, 1], 0).into(), move |mut wire, seen| {
            let slow = Arc::clone(&slow);
            async move {
                while let Some(request) = read(&mut wire).await {
                    let check = request.head.get("user-agent") == Some("ELB-HealthChecker/2.0");
                    seen.lock().expect("not poisoned").push(request);
                    let left = slow.load(Ordering::Relaxed);
                    if check && left > 0 {
                        slow.store(left - 1, Ordering::Relaxed);
                        // Longer than the test takes.
                        tokio::time::sleep(Duration::from_secs(60)).await;
                    }
                    wire.send(response(200, "ok")).await;
                }
            }
        })
        .await
    };
    let other = Origin::ok("other").await;
    let group = "health_check: {interval: 1s, timeout: 900ms, unhealthy_threshold: 1}";
    let balancer = start(&fixed(&[origin.address, other.address], group, "")).await;
    balancer.wait_for("healthy", 2).await;
    let mut client = Wire::connect(balancer.address()).await;
    let mut state = async || {
        assert_eq!(client.get("/").await.status(), 200);
        view(&balancer, origin.address).await.state
    };
    slow.store(1, Ordering::Relaxed);
    eventually("the slow check has begun", async || {
        assert_eq!(state().await, "healthy");
        (slow.load(Ordering::Relaxed) == 0).then_some(())
    })
    .await;
    // Until the next check has passed.
    let checks = origin.connections();
    eventually("the next check", async || {
        assert_eq!(state().await, "healthy");
        (origin.connections() > checks).then_some(())
    })
    .await;
    slow.store(2, Ordering::Relaxed);
    eventually("two in a row cut it", async || {
        (state().await == "unhealthy").then_some(())
    })
    .await;
}
