//! How load is spread over targets: each algorithm over real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use longshore_tests::balancer::{self, Running};
use longshore_tests::origin::{Origin, response};
use longshore_tests::wire::Wire;
use longshore_tests::{eventually, within};

const OFF: &str = "health_check: {enabled: false}";

async fn origins(count: usize) -> Vec<Origin> {
    let mut origins = Vec::new();
    for number in 0..count {
        origins.push(Origin::ok(&number.to_string()).await);
    }
    origins
}

fn addresses(origins: &[Origin]) -> Vec<SocketAddr> {
    origins.iter().map(|origin| origin.address).collect()
}

fn counts(origins: &[Origin]) -> Vec<usize> {
    origins.iter().map(|origin| origin.seen().len()).collect()
}

/// One request on a connection that stays open, and the status of its answer.
async fn ask(wire: &mut Wire, head: &str) -> u16 {
    wire.send(head.as_bytes()).await;
    let head = within("a response", wire.head()).await.expect("a head");
    let status = head.status();
    within("its body", wire.body(&head, false))
        .await
        .expect("a body");
    status
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// One request each on so many connections, one after the other.
async fn one_each(balancer: &Running, connections: usize) {
    for _ in 0..connections {
        let mut wire = Wire::connect(balancer.address()).await;
        assert_eq!(ask(&mut wire, GET).await, 200);
    }
}

#[tokio::test]
async fn a_few_requests_over_eight_workers_are_spread_exactly() {
    let origins = origins(3).await;
    let text = balancer::fixed(&addresses(&origins), OFF, "runtime: {workers: 8}");
    let balancer = balancer::start(&text).await;
    one_each(&balancer, 24).await;
    assert_eq!(counts(&origins), [8, 8, 8]);
}

#[tokio::test]
async fn targets_get_requests_by_their_weight_and_none_with_weight_0() {
    let origins = origins(3).await;
    let mut text = balancer::fixed(&addresses(&origins), OFF, "runtime: {workers: 2}");
    for (origin, weight) in origins.iter().zip([5, 0, 2]) {
        let port = format!("port: {}", origin.address.port());
        text = text.replace(&port, &format!("{port}, weight: {weight}"));
    }
    let balancer = balancer::start(&text).await;
    // So few that no worker takes positions in blocks, even if one of them serves all.
    one_each(&balancer, 28).await;
    assert_eq!(counts(&origins), [20, 0, 8]);
}

#[tokio::test]
async fn a_value_always_reaches_the_same_target_until_that_one_fails() {
    for (policy, head) in [
        (
            "{type: header, name: X-User}",
            "GET / HTTP/1.1\r\nHost: a\r\nx-user: USER\r\n\r\n",
        ),
        (
            "{type: cookie, name: id}",
            "GET / HTTP/1.1\r\nHost: a\r\nCookie: a=b; id=USER\r\n\r\n",
        ),
        ("{type: path}", "GET /USER?q=1 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ] {
        let origins = origins(4).await;
        let group =
            format!("{OFF}\nload_balancing_algorithm_type: consistent_hash\nhash_policy: {policy}");
        let text = balancer::fixed(&addresses(&origins), &group, "runtime: {workers: 4}");
        let balancer = balancer::start(&text).await;
        let mut sent = 0;
        for user in 0..40 {
            let before = counts(&origins);
            for _ in 0..3 {
                let mut wire = Wire::connect(balancer.address()).await;
                let head = head.replace("USER", &user.to_string());
                assert_eq!(ask(&mut wire, &head).await, 200);
                sent += 1;
            }
            let after = counts(&origins);
            let grown: Vec<usize> = after.iter().zip(&before).map(|(a, b)| a - b).collect();
            assert!(grown.contains(&3), "{policy}: {grown:?} for one value");
        }
        let all = counts(&origins);
        assert_eq!(all.iter().sum::<usize>(), sent);
        assert!(all.iter().all(|count| *count >= 3), "{policy}: {all:?}");
    }
}

#[tokio::test]
async fn all_requests_of_one_address_reach_one_target_and_another_when_it_is_gone() {
    let mut origins = origins(3).await;
    let group = format!(
        "{OFF}\nload_balancing_algorithm_type: consistent_hash\nhash_policy: {{type: source_address}}"
    );
    let text = balancer::fixed(&addresses(&origins), &group, "runtime: {workers: 4}");
    let balancer = balancer::start(&text).await;
    one_each(&balancer, 20).await;
    let found = counts(&origins);
    let chosen = found.iter().position(|count| *count == 20);
    let chosen = chosen.unwrap_or_else(|| panic!("one target for all: {found:?}"));
    drop(origins.remove(chosen));
    one_each(&balancer, 20).await;
    let found = counts(&origins);
    assert!(found.contains(&20), "one next target for all: {found:?}");
}

#[tokio::test]
async fn a_zone_of_its_own_is_preferred_and_its_failure_spills_over() {
    let origins = origins(4).await;
    for (mode, wanted) in [
        ("use_load_balancer_configuration", [10, 10, 0, 0]),
        ("false", [10, 10, 0, 0]),
        ("true", [5, 5, 5, 5]),
    ] {
        let group = format!("{OFF}\nload_balancing_cross_zone_enabled: {mode}");
        let top = "runtime: {workers: 2, zone: a}";
        let mut text = balancer::fixed(&addresses(&origins), &group, top);
        for (origin, zone) in origins.iter().zip(["a", "a", "b", "b"]) {
            let port = format!("port: {}", origin.address.port());
            text = text.replace(&port, &format!("{port}, zone: {zone}"));
        }
        let balancer = balancer::start(&text).await;
        let before = counts(&origins);
        one_each(&balancer, 20).await;
        let after = counts(&origins);
        let grown: Vec<usize> = after.iter().zip(&before).map(|(a, b)| a - b).collect();
        assert_eq!(grown, wanted, "{mode}");
    }
    // Nobody listens at the one of the own zone.
    let near = {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        closed.local_addr().expect("bound")
    };
    let alive = Origin::ok("far").await;
    let far = alive.address;
    let group = format!("{OFF}\nload_balancing_cross_zone_enabled: false");
    let mut text = balancer::fixed(&[near, far], &group, "runtime: {zone: a}");
    for (address, zone) in [(near, "a"), (far, "b")] {
        let port = format!("port: {}", address.port());
        text = text.replace(&port, &format!("{port}, zone: {zone}"));
    }
    let balancer = balancer::start(&text).await;
    one_each(&balancer, 5).await;
    assert_eq!(
        alive.seen().len(),
        5,
        "a request does not fail for its zone"
    );
}

#[tokio::test]
async fn a_target_that_fails_more_than_the_others_gets_less_until_it_recovers() {
    let broken = Arc::new(AtomicBool::new(true));
    let mut origins = Vec::new();
    for number in 0..4 {
        let broken = Arc::clone(&broken);
        let status = move || {
            if number == 0 && broken.load(Ordering::Relaxed) {
                500
            } else {
                200
            }
        };
        origins.push(Origin::http(move |_| response(status(), "x")).await);
    }
    let group = format!(
        "{OFF}\nload_balancing_algorithm_type: weighted_random\nload_balancing_algorithm_anomaly_mitigation: on"
    );
    let text = balancer::fixed(&addresses(&origins), &group, "runtime: {workers: 2}");
    let balancer = balancer::start(&text).await;
    let address = balancer.address();
    let load = tokio::spawn(async move {
        let mut wire = Wire::connect(address).await;
        loop {
            ask(&mut wire, GET).await;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    let bad = origins[0].address.to_string();
    let view = async || {
        let group = balancer.group().await;
        let found = group
            .targets
            .into_iter()
            .find(|target| target.address == bad);
        found.expect("registered")
    };
    let found = eventually("the anomaly is seen and mitigated", async || {
        let target = view().await;
        let anomaly = target.anomaly.expect("registered targets are judged");
        (anomaly.result == "anomalous").then_some((target.weight_percent, anomaly))
    })
    .await;
    assert_eq!((found.0, found.1.mitigation_in_effect), (5, "yes"));
    let before = counts(&origins);
    eventually("a thousand requests more", async || {
        (counts(&origins).iter().sum::<usize>() >= before.iter().sum::<usize>() + 400).then_some(())
    })
    .await;
    let after = counts(&origins);
    let (its, all) = (
        after[0] - before[0],
        after.iter().sum::<usize>() - before.iter().sum::<usize>(),
    );
    assert!(
        its * 10 < all,
        "{its} of {all}: a fair share would be a fourth"
    );
    broken.store(false, Ordering::Relaxed);
    let recovered = eventually("it is normal again, and gets more", async || {
        let target = view().await;
        let anomaly = target.anomaly.expect("registered targets are judged");
        (anomaly.result == "normal" && target.weight_percent > 5).then_some(target)
    })
    .await;
    assert!(recovered.weight_percent < 100 && recovered.errors > 0);
    load.abort();
}

/// Times of requests to five targets of which one is slow, by a fixed number of connections.
async fn times(algorithm: &str, requests: usize) -> (Vec<Duration>, Vec<usize>) {
    let mut origins = Vec::new();
    for number in 0..5 {
        let delay = Duration::from_millis(if number == 2 { 200 } else { 5 });
        let origin = Origin::at(
            ([127, 0, 0, 1], 0).into(),
            move |mut wire, seen| async move {
                while let Some(request) = longshore_tests::origin::read(&mut wire).await {
                    seen.lock().expect("not poisoned").push(request);
                    tokio::time::sleep(delay).await;
                    wire.send(&response(200, "x")).await;
                }
            },
        );
        origins.push(origin.await);
    }
    let group = format!("{OFF}\nload_balancing_algorithm_type: {algorithm}");
    let text = balancer::fixed(&addresses(&origins), &group, "runtime: {workers: 2}");
    let balancer = balancer::start(&text).await;
    let address = balancer.address();
    let mut clients = tokio::task::JoinSet::new();
    const CLIENTS: usize = 16;
    for _ in 0..CLIENTS {
        clients.spawn(async move {
            let mut wire = Wire::connect(address).await;
            let mut times = Vec::new();
            for _ in 0..requests / CLIENTS {
                let begun = Instant::now();
                assert_eq!(ask(&mut wire, GET).await, 200);
                times.push(begun.elapsed());
            }
            times
        });
    }
    let mut all: Vec<Duration> = clients.join_all().await.concat();
    all.sort_unstable();
    (all, counts(&origins))
}

/// A table for `benches/README.md`; see there for the command.
#[tokio::test]
#[ignore = "measures, for benches/README.md"]
async fn a_slow_target_among_fast_ones_in_figures() {
    println!("| algorithm | p50 ms | p90 ms | p99 ms | max ms | requests/s | to the slow one |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for algorithm in [
        "round_robin",
        "weighted_random",
        "least_outstanding_requests",
        "peak_ewma",
    ] {
        let begun = Instant::now();
        let (times, counts) = times(algorithm, 8_000).await;
        let rate = times.len() as f64 / begun.elapsed().as_secs_f64();
        let at = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1e3;
        println!(
            "| `{algorithm}` | {:.1} | {:.1} | {:.1} | {:.1} | {rate:.0} | {} of {} |",
            at(50),
            at(90),
            at(99),
            at(100),
            counts[2],
            times.len(),
        );
    }
}

#[tokio::test]
async fn a_slow_target_gets_few_requests_of_peak_ewma() {
    let (_, counts) = times("peak_ewma", 1_600).await;
    assert!(counts[2] >= 1, "everybody is asked once: {counts:?}");
    assert!(counts[2] < 80, "a fair share would be 320: {counts:?}");
    let (_, counts) = times("round_robin", 800).await;
    assert_eq!(counts[2], 160, "the slow one has its turns: {counts:?}");
}
