//! Which part of the requests goes to which zone. Pure.
//!
//! The rule is Envoy's zone-aware routing, with one assumption in place of its knowledge of the
//! other proxies: that each zone with targets has as many balancers, or as many clients, as each
//! other. So a zone with at least its part of the targets serves what comes to its own balancer;
//! one with fewer serves what it has targets for, and the rest goes to the zones that have more
//! than theirs.

use std::collections::{BTreeMap, BTreeSet};

use longshore_config::CrossZone;

/// What the shares of a list of targets are multiplied by is `.0` over `.1`.
pub(super) type Part = (u64, u64);

/// A whole, for parts.
const WHOLE: u64 = 1_000_000;

/// For each target by what its share is multiplied. `targets` have zone and weight; `zones` are all
/// zones that have registered targets, healthy or not.
pub(super) fn parts<'z>(
    mode: CrossZone,
    own: Option<&'z str>,
    zones: &BTreeSet<&'z str>,
    targets: &[(Option<&'z str>, u64)],
) -> Option<Vec<Part>> {
    let own = own?;
    let all: u64 = targets.iter().map(|(_, weight)| weight).sum();
    let mut by_zone: BTreeMap<Option<&str>, u64> = BTreeMap::new();
    for (zone, weight) in targets {
        *by_zone.entry(*zone).or_default() += weight;
    }
    let here = by_zone.get(&Some(own)).copied().unwrap_or(0);
    let near = || -> Vec<Part> {
        let is_near = |zone: &Option<&str>| u64::from(*zone == Some(own));
        targets.iter().map(|(zone, _)| (is_near(zone), 1)).collect()
    };
    match mode {
        CrossZone::On => None,
        CrossZone::Off if here > 0 => Some(near()),
        CrossZone::Off => None,
        CrossZone::LoadBalancer => {
            let count = zones.len() as u64 + u64::from(!zones.contains(own));
            // Its part of the targets against its part of the requests, 1/count.
            if all == 0 || count < 2 || here == 0 && by_zone.len() < 2 {
                return None;
            }
            if here * count >= all {
                return Some(near());
            }
            // Of `all * count`, so that all are whole numbers.
            let spare = |zone: Option<&str>, weight: u64| match zone {
                // Who is in no zone has no balancer beside it.
                None => weight * count,
                Some(_) => (weight * count).saturating_sub(all),
            };
            let spares: u64 = by_zone
                .iter()
                .filter(|(zone, _)| **zone != Some(own))
                .map(|(zone, weight)| spare(*zone, *weight))
                .sum();
            let local = u128::from(here * count) * u128::from(WHOLE) / u128::from(all);
            let local = u64::try_from(local).unwrap_or(WHOLE);
            let part = |zone: Option<&str>| -> Part {
                let weight = by_zone.get(&zone).copied().unwrap_or(0).max(1);
                if zone == Some(own) {
                    return (local, weight);
                }
                let rest = u128::from(WHOLE - local) * u128::from(spare(zone, weight));
                let rest = rest / u128::from(spares.max(1));
                (u64::try_from(rest).unwrap_or(WHOLE), weight)
            };
            Some(targets.iter().map(|(zone, _)| part(*zone)).collect())
        }
    }
}

/// The shares of targets whose weights are multiplied by parts, as whole numbers.
pub(super) fn shares(weights: &[u64], parts: &[Part]) -> Vec<u64> {
    /// So much finer than the parts, that rounding is not seen.
    const FINER: u128 = 1_000;
    weights
        .iter()
        .zip(parts)
        .map(|(weight, (part, of))| {
            if *weight == 0 || *part == 0 {
                return 0;
            }
            let share = u128::from(*weight) * u128::from(*part) * FINER / u128::from((*of).max(1));
            u64::try_from(share).unwrap_or(u64::MAX).max(1)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use longshore_config::CrossZone;

    use super::{parts, shares};

    /// Percent of the requests by zone.
    fn spread(
        mode: CrossZone,
        own: &'static str,
        registered: &[&'static str],
        healthy: &[(&'static str, usize)],
    ) -> BTreeMap<&'static str, u64> {
        let zones: BTreeSet<&str> = registered.iter().copied().collect();
        let targets: Vec<(Option<&'static str>, u64)> = healthy
            .iter()
            .flat_map(|(zone, count)| {
                std::iter::repeat_n(((!zone.is_empty()).then_some(*zone), 100), *count)
            })
            .collect();
        let weights: Vec<u64> = targets.iter().map(|(_, weight)| *weight).collect();
        let shares = match parts(mode, Some(own), &zones, &targets) {
            Some(parts) => shares(&weights, &parts),
            None => weights,
        };
        let all: u64 = shares.iter().sum();
        let mut found: BTreeMap<&str, u64> = BTreeMap::new();
        for ((zone, _), share) in targets.iter().zip(shares) {
            *found.entry(zone.unwrap_or("")).or_default() += share;
        }
        found
            .into_iter()
            .map(|(zone, share)| (zone, (share * 100 + all / 2) / all))
            .collect()
    }

    #[test]
    fn a_zone_with_its_part_of_the_targets_keeps_its_requests() {
        let found = spread(
            CrossZone::LoadBalancer,
            "a",
            &["a", "b"],
            &[("a", 3), ("b", 3)],
        );
        assert_eq!(found, [("a", 100), ("b", 0)].into());
        let found = spread(
            CrossZone::LoadBalancer,
            "b",
            &["a", "b"],
            &[("a", 2), ("b", 5)],
        );
        assert_eq!(found, [("a", 0), ("b", 100)].into());
    }

    #[test]
    fn a_zone_with_too_few_sends_the_rest_to_those_that_have_more_than_their_part() {
        // Half of the requests come here, and 1 of 6 targets: 1/3 of ours stays.
        let found = spread(
            CrossZone::LoadBalancer,
            "a",
            &["a", "b"],
            &[("a", 1), ("b", 5)],
        );
        assert_eq!(found, [("a", 33), ("b", 67)].into());
        // Zone c has just its part, so all of the rest goes to b.
        let healthy = [("a", 1), ("b", 3), ("c", 2)];
        let found = spread(CrossZone::LoadBalancer, "a", &["a", "b", "c"], &healthy);
        assert_eq!(found, [("a", 50), ("b", 50), ("c", 0)].into());
    }

    #[test]
    fn no_target_is_overloaded_whatever_the_numbers_are() {
        let zones = ["a", "b", "c"];
        for (a, b, c) in [
            (1, 1, 1),
            (1, 2, 3),
            (5, 1, 1),
            (0, 2, 2),
            (10, 10, 1),
            (1, 9, 9),
        ] {
            let healthy = [("a", a), ("b", b), ("c", c)];
            let mut load: BTreeMap<&str, f64> = BTreeMap::new();
            for own in zones {
                for (zone, percent) in spread(CrossZone::LoadBalancer, own, &zones, &healthy) {
                    *load.entry(zone).or_default() += percent as f64 / 100.0 / 3.0;
                }
            }
            for (zone, count) in healthy {
                let fair = count as f64 / (a + b + c) as f64;
                let found = load.get(zone).copied().unwrap_or(0.0);
                assert!(
                    (found - fair).abs() < 0.01,
                    "{healthy:?} {zone}: {found} {fair}"
                );
            }
        }
    }

    #[test]
    fn a_zone_without_healthy_targets_uses_the_others() {
        let zones = ["a", "b", "c"];
        let healthy = [("b", 2), ("c", 2)];
        let found = spread(CrossZone::LoadBalancer, "a", &zones, &healthy);
        assert_eq!(found, [("b", 50), ("c", 50)].into());
        let found = spread(CrossZone::Off, "a", &zones, &healthy);
        assert_eq!(found, [("b", 50), ("c", 50)].into());
    }

    #[test]
    fn the_key_means_what_it_means_at_alb() {
        let healthy = [("a", 1), ("b", 9)];
        let found = spread(CrossZone::On, "a", &["a", "b"], &healthy);
        assert_eq!(found, [("a", 10), ("b", 90)].into());
        let found = spread(CrossZone::Off, "a", &["a", "b"], &healthy);
        assert_eq!(found, [("a", 100), ("b", 0)].into());
    }

    #[test]
    fn targets_without_a_zone_take_what_zones_have_no_room_for() {
        let found = spread(
            CrossZone::LoadBalancer,
            "a",
            &["a", "b"],
            &[("a", 1), ("b", 1), ("", 2)],
        );
        assert_eq!(found, [("", 50), ("a", 50), ("b", 0)].into());
    }
}
