//! Load while the target set changes a thousand times.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use longshore_tests::cluster::Cluster;
use longshore_tests::wire::Wire;
use longshore_tests::{balancer, eventually, within};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

/// Swaps of the snapshot in which targets came or went.
const SWAPS: u64 = 1_000;

#[tokio::test]
async fn a_thousand_swaps_under_load_fail_no_request_and_starve_no_task() {
    let seed = 3;
    println!("seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let cluster = Cluster::start().await;
    // Processes serve on after SIGTERM, so that a request to a stopped task would be seen.
    cluster.tasks.set_grace("web", Duration::from_secs(2));
    cluster.service("web", 1).await;
    let text = "listeners: [{name: web, address: '127.0.0.1:1', default_action: [{type: forward, target_group: web}]}]
target_groups:
  - name: web
    discovery: {ecs: {cluster: prod, service: web, poll_interval: 50ms}}
    health_check: {path: /health, interval: 1, timeout: 1}
";
    let aws = longshore_discovery::ecs::Aws::Emulator {
        endpoint: cluster.ecs.endpoint_url(),
    };
    let balancer = balancer::start_with(text, aws).await;
    balancer.wait_for("healthy", 1).await;

    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..8 {
        let (stop, answered, address) =
            (Arc::clone(&stop), Arc::clone(&answered), balancer.address());
        clients.spawn(async move {
            let mut client = Wire::connect(address).await;
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                let got = if count % 4 == 3 {
                    client
                        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
                        .await;
                    within("a response", client.response()).await
                } else {
                    within("a response", client.get("/")).await
                };
                assert_eq!(
                    got.status(),
                    200,
                    "client {number}, request {count}: {:?}",
                    got.reason()
                );
                answered.fetch_add(1, Ordering::Relaxed);
                count += 1;
            }
        });
    }

    // 1 → 50 → 3, each seen through, and every task gets its share.
    for size in [50, 3] {
        cluster.ecs.scale("prod", "web", size).expect("scaled");
        balancer.wait_for("healthy", size).await;
        nobody_starves(&cluster, size).await;
    }

    // Requests that a task had when the balancer had let go of it.
    let mut after_drain: BTreeMap<String, u64> = BTreeMap::new();
    loop {
        let view = balancer
            .balancer
            .targets()
            .await
            .expect("the control task lives");
        if view.generation >= SWAPS {
            break;
        }
        let held: Vec<&str> = view.target_groups[0]
            .targets
            .iter()
            .map(|target| &target.id[..32])
            .collect();
        for task in cluster.ecs.tasks() {
            if task.stop_requested_at.is_some() && !held.contains(&task.id.as_str()) {
                let now = cluster.tasks.requests(&task.id);
                let then = *after_drain.entry(task.id.clone()).or_insert(now);
                assert_eq!(now, then, "{} got requests after its drain", task.id);
            }
        }
        let tasks = cluster.tasks_of("web");
        if tasks.len() < 2 || rng.random_range(0..3) == 0 {
            let other = (tasks.len() + rng.random_range(1..49)) % 50 + 1;
            cluster.ecs.scale("prod", "web", other).expect("scaled");
        } else {
            let task = &tasks[rng.random_range(0..tasks.len())];
            cluster.ecs.stop_task(&task.id).expect("stopped");
        }
        eventually("a swap", async || {
            let now = balancer
                .balancer
                .targets()
                .await
                .expect("the control task lives");
            (now.generation > view.generation).then_some(())
        })
        .await;
    }
    cluster.ecs.scale("prod", "web", 3).expect("scaled");
    cluster.serving("web", 3).await;
    balancer.wait_for("healthy", 3).await;
    nobody_starves(&cluster, 3).await;

    stop.store(true, Ordering::Relaxed);
    while let Some(done) = clients.join_next().await {
        done.expect("no request failed");
    }
    let tasks = after_drain.len();
    println!(
        "{} requests over {SWAPS} swaps; {tasks} tasks stopped",
        answered.load(Ordering::Relaxed)
    );
    assert!(tasks > 50, "{tasks} tasks were seen after their drain");
    assert!(
        balancer
            .targets("healthy")
            .await
            .iter()
            .all(|target| target.failures == 0)
    );
}

/// Every serving task gets requests.
async fn nobody_starves(cluster: &Cluster, count: usize) {
    let tasks = cluster.serving("web", count).await;
    let before: Vec<u64> = tasks
        .iter()
        .map(|task| cluster.tasks.requests(&task.id))
        .collect();
    eventually("every task gets requests", async || {
        tasks
            .iter()
            .zip(&before)
            .all(|(task, before)| cluster.tasks.requests(&task.id) > before + 3)
            .then_some(())
    })
    .await;
}
