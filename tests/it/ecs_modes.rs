//! Each network mode of ECS, through the real SDK, at an emulator: requests reach the tasks, and a
//! configuration that does not fit hurts nobody else.

use std::collections::BTreeSet;

use longshore_emulator::{
    Addresses, Container, Fault, Host, LaunchType, NetworkMode, PortMapping, TaskDefinition, Times,
};
use longshore_tests::cluster::Cluster;
use longshore_tests::eventually;
use longshore_tests::services::{balance, group, reached, refused, serve};

#[tokio::test]
async fn tasks_in_host_mode_are_reached_at_the_ports_of_their_definition() {
    let cluster = Cluster::start().await;
    let second = Host::new(cluster.ecs.spare_address(), "eu-central-1b");
    cluster.ecs.add_host("prod", second);
    serve(&cluster, "web", 2, TaskDefinition::host("", 18080)).await;
    serve(&cluster, "typo", 1, TaskDefinition::host("", 18081)).await;
    cluster.service("bridge", 1).await;
    let services = [
        ("web", ""),
        ("typo", "container_port: 18080"),
        ("bridge", ""),
    ];
    let balancer = balance(&cluster, &services).await;
    let addresses = reached(&balancer, "web", 2).await;
    assert!(
        addresses.iter().all(|address| address.ends_with(":18080")),
        "{addresses:?}"
    );
    refused(
        &balancer,
        "typo",
        "container port 18080 is not in its task definition; mapped are 18081",
    )
    .await;
    reached(&balancer, "bridge", 1).await;
    // Definitions do not change: each is asked for once, that of the bridge for its `appProtocol`.
    assert_eq!(cluster.ecs.calls()["DescribeTaskDefinition"], 3);
}

#[tokio::test]
async fn a_definition_without_a_mode_and_one_of_windows_are_bridges() {
    let cluster = Cluster::start().await;
    for (name, mode) in [
        ("unset", NetworkMode::Unset),
        ("windows", NetworkMode::Windows),
    ] {
        let definition = TaskDefinition {
            network_mode: mode,
            ..TaskDefinition::bridge("", 8080)
        };
        serve(&cluster, name, 2, definition).await;
    }
    let balancer = balance(
        &cluster,
        &[("unset", ""), ("windows", "container_port: 8080")],
    )
    .await;
    reached(&balancer, "unset", 2).await;
    reached(&balancer, "windows", 2).await;
    // Each once, for its `appProtocol`.
    assert_eq!(cluster.ecs.calls()["DescribeTaskDefinition"], 2);
}

#[tokio::test]
async fn a_port_of_a_range_is_reached_at_its_own_place_in_the_range_of_the_host() {
    let cluster = Cluster::start().await;
    let ports = vec![PortMapping::range(8080, 8085)];
    let definition = TaskDefinition {
        containers: vec![Container::new("app", ports)],
        ..TaskDefinition::bridge("", 1)
    };
    serve(&cluster, "web", 2, definition.clone()).await;
    serve(&cluster, "vague", 1, definition).await;
    let services = [("web", "container_port: 8083"), ("vague", "")];
    let balancer = balance(&cluster, &services).await;
    let expected: BTreeSet<String> = cluster
        .tasks_of("web")
        .iter()
        .map(|task| task.addresses[3].to_string())
        .collect();
    assert_eq!(reached(&balancer, "web", 2).await, expected);
    refused(&balancer, "vague", "one of app:8080-8085").await;
}

/// One container with two named ports.
fn named(definition: TaskDefinition) -> TaskDefinition {
    let port = |number, name: &str| PortMapping::fixed(number, 0).named(name);
    let ports = vec![port(18080, "http"), port(18081, "admin")];
    TaskDefinition {
        containers: vec![Container::new("app", ports)],
        ..definition
    }
}

#[tokio::test]
async fn a_port_is_chosen_by_its_name_in_every_mode() {
    let cluster = Cluster::start().await;
    serve(&cluster, "bridge", 2, named(TaskDefinition::bridge("", 1))).await;
    serve(&cluster, "awsvpc", 2, named(TaskDefinition::awsvpc("", 1))).await;
    serve(&cluster, "host", 1, named(TaskDefinition::host("", 1))).await;
    serve(&cluster, "typo", 1, named(TaskDefinition::awsvpc("", 1))).await;
    serve(&cluster, "vague", 1, named(TaskDefinition::awsvpc("", 1))).await;
    let services = [
        ("bridge", "port_name: admin"),
        ("awsvpc", "port_name: admin"),
        ("host", "port_name: http"),
        ("typo", "port_name: htpp"),
        ("vague", ""),
    ];
    let balancer = balance(&cluster, &services).await;
    let expected: BTreeSet<String> = cluster
        .tasks_of("bridge")
        .iter()
        .map(|task| task.addresses[1].to_string())
        .collect();
    assert_eq!(reached(&balancer, "bridge", 2).await, expected);
    let addresses = reached(&balancer, "awsvpc", 2).await;
    assert!(
        addresses.iter().all(|at| at.ends_with(":18081")),
        "{addresses:?}"
    );
    let addresses = reached(&balancer, "host", 1).await;
    assert!(
        addresses.iter().all(|at| at.ends_with(":18080")),
        "{addresses:?}"
    );
    refused(
        &balancer,
        "typo",
        "no port named \"htpp\"; it names: http, admin",
    )
    .await;
    refused(&balancer, "vague", "one of app:18080, app:18081").await;
}

#[tokio::test]
async fn a_name_follows_its_port_through_a_deployment() {
    let cluster = Cluster::start().await;
    let of = |port: u16| TaskDefinition {
        family: "web".to_owned(),
        containers: vec![Container::new(
            "app",
            vec![PortMapping::fixed(port, port).named("http")],
        )],
        ..TaskDefinition::awsvpc("", 1)
    };
    serve(&cluster, "web", 1, of(8080)).await;
    let balancer = balance(&cluster, &[("web", "port_name: http")]).await;
    reached(&balancer, "web", 1).await;
    cluster.ecs.register_task_definition(of(9090));
    cluster.ecs.deploy("prod", "web", "web").expect("deployed");
    eventually("the new port is the target", async || {
        let targets = balancer.targets("healthy").await;
        (targets.len() == 1 && targets[0].address.ends_with(":9090")).then_some(())
    })
    .await;
    reached(&balancer, "web", 1).await;
    assert_eq!(cluster.ecs.calls()["DescribeTaskDefinition"], 2);
}

#[tokio::test]
async fn awsvpc_tasks_are_reached_by_ipv4_if_they_have_it_and_else_by_ipv6() {
    let cluster = Cluster::start().await;
    for (name, addresses) in [("dual", Addresses::DualStack), ("ipv6", Addresses::Ipv6)] {
        let definition = TaskDefinition {
            addresses,
            ..TaskDefinition::awsvpc("", 8080)
        };
        serve(&cluster, name, 2, definition).await;
    }
    let fargate = TaskDefinition {
        launch_type: LaunchType::Fargate,
        ..TaskDefinition::awsvpc("", 8080)
    };
    serve(&cluster, "fargate", 2, fargate).await;
    // The only port of the definition.
    let services = [("dual", ""), ("ipv6", ""), ("fargate", "")];
    let balancer = balance(&cluster, &services).await;
    for address in reached(&balancer, "dual", 2).await {
        assert!(address.starts_with("127."), "{address}");
    }
    for address in reached(&balancer, "ipv6", 2).await {
        assert!(address.starts_with('['), "{address}");
    }
    reached(&balancer, "fargate", 2).await;
    // No host was asked about: who has no task on a host needs no permission for it.
    let calls = cluster.ecs.calls();
    assert!(
        !calls.contains_key("DescribeContainerInstances"),
        "{calls:?}"
    );
}

#[tokio::test]
async fn without_the_permission_for_definitions_only_those_tasks_wait_that_need_one() {
    let cluster = Cluster::start().await;
    serve(&cluster, "host", 1, TaskDefinition::host("", 18080)).await;
    serve(&cluster, "net", 1, TaskDefinition::awsvpc("", 8080)).await;
    cluster.service("bridge", 1).await;
    let operation = "DescribeTaskDefinition";
    let faults = cluster.ecs.faults();
    faults.fail(operation, Fault::AccessDenied, Times::UntilCleared);
    let services = [
        ("host", ""),
        ("net", "container_port: 8080"),
        ("bridge", ""),
    ];
    let balancer = balance(&cluster, &services).await;
    refused(&balancer, "host", "ecs:DescribeTaskDefinition").await;
    reached(&balancer, "net", 1).await;
    reached(&balancer, "bridge", 1).await;
    assert_eq!(group(&balancer, "host").await.discovery, "fresh");
    faults.clear();
    reached(&balancer, "host", 1).await;
}
