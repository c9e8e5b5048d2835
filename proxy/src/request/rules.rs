//! Which action a request gets. Pure.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use longshore_config::Timeouts;

use super::condition::Condition;
use super::policy::Policy;
use super::redirect::Redirect;
use super::retry::Policy as RetryPolicy;
use super::rule_index::RuleIndex;
use super::sticky::Keeps;
use super::transform::Transforms;
use crate::control::ids::GroupId;
use crate::http1::field::Field;

/// What rules look at.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'r> {
    /// The method.
    pub method: &'r str,
    /// The Host, with its port if it has one.
    pub host: &'r str,
    /// The Host without its port.
    pub host_name: &'r str,
    /// The path, without the query.
    pub path: &'r str,
    /// The query, without `?`.
    pub query: Option<&'r str>,
    /// All header fields, in their order.
    pub fields: &'r [Field<'r>],
    /// The address of the TCP peer.
    pub source: IpAddr,
}

/// What happens to a request.
#[derive(Debug)]
pub enum Action {
    /// To a target of a group.
    Forward(Split),
    /// To another URL.
    Redirect(Redirect),
    /// An answer from the configuration.
    Fixed(Fixed),
}

/// A rule's fixed response.
#[derive(Debug)]
pub struct Fixed {
    /// Its status.
    pub status: StatusCode,
    /// Its media type.
    pub content_type: HeaderValue,
    /// Its body.
    pub body: Bytes,
}

/// Groups by weight.
#[derive(Debug)]
pub struct Split {
    /// Groups with a weight above 0, each with the sum of the weights up to and with its own.
    steps: Box<[(u64, GroupId)]>,
    keeps: Option<Keeps>,
    fails_over: bool,
    /// What the rule says in place of its groups.
    own: Option<Box<Own>>,
}

/// What a rule says in place of its groups.
#[derive(Debug, Clone, Default)]
pub struct Own {
    /// What is tried again.
    pub retry: Option<Arc<RetryPolicy>>,
    /// Time limits.
    pub timeouts: Timeouts,
}

impl Split {
    /// Groups with weights; those of weight 0 get nothing.
    #[must_use]
    pub fn new(groups: impl IntoIterator<Item = (u64, GroupId)>) -> Self {
        let mut sum = 0;
        let steps = groups
            .into_iter()
            .filter(|(weight, _)| *weight > 0)
            .map(|(weight, group)| {
                sum += weight;
                (sum, group)
            })
            .collect();
        Self {
            steps,
            keeps: None,
            own: None,
            fails_over: false,
        }
    }

    /// The same, in which healthy groups take the share of those that are not.
    #[must_use]
    pub fn that_fails_over(self, fails_over: bool) -> Self {
        Self { fails_over, ..self }
    }

    /// The same, that keeps clients at their groups.
    #[must_use]
    pub fn that_keeps(self, keeps: Option<Keeps>) -> Self {
        Self { keeps, ..self }
    }

    /// The same, with something of its own.
    #[must_use]
    pub fn with_own(self, own: Option<Box<Own>>) -> Self {
        Self { own, ..self }
    }

    /// What the rule says in place of its groups; none if it says nothing.
    #[must_use]
    pub fn own(&self) -> Option<&Own> {
        self.own.as_deref()
    }

    /// How clients are kept at their groups; none if they are not.
    #[must_use]
    pub fn keeps(&self) -> Option<&Keeps> {
        self.keeps.as_ref()
    }

    /// The group for a number, which is drawn only if there is a choice. None without groups.
    pub fn choose(&self, draw: impl FnOnce(u64) -> u64) -> Option<GroupId> {
        match &*self.steps {
            [] => None,
            [(_, group)] => Some(*group),
            [.., (sum, _)] => {
                let number = draw(*sum);
                let index = self.steps.partition_point(|(upto, _)| *upto <= number);
                self.steps.get(index).map(|(_, group)| *group)
            }
        }
    }

    /// The group for a request: the one at which its client stays, or one by number. If groups fail
    /// over, only healthy ones, as long as there is one. Numbers are drawn only if there is a
    /// choice. None without groups.
    pub fn route(
        &self,
        stays: Option<GroupId>,
        draw: impl Fn(u64) -> u64,
        is_healthy: impl Fn(GroupId) -> bool,
    ) -> Option<GroupId> {
        let chosen = stays.or_else(|| self.choose(&draw));
        if !self.fails_over || chosen.is_none_or(&is_healthy) {
            return chosen;
        }
        let sum = self.healthy(&is_healthy).map(|(weight, _)| weight).sum();
        if sum == 0 {
            return chosen;
        }
        let mut left = draw(sum);
        let taken = self.healthy(&is_healthy).find(|(weight, _)| {
            let found = left < *weight;
            left = left.saturating_sub(*weight);
            found
        });
        taken.map(|(_, group)| group).or(chosen)
    }

    /// The healthy groups, each with its weight.
    fn healthy(
        &self,
        is_healthy: impl Fn(GroupId) -> bool,
    ) -> impl Iterator<Item = (u64, GroupId)> {
        let mut before = 0;
        let weighed = self.steps.iter().map(move |(upto, group)| {
            let weight = upto - before;
            before = *upto;
            (weight, *group)
        });
        weighed.filter(move |(_, group)| is_healthy(*group))
    }

    /// The groups, for display.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> {
        self.steps.iter().map(|(_, group)| *group)
    }
}

/// A rule: all of its conditions must hold.
#[derive(Debug)]
pub struct Rule {
    /// Lowest first.
    pub priority: u64,
    /// All must hold.
    pub conditions: Vec<Condition>,
    /// What happens then.
    pub action: Action,
    /// What is written anew for the target.
    pub transforms: Transforms,
    /// What else it does. None if nothing.
    pub policy: Option<Arc<Policy>>,
}

/// What a request gets.
#[derive(Debug, Clone, Copy)]
pub struct Found<'t> {
    /// The priority of the rule; none for the default action.
    pub rule: Option<u64>,
    /// The action.
    pub action: &'t Action,
    /// What is written anew for the target.
    pub transforms: &'t Transforms,
    /// What else is done. None if nothing.
    pub policy: Option<&'t Arc<Policy>>,
}

impl Rule {
    /// Whether all of its conditions hold.
    #[must_use]
    pub fn holds(&self, facts: &Facts<'_>) -> bool {
        self.conditions
            .iter()
            .all(|condition| condition.holds(facts))
    }
}

/// The rules of a listener.
#[derive(Debug)]
pub struct RuleTable {
    rules: Box<[Rule]>,
    index: RuleIndex,
    default: Action,
    policy: Option<Arc<Policy>>,
}

impl RuleTable {
    /// Rules in any order, and what happens when none matches.
    #[must_use]
    pub fn new(mut rules: Vec<Rule>, default: Action) -> Self {
        rules.sort_by_key(|rule| rule.priority);
        Self {
            index: RuleIndex::new(&rules),
            rules: rules.into(),
            default,
            policy: None,
        }
    }

    /// The same, with what is done besides the default action.
    #[must_use]
    pub fn with_policy(self, policy: Option<Arc<Policy>>) -> Self {
        Self { policy, ..self }
    }

    /// What is done besides the default action.
    #[must_use]
    pub fn default_policy(&self) -> Option<&Arc<Policy>> {
        self.policy.as_ref()
    }

    /// What the first rule says whose conditions all hold, or the default action. Only rules that
    /// the index has for this Host and path are looked at.
    #[must_use]
    pub fn find(&self, facts: &Facts<'_>) -> Found<'_> {
        let found = if self.rules.is_empty() {
            None
        } else {
            self.index
                .first(facts, |number| self.rules[number].holds(facts))
        };
        match found {
            Some(number) => {
                let rule = &self.rules[number];
                Found {
                    rule: Some(rule.priority),
                    action: &rule.action,
                    transforms: &rule.transforms,
                    policy: rule.policy.as_ref(),
                }
            }
            None => Found {
                rule: None,
                action: &self.default,
                transforms: &Transforms::NONE,
                policy: self.policy.as_ref(),
            },
        }
    }

    /// The action of the first rule whose conditions all hold, or the default action.
    #[must_use]
    pub fn action(&self, facts: &Facts<'_>) -> &Action {
        self.find(facts).action
    }

    /// All rules, the one that is tried first at the front.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The number of rules, without the default.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is only the default action.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

#[cfg(test)]
#[path = "rules_naive_tests.rs"]
mod naive_tests;

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
