//! Network modes and launch types, beyond those of the other files.

use aws_sdk_ecs::types::NetworkMode as WireMode;
use longshore_emulator::{
    Addresses, Container, Host, LaunchType, NetworkMode, PortMapping, TaskDefinition, TaskView,
};

use crate::lab::{CLUSTER, Lab, quick, who};

#[tokio::test]
async fn a_range_has_host_ports_side_by_side_and_is_told_as_two_texts() {
    let lab = Lab::new(quick(), 1).await;
    let definition = TaskDefinition {
        containers: vec![Container::new(
            "app",
            vec![
                PortMapping::dynamic(80),
                PortMapping::range(8080, 8082).named("many"),
            ],
        )],
        ..TaskDefinition::bridge("web", 80)
    };
    let tasks = lab.serve(definition, "web", 2).await;
    for task in &tasks {
        let described = lab.describe(&[&task.id]).await;
        let bindings = described[0].containers()[0].network_bindings();
        let [single, range] = bindings else {
            panic!("two bindings: {bindings:?}");
        };
        assert_eq!(single.container_port(), Some(80));
        assert_eq!(single.container_port_range(), None);
        assert_eq!(range.container_port(), None);
        assert_eq!(range.host_port(), None);
        assert_eq!(range.container_port_range(), Some("8080-8082"));
        let first = task.addresses[1].port();
        let told = format!("{first}-{}", first + 2);
        assert_eq!(range.host_port_range(), Some(told.as_str()));
        assert_eq!(task.addresses.len(), 4);
        for (offset, address) in (0..).zip(&task.addresses[1..]) {
            assert_eq!(address.port(), first + offset);
            assert_eq!(who(*address).await, task.id);
        }
    }
    let answer = lab.ecs.describe_task_definition().task_definition("web");
    let answer = answer.send().await.expect("the definition is described");
    let definition = answer.task_definition().expect("it is there");
    let mapping = &definition.container_definitions()[0].port_mappings()[1];
    assert_eq!(mapping.container_port_range(), Some("8080-8082"));
    assert_eq!(
        (mapping.container_port(), mapping.name()),
        (None, Some("many"))
    );
}

async fn only(lab: &Lab, definition: TaskDefinition) -> TaskView {
    let tasks = lab.serve(definition, "web", 1).await;
    tasks.into_iter().next().expect("there is a task")
}

#[tokio::test]
async fn an_awsvpc_task_of_ipv6_alone_has_no_ipv4_address() {
    let lab = Lab::new(quick(), 1).await;
    let definition = TaskDefinition {
        addresses: Addresses::Ipv6,
        ..TaskDefinition::awsvpc("web", 8080)
    };
    let task = only(&lab, definition).await;
    let described = lab.describe(&[&task.id]).await;
    let interface = &described[0].containers()[0].network_interfaces()[0];
    assert_eq!(interface.private_ipv4_address(), None);
    let address = task.addresses[0].ip();
    assert!(address.is_ipv6());
    assert_eq!(interface.ipv6_address(), Some(address.to_string().as_str()));
    let attachments = described[0].attachments().iter();
    let mut details = attachments.flat_map(|attachment| attachment.details());
    assert!(details.all(|detail| detail.name() != Some("privateIPv4Address")));
    assert_eq!(who(task.addresses[0]).await, task.id);
}

#[tokio::test]
async fn a_dual_stack_task_has_both_addresses_and_listens_on_that_of_ipv4() {
    let lab = Lab::new(quick(), 1).await;
    let definition = TaskDefinition {
        addresses: Addresses::DualStack,
        ..TaskDefinition::awsvpc("web", 8080)
    };
    let task = only(&lab, definition).await;
    let described = lab.describe(&[&task.id]).await;
    let interface = &described[0].containers()[0].network_interfaces()[0];
    let address = task.addresses[0].ip().to_string();
    assert_eq!(interface.private_ipv4_address(), Some(address.as_str()));
    assert!(
        interface
            .ipv6_address()
            .is_some_and(|text| text.starts_with("fd00::"))
    );
    assert_eq!(who(task.addresses[0]).await, task.id);
}

#[tokio::test]
async fn the_default_network_of_windows_publishes_ports_and_none_does_not() {
    let lab = Lab::new(quick(), 1).await;
    for (mode, wire, bindings) in [
        (NetworkMode::Windows, "default", 1),
        (NetworkMode::Isolated, "none", 0),
    ] {
        let definition = TaskDefinition {
            network_mode: mode,
            ..TaskDefinition::bridge(wire, 8080)
        };
        let tasks = lab.serve(definition, wire, 1).await;
        assert_eq!(tasks[0].addresses.len(), bindings);
        let described = lab.describe(&[&tasks[0].id]).await;
        let container = &described[0].containers()[0];
        assert_eq!(container.network_bindings().len(), bindings);
        let answer = lab.ecs.describe_task_definition().task_definition(wire);
        let answer = answer.send().await.expect("the definition is described");
        let definition = answer.task_definition().expect("it is there");
        assert_eq!(definition.network_mode(), Some(&WireMode::from(wire)));
    }
}

#[tokio::test]
async fn tasks_are_placed_on_the_hosts_of_their_launch_type() {
    let lab = Lab::new(quick(), 1).await;
    let external = Host::external(lab.emulator.spare_address());
    let external = lab.emulator.add_host(CLUSTER, external);
    let managed = Host::managed(lab.emulator.spare_address(), "eu-central-1b");
    let managed = lab.emulator.add_host(CLUSTER, managed);
    for (launch_type, wire, host, zone) in [
        (LaunchType::Ec2, "EC2", &lab.hosts[0], Some("eu-central-1a")),
        (LaunchType::External, "EXTERNAL", &external, None),
        (
            LaunchType::ManagedInstances,
            "MANAGED_INSTANCES",
            &managed,
            Some("eu-central-1b"),
        ),
    ] {
        let definition = TaskDefinition {
            launch_type,
            ..TaskDefinition::host(wire, 18080)
        };
        let tasks = lab.serve(definition, wire, 1).await;
        assert_eq!(tasks[0].container_instance.as_ref(), Some(host));
        let described = lab.describe(&[&tasks[0].id]).await;
        let told = described[0].launch_type().map(|kind| kind.as_str());
        assert_eq!(told, Some(wire));
        assert_eq!(described[0].availability_zone(), zone);
        assert_eq!(who(tasks[0].addresses[0]).await, tasks[0].id);
    }
}

#[tokio::test]
async fn a_managed_instance_is_hidden_unless_it_is_asked_for() {
    let lab = Lab::new(quick(), 1).await;
    let managed = Host::managed(lab.emulator.spare_address(), "eu-central-1b");
    lab.emulator.add_host(CLUSTER, managed);
    let call = || lab.ec2.describe_instances();
    let answer = call().send().await.expect("the instances are described");
    assert_eq!(answer.reservations().len(), 1);
    let answer = call().include_managed_resources(true).send().await;
    let answer = answer.expect("the instances are described");
    assert_eq!(answer.reservations().len(), 2);
}
