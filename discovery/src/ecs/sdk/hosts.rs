//! The addresses of container instances.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_ecs::types::Failure;

use super::SdkApi;
use super::read::parse_address;
use crate::ecs::api::{ApiError, ErrorKind, Host, Hosts, MANAGED_NODE};

/// The most values in one EC2 filter (AWS: 200).
const FILTER_VALUES: usize = 200;

/// The most machines in one call of Systems Manager, so that the answer is one page.
const NODES: usize = 50;

/// The largest page of Systems Manager.
const NODES_PAGE: i32 = 50;

/// The attribute of a container instance that names its zone.
const ZONE: &str = "ecs.availability-zone";

/// The longest that one part may take: less than what all questions about hosts have together.
const PART_LIMIT: Duration = Duration::from_secs(8);

/// What is known of a machine.
struct Machine {
    address: IpAddr,
    zone: Option<Arc<str>>,
}

/// A machine to ask about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// The ARN of the container instance.
    pub(super) arn: &'a str,
    /// The id of the machine.
    pub(super) id: &'a str,
    /// Its availability zone, if ECS tells it.
    pub(super) zone: Option<&'a str>,
}

impl<'a> Asked<'a> {
    /// None without an id.
    pub(super) fn read(host: &'a aws_sdk_ecs::types::ContainerInstance) -> Option<Self> {
        let mut attributes = host.attributes().iter();
        let zone = attributes.find(|attribute| attribute.name() == ZONE);
        Some(Self {
            arn: host.container_instance_arn()?,
            id: host.ec2_instance_id()?,
            zone: zone.and_then(|zone| zone.value()),
        })
    }
}

/// What is asked, and fails, as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part<'a> {
    /// EC2, about the machines of one zone.
    Zone(Option<&'a str>),
    SystemsManager,
}

impl fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zone(Some(zone)) => write!(f, "EC2 about {zone}"),
            Self::Zone(None) => f.write_str("EC2"),
            Self::SystemsManager => f.write_str("Systems Manager"),
        }
    }
}

/// Machines by id, or why none was learnt.
type Machines = Result<BTreeMap<String, Machine>, ApiError>;

/// The container instances that were asked about and of which nothing was learnt, and why. One that
/// is deregistered is among the failures, and one may be told of without the id of its machine.
/// Without a reason each of them would be asked about again at once, and for ever.
pub(super) fn left_out(
    asked: &[Arc<str>],
    hosts: &Hosts,
    failures: &[Failure],
) -> Vec<(Arc<str>, String)> {
    let found = hosts.found.iter().map(|host| &host.arn);
    let unknown = hosts.unknown.iter().map(|(arn, _)| arn);
    let told: BTreeSet<&Arc<str>> = found.chain(unknown).collect();
    let left = asked.iter().filter(|arn| !told.contains(arn));
    left.map(|arn| {
        let failure = failures.iter().find(|it| it.arn() == Some(&**arn));
        let reason = match failure.and_then(Failure::reason) {
            Some(reason) => format!("ECS answers {reason} about it"),
            None => "ECS did not tell of its machine".to_owned(),
        };
        (Arc::clone(arn), reason)
    })
    .collect()
}

impl SdkApi {
    /// The addresses of machines. EC2 knows some of them and Systems Manager the others. EC2 is
    /// asked zone by zone, because a call fails as a whole if a machine is in a zone that is
    /// disrupted; and all are asked at once, so that one which hangs holds up only its own.
    pub(super) async fn addresses(&self, machines: &[Asked<'_>]) -> Hosts {
        let mut parts: BTreeMap<Part<'_>, Vec<&Asked<'_>>> = BTreeMap::new();
        for asked in machines {
            let part = match asked.id.starts_with(MANAGED_NODE) {
                true => Part::SystemsManager,
                false => Part::Zone(asked.zone),
            };
            parts.entry(part).or_default().push(asked);
        }
        let answers = parts.into_iter().map(|(part, machines)| async move {
            let collected = tokio::time::timeout(PART_LIMIT, self.collect(&machines, part)).await;
            collected.unwrap_or_else(|_| {
                let reason = format!("{part}: no answer within {} s", PART_LIMIT.as_secs());
                let unknown = machines.iter().map(|it| (it.arn.into(), reason.clone()));
                Hosts {
                    found: Vec::new(),
                    unknown: unknown.collect(),
                }
            })
        });
        let mut all = Hosts::default();
        for answer in futures_util::future::join_all(answers).await {
            all.found.extend(answer.found);
            all.unknown.extend(answer.unknown);
        }
        all
    }

    /// Asks about the machines of one part, so many at a time. A call that fails concerns those
    /// that it asked for.
    async fn collect(&self, hosts: &[&Asked<'_>], part: Part<'_>) -> Hosts {
        let (name, batch, permission) = match part {
            Part::Zone(_) => ("EC2", FILTER_VALUES, "ec2:DescribeInstances"),
            Part::SystemsManager => ("Systems Manager", NODES, "ssm:DescribeInstanceInformation"),
        };
        let mut answer = Hosts::default();
        for hosts in hosts.chunks(batch) {
            let ids = hosts.iter().map(|it| it.id.to_owned()).collect();
            let machines = match part {
                Part::Zone(_) => self.instances(ids).await,
                Part::SystemsManager => self.nodes(ids).await,
            };
            for Asked { arn, id, .. } in hosts {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Failure, Host, Hosts, left_out};

    #[test]
    fn every_host_that_was_asked_about_is_found_or_has_a_reason() {
        let asked = ["found", "unknown", "missing", "silent"].map(Arc::from);
        let hosts = Hosts {
            found: vec![Host {
                arn: "found".into(),
                instance: "i-1".into(),
                address: [10, 0, 0, 1].into(),
                zone: None,
            }],
            unknown: vec![("unknown".into(), "denied".to_owned())],
        };
        let failure = Failure::builder().arn("missing").reason("MISSING").build();
        let left = left_out(&asked, &hosts, &[failure]);
        let left: Vec<(&str, &str)> = left.iter().map(|(arn, why)| (&**arn, &**why)).collect();
        let expected = [
            ("missing", "ECS answers MISSING about it"),
            ("silent", "ECS did not tell of its machine"),
        ];
        assert_eq!(left, expected);
    }
}
