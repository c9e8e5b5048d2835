//! Groups and rules that labels of containers make, on ECS and Docker.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use longshore::control::view::{GroupView, LabelsView};
use longshore_discovery::ecs::Aws;
use longshore_emulator::{Container, Fault, Faults, PortMapping, TaskDefinition, Times};
use longshore_tests::balancer::{self, Running};
use longshore_tests::cluster::Cluster;
use longshore_tests::docker::DockerEngine;
use longshore_tests::origin::Origin;
use longshore_tests::process::{Kept, TempFile, output_with};
use longshore_tests::wire::{Response, Wire};
use longshore_tests::{eventually, within};

/// A file whose groups and rules for `web` come from labels alone.
fn text(source: &str, top: &str) -> String {
    format!(
        "{top}listeners:
  - name: web
    address: 127.0.0.1:1
    default_action: [{{type: fixed_response, fixed_response: {{status_code: 404}}}}]
    rules:
      - {{priority: 1, condition: [{{path_pattern: {{values: [/file]}}}}], action: [{{type: forward, target_group: file}}]}}
target_groups: [{{name: file}}]
label_discovery:
  - {{name: prod, {source}, listeners: [web]}}
"
    )
}

const ECS: &str = "ecs: {cluster: prod, poll_interval: 1s}";

async fn balance(cluster: &Cluster) -> Running {
    balance_on(cluster, "").await
}

async fn balance_on(cluster: &Cluster, top: &str) -> Running {
    let endpoint = cluster.ecs.endpoint_url();
    balancer::start_with(&text(ECS, top), Aws::Emulator { endpoint }).await
}

/// A task with one container and these labels, one a line and without their prefix.
fn labelled(family: &str, labels: &str) -> TaskDefinition {
    let container = Container::new("web", vec![PortMapping::dynamic(8080)]);
    let lines = labels
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let container = lines.filter_map(|line| line.split_once(": ")).fold(
        container.label("longshore.enable", "true"),
        |container, (label, value)| container.label(format!("longshore.{label}"), value),
    );
    TaskDefinition {
        containers: vec![container],
        ..TaskDefinition::bridge(family, 8080)
    }
}

const CHECK: &str = "
    health_check.path: /health
    health_check.interval: 1
    health_check.timeout: 1
    deregistration_delay: 5";

async fn serve(cluster: &Cluster, name: &str, count: usize, labels: &str) {
    cluster
        .ecs
        .register_task_definition(labelled(name, &format!("{labels}{CHECK}")));
    let created = cluster.ecs.create_service("prod", name, name, count);
    created.expect("created");
    cluster.serving(name, count).await;
}

async fn ask(client: &mut Wire, host: &str) -> Response {
    let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n");
    client.send(request).await;
    within("a response", client.response()).await
}

async fn groups(balancer: &Running) -> Vec<GroupView> {
    let view = balancer.balancer.targets().await.expect("it runs");
    let groups = view.target_groups.into_iter();
    groups.filter(|group| group.source == "labels").collect()
}

async fn source(balancer: &Running) -> LabelsView {
    let mut view = balancer.balancer.targets().await.expect("it runs");
    view.label_discovery.remove(0)
}

/// Waits until a group that labels make has so many healthy targets.
async fn healthy(balancer: &Running, name: &str, count: usize) -> GroupView {
    let what = format!("{count} targets of {name} are healthy");
    eventually(&what, async || {
        let group = groups(balancer)
            .await
            .into_iter()
            .find(|it| it.name == name)?;
        let healthy = group.targets.iter().filter(|it| it.state == "healthy");
        (healthy.count() == count).then_some(group)
    })
    .await
}

/// Waits until the source says of a container that it is none, with this in the reason.
async fn refused(balancer: &Running, reason: &str) -> String {
    eventually(&format!("{reason:?} is said"), async || {
        let problems = source(balancer).await.not_targets.into_iter();
        let mut found = problems.filter(|problem| problem.reason.contains(reason));
        found.next().map(|problem| problem.subject)
    })
    .await
}

#[tokio::test]
async fn a_service_with_labels_gets_traffic_by_its_rules_and_loses_them_with_its_last_task() {
    let cluster = Cluster::start().await;
    serve(&cluster, "shop", 2, "rule.host_header: shop.example").await;
    // Neither does this one have labels, nor is this one exposed.
    cluster.service("plain", 1).await;
    let balancer = balance(&cluster).await;
    let group = healthy(&balancer, "shop-web", 2).await;
    assert!(group.targets.iter().all(|target| target.task.is_some()));
    assert_eq!(groups(&balancer).await.len(), 1);
    assert_eq!(source(&balancer).await.containers, 2);
    let mut client = Wire::connect(balancer.address()).await;
    let got = ask(&mut client, "shop.example").await;
    assert_eq!(
        (got.status(), got.head.get("x-service")),
        (200, Some("shop"))
    );
    assert_eq!(ask(&mut client, "other.example").await.status(), 404);

    cluster.ecs.scale("prod", "shop", 4).expect("scaled");
    healthy(&balancer, "shop-web", 4).await;
    let mut tasks = BTreeSet::new();
    for _ in 0..16 {
        let got = ask(&mut client, "shop.example").await;
        tasks.insert(got.head.get("x-task-id").expect("told").to_owned());
    }
    assert_eq!(tasks.len(), 4);

    cluster.ecs.scale("prod", "shop", 0).expect("scaled");
    eventually("the rule left", async || {
        (ask(&mut client, "shop.example").await.status() == 404).then_some(())
    })
    .await;
    eventually("the group left", async || {
        groups(&balancer).await.is_empty().then_some(())
    })
    .await;
    // And it comes again.
    cluster.ecs.scale("prod", "shop", 1).expect("scaled");
    healthy(&balancer, "shop-web", 1).await;
    assert_eq!(ask(&mut client, "shop.example").await.status(), 200);
}

#[tokio::test]
async fn a_new_revision_moves_a_rule_while_no_request_of_either_host_is_lost() {
    let cluster = Cluster::start().await;
    // They go on for longer than it takes until the source is asked again, as all that serve should:
    // three that end at one moment may all cut one request short, and a fourth is not asked.
    cluster.tasks.set_grace("shop", Duration::from_secs(4));
    serve(
        &cluster,
        "shop",
        3,
        "target_group: shop\nrule.host_header: old.example",
    )
    .await;
    let balancer = balance(&cluster).await;
    healthy(&balancer, "shop", 3).await;
    let next = format!("target_group: shop\nrule.host_header: new.example{CHECK}");
    cluster
        .ecs
        .register_task_definition(labelled("shop", &next));
    cluster
        .ecs
        .deploy("prod", "shop", "shop")
        .expect("deployed");
    let mut client = Wire::connect(balancer.address()).await;
    let mut seen = BTreeSet::new();
    eventually("only the new host is served", async || {
        let old = ask(&mut client, "old.example").await.status();
        let new = ask(&mut client, "new.example").await.status();
        seen.insert((old, new));
        ((old, new) == (404, 200)).then_some(())
    })
    .await;
    // How long both are served depends on when the source is asked; this ECS replaces all at once.
    assert!(!seen.contains(&(404, 404)), "one of them always: {seen:?}");
    let known = |(old, new): &(u16, u16)| [*old, *new].iter().all(|it| [200, 404].contains(it));
    assert!(seen.iter().all(known), "{seen:?}");
    healthy(&balancer, "shop", 3).await;
    assert_eq!(source(&balancer).await.not_targets.len(), 0);
}

#[tokio::test]
async fn conflicts_and_bad_labels_are_shown_at_their_container_and_disturb_nobody() {
    let cluster = Cluster::start().await;
    let rule = "rule.host_header: shop.example\nrule.priority: 7";
    serve(&cluster, "shop", 1, &format!("target_group: shop\n{rule}")).await;
    let balancer = balance(&cluster).await;
    healthy(&balancer, "shop", 1).await;
    let mut client = Wire::connect(balancer.address()).await;
    let first = ask(&mut client, "shop.example").await;
    let task = first.head.get("x-task-id").expect("told").to_owned();
    for (name, labels, reason) in [
        (
            "thief",
            "target_group: shop\nrule.host_header: evil.example",
            "is that of service shop of prod, container web, with other settings",
        ),
        (
            "same",
            "rule.host_header: same.example\nrule.priority: 7",
            "is that of the target group \"shop\"",
        ),
        (
            "own",
            "rule.path_pattern: /*\nrule.priority: 1",
            "is that of a rule in the configuration file",
        ),
        (
            "named",
            "target_group: file\nrule.path_pattern: /*",
            "is in the configuration file already",
        ),
        ("typo", "rule.hots_header: a", "did you mean `host_header`?"),
        (
            "bound",
            "rule.path_pattern: /*\nslow_start: 1s",
            "label `longshore.slow_start`",
        ),
        (
            "nowhere",
            "rule.path_pattern: /*\nlisteners: other",
            "\"other\" is no listener",
        ),
        ("port", "rule.path_pattern: /*\nport: 9", "container port 9"),
        (
            "word",
            "rule.path_pattern: /*\nport: http",
            "label `longshore.port`",
        ),
    ] {
        serve(&cluster, name, 1, labels).await;
        let subject = refused(&balancer, reason).await;
        let id = cluster.tasks_of(name)[0].id.clone();
        assert!(subject.starts_with(&id), "{name}: {subject} and not {id}");
        let got = ask(&mut client, "shop.example").await;
        assert_eq!(got.head.get("x-task-id"), Some(task.as_str()), "{name}");
        assert_eq!(ask(&mut client, "evil.example").await.status(), 404);
    }
    assert_eq!(groups(&balancer).await.len(), 1);
    // The file is not disturbed either: its group has no targets.
    let got = within("a response", client.get("/file")).await;
    assert_eq!(got.status(), 503);
    // When the owner is gone, whoever was refused may have it.
    cluster.ecs.scale("prod", "shop", 0).expect("scaled");
    eventually("the next one has it", async || {
        let got = ask(&mut client, "evil.example").await;
        (got.status() == 200).then_some(())
    })
    .await;
    assert_eq!(ask(&mut client, "same.example").await.status(), 200);
    assert_eq!(ask(&mut client, "shop.example").await.status(), 404);
}

#[tokio::test]
async fn an_outage_keeps_groups_rules_and_targets_and_a_reload_keeps_verdicts() {
    let cluster = Cluster::start().await;
    serve(&cluster, "shop", 2, "rule.host_header: shop.example").await;
    let mut balancer = balance(&cluster).await;
    healthy(&balancer, "shop-web", 2).await;
    let mut client = Wire::connect(balancer.address()).await;
    let faults = cluster.ecs.faults();
    faults.fail(Faults::ALL, Fault::ServerError, Times::UntilCleared);
    eventually("the outage is noticed", async || {
        (source(&balancer).await.discovery == "stale").then_some(())
    })
    .await;
    for _ in 0..10 {
        assert_eq!(ask(&mut client, "shop.example").await.status(), 200);
    }
    assert_eq!(groups(&balancer).await[0].discovery, "stale");
    let ages = |group: &GroupView| group.targets.iter().map(|it| it.requests).sum::<u64>();
    let before = groups(&balancer).await.remove(0);
    // The file changes, discovery still fails, and nothing is learnt anew.
    let next = text(ECS, "load_balancer: {idle_timeout: 50}\n").replace("[/file]", "[/other]");
    let reloaded = balancer.balancer.reload(balancer::config(&next)).await;
    reloaded.expect("reloaded");
    let after = groups(&balancer).await.remove(0);
    assert!(
        after.targets.iter().all(|it| it.state == "healthy"),
        "{after:?}"
    );
    assert_eq!(ages(&after), ages(&before));
    assert_eq!(ask(&mut client, "shop.example").await.status(), 200);
    faults.clear();
    eventually("it is over", async || {
        (source(&balancer).await.discovery == "fresh").then_some(())
    })
    .await;
    assert_eq!(groups(&balancer).await[0].discovery, "fresh");
    // A file that takes the name for itself wins.
    let next = next.replace("{name: file}", "{name: file}, {name: shop-web}");
    let reloaded = balancer.balancer.reload(balancer::config(&next)).await;
    reloaded.expect("reloaded");
    refused(&balancer, "is in the configuration file already").await;
    assert_eq!(ask(&mut client, "shop.example").await.status(), 404);
    // Without the block nothing of it is left.
    let (next, _) = next.split_once("label_discovery").expect("a block");
    let reloaded = balancer.balancer.reload(balancer::config(next)).await;
    reloaded.expect("reloaded");
    let view = balancer.balancer.targets().await.expect("it runs");
    assert!(view.label_discovery.is_empty());
}

#[tokio::test]
async fn a_restart_while_the_api_fails_serves_labelled_services_from_the_last_good_targets() {
    let directory = Kept::new("labels");
    let top = directory.key();
    let cluster = Cluster::start().await;
    serve(&cluster, "shop", 2, "rule.host_header: shop.example").await;
    let first = balance_on(&cluster, &top).await;
    healthy(&first, "shop-web", 2).await;
    let record = directory.record("targets-labels%2fprod.json");
    eventually("the targets are kept", async || {
        let text = std::fs::read_to_string(&record).ok()?;
        (text.matches("started_at").count() == 2).then_some(())
    })
    .await;
    first.balancer.drain().await;
    let faults = cluster.ecs.faults();
    faults.fail(Faults::ALL, Fault::ServerError, Times::UntilCleared);
    let second = balance_on(&cluster, &top).await;
    healthy(&second, "shop-web", 2).await;
    let mut client = Wire::connect(second.address()).await;
    for _ in 0..10 {
        assert_eq!(ask(&mut client, "shop.example").await.status(), 200);
    }
    faults.clear();
    cluster.ecs.scale("prod", "shop", 1).expect("scaled");
    healthy(&second, "shop-web", 1).await;
    assert_eq!(source(&second).await.discovery, "fresh");
}

#[tokio::test]
async fn targets_lists_whose_labels_are_refused() {
    let cluster = Cluster::start().await;
    serve(&cluster, "shop", 1, "rule.host_header: shop.example").await;
    serve(
        &cluster,
        "own",
        1,
        "rule.path_pattern: /*\nrule.priority: 1",
    )
    .await;
    let file = TempFile::new(&text(ECS, ""));
    let endpoint = cluster.ecs.endpoint_url();
    // The emulator runs in this thread's runtime.
    let run = tokio::task::spawn_blocking(move || {
        let environment = [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ACCESS_KEY_ID", "x"),
            ("AWS_SECRET_ACCESS_KEY", "x"),
        ];
        let path = file.path().to_str().expect("text");
        output_with(&["targets", "-c", path], &environment)
    });
    let got = within("the command's end", run).await.expect("ran");
    let text = String::from_utf8(got.stdout).expect("text");
    assert!(got.status.success(), "{text}");
    assert!(text.contains("shop-web (labels): 1 targets"), "{text}");
    assert!(
        text.contains("labels of prod (ecs): 2 containers"),
        "{text}"
    );
    let id = &cluster.tasks_of("own")[0].id;
    let line = text
        .lines()
        .find(|line| line.contains(&format!("{id}/web")));
    let line = line.unwrap_or_else(|| panic!("{text}"));
    assert!(
        line.contains("is that of a rule in the configuration file"),
        "{line}"
    );
}

fn docker_labels(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
    let labels = labels.iter();
    labels
        .map(|(label, value)| ((*label).to_owned(), (*value).to_owned()))
        .collect()
}

#[tokio::test]
async fn labelled_containers_of_docker_get_traffic_and_leave_with_their_last_one() {
    let engine = DockerEngine::start().await;
    let (first, second, hidden) = (
        Origin::ok("1").await,
        Origin::ok("2").await,
        Origin::ok("3").await,
    );
    let compose = |host: &'static str| {
        docker_labels(&[
            ("longshore.enable", "true"),
            ("longshore.port", "8080"),
            ("longshore.rule.host_header", host),
            ("longshore.health_check.path", "/health"),
            ("longshore.health_check.interval", "1"),
            ("longshore.health_check.timeout", "1"),
            ("com.docker.compose.service", "web"),
            ("com.docker.compose.project", "shop"),
        ])
    };
    let at = |origin: &Origin| [(8080, origin.address.port()), (9090, 1)];
    let id = engine.run_labelled("shop-web-1", compose("a.example"), &at(&first), None);
    engine.run("web", &at(&hidden));
    let source_text = format!("docker: {{endpoint: '{}'}}", engine.endpoint());
    let balancer = balancer::start(&text(&source_text, "")).await;
    healthy(&balancer, "web-shop", 1).await;
    let mut client = Wire::connect(balancer.address()).await;
    assert_eq!(ask(&mut client, "a.example").await.text(), "1");
    // The next container of the same service means another host.
    engine.run_labelled("shop-web-2", compose("b.example"), &at(&second), None);
    healthy(&balancer, "web-shop", 2).await;
    assert_eq!(ask(&mut client, "a.example").await.status(), 200);
    assert_eq!(ask(&mut client, "b.example").await.status(), 200);
    engine.die(&id);
    healthy(&balancer, "web-shop", 1).await;
    assert_eq!(ask(&mut client, "a.example").await.status(), 404);
    assert_eq!(ask(&mut client, "b.example").await.text(), "2");
    // Its port may have been somebody else's a moment ago: connections of other tests say nothing.
    assert!(hidden.seen().is_empty());
    let bad = docker_labels(&[
        ("longshore.enable", "true"),
        ("longshore.port_name", "http"),
    ]);
    engine.run_labelled("bad", bad, &at(&hidden), None);
    let subject = refused(&balancer, "ports of Docker have no names").await;
    assert!(subject.starts_with("bad-"), "{subject}");
    assert_eq!(ask(&mut client, "b.example").await.text(), "2");
}

/// A container of the service `web` of the project `shop`.
fn of_shop() -> BTreeMap<String, String> {
    docker_labels(&[
        ("longshore.enable", "true"),
        ("longshore.port", "8080"),
        ("longshore.rule.host_header", "a.example"),
        ("com.docker.compose.service", "web"),
        ("com.docker.compose.project", "shop"),
    ])
}

/// Two engines with a container of one service each, and a balancer before both.
async fn two_engines(every: &str, targets: &[Origin; 2]) -> ([DockerEngine; 2], Running) {
    let engines = [DockerEngine::start().await, DockerEngine::start().await];
    let mut blocks = String::new();
    for ((name, engine), target) in ["one", "two"].iter().zip(&engines).zip(targets) {
        let ports = [(8080, target.address.port())];
        engine.run_labelled("web", of_shop(), &ports, None);
        let endpoint = engine.endpoint();
        blocks.push_str(&format!(
            "  - {{name: {name}, docker: {{endpoint: '{endpoint}', poll_interval: {every}}}, listeners: [web]}}\n"
        ));
    }
    let text = text("docker: {}", "");
    let head = text.split("  - {name: prod").next().expect("a head");
    let balancer = balancer::start(&format!("{head}{blocks}")).await;
    healthy(&balancer, "web-shop", 2).await;
    (engines, balancer)
}

#[tokio::test]
async fn a_group_of_two_sources_is_stale_while_one_of_them_is() {
    let targets = [Origin::ok("1").await, Origin::ok("2").await];
    let (mut engines, balancer) = two_engines("1s", &targets).await;
    engines[1].stop();
    let state = async || healthy(&balancer, "web-shop", 2).await.discovery;
    eventually("one source fails", async || {
        (state().await == "stale").then_some(())
    })
    .await;
    let (_, before) = engines[0].lists();
    eventually("the other one answers several times", async || {
        assert_eq!(state().await, "stale");
        (engines[0].lists().1 >= before + 3).then_some(())
    })
    .await;
    engines[1].resume();
    eventually("both answer", async || {
        (state().await == "fresh").then_some(())
    })
    .await;
}

#[tokio::test]
async fn all_sources_of_a_group_are_asked_when_its_targets_are_lost() {
    let targets = [Origin::ok("1").await, Origin::ok("2").await];
    let (engines, balancer) = two_engines("60s", &targets).await;
    let mut client = Wire::connect(balancer.address()).await;
    assert_eq!(ask(&mut client, "a.example").await.status(), 200);
    let before = engines.each_ref().map(|engine| engine.lists().0);
    drop(targets);
    // More than the one that a new subscription to events brings.
    eventually("looks at both, long before their time", async || {
        ask(&mut client, "a.example").await;
        let lists = engines.each_ref().map(|engine| engine.lists().0);
        (lists[0] >= before[0] + 3 && lists[1] >= before[1] + 3).then_some(())
    })
    .await;
}

#[test]
fn a_block_that_is_wrong_is_an_error_of_the_file() {
    let text = text("ecs: {cluster: ''}", "").replace("[web]}", "[wed]}");
    let errors = longshore_config::parse("test", &text, &|_| None);
    let errors = errors.expect_err("two errors").to_string();
    assert!(
        errors.contains("label_discovery[0].ecs.cluster: a name is needed"),
        "{errors}"
    );
    assert!(
        errors.contains("label_discovery[0].listeners[0]: there is no listener \"wed\""),
        "{errors}"
    );
}
