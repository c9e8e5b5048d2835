//! What only several keys of a group together tell about how it spreads requests.

use super::Scope;
use crate::{Algorithm, AnomalyMitigation, CrossZone, HashOn, HashPolicy, TargetGroup, limits};

/// `zone`: that of this process.
pub(super) fn balancing(scope: &mut Scope<'_, '_>, group: &TargetGroup, zone: Option<&str>) {
    let algorithm = group.load_balancing_algorithm_type;
    if group.load_balancing_algorithm_anomaly_mitigation == AnomalyMitigation::On
        && algorithm != Algorithm::WeightedRandom
    {
        scope.fault_at(
            "load_balancing_algorithm_anomaly_mitigation",
            "only `load_balancing_algorithm_type: weighted_random` mitigates; choose that, or remove this key",
        );
    }
    match (&group.hash_policy, algorithm == Algorithm::ConsistentHash) {
        (None, true) => scope.fault_at(
            "hash_policy",
            "`consistent_hash` needs this key, such as `hash_policy: {type: header, name: x-user}`",
        ),
        (Some(_), false) => scope.fault_at(
            "hash_policy",
            "only `load_balancing_algorithm_type: consistent_hash` hashes; choose that, or remove this key",
        ),
        (Some(policy), true) => scope.key("hash_policy", |scope| hash_policy(scope, policy)),
        (None, false) => {}
    }
    if group.load_balancing_cross_zone_enabled == CrossZone::Off && zone.is_none() {
        scope.fault_at(
            "load_balancing_cross_zone_enabled",
            "`false` needs `runtime.zone`: without it nobody knows which targets are near",
        );
    }
    let slow_start = group.slow_start.get();
    if !slow_start.is_zero() && slow_start.as_millis() < u128::from(limits::SLOW_START_MIN_MILLIS) {
        scope.fault_at(
            "slow_start",
            format!("expected 0 (off) or 30s to 15m, found {slow_start:?}"),
        );
    }
    if !group.targets.is_empty() && group.targets.iter().all(|target| target.weight.get() == 0) {
        scope.fault_at(
            "targets",
            "at least one target with a weight above 0 is needed",
        );
    }
}

pub(super) fn hash_policy(scope: &mut Scope<'_, '_>, policy: &HashPolicy) {
    let named = matches!(policy.on, HashOn::Header | HashOn::Cookie);
    // RFC 9110 §5.1 and RFC 6265 §4.1.1: both are tokens.
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    match &policy.name {
        None if named => scope.fault("the key `name` is needed: of the header field or the cookie"),
        Some(_) if !named => scope.fault_at(
            "name",
            "only the types `header` and `cookie` have a name; remove it",
        ),
        Some(name)
            if name.is_empty()
                || name.len() > limits::HASH_NAME_BYTES
                || !name.chars().all(token) =>
        {
            scope.fault_at(
                "name",
                format!("{name:?} is no name of a header field or a cookie"),
            );
        }
        _ => {}
    }
}

/// A zone's name: that of this process, or of a target.
pub(super) fn zone(scope: &mut Scope<'_, '_>, zone: Option<&str>) {
    if let Some(zone) = zone.filter(|zone| !is_zone(zone)) {
        scope.fault_at("zone", no_zone(zone));
    }
}

/// Whether a zone can have that name.
pub(super) fn is_zone(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= limits::NAME_BYTES
        && name.chars().all(|c| c.is_ascii_graphic())
}

/// What is wrong with a name that no zone can have.
pub(super) fn no_zone(name: &str) -> String {
    format!(
        "a zone's name has 1 to {} visible ASCII characters, such as eu-central-1a; found {name:?}",
        limits::NAME_BYTES
    )
}
