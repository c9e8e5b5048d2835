//! Hosts of every kind, through the real SDK, at an emulator: EC2, ECS Managed Instances and ECS
//! Anywhere. What is not known of one host holds up its own tasks alone.

use std::sync::Arc;

use longshore_discovery::ecs::api::EcsApi as _;
use longshore_discovery::ecs::{Aws, SdkApi};
use longshore_emulator::{Fault, Host, LaunchType, TaskDefinition, Times};
use longshore_tests::balancer::config;
use longshore_tests::cluster::Cluster;
use longshore_tests::eventually;
use longshore_tests::process::Kept;
use longshore_tests::services::{balance, file, group, reached, refused, serve};

/// A service of ECS Anywhere on two machines.
async fn anywhere(cluster: &Cluster) {
    for _ in 0..2 {
        let machine = Host::external(cluster.ecs.spare_address());
        cluster.ecs.add_host("prod", machine);
    }
    let definition = TaskDefinition {
        launch_type: LaunchType::External,
        ..TaskDefinition::bridge("", 8080)
    };
    serve(cluster, "anywhere", 2, definition).await;
}

#[tokio::test]
async fn tasks_of_ecs_anywhere_are_reached_at_the_addresses_that_systems_manager_tells() {
    let cluster = Cluster::start().await;
    anywhere(&cluster).await;
    let balancer = balance(&cluster, &[("anywhere", "")]).await;
    assert_eq!(reached(&balancer, "anywhere", 2).await.len(), 2);
    for target in group(&balancer, "anywhere").await.targets {
        let instance = target.instance.expect("it has a machine");
        assert!(instance.starts_with("mi-"), "{instance}");
        assert_eq!(target.zone, None);
    }
    assert!(!cluster.ecs.calls().contains_key("DescribeInstances"));
}

#[tokio::test]
async fn without_the_permission_for_systems_manager_only_machines_outside_aws_are_lost() {
    let cluster = Cluster::start().await;
    anywhere(&cluster).await;
    cluster.service("bridge", 2).await;
    let operation = "DescribeInstanceInformation";
    let faults = cluster.ecs.faults();
    faults.fail(operation, Fault::AccessDenied, Times::UntilCleared);
    let balancer = balance(&cluster, &[("anywhere", ""), ("bridge", "")]).await;
    refused(
        &balancer,
        "anywhere",
        "it needs the permission ssm:DescribeInstanceInformation",
    )
    .await;
    reached(&balancer, "bridge", 2).await;
    assert_eq!(group(&balancer, "anywhere").await.discovery, "fresh");
    faults.clear();
    reached(&balancer, "anywhere", 2).await;
}

#[tokio::test]
async fn hosts_of_both_kinds_are_found_by_one_question_and_one_kind_without_the_other() {
    let cluster = Cluster::start().await;
    let ec2 = Host::new(cluster.ecs.spare_address(), "eu-central-1b");
    let node = Host::external(cluster.ecs.spare_address());
    let addresses = [ec2.address, node.address];
    let arns = [ec2, node].map(|host| Arc::from(cluster.ecs.add_host("prod", host)));
    let aws = Aws::Emulator {
        endpoint: cluster.ecs.endpoint_url(),
    };
    let api = SdkApi::connect(&aws, None, Arc::new(aws.region())).await;
    let ask = async || {
        let hosts = api.describe_hosts("prod", &arns).await.expect("an answer");
        let found: Vec<_> = hosts.found.iter().map(|host| host.address).collect();
        let unknown: Vec<_> = hosts.unknown.into_iter().map(|(arn, _)| arn).collect();
        (found, unknown)
    };
    assert_eq!(ask().await, (addresses.to_vec(), vec![]));
    let faults = cluster.ecs.faults();
    faults.fail(
        "DescribeInstances",
        Fault::AccessDenied,
        Times::UntilCleared,
    );
    assert_eq!(ask().await, (vec![addresses[1]], vec![arns[0].clone()]));
    faults.clear();
    faults.fail(
        "DescribeInstanceInformation",
        Fault::EmptyBody,
        Times::UntilCleared,
    );
    assert_eq!(ask().await, (vec![addresses[0]], vec![arns[1].clone()]));
}

#[tokio::test]
async fn hosts_are_asked_for_zone_by_zone_and_a_disrupted_zone_holds_up_only_its_own() {
    let cluster = Cluster::start().await;
    let hosts: Vec<Host> = (0..5)
        .map(|number| ["eu-central-1a", "eu-central-1b", "eu-central-1c"][number % 3])
        .map(|zone| Host::new(cluster.ecs.spare_address(), zone))
        .collect();
    let arns: Vec<Arc<str>> = hosts
        .iter()
        .map(|host| Arc::from(cluster.ecs.add_host("prod", host.clone())))
        .collect();
    let aws = Aws::Emulator {
        endpoint: cluster.ecs.endpoint_url(),
    };
    let api = SdkApi::connect(&aws, None, Arc::new(aws.region())).await;
    let all = api.describe_hosts("prod", &arns).await.expect("an answer");
    assert_eq!((all.found.len(), all.unknown.len()), (5, 0));
    assert_eq!(cluster.calls(&["DescribeInstances"]), 3);
    cluster.ecs.faults().disrupt_zone("eu-central-1b");
    let some = api.describe_hosts("prod", &arns).await.expect("an answer");
    assert_eq!(some.found.len(), 3);
    let unknown: Vec<&Arc<str>> = some.unknown.iter().map(|(arn, _)| arn).collect();
    assert_eq!(unknown, [&arns[1], &arns[4]]);
    assert!(
        some.unknown[0].1.contains("disrupted"),
        "{:?}",
        some.unknown
    );
}

#[tokio::test]
async fn tasks_in_other_zones_are_found_while_a_zone_is_disrupted() {
    let cluster = Cluster::start().await;
    let second = Host::new(cluster.ecs.spare_address(), "eu-central-1b");
    cluster.ecs.add_host("prod", second);
    cluster.service("web", 4).await;
    cluster.ecs.faults().disrupt_zone("eu-central-1b");
    let balancer = balance(&cluster, &[("web", "")]).await;
    reached(&balancer, "web", 2).await;
    let problems = group(&balancer, "web").await.not_targets;
    assert_eq!(problems.len(), 2, "{problems:?}");
    cluster.ecs.faults().clear();
    reached(&balancer, "web", 4).await;
}

#[tokio::test]
async fn a_source_that_begins_anew_while_hosts_cannot_be_asked_for_keeps_its_targets() {
    let cluster = Cluster::start().await;
    cluster.service("web", 3).await;
    let mut balancer = balance(&cluster, &[("web", "")]).await;
    reached(&balancer, "web", 3).await;
    let faults = cluster.ecs.faults();
    for operation in ["DescribeContainerInstances", "DescribeInstances"] {
        faults.fail(operation, Fault::ServerError, Times::UntilCleared);
    }
    let text = file(&[("web", "")]).replace("poll_interval: 1s", "poll_interval: 500ms");
    let before = cluster.calls(&["ListTasks"]);
    let changed = config(&text);
    balancer.balancer.reload(changed).await.expect("reloaded");
    eventually("it has looked several times", async || {
        (cluster.calls(&["ListTasks"]) >= before + 4).then_some(())
    })
    .await;
    assert_eq!(balancer.targets("healthy").await.len(), 3);
    assert_eq!(group(&balancer, "web").await.discovery, "fresh");
}

#[tokio::test]
async fn a_restart_while_hosts_cannot_be_asked_for_keeps_its_targets() {
    let directory = Kept::new("hosts");
    let cluster = Cluster::start().await;
    cluster.service("web", 3).await;
    let check = "health_check: {path: /health, interval: 1, timeout: 1}";
    let first = cluster.balance_on(&directory.key(), &["web"], check).await;
    first.wait_for("healthy", 3).await;
    for record in ["targets-web.json", "hosts-.json"] {
        let record = directory.record(record);
        eventually("it is kept", async || record.exists().then_some(())).await;
    }
    first.balancer.drain().await;
    let faults = cluster.ecs.faults();
    for operation in ["DescribeContainerInstances", "DescribeInstances"] {
        faults.fail(operation, Fault::ServerError, Times::UntilCleared);
    }
    let before = cluster.calls(&["ListTasks"]);
    let second = cluster.balance_on(&directory.key(), &["web"], check).await;
    eventually("it has looked several times", async || {
        (cluster.calls(&["ListTasks"]) >= before + 3).then_some(())
    })
    .await;
    let group = second.group().await;
    assert_eq!(group.discovery, "fresh");
    assert_eq!((group.targets.len(), group.not_targets.len()), (3, 0));
    second.wait_for("healthy", 3).await;
    // Tasks that come meanwhile are found too, and those that go are gone.
    cluster.ecs.scale("prod", "web", 5).expect("scaled");
    second.wait_for("healthy", 5).await;
    cluster.ecs.scale("prod", "web", 1).expect("scaled");
    second.wait_for("healthy", 1).await;
}

#[tokio::test]
async fn many_machines_outside_aws_are_asked_for_by_fifties() {
    let cluster = Cluster::start().await;
    let arns: Vec<Arc<str>> = (0..100)
        .map(|_| Host::external(cluster.ecs.spare_address()))
        .map(|host| Arc::from(cluster.ecs.add_host("prod", host)))
        .collect();
    let aws = Aws::Emulator {
        endpoint: cluster.ecs.endpoint_url(),
    };
    let api = SdkApi::connect(&aws, None, Arc::new(aws.region())).await;
    let hosts = api.describe_hosts("prod", &arns).await.expect("an answer");
    assert_eq!((hosts.found.len(), hosts.unknown.len()), (100, 0));
    assert_eq!(cluster.ecs.calls()["DescribeInstanceInformation"], 2);
}

#[tokio::test]
async fn tasks_of_managed_instances_are_reached_though_their_hosts_are_hidden() {
    let cluster = Cluster::start().await;
    let host = Host::managed(cluster.ecs.spare_address(), "eu-central-1b");
    cluster.ecs.add_host("prod", host);
    for (name, definition) in [
        ("host", TaskDefinition::host("", 18080)),
        ("net", TaskDefinition::awsvpc("", 8080)),
    ] {
        let definition = TaskDefinition {
            launch_type: LaunchType::ManagedInstances,
            ..definition
        };
        serve(&cluster, name, 1, definition).await;
    }
    let balancer = balance(&cluster, &[("host", ""), ("net", "container_port: 8080")]).await;
    reached(&balancer, "host", 1).await;
    reached(&balancer, "net", 1).await;
}

#[tokio::test]
async fn a_host_that_nobody_knows_holds_up_only_its_own_tasks() {
    let cluster = Cluster::start().await;
    // EC2 does not know what is not its own, and Systems Manager neither.
    let mut stray = Host::new(cluster.ecs.spare_address(), "eu-central-1b");
    stray.ec2_instance_id = Some("mi-0123456789abcdef0".to_owned());
    cluster.ecs.add_host("prod", stray);
    cluster.service("web", 2).await;
    let balancer = balance(&cluster, &[("web", "")]).await;
    reached(&balancer, "web", 1).await;
    let group = group(&balancer, "web").await;
    assert_eq!(group.discovery, "fresh");
    let [problem] = group.not_targets.as_slice() else {
        panic!("one problem: {:?}", group.not_targets);
    };
    assert!(
        problem.reason.contains("mi-0123456789abcdef0"),
        "{}",
        problem.reason
    );
}

#[tokio::test]
async fn a_task_on_a_draining_host_serves_until_ecs_stops_it() {
    let cluster = Cluster::start().await;
    cluster.service("web", 2).await;
    let balancer = balance(&cluster, &[("web", "")]).await;
    let before = reached(&balancer, "web", 2).await;
    // There is no other host, so nothing can take their place, and ECS does not stop them.
    let host = cluster.tasks_of("web")[0].container_instance.clone();
    let host = host.expect("it has a host");
    cluster.ecs.drain_host(&host).expect("it drains");
    let polls = cluster.ecs.calls()["ListTasks"];
    eventually("two more looks", async || {
        (cluster.ecs.calls()["ListTasks"] >= polls + 2).then_some(())
    })
    .await;
    assert_eq!(reached(&balancer, "web", 2).await, before);
    let second = Host::new(cluster.ecs.spare_address(), "eu-central-1b");
    cluster.ecs.add_host("prod", second);
    eventually("the tasks have moved", async || {
        let healthy = balancer.targets("healthy").await;
        let moved = |address: &String| !before.contains(address);
        (healthy.len() == 2 && healthy.iter().all(|t| moved(&t.address))).then_some(())
    })
    .await;
}
