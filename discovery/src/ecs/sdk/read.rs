//! What the SDK's answers say, in plain data.

use std::net::IpAddr;
use std::sync::Arc;

use aws_sdk_ecs::types::{
    ContainerDefinition, DeploymentRolloutState, HealthStatus, NetworkBinding, TransportProtocol,
};
use longshore_config::Labels;

use crate::ecs::api::{
    Binding, Container, Definition, MappedPorts, PortMapping, RangeBinding, Service, Task, TaskSet,
};

/// An address, if it is one.
pub(super) fn parse_address(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

/// An element without an ARN is of no use; one bad element never fails the answer.
pub(super) fn task(task: &aws_sdk_ecs::types::Task) -> Option<Task> {
    Some(Task {
        arn: task.task_arn()?.into(),
        version: task.version(),
        desired_running: task.desired_status() == Some("RUNNING"),
        last_status: task.last_status().unwrap_or("UNKNOWN").to_owned(),
        started_at: task.started_at().and_then(|at| at.to_millis().ok()),
        unhealthy: task.health_status() == Some(&HealthStatus::Unhealthy),
        checked: matches!(
            task.health_status(),
            Some(HealthStatus::Healthy | HealthStatus::Unhealthy)
        ),
        service: task
            .group()
            .and_then(|group| group.strip_prefix("service:"))
            .map(Into::into),
        started_by: task.started_by().map(Into::into),
        zone: task.availability_zone().map(Into::into),
        host: task.container_instance_arn().map(Into::into),
        definition: task.task_definition_arn().map(Into::into),
        interface: interface(task),
        containers: task
            .containers()
            .iter()
            .filter_map(|container| {
                Some(Container {
                    name: container.name()?.into(),
                    running: container.last_status() == Some("RUNNING"),
                    bindings: tcp(container).filter_map(binding).collect(),
                    ranges: tcp(container).filter_map(range).collect(),
                })
            })
            .collect(),
    })
}

/// A service. One without a name and one that is deleted are none.
pub(super) fn service(service: &aws_sdk_ecs::types::Service) -> Option<(&str, Service)> {
    let sets = service.task_sets().iter().filter_map(|set| {
        Some(TaskSet {
            id: set.id()?.into(),
            status: set.status().unwrap_or("UNKNOWN").into(),
        })
    });
    let by_ecs = service.deployment_controller().is_none_or(|controller| {
        *controller.r#type() == aws_sdk_ecs::types::DeploymentControllerType::Ecs
    });
    let in_progress = Some(&DeploymentRolloutState::InProgress);
    let mut deployments = service.deployments().iter();
    let count = |number: i32| u32::try_from(number).unwrap_or(0);
    let told = Service {
        desired: count(service.desired_count()),
        running: count(service.running_count()),
        pending: count(service.pending_count()),
        rolling: deployments.any(|deployment| deployment.rollout_state() == in_progress),
        task_sets: (!by_ecs).then(|| sets.collect()),
    };
    let gone = service.status() == Some("INACTIVE");
    Some((service.service_name()?, told)).filter(|_| !gone)
}

/// The address of the task's own network interface: IPv4 if it has one. Attachments hold other
/// things too (Service Connect, volumes), so they are chosen by type, never by place.
fn interface(task: &aws_sdk_ecs::types::Task) -> Option<IpAddr> {
    let attachment = task.attachments().iter().find(|attachment| {
        matches!(attachment.r#type(), Some("ElasticNetworkInterface" | "eni"))
            && !matches!(
                attachment.status(),
                Some("DETACHED" | "DETACHING" | "DELETED")
            )
    })?;
    let detail = |name: &str| {
        attachment
            .details()
            .iter()
            .find(|detail| detail.name() == Some(name))
            .and_then(|detail| parse_address(detail.value()?))
    };
    // The containers tell the same, and the IPv6 address only they by a documented name.
    let shown = || {
        let interfaces = task
            .containers()
            .iter()
            .flat_map(|c| c.network_interfaces());
        interfaces.filter(|own| {
            own.attachment_id()
                .is_none_or(|id| Some(id) == attachment.id())
        })
    };
    detail("privateIPv4Address")
        .or_else(|| shown().find_map(|own| parse_address(own.private_ipv4_address()?)))
        .or_else(|| shown().find_map(|own| parse_address(own.ipv6_address()?)))
        .or_else(|| detail("privateIPv6Address"))
}

fn tcp(container: &aws_sdk_ecs::types::Container) -> impl Iterator<Item = &NetworkBinding> {
    let bindings = container.network_bindings().iter();
    bindings.filter(|binding| binding.protocol() != Some(&TransportProtocol::Udp))
}

fn port(number: Option<i32>) -> Option<u16> {
    u16::try_from(number?).ok().filter(|port| *port > 0)
}

fn binding(binding: &NetworkBinding) -> Option<Binding> {
    Some(Binding {
        container_port: port(binding.container_port())?,
        host_port: port(binding.host_port())?,
    })
}

fn range(binding: &NetworkBinding) -> Option<RangeBinding> {
    let (inside, outside) = (binding.container_port_range(), binding.host_port_range());
    (inside.is_some() || outside.is_some()).then(|| RangeBinding {
        container_range: inside.unwrap_or_default().into(),
        host_range: outside.unwrap_or_default().into(),
    })
}

/// A revision of a task definition.
pub(super) fn definition(arn: &str, definition: &aws_sdk_ecs::types::TaskDefinition) -> Definition {
    Definition {
        arn: arn.into(),
        network_mode: definition.network_mode().map(|mode| mode.as_str().into()),
        ports: definition
            .container_definitions()
            .iter()
            .flat_map(ports)
            .collect(),
        labels: definition
            .container_definitions()
            .iter()
            .filter_map(labels)
            .collect(),
    }
}

fn labels(container: &ContainerDefinition) -> Option<(Arc<str>, Arc<Labels>)> {
    let labels = container.docker_labels()?.clone();
    Some((
        container.name()?.into(),
        Arc::new(labels.into_iter().collect()),
    ))
}

fn ports(container: &ContainerDefinition) -> impl Iterator<Item = PortMapping> {
    container.port_mappings().iter().filter_map(|mapping| {
        if mapping.protocol() == Some(&TransportProtocol::Udp) {
            return None;
        }
        let ports = match mapping.container_port_range() {
            Some(range) => MappedPorts::Range(range.into()),
            None => MappedPorts::One(port(mapping.container_port())?),
        };
        Some(PortMapping {
            container: container.name()?.into(),
            ports,
            name: mapping.name().map(Into::into),
            app_protocol: mapping.app_protocol().map(|known| known.as_str().into()),
        })
    })
}
