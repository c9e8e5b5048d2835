//! ECS, through the real SDK, at an emulator.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use longshore_emulator::{Fault, Faults, Options, TaskDefinition, Times};
use longshore_tests::cluster::{Cluster, listener};
use longshore_tests::process::Kept;
use longshore_tests::wire::Wire;
use longshore_tests::{eventually, within};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

#[tokio::test]
async fn tasks_on_dynamic_ports_of_one_host_become_targets() {
    let cluster = Cluster::start().await;
    cluster.service("web", 3).await;
    let balancer = cluster.balance(&["web"]).await;
    balancer.wait_for("healthy", 3).await;
    let targets = balancer.targets("healthy").await;
    let mut found: Vec<String> = targets
        .iter()
        .map(|target| target.address.clone())
        .collect();
    let mut expected: Vec<String> = cluster
        .tasks_of("web")
        .iter()
        .map(|task| task.addresses[0].to_string())
        .collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    for target in &targets {
        assert!(
            target
                .instance
                .as_ref()
                .is_some_and(|id| id.starts_with("i-")),
            "{target:?}"
        );
        assert_eq!(target.zone.as_deref(), Some("eu-central-1a"));
        assert!(
            target
                .task
                .as_ref()
                .is_some_and(|arn| arn.starts_with("arn:")),
            "{target:?}"
        );
    }
    let mut client = Wire::connect(balancer.address()).await;
    let mut served = std::collections::BTreeSet::new();
    for _ in 0..12 {
        let got = client.get("/").await;
        served.insert(got.head.get("x-task-id").expect("told").to_owned());
    }
    assert_eq!(served.len(), 3);
}

#[tokio::test]
async fn awsvpc_tasks_are_reached_at_their_own_address() {
    let cluster = Cluster::start().await;
    cluster
        .ecs
        .register_task_definition(TaskDefinition::awsvpc("net", 8080));
    cluster
        .ecs
        .create_service("prod", "net", "net", 2)
        .expect("created");
    cluster.serving("net", 2).await;
    let text = "listeners: [{name: net, address: '127.0.0.1:1', default_action: [{type: forward, target_group: net}]}]
target_groups:
  - name: net
    discovery: {ecs: {cluster: prod, service: net, container_port: 8080, poll_interval: 1s}}
    health_check: {path: /health, interval: 1, timeout: 1}
";
    let aws = longshore_discovery::ecs::Aws::Emulator {
        endpoint: cluster.ecs.endpoint_url(),
    };
    let balancer = longshore_tests::balancer::start_with(text, aws).await;
    balancer.wait_for("healthy", 2).await;
    let targets = balancer.targets("healthy").await;
    assert!(
        targets
            .iter()
            .all(|target| target.address.ends_with(":8080")),
        "{targets:?}"
    );
    assert_ne!(targets[0].address, targets[1].address);
    let mut client = Wire::connect(balancer.address()).await;
    assert_eq!(client.get("/").await.status(), 200);
}

#[tokio::test]
async fn a_stopped_task_leaves_and_its_replacement_serves() {
    let cluster = Cluster::start().await;
    cluster.service("web", 2).await;
    let balancer = cluster.balance(&["web"]).await;
    balancer.wait_for("healthy", 2).await;
    let stopped = cluster.tasks_of("web")[0].id.clone();
    cluster.ecs.stop_task(&stopped).expect("stopped");
    eventually("the replacement is the second healthy target", async || {
        let targets = balancer.targets("healthy").await;
        (targets.len() == 2
            && targets
                .iter()
                .all(|target| !target.id.starts_with(&stopped)))
        .then_some(())
    })
    .await;
    let mut client = Wire::connect(balancer.address()).await;
    for _ in 0..10 {
        let got = client.get("/").await;
        assert_ne!(got.head.get("x-task-id"), Some(stopped.as_str()));
    }
}

/// Requests go on while the API has a fault, and the state is seen.
async fn outage(fault: Fault) {
    let cluster = Cluster::start().await;
    cluster.service("web", 3).await;
    let balancer = cluster.balance(&["web"]).await;
    balancer.wait_for("healthy", 3).await;
    cluster
        .ecs
        .faults()
        .fail(Faults::ALL, fault, Times::UntilCleared);
    let mut client = Wire::connect(balancer.address()).await;
    let group = eventually("the fault is seen", async || {
        assert_eq!(within("a response", client.get("/")).await.status(), 200);
        let group = balancer.group().await;
        (group.discovery == "stale").then_some(group)
    })
    .await;
    assert!(
        group
            .discovery_error
            .is_some_and(|error| error.contains("ListTasks"))
    );
    assert_eq!(
        balancer.targets("healthy").await.len(),
        3,
        "the last good set stays"
    );
    for _ in 0..30 {
        assert_eq!(within("a response", client.get("/")).await.status(), 200);
    }
    cluster.ecs.faults().clear();
    cluster.ecs.scale("prod", "web", 4).expect("scaled");
    balancer.wait_for("healthy", 4).await;
    assert_eq!(balancer.group().await.discovery, "fresh");
}

#[tokio::test]
async fn traffic_goes_on_while_the_api_answers_errors() {
    outage(Fault::ServerError).await;
}

#[tokio::test]
async fn traffic_goes_on_while_the_api_throttles() {
    outage(Fault::Throttle).await;
}

#[tokio::test]
async fn traffic_goes_on_while_the_api_denies_access() {
    outage(Fault::AccessDenied).await;
}

#[tokio::test]
async fn traffic_goes_on_while_the_api_answers_nonsense() {
    outage(Fault::MalformedBody).await;
}

#[tokio::test]
async fn traffic_goes_on_while_the_api_answers_nothing() {
    outage(Fault::EmptyBody).await;
}

#[tokio::test]
async fn traffic_goes_on_while_the_api_closes_connections() {
    outage(Fault::CloseConnection).await;
}

#[tokio::test]
async fn traffic_goes_on_while_the_api_hangs() {
    outage(Fault::Hang).await;
}

#[tokio::test]
async fn half_of_a_describe_batch_failing_loses_no_target() {
    let cluster = Cluster::start().await;
    cluster.service("web", 4).await;
    let balancer = cluster.balance(&["web"]).await;
    balancer.wait_for("healthy", 4).await;
    cluster.ecs.faults().half_failures(true);
    cluster.ecs.scale("prod", "web", 12).expect("scaled");
    cluster.serving("web", 12).await;
    let mut client = Wire::connect(balancer.address()).await;
    eventually("some of the new tasks are found", async || {
        let healthy = balancer.targets("healthy").await.len();
        assert!(healthy >= 4, "{healthy} are left");
        assert_eq!(client.get("/").await.status(), 200);
        (healthy > 4).then_some(())
    })
    .await;
    cluster.ecs.faults().clear();
    balancer.wait_for("healthy", 12).await;
}

#[tokio::test]
async fn a_failed_describe_call_keeps_a_task_that_left_the_list() {
    let cluster = Cluster::start().await;
    cluster.service("web", 3).await;
    cluster.tasks.set_grace("web", Duration::from_secs(30));
    let balancer = cluster.balance(&["web"]).await;
    balancer.wait_for("healthy", 3).await;
    cluster
        .ecs
        .faults()
        .fail("DescribeTasks", Fault::ServerError, Times::UntilCleared);
    cluster.ecs.scale("prod", "web", 2).expect("scaled");
    eventually("the failure is seen", async || {
        let group = balancer.group().await;
        assert_eq!(
            group
                .targets
                .iter()
                .filter(|target| target.state == "healthy")
                .count(),
            3
        );
        group
            .not_targets
            .iter()
            .any(|problem| problem.reason.contains("DescribeTasks"))
            .then_some(())
    })
    .await;
    cluster.ecs.faults().clear();
    balancer.wait_for("healthy", 2).await;
}

#[tokio::test]
async fn discovery_that_is_down_at_the_start_is_made_up_for_later() {
    let cluster = Cluster::start().await;
    cluster.service("web", 2).await;
    cluster
        .ecs
        .faults()
        .fail(Faults::ALL, Fault::ServerError, Times::UntilCleared);
    let balancer = cluster.balance(&["web"]).await;
    let mut client = Wire::connect(balancer.address()).await;
    let got = client.get("/").await;
    assert_eq!((got.status(), got.reason()), (503, Some("no_targets")));
    cluster.ecs.faults().clear();
    balancer.wait_for("healthy", 2).await;
    assert_eq!(client.get("/").await.status(), 200);
}

/// Clients that ask for a service without a pause, and fail when another one answers.
struct Askers {
    stop: Arc<AtomicBool>,
    tasks: tokio::task::JoinSet<(usize, usize)>,
}

impl Askers {
    fn start(address: std::net::SocketAddr, service: &'static str, count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..count {
            let stop = Arc::clone(&stop);
            tasks.spawn(async move {
                let (mut asked, mut failed) = (0, 0);
                let mut client = Wire::connect(address).await;
                while !stop.load(Ordering::Relaxed) {
                    let what = format!("response {asked} of {service} to client {number}");
                    let got = within(&what, client.get("/")).await;
                    asked += 1;
                    match got.head.get("x-service") {
                        Some(answering) => {
                            assert_eq!(answering, service, "another service answered")
                        }
                        None => failed += 1,
                    }
                    // Some make new connections to the balancer now and then, so that the workers
                    // share the load anew.
                    if number % 2 == 0 && asked % 50 == 0 {
                        client = Wire::connect(address).await;
                    }
                }
                (asked, failed)
            });
        }
        Self { stop, tasks }
    }

    /// How many requests were made, and how many got no answer of the service.
    async fn stop(mut self) -> (usize, usize) {
        self.stop.store(true, Ordering::Relaxed);
        let mut sum = (0, 0);
        while let Some(done) = self.tasks.join_next().await {
            let (asked, failed) = done.expect("the right service answered");
            sum = (sum.0 + asked, sum.1 + failed);
        }
        sum
    }
}

/// Tasks of one service end, by `end`, while another service grows into their ports.
async fn ports_change_hands(seed: u64, end: impl Fn(&Cluster, &str)) {
    println!("seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let cluster = Cluster::start().await;
    cluster.service("mine", 4).await;
    cluster.service("theirs", 1).await;
    let balancer = cluster.balance(&["mine", "theirs"]).await;
    balancer.wait_for("healthy", 4).await;
    let mut taken = 0;
    let mine = Askers::start(listener(&balancer, "mine"), "mine", 8);
    let theirs = Askers::start(listener(&balancer, "theirs"), "theirs", 2);
    for round in 2..=25 {
        let tasks = cluster.serving("mine", 4).await;
        let victim = &tasks[rng.random_range(0..tasks.len())];
        let port = victim.addresses[0];
        end(&cluster, &victim.id);
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
            let serving = cluster.tasks_of("mine");
            let targets = balancer.targets("healthy").await;
            // And has used them: a task that ends before any connection to it was open leaves no
            // sign of its end (ARCHITECTURE, "What remains open").
            let known = |id: &str| {
                let mut targets = targets.iter();
                targets
                    .any(|target| target.id.starts_with(id) && target.requests > target.in_flight)
            };
            let same = targets.len() == 4 && serving.len() == 4;
            (same && serving.iter().all(|task| known(&task.id))).then_some(())
        })
        .await;
    }
    let (asked, failed) = mine.stop().await;
    let (asked_theirs, failed_theirs) = theirs.stop().await;
    println!("{asked} and {asked_theirs} requests; {taken} ports changed hands");
    assert!(taken >= 5, "only {taken} ports changed hands");
    assert!(asked > 1000, "{asked} requests");
    assert_eq!((failed, failed_theirs), (0, 0));
}

#[tokio::test]
async fn a_port_that_goes_to_another_service_at_once_gets_none_of_the_old_ones_requests() {
    ports_change_hands(11, |cluster, task| {
        cluster.ecs.stop_task(task).expect("stopped")
    })
    .await;
}

#[tokio::test]
async fn a_crashed_tasks_port_that_goes_to_another_service_gets_none_of_its_requests() {
    ports_change_hands(12, |cluster, task| {
        cluster.ecs.crash_task(task).expect("crashed")
    })
    .await;
}

#[tokio::test]
async fn the_port_of_a_task_that_ended_by_itself_after_a_last_response_gets_none_of_its_requests() {
    let cluster = Cluster::start_with(Options {
        start_delay: Duration::ZERO,
        crash_detection: Duration::from_millis(900),
        ..Options::default()
    })
    .await;
    cluster.service("mine", 1).await;
    cluster.service("theirs", 1).await;
    let balancer = cluster.balance(&["mine", "theirs"]).await;
    balancer.wait_for("healthy", 1).await;
    let mut client = Wire::connect(listener(&balancer, "mine")).await;
    for _ in 0..2 {
        assert_eq!(client.get("/").await.status(), 200);
    }
    let task = cluster.serving("mine", 1).await.remove(0);
    cluster.tasks.set_delay("mine", Duration::from_millis(300));
    client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    eventually("the task has the request", async || {
        (cluster.tasks.requests(&task.id) == 3).then_some(())
    })
    .await;
    cluster.ecs.exit_task(&task.id).expect("exits");
    let last = within("the last response", client.response()).await;
    assert_eq!(last.head.get("x-task-id"), Some(task.id.as_str()));
    eventually("the process has ended", async || {
        let tasks = cluster.ecs.tasks();
        let task = tasks.iter().find(|one| one.id == task.id);
        task.is_none_or(|task| !task.alive).then_some(())
    })
    .await;
    cluster.ecs.scale("prod", "theirs", 2).expect("scaled");
    let theirs = cluster.serving("theirs", 2).await;
    assert!(theirs.iter().any(|one| one.addresses == task.addresses));
    // ECS still calls the task RUNNING, and its only connection is gone.
    eventually("the replacement serves", async || {
        let next = within("a response", client.get("/")).await;
        assert_ne!(next.head.get("x-service"), Some("theirs"));
        assert!(next.status() == 200 || next.reason() == Some("no_targets"));
        (next.status() == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_restart_while_the_api_fails_serves_from_the_last_good_targets() {
    let directory = Kept::new("restart");
    let cluster = Cluster::start().await;
    cluster.service("web", 3).await;
    let check = "health_check: {path: /health, interval: 1, timeout: 1}";
    let first = cluster.balance_on(&directory.key(), &["web"], check).await;
    first.wait_for("healthy", 3).await;
    let record = directory.record("targets-web.json");
    eventually("the targets are kept", async || {
        let text = std::fs::read_to_string(&record).ok()?;
        (text.matches("started_at").count() == 3).then_some(())
    })
    .await;
    first.balancer.drain().await;
    cluster
        .ecs
        .faults()
        .fail(Faults::ALL, Fault::ServerError, Times::UntilCleared);
    let second = cluster.balance_on(&directory.key(), &["web"], check).await;
    let mut client = Wire::connect(second.address()).await;
    for _ in 0..20 {
        let got = within("a response", client.get("/")).await;
        assert_eq!(got.status(), 200, "{:?}", got.reason());
    }
    second.wait_for("healthy", 3).await;
    let group = second.group().await;
    assert_eq!(group.discovery, "stale");
    assert!(group.discovery_age_seconds.is_some(), "{group:?}");
    // What discovery says in the end counts, whole.
    cluster.ecs.scale("prod", "web", 1).expect("scaled");
    cluster.ecs.faults().clear();
    second.wait_for("healthy", 1).await;
    assert_eq!(second.group().await.discovery, "fresh");
}

#[tokio::test]
async fn a_remembered_target_that_is_gone_gets_no_request() {
    let directory = Kept::new("gone");
    let cluster = Cluster::start().await;
    cluster.service("web", 1).await;
    let check = "health_check: {path: /health, interval: 1, timeout: 1}";
    let first = cluster.balance_on(&directory.key(), &["web"], check).await;
    first.wait_for("healthy", 1).await;
    let record = directory.record("targets-web.json");
    eventually("the target is kept", async || record.exists().then_some(())).await;
    first.balancer.drain().await;
    cluster
        .ecs
        .faults()
        .fail(Faults::ALL, Fault::ServerError, Times::UntilCleared);
    cluster.ecs.scale("prod", "web", 0).expect("scaled");
    eventually("the task is gone", async || {
        cluster.tasks_of("web").is_empty().then_some(())
    })
    .await;
    let second = cluster.balance_on(&directory.key(), &["web"], check).await;
    let mut client = Wire::connect(second.address()).await;
    let got = within("an answer", client.get("/")).await;
    assert_eq!(
        (got.status(), got.reason()),
        (503, Some("no_checked_target"))
    );
}
