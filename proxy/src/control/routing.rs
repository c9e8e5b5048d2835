//! Which targets of a group get requests: the healthy ones, or all of them when too few are
//! healthy. Pure.
//!
//! ALB's rules, with one thing more. Where each zone is on its own (cross-zone load balancing is
//! off), ALB takes the addresses of an unhealthy zone out of DNS; a balancer cannot do that for
//! itself, so it sends requests to the zones that are healthy.

use std::collections::{BTreeMap, BTreeSet};

use longshore_config::{CrossZone, MinimumHealthy};

use super::threshold::State;

/// What is looked at of a target. Those of weight 0, and those that can get nothing at all, are not
/// among them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'z> {
    pub(super) state: State,
    pub(super) zone: Option<&'z str>,
}

/// How a group's requests are spread.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules<'z> {
    pub(super) minimum: MinimumHealthy,
    pub(super) cross_zone: CrossZone,
    /// The zone of this process.
    pub(super) own: Option<&'z str>,
    /// The zones that requests are moved away from.
    pub(super) away: &'z BTreeSet<String>,
}

/// Who gets requests.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Routing {
    /// By place in the list, in its order.
    pub(super) picked: Vec<usize>,
    /// Too few were healthy, so that unhealthy ones may be among them.
    pub(super) fail_open: bool,
    /// How zones count from here on.
    pub(super) cross_zone: CrossZone,
}

/// Targets that were checked, and how many of them are healthy.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) healthy: u64,
    pub(super) all: u64,
}

impl Tally {
    fn add(&mut self, state: State) {
        self.healthy += u64::from(state == State::Healthy);
        self.all += u64::from(state != State::Initial);
    }
}

impl Rules<'_> {
    /// Who gets requests.
    pub(super) fn route(&self, targets: &[Facts<'_>]) -> Routing {
        let left = self.left(targets);
        let picked = |wanted: &dyn Fn(&Facts<'_>) -> bool| -> Vec<usize> {
            let places = left.iter().copied();
            places.filter(|place| wanted(&targets[*place])).collect()
        };
        // Never those that were not checked yet: they are about to be.
        let checked = |target: &Facts<'_>| target.state != State::Initial;
        let healthy = |target: &Facts<'_>| target.state == State::Healthy;
        let routing = |picked, fail_open, cross_zone| Routing {
            picked,
            fail_open,
            cross_zone,
        };
        let all: Vec<Facts<'_>> = left.iter().map(|place| targets[*place]).collect();
        let Some(own) = self.own.filter(|_| self.cross_zone == CrossZone::Off) else {
            return match self.is_met(tally(&all)) {
                true => routing(picked(&healthy), false, self.cross_zone),
                false => routing(picked(&checked), true, self.cross_zone),
            };
        };
        let mut zones: BTreeMap<Option<&str>, Tally> = BTreeMap::new();
        for target in &all {
            zones.entry(target.zone).or_default().add(target.state);
        }
        let near = zones.get(&Some(own)).copied().unwrap_or_default();
        if self.is_met(near) {
            return routing(picked(&healthy), false, CrossZone::Off);
        }
        if zones.values().any(|tally| self.is_met(*tally)) {
            return routing(picked(&healthy), false, CrossZone::On);
        }
        match near.all {
            0 => routing(picked(&checked), true, CrossZone::On),
            _ => routing(picked(&checked), true, CrossZone::Off),
        }
    }

    /// The targets that decide whether this balancer is ready: those of its own zone where each
    /// zone is on its own.
    pub(super) fn tally(&self, targets: &[Facts<'_>]) -> Tally {
        let left = self.left(targets);
        let own = self.own.filter(|_| self.cross_zone == CrossZone::Off);
        let counted: Vec<Facts<'_>> = left
            .into_iter()
            .map(|place| targets[place])
            .filter(|target| own.is_none() || target.zone == own)
            .collect();
        tally(&counted)
    }

    /// The places of the targets that are in no zone to be left. If all that were checked are in
    /// such zones, zones do not count: moving requests to nobody would be an outage.
    fn left(&self, targets: &[Facts<'_>]) -> Vec<usize> {
        let stays = |target: &Facts<'_>| target.zone.is_none_or(|zone| !self.away.contains(zone));
        let any = targets
            .iter()
            .any(|target| stays(target) && target.state != State::Initial);
        let places = targets.iter().enumerate();
        places
            .filter(|(_, target)| !any || stays(target))
            .map(|(place, _)| place)
            .collect()
    }

    fn is_met(&self, tally: Tally) -> bool {
        self.minimum.is_met(tally.healthy, tally.all)
    }
}

fn tally(targets: &[Facts<'_>]) -> Tally {
    let mut found = Tally::default();
    for target in targets {
        found.add(target.state);
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use longshore_config::{CrossZone, MinimumHealthy};

    use super::super::threshold::State;
    use super::{Facts, Rules};

    /// `a+` is a healthy target in zone a, `b-` an unhealthy one in b, `?` a new one in none.
    fn facts(text: &'static str) -> Vec<Facts<'static>> {
        let words = text.split_whitespace();
        words
            .map(|word| {
                let (zone, sign) = word.split_at(word.len() - 1);
                Facts {
                    state: match sign {
                        "+" => State::Healthy,
                        "-" => State::Unhealthy,
                        _ => State::Initial,
                    },
                    zone: (!zone.is_empty()).then_some(zone),
                }
            })
            .collect()
    }

    fn count(count: u64) -> MinimumHealthy {
        MinimumHealthy {
            count: Some(count),
            percentage: None,
        }
    }

    fn percent(percentage: u64) -> MinimumHealthy {
        MinimumHealthy {
            count: Some(1),
            percentage: Some(percentage),
        }
    }

    /// Who gets requests, and whether the group is open to unhealthy ones.
    fn route(
        targets: &'static str,
        minimum: MinimumHealthy,
        cross_zone: CrossZone,
        away: &[&str],
    ) -> (String, bool, CrossZone) {
        let away: BTreeSet<String> = away.iter().map(ToString::to_string).collect();
        let rules = Rules {
            minimum,
            cross_zone,
            own: Some("a"),
            away: &away,
        };
        let found = rules.route(&facts(targets));
        let words: Vec<&str> = targets.split_whitespace().collect();
        let picked: Vec<&str> = found.picked.iter().map(|place| words[*place]).collect();
        (picked.join(" "), found.fail_open, found.cross_zone)
    }

    #[test]
    fn only_healthy_targets_get_requests_unless_too_few_are() {
        for (targets, minimum, picked, open) in [
            ("+ - ?", count(1), "+", false),
            ("- - ?", count(1), "- -", true),
            ("? ?", count(1), "", true),
            ("", count(1), "", true),
            ("+ + -", count(2), "+ +", false),
            ("+ - -", count(2), "+ - -", true),
            ("+ - - ?", count(2), "+ - -", true),
            ("+ -", percent(50), "+", false),
            ("+ - -", percent(50), "+ - -", true),
            // New ones are not known to be unhealthy: a scale-out opens nothing.
            ("+ - ? ? ? ?", percent(50), "+", false),
            ("+ + +", percent(100), "+ + +", false),
            ("+ + -", percent(100), "+ + -", true),
        ] {
            let (found, fail_open, _) = route(targets, minimum, CrossZone::On, &[]);
            assert_eq!((found.as_str(), fail_open), (picked, open), "{targets}");
        }
    }

    #[test]
    fn without_cross_zone_each_zone_counts_alone() {
        use CrossZone::{Off, On};
        for (targets, minimum, picked, open, mode) in [
            // Who of the picked ones is near is decided later, by the mode.
            ("a+ a- b+", count(1), "a+ b+", false, Off),
            ("a- a- b+ b-", count(1), "b+", false, On),
            ("a- a- b- b-", count(1), "a- a- b- b-", true, Off),
            ("b- c-", count(1), "b- c-", true, On),
            // One of two is not enough here, and two are there.
            ("a+ a- b+ b+", count(2), "a+ b+ b+", false, On),
            ("a+ a- b+ b-", count(2), "a+ a- b+ b-", true, Off),
            ("a+ a+ b- b-", percent(100), "a+ a+", false, Off),
        ] {
            let (found, fail_open, cross_zone) = route(targets, minimum, Off, &[]);
            let found = (found.as_str(), fail_open, cross_zone);
            assert_eq!(found, (picked, open, mode), "{targets}");
        }
        // With it, the same group has enough.
        let found = route("a+ a- b+ b-", count(2), On, &[]);
        assert_eq!(found, ("a+ b+".to_owned(), false, On));
    }

    #[test]
    fn a_zone_that_is_left_gets_nothing_as_long_as_there_is_another_target() {
        use CrossZone::{Off, On};
        for (targets, mode, picked, open) in [
            ("a+ b+ b-", On, "b+", false),
            // Zone a is left because something is wrong there, whatever its checks say.
            ("a+ b-", On, "b-", true),
            ("a+ +", On, "+", false),
            ("a+ b?", On, "a+", false),
            ("a+ a-", On, "a+", false),
            ("a- a-", On, "a- a-", true),
            ("a+ b+", Off, "b+", false),
        ] {
            let (found, fail_open, _) = route(targets, count(1), mode, &["a"]);
            assert_eq!((found.as_str(), fail_open), (picked, open), "{targets}");
        }
    }

    #[test]
    fn percentages_and_counts_leave_out_zones_that_are_left() {
        let (found, open, _) = route("a- a- b+", percent(100), CrossZone::On, &["a"]);
        assert_eq!((found.as_str(), open), ("b+", false));
    }
}
