//! Events of ECS through a queue, at an emulator, through the real SDK.

use std::time::{Duration, Instant};

use longshore_emulator::{EventOptions, Fault, TaskDefinition, Times};
use longshore_tests::balancer::{self, Running};
use longshore_tests::cluster::Cluster;
use longshore_tests::eventually;
use longshore_tests::services::serve;
use longshore_tests::wire::Wire;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

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

#[tokio::test]
async fn a_new_revision_is_looked_up_when_an_event_tells_of_its_task_and_without_any_poll() {
    let cluster = Cluster::start().await;
    serve(&cluster, "web", 1, TaskDefinition::host("", 18080)).await;
    cluster.ecs.events_queue(QUEUE, EventOptions::default());
    let balancer = balance(&cluster, NEVER).await;
    balancer.wait_for("healthy", 1).await;
    queue_works(&cluster).await;
    let before = polls(&cluster);
    cluster.ecs.register_task_definition(TaskDefinition {
        family: "web".to_owned(),
        ..TaskDefinition::host("", 18081)
    });
    cluster.ecs.deploy("prod", "web", "web").expect("deployed");
    eventually("only the new port is a target", async || {
        let targets = balancer.targets("healthy").await;
        let new =
            |target: &longshore::control::view::TargetView| target.address.ends_with(":18081");
        (targets.len() == 1 && targets.iter().all(new)).then_some(())
    })
    .await;
    assert_eq!(polls(&cluster), before, "no poll was needed");
    assert_eq!(cluster.ecs.calls()["DescribeTaskDefinition"], 2);
}

#[tokio::test]
async fn groups_on_one_queue_share_its_reader_and_hear_all_of_it() {
    let cluster = Cluster::start().await;
    cluster.service("web", 1).await;
    cluster.service("api", 1).await;
    cluster.ecs.events_queue(QUEUE, EventOptions::default());
    let group = |name: &str| {
        format!(
            "  - name: {name}
    discovery: {{ecs: {{cluster: prod, service: {name}, events_queue: {QUEUE}, {NEVER}}}}}
    health_check: {{path: /health, interval: 1, timeout: 1}}
"
        )
    };
    let text = format!(
        "listeners: [{{name: web, address: '127.0.0.1:1', default_action: [{{type: forward, target_group: web}}]}}]\ntarget_groups:\n{}{}",
        group("web"),
        group("api")
    );
    let aws = longshore_discovery::ecs::Aws::Emulator {
        endpoint: cluster.ecs.endpoint_url(),
    };
    let balancer = balancer::start_with(&text, aws).await;
    queue_works(&cluster).await;
    let before = polls(&cluster);
    cluster.ecs.scale("prod", "web", 3).expect("scaled");
    cluster.ecs.scale("prod", "api", 2).expect("scaled");
    eventually("both groups have their new tasks", async || {
        let view = balancer.balancer.targets().await.expect("it runs");
        let healthy = |group: usize| {
            let targets = view.target_groups[group].targets.iter();
            // No rule forwards to the second one, so its state is another.
            let healthy = targets.filter(|target| target.verdict == Some("healthy"));
            healthy.count()
        };
        ((healthy(0), healthy(1)) == (3, 2)).then_some(())
    })
    .await;
    assert_eq!(polls(&cluster), before);
    assert_eq!(cluster.ecs.calls()["GetQueueUrl"], 1, "one reader");
}

#[tokio::test]
async fn doubled_and_reordered_events_by_way_of_sns_end_in_the_right_targets() {
    let seed = 21;
    println!("seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let cluster = Cluster::start().await;
    cluster.service("web", 3).await;
    let options = EventOptions {
        duplicates: 0.5,
        reorder: 0.5,
        by_sns: true,
        seed,
        ..EventOptions::default()
    };
    cluster.ecs.events_queue(QUEUE, options);
    let balancer = balance(&cluster, NEVER).await;
    balancer.wait_for("healthy", 3).await;
    queue_works(&cluster).await;
    let before = polls(&cluster);
    for _ in 0..6 {
        for _ in 0..3 {
            let count = rng.random_range(2..=6);
            cluster.ecs.scale("prod", "web", count).expect("scaled");
            let tasks = cluster.serving("web", count).await;
            let victim = &tasks[rng.random_range(0..tasks.len())];
            cluster.ecs.stop_task(&victim.id).expect("stopped");
            cluster.serving("web", count).await;
        }
        eventually("the balancer has the tasks that serve", async || {
            let targets = balancer.targets("healthy").await;
            let serving = cluster.tasks_of("web");
            let known = |id: &str| targets.iter().any(|target| target.id.starts_with(id));
            let same = targets.len() == serving.len() && serving.iter().all(|task| known(&task.id));
            same.then_some(())
        })
        .await;
    }
    assert_eq!(polls(&cluster), before, "no poll was needed");
    let mut client = Wire::connect(balancer.address()).await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.status(), 200);
    }
    eventually("every message is deleted", async || {
        (cluster.ecs.messages_left(QUEUE) == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn messages_that_are_no_events_are_deleted_and_change_nothing() {
    let cluster = Cluster::start().await;
    cluster.service("web", 2).await;
    cluster.ecs.events_queue(QUEUE, EventOptions::default());
    let balancer = balance(&cluster, NEVER).await;
    balancer.wait_for("healthy", 2).await;
    queue_works(&cluster).await;
    let before = polls(&cluster);
    for body in [
        "",
        "nonsense",
        "[[[[",
        r#"{"source": "aws.ecs", "detail-type": "ECS Task State Change", "detail": {}}"#,
        r#"{"source": "aws.ecs", "detail-type": "ECS Container Instance State Change", "detail": {}}"#,
        r#"{"Type": "SubscriptionConfirmation", "Message": "You have chosen to subscribe"}"#,
    ] {
        cluster.ecs.send_message(QUEUE, body);
    }
    cluster.ecs.scale("prod", "web", 3).expect("scaled");
    balancer.wait_for("healthy", 3).await;
    eventually("every message is deleted", async || {
        (cluster.ecs.messages_left(QUEUE) == 0).then_some(())
    })
    .await;
    assert_eq!(polls(&cluster), before);
}

#[tokio::test]
async fn a_queue_that_fails_is_made_up_for_by_polling_until_it_works_again() {
    let cluster = Cluster::start().await;
    cluster.service("web", 1).await;
    cluster.ecs.events_queue(QUEUE, EventOptions::default());
    let balancer = balance(&cluster, "poll_interval: 300ms, reconcile_interval: 3600s").await;
    balancer.wait_for("healthy", 1).await;
    queue_works(&cluster).await;
    let says_so = async || {
        let problems = balancer.group().await.not_targets;
        let mut problems = problems.iter();
        problems.any(|problem| problem.subject == "events_queue")
    };
    assert!(!says_so().await);
    cluster
        .ecs
        .faults()
        .fail("ReceiveMessage", Fault::AccessDenied, Times::UntilCleared);
    // Ends the long poll that is under way.
    cluster.ecs.send_message(QUEUE, "wake up");
    eventually("the failure is shown", async || {
        says_so().await.then_some(())
    })
    .await;
    cluster.ecs.scale("prod", "web", 3).expect("scaled");
    balancer.wait_for("healthy", 3).await;
    cluster.ecs.scale("prod", "web", 2).expect("scaled");
    balancer.wait_for("healthy", 2).await;
    assert_eq!(balancer.group().await.discovery, "fresh");
    cluster.ecs.faults().clear();
    eventually("it works again", async || (!says_so().await).then_some(())).await;
    let before = polls(&cluster);
    cluster.ecs.scale("prod", "web", 4).expect("scaled");
    balancer.wait_for("healthy", 4).await;
    assert!(
        polls(&cluster) <= before + 1,
        "a poll may have been under way"
    );
}

#[tokio::test]
async fn a_queue_that_is_not_there_leaves_polling_as_it_is() {
    let cluster = Cluster::start().await;
    cluster.service("web", 1).await;
    let balancer = balance(&cluster, "poll_interval: 300ms").await;
    balancer.wait_for("healthy", 1).await;
    cluster.ecs.scale("prod", "web", 2).expect("scaled");
    balancer.wait_for("healthy", 2).await;
    // Created later, it is found.
    cluster.ecs.events_queue(QUEUE, EventOptions::default());
    queue_works(&cluster).await;
    cluster.ecs.scale("prod", "web", 3).expect("scaled");
    balancer.wait_for("healthy", 3).await;
}

#[tokio::test]
async fn a_stop_counts_at_once_while_a_look_hangs() {
    let cluster = Cluster::start().await;
    cluster.service("web", 3).await;
    cluster.tasks.set_grace("web", Duration::from_secs(4));
    cluster.ecs.events_queue(QUEUE, EventOptions::default());
    let balancer = balance(&cluster, "poll_interval: 300ms, reconcile_interval: 10s").await;
    balancer.wait_for("healthy", 3).await;
    queue_works(&cluster).await;
    let before = polls(&cluster);
    cluster
        .ecs
        .faults()
        .fail("ListTasks", Fault::Hang, Times::UntilCleared);
    eventually("a look hangs", async || {
        (polls(&cluster) > before).then_some(())
    })
    .await;
    let stopped = cluster.tasks_of("web")[0].id.clone();
    let began = Instant::now();
    cluster.ecs.stop_task(&stopped).expect("stopped");
    eventually("its replacement is in its place", async || {
        let targets = balancer.targets("healthy").await;
        let gone = targets
            .iter()
            .all(|target| !target.id.starts_with(&stopped));
        (gone && targets.len() == 3).then_some(())
    })
    .await;
    let took = began.elapsed();
    assert!(
        took < Duration::from_secs(5),
        "{took:?}, and a call has 15 s"
    );
}

#[tokio::test]
async fn lost_events_are_made_up_for_by_reconciling_and_then_by_polling() {
    let cluster = Cluster::start().await;
    cluster.service("web", 1).await;
    let options = EventOptions {
        loss: 1.0,
        ..EventOptions::default()
    };
    cluster.ecs.events_queue(QUEUE, options);
    let balancer = balance(&cluster, "poll_interval: 1s, reconcile_interval: 10s").await;
    balancer.wait_for("healthy", 1).await;
    queue_works(&cluster).await;
    let before = polls(&cluster);
    for count in [2, 3] {
        cluster.ecs.scale("prod", "web", count).expect("scaled");
        balancer.wait_for("healthy", count).await;
    }
    assert!(polls(&cluster) <= before + 4, "reconciling is rare");
    eventually("the silence is noticed", async || {
        let problems = balancer.group().await.not_targets;
        let mut problems = problems.iter();
        problems
            .any(|problem| problem.reason.contains("no event told"))
            .then_some(())
    })
    .await;
    let began = Instant::now();
    cluster.ecs.scale("prod", "web", 4).expect("scaled");
    balancer.wait_for("healthy", 4).await;
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
}

/// The value below which so much of the list lies.
fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort();
    times[(times.len() * percent).div_ceil(100) - 1]
}

#[tokio::test]
async fn a_task_serves_within_three_seconds_of_its_start_and_no_more_two_after_its_stop() {
    const ROUNDS: usize = 40;
    let cluster = Cluster::start().await;
    cluster.service("web", 2).await;
    // A stopped task goes on answering for a while, so that only the event can tell of its end.
    cluster.tasks.set_grace("web", Duration::from_secs(4));
    cluster.ecs.events_queue(QUEUE, EventOptions::default());
    let balancer = balance(&cluster, NEVER).await;
    balancer.wait_for("healthy", 2).await;
    queue_works(&cluster).await;
    let (mut starts, mut stops) = (Vec::new(), Vec::new());
    let mut client = Wire::connect(balancer.address()).await;
    for round in 0..ROUNDS {
        let known: Vec<String> = cluster.tasks_of("web").into_iter().map(|t| t.id).collect();
        let stopped = &known[round % known.len()];
        // The service replaces it.
        cluster.ecs.stop_task(stopped).expect("stopped");
        let (new, served_at) = loop {
            let got = client.get("/").await;
            assert_eq!(got.status(), 200, "{:?}", got.reason());
            match got.head.get("x-task-id") {
                Some(id) if !known.iter().any(|known| known == id) => {
                    break (id.to_owned(), Instant::now());
                }
                _ => tokio::task::yield_now().await,
            }
        };
        let tasks = cluster.ecs.tasks();
        let of = |id: &str| tasks.iter().find(|task| task.id == id).expect("known");
        let running = of(&new).running_at.expect("it runs");
        starts.push(served_at.saturating_duration_since(running));
        let asked = of(stopped).stop_requested_at.expect("it stops");
        let last = cluster.tasks.last_request(stopped).unwrap_or(asked);
        stops.push(last.saturating_duration_since(asked));
        let targets = balancer.targets("healthy").await;
        assert!(
            targets
                .iter()
                .all(|target| !target.id.starts_with(stopped.as_str()))
        );
    }
    let (start, stop) = (percentile(&mut starts, 95), percentile(&mut stops, 95));
    println!(
        "{ROUNDS} tasks, events without delay: p50 and p95 from RUNNING to the first request \
         {:?} {start:?}, from desired STOPPED to the last request {:?} {stop:?}",
        percentile(&mut starts, 50),
        percentile(&mut stops, 50),
    );
    assert!(start <= Duration::from_secs(3), "{start:?}");
    assert!(stop <= Duration::from_secs(2), "{stop:?}");
}
