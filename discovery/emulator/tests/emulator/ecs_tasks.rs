//! DescribeTasks, DescribeTaskDefinition, DescribeContainerInstances, DescribeServices,
//! DescribeClusters: what they say in each network mode.

use aws_sdk_ecs::types::{ApplicationProtocol, ContainerInstanceField, NetworkMode as WireMode};
use longshore_emulator::{
    Addresses, Container, Health, LaunchType, NetworkMode, PortMapping, Protocol, TaskDefinition,
};

use crate::lab::{CLUSTER, Lab, code, quick, who};

#[tokio::test]
async fn a_bridge_task_reports_the_host_port_of_each_container() {
    let lab = Lab::new(quick(), 1).await;
    let definition = TaskDefinition {
        family: "web".into(),
        network_mode: NetworkMode::Bridge,
        launch_type: LaunchType::Ec2,
        addresses: Addresses::Ipv4,
        containers: vec![
            Container::new(
                "app",
                vec![
                    PortMapping::dynamic(8080).named("http").speaking("http2"),
                    PortMapping::dynamic(9090),
                ],
            )
            .label("traefik.enable", "true"),
            Container::new(
                "side",
                vec![PortMapping {
                    protocol: Protocol::Udp,
                    ..PortMapping::dynamic(53)
                }],
            ),
        ],
    };
    let tasks = lab.serve(definition, "web", 1).await;
    let view = tasks.first().expect("there is a task");
    let described = lab.describe(&[&view.id]).await;
    let task = described.first().expect("it is described");
    assert_eq!(task.task_arn(), Some(view.arn.as_str()));
    assert_eq!(task.last_status(), Some("RUNNING"));
    assert_eq!(task.desired_status(), Some("RUNNING"));
    assert_eq!(task.group(), Some("service:web"));
    assert_eq!(task.version(), 3);
    assert_eq!(task.availability_zone(), Some("eu-central-1a"));
    assert_eq!(
        task.task_definition_arn(),
        Some("arn:aws:ecs:eu-central-1:123456789012:task-definition/web:1")
    );
    assert_eq!(
        task.container_instance_arn(),
        lab.hosts.first().map(|s| s.as_str())
    );
    assert_eq!(task.attachments(), []);
    assert!(task.started_at().is_some());

    let [app, side] = task.containers() else {
        panic!("both containers are described");
    };
    assert_eq!(
        (app.name(), app.last_status()),
        (Some("app"), Some("RUNNING"))
    );
    let bindings: Vec<_> = app
        .network_bindings()
        .iter()
        .map(|b| (b.container_port(), b.host_port()))
        .collect();
    let ports: Vec<_> = view
        .addresses
        .iter()
        .map(|a| Some(i32::from(a.port())))
        .collect();
    assert_eq!(bindings, [(Some(8080), ports[0]), (Some(9090), ports[1])]);
    assert_eq!(side.network_bindings().len(), 1);
    assert_eq!(view.addresses.len(), 2, "nobody listens for UDP");
    for address in &view.addresses {
        assert_eq!(who(*address).await, view.id);
    }

    let answer = lab.ecs.describe_task_definition().task_definition("web:1");
    let answer = answer.send().await.expect("the definition is described");
    let definition = answer.task_definition().expect("it is there");
    assert_eq!(definition.network_mode(), Some(&WireMode::Bridge));
    assert_eq!(
        (definition.family(), definition.revision()),
        (Some("web"), 1)
    );
    let app = definition.container_definitions().first();
    let app = app.expect("the first container");
    let labels = app.docker_labels().expect("it has labels");
    assert_eq!(
        labels.get("traefik.enable").map(String::as_str),
        Some("true")
    );
    let mapping = app.port_mappings().first().expect("the first port");
    assert_eq!(mapping.container_port(), Some(8080));
    assert_eq!(mapping.host_port(), Some(0));
    assert_eq!(mapping.name(), Some("http"));
    assert_eq!(mapping.app_protocol(), Some(&ApplicationProtocol::Http2));
}

#[tokio::test]
async fn a_task_that_does_not_run_yet_has_no_bindings() {
    let options = longshore_emulator::Options {
        start_delay: std::time::Duration::from_secs(7200),
        ..quick()
    };
    let lab = Lab::new(options, 1).await;
    lab.emulator
        .register_task_definition(TaskDefinition::bridge("web", 80));
    lab.emulator
        .create_service(CLUSTER, "web", "web", 1)
        .expect("the service is new");
    let id = lab
        .emulator
        .tasks()
        .first()
        .expect("it is there")
        .id
        .clone();
    let described = lab.describe(&[&id]).await;
    let task = described.first().expect("it is described");
    assert_eq!(task.last_status(), Some("PROVISIONING"));
    assert_eq!(task.version(), 1);
    let container = task.containers().first().expect("it has a container");
    assert_eq!(container.last_status(), Some("PENDING"));
    assert_eq!(container.network_bindings(), []);
}

#[tokio::test]
async fn a_host_mode_task_listens_on_its_container_port_and_reports_no_bindings() {
    let lab = Lab::new(quick(), 2).await;
    let tasks = lab
        .serve(TaskDefinition::host("web", 18080), "web", 2)
        .await;
    let ids: Vec<&str> = tasks.iter().map(|task| task.id.as_str()).collect();
    for task in lab.describe(&ids).await {
        let container = task.containers().first().expect("it has a container");
        assert_eq!(container.network_bindings(), []);
        assert_eq!(container.network_interfaces(), []);
    }
    for task in &tasks {
        let [address] = task.addresses.as_slice() else {
            panic!("one port");
        };
        assert_eq!(address.port(), 18080);
        assert_eq!(who(*address).await, task.id);
    }
}

#[tokio::test]
async fn the_interface_of_an_awsvpc_task_is_not_its_first_attachment() {
    let lab = Lab::new(quick(), 1).await;
    let tasks = lab
        .serve(TaskDefinition::awsvpc("web", 8080), "web", 2)
        .await;
    let [one, two] = tasks.as_slice() else {
        panic!("two tasks");
    };
    assert_ne!(one.addresses, two.addresses);
    let described = lab.describe(&[&one.id]).await;
    let task = described.first().expect("it is described");
    let kinds: Vec<_> = task.attachments().iter().map(|a| a.r#type()).collect();
    assert_eq!(
        kinds,
        [Some("Service Connect"), Some("ElasticNetworkInterface")]
    );
    let eni = task.attachments().last().expect("the interface");
    assert_eq!(eni.status(), Some("ATTACHED"));
    let names: Vec<_> = eni.details().iter().filter_map(|d| d.name()).collect();
    for name in ["subnetId", "networkInterfaceId", "macAddress"] {
        assert!(names.contains(&name), "{name}");
    }
    let address = eni
        .details()
        .iter()
        .find(|detail| detail.name() == Some("privateIPv4Address"))
        .and_then(|detail| detail.value());
    let container = task.containers().first().expect("it has a container");
    assert_eq!(container.network_bindings(), []);
    let interface = container.network_interfaces().first();
    let interface = interface.expect("it has an interface");
    assert_eq!(interface.private_ipv4_address(), address);
    assert_eq!(interface.attachment_id(), eni.id());
    let socket = one.addresses.first().expect("it has an address");
    assert_eq!(Some(socket.ip().to_string().as_str()), address);
    assert_eq!(socket.port(), 8080);
    assert_eq!(who(*socket).await, one.id);
}

#[tokio::test]
async fn a_fargate_task_has_no_container_instance() {
    let lab = Lab::new(quick(), 0).await;
    let definition = TaskDefinition {
        launch_type: LaunchType::Fargate,
        ..TaskDefinition::bridge("web", 8080)
    };
    let tasks = lab.serve(definition, "web", 3).await;
    let ids: Vec<&str> = tasks.iter().map(|task| task.id.as_str()).collect();
    for task in lab.describe(&ids).await {
        assert_eq!(task.container_instance_arn(), None);
        assert_eq!(
            task.launch_type().map(|kind| kind.as_str()),
            Some("FARGATE")
        );
        assert_eq!(task.attachments().len(), 2);
    }
    let zones: std::collections::BTreeSet<_> = tasks.iter().map(|task| &task.zone).collect();
    assert_eq!(zones.len(), 3);
}

#[tokio::test]
async fn a_definition_without_a_mode_is_a_bridge_without_a_name() {
    let lab = Lab::new(quick(), 1).await;
    let definition = TaskDefinition {
        network_mode: NetworkMode::Unset,
        ..TaskDefinition::bridge("web", 8080)
    };
    let tasks = lab.serve(definition, "web", 1).await;
    let task = tasks.first().expect("there is a task");
    assert_eq!(who(task.addresses[0]).await, task.id);
    let answer = lab.ecs.describe_task_definition().task_definition("web");
    let answer = answer.send().await.expect("the definition is described");
    let definition = answer.task_definition().expect("it is there");
    assert_eq!(definition.network_mode(), None);
}

#[tokio::test]
async fn describing_tasks_has_the_bounds_and_failures_of_ecs() {
    let lab = Lab::new(quick(), 1).await;
    let tasks = lab.service("web", 1).await;
    let task = tasks.first().expect("there is a task");
    let describe = |ids: Vec<String>| {
        let call = lab.ecs.describe_tasks().cluster(CLUSTER);
        call.set_tasks(Some(ids)).send()
    };
    assert_eq!(code(describe(vec![]).await), "InvalidParameterException");
    let many = |n: usize| vec![task.id.clone(); n];
    assert_eq!(code(describe(many(101)).await), "InvalidParameterException");
    let all = describe(many(100)).await.expect("a hundred is fine");
    assert_eq!(all.tasks().len(), 100);

    let unknown = "0123456789abcdef0123456789abcdef".to_owned();
    let mixed = describe(vec![unknown, task.arn.clone()]).await;
    let mixed = mixed.expect("one unknown task does not fail the call");
    assert_eq!(mixed.tasks().len(), 1);
    let failure = mixed.failures().first().expect("one failure");
    assert_eq!(failure.reason(), Some("MISSING"));
    assert_eq!(
        failure.arn(),
        Some("arn:aws:ecs:eu-central-1:123456789012:task/demo/0123456789abcdef0123456789abcdef")
    );
    let wrong = lab.ecs.describe_tasks().cluster("none").tasks("a").send();
    assert_eq!(code(wrong.await), "ClusterNotFoundException");
}

#[tokio::test]
async fn container_instances_name_their_machines() {
    let lab = Lab::new(quick(), 2).await;
    let tasks = lab.service("web", 2).await;
    let describe = |ids: Vec<String>| {
        let call = lab.ecs.describe_container_instances().cluster(CLUSTER);
        let call = call.include(ContainerInstanceField::Tags);
        call.set_container_instances(Some(ids)).send()
    };
    let mut ids = lab.hosts.clone();
    ids.push("none".to_owned());
    let answer = describe(ids).await.expect("the hosts are described");
    assert_eq!(answer.failures().len(), 1);
    let [first, second] = answer.container_instances() else {
        panic!("two hosts");
    };
    assert_eq!(first.status(), Some("ACTIVE"));
    assert!(first.agent_connected());
    assert_eq!(second.running_tasks_count(), 1);
    let task = tasks
        .iter()
        .find(|task| task.container_instance.as_deref() == first.container_instance_arn());
    let task = task.expect("each host has a task");
    assert_eq!(task.ec2_instance_id.as_deref(), first.ec2_instance_id());

    let host = lab.hosts.first().expect("there is a host");
    lab.emulator
        .set_agent_connected(host, false)
        .expect("it is there");
    let answer = describe(vec![host.clone()]).await.expect("it is described");
    assert!(!answer.container_instances()[0].agent_connected());
    assert_eq!(code(describe(vec![]).await), "InvalidParameterException");
    let many = vec![host.clone(); 101];
    assert_eq!(code(describe(many).await), "InvalidParameterException");
}

#[tokio::test]
async fn services_and_clusters_are_described_with_their_counts() {
    let lab = Lab::new(quick(), 1).await;
    lab.service("web", 2).await;
    let answer = lab.ecs.describe_services().cluster(CLUSTER);
    let answer = answer.services("web").services("none").send();
    let answer = answer.await.expect("the service is described");
    let service = answer.services().first().expect("it is there");
    assert_eq!((service.desired_count(), service.running_count()), (2, 2));
    let deployment = service.deployments().first().expect("one deployment");
    assert_eq!(deployment.status(), Some("PRIMARY"));
    assert_eq!(
        deployment.rollout_state().map(|state| state.as_str()),
        Some("COMPLETED")
    );
    assert_eq!(answer.failures()[0].reason(), Some("MISSING"));
    let many = lab.ecs.describe_services().cluster(CLUSTER);
    let many = many.set_services(Some(vec!["web".to_owned(); 11])).send();
    assert_eq!(code(many.await), "InvalidParameterException");

    let answer = lab.ecs.describe_clusters().clusters(CLUSTER);
    let answer = answer.clusters("none").send().await;
    let answer = answer.expect("the cluster is described");
    let cluster = answer.clusters().first().expect("it is there");
    assert_eq!(cluster.running_tasks_count(), 2);
    assert_eq!(cluster.registered_container_instances_count(), 1);
    assert_eq!(answer.failures().len(), 1);
    let unknown = lab.ecs.describe_task_definition().task_definition("none");
    assert_eq!(code(unknown.send().await), "ClientException");
}

#[tokio::test]
async fn the_health_of_a_task_is_what_it_was_set_to() {
    let lab = Lab::new(quick(), 1).await;
    let tasks = lab.service("web", 1).await;
    let task = tasks.first().expect("there is a task");
    lab.emulator
        .set_health(&task.id, Health::Unhealthy)
        .expect("it is there");
    let described = lab.describe(&[&task.id]).await;
    let health = described[0].health_status().map(|health| health.as_str());
    assert_eq!(health, Some("UNHEALTHY"));
}
