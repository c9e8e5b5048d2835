//! What becomes of requests while everything that is known of a service is out of date: all of its
//! tasks were replaced since the latest look, and ended at SIGTERM.

use std::time::{Duration, Instant};

use longshore_discovery::ecs::Aws;
use longshore_emulator::{Fault, Faults, LaunchType, Options, TaskDefinition, Times};
use longshore_tests::balancer::{self, Running};
use longshore_tests::cluster::Cluster;
use longshore_tests::services::serve;
use longshore_tests::wire::Wire;
use longshore_tests::{eventually, within};

/// A balancer that looks so rarely by itself that it must be asked to.
async fn balance(cluster: &Cluster) -> Running {
    let text = "listeners: [{name: web, address: '127.0.0.1:1', default_action: [{type: forward, target_group: web}]}]
target_groups:
  - name: web
    discovery: {ecs: {cluster: prod, service: web, poll_interval: 300s}}
    health_check: {path: /health, interval: 1, timeout: 1}
";
    let endpoint = cluster.ecs.endpoint_url();
    balancer::start_with(text, Aws::Emulator { endpoint }).await
}

fn fargate() -> TaskDefinition {
    TaskDefinition {
        launch_type: LaunchType::Fargate,
        ..TaskDefinition::awsvpc("web", 8080)
    }
}

/// Replaces all tasks and waits until none of the old ones is left.
async fn replace(cluster: &Cluster, definition: TaskDefinition, count: usize) {
    let old: Vec<String> = cluster
        .tasks_of("web")
        .into_iter()
        .map(|it| it.id)
        .collect();
    cluster.ecs.register_task_definition(definition);
    cluster.ecs.deploy("prod", "web", "web").expect("deployed");
    eventually("all tasks are replaced", async || {
        let tasks = cluster.tasks_of("web");
        let new = tasks.iter().filter(|task| !old.contains(&task.id)).count();
        let alive = cluster.ecs.tasks().into_iter();
        let left = alive.filter(|it| it.alive && old.contains(&it.id)).count();
        (new == count && left == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_request_that_finds_all_tasks_replaced_reaches_a_new_one() {
    for (definition, count) in [
        (TaskDefinition::bridge("web", 8080), 1),
        (TaskDefinition::bridge("web", 8080), 3),
        // More than are tried for one request.
        (TaskDefinition::bridge("web", 8080), 20),
        (fargate(), 1),
        (fargate(), 3),
        (fargate(), 20),
    ] {
        let what = format!("{count} tasks of {:?}", definition.network_mode);
        let cluster = Cluster::start().await;
        serve(&cluster, "web", count, definition.clone()).await;
        let balancer = balance(&cluster).await;
        balancer.wait_for("healthy", count).await;
        // Some of them have connections that are idle, some were never used.
        let mut client = Wire::connect(balancer.address()).await;
        for _ in 0..count.div_ceil(2) {
            assert_eq!(within("a response", client.get("/")).await.status(), 200);
        }
        replace(&cluster, definition, count).await;
        let mut clients = tokio::task::JoinSet::new();
        for method in ["GET", "POST", "GET", "POST"] {
            let mut client = Wire::connect(balancer.address()).await;
            clients.spawn(async move {
                let head = format!("{method} / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi");
                let head = match method {
                    "GET" => "GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
                    _ => head,
                };
                client.send(head).await;
                let got = within("a response", client.response()).await;
                (method, got.status(), got.reason().map(str::to_owned))
            });
        }
        while let Some(got) = clients.join_next().await {
            let (method, status, reason) = got.expect("no panic");
            assert_eq!(status, 200, "{what}: {method}, {reason:?}");
        }
    }
}

#[tokio::test]
async fn when_all_tasks_refuse_and_are_where_they_were_the_client_is_told_soon() {
    let cluster = Cluster::start_with(Options {
        start_delay: Duration::ZERO,
        // ECS learns of nothing.
        crash_detection: Duration::from_secs(600),
        ..Options::default()
    })
    .await;
    serve(&cluster, "web", 2, fargate()).await;
    let balancer = balance(&cluster).await;
    balancer.wait_for("healthy", 2).await;
    for task in cluster.tasks_of("web") {
        cluster.ecs.crash_task(&task.id).expect("crashed");
    }
    let mut client = Wire::connect(balancer.address()).await;
    let began = Instant::now();
    let got = within("a response", client.get("/")).await;
    assert_eq!((got.status(), got.reason()), (502, Some("connect_failed")));
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    // If discovery fails as well, there is nobody to ask.
    let faults = cluster.ecs.faults();
    faults.fail(Faults::ALL, Fault::ServerError, Times::UntilCleared);
    eventually("the outage is noticed", async || {
        let got = within("a response", client.get("/")).await;
        assert_eq!(got.status(), 502);
        let view = balancer.balancer.targets().await.expect("it runs");
        (view.target_groups[0].discovery == "stale").then_some(())
    })
    .await;
    let began = Instant::now();
    let got = within("a response", client.get("/")).await;
    assert_eq!(got.status(), 502);
    assert!(
        began.elapsed() < Duration::from_millis(500),
        "{:?}",
        began.elapsed()
    );
}
