//! The JSON that ECS writes for each kind of thing.

use serde_json::{Map, Value, json};

use crate::model::{DeploymentController, LaunchType, NetworkMode, TaskStatus};
use crate::names;
use crate::state::{
    Binding, Definition, Deployment, HostState, HostStatus, Service, ServiceKey, Task,
};
use crate::task_sets;
use crate::view;
use crate::world::World;

/// Every subnet of the model.
const SUBNET: &str = "subnet-0a1b2c3d4e5f60718";

/// Leaves out the members that have no value, as AWS does.
pub(crate) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .filter(|(_, member)| !member.is_null())
                .collect::<Map<_, _>>(),
        ),
        other => other,
    }
}

pub(crate) fn cluster(world: &World, name: &str) -> Value {
    let own = |task: &&Task| task.service.cluster == name;
    let count = |status: TaskStatus| {
        let tasks = world.tasks.values().filter(own);
        tasks.filter(|task| task.last == status).count()
    };
    let hosts = world
        .hosts
        .iter()
        .filter(|host| host.cluster == name && host.status != HostStatus::Inactive);
    let services = world.services.keys().filter(|key| key.cluster == name);
    json!({
        "clusterArn": names::cluster(&world.options, name),
        "clusterName": name,
        "status": "ACTIVE",
        "registeredContainerInstancesCount": hosts.count(),
        "runningTasksCount": count(TaskStatus::Running),
        "pendingTasksCount": count(TaskStatus::Pending),
        "activeServicesCount": services.count(),
        "statistics": [],
        "tags": [],
        "settings": [],
        "capacityProviders": [],
        "defaultCapacityProviderStrategy": [],
    })
}

pub(crate) fn task(world: &World, task: &Task) -> Value {
    let seconds = |at: Option<std::time::Instant>| at.map(|at| world.clock.seconds(at));
    let host = task.host.and_then(|host| world.hosts.get(host));
    let containers: Vec<Value> = (0..task.definition.spec.containers.len())
        .map(|index| container(world, task, index))
        .collect();
    without_nulls(json!({
        "taskArn": task.arn,
        "clusterArn": names::cluster(&world.options, &task.service.cluster),
        "taskDefinitionArn": task.definition.arn,
        "containerInstanceArn": host.map(|host| &host.arn),
        "launchType": task.definition.spec.launch_type.wire(),
        "lastStatus": task.last.wire(),
        "desiredStatus": view::desired(task).wire(),
        "healthStatus": task.health.wire(),
        "group": format!("service:{}", task.service.name),
        "startedBy": deployment_id(task.deployment),
        "version": task.version,
        "availabilityZone": zone(&task.zone),
        "cpu": "256",
        "memory": "512",
        "connectivity": (task.last >= TaskStatus::Running).then_some("CONNECTED"),
        "connectivityAt": seconds(task.running),
        "createdAt": seconds(Some(task.created)),
        "startedAt": seconds(task.running),
        "stoppingAt": seconds(task.stop_asked),
        "executionStoppedAt": match task.last {
            TaskStatus::Deprovisioning | TaskStatus::Stopped => seconds(task.exited),
            _ => None,
        },
        "stoppedAt": seconds(task.stopped),
        "stopCode": task.stop_code,
        "stoppedReason": task.stop_reason,
        "enableExecuteCommand": false,
        "attributes": [],
        "attachments": attachments(task),
        "containers": containers,
        "overrides": { "containerOverrides": [], "inferenceAcceleratorOverrides": [] },
        "tags": [],
    }))
}

/// A machine outside AWS is in no zone.
fn zone(zone: &str) -> Option<&str> {
    (!zone.is_empty()).then_some(zone)
}

/// The network interface comes second: whoever reads the first attachment reads a wrong one.
fn attachments(task: &Task) -> Value {
    let Some(eni) = &task.eni else {
        return json!([]);
    };
    let status = match task.last {
        TaskStatus::Provisioning => "ATTACHING",
        TaskStatus::Pending | TaskStatus::Running | TaskStatus::Stopping => "ATTACHED",
        TaskStatus::Deprovisioning => "DETACHING",
        TaskStatus::Stopped => "DELETED",
    };
    let mut details = vec![
        json!({ "name": "subnetId", "value": SUBNET }),
        json!({ "name": "networkInterfaceId", "value": eni.id }),
        json!({ "name": "macAddress", "value": eni.mac }),
        json!({ "name": "privateDnsName", "value": private_name(&eni.address.to_string()) }),
    ];
    if let Some(ipv4) = eni.ipv4 {
        details.push(json!({ "name": "privateIPv4Address", "value": ipv4.to_string() }));
    }
    json!([
        {
            "id": format!("sc-{}", eni.attachment),
            "type": "Service Connect",
            "status": status,
            "details": [{ "name": "ContainerName", "value": "ecs-service-connect" }],
        },
        {
            "id": eni.attachment,
            "type": "ElasticNetworkInterface",
            "status": status,
            "details": details,
        },
    ])
}

/// The host name that AWS derives from a private address.
pub(crate) fn private_name(address: &str) -> String {
    format!("ip-{}.ec2.internal", address.replace(['.', ':'], "-"))
}

fn container(world: &World, task: &Task, index: usize) -> Value {
    let spec = task.definition.spec.containers.get(index);
    let ended = task.last >= TaskStatus::Deprovisioning;
    let status = match task.last {
        TaskStatus::Provisioning | TaskStatus::Pending => "PENDING",
        TaskStatus::Running | TaskStatus::Stopping => "RUNNING",
        TaskStatus::Deprovisioning | TaskStatus::Stopped => "STOPPED",
    };
    let interfaces = match &task.eni {
        Some(eni) if task.last > TaskStatus::Provisioning => json!([without_nulls(json!({
            "attachmentId": eni.attachment,
            "privateIpv4Address": eni.ipv4.map(|address| address.to_string()),
            "ipv6Address": eni.ipv6.map(|address| address.to_string()),
        }))]),
        _ => json!([]),
    };
    // The agent reports what docker has published, and only once the container runs.
    let published = task.definition.mode().publishes() && task.running.is_some();
    let bindings: Vec<Value> = task
        .bindings
        .iter()
        .filter(|binding| published && binding.container == index)
        .filter_map(|binding| network_binding(task, binding))
        .collect();
    let exit_code = match (ended, task.running, task.killed) {
        (true, Some(_), true) => Some(137),
        (true, Some(_), false) => Some(0),
        _ => None,
    };
    let id = format!("{index:04x}{}", task.id.get(4..).unwrap_or_default());
    without_nulls(json!({
        "containerArn": names::container(&world.options, &task.service.cluster, &task.id, &id),
        "taskArn": task.arn,
        "name": spec.map(|spec| &spec.name),
        "image": spec.map(|spec| image(&spec.name)),
        "lastStatus": status,
        "exitCode": exit_code,
        "healthStatus": task.health.wire(),
        "networkBindings": bindings,
        "networkInterfaces": interfaces,
        "cpu": "0",
    }))
}

/// A range is told once, with its first port.
fn network_binding(task: &Task, binding: &Binding) -> Option<Value> {
    let container = task.definition.spec.containers.get(binding.container)?;
    let mapping = container.ports.get(binding.mapping)?;
    let first = binding.address.port();
    let Some(last) = mapping.last_port else {
        return Some(json!({
            "bindIP": "0.0.0.0",
            "containerPort": binding.inside,
            "hostPort": first,
            "protocol": mapping.protocol.wire(),
        }));
    };
    (binding.inside == mapping.container_port).then(|| {
        json!({
            "bindIP": "0.0.0.0",
            "containerPortRange": format!("{}-{last}", mapping.container_port),
            "hostPortRange": format!("{first}-{}", first + (last - mapping.container_port)),
            "protocol": mapping.protocol.wire(),
        })
    })
}

pub(crate) fn image(container: &str) -> String {
    format!("example.test/{container}:latest")
}

pub(crate) fn deployment_id(number: u64) -> String {
    format!("ecs-svc/{number:019}")
}

pub(crate) fn service(world: &World, key: &ServiceKey, service: &Service) -> Value {
    let primary = service.deployments.last();
    let spec = primary.map(|deployment| &deployment.definition);
    let deployments: Vec<Value> = service
        .deployments
        .iter()
        .rev()
        .enumerate()
        .map(|(age, deployment)| deployed(world, service, deployment, age == 0))
        .collect();
    let awsvpc = spec.is_some_and(|spec| spec.mode() == NetworkMode::Awsvpc);
    let network = awsvpc.then(|| {
        json!({ "awsvpcConfiguration": {
            "subnets": [SUBNET], "securityGroups": [], "assignPublicIp": "DISABLED",
        }})
    });
    let (running, pending) = counts(world, service, None);
    let sets = service.controller != DeploymentController::Ecs;
    without_nulls(json!({
        "serviceArn": names::service(&world.options, &key.cluster, &key.name),
        "serviceName": key.name,
        "clusterArn": names::cluster(&world.options, &key.cluster),
        "status": "ACTIVE",
        "desiredCount": service.desired,
        "runningCount": running,
        "pendingCount": pending,
        "launchType": launch_type(spec.map(|spec| spec.as_ref())),
        "taskDefinition": spec.map(|spec| &spec.arn),
        "schedulingStrategy": "REPLICA",
        "deploymentController": { "type": service.controller.wire() },
        "taskSets": sets.then(|| task_sets::render_all(world, key, service)),
        "deploymentConfiguration": { "maximumPercent": 200, "minimumHealthyPercent": 100 },
        "deployments": deployments,
        "networkConfiguration": network,
        "loadBalancers": [],
        "serviceRegistries": [],
        "events": [],
        "placementConstraints": [],
        "placementStrategy": [
            { "type": "spread", "field": "attribute:ecs.availability-zone" },
            { "type": "spread", "field": "instanceId" },
        ],
        "createdAt": world.clock.seconds(service.created),
        "enableECSManagedTags": false,
        "enableExecuteCommand": false,
        "propagateTags": "NONE",
        "tags": [],
    }))
}

fn launch_type(definition: Option<&Definition>) -> &'static str {
    definition
        .map_or(LaunchType::Ec2, |definition| definition.spec.launch_type)
        .wire()
}

/// Running and pending tasks that are meant to run, of one deployment or of all.
pub(crate) fn counts(world: &World, service: &Service, deployment: Option<u64>) -> (usize, usize) {
    let tasks = service.live.iter().filter_map(|seq| world.tasks.get(seq));
    tasks
        .filter(|task| deployment.is_none_or(|id| task.deployment == id))
        .fold((0, 0), |(running, pending), task| match task.last {
            TaskStatus::Running => (running + 1, pending),
            _ => (running, pending + 1),
        })
}

fn deployed(world: &World, service: &Service, deployment: &Deployment, primary: bool) -> Value {
    let (running, pending) = counts(world, service, Some(deployment.id));
    let (status, desired) = match primary {
        true => ("PRIMARY", service.desired),
        false => ("ACTIVE", running + pending),
    };
    let (state, reason) = match deployment.completed {
        true => ("COMPLETED", "completed"),
        false => ("IN_PROGRESS", "in progress"),
    };
    let id = deployment_id(deployment.id);
    json!({
        "rolloutStateReason": format!("ECS deployment {id} {reason}."),
        "id": id,
        "status": status,
        "taskDefinition": deployment.definition.arn,
        "desiredCount": desired,
        "runningCount": running,
        "pendingCount": pending,
        "failedTasks": deployment.failed,
        "createdAt": world.clock.seconds(deployment.created),
        "updatedAt": world.clock.seconds(deployment.updated),
        "launchType": launch_type(Some(&deployment.definition)),
        "rolloutState": state,
    })
}

pub(crate) fn container_instance(world: &World, index: usize, host: &HostState) -> Value {
    let count = |status: TaskStatus| {
        let tasks = world.tasks.values().filter(|t| t.host == Some(index));
        tasks.filter(|task| task.last == status).count()
    };
    let zone = zone(&host.zone);
    let zone = zone.map(|zone| json!({ "name": "ecs.availability-zone", "value": zone }));
    json!({
        "containerInstanceArn": host.arn,
        "ec2InstanceId": host.ec2_id,
        "version": host.version,
        "versionInfo": {},
        "status": host.status.wire(),
        "agentConnected": host.agent_connected,
        "runningTasksCount": count(TaskStatus::Running),
        "pendingTasksCount": count(TaskStatus::Pending),
        "remainingResources": [],
        "registeredResources": [],
        "attributes": zone.into_iter().collect::<Vec<_>>(),
        "registeredAt": world.clock.seconds(host.registered),
        "attachments": [],
        "tags": [],
    })
}
