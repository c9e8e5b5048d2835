//! Groups and rules that labels of containers make: how they come, change and leave.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_config::{Config, LabelDiscovery};
use longshore_discovery::{Problem, Target, Update};
use tokio::sync::Notify;

use super::arbiter::{self, Made, Offers};
use super::compile;
use super::controller::{Controller, Effect};
use super::group::Source;
use super::ids::GroupId;
use super::snapshot::Listener;

/// A source of labelled targets.
#[derive(Debug)]
pub(super) struct LabelSource {
    pub(super) block: LabelDiscovery,
    pub(super) source: Source,
    pub(super) targets: Vec<Target>,
    pub(super) look_now: Arc<Notify>,
}

impl Controller {
    /// Takes the blocks of a file. Those that stay keep what they know.
    pub(super) fn configure_labels(&mut self, config: &Config, effects: &mut Vec<Effect>) {
        let blocks = &config.label_discovery;
        let same = |source: &LabelSource, block: &LabelDiscovery| {
            source.block.name == block.name && source.block.identity() == block.identity()
        };
        let gone: Vec<GroupId> = self
            .labels
            .iter()
            .filter(|(_, source)| !blocks.iter().any(|block| same(source, block)))
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.labels.remove(&id);
            effects.push(Effect::Forget(id));
        }
        for block in blocks {
            let mut known = self.labels.iter_mut();
            let known = known.find(|(_, source)| source.block.name == block.name);
            let id = match known {
                Some((_, source)) if source.block == *block => continue,
                Some((id, source)) => {
                    source.block = block.clone();
                    effects.push(Effect::Forget(*id));
                    *id
                }
                None => {
                    let id = self.new_id();
                    let source = LabelSource {
                        block: block.clone(),
                        source: Source::default(),
                        targets: Vec::new(),
                        look_now: Arc::default(),
                    };
                    self.labels.insert(id, source);
                    id
                }
            };
            effects.push(Effect::Explore(id, Box::new(block.clone())));
        }
    }

    /// Takes what a source of labelled targets says.
    pub(super) fn labelled(
        &mut self,
        id: GroupId,
        update: Update,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let Some(source) = self.labels.get_mut(&id) else {
            return;
        };
        let name = source.block.name.clone();
        let (targets, problems) = match update {
            Update::Set {
                targets,
                problems,
                at,
            } => {
                let recovered = source.source.error.take().is_some();
                if source.source.answered.replace(at).is_none() || recovered {
                    tracing::info!(label_discovery = %name, targets = targets.len(), "discovery answers");
                }
                (targets, problems)
            }
            Update::Changed { targets, problems } => (targets, problems),
            Update::Failed { error, .. } => {
                source.source.failures += 1;
                if source.source.error.is_none() {
                    tracing::warn!(
                        label_discovery = %name,
                        %error,
                        targets = source.targets.len(),
                        "discovery fails; the last good groups, rules and targets stay"
                    );
                }
                source.source.error = Some(error);
                self.tell_groups(&self.parts(id), true);
                return;
            }
        };
        source.source.problems = problems;
        let same =
            source.targets.len() == targets.len()
                && source.targets.iter().zip(&targets).all(|(a, b)| {
                    a.key == b.key && a.claim == b.claim && a.started_at == b.started_at
                });
        source.targets = targets;
        // Also the groups that it has no part in any more.
        let mut concerned = self.parts(id);
        if !same {
            self.arbitrate(now, effects);
            concerned.append(&mut self.parts(id));
        }
        self.distribute(&concerned, now, effects);
        self.tell_groups(&concerned, false);
    }

    /// Takes labelled targets that were known before a restart.
    pub(super) fn remembered_labels(
        &mut self,
        id: GroupId,
        targets: Vec<Target>,
        age: Duration,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let Some(source) = self.labels.get_mut(&id) else {
            return;
        };
        if source.source.answered.is_some() {
            return;
        }
        source.source.remembered = now.checked_sub(age);
        source.targets = targets;
        self.arbitrate(now, effects);
        for (group, targets) in self.shares(&self.parts(id)) {
            self.remembered(group, targets, age, now, effects);
        }
    }

    /// Judges all labels anew, and makes the groups and rules that come of it.
    pub(super) fn arbitrate(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let offers: Vec<Offers<'_>> = self
            .labels
            .iter()
            .map(|(id, source)| Offers {
                source: *id,
                block: &source.block,
                targets: &source.targets,
            })
            .collect();
        let verdict = arbiter::judge(&self.file, &offers, &self.verdict);
        for (id, refused) in &verdict.refused {
            let before = self.verdict.refused.get(id);
            let known = |problem: &Problem| before.is_some_and(|before| before.contains(problem));
            for problem in refused.iter().filter(|problem| !known(problem)) {
                let name = self.labels.get(id).map(|source| &*source.block.name);
                tracing::warn!(label_discovery = name, container = %problem.subject, reason = %problem.reason, "labels are refused");
            }
        }
        self.verdict = verdict;
        let made: Vec<_> = self
            .verdict
            .groups
            .values()
            .map(|made| {
                let sources = self.sources(made).into_iter();
                let look_now: Box<[_]> = sources.map(|it| Arc::clone(&it.look_now)).collect();
                (made.config.clone(), look_now)
            })
            .collect();
        for (config, look_now) in made {
            let known = self.group_named(&config.name);
            let id = match known {
                Some(id) => {
                    let group = self.groups.get(&id);
                    if group.is_some_and(|group| group.config != config) {
                        self.reconfigure_group(id, &config, now, effects);
                        self.stale.insert(id);
                    }
                    id
                }
                None => {
                    tracing::info!(target_group = %config.name, "made by labels");
                    let id = self.add_group(&config, effects);
                    self.stale.insert(id);
                    id
                }
            };
            if let Some(group) = self.groups.get_mut(&id) {
                group.by_labels = true;
                if !group
                    .look_now
                    .iter()
                    .map(Arc::as_ptr)
                    .eq(look_now.iter().map(Arc::as_ptr))
                {
                    group.look_now = look_now;
                    self.stale.insert(id);
                }
            }
        }
        let groups = self.groups.iter();
        let leaving: Vec<GroupId> = groups
            .filter(|(_, group)| group.by_labels && !self.verdict.groups.contains_key(&*group.name))
            .map(|(id, _)| *id)
            .collect();
        for id in leaving {
            self.replace_targets(id, Vec::new(), now, effects);
        }
        self.compile_listeners();
    }

    /// Groups whose last labelled target is gone leave when its requests have ended.
    pub(super) fn end_leaving(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let groups = self.groups.iter();
        let done: Vec<GroupId> = groups
            .filter(|(_, group)| {
                group.by_labels
                    && group.draining.is_empty()
                    && !self.verdict.groups.contains_key(&*group.name)
            })
            .map(|(id, _)| *id)
            .collect();
        for id in done {
            if let Some(group) = self.groups.get(&id) {
                tracing::info!(target_group = %group.name, "no label makes it any more");
            }
            self.remove_group(id, now, effects);
        }
    }

    /// Gives the groups of these names their targets.
    pub(super) fn distribute(
        &mut self,
        names: &BTreeSet<String>,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        for (group, targets) in self.shares(names) {
            self.replace_targets(group, targets, now, effects);
        }
    }

    /// The same for all groups after a reload. Those of sources that have not answered since the
    /// start are left alone.
    pub(super) fn distribute_all(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let sources = self.labels.iter();
        let answered = sources.filter(|(_, source)| source.source.answered.is_some());
        let names: BTreeSet<String> = answered.flat_map(|(id, _)| self.parts(*id)).collect();
        self.distribute(&names, now, effects);
        self.tell_groups(&names, false);
    }

    /// The groups that a source has a part in.
    fn parts(&self, id: GroupId) -> BTreeSet<String> {
        let groups = self.verdict.groups.iter();
        groups
            .filter(|(_, made)| made.members.iter().any(|(member, _)| *member == id))
            .map(|(name, _)| name.to_string())
            .collect()
    }

    /// The targets of each of these groups.
    fn shares(&self, names: &BTreeSet<String>) -> Vec<(GroupId, Vec<Target>)> {
        let groups = self.verdict.groups.iter();
        groups
            .filter(|(name, _)| names.contains(&***name))
            .filter_map(|(name, made)| {
                let members = made.members.iter().filter_map(|(source, index)| {
                    self.labels.get(source)?.targets.get(*index).cloned()
                });
                Some((self.group_named(name)?, members.collect()))
            })
            .collect()
    }

    /// The sources that have a part in a group, each once.
    fn sources(&self, made: &Made) -> Vec<&LabelSource> {
        let ids: BTreeSet<GroupId> = made.members.iter().map(|(source, _)| *source).collect();
        let sources = ids.iter().filter_map(|id| self.labels.get(id));
        sources.collect()
    }

    /// Tells the groups of these names how their sources are: as the worst of them is.
    fn tell_groups(&mut self, names: &BTreeSet<String>, failed: bool) {
        let groups = self.verdict.groups.iter();
        let told: BTreeMap<&str, _> = groups
            .filter(|(name, _)| names.contains(&***name))
            .map(|(name, made)| {
                let sources = self.sources(made);
                let error = sources.iter().find_map(|it| it.source.error.clone());
                let speaks = sources.iter().any(|it| it.source.error.is_none());
                let answered = sources.iter().filter_map(|it| it.source.answered).min();
                (&**name, (error, speaks, answered))
            })
            .collect();
        for group in self.groups.iter_mut() {
            let (id, group) = group;
            let Some((error, speaks, answered)) =
                told.get(&*group.name).filter(|_| group.by_labels)
            else {
                continue;
            };
            let could = group.source.can_confirm();
            group.source.failures += u64::from(failed);
            group.source.error.clone_from(error);
            group.source.speaks_in_part = error.is_some() && *speaks;
            if group.source.can_confirm() != could {
                self.stale.insert(*id);
            }
            if !failed {
                group.source.answered = *answered;
            }
        }
    }

    pub(super) fn group_named(&self, name: &str) -> Option<GroupId> {
        let mut groups = self.groups.iter();
        let found = groups.find(|(_, group)| *group.name == *name);
        found.map(|(id, _)| *id)
    }

    /// Rules as requests are matched against: those of the file, and those of labels.
    pub(super) fn compile_listeners(&mut self) {
        let ids: BTreeMap<&str, GroupId> = self
            .groups
            .iter()
            .map(|(id, group)| (&*group.name, *id))
            .collect();
        let find = |name: &str| ids.get(name).copied();
        let server = &self.file.load_balancer.server_header.0;
        self.listeners = self
            .file
            .listeners
            .iter()
            .zip(&self.listener_ids)
            .map(|(listener, id)| {
                let by_labels = self.verdict.rules.get(&listener.name);
                let by_labels = by_labels.map_or(&[][..], Vec::as_slice);
                let before = self.listeners.get(id).map(|before| &**before);
                let compiled = Listener {
                    tls: self.listener_tls(*id),
                    ..compile::listener(listener, by_labels, server, &find, self.workers, before)
                };
                (*id, Arc::new(compiled))
            })
            .collect();
        self.changed = true;
    }
}

#[cfg(test)]
#[path = "labelled_tests.rs"]
mod tests;
