//! Events of ECS through a queue, at an emulator, through the real SDK.

use std::time::{Duration, Instant};

use longshore_emulator::{EventOptions, Fault, Times};
use longshore_tests::balancer::{self, Running};
use longshore_tests::cluster::Cluster;
use longshore_tests::eventually;
use longshore_tests::wire::Wire;

const QUEUE: &str = "longshore";

/// A balancer with one group on the service `web`, which hears the queue. `intervals` holds the
/// keys for how often it polls.
async fn balance(cluster: &Cluster, intervals: &str) -> Running {
    let text = format!(
        "listeners: [{{name: web, address: '127.0.0.1:1', default_action: [{{type: forward, target_group: web}}]}}]
target_groups:
  - name: web
    discovery: {{ecs: {{cluster: prod, service: web, events_queue: {QUEUE}, {intervals}}}}}
    health_check: {{path: /health, interval: 1, timeout: 1}}
"
    );
    let aws = longshore_discovery::ecs::Aws::Emulator {
        endpoint: cluster.ecs.endpoint_url(),
    };
    balancer::start_with(&text, aws).await
}

/// Polls that come in no test by themselves.
const NEVER: &str = "poll_interval: 300s, reconcile_interval: 3600s";

fn polls(cluster: &Cluster) -> u64 {
    let calls = cluster.ecs.calls();
    calls.get("ListTasks").copied().unwrap_or_default()
}

/// Waits until the queue was asked and answered, so that a long poll is under way.
async fn queue_works(cluster: &Cluster) {
    eventually("the queue is read", async || {
        let calls = cluster.ecs.calls();
        (calls.get("ReceiveMessage").copied().unwrap_or_default() >= 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_started_task_serves_and_a_stopped_one_does_not_without_any_poll() {
    let cluster = Cluster::start().await;
    cluster.service("web", 2).await;
    cluster.ecs.events_queue(QUEUE, EventOptions::default());
    let balancer = balance(&cluster, NEVER).await;
    balancer.wait_for("healthy", 2).await;
    queue_works(&cluster).await;
    let before = polls(&cluster);
    cluster.ecs.scale("prod", "web", 4).expect("scaled");
    balancer.wait_for("healthy", 4).await;
    cluster.ecs.scale("prod", "web", 1).expect("scaled");
    balancer.wait_for("healthy", 1).await;
    assert_eq!(polls(&cluster), before, "no poll was needed");
    let mut client = Wire::connect(balancer.address()).await;
    assert_eq!(client.get("/").await.status(), 200);
    eventually("every message is deleted", async || {
        (cluster.ecs.messages_left(QUEUE) == 0).then_some(())
    })
    .await;
}
