//! What a service of a thousand tasks costs in calls to AWS, counted at an emulator. See the
//! arithmetic in `discovery/README.md`.

use std::time::Duration;

use longshore_discovery::ecs::Aws;
use longshore_emulator::{EventOptions, Fault, Options, TaskDefinition, Times};
use longshore_tests::balancer::{self, Running};
use longshore_tests::cluster::Cluster;
use longshore_tests::wire::Wire;
use longshore_tests::{eventually, fleet};

/// The operations that share one limit of the account.
pub(crate) const SHARED: [&str; 3] = ["ListTasks", "DescribeTasks", "DescribeContainerInstances"];

/// A service of so many tasks without processes, and a balancer that knows them.
pub(crate) async fn thousand(tasks: usize, starts_in: Duration, keys: &str) -> (Cluster, Running) {
    let options = Options {
        start_delay: starts_in,
        ..Options::default()
    };
    let cluster = fleet::start(options, tasks / 10, &[]).await;
    cluster
        .ecs
        .register_task_definition(TaskDefinition::bridge("big", 8080));
    cluster
        .ecs
        .create_service("prod", "big", "big", tasks)
        .expect("created");
    cluster.serving("big", tasks).await;
    cluster
        .ecs
        .events_queue("longshore", EventOptions::default());
    let text = format!(
        "listeners: [{{name: big, address: '127.0.0.1:1', default_action: [{{type: forward, target_group: big}}]}}]
target_groups:
  - {{name: big, health_check: {{enabled: false}}, discovery: {{ecs: {{cluster: prod, service: big, {keys}}}}}}}
"
    );
    let endpoint = cluster.ecs.endpoint_url();
    let balancer = balancer::start_with(&text, Aws::Emulator { endpoint }).await;
    eventually("all tasks are targets", async || {
        (balancer.group().await.targets.len() == tasks).then_some(())
    })
    .await;
    (cluster, balancer)
}

/// Stops a task, which the service replaces.
pub(crate) fn replace_one(cluster: &Cluster, number: usize) {
    let tasks = cluster.tasks_of("big");
    let chosen = &tasks[number * 7919 % tasks.len()];
    cluster.ecs.stop_task(&chosen.id).expect("stopped");
}

#[tokio::test]
async fn a_thousand_tasks_cost_ten_calls_a_look_and_half_a_call_more_when_a_fifth_goes_each_hour() {
    // One look a second in place of one in 5 s, and all else five times as fast: 200 tasks an
    // hour are one in 18 s, or in 3.6 looks; a task that takes 10 s to start takes two looks.
    let (cluster, balancer) = thousand(1_000, Duration::from_secs(2), "poll_interval: 1s").await;
    let looks = || cluster.calls(&["ListTasks"]) / 10;
    let wait_for = async |look: u64| {
        eventually("a look", async || (looks() >= look).then_some(())).await;
    };
    // The service counts as in motion until it is asked about again.
    wait_for(looks() + 3).await;
    let (calls, first) = (cluster.calls(&SHARED), looks());
    wait_for(first + 8).await;
    let at_rest = (cluster.calls(&SHARED) - calls) as f64 / (looks() - first) as f64;
    let (calls, first) = (cluster.calls(&SHARED), looks());
    let services = cluster.calls(&["DescribeServices"]);
    for replaced in 0..8_u64 {
        wait_for(first + (replaced * 36).div_ceil(10)).await;
        replace_one(&cluster, usize::try_from(replaced).expect("small"));
    }
    wait_for(first + 29).await;
    let count = (looks() - first) as f64;
    let churning = (cluster.calls(&SHARED) - calls) as f64 / count;
    let services = (cluster.calls(&["DescribeServices"]) - services) as f64 / count;
    println!(
        "shared calls a look: {at_rest:.2} at rest ({:.2}/s at 5 s), {churning:.2} with 20 %/h \
         ({:.2}/s); DescribeServices {services:.2}",
        at_rest / 5.0,
        churning / 5.0
    );
    assert!((9.9..=10.2).contains(&at_rest), "{at_rest}");
    assert!((10.0..=10.7).contains(&churning), "{churning}");
    assert!(services <= 2.0, "{services}");
    eventually("the last successor is a target", async || {
        let targets = balancer.group().await.targets;
        let serving = targets.iter().filter(|target| target.state != "draining");
        (serving.count() == 1_000).then_some(())
    })
    .await;
}

#[tokio::test]
async fn with_events_a_thousand_tasks_cost_nothing_between_two_looks() {
    let keys = "events_queue: longshore, poll_interval: 1s, reconcile_interval: 3600s";
    let (cluster, balancer) = thousand(1_000, Duration::ZERO, keys).await;
    eventually("the queue is read", async || {
        (cluster.calls(&["ReceiveMessage"]) >= 2).then_some(())
    })
    .await;
    let asked = [SHARED.as_slice(), &["DescribeServices"]].concat();
    let calls = cluster.calls(&asked);
    for replaced in 0..20 {
        let before = cluster.tasks_of("big");
        replace_one(&cluster, replaced);
        eventually("its successor is a target", async || {
            let serving = cluster.tasks_of("big");
            let new = serving
                .iter()
                .find(|task| before.iter().all(|it| it.id != task.id))?;
            let targets = balancer.group().await.targets;
            let found = targets.iter().any(|target| target.id.starts_with(&new.id));
            found.then_some(())
        })
        .await;
    }
    assert_eq!(cluster.calls(&asked), calls, "not one call");
}

#[tokio::test]
async fn metrics_tell_how_many_messages_came_how_late_and_what_failed() {
    let cluster = Cluster::start().await;
    cluster.service("web", 1).await;
    cluster
        .ecs
        .events_queue("longshore", EventOptions::default());
    let text = "admin: {address: '127.0.0.1:2'}
listeners: [{name: web, address: '127.0.0.1:1', default_action: [{type: forward, target_group: web}]}]
target_groups:
  - {name: web, discovery: {ecs: {cluster: prod, service: web, events_queue: longshore}}}
";
    let endpoint = cluster.ecs.endpoint_url();
    let balancer = balancer::start_with(text, Aws::Emulator { endpoint }).await;
    balancer.wait_for("healthy", 1).await;
    let admin = balancer.balancer.admin_address().expect("it has one");
    let metric = async |name: &str| -> f64 {
        let got = Wire::connect(admin).await.get("/metrics").await;
        let text = String::from_utf8(got.body).expect("text");
        let start = format!("longshore_events_{name}{{queue=\"longshore\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        let line = line.unwrap_or_else(|| panic!("{name} in {text}"));
        line.parse().expect("a number")
    };
    eventually("the queue is read", async || {
        (cluster.calls(&["ReceiveMessage"]) >= 2).then_some(())
    })
    .await;
    cluster.ecs.send_message("longshore", "nonsense");
    cluster.ecs.scale("prod", "web", 2).expect("scaled");
    balancer.wait_for("healthy", 2).await;
    eventually("every message is counted", async || {
        let left = cluster.ecs.messages_left("longshore");
        (left == 0 && metric("messages_total").await >= 3.0).then_some(())
    })
    .await;
    assert_eq!(metric("malformed_total").await, 1.0);
    assert_eq!(metric("failures_total").await, 0.0);
    assert!((0.0..5.0).contains(&metric("lag_seconds").await));
    let faults = cluster.ecs.faults();
    faults.fail("ReceiveMessage", Fault::AccessDenied, Times::UntilCleared);
    cluster.ecs.send_message("longshore", "wake up");
    eventually("a failure is counted", async || {
        (metric("failures_total").await >= 1.0).then_some(())
    })
    .await;
}
