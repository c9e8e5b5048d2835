//! The addresses of container instances.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::read::parse_address;
use super::{SdkApi, failed};
use crate::ecs::api::{ApiError, Host, Hosts};

/// The most values in one EC2 filter (AWS: 200).
const FILTER_VALUES: usize = 200;

/// What is known of a machine.
struct Machine {
    address: IpAddr,
    zone: Option<Arc<str>>,
}

impl SdkApi {
    /// The addresses of machines, given as pairs of the container instance's ARN and the
    /// machine's id.
    pub(super) async fn addresses(&self, hosts: &[(&str, &str)]) -> Hosts {
        let mut answer = Hosts::default();
        let ids: Vec<&str> = hosts.iter().map(|(_, id)| *id).collect();
        let machines = match ids.as_slice() {
            [] => Ok(BTreeMap::new()),
            ids => self.instances(ids).await,
        };
        for (arn, id) in hosts {
            match &machines {
                Ok(machines) => match machines.get(*id) {
                    Some(machine) => answer.found.push(Host {
                        arn: (*arn).into(),
                        instance: (*id).into(),
                        address: machine.address,
                        zone: machine.zone.clone(),
                    }),
                    None => answer
                        .unknown
                        .push(((*arn).into(), format!("EC2 does not know {id}"))),
                },
                Err(error) => answer.unknown.push(((*arn).into(), error.to_string())),
            }
        }
        answer
    }

    /// EC2 instances by id. A filter, and not the parameter for ids: with that one, a single
    /// instance that is gone fails the call for all.
    async fn instances(&self, ids: &[&str]) -> Result<BTreeMap<String, Machine>, ApiError> {
        let mut found = BTreeMap::new();
        for ids in ids.chunks(FILTER_VALUES) {
            let filter = aws_sdk_ec2::types::Filter::builder()
                .name("instance-id")
                .set_values(Some(ids.iter().map(|id| (*id).to_owned()).collect()))
                .build();
            let mut pages = self
                .ec2
                .describe_instances()
                .filters(filter)
                .into_paginator()
                .page_size(1000)
                .send();
            while let Some(page) = pages.next().await {
                let page = page.map_err(|error| failed("DescribeInstances", error))?;
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
        }
        Ok(found)
    }
}
