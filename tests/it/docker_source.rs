//! Docker, through bollard, at a scripted engine whose containers are real targets.

use longshore_tests::balancer::{self, Running, config};
use longshore_tests::docker::DockerEngine;
use longshore_tests::origin::{self, Origin};
use longshore_tests::wire::Wire;
use longshore_tests::{eventually, within};

/// A balancer before the containers of the service `web`. Looks come 300 s apart, so what a test
/// sees sooner was brought by an event, a subscription or a request.
async fn balance(engine: &DockerEngine) -> Running {
    balance_with(engine, "poll_interval: 300s").await
}

async fn balance_with(engine: &DockerEngine, keys: &str) -> Running {
    balancer::start(&file(engine, keys)).await
}

fn file(engine: &DockerEngine, keys: &str) -> String {
    format!(
        "listeners: [{{name: web, address: '127.0.0.1:1', default_action: [{{type: forward, target_group: app}}]}}]
target_groups:
  - name: app
    discovery: {{docker: {{endpoint: 'unix://{}', labels: {{service: web}}, {keys}}}}}
    health_check: {{path: /health, interval: 1, timeout: 1}}
",
        engine.endpoint().trim_start_matches("unix://")
    )
}

/// A target that says its name.
async fn named(name: &str) -> Origin {
    Origin::ok(name).await
}

/// The published port of a container that is that target.
fn at(origin: &Origin) -> [(u16, u16); 1] {
    [(8080, origin.address.port())]
}

/// Whether a target of a container is registered and healthy.
async fn serves(balancer: &Running, id: &str) -> bool {
    let targets = balancer.targets("healthy").await;
    targets.iter().any(|target| target.id.starts_with(id))
}

#[tokio::test]
async fn started_containers_get_traffic_and_others_do_not() {
    let engine = DockerEngine::start().await;
    let (first, second, stranger) = (named("1").await, named("2").await, named("3").await);
    let id = engine.run("web", &at(&first));
    engine.run("db", &at(&stranger));
    let balancer = balance(&engine).await;
    balancer.wait_for("healthy", 1).await;
    let targets = balancer.targets("healthy").await;
    assert!(
        targets[0].id.starts_with(&format!("{id}/web-")),
        "{targets:?}"
    );
    assert!(targets[0].id.ends_with(":8080"), "{targets:?}");
    assert_eq!(targets[0].address, first.address.to_string());
    assert_eq!(balancer.group().await.source, "docker");
    // An event brings the second.
    engine.run("web", &at(&second));
    balancer.wait_for("healthy", 2).await;
    let mut client = Wire::connect(balancer.address()).await;
    for _ in 0..8 {
        assert_eq!(within("a response", client.get("/")).await.status(), 200);
    }
    assert_eq!((first.seen().len(), second.seen().len()), (4, 4));
    assert_eq!(stranger.connections(), 0);
    let asked = engine.asked();
    for path in [
        "/version",
        "/events",
        "/containers/json",
        "/containers/{id}/json",
    ] {
        assert!(asked.contains(path), "{asked:?}");
    }
}

#[tokio::test]
async fn a_container_that_dies_leaves_before_any_list_says_so() {
    let engine = DockerEngine::start().await;
    let (first, second) = (named("1").await, named("2").await);
    let dying = engine.run("web", &at(&first));
    engine.run("web", &at(&second));
    let balancer = balance(&engine).await;
    balancer.wait_for("healthy", 2).await;
    engine.hold_lists(true);
    let answered = engine.lists().1;
    engine.die(&dying);
    balancer.wait_for("healthy", 1).await;
    assert_eq!(engine.lists().1, answered, "no list was answered");
    assert!(!serves(&balancer, &dying).await);
}

#[tokio::test]
async fn a_list_from_before_the_end_brings_no_container_back() {
    let engine = DockerEngine::start().await;
    let (first, second, third) = (named("1").await, named("2").await, named("3").await);
    let dying = engine.run("web", &at(&first));
    engine.run("web", &at(&second));
    let balancer = balance(&engine).await;
    balancer.wait_for("healthy", 2).await;
    engine.hold_lists(true);
    let asked = engine.lists().0;
    // This one brings a look, whose list shows all three and is held back.
    let new = engine.run("web", &at(&third));
    eventually("a list is asked for", async || {
        (engine.lists().0 > asked).then_some(())
    })
    .await;
    engine.die(&dying);
    balancer.wait_for("healthy", 1).await;
    engine.hold_lists(false);
    eventually("the new container serves", async || {
        assert!(!serves(&balancer, &dying).await);
        serves(&balancer, &new).await.then_some(())
    })
    .await;
    assert_eq!(balancer.targets("healthy").await.len(), 2);
}

#[tokio::test]
async fn a_container_that_is_told_to_stop_gets_nothing_new_while_it_still_runs() {
    let engine = DockerEngine::start().await;
    let (first, second) = (named("1").await, named("2").await);
    let stopping = engine.run("web", &at(&first));
    engine.run("web", &at(&second));
    let balancer = balance(&engine).await;
    balancer.wait_for("healthy", 2).await;
    // Another signal is none of our business.
    engine.signal(&stopping, "1");
    engine.signal(&stopping, "15");
    balancer.wait_for("healthy", 1).await;
    let lists = engine.lists().1;
    eventually("a list shows that it runs", async || {
        (engine.lists().1 > lists).then_some(())
    })
    .await;
    let problem = eventually("it is shown", async || {
        balancer.group().await.not_targets.into_iter().next()
    })
    .await;
    assert!(problem.reason.contains("told to stop"), "{problem:?}");
    assert!(!serves(&balancer, &stopping).await);
}

#[tokio::test]
async fn lost_events_are_made_up_for_by_the_look_after_a_new_subscription() {
    let engine = DockerEngine::start().await;
    let (first, second) = (named("1").await, named("2").await);
    let dying = engine.run("web", &at(&first));
    let balancer = balance(&engine).await;
    balancer.wait_for("healthy", 1).await;
    // The stream breaks; what happens now is told by no event, ever.
    engine.deafen(true);
    engine.die(&dying);
    let new = engine.run("web", &at(&second));
    engine.deafen(false);
    eventually(
        "the new container serves, and the old one does not",
        async || (serves(&balancer, &new).await && !serves(&balancer, &dying).await).then_some(()),
    )
    .await;
    // And events are heard again.
    let third = named("3").await;
    let last = engine.run("web", &at(&third));
    eventually("the last one serves", async || {
        serves(&balancer, &last).await.then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_any_events_changes_are_found_by_looking() {
    let engine = DockerEngine::start().await;
    engine.deafen(true);
    let (first, second) = (named("1").await, named("2").await);
    let dying = engine.run("web", &at(&first));
    let balancer = balance_with(&engine, "poll_interval: 1s").await;
    balancer.wait_for("healthy", 1).await;
    engine.die(&dying);
    let new = engine.run("web", &at(&second));
    eventually(
        "the new container serves, and the old one does not",
        async || (serves(&balancer, &new).await && !serves(&balancer, &dying).await).then_some(()),
    )
    .await;
}

#[tokio::test]
async fn an_outage_of_the_engine_costs_no_target_and_is_shown() {
    let mut engine = DockerEngine::start().await;
    let (first, second) = (named("1").await, named("2").await);
    engine.run("web", &at(&first));
    let balancer = balance(&engine).await;
    balancer.wait_for("healthy", 1).await;
    engine.stop();
    let mut client = Wire::connect(balancer.address()).await;
    let group = eventually("the outage is seen", async || {
        assert_eq!(within("a response", client.get("/")).await.status(), 200);
        let group = balancer.group().await;
        (group.discovery == "stale").then_some(group)
    })
    .await;
    let error = group.discovery_error.expect("told");
    assert!(error.contains("/containers/json"), "{error}");
    assert_eq!(balancer.targets("healthy").await.len(), 1);
    for _ in 0..10 {
        assert_eq!(within("a response", client.get("/")).await.status(), 200);
    }
    engine.run("web", &at(&second));
    engine.resume();
    balancer.wait_for("healthy", 2).await;
    assert_eq!(balancer.group().await.discovery, "fresh");
}

#[tokio::test]
async fn a_container_that_the_engine_does_not_describe_holds_up_no_other_and_a_reload_keeps_it() {
    let engine = DockerEngine::start().await;
    let (one, two, three) = (named("1").await, named("2").await, named("3").await);
    let stuck = engine.run("web", &at(&one));
    let well = engine.run("web", &at(&two));
    let mut balancer = balance(&engine).await;
    balancer.wait_for("healthy", 2).await;
    engine.hold_inspections(&stuck, true);
    let changed = config(&file(&engine, "poll_interval: 299s"));
    balancer.balancer.reload(changed).await.expect("reloaded");
    eventually(
        "the source that began anew says what is wrong",
        async || {
            assert!(serves(&balancer, &stuck).await && serves(&balancer, &well).await);
            let error = balancer.group().await.discovery_error?;
            error.contains("not within 8 s").then_some(())
        },
    )
    .await;
    engine.hold_inspections(&stuck, false);
    let new = engine.run("web", &at(&three));
    balancer.wait_for("healthy", 3).await;
    // Once all has been seen, one that is stuck keeps its place and nobody else out.
    engine.hold_inspections(&new, true);
    engine.die(&well);
    let next = engine.run("web", &at(&two));
    eventually("the others come and go", async || {
        assert!(serves(&balancer, &new).await && serves(&balancer, &stuck).await);
        (serves(&balancer, &next).await && !serves(&balancer, &well).await).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_engine_that_is_down_at_the_start_is_made_up_for_later() {
    let mut engine = DockerEngine::start().await;
    engine.stop();
    let balancer = balance(&engine).await;
    let mut client = Wire::connect(balancer.address()).await;
    let got = client.get("/").await;
    assert_eq!((got.status(), got.reason()), (503, Some("no_targets")));
    let target = named("1").await;
    engine.run("web", &at(&target));
    engine.resume();
    balancer.wait_for("healthy", 1).await;
    assert_eq!(client.get("/").await.status(), 200);
}

#[tokio::test]
async fn an_ambiguous_port_of_a_container_is_shown_and_never_guessed() {
    let engine = DockerEngine::start().await;
    let (app, metrics) = (named("app").await, named("metrics").await);
    let ports = [(8080, app.address.port()), (9090, metrics.address.port())];
    engine.run("web", &ports);
    let balancer = balance(&engine).await;
    let problem = eventually("the problem is shown", async || {
        balancer.group().await.not_targets.into_iter().next()
    })
    .await;
    assert!(problem.subject.starts_with("web-"), "{problem:?}");
    assert!(problem.reason.contains("ambiguous"), "{problem:?}");
    assert!(problem.reason.contains("8080, 9090"), "{problem:?}");
    assert_eq!((app.connections(), metrics.connections()), (0, 0));
    let configured = balance_with(&engine, "container_port: 8080").await;
    configured.wait_for("healthy", 1).await;
    assert_eq!(metrics.connections(), 0);
}

#[tokio::test]
async fn a_container_is_a_target_as_long_as_its_own_health_check_passes() {
    let engine = DockerEngine::start().await;
    let target = named("1").await;
    let id = engine.run_with("web", &at(&target), Some("starting"));
    let balancer = balance(&engine).await;
    for (verdict, count) in [("healthy", 1), ("unhealthy", 0), ("healthy", 1)] {
        let problem = eventually("the verdict is shown", async || {
            balancer.group().await.not_targets.into_iter().next()
        });
        if count == 1 {
            let problem = problem.await;
            assert!(problem.reason.contains("health check"), "{problem:?}");
        }
        engine.set_health(&id, verdict);
        balancer.wait_for("healthy", count).await;
    }
}

#[tokio::test]
async fn a_container_that_gets_the_port_of_a_dead_one_receives_none_of_its_requests() {
    let engine = DockerEngine::start().await;
    let (dying, other) = (named("web").await, named("web").await);
    let id = engine.run("web", &at(&dying));
    engine.run("web", &at(&other));
    let balancer = balance(&engine).await;
    balancer.wait_for("healthy", 2).await;
    let address = balancer.address();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut askers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let stop = std::sync::Arc::clone(&stop);
        askers.spawn(async move {
            let mut client = Wire::connect(address).await;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let got = within("a response", client.get("/")).await;
                assert_eq!((got.status(), got.text().as_str()), (200, "web"));
            }
        });
    }
    eventually("both are used", async || {
        (dying.seen().len() > 8 && other.seen().len() > 8).then_some(())
    })
    .await;
    // The process ends, its port goes to another service, and only then the engine says so.
    let port = dying.address;
    drop(dying);
    eventually("its socket is closed", async || {
        let refused = tokio::net::TcpStream::connect(port).await.is_err();
        refused.then_some(())
    })
    .await;
    let newcomer = Origin::at(port, |mut wire, seen| async move {
        while let Some(request) = origin::read(&mut wire).await {
            seen.lock().expect("not poisoned").push(request);
            wire.send(origin::response(200, "db")).await;
        }
    })
    .await;
    engine.run("db", &at(&newcomer));
    let on = async |what: &str| {
        let before = other.seen().len();
        eventually(what, async || {
            (other.seen().len() > before + 50).then_some(())
        })
        .await;
    };
    on("traffic goes on while nobody knows").await;
    engine.die(&id);
    balancer.wait_for("healthy", 1).await;
    on("traffic goes on").await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    while let Some(done) = askers.join_next().await {
        done.expect("the right service answered");
    }
    assert_eq!(newcomer.seen().len(), 0);
}

/// A container's process ends and its port goes to another program, while no event tells of it.
/// Before, it has answered one request.
async fn a_port_goes_to_another_program(answer: &str) {
    let engine = DockerEngine::start().await;
    let answer = answer.to_owned();
    let first = Origin::http(move |_| answer.clone().into_bytes()).await;
    let port = first.address;
    let second = named("mine").await;
    let id = engine.run("web", &at(&first));
    engine.run("web", &at(&second));
    let balancer = balance(&engine).await;
    balancer.wait_for("healthy", 2).await;
    let mut client = Wire::connect(balancer.address()).await;
    for _ in 0..2 {
        assert_eq!(within("a response", client.get("/")).await.text(), "mine");
    }
    assert_eq!((first.seen().len(), second.seen().len()), (1, 1));
    engine.set_running(&id, false);
    drop(first);
    let theirs = eventually("the port is free", async || {
        let listener = tokio::net::TcpListener::bind(port).await.ok()?;
        drop(listener);
        Some(
            Origin::at(port, |mut wire, seen| async move {
                while let Some(request) = origin::read(&mut wire).await {
                    seen.lock().expect("not poisoned").push(request);
                    wire.send(origin::response(200, "theirs")).await;
                }
            })
            .await,
        )
    })
    .await;
    for _ in 0..4 {
        let got = within("a response", client.get("/")).await;
        assert_eq!((got.status(), got.text()), (200, "mine".to_owned()));
    }
    assert!(theirs.seen().is_empty());
}

#[tokio::test]
async fn a_port_whose_owner_closed_after_its_only_response_is_looked_at_before_it_is_used() {
    let answer = "HTTP/1.1 200 X\r\ncontent-length: 4\r\nconnection: close\r\n\r\nmine";
    a_port_goes_to_another_program(answer).await;
}

#[tokio::test]
async fn a_port_whose_owner_ended_after_its_only_response_is_looked_at_before_it_is_used() {
    a_port_goes_to_another_program("HTTP/1.1 200 X\r\ncontent-length: 4\r\n\r\nmine").await;
}

#[tokio::test]
async fn containers_that_close_after_each_response_are_not_looked_at_for_each() {
    let engine = DockerEngine::start().await;
    let answer = || {
        Origin::http(|_| {
            b"HTTP/1.1 200 X\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok".to_vec()
        })
    };
    let (first, second) = (answer().await, answer().await);
    engine.run("web", &at(&first));
    engine.run("web", &at(&second));
    let balancer = balance(&engine).await;
    balancer.wait_for("healthy", 2).await;
    let lists = engine.lists().0;
    let mut client = Wire::connect(balancer.address()).await;
    for _ in 0..40 {
        assert_eq!(within("a response", client.get("/")).await.status(), 200);
    }
    // A look tells that they outlived their first responses, if it begins a second after these. Those
    // that are asked for before say nothing, and one of them may have its first only later.
    let more = engine.lists().0 - lists;
    assert!((1..=4).contains(&more), "{more} lists for 40 requests");
    assert!(first.seen().len() >= 10 && second.seen().len() >= 10);
}
