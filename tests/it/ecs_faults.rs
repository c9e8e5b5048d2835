//! Answers of ECS that are wrong about tasks, tasks that are not well, and hosts that are lost:
//! through the real SDK, at an emulator, with traffic.

use std::collections::BTreeSet;
use std::time::Duration;

use longshore_emulator::{Fault, Health, Host, Options, TaskDefinition, Times};
use longshore_tests::balancer::Running;
use longshore_tests::cluster::Cluster;
use longshore_tests::services::{balance, group, reached, serve};
use longshore_tests::wire::Wire;
use longshore_tests::{eventually, within};

/// Requests of two kinds, in turns, none of which may fail. Tells which tasks answered.
async fn ask(client: &mut Wire, requests: usize) -> BTreeSet<String> {
    let mut tasks = BTreeSet::new();
    for request in 0..requests {
        let got = if request % 2 == 0 {
            within("a response", client.get("/")).await
        } else {
            let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
            client.send(head).await;
            within("a response", client.response()).await
        };
        assert_eq!(got.status(), 200, "request {request}: {:?}", got.reason());
        tasks.insert(got.head.get("x-task-id").expect("told").to_owned());
    }
    tasks
}

fn ids(cluster: &Cluster) -> Vec<String> {
    let tasks = cluster.tasks_of("web").into_iter();
    tasks.map(|task| task.id).collect()
}

/// Waits for so many more calls of an operation.
async fn calls(cluster: &Cluster, operation: &str, more: u64) {
    let before = cluster.calls(&[operation]);
    let what = format!("{more} more calls of {operation}");
    eventually(&what, async || {
        (cluster.calls(&[operation]) >= before + more).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_task_that_its_own_health_check_calls_unhealthy_is_no_target_until_it_is_well() {
    let cluster = Cluster::start().await;
    cluster.service("web", 2).await;
    let sick = ids(&cluster).remove(0);
    let set = |health| cluster.ecs.set_health(&sick, health).expect("a task");
    set(Health::Unhealthy);
    let balancer = balance(&cluster, &[("web", "")]).await;
    balancer.wait_for("healthy", 1).await;
    let problems = group(&balancer, "web").await.not_targets;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].reason.contains("UNHEALTHY"), "{problems:?}");
    let mut client = Wire::connect(balancer.address()).await;
    assert!(!ask(&mut client, 10).await.contains(&sick));
    set(Health::Healthy);
    balancer.wait_for("healthy", 2).await;
    assert!(ask(&mut client, 10).await.contains(&sick));
}

#[tokio::test]
async fn a_lost_host_costs_no_request_although_ecs_calls_its_tasks_running() {
    let cluster = Cluster::start_with(Options {
        start_delay: Duration::ZERO,
        // On AWS it takes minutes.
        loss_detection: Duration::from_secs(600),
        ..Options::default()
    })
    .await;
    let second = Host::new(cluster.ecs.spare_address(), "eu-central-1b");
    let lost = cluster.ecs.add_host("prod", second);
    cluster.service("web", 6).await;
    let balancer = balance(&cluster, &[("web", "")]).await;
    reached(&balancer, "web", 6).await;
    let mut client = Wire::connect(balancer.address()).await;
    assert_eq!(ask(&mut client, 24).await.len(), 6);
    cluster.ecs.lose_host(&lost).expect("lost");
    let left = eventually("its processes have ended", async || {
        let left = ids(&cluster);
        (left.len() == 3).then_some(left)
    })
    .await;
    let tasks = ask(&mut client, 60).await;
    assert_eq!(tasks, left.into_iter().collect(), "those of the other host");
    assert_eq!(group(&balancer, "web").await.discovery, "fresh");
}

/// A service of five tasks, of which two fit on a page of the list.
async fn paged() -> (Cluster, Running) {
    let cluster = Cluster::start_with(Options {
        start_delay: Duration::ZERO,
        page_size: 2,
        ..Options::default()
    })
    .await;
    serve(&cluster, "web", 5, TaskDefinition::bridge("", 8080)).await;
    let balancer = balance(&cluster, &[("web", "")]).await;
    reached(&balancer, "web", 5).await;
    (cluster, balancer)
}

#[tokio::test]
async fn a_page_of_the_list_that_fails_takes_no_target_away() {
    let (cluster, balancer) = paged().await;
    let faults = cluster.ecs.faults();
    for (page, fault) in [
        (2, Fault::ServerError),
        (3, Fault::Throttle),
        (3, Fault::EmptyBody),
    ] {
        faults.fail_page("ListTasks", page, fault, Times::UntilCleared);
        eventually("the failure is seen", async || {
            let group = group(&balancer, "web").await;
            (group.discovery == "stale").then_some(())
        })
        .await;
        calls(&cluster, "ListTasks", 4).await;
        assert_eq!(balancer.targets("healthy").await.len(), 5, "{fault:?}");
        let mut client = Wire::connect(balancer.address()).await;
        assert_eq!(ask(&mut client, 20).await.len(), 5, "{fault:?}");
        faults.clear();
        eventually("it is over", async || {
            let group = group(&balancer, "web").await;
            (group.discovery == "fresh").then_some(())
        })
        .await;
    }
    cluster.ecs.scale("prod", "web", 7).expect("scaled");
    balancer.wait_for("healthy", 7).await;
}

#[tokio::test]
async fn tasks_that_a_list_forgets_serve_on_as_long_as_ecs_describes_them() {
    let (cluster, balancer) = paged().await;
    let faults = cluster.ecs.faults();
    faults.unlisted(ids(&cluster));
    let mut client = Wire::connect(balancer.address()).await;
    for _ in 0..3 {
        calls(&cluster, "ListTasks", 1).await;
        assert_eq!(ask(&mut client, 20).await.len(), 5);
    }
    let shown = group(&balancer, "web").await;
    assert_eq!(shown.discovery, "fresh");
    assert_eq!(balancer.targets("healthy").await.len(), 5);
}

#[tokio::test]
async fn a_service_of_which_ecs_suddenly_knows_no_task_is_kept_and_that_is_shown() {
    let (cluster, balancer) = paged().await;
    let faults = cluster.ecs.faults();
    let all = ids(&cluster);
    faults.unlisted(&all);
    faults.missing(&all);
    let mut client = Wire::connect(balancer.address()).await;
    eventually("it is said", async || {
        let problems = group(&balancer, "web").await.not_targets;
        let kept = |reason: &str| reason.starts_with("kept for at most 300 s");
        problems.iter().any(|it| kept(&it.reason)).then_some(())
    })
    .await;
    calls(&cluster, "ListTasks", 2).await;
    assert_eq!(ask(&mut client, 20).await.len(), 5);
    faults.clear();
    eventually("nothing is left to say", async || {
        let problems = group(&balancer, "web").await.not_targets;
        problems.is_empty().then_some(())
    })
    .await;
    assert_eq!(balancer.targets("healthy").await.len(), 5);
}

#[tokio::test]
async fn tasks_that_ecs_lists_before_it_knows_them_are_targets_once_it_does() {
    let cluster = Cluster::start().await;
    cluster.service("web", 2).await;
    let balancer = balance(&cluster, &[("web", "")]).await;
    reached(&balancer, "web", 2).await;
    let faults = cluster.ecs.faults();
    faults.missing_younger_than(Duration::from_secs(3600));
    cluster.ecs.scale("prod", "web", 4).expect("scaled");
    cluster.serving("web", 4).await;
    refused_beside(&balancer, "ECS does not describe it yet").await;
    let mut client = Wire::connect(balancer.address()).await;
    assert_eq!(ask(&mut client, 12).await.len(), 2);
    faults.clear();
    reached(&balancer, "web", 4).await;
}

/// Waits until a task is none of the targets for a reason; others are.
async fn refused_beside(balancer: &Running, reason: &str) {
    eventually(&format!("{reason:?} is said"), async || {
        let problems = group(balancer, "web").await.not_targets;
        let mut problems = problems.iter();
        problems.any(|it| it.reason.contains(reason)).then_some(())
    })
    .await;
}
