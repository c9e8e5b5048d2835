//! Which groups and rules the labels of all containers make, and which of them are refused. Pure.
//!
//! What is the same for the same owner and labels is a variant: two revisions of a task definition
//! are two variants of one owner. Variants are taken one after the other, and one that does not go
//! with what is there is refused as a whole: it changes nothing for the others. Those that were
//! taken the last time come first, so that nobody who comes later takes anything away; then those
//! whose first container started earlier, and then by the owner's name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use longshore_config::limits::PRIORITY_MAX;
use longshore_config::{
    Config, Exposure, LabelDiscovery, Rule, StickinessType, TargetGroup as GroupConfig,
};
use longshore_discovery::{Claim, Problem, Target, TargetKey};

use super::ids::GroupId;

/// The labelled targets that one source tells of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offers<'a> {
    pub(super) source: GroupId,
    pub(super) block: &'a LabelDiscovery,
    pub(super) targets: &'a [Target],
}

/// What labels make.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// By name.
    pub(super) groups: BTreeMap<String, Made>,
    /// By the name of the listener, with their priorities.
    pub(super) rules: BTreeMap<String, Vec<(u64, Rule)>>,
    /// What is refused, by source.
    pub(super) refused: BTreeMap<GroupId, Vec<Problem>>,
    /// The variants that were taken.
    taken: BTreeSet<(Owner, Claim)>,
}

/// A group that labels make.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) config: GroupConfig,
    /// Its targets: a source, and a place among the source's targets.
    pub(super) members: Vec<(GroupId, usize)>,
    /// The owners of those.
    owners: BTreeSet<Owner>,
    /// What they agreed on.
    exposure: Arc<Exposure>,
    /// When the variant began whose settings hold.
    since: i64,
}

type Owner = (GroupId, Arc<str>);

/// All targets with one owner and the same labels.
struct Variant<'a> {
    owner: Owner,
    claim: &'a Claim,
    block: &'a LabelDiscovery,
    since: i64,
    members: Vec<(usize, &'a TargetKey)>,
}

/// A rule, and whose it is.
struct Wanted {
    group: String,
    since: i64,
    length: usize,
    rule: Rule,
}

/// Judges all labels. `file` has what they must go with, `before` what was judged the last time.
pub(super) fn judge(file: &Config, offers: &[Offers<'_>], before: &Verdict) -> Verdict {
    let mut variants = variants(offers);
    variants.sort_by_cached_key(|variant| {
        let known = (variant.owner.clone(), variant.claim.clone());
        let taken = before.taken.contains(&known);
        (!taken, variant.since, known)
    });
    let mut court = Court {
        file,
        verdict: Verdict::default(),
        numbered: BTreeMap::new(),
        unnumbered: BTreeMap::new(),
    };
    for variant in variants {
        if let Err(reasons) = court.take(&variant) {
            court.refuse(&variant, &reasons);
        }
    }
    court.end()
}

fn variants<'a>(offers: &[Offers<'a>]) -> Vec<Variant<'a>> {
    let mut variants: BTreeMap<(Owner, &Claim), Variant<'a>> = BTreeMap::new();
    for one in offers {
        for (index, target) in one.targets.iter().enumerate() {
            let Some(claim) = target.claim.as_deref() else {
                continue;
            };
            let owner = (one.source, Arc::clone(&claim.owner));
            let since = target.started_at.unwrap_or(i64::MAX);
            let variant = variants
                .entry((owner.clone(), claim))
                .or_insert_with(|| Variant {
                    owner,
                    claim,
                    block: one.block,
                    since,
                    members: Vec::new(),
                });
            variant.since = variant.since.min(since);
            variant.members.push((index, &target.key));
        }
    }
    variants.into_values().collect()
}

/// What was taken so far.
struct Court<'a> {
    file: &'a Config,
    verdict: Verdict,
    /// By listener and priority.
    numbered: BTreeMap<(String, u64), Wanted>,
    /// By listener.
    unnumbered: BTreeMap<String, Vec<Wanted>>,
}

impl Court<'_> {
    /// Takes a variant as a whole, or tells why not.
    fn take(&mut self, variant: &Variant<'_>) -> Result<(), Vec<String>> {
        let zone = self.file.runtime.zone.as_deref();
        let Variant { owner, claim, .. } = variant;
        let exposure = variant
            .block
            .read(&claim.labels, &claim.name, zone)
            .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let one = |reason| vec![reason];
        self.fits_the_file(&exposure.group).map_err(one)?;
        self.fits_the_group(owner, &exposure).map_err(one)?;
        self.fits_the_rules(owner, &exposure).map_err(one)?;
        self.add_rules(&exposure, variant.since);
        self.add_members(variant, Arc::new(exposure));
        let taken = (owner.clone(), (*claim).clone());
        self.verdict.taken.insert(taken);
        Ok(())
    }

    fn fits_the_file(&self, group: &GroupConfig) -> Result<(), String> {
        let name = &group.name;
        if self.file.target_groups.iter().any(|own| own.name == *name) {
            return Err(format!(
                "the target group {name:?} is in the configuration file already; give this one another name"
            ));
        }
        let others = self.verdict.groups.values().map(|made| &made.config);
        let clash = self
            .file
            .target_groups
            .iter()
            .chain(others.filter(|other| other.name != *name))
            .find_map(|other| Some((other, cookie_clash(group, other)?)));
        match clash {
            None => Ok(()),
            Some((other, cookie)) => Err(format!(
                "the cookie {cookie:?} means something else in the target group {:?}; give one of them another name",
                other.name
            )),
        }
    }

    fn fits_the_group(&self, owner: &Owner, exposure: &Exposure) -> Result<(), String> {
        let name = &exposure.group.name;
        let Some(made) = self.verdict.groups.get(name) else {
            return Ok(());
        };
        if *made.exposure == *exposure || made.owners.iter().all(|other| other == owner) {
            return Ok(());
        }
        let others = made.owners.iter().filter(|other| *other != owner);
        let others: Vec<&str> = others.map(|(_, name)| &**name).collect();
        Err(format!(
            "the target group {name:?} is that of {}, with other settings; use the same or another name",
            others.join(" and ")
        ))
    }

    fn fits_the_rules(&self, owner: &Owner, exposure: &Exposure) -> Result<(), String> {
        for listener in &exposure.listeners {
            let numbered = exposure.rules.iter().filter(|rule| rule.numbered);
            for priority in numbered.map(|rule| rule.rule.priority.get()) {
                let mut listeners = self.file.listeners.iter();
                let own = listeners.find(|own| own.name == *listener);
                let mut own = own.into_iter().flat_map(|own| &own.rules);
                if own.any(|rule| rule.priority.get() == priority) {
                    return Err(format!(
                        "priority {priority} of the listener {listener:?} is that of a rule in the configuration file"
                    ));
                }
                let other = self.numbered.get(&(listener.clone(), priority));
                let Some(other) = other.filter(|it| it.group != exposure.group.name) else {
                    continue;
                };
                let theirs = self.verdict.groups.get(&other.group);
                // One service may move its rule from one group to another.
                if theirs.is_none_or(|made| made.owners.iter().any(|other| other != owner)) {
                    return Err(format!(
                        "priority {priority} of the listener {listener:?} is that of the target group {:?}",
                        other.group
                    ));
                }
            }
        }
        Ok(())
    }

    fn add_rules(&mut self, exposure: &Exposure, since: i64) {
        for listener in &exposure.listeners {
            for rule in &exposure.rules {
                let wanted = Wanted {
                    group: exposure.group.name.clone(),
                    since,
                    length: rule.length,
                    rule: rule.rule.clone(),
                };
                if rule.numbered {
                    let place = (listener.clone(), rule.rule.priority.get());
                    let known = self.numbered.get(&place);
                    if known.is_none_or(|known| known.since <= since) {
                        self.numbered.insert(place, wanted);
                    }
                    continue;
                }
                let all = self.unnumbered.entry(listener.clone()).or_default();
                let same = |other: &Wanted| {
                    other.group == wanted.group && same_rule(&other.rule, &wanted.rule)
                };
                if !all.iter().any(same) {
                    all.push(wanted);
                }
            }
        }
    }

    fn add_members(&mut self, variant: &Variant<'_>, exposure: Arc<Exposure>) {
        let source = variant.owner.0;
        let members = variant.members.iter().map(|(index, _)| (source, *index));
        let name = exposure.group.name.clone();
        let made = self.verdict.groups.entry(name).or_insert_with(|| Made {
            config: exposure.group.clone(),
            members: Vec::new(),
            owners: BTreeSet::new(),
            exposure: Arc::clone(&exposure),
            since: variant.since,
        });
        made.members.extend(members);
        made.owners.insert(variant.owner.clone());
        // Of several revisions, the one that came last is what its owner means now.
        if variant.since > made.since {
            made.config.clone_from(&exposure.group);
            made.exposure = exposure;
            made.since = variant.since;
        }
    }

    fn refuse(&mut self, variant: &Variant<'_>, reasons: &[String]) {
        let refused = self.verdict.refused.entry(variant.owner.0).or_default();
        for (_, key) in &variant.members {
            let subject = match key.task.starts_with("arn:") {
                true => format!("{}/{}", key.task_id(), key.container),
                false => key.container.to_string(),
            };
            refused.extend(reasons.iter().map(|reason| Problem {
                subject: subject.clone(),
                reason: reason.clone(),
            }));
        }
    }

    fn end(mut self) -> Verdict {
        for ((listener, priority), wanted) in self.numbered {
            let rules = self.verdict.rules.entry(listener).or_default();
            rules.push((priority, wanted.rule));
        }
        for (listener, mut all) in self.unnumbered {
            // The most exact one first.
            all.sort_by(|a, b| {
                let order = b.length.cmp(&a.length).then_with(|| a.group.cmp(&b.group));
                order.then_with(|| text(&a.rule).cmp(&text(&b.rule)))
            });
            let rules = self.verdict.rules.entry(listener).or_default();
            let numbers = PRIORITY_MAX + 1..;
            rules.extend(numbers.zip(all).map(|(number, one)| (number, one.rule)));
        }
        self.verdict
    }
}

/// Whether two rules do the same, whatever stands in for their priorities.
fn same_rule(a: &Rule, b: &Rule) -> bool {
    a.condition == b.condition && a.transform == b.transform
}

/// What orders rules that nothing else does.
fn text(rule: &Rule) -> String {
    format!("{:?} {:?}", rule.condition, rule.transform)
}

/// A cookie that is the application's in one group and the balancer's in the other.
fn cookie_clash(a: &GroupConfig, b: &GroupConfig) -> Option<String> {
    let cookie = |group: &GroupConfig| {
        let with = group.stickiness.as_ref().filter(|with| with.enabled)?;
        Some((with.cookie_name.clone()?, with.kind))
    };
    let clash = |ours: &(String, StickinessType), app: &(String, StickinessType)| {
        ours.1 == StickinessType::LbCookie
            && app.1 == StickinessType::AppCookie
            && (ours.0 == app.0 || format!("{}CORS", ours.0) == app.0)
    };
    let (a, b) = (cookie(a)?, cookie(b)?);
    match (clash(&a, &b), clash(&b, &a)) {
        (true, _) => Some(b.0),
        (_, true) => Some(a.0),
        _ => None,
    }
}

#[cfg(test)]
#[path = "arbiter_tests.rs"]
mod tests;
