//! The JSON that ECS writes for a task definition.

use serde_json::{Value, json};

use crate::model::{NetworkMode, PortMapping};
use crate::render::{image, without_nulls};
use crate::state::Definition;
use crate::world::World;

pub(crate) fn task_definition(world: &World, definition: &Definition) -> Value {
    let mode = definition.mode();
    let containers: Vec<Value> = definition
        .spec
        .containers
        .iter()
        .map(|container| {
            let ports: Vec<Value> = container
                .ports
                .iter()
                .map(|port| port_mapping(port, mode))
                .collect();
            without_nulls(json!({
                "name": container.name,
                "image": image(&container.name),
                "cpu": 256,
                "memory": 512,
                "essential": true,
                "portMappings": ports,
                "environment": [],
                "mountPoints": [],
                "volumesFrom": [],
                "dockerLabels": (!container.labels.is_empty()).then_some(&container.labels),
            }))
        })
        .collect();
    without_nulls(json!({
        "taskDefinitionArn": definition.arn,
        "family": definition.spec.family,
        "revision": definition.revision,
        "status": "ACTIVE",
        "networkMode": mode.wire(),
        "containerDefinitions": containers,
        "requiresCompatibilities": [definition.spec.launch_type.wire()],
        "compatibilities": [definition.spec.launch_type.wire()],
        "placementConstraints": [],
        "volumes": [],
        "cpu": "256",
        "memory": "512",
        "registeredAt": world.clock.seconds(definition.registered),
    }))
}

fn port_mapping(port: &PortMapping, mode: NetworkMode) -> Value {
    let (host_port, range) = match port.last_port {
        Some(last) => (None, Some(format!("{}-{last}", port.container_port))),
        None if mode.publishes() => (Some(port.host_port), None),
        None => (Some(port.container_port), None),
    };
    without_nulls(json!({
        "containerPort": range.is_none().then_some(port.container_port),
        "containerPortRange": range,
        "hostPort": host_port,
        "protocol": port.protocol.wire(),
        "name": port.name,
        "appProtocol": port.app_protocol,
    }))
}
