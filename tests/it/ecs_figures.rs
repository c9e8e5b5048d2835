//! The figures in `discovery/README.md`, measured at the emulator over real sockets. They take
//! minutes, so they run only when they are asked for:
//!
//! `cargo test --workspace --test it ecs_figures:: -- --ignored --nocapture --test-threads 1`

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use longshore_discovery::ecs::Aws;
use longshore_emulator::{EventOptions, Options, TaskDefinition};
use longshore_tests::balancer::{self, Running};
use longshore_tests::cluster::{Cluster, listener};
use longshore_tests::services::group;
use longshore_tests::wire::Wire;
use longshore_tests::{eventually, fleet};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::ecs_calls::{SHARED, replace_one, thousand};

const SERVICES: usize = 8;
const ROUNDS: usize = 5;

/// The value below which so much of the list lies.
fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[(times.len() * percent).div_ceil(100) - 1]
}

/// Balances the services `s0` and so on.
async fn balance(cluster: &Cluster, keys: &str) -> Running {
    let (mut listeners, mut groups) = (String::new(), String::new());
    for number in 0..SERVICES {
        listeners.push_str(&format!(
            "  - {{name: s{number}, address: '127.0.0.1:{}', default_action: [{{type: forward, target_group: s{number}}}]}}\n",
            number + 1
        ));
        groups.push_str(&format!(
            "  - {{name: s{number}, health_check: {{path: /health, interval: 1, timeout: 1}}, discovery: {{ecs: {{cluster: prod, service: s{number}, {keys}}}}}}}\n"
        ));
    }
    let text = format!("listeners:\n{listeners}target_groups:\n{groups}");
    let endpoint = cluster.ecs.endpoint_url();
    balancer::start_with(&text, Aws::Emulator { endpoint }).await
}

/// Stops a task of a service with traffic on it. Tells how long after RUNNING its successor had
/// its first request, and how long after its stop it had its own last one.
async fn replace(cluster: &Cluster, balancer: &Running, name: &str) -> (Duration, Duration) {
    let mut client = Wire::connect(listener(balancer, name)).await;
    let known: Vec<String> = cluster.tasks_of(name).into_iter().map(|t| t.id).collect();
    let stopped = &known[0];
    cluster.ecs.stop_task(stopped).expect("stopped");
    let mut first = None;
    let mut looked = Instant::now();
    loop {
        let got = client.get("/").await;
        assert_eq!(got.status(), 200, "{:?}", got.reason());
        let id = got.head.get("x-task-id").expect("told");
        if first.is_none() && !known.iter().any(|known| known == id) {
            first = Some((id.to_owned(), Instant::now()));
        }
        if looked.elapsed() > Duration::from_millis(100) {
            looked = Instant::now();
            let targets = group(balancer, name).await.targets;
            let draining = |id: &String| {
                let own = targets.iter().find(|target| target.id.starts_with(id));
                own.is_none_or(|target| target.state == "draining")
            };
            if first.is_some() && draining(stopped) {
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let (new, served_at) = first.expect("it was waited for");
    let tasks = cluster.ecs.tasks();
    let of = |id: &str| tasks.iter().find(|task| task.id == id).expect("known");
    let running = of(&new).running_at.expect("it runs");
    let asked = of(stopped).stop_requested_at.expect("it stops");
    let last = cluster.tasks.last_request(stopped).unwrap_or(asked);
    (
        served_at.saturating_duration_since(running),
        last.saturating_duration_since(asked),
    )
}

#[tokio::test]
#[ignore = "a figure: takes two minutes"]
async fn times_from_running_to_the_first_request_and_from_the_stop_to_the_last() {
    for (what, keys, start_goal, stop_goal) in [
        (
            "events",
            "events_queue: longshore, poll_interval: 300s, reconcile_interval: 3600s",
            3,
            2,
        ),
        ("polling every 5 s", "poll_interval: 5s", 8, 6),
    ] {
        let cluster = Cluster::start_with(Options {
            start_delay: Duration::from_secs(2),
            stop_timeout: Duration::from_secs(20),
            ..Options::default()
        })
        .await;
        for number in 0..SERVICES {
            let name = format!("s{number}");
            cluster
                .ecs
                .register_task_definition(TaskDefinition::bridge(&name, 8080));
            let created = cluster.ecs.create_service("prod", &name, &name, 2);
            created.expect("created");
            // Whoever was told to stop goes on answering, so that only discovery ends it.
            cluster.tasks.set_grace(&name, Duration::from_secs(15));
            cluster.serving(&name, 2).await;
        }
        cluster
            .ecs
            .events_queue("longshore", EventOptions::default());
        let balancer = balance(&cluster, keys).await;
        let seed = 5;
        println!("seed {seed}");
        let (mut starts, mut stops) = (Vec::new(), Vec::new());
        let runs = (0..SERVICES).map(|number| {
            let (cluster, balancer) = (&cluster, &balancer);
            let mut rng = SmallRng::seed_from_u64(seed + number as u64);
            async move {
                let name = format!("s{number}");
                let mut times = Vec::new();
                for _ in 0..ROUNDS {
                    let pause = Duration::from_millis(rng.random_range(500..6_000));
                    tokio::time::sleep(pause).await;
                    cluster.serving(&name, 2).await;
                    eventually("both are healthy", async || {
                        let targets = group(balancer, &name).await.targets;
                        let healthy = targets.iter().filter(|t| t.state == "healthy");
                        (healthy.count() == 2).then_some(())
                    })
                    .await;
                    times.push(replace(cluster, balancer, &name).await);
                }
                times
            }
        });
        for (start, stop) in join_all(runs).await.into_iter().flatten() {
            starts.push(start);
            stops.push(stop);
        }
        println!("{what}: {} starts, {} stops", starts.len(), stops.len());
        for (what, times) in [("first request", &starts), ("last request", &stops)] {
            println!(
                "  {what}: p50 {:.2?}, p95 {:.2?}, most {:.2?}",
                percentile(times, 50),
                percentile(times, 95),
                percentile(times, 100)
            );
        }
        assert!(percentile(&starts, 95) <= Duration::from_secs(start_goal));
        assert!(percentile(&stops, 95) <= Duration::from_secs(stop_goal));
    }
}

/// Counts the calls of a thousand tasks at rest, and while 200 of them are replaced in an hour,
/// each of which takes 10 s to start. Returns both, a second.
async fn rates(what: &str, keys: &str) -> (f64, f64) {
    let (cluster, _balancer) = thousand(1_000, Duration::from_secs(10), keys).await;
    // What comes up is over.
    tokio::time::sleep(Duration::from_secs(20)).await;
    let rate = async |replaced: Option<u64>, seconds: u64| {
        let before = (cluster.calls(&SHARED), cluster.calls(&["DescribeServices"]));
        let began = Instant::now();
        let mut next = 0;
        while began.elapsed() < Duration::from_secs(seconds) {
            if replaced.is_some_and(|every| began.elapsed().as_secs() >= next * every) {
                replace_one(&cluster, usize::try_from(next).expect("small"));
                next += 1;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let seconds = began.elapsed().as_secs_f64();
        let shared = cluster.calls(&SHARED) - before.0;
        let services = cluster.calls(&["DescribeServices"]) - before.1;
        println!(
            "{what}, {next} tasks replaced in {seconds:.0} s: {:.3} shared calls/s, {:.3} \
             DescribeServices/s",
            shared as f64 / seconds,
            services as f64 / seconds
        );
        shared as f64 / seconds
    };
    // With events, from one reconciling look to the next.
    (rate(None, 306).await, rate(Some(18), 306).await)
}

#[tokio::test]
#[ignore = "a figure: takes eleven minutes"]
async fn calls_of_a_thousand_tasks_that_are_polled() {
    let (rest, churning) = rates("polling every 5 s", "poll_interval: 5s").await;
    assert!(rest < 2.15 && churning < 2.15, "{rest} {churning}");
}

#[tokio::test]
#[ignore = "a figure: takes eleven minutes"]
async fn calls_of_a_thousand_tasks_with_events() {
    let keys = "events_queue: longshore, poll_interval: 5s, reconcile_interval: 300s";
    let (rest, churning) = rates("events", keys).await;
    assert!(rest <= 0.14 && churning <= 0.14, "{rest} {churning}");
}

#[tokio::test]
#[ignore = "a figure: takes a minute"]
async fn ten_thousand_tasks_are_found_within_the_budget_while_another_group_serves() {
    let options = Options {
        throttle: true,
        start_delay: Duration::ZERO,
        ..Options::default()
    };
    let cluster = fleet::start(options, 1_000, &["web"]).await;
    // ECS has at most 5,000 tasks in a service.
    for (name, count) in [("web", 4), ("big", 5_000), ("bigger", 5_000)] {
        cluster
            .ecs
            .register_task_definition(TaskDefinition::bridge(name, 8080));
        let created = cluster.ecs.create_service("prod", name, name, count);
        created.expect("created");
        let began = Instant::now();
        while cluster.tasks_of(name).len() < count {
            assert!(
                began.elapsed() < Duration::from_secs(300),
                "{name} comes up"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    let group_of = |name: &str, check: &str| {
        format!(
            "  - {{name: {name}, health_check: {check}, discovery: {{ecs: {{cluster: prod, service: {name}, poll_interval: 5s}}}}}}\n"
        )
    };
    let web = group_of("web", "{path: /health, interval: 1, timeout: 1}");
    let file = |groups: &str| {
        format!(
            "listeners: [{{name: web, address: '127.0.0.1:1', default_action: [{{type: forward, target_group: web}}]}}]\ntarget_groups:\n{groups}"
        )
    };
    let endpoint = cluster.ecs.endpoint_url();
    let mut balancer = balancer::start_with(&file(&web), Aws::Limited { endpoint }).await;
    balancer.wait_for("healthy", 4).await;
    let address = balancer.address();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let traffic = tokio::spawn(async move {
        let mut client = Wire::connect(address).await;
        let (mut requests, mut failures, mut longest) = (0_u64, 0_u64, Duration::ZERO);
        while !*stopped.borrow() {
            let began = Instant::now();
            let got = client.get("/").await;
            longest = longest.max(began.elapsed());
            requests += 1;
            failures += u64::from(got.status() != 200);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        (requests, failures, longest)
    });
    let (calls, began) = (cluster.calls(&SHARED), Instant::now());
    let groups = format!(
        "{web}{}{}",
        group_of("big", "{enabled: false}"),
        group_of("bigger", "{enabled: false}")
    );
    let reloaded = balancer
        .balancer
        .reload(balancer::config(&file(&groups)))
        .await;
    reloaded.expect("reloaded");
    let found = async |name: &str| group(&balancer, name).await.targets.len();
    let took = loop {
        if found("big").await == 5_000 && found("bigger").await == 5_000 {
            break began.elapsed();
        }
        assert!(began.elapsed() < Duration::from_secs(180), "they are found");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let calls = cluster.calls(&SHARED) - calls;
    stop.send_replace(true);
    let (requests, failures, longest) = traffic.await.expect("it ends");
    println!(
        "10,000 tasks: {calls} shared calls in {took:.1?}, {} refused; meanwhile {requests} \
         requests of another group, {failures} failed, the longest {longest:.1?}",
        cluster.ecs.throttled().values().sum::<u64>()
    );
    assert_eq!(failures, 0);
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    assert!(cluster.ecs.throttled().is_empty());
    let budget = 20.0 + 5.0 * took.as_secs_f64();
    assert!(calls as f64 <= budget + 1.0, "{calls} of {budget}");
}
