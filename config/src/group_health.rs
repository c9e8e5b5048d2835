//! When a target group counts as healthy, in ALB's words (`target_group_health`).

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

use crate::limits::TARGETS_MAX;
use crate::{Ranged, TargetGroup};

/// How many healthy targets a group needs, and what happens with fewer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TargetGroupHealth {
    /// With fewer, requests go to all targets, healthy or not.
    pub unhealthy_state_routing: UnhealthyStateRouting,
    /// With fewer, `/readyz` says that this balancer is not ready. Absent: it does not depend on
    /// targets.
    pub dns_failover: Option<DnsFailover>,
}

/// When requests go to all targets.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UnhealthyStateRouting {
    /// The fewest healthy targets (default 1).
    pub minimum_healthy_targets_count: Ranged<1, TARGETS_MAX>,
    /// The fewest percent of the targets (`off` or 1 to 100, default `off`).
    pub minimum_healthy_targets_percentage: OrOff<1, 100>,
}

impl Default for UnhealthyStateRouting {
    fn default() -> Self {
        const ONE: Option<Ranged<1, TARGETS_MAX>> = Ranged::new(1);
        let Some(one) = ONE else {
            unreachable!("1 is within the bounds")
        };
        Self {
            minimum_healthy_targets_count: one,
            minimum_healthy_targets_percentage: OrOff(None),
        }
    }
}

/// When this balancer is not ready.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DnsFailover {
    /// The fewest healthy targets (`off` or from 1; default 1, or as many as
    /// `unhealthy_state_routing` asks for).
    pub minimum_healthy_targets_count: Option<OrOff<1, TARGETS_MAX>>,
    /// The fewest percent of the targets (`off` or 1 to 100, default `off`).
    pub minimum_healthy_targets_percentage: OrOff<1, 100>,
}

/// A whole number from `MIN` to `MAX`, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OrOff<const MIN: u64, const MAX: u64>(Option<u64>);

impl<const MIN: u64, const MAX: u64> OrOff<MIN, MAX> {
    /// The number. None if it is off.
    #[must_use]
    pub const fn get(self) -> Option<u64> {
        self.0
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for OrOff<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V<const MIN: u64, const MAX: u64>;
        impl<const MIN: u64, const MAX: u64> Visitor<'_> for V<MIN, MAX> {
            type Value = OrOff<MIN, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "`off` or a whole number from {MIN} to {MAX}")
            }

            // YAML 1.1, and tools that write it, take `off` for `false`.
            fn visit_bool<E: Error>(self, yes: bool) -> Result<Self::Value, E> {
                match yes {
                    false => Ok(OrOff(None)),
                    true => Err(E::invalid_value(Unexpected::Bool(true), &self)),
                }
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                match (MIN..=MAX).contains(&number) {
                    true => Ok(OrOff(Some(number))),
                    false => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
                }
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                Err(E::invalid_value(Unexpected::Signed(number), &self))
            }

            // Terraform has the number as a text.
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                let number = text.trim().parse().ok();
                match number.filter(|number| (MIN..=MAX).contains(number)) {
                    Some(number) => Ok(OrOff(Some(number))),
                    None if text == "off" => Ok(OrOff(None)),
                    None => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(V)
    }
}

impl<const MIN: u64, const MAX: u64> JsonSchema for OrOff<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("OffOr{MIN}To{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                {"type": "integer", "minimum": MIN, "maximum": MAX},
                {"type": "string", "pattern": "^(off|[0-9]+)$"},
                {"const": false}
            ]
        })
    }
}

/// How many healthy targets are needed: all that is said must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MinimumHealthy {
    /// At least this many.
    pub count: Option<u64>,
    /// At least this much of a hundred.
    pub percentage: Option<u64>,
}

impl MinimumHealthy {
    /// Whether so many of so many are enough.
    #[must_use]
    pub fn is_met(self, healthy: u64, all: u64) -> bool {
        self.count.is_none_or(|count| healthy >= count)
            && self
                .percentage
                .is_none_or(|percent| healthy.saturating_mul(100) >= all.saturating_mul(percent))
    }
}

impl TargetGroup {
    /// What the group needs, so that only healthy targets get requests.
    #[must_use]
    pub fn routing_minimum(&self) -> MinimumHealthy {
        let set = &self.target_group_health.unhealthy_state_routing;
        MinimumHealthy {
            count: Some(set.minimum_healthy_targets_count.get()),
            percentage: set.minimum_healthy_targets_percentage.get(),
        }
    }

    /// What the group needs, so that this balancer is ready. None if that does not matter.
    #[must_use]
    pub fn readiness_minimum(&self) -> Option<MinimumHealthy> {
        let set = self.target_group_health.dns_failover.as_ref()?;
        let routing = self.routing_minimum();
        Some(MinimumHealthy {
            count: match set.minimum_healthy_targets_count {
                Some(count) => count.get(),
                None => routing.count,
            },
            percentage: set.minimum_healthy_targets_percentage.get(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::MinimumHealthy;

    #[test]
    fn a_minimum_is_met_only_if_the_count_and_the_percentage_are() {
        let count = |count| MinimumHealthy {
            count: Some(count),
            percentage: None,
        };
        assert!(count(2).is_met(2, 10) && !count(2).is_met(1, 1));
        let percent = |percentage| MinimumHealthy {
            count: None,
            percentage: Some(percentage),
        };
        assert!(percent(50).is_met(5, 10) && !percent(50).is_met(4, 9));
        assert!(percent(100).is_met(3, 3) && !percent(100).is_met(2, 3));
        let both = MinimumHealthy {
            count: Some(3),
            percentage: Some(50),
        };
        assert!(both.is_met(3, 6) && !both.is_met(3, 7) && !both.is_met(2, 4));
    }
}
