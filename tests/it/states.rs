//! Each of ALB's states and reason codes, reached over real sockets and seen at `/targets`.

use longshore_tests::balancer::{Running, config, fixed, start};
use longshore_tests::docker::DockerEngine;
use longshore_tests::eventually;
use longshore_tests::origin::{Origin, response};
use longshore_tests::process::{Process, TempFile, free_port};
use longshore_tests::wire::Wire;
use serde_json::Value;

/// Waits until a target of the first group is in a state for a reason.
async fn seen(balancer: &Running, state: &str, reason: &str) {
    eventually(&format!("{state} {reason}"), async || {
        let targets = balancer.targets(state).await;
        let found = targets.iter().any(|target| target.reason == Some(reason));
        found.then_some(())
    })
    .await;
}

/// A target that takes every connection and says nothing.
async fn silent(address: [u8; 4]) -> Origin {
    Origin::at((address, 0).into(), |mut wire, _| async move {
        drop(wire.rest().await);
    })
    .await
}

#[tokio::test]
async fn initial_while_the_first_check_waits_for_its_turn_and_while_it_is_made() {
    // More than are checked at the same moment.
    let origin = silent([0, 0, 0, 0]).await;
    let hosts = (0..300_u16).map(|n| [127, 2, (n / 200) as u8, (n % 200) as u8 + 1]);
    let targets: Vec<_> = hosts
        .map(|host| (host, origin.address.port()).into())
        .collect();
    let check = "health_check: {interval: 300, timeout: 120}";
    let balancer = start(&fixed(&targets, check, "")).await;
    seen(&balancer, "initial", "Elb.InitialHealthChecking").await;
    seen(&balancer, "initial", "Elb.RegistrationInProgress").await;
    let targets = balancer.targets("initial").await;
    let begun = targets
        .iter()
        .filter(|target| target.reason == Some("Elb.InitialHealthChecking"));
    assert_eq!((targets.len(), begun.count()), (300, 256));
}

#[tokio::test]
async fn healthy_without_a_reason_or_with_the_one_that_checks_are_disabled() {
    let origin = Origin::ok("ok").await;
    let balancer = start(&fixed(&[origin.address], "health_check: {}", "")).await;
    balancer.wait_for("healthy", 1).await;
    let target = balancer.targets("healthy").await.remove(0);
    assert_eq!((target.reason, target.description), (None, None));
    assert_eq!(target.administrative_override, "no_override");

    let check = "health_check: {enabled: false}";
    let balancer = start(&fixed(&[origin.address], check, "")).await;
    seen(&balancer, "healthy", "Target.HealthCheckDisabled").await;
}

#[tokio::test]
async fn unhealthy_for_each_reason_that_a_target_can_give() {
    let wrong = Origin::http(|_| response(500, "")).await;
    let silent = silent([127, 0, 0, 1]).await;
    let closes = Origin::raw(|_| async {}).await;
    let targets = [wrong.address, silent.address, closes.address];
    let check = "health_check: {interval: 1, timeout: 0.5}";
    let balancer = start(&fixed(&targets, check, "")).await;
    for reason in [
        "Target.ResponseCodeMismatch",
        "Target.Timeout",
        "Target.FailedHealthChecks",
    ] {
        seen(&balancer, "unhealthy", reason).await;
    }
}

#[tokio::test]
async fn draining_while_a_request_is_in_flight_at_a_target_that_left() {
    let (left, stays) = (silent([127, 0, 0, 1]).await, Origin::ok("ok").await);
    let check = "health_check: {enabled: false}";
    let mut balancer = start(&fixed(&[left.address], check, "")).await;
    let mut client = Wire::connect(balancer.address()).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    eventually("the request is there", async || {
        (balancer.group().await.targets[0].in_flight == 1).then_some(())
    })
    .await;
    let next = config(&fixed(&[stays.address], check, ""));
    balancer.balancer.reload(next).await.expect("reloaded");
    seen(&balancer, "draining", "Target.DeregistrationInProgress").await;
    drop(client);
    balancer.wait_for("draining", 0).await;
}

#[tokio::test]
async fn unused_while_no_rule_forwards_to_the_group_and_ready_for_one_that_does() {
    let origin = Origin::ok("ok").await;
    let text = |group: &str| {
        format!(
            "listeners: [{{name: web, address: '127.0.0.1:1', default_action: [{{type: forward, target_group: {group}}}]}}]\n\
             target_groups:\n  - {{name: waits, targets: [{{address: 127.0.0.1, port: {}}}], health_check: {{interval: 300}}}}\n  - {{name: other}}\n",
            origin.address.port()
        )
    };
    let mut balancer = start(&text("other")).await;
    seen(&balancer, "unused", "Target.NotInUse").await;
    eventually("its verdict", async || {
        let target = balancer.group().await.targets.remove(0);
        (target.verdict == Some("healthy")).then_some(())
    })
    .await;
    assert!(!balancer.group().await.in_use);
    balancer
        .balancer
        .reload(config(&text("waits")))
        .await
        .expect("reloaded");
    assert_eq!(balancer.targets("healthy").await.len(), 1, "at once");
    assert_eq!(
        Wire::connect(balancer.address())
            .await
            .get("/")
            .await
            .text(),
        "ok"
    );
}

#[tokio::test]
async fn unused_while_a_younger_target_has_the_address_and_while_a_task_cannot_be_a_target() {
    let engine = DockerEngine::start().await;
    let origin = Origin::ok("ok").await;
    let port = [(8080, origin.address.port())];
    let old = engine.run("old", &port);
    let text = format!(
        "listeners: [{{name: web, address: '127.0.0.1:1', default_action: [{{type: forward, forward: {{target_group: [{{name: old}}, {{name: young}}]}}}}]}}]\n\
         target_groups:\n  - {{name: old, discovery: {{docker: {{endpoint: '{0}', labels: {{service: old}}}}}}}}\n  \
         - {{name: young, discovery: {{docker: {{endpoint: '{0}', labels: {{service: young}}}}}}}}\n",
        engine.endpoint()
    );
    let balancer = start(&text).await;
    balancer.wait_for("healthy", 1).await;
    // Later by the engine's clock, which counts milliseconds.
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    engine.run("young", &port);
    seen(&balancer, "unused", "Target.NotRegistered").await;
    let group = balancer.group().await;
    assert!(group.targets[0].id.starts_with(&old), "{:?}", group.targets);

    // A container that says of itself that it is not well.
    engine.run_with("old", &[(8080, 1)], Some("unhealthy"));
    eventually("a task that cannot be a target", async || {
        let group = balancer.group().await;
        let problem = group.not_targets.first()?;
        assert_eq!(
            (problem.state, problem.code),
            ("unused", "Target.InvalidState")
        );
        assert!(problem.reason.contains("unhealthy"), "{}", problem.reason);
        Some(())
    })
    .await;
}

/// `/targets` of a process.
struct AdminClient(Wire);

impl AdminClient {
    async fn connect(port: u16) -> Self {
        Self(Wire::connect(([127, 0, 0, 1], port).into()).await)
    }

    async fn targets(&mut self) -> Vec<Value> {
        let text = self.0.get("/targets").await.text();
        let view: Value = serde_json::from_str(&text).expect("JSON");
        let groups = view["target_groups"].as_array().expect("groups");
        groups
            .iter()
            .flat_map(|group| group["targets"].as_array().expect("targets").clone())
            .collect()
    }

    async fn wait_for(&mut self, state: &str, reason: &str) {
        eventually(&format!("{state} {reason}"), async || {
            let targets = self.targets().await;
            let found = targets
                .iter()
                .any(|target| target["state"] == state && target["reason"] == reason);
            found.then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn unused_at_an_address_that_no_host_has_and_at_our_own() {
    let (port, admin) = (free_port(), free_port());
    let text = format!(
        "admin: {{address: '127.0.0.1:{admin}'}}\nlisteners: [{{name: web, address: '127.0.0.1:{port}', default_action: [{{type: forward, target_group: app}}]}}]\n\
         target_groups: [{{name: app, targets: [{{address: 127.0.0.1, port: {port}}}, {{address: 0.0.0.0, port: 80}}, {{address: 224.0.0.1, port: 80}}, {{address: 255.255.255.255, port: 80}}]}}]\n"
    );
    let (_process, address) = Process::run(&TempFile::new(&text));
    let targets = AdminClient::connect(admin).await.targets().await;
    assert_eq!(targets.len(), 4);
    for target in targets {
        assert_eq!(target["state"], "unused", "{target}");
        assert_eq!(target["reason"], "Target.IpUnusable", "{target}");
    }
    // No request goes round in circles.
    let got = Wire::connect(address).await.get("/").await;
    assert_eq!((got.status(), got.reason()), (503, Some("no_targets")));
}

#[tokio::test]
async fn a_check_that_could_not_be_made_is_our_own_error_and_no_verdict() {
    let origin = silent([0, 0, 0, 0]).await;
    let admin = free_port();
    let list = TempFile::new("[]");
    // Each check holds a descriptor for two seconds, and there are not enough for all of them.
    let text = format!(
        "runtime: {{workers: 1}}\nadmin: {{address: '127.0.0.1:{admin}'}}\nlisteners: [{{name: web, address: '127.0.0.1:{}', default_action: [{{type: forward, target_group: app}}]}}]\n\
         target_groups: [{{name: app, discovery: {{file: {{path: '{}', refresh_interval: 100ms}}}}, health_check: {{interval: 2, timeout: 2}}}}]\n",
        free_port(),
        list.path().display()
    );
    let file = TempFile::new(&text);
    let path = file.path().to_str().expect("text").to_owned();
    let mut process = Process::start_with_files(64, &["run", "-c", &path]);
    process.wait_for_line("listening ");
    let mut client = AdminClient::connect(admin).await;
    // Accepted before there is nothing left to accept it with.
    assert_eq!(client.targets().await, Vec::<Value>::new());
    let port = origin.address.port();
    let targets: Vec<String> = (1..=120).map(|n| format!("127.3.0.{n}:{port}")).collect();
    list.write(&format!("[{{\"targets\": {targets:?}}}]"));
    client.wait_for("unavailable", "Elb.InternalError").await;
    client.wait_for("unhealthy", "Target.Timeout").await;
    client.wait_for("unhealthy", "Elb.InternalError").await;
}
