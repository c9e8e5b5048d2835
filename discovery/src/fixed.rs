//! Targets named in the configuration.

use std::net::SocketAddr;
use std::time::Instant;

use longshore_config::FixedTarget;

use crate::{Target, TargetKey};

/// The targets of a fixed list. Their identity is the address that the operator wrote.
#[must_use]
pub fn fixed_targets(list: &[FixedTarget], now: Instant) -> Vec<Target> {
    list.iter()
        .map(|target| {
            let address = SocketAddr::new(target.address, target.port.number());
            Target {
                key: TargetKey {
                    task: "fixed".into(),
                    container: target.address.to_string().into(),
                    port: address.port(),
                },
                address,
                zone: target.zone.as_deref().map(Into::into),
                weight: u16::try_from(target.weight.get()).unwrap_or(u16::MAX),
                instance: None,
                shared_port: false,
                started_at: None,
                protocol_version: None,
                claim: None,
                confirmed_at: now,
            }
        })
        .collect()
}
