//! The addresses of container instances.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::SdkApi;
use super::read::parse_address;
use crate::ecs::api::{ApiError, ErrorKind, Host, Hosts, MANAGED_NODE};

/// The most values in one EC2 filter (AWS: 200).
const FILTER_VALUES: usize = 200;

/// The most machines in one call of Systems Manager, so that the answer is one page.
const NODES: usize = 50;

/// The largest page of Systems Manager.
const NODES_PAGE: i32 = 50;

/// What is known of a machine.
struct Machine {
    address: IpAddr,
    zone: Option<Arc<str>>,
}

/// Who knows a machine.
#[derive(Clone, Copy)]
enum Service {
    Ec2,
    SystemsManager,
}

/// Machines by id, or why none was learnt.
type Machines = Result<BTreeMap<String, Machine>, ApiError>;

impl SdkApi {
    /// The addresses of machines, given as pairs of the container instance's ARN and the
    /// machine's id. EC2 knows some of them and Systems Manager the others, and what one of the
    /// two does not tell leaves the machines of the other alone.
    pub(super) async fn addresses(&self, hosts: &[(&str, &str)]) -> Hosts {
        let is_node = |(_, id): &&(&str, &str)| id.starts_with(MANAGED_NODE);
        let (nodes, instances): (Vec<_>, Vec<_>) = hosts.iter().partition(is_node);
        let (mut answer, more) = tokio::join!(
            self.collect(&instances, Service::Ec2),
            self.collect(&nodes, Service::SystemsManager),
        );
        answer.found.extend(more.found);
        answer.unknown.extend(more.unknown);
        answer
    }

    /// Asks one service about its machines, so many at a time. A call that fails concerns those that
    /// it asked for.
    async fn collect(&self, hosts: &[&(&str, &str)], service: Service) -> Hosts {
        let (name, batch, permission) = match service {
            Service::Ec2 => ("EC2", FILTER_VALUES, "ec2:DescribeInstances"),
            Service::SystemsManager => {
                ("Systems Manager", NODES, "ssm:DescribeInstanceInformation")
            }
        };
        let mut answer = Hosts::default();
        for hosts in hosts.chunks(batch) {
            let ids = hosts.iter().map(|(_, id)| (*id).to_owned()).collect();
            let machines = match service {
                Service::Ec2 => self.instances(ids).await,
                Service::SystemsManager => self.nodes(ids).await,
            };
            for (arn, id) in hosts {
                let reason = match &machines {
                    Ok(machines) => match machines.get(*id) {
                        Some(machine) => {
                            answer.found.push(Host {
                                arn: (*arn).into(),
                                instance: (*id).into(),
                                address: machine.address,
                                zone: machine.zone.clone(),
                            });
                            continue;
                        }
                        None => format!("{name} tells no address of {id}"),
                    },
                    Err(error) => error.to_string(),
                };
                let reason = format!("{reason} (it needs the permission {permission})");
                answer.unknown.push(((*arn).into(), reason));
            }
        }
        answer
    }

    /// EC2 instances by id. A filter, and not the parameter for ids: with that one, a single
    /// instance that is gone fails the call for all.
    async fn instances(&self, ids: Vec<String>) -> Machines {
        let filter = aws_sdk_ec2::types::Filter::builder()
            .name("instance-id")
            .set_values(Some(ids))
            .build();
        let mut pages = self
            .ec2
            .describe_instances()
            .filters(filter)
            // ECS Managed Instances may be hidden from lists.
            .include_managed_resources(true)
            .into_paginator()
            .page_size(1000)
            .send();
        let mut found = BTreeMap::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.failed("DescribeInstances", error))?;
            for instance in page
                .reservations()
                .iter()
                .flat_map(|reservation| reservation.instances())
            {
                let address = instance
                    .private_ip_address()
                    .or_else(|| instance.ipv6_address());
                if let (Some(id), Some(address)) =
                    (instance.instance_id(), address.and_then(parse_address))
                {
                    let zone = instance
                        .placement()
                        .and_then(|placement| placement.availability_zone())
                        .map(Arc::from);
                    found.insert(id.to_owned(), Machine { address, zone });
                }
            }
        }
        Ok(found)
    }

    /// Machines of ECS Anywhere by id. A filter here, too: with it, an id that is not known is
    /// left out.
    async fn nodes(&self, ids: Vec<String>) -> Machines {
        const OPERATION: &str = "DescribeInstanceInformation";
        let filter = aws_sdk_ssm::types::InstanceInformationStringFilter::builder()
            .key("InstanceIds")
            .set_values(Some(ids))
            .build()
            .map_err(|error| ApiError {
                operation: OPERATION,
                reason: error.to_string(),
                kind: ErrorKind::Other,
            })?;
        let mut pages = self
            .ssm
            .describe_instance_information()
            .filters(filter)
            .into_paginator()
            .page_size(NODES_PAGE)
            .send();
        let mut found = BTreeMap::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.failed(OPERATION, error))?;
            for node in page.instance_information_list() {
                if let (Some(id), Some(address)) = (
                    node.instance_id(),
                    node.ip_address().and_then(parse_address),
                ) {
                    let zone = None;
                    found.insert(id.to_owned(), Machine { address, zone });
                }
            }
        }
        Ok(found)
    }
}
