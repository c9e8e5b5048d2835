//! Retry policies and their budget, time limits of groups and rules, and queues before busy targets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use longshore_tests::balancer::{self, Running, fixed, start};
use longshore_tests::jar::Jar;
use longshore_tests::origin::{Origin, read, response};
use longshore_tests::websocket;
use longshore_tests::wire::Wire;
use longshore_tests::{eventually, within};
use tokio::sync::Semaphore;

const NO_CHECK: &str = "health_check: {enabled: false}\noutlier_detection: {enabled: false}";

fn group(keys: &str) -> String {
    format!("{NO_CHECK}\n{keys}")
}

/// What a client gets for a request on a new connection: status, reason of the balancer, text.
async fn ask(address: SocketAddr, request: &str) -> (u16, Option<String>, String) {
    let mut client = Wire::connect(address).await;
    client.send(request).await;
    let got = within("a response", client.response()).await;
    (got.status(), got.reason().map(str::to_owned), got.text())
}

const ADMIN: &str = "admin: {address: '127.0.0.1:2'}";

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn a_listed_status_is_tried_again_and_another_is_passed_on() {
    let bad = Origin::http(|request| match request.head.line.as_str() {
        "GET /listed HTTP/1.1" => response(503, "busy"),
        "GET /other HTTP/1.1" => response(500, "broken"),
        _ => response(503, "no"),
    })
    .await;
    let good = Origin::ok("good").await;
    let keys = group("retry: {on: [503]}");
    let balancer = start(&fixed(&[bad.address, good.address], &keys, "")).await;
    let mut client = Wire::connect(balancer.address()).await;
    for _ in 0..6 {
        assert_eq!(client.get("/listed").await.text(), "good");
    }
    let mut texts = Vec::new();
    // Each twice, so that each comes to both.
    for _ in 0..2 {
        texts.push(client.get("/other").await.text());
    }
    for _ in 0..2 {
        client
            .send("POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
            .await;
        let post = client.response().await;
        texts.push(post.text());
    }
    for expected in ["broken", "no", "good"] {
        assert!(texts.contains(&expected.to_owned()), "{texts:?}");
    }
}

#[tokio::test]
async fn the_last_attempt_is_passed_on_as_it_is() {
    let bad = Origin::http(|_| response(503, "busy")).await;
    for (attempts, most) in [(1, 1), (2, 2), (4, 4)] {
        let keys = group(&format!("retry: {{on: [503], attempts: {attempts}}}"));
        let balancer = start(&fixed(&[bad.address], &keys, "")).await;
        let before = bad.seen().len();
        assert_eq!(
            ask(balancer.address(), GET).await,
            (503, None, "busy".into())
        );
        assert_eq!(bad.seen().len() - before, most);
    }
}

#[tokio::test]
async fn a_small_body_is_sent_again_whole_and_a_larger_one_is_not() {
    let bad = Origin::raw(|mut wire| async move {
        read(&mut wire).await;
    })
    .await;
    let good = Origin::http(|request| response(200, &String::from_utf8_lossy(&request.body))).await;
    let keys = group("retry: {methods: all, body_buffer: 1000}");
    let balancer = start(&fixed(&[bad.address, good.address], &keys, "")).await;
    let small = "s".repeat(1000);
    let length = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{small}");
    let chunks = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n190\r\n{}\r\n190\r\n{}\r\n0\r\n\r\n",
        "s".repeat(400),
        "s".repeat(400),
    );
    for _ in 0..4 {
        assert_eq!(
            ask(balancer.address(), &length).await,
            (200, None, small.clone())
        );
        let (status, _, text) = ask(balancer.address(), &chunks).await;
        assert_eq!((status, text), (200, "s".repeat(800)));
    }
    assert!(bad.connections() >= 4, "it had its turns");
    let large = "l".repeat(1001);
    let large = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n{large}");
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(ask(balancer.address(), &large).await.0);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 502, 502]);
}

#[tokio::test]
async fn retries_stop_when_the_budget_is_spent() {
    let bad = || Origin::http(|_| response(503, "busy"));
    let targets = [bad().await, bad().await];
    let addresses = targets.each_ref().map(|target| target.address);
    let keys = group("retry: {on: [503]}\nretry_budget: {percent: 0, min_per_second: 5}");
    let balancer = start(&fixed(&addresses, &keys, "")).await;
    let mut client = Wire::connect(balancer.address()).await;
    let begun = Instant::now();
    for _ in 0..100 {
        assert_eq!(client.get("/").await.status(), 503);
    }
    let seconds = begun.elapsed().as_secs() as usize + 1;
    let retries = targets.iter().map(|one| one.seen().len()).sum::<usize>() - 100;
    assert!((5..=5 + 5 * seconds).contains(&retries), "{retries}");
}

#[tokio::test]
async fn a_rule_has_its_own_policy_and_time_limits() {
    let slow = Origin::raw(|mut wire| async move {
        while read(&mut wire).await.is_some() {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            wire.send(response(200, "slow")).await;
        }
    })
    .await;
    let text = fixed(
        &[slow.address],
        &group("timeouts: {response_header: 200ms}"),
        "",
    );
    let rule = "    rules:\n      - priority: 1\n        condition: [{path_pattern: {values: [/patient]}}]\n        action: [{type: forward, target_group: app, timeouts: {response_header: 30s}}]\n      - priority: 2\n        condition: [{path_pattern: {values: [/total]}}]\n        action: [{type: forward, target_group: app, timeouts: {response_header: 30s, total: 300ms}}]\ntarget_groups:";
    let balancer = start(&text.replace("target_groups:", rule)).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let address = balancer.address();
    let begun = Instant::now();
    let got = ask(address, &get("/")).await;
    assert_eq!((got.0, got.1.as_deref()), (504, Some("target_timeout")));
    assert!(begun.elapsed() >= Duration::from_millis(150));
    let got = ask(address, &get("/patient")).await;
    assert_eq!((got.0, got.2.as_str()), (200, "slow"));
    let got = ask(address, &get("/total")).await;
    assert_eq!((got.0, got.1.as_deref()), (504, Some("total_timeout")));
}

#[tokio::test]
async fn a_response_that_takes_longer_than_the_total_is_cut_and_a_slow_upload_is_not_a_slow_head() {
    let origin = Origin::raw(|mut wire| async move {
        let Some(request) = read(&mut wire).await else {
            return;
        };
        if request.head.line.starts_with("POST") {
            wire.send(response(200, "read all")).await;
            return;
        }
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun")
            .await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    })
    .await;
    let keys = group("timeouts: {total: 5s, response_header: 1s}");
    let balancer = start(&fixed(&[origin.address], &keys, "")).await;
    let mut client = Wire::connect(balancer.address()).await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx")
        .await;
    // Longer than the time for a head, which begins with the end of the request.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    client.send("y").await;
    assert_eq!(client.response().await.text(), "read all");
    let mut client = Wire::connect(balancer.address()).await;
    client.send(GET).await;
    assert!(within("its end", client.try_response()).await.is_err());
}

#[tokio::test]
async fn the_total_of_a_websocket_ends_with_the_head_of_its_101() {
    let origin = Origin::raw(|mut wire| async move {
        if read(&mut wire).await.is_some() {
            websocket::echo(&mut wire, "hello").await;
        }
    })
    .await;
    let keys = group("timeouts: {total: 2s, response_header: 2s}");
    let balancer = start(&fixed(&[origin.address], &keys, "")).await;
    let (mut client, _) = websocket::open(balancer.address(), "/", "").await;
    let hello = within("a frame", websocket::read(&mut client)).await;
    assert_eq!(hello.expect("a frame").content, b"hello");
    tokio::time::sleep(Duration::from_millis(2500)).await;
    client
        .send(websocket::frame(websocket::TEXT, true, b"still"))
        .await;
    let echo = within("a frame", websocket::read(&mut client)).await;
    assert_eq!(echo.expect("a frame").content, b"still");
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_followed_by_another() {
    let stuck =
        Origin::raw(|mut wire| async move { while read(&mut wire).await.is_some() {} }).await;
    let good = Origin::ok("good").await;
    let keys = group("retry: {on: [timeout], per_try_timeout: 1s, backoff: 50ms}");
    let balancer = start(&fixed(&[stuck.address, good.address], &keys, "")).await;
    for _ in 0..4 {
        assert_eq!(ask(balancer.address(), GET).await.2, "good");
    }
    assert!(stuck.connections() >= 1);
}

/// A target that answers when it is told, and says how many it works at.
struct Gate {
    origin: Origin,
    open: Arc<Semaphore>,
    working: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

async fn gate(name: &'static str) -> Gate {
    let open = Arc::new(Semaphore::new(0));
    let working = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let parts = (Arc::clone(&open), Arc::clone(&working), Arc::clone(&most));
    let origin = Origin::at(([127, 0, 0, 1], 0).into(), move |mut wire, seen| {
        let (open, working, most) = parts.clone();
        async move {
            while let Some(request) = read(&mut wire).await {
                seen.lock().expect("not poisoned").push(request);
                let now = working.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                let mut byte = [0];
                let told = tokio::select! {
                    permit = open.acquire() => { permit.expect("open").forget(); true }
                    // Nobody waits any more.
                    _ = wire.stream.peek(&mut byte) => false,
                };
                working.fetch_sub(1, Ordering::SeqCst);
                if !told {
                    return;
                }
                wire.send(response(200, name)).await;
            }
        }
    })
    .await;
    Gate {
        origin,
        open,
        working,
        most,
    }
}

async fn controlled(gates: &[Gate], keys: &str, workers: usize) -> Running {
    let addresses: Vec<SocketAddr> = gates.iter().map(|gate| gate.origin.address).collect();
    let top = format!("runtime: {{workers: {workers}}}");
    start(&fixed(&addresses, &group(keys), &top)).await
}

#[tokio::test]
async fn a_target_never_works_at_more_than_it_may_whatever_the_algorithm() {
    for algorithm in [
        "round_robin",
        "least_outstanding_requests",
        "weighted_random",
        "peak_ewma",
        "consistent_hash\nhash_policy: {type: path}",
    ] {
        let gates = [gate("a").await, gate("b").await];
        let keys = format!(
            "load_balancing_algorithm_type: {algorithm}\ntarget_control: {{max_concurrent_requests: 3, queue_timeout: 60s}}"
        );
        let balancer = controlled(&gates, &keys, 4).await;
        let address = balancer.address();
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..40 {
            clients.spawn(async move { ask(address, GET).await.0 });
        }
        eventually("both work at three", async || {
            let working = |gate: &Gate| gate.working.load(Ordering::SeqCst);
            (working(&gates[0]) == 3 && working(&gates[1]) == 3).then_some(())
        })
        .await;
        for gate in &gates {
            gate.open.add_permits(100);
        }
        let statuses = within("all", clients.join_all()).await;
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
        for gate in &gates {
            assert_eq!(gate.most.load(Ordering::SeqCst), 3, "{algorithm}");
        }
    }
}

#[tokio::test]
async fn who_came_first_is_served_first() {
    let gates = [gate("a").await];
    let keys = "target_control: {max_concurrent_requests: 1, queue_timeout: 60s}";
    let balancer = controlled(&gates, keys, 1).await;
    let address = balancer.address();
    let mut clients = Vec::new();
    for number in 0..6 {
        let mut client = Wire::connect(address).await;
        client
            .send(format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        clients.push(client);
        wait_for_waiting(&balancer, number).await;
        eventually("the first is at work", async || {
            (gates[0].origin.seen().len() == 1).then_some(())
        })
        .await;
    }
    for (number, client) in clients.iter_mut().enumerate() {
        gates[0].open.add_permits(1);
        assert_eq!(within("its turn", client.response()).await.status(), 200);
        let seen = gates[0].origin.seen();
        let path = format!("GET /{number} HTTP/1.1");
        assert_eq!(seen[number].head.line, path);
    }
}

/// Waits until a target works at a request.
async fn wait_for_work(gate: &Gate) {
    eventually("it works", async || {
        (gate.working.load(Ordering::SeqCst) == 1).then_some(())
    })
    .await;
}

/// Waits until so many wait for a target.
async fn wait_for_waiting(balancer: &Running, count: u64) {
    eventually(&format!("{count} wait"), async || {
        (balancer.group().await.requests_waiting == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_finds_the_queue_full_or_waits_too_long_is_told_why() {
    let gates = [gate("a").await];
    let keys = "target_control: {max_concurrent_requests: 1, queue_length: 1, queue_timeout: 3s}";
    let balancer = controlled(&gates, keys, 1).await;
    let address = balancer.address();
    let working = tokio::spawn(async move { ask(address, GET).await });
    wait_for_work(&gates[0]).await;
    let begun = Instant::now();
    let waiting = tokio::spawn(async move { ask(address, GET).await });
    wait_for_waiting(&balancer, 1).await;
    let (status, reason, _) = ask(address, GET).await;
    assert_eq!((status, reason.as_deref()), (503, Some("queue_full")));
    let (status, reason, _) = waiting.await.expect("an answer");
    assert_eq!((status, reason.as_deref()), (503, Some("queue_timeout")));
    assert!(begun.elapsed() >= Duration::from_secs(3));
    gates[0].open.add_permits(1);
    assert_eq!(working.await.expect("an answer").0, 200);
}

#[tokio::test]
async fn a_client_that_was_told_that_it_waited_too_long_is_in_nobodys_way() {
    let gates = [gate("a").await];
    let keys = "target_control: {max_concurrent_requests: 1, queue_timeout: 1s}";
    let balancer = controlled(&gates, keys, 1).await;
    let address = balancer.address();
    let working = tokio::spawn(async move { ask(address, GET).await.0 });
    wait_for_work(&gates[0]).await;
    // It has its answer, and owes its body, which is waited for.
    let mut slow = Wire::connect(address).await;
    slow.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
        .await;
    let answer = within("an answer", slow.response()).await;
    assert_eq!(answer.reason(), Some("queue_timeout"));
    gates[0].open.add_permits(2);
    assert_eq!(within("the first", working).await.expect("an answer"), 200);
    assert_eq!(ask(address, GET).await.0, 200);
    slow.send("0123456789").await;
    gates[0].open.add_permits(1);
    assert_eq!(slow.get("/").await.status(), 200);
}

#[tokio::test]
async fn a_client_that_leaves_the_queue_is_in_nobodys_way() {
    let gates = [gate("a").await];
    let keys = "target_control: {max_concurrent_requests: 1, queue_timeout: 60s}";
    let balancer = controlled(&gates, keys, 2).await;
    let address = balancer.address();
    let working = tokio::spawn(async move { ask(address, GET).await.0 });
    wait_for_work(&gates[0]).await;
    let mut leaving = Vec::new();
    for _ in 0..4 {
        let mut client = Wire::connect(address).await;
        client.send(GET).await;
        leaving.push(client);
    }
    wait_for_waiting(&balancer, 4).await;
    let last = tokio::spawn(async move { ask(address, GET).await.0 });
    wait_for_waiting(&balancer, 5).await;
    drop(leaving);
    wait_for_waiting(&balancer, 1).await;
    gates[0].open.add_permits(2);
    assert_eq!(within("the first", working).await.expect("an answer"), 200);
    assert_eq!(within("the last", last).await.expect("an answer"), 200);
}

#[tokio::test]
async fn a_sticky_client_waits_for_its_own_target_and_others_pass_it() {
    let gates = [gate("a").await, gate("b").await];
    let keys = "stickiness: {enabled: true}\ntarget_control: {max_concurrent_requests: 1, queue_timeout: 60s}";
    let balancer = controlled(&gates, keys, 1).await;
    let address = balancer.address();
    for gate in &gates {
        gate.open.add_permits(1);
    }
    let mut jar = Jar::default();
    let own = jar.visit(address, "/").await.text();
    let (own, other) = if own == "a" { (0, 1) } else { (1, 0) };
    gates[own].open.forget_permits(9);
    gates[other].open.forget_permits(9);
    // Both work, then the sticky client comes, and then two others.
    let both: Vec<_> = (0..2)
        .map(|_| tokio::spawn(async move { ask(address, GET).await.2 }))
        .collect();
    eventually("both work", async || {
        let working = |gate: &Gate| gate.working.load(Ordering::SeqCst);
        (gates.iter().map(working).sum::<usize>() == 2).then_some(())
    })
    .await;
    let sticky = tokio::spawn(async move { jar.visit(address, "/").await.text() });
    wait_for_waiting(&balancer, 1).await;
    let others = tokio::spawn(async move { ask(address, GET).await.2 });
    wait_for_waiting(&balancer, 2).await;
    let names = ["a", "b"];
    gates[other].open.add_permits(2);
    assert_eq!(
        within("it passes", others).await.expect("a text"),
        names[other]
    );
    assert!(!sticky.is_finished());
    gates[own].open.add_permits(2);
    assert_eq!(within("its own", sticky).await.expect("a text"), names[own]);
    for one in both {
        within("the first two", one).await.expect("a text");
    }
}

/// An origin that never answers what it is asked.
async fn mute() -> Origin {
    Origin::at(([127, 0, 0, 1], 0).into(), |mut wire, seen| async move {
        while let Some(request) = read(&mut wire).await {
            seen.lock().expect("not poisoned").push(request);
        }
    })
    .await
}

async fn metric(balancer: &Running, name: &str) -> u64 {
    let admin = balancer.balancer.admin_address().expect("it has one");
    let text = Wire::connect(admin).await.get("/metrics").await.text();
    let name = format!("longshore_{name}_total ");
    let found = text.lines().find_map(|line| line.strip_prefix(&name));
    found.and_then(|count| count.parse().ok()).expect("counted")
}

#[tokio::test]
async fn a_second_target_is_asked_when_the_first_is_slow_and_the_slow_connection_is_closed() {
    let slow = mute().await;
    let good = Origin::ok("good").await;
    let keys = group("retry: {hedge_after: 1s, body_buffer: 1000}");
    let balancer = start(&fixed(&[slow.address, good.address], &keys, ADMIN)).await;
    let mut client = Wire::connect(balancer.address()).await;
    for _ in 0..4 {
        assert_eq!(client.get("/").await.text(), "good");
    }
    // A body that was kept goes to both, whole.
    for _ in 0..2 {
        client
            .send("OPTIONS / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
            .await;
        assert_eq!(within("an answer", client.response()).await.text(), "good");
    }
    let begun = slow.seen().len();
    assert!(
        begun >= 3,
        "no more than every second began elsewhere: {begun}"
    );
    let bodies = slow.seen().into_iter().map(|seen| seen.body);
    assert!(bodies.into_iter().any(|body| body == b"hello"), "kept");
    eventually("its connections are closed", async || {
        (slow.open() == 0).then_some(())
    })
    .await;
    assert_eq!(metric(&balancer, "hedges").await, begun as u64);
    assert_eq!(metric(&balancer, "hedges_won").await, begun as u64);
    // The requests were not failures of anybody.
    assert_eq!(metric(&balancer, "retries").await, 0);
}

#[tokio::test]
async fn what_may_not_be_done_twice_is_not_asked_of_two_targets() {
    let slow = mute().await;
    let good = Origin::ok("good").await;
    let keys =
        group("retry: {hedge_after: 20ms, body_buffer: 1000}\ntimeouts: {response_header: 2s}");
    let balancer = start(&fixed(&[slow.address, good.address], &keys, ADMIN)).await;
    let mut answers = Vec::new();
    for _ in 0..2 {
        let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
        let (status, reason, _) = ask(balancer.address(), post).await;
        answers.push((status, reason));
    }
    answers.sort();
    let wanted = [(200, None), (504, Some("target_timeout".to_owned()))];
    assert_eq!(answers, wanted);
    // Nor one that may be repeated, but not after the client's next one.
    let mut statuses = Vec::new();
    for _ in 0..2 {
        let put = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
        statuses.push(ask(balancer.address(), put).await.0);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 504]);
    assert_eq!(metric(&balancer, "hedges").await, 0);
}

#[tokio::test]
async fn the_first_target_serves_if_it_is_sooner_or_if_the_second_fails() {
    let gate = gate("slow").await;
    let broken = Origin::raw(|mut wire| async move {
        read(&mut wire).await;
    })
    .await;
    let keys = group("retry: {hedge_after: 30ms}");
    let balancer = start(&fixed(&[gate.origin.address, broken.address], &keys, ADMIN)).await;
    let address = balancer.address();
    // The one that is asked first is always the same, as each request asks both.
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    for _ in 0..4 {
        let before = broken.connections();
        let request = tokio::spawn(async move { ask(address, GET).await });
        eventually("both were asked", async || {
            let waits = gate.working.load(Ordering::SeqCst) == 1;
            (waits && broken.connections() == before + 1).then_some(())
        })
        .await;
        gate.open.add_permits(1);
        let (status, _, text) = request.await.expect("it ends");
        assert_eq!((status, &*text), (200, "slow"));
        if metric(&balancer, "hedges").await == 0 {
            assert_eq!(
                ask(address, post).await.0,
                502,
                "the next one begins elsewhere"
            );
        }
    }
    assert!(metric(&balancer, "hedges").await > 0);
    assert_eq!(metric(&balancer, "hedges_won").await, 0);
}

#[tokio::test]
async fn an_answer_that_is_tried_again_does_not_win_over_one_that_is_on_its_way() {
    let gate = gate("slow").await;
    let busy = Origin::http(|_| response(503, "busy")).await;
    // By chance, as turns would begin with the same one each time.
    let keys = group(
        "load_balancing_algorithm_type: weighted_random\nretry: {hedge_after: 100ms, on: [503]}",
    );
    let balancer = start(&fixed(&[gate.origin.address, busy.address], &keys, ADMIN)).await;
    let address = balancer.address();
    let mut both = 0;
    for _ in 0..40 {
        let before = (busy.seen().len(), metric(&balancer, "hedges").await);
        let request = tokio::spawn(async move { ask(address, GET).await });
        // If the busy one is asked first, the other one is asked after it, and not beside it.
        eventually("both were asked", async || {
            let waits = gate.working.load(Ordering::SeqCst) == 1;
            (waits && busy.seen().len() > before.0).then_some(())
        })
        .await;
        both += metric(&balancer, "hedges").await - before.1;
        gate.open.add_permits(1);
        let (status, _, text) = within("an answer", request).await.expect("it ends");
        assert_eq!((status, &*text), (200, "slow"));
        if both > 1 {
            break;
        }
    }
    assert!(both > 1, "the slow one was first in one of two");
    assert_eq!(metric(&balancer, "hedges_won").await, 0);
}

#[tokio::test]
async fn a_request_that_one_idle_target_has_failed_does_not_keep_it_from_others() {
    // One holds its request, the other one fails those that say so.
    let gates = [gate("held").await];
    let fickle = Origin::http(|request| match request.head.line.contains("/bad") {
        true => response(503, "bad"),
        false => response(200, "fickle"),
    })
    .await;
    let keys = group(
        "retry: {on: [503], attempts: 3}\ntarget_control: {max_concurrent_requests: 1, queue_timeout: 60s}",
    );
    let addresses = [gates[0].origin.address, fickle.address];
    let balancer = start(&fixed(&addresses, &keys, "runtime: {workers: 1}")).await;
    let address = balancer.address();
    let bad = "GET /bad HTTP/1.1\r\nHost: a\r\n\r\n";
    let held = tokio::spawn(async move {
        // Until it comes to the one that holds it.
        loop {
            let got = ask(address, "GET /held HTTP/1.1\r\nHost: a\r\n\r\n").await;
            if got.2 == "held" {
                return got;
            }
        }
    });
    wait_for_work(&gates[0]).await;
    let waiting = tokio::spawn(async move { ask(address, bad).await });
    wait_for_waiting(&balancer, 1).await;
    for _ in 0..5 {
        let (status, _, text) = ask(address, GET).await;
        assert_eq!((status, &*text), (200, "fickle"));
    }
    gates[0].open.add_permits(2);
    for task in [held, waiting] {
        let (status, _, text) = within("an answer", task).await.expect("it ends");
        assert_eq!((status, &*text), (200, "held"));
    }
}

#[tokio::test]
async fn second_targets_are_asked_within_the_budget() {
    let slow = mute().await;
    let good = Origin::ok("good").await;
    let keys = group(
        "retry: {hedge_after: 1s}\nretry_budget: {percent: 0, min_per_second: 0}\ntimeouts: {response_header: 2s}",
    );
    let balancer = start(&fixed(&[slow.address, good.address], &keys, ADMIN)).await;
    let mut statuses = Vec::new();
    for _ in 0..2 {
        statuses.push(ask(balancer.address(), GET).await.0);
    }
    // The slow one is asked first once at the least, and then it is asked alone.
    assert!(statuses.contains(&504), "{statuses:?}");
    assert_eq!(metric(&balancer, "hedges").await, 0);
    let slow = statuses.iter().filter(|status| **status == 504).count();
    assert_eq!(metric(&balancer, "retries_refused").await, slow as u64);
}

#[tokio::test]
async fn a_client_that_leaves_while_two_targets_work_ends_both() {
    let (one, two) = (mute().await, mute().await);
    let keys = group("retry: {hedge_after: 20ms}");
    let balancer = start(&fixed(&[one.address, two.address], &keys, ADMIN)).await;
    let mut client = Wire::connect(balancer.address()).await;
    client.send(GET).await;
    eventually("both are asked", async || {
        ([one.seen().len(), two.seen().len()] == [1, 1]).then_some(())
    })
    .await;
    drop(client);
    eventually("both connections are closed", async || {
        ([one.open(), two.open()] == [0, 0]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_second_target_may_leave_while_both_work_and_the_first_one_serves() {
    let gates = [gate("one").await, gate("two").await];
    let keys = group("retry: {hedge_after: 200ms}\nderegistration_delay: 0");
    let addresses = [gates[0].origin.address, gates[1].origin.address];
    let top = "runtime: {workers: 1}";
    let mut balancer = start(&fixed(&addresses, &keys, top)).await;
    let address = balancer.address();
    let asked = tokio::spawn(async move { ask(address, GET).await });
    let works = |index: usize| gates[index].working.load(Ordering::SeqCst) == 1;
    let first = eventually("one is asked", async || (0..2).find(|it| works(*it))).await;
    let second = 1 - first;
    wait_for_work(&gates[second]).await;
    let without = balancer::config(&fixed(&addresses[first..=first], &keys, top));
    balancer.balancer.reload(without).await.expect("reloaded");
    eventually("what it worked at is over", async || {
        (gates[second].origin.open() == 0).then_some(())
    })
    .await;
    // The worker goes on, and so does the first.
    gates[first].open.add_permits(2);
    let (status, _, text) = within("an answer", asked).await.expect("no panic");
    assert_eq!((status, &*text), (200, ["one", "two"][first]));
    assert_eq!(ask(address, GET).await.0, 200);
}

#[tokio::test]
async fn no_more_targets_see_a_request_than_may_whichever_answered_first() {
    let slow = mute().await;
    let bad = Origin::http(|_| response(503, "busy")).await;
    let good = Origin::ok("good").await;
    // With the bad one first the slow one is the last that may be asked, and alone.
    let keys = group(
        "load_balancing_algorithm_type: weighted_random
retry: {hedge_after: 20ms, attempts: 2, on: [503]}
timeouts: {response_header: 200ms}",
    );
    let targets = [&slow, &bad, &good];
    let addresses = targets.map(|target| target.address);
    let balancer = start(&fixed(&addresses, &keys, ADMIN)).await;
    let seen = || targets.iter().map(|it| it.seen().len()).sum::<usize>();
    let mut statuses = Vec::new();
    for _ in 0..30 {
        let before = seen();
        statuses.push(ask(balancer.address(), GET).await.0);
        assert!(seen() - before <= 2, "{statuses:?}");
    }
    assert!(statuses.contains(&200), "{statuses:?}");
    assert!(metric(&balancer, "hedges_won").await > 0);
}
