//! When a sticky client moves, and when not: health, failures, tasks that come and go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

use longshore::control::view::TargetView;
use longshore_tests::balancer::{fixed, start};
use longshore_tests::cluster::{Cluster, listener};
use longshore_tests::eventually;
use longshore_tests::jar::{Jar, set_cookies};
use longshore_tests::origin::{Origin, Seen, read, response};
use longshore_tests::wire::Wire;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

const STICKY: &str = "stickiness: {enabled: true}";
const ONE_WORKER: &str = "runtime: {workers: 1}";

/// A target whose answers the test sets: the status of `/health`, and of everything else; 0 closes
/// the connection without an answer.
async fn target(name: &'static str) -> (Origin, Arc<AtomicU16>, Arc<AtomicU16>) {
    let (health, others) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicU16::new(200)));
    let (told, answers) = (Arc::clone(&health), Arc::clone(&others));
    let origin = Origin::http(move |request: &Seen| {
        if request.head.line.starts_with("GET /health ") {
            return response(told.load(Ordering::Relaxed), "");
        }
        match answers.load(Ordering::Relaxed) {
            0 => Vec::new(),
            status => response(status, name),
        }
    })
    .await;
    (origin, health, others)
}

#[tokio::test]
async fn a_client_of_an_unhealthy_target_moves_and_stays_when_it_returns() {
    let (a, health_a, _) = target("a").await;
    let (b, health_b, _) = target("b").await;
    let check = "health_check: {path: /health, interval: 1, timeout: 1, healthy_threshold: 1, unhealthy_threshold: 1}";
    let group = format!("{check}\n{STICKY}");
    let balancer = start(&fixed(&[a.address, b.address], &group, ONE_WORKER)).await;
    balancer.wait_for("healthy", 2).await;
    let mut jar = Jar::default();
    let first = jar.visit(balancer.address(), "/").await.text();
    let (sick, other) = match first.as_str() {
        "a" => (health_a, "b"),
        _ => (health_b, "a"),
    };
    sick.store(503, Ordering::Relaxed);
    balancer.wait_for("unhealthy", 1).await;
    let got = jar.visit(balancer.address(), "/").await;
    assert_eq!(got.text(), other);
    assert_eq!(set_cookies(&got).len(), 2, "a new place");
    sick.store(200, Ordering::Relaxed);
    balancer.wait_for("healthy", 2).await;
    for _ in 0..10 {
        assert_eq!(jar.visit(balancer.address(), "/").await.text(), other);
    }
}

#[tokio::test]
async fn the_cookie_follows_a_retry_to_where_the_response_came_from() {
    let (a, _, answers_a) = target("a").await;
    let (b, _, answers_b) = target("b").await;
    let group = format!("health_check: {{enabled: false}}\n{STICKY}");
    let balancer = start(&fixed(&[a.address, b.address], &group, ONE_WORKER)).await;
    let mut jar = Jar::default();
    let first = jar.visit(balancer.address(), "/").await.text();
    let (dead, other) = match first.as_str() {
        "a" => (answers_a, "b"),
        _ => (answers_b, "a"),
    };
    dead.store(0, Ordering::Relaxed);
    // A GET is sent once more, and at the other target: this one has just closed a connection that
    // was in use a moment ago, so it does not stay to be asked again.
    let got = jar.visit(balancer.address(), "/").await;
    assert_eq!(got.status(), 200, "{:?}", got.reason());
    assert_eq!(got.text(), other);
    dead.store(200, Ordering::Relaxed);
    for _ in 0..10 {
        assert_eq!(jar.visit(balancer.address(), "/").await.text(), other);
    }
}

#[tokio::test]
async fn a_connection_that_went_stale_moves_no_client() {
    // The second request on a connection finds it closed, as a target's own time limit does it:
    // after more than a second.
    let stale = Arc::new(AtomicUsize::new(0));
    let mut origins = Vec::new();
    for name in ["a", "b", "c"] {
        let stale = Arc::clone(&stale);
        let at = ([127, 0, 0, 1], 0).into();
        origins.push(
            Origin::at(at, move |mut wire, seen| {
                let stale = Arc::clone(&stale);
                async move {
                    let Some(request) = read(&mut wire).await else {
                        return;
                    };
                    seen.lock().expect("not poisoned").push(request);
                    wire.send(response(200, name)).await;
                    if read(&mut wire).await.is_some() {
                        stale.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
            .await,
        );
    }
    let targets: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    let group = format!("health_check: {{enabled: false}}\n{STICKY}");
    let balancer = start(&fixed(&targets, &group, ONE_WORKER)).await;
    let mut jar = Jar::default();
    let first = jar.visit(balancer.address(), "/").await.text();
    for _ in 0..3 {
        // What is tested is a time.
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        let got = jar.visit(balancer.address(), "/").await;
        assert_eq!((got.status(), got.text()), (200, first.clone()));
    }
    assert_eq!(stale.load(Ordering::Relaxed), 3);
}

/// A client that keeps asking, and what made it move.
struct Visitor {
    jar: Jar,
    task: String,
}

#[tokio::test]
async fn sticky_clients_move_only_when_their_task_left_and_never_to_another_service() {
    let seed = 29;
    println!("seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let cluster = Cluster::start().await;
    cluster.service("mine", 4).await;
    cluster.service("theirs", 1).await;
    let group = format!("health_check: {{path: /health, interval: 1, timeout: 1}}\n{STICKY}");
    let balancer = cluster.balance_with(&["mine", "theirs"], &group).await;
    balancer.wait_for("healthy", 4).await;
    let cluster = Arc::new(cluster);
    let stop = Arc::new(AtomicBool::new(false));
    let moves = Arc::new(AtomicUsize::new(0));
    let requests = Arc::new(AtomicUsize::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..8 {
        let (cluster, stop) = (Arc::clone(&cluster), Arc::clone(&stop));
        let (moves, requests) = (Arc::clone(&moves), Arc::clone(&requests));
        let address = listener(&balancer, "mine");
        clients.spawn(async move {
            let mut visitor = Visitor {
                jar: Jar::default(),
                task: String::new(),
            };
            let mut wire = Wire::connect(address).await;
            while !stop.load(Ordering::Relaxed) {
                let got = visitor.jar.get(&mut wire, "/").await;
                assert_eq!(got.status(), 200, "client {number}: {:?}", got.reason());
                assert_eq!(got.head.get("x-service"), Some("mine"));
                let task = got.head.get("x-task-id").expect("its task").to_owned();
                if task != visitor.task {
                    let tasks = cluster.ecs.tasks();
                    let old = tasks.iter().find(|old| old.id == visitor.task);
                    let lives = old.is_some_and(|old| old.alive && old.stop_requested_at.is_none());
                    assert!(
                        !lives,
                        "client {number} moved from {} to {task}",
                        visitor.task
                    );
                    moves.fetch_add(1, Ordering::Relaxed);
                    visitor.task = task;
                }
                requests.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            assert!(!visitor.jar.0.is_empty());
        });
    }
    let mut taken = 0;
    for round in 2..=12 {
        // A client without cookies visits until each target has answered: one that ends before any
        // connection to it was open leaves no sign of its end (ARCHITECTURE, "What remains open").
        eventually("each target has answered", async || {
            Jar::default().visit(listener(&balancer, "mine"), "/").await;
            let targets = balancer.targets("healthy").await;
            let answered = |target: &TargetView| target.requests > target.in_flight;
            (targets.len() == 4 && targets.iter().all(answered)).then_some(())
        })
        .await;
        let tasks = cluster.serving("mine", 4).await;
        let victim = &tasks[rng.random_range(0..tasks.len())];
        let port = victim.addresses[0];
        cluster.ecs.stop_task(&victim.id).expect("stopped");
        eventually("the process has ended", async || {
            let tasks = cluster.ecs.tasks();
            let task = tasks.iter().find(|task| task.id == victim.id);
            task.is_none_or(|task| !task.alive).then_some(())
        })
        .await;
        // The free port is the lowest, so it goes to the next task: one of the other service.
        cluster.ecs.scale("prod", "theirs", round).expect("scaled");
        let now_theirs = cluster.serving("theirs", round).await;
        taken += usize::from(now_theirs.iter().any(|task| task.addresses[0] == port));
        eventually("the balancer has the tasks that serve", async || {
            let serving = cluster.serving("mine", 4).await;
            let targets = balancer.targets("healthy").await;
            let known: BTreeMap<&str, u64> = targets
                .iter()
                .map(|target| (&target.id[..32], target.requests))
                .collect();
            let all = serving
                .iter()
                .all(|task| known.contains_key(task.id.as_str()));
            (targets.len() == 4 && all).then_some(())
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(done) = clients.join_next().await {
        done.expect("the right service answered");
    }
    let (moves, requests) = (
        moves.load(Ordering::Relaxed),
        requests.load(Ordering::Relaxed),
    );
    println!("{requests} requests, {moves} moves, {taken} ports changed hands");
    assert!(taken >= 3, "only {taken} ports changed hands");
    // Eight first visits, and those of the clients whose task was stopped.
    assert!(moves > 8, "{moves} moves");
    assert!(requests > 500, "{requests} requests");
}
