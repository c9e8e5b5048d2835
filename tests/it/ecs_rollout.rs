//! Services in motion, at an emulator, through the real SDK: task sets, deployments, and what is
//! asked about a service.

use std::time::Duration;

use longshore_discovery::ecs::Aws;
use longshore_emulator::{
    DeploymentController, EventOptions, Fault, Host, Options, TaskDefinition, Times,
};
use longshore_tests::balancer::{self, Running};
use longshore_tests::cluster::Cluster;
use longshore_tests::eventually;
use longshore_tests::wire::Wire;

async fn balance(cluster: &Cluster, keys: &str) -> Running {
    let text = format!(
        "listeners: [{{name: web, address: '127.0.0.1:1', default_action: [{{type: forward, target_group: web}}]}}]
target_groups:
  - name: web
    discovery: {{ecs: {{cluster: prod, service: web, {keys}}}}}
    health_check: {{path: /health, interval: 1, timeout: 1}}
"
    );
    let endpoint = cluster.ecs.endpoint_url();
    balancer::start_with(&text, Aws::Emulator { endpoint }).await
}

/// A service with task sets, and a PRIMARY one of two tasks, whose id is returned.
async fn blue(cluster: &Cluster) -> String {
    cluster
        .ecs
        .register_task_definition(TaskDefinition::bridge("web", 8080));
    cluster
        .ecs
        .create_set_service("prod", "web", DeploymentController::External, 2)
        .expect("created");
    let blue = set(cluster).await;
    cluster.serving("web", 2).await;
    make_primary(cluster, &blue);
    blue
}

async fn set(cluster: &Cluster) -> String {
    let created = cluster.ecs.create_task_set("prod", "web", "web", 100);
    created.expect("created")
}

fn make_primary(cluster: &Cluster, set: &str) {
    let done = cluster.ecs.set_primary_task_set("prod", "web", set);
    done.expect("it is PRIMARY");
}

/// From the first set, with its tasks, to the second one, back, and there again, until the first is
/// deleted.
async fn switches_move_every_request(
    cluster: &Cluster,
    balancer: &Running,
    (blue_set, blue): (&str, &[String]),
    (green_set, green): (&str, &[String]),
) {
    only(balancer, "nothing has changed", blue).await;
    make_primary(cluster, green_set);
    only(balancer, "the new PRIMARY set serves", green).await;
    make_primary(cluster, blue_set);
    only(balancer, "a rollback", blue).await;
    make_primary(cluster, green_set);
    only(balancer, "once more", green).await;
    let deleted = cluster.ecs.delete_task_set("prod", "web", blue_set);
    deleted.expect("it goes");
    cluster.serving("web", 2).await;
    only(balancer, "the other one is gone", green).await;
}

fn ids(cluster: &Cluster) -> Vec<String> {
    let tasks = cluster.tasks_of("web").into_iter();
    tasks.map(|task| task.id).collect()
}

/// Waits until exactly these tasks are targets, with a request at each look that must succeed.
async fn only(balancer: &Running, what: &str, ids: &[String]) {
    let mut client = Wire::connect(balancer.address()).await;
    eventually(what, async || {
        assert_eq!(client.get("/").await.status(), 200);
        let targets = balancer.targets("healthy").await;
        let own = |id: &String| targets.iter().any(|target| target.id.starts_with(id));
        (targets.len() == ids.len() && ids.iter().all(own)).then_some(())
    })
    .await;
    for _ in 0..20 {
        let got = client.get("/").await;
        assert_eq!(got.status(), 200);
        let served = got.head.get("x-task-id").expect("told").to_owned();
        assert!(ids.contains(&served), "{served} is none of {ids:?}");
    }
}

#[tokio::test]
async fn only_the_primary_task_set_serves_and_a_switch_moves_every_request() {
    let cluster = Cluster::start().await;
    let blue_set = blue(&cluster).await;
    let blue = ids(&cluster);
    let balancer = balance(&cluster, "poll_interval: 1s").await;
    only(&balancer, "the PRIMARY set serves", &blue).await;
    let green_set = set(&cluster).await;
    let all = cluster.serving("web", 4).await;
    let green: Vec<String> = all.into_iter().map(|task| task.id).collect();
    let green: Vec<String> = green.into_iter().filter(|id| !blue.contains(id)).collect();
    eventually("the others say why they do not serve", async || {
        let problems = balancer.group().await.not_targets;
        let reason = format!("its task set {green_set} is ACTIVE, not PRIMARY");
        let says = |id: &String| {
            problems
                .iter()
                .any(|it| it.subject == *id && it.reason == reason)
        };
        green.iter().all(says).then_some(())
    })
    .await;
    switches_move_every_request(
        &cluster,
        &balancer,
        (&blue_set, &blue),
        (&green_set, &green),
    )
    .await;
    eventually("and is no problem any more", async || {
        balancer.group().await.not_targets.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_known_primary_set_serves_while_services_are_not_described() {
    for fault in [
        Fault::AccessDenied,
        Fault::Throttle,
        Fault::EmptyBody,
        Fault::MalformedBody,
    ] {
        let cluster = Cluster::start().await;
        blue(&cluster).await;
        let blue = ids(&cluster);
        let balancer = balance(&cluster, "poll_interval: 1s").await;
        only(&balancer, "the PRIMARY set serves", &blue).await;
        cluster
            .ecs
            .faults()
            .fail("DescribeServices", fault, Times::UntilCleared);
        set(&cluster).await;
        cluster.serving("web", 4).await;
        eventually("the failure is told", async || {
            let problems = balancer.group().await.not_targets;
            let told = |it: &longshore::control::view::ProblemView| {
                it.subject == "service" && it.reason.contains("ecs:DescribeServices")
            };
            (problems.iter().any(told) && problems.len() == 3).then_some(())
        })
        .await;
        only(&balancer, "it still serves alone", &blue).await;
        assert_eq!(balancer.group().await.discovery, "fresh");
    }
}

#[tokio::test]
async fn without_the_permission_to_describe_services_all_tasks_serve_and_that_is_told() {
    let cluster = Cluster::start().await;
    cluster.service("web", 2).await;
    cluster
        .ecs
        .faults()
        .fail("DescribeServices", Fault::AccessDenied, Times::UntilCleared);
    let balancer = balance(&cluster, "poll_interval: 1s").await;
    only(&balancer, "they serve", &ids(&cluster)).await;
    let problems = balancer.group().await.not_targets;
    assert_eq!(problems[0].subject, "service", "{problems:?}");
    cluster.ecs.scale("prod", "web", 4).expect("scaled");
    cluster.serving("web", 4).await;
    only(&balancer, "new ones serve, too", &ids(&cluster)).await;
}

#[tokio::test]
async fn a_switch_of_task_sets_is_seen_although_events_are_relied_on() {
    let cluster = Cluster::start().await;
    blue(&cluster).await;
    let blue = ids(&cluster);
    cluster
        .ecs
        .events_queue("longshore", EventOptions::default());
    let keys = "events_queue: longshore, poll_interval: 1s, reconcile_interval: 3600s";
    let balancer = balance(&cluster, keys).await;
    only(&balancer, "the PRIMARY set serves", &blue).await;
    eventually("the queue is read", async || {
        (cluster.calls(&["ReceiveMessage"]) >= 2).then_some(())
    })
    .await;
    let green_set = set(&cluster).await;
    let all = cluster.serving("web", 4).await;
    let green = all.into_iter().map(|task| task.id);
    let green: Vec<String> = green.filter(|id| !blue.contains(id)).collect();
    eventually("events tell of the new tasks", async || {
        (balancer.group().await.not_targets.len() == 2).then_some(())
    })
    .await;
    only(&balancer, "they do not serve", &blue).await;
    let switched = cluster.ecs.set_primary_task_set("prod", "web", &green_set);
    switched.expect("it is PRIMARY");
    only(&balancer, "now they do", &green).await;
}

#[tokio::test]
async fn a_service_is_looked_at_every_two_seconds_until_its_deployment_is_complete() {
    let cluster = Cluster::start_with(Options {
        start_delay: Duration::from_secs(12),
        ..Options::default()
    })
    .await;
    cluster.service("web", 2).await;
    let balancer = balance(&cluster, "poll_interval: 6s").await;
    balancer.wait_for("healthy", 2).await;
    let looks = || cluster.calls(&["ListTasks"]);
    let window = async |seconds: u64| {
        let before = looks();
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        looks() - before
    };
    // The service has come up before; nothing is in motion.
    assert!(window(7).await <= 2, "at rest");
    cluster.ecs.deploy("prod", "web", "web").expect("deployed");
    eventually("a look sees the new tasks", async || {
        (balancer.group().await.not_targets.len() == 2).then_some(())
    })
    .await;
    // Three looks, each up to 2.2 s after the one before, and what the machine takes.
    assert!(window(9).await >= 3, "during the deployment");
    eventually("the deployment is over", async || {
        let targets = balancer.targets("healthy").await;
        let left = balancer.group().await.targets.len();
        (targets.len() == 2 && left == 2).then_some(())
    })
    .await;
    // The look that sees it complete comes within 2 s.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(window(7).await <= 2, "afterwards");
}

#[tokio::test]
async fn a_service_at_rest_is_asked_about_once_and_its_neighbours_are_told_along() {
    let cluster = Cluster::start().await;
    let names: Vec<String> = (0..6).map(|number| format!("s{number}")).collect();
    for name in &names {
        cluster.service(name, 1).await;
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let _balancer = cluster.balance(&names).await;
    eventually("eight looks at each", async || {
        (cluster.calls(&["ListTasks"]) >= 48).then_some(())
    })
    .await;
    let asked = cluster.calls(&["DescribeServices"]);
    assert!(asked <= 12, "{asked} calls");
}

#[tokio::test]
async fn a_service_that_is_scaled_to_nothing_loses_its_tasks_though_nothing_tells_of_them() {
    let cluster = Cluster::start().await;
    cluster.service("web", 5).await;
    let balancer = balance(&cluster, "poll_interval: 1s").await;
    balancer.wait_for("healthy", 5).await;
    let all = ids(&cluster);
    // DescribeTasks does not know them any more.
    cluster.ecs.faults().missing(&all);
    cluster.ecs.scale("prod", "web", 0).expect("scaled");
    eventually("none is left", async || {
        balancer.targets("healthy").await.is_empty().then_some(())
    })
    .await;
    assert!(balancer.group().await.not_targets.is_empty());
}

#[tokio::test]
async fn tasks_that_cannot_be_described_make_a_group_stale_and_their_known_places_stay() {
    let cluster = Cluster::start().await;
    cluster.service("web", 3).await;
    let balancer = balance(&cluster, "poll_interval: 1s").await;
    balancer.wait_for("healthy", 3).await;
    assert_eq!(balancer.group().await.discovery, "fresh");
    cluster
        .ecs
        .faults()
        .fail("DescribeTasks", Fault::ServerError, Times::UntilCleared);
    cluster.ecs.scale("prod", "web", 4).expect("scaled");
    let group = eventually("it is stale", async || {
        let group = balancer.group().await;
        (group.discovery == "stale").then_some(group)
    })
    .await;
    let error = group.discovery_error.expect("it has a reason");
    assert!(error.contains("DescribeTasks"), "{error}");
    let looks = cluster.calls(&["ListTasks"]);
    eventually("four more looks", async || {
        (cluster.calls(&["ListTasks"]) >= looks + 4).then_some(())
    })
    .await;
    assert_eq!(balancer.group().await.discovery, "stale");
    assert_eq!(balancer.targets("healthy").await.len(), 3);
    cluster.ecs.faults().clear();
    balancer.wait_for("healthy", 4).await;
    assert_eq!(balancer.group().await.discovery, "fresh");
}

#[tokio::test]
async fn a_first_look_that_describes_nothing_is_no_empty_set() {
    let cluster = Cluster::start().await;
    cluster.service("web", 2).await;
    cluster
        .ecs
        .faults()
        .fail("DescribeTasks", Fault::ServerError, Times::UntilCleared);
    let balancer = balance(&cluster, "poll_interval: 1s").await;
    eventually("five looks", async || {
        (cluster.calls(&["ListTasks"]) >= 5).then_some(())
    })
    .await;
    let group = balancer.group().await;
    assert_eq!((group.discovery, group.targets.len()), ("stale", 0));
    assert_eq!(group.discovery_age_seconds, None, "it has never answered");
    cluster.ecs.faults().clear();
    balancer.wait_for("healthy", 2).await;
}

#[tokio::test]
async fn a_host_that_was_refused_is_asked_for_again_while_events_are_relied_on() {
    let cluster = Cluster::start().await;
    cluster.service("web", 1).await;
    cluster
        .ecs
        .events_queue("longshore", EventOptions::default());
    let keys = "events_queue: longshore, poll_interval: 300s, reconcile_interval: 3600s";
    let balancer = balance(&cluster, keys).await;
    balancer.wait_for("healthy", 1).await;
    eventually("the queue is read", async || {
        (cluster.calls(&["ReceiveMessage"]) >= 2).then_some(())
    })
    .await;
    let looks = cluster.calls(&["ListTasks"]);
    cluster.ecs.faults().fail(
        "DescribeInstances",
        Fault::AccessDenied,
        Times::UntilCleared,
    );
    let host = Host::new(cluster.ecs.spare_address(), "eu-central-1b");
    cluster.ecs.add_host("prod", host);
    cluster.ecs.scale("prod", "web", 2).expect("scaled");
    eventually("its host is refused", async || {
        let problems = balancer.group().await.not_targets;
        let refused = |it: &longshore::control::view::ProblemView| {
            it.reason.contains("ec2:DescribeInstances")
        };
        problems.iter().any(refused).then_some(())
    })
    .await;
    cluster.ecs.faults().clear();
    balancer.wait_for("healthy", 2).await;
    assert_eq!(cluster.calls(&["ListTasks"]), looks, "no look was needed");
}

#[tokio::test]
async fn of_a_labelled_service_only_the_primary_task_set_serves_and_at_rest_nobody_asks_about_it() {
    let cluster = Cluster::start().await;
    let mut definition = TaskDefinition::bridge("web", 8080);
    let container = definition.containers.remove(0);
    let labels = [
        ("enable", "true"),
        ("target_group", "web"),
        ("rule.path_pattern", "/*"),
        ("health_check.path", "/health"),
        ("health_check.interval", "1"),
        ("health_check.timeout", "1"),
    ];
    let container = labels
        .into_iter()
        .fold(container, |container, (label, value)| {
            container.label(format!("longshore.{label}"), value)
        });
    definition.containers.push(container);
    cluster.ecs.register_task_definition(definition);
    cluster
        .ecs
        .create_set_service("prod", "web", DeploymentController::External, 2)
        .expect("created");
    let blue_set = set(&cluster).await;
    cluster.serving("web", 2).await;
    make_primary(&cluster, &blue_set);
    let blue = ids(&cluster);
    let text = "listeners: [{name: web, address: '127.0.0.1:1', default_action: [{type: fixed_response, fixed_response: {status_code: 404}}]}]
label_discovery: [{name: prod, ecs: {cluster: prod, poll_interval: 1s}, listeners: [web]}]
";
    let endpoint = cluster.ecs.endpoint_url();
    let balancer = balancer::start_with(text, Aws::Emulator { endpoint }).await;
    let mut client = Wire::connect(balancer.address()).await;
    eventually("it serves", async || {
        (client.get("/").await.status() == 200).then_some(())
    })
    .await;
    only(&balancer, "the first set serves", &blue).await;
    assert_eq!(cluster.calls(&["DescribeServices"]), 0);

    let green_set = set(&cluster).await;
    let all = cluster.serving("web", 4).await;
    let green = all.into_iter().map(|task| task.id);
    let green: Vec<String> = green.filter(|id| !blue.contains(id)).collect();
    eventually("the others say why they do not serve", async || {
        let view = balancer.balancer.targets().await.expect("it runs");
        let problems = &view.label_discovery[0].not_targets;
        let reason = format!("its task set {green_set} is ACTIVE, not PRIMARY");
        let says = |id: &String| {
            let mut problems = problems.iter();
            problems.any(|it| it.subject == *id && it.reason == reason)
        };
        green.iter().all(says).then_some(())
    })
    .await;
    switches_move_every_request(
        &cluster,
        &balancer,
        (&blue_set, &blue),
        (&green_set, &green),
    )
    .await;
}
