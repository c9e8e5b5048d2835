//! What is counted of requests by listener, rule, target group and target. Each worker has its own
//! side; what is gone from the configuration takes its figures with it.

use std::sync::Arc;

use super::counters::{ADDED, Classes, Counter, Histogram, Row, Sides, TARGET_TIMES, TIMES};
use crate::request::answer::Reason;

/// Answers of our own by reason.
pub type Reasons = Row<{ Reason::ALL.len() }>;

/// Which rule a request met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Matched {
    /// None: it was answered before any was tried.
    #[default]
    Nothing,
    /// None of the listener's, so the default action.
    Default,
    /// The one of this priority.
    Rule(u64),
}

/// One worker's figures of a listener.
#[derive(Debug, Default)]
pub struct ListenerSide {
    /// Responses, a target's or our own.
    pub responses: Classes,
    /// Answers of our own.
    pub reasons: Reasons,
    /// From the end of a request's head to the last byte of its response.
    pub total: Histogram<{ TIMES.len() }>,
    /// Bytes that came from clients, heads included.
    pub received: Counter,
    /// Bytes that went to clients, heads included.
    pub sent: Counter,
}

/// One worker's figures of a rule.
#[derive(Debug, Default)]
pub struct RuleSide {
    /// Responses, a target's or our own.
    pub responses: Classes,
}

/// The figures of a listener and its rules.
#[derive(Debug)]
pub struct ListenerLedger {
    /// Of the listener.
    pub own: Arc<Sides<ListenerSide>>,
    default: Arc<Sides<RuleSide>>,
    /// By priority.
    rules: Box<[(u64, Arc<Sides<RuleSide>>)]>,
}

impl ListenerLedger {
    /// For rules of these priorities. What was counted `before` goes on.
    #[must_use]
    pub fn new(
        workers: usize,
        priorities: impl Iterator<Item = u64>,
        before: Option<&Self>,
    ) -> Self {
        let mut priorities: Vec<u64> = priorities.collect();
        priorities.sort_unstable();
        let known = |priority| before.and_then(|before| before.of_priority(priority));
        let rules = priorities.into_iter().map(|priority| {
            let known = known(priority).map(Arc::clone);
            (
                priority,
                known.unwrap_or_else(|| Arc::new(Sides::new(workers))),
            )
        });
        Self {
            rules: rules.collect(),
            own: before.map_or_else(|| Arc::new(Sides::new(workers)), |it| Arc::clone(&it.own)),
            default: before.map_or_else(
                || Arc::new(Sides::new(workers)),
                |it| Arc::clone(&it.default),
            ),
        }
    }

    fn of_priority(&self, priority: u64) -> Option<&Arc<Sides<RuleSide>>> {
        let place = self
            .rules
            .binary_search_by_key(&priority, |(known, _)| *known);
        place.ok().map(|place| &self.rules[place].1)
    }

    /// The figures of the rule that a request met. None for a rule that a reload took away.
    #[must_use]
    pub fn rule(&self, matched: Matched) -> Option<&Sides<RuleSide>> {
        match matched {
            Matched::Nothing => None,
            Matched::Default => Some(&self.default),
            Matched::Rule(priority) => self.of_priority(priority).map(|rule| &**rule),
        }
    }

    /// All rules by priority, the default action at the end.
    pub fn rules(&self) -> impl Iterator<Item = (Option<u64>, &Sides<RuleSide>)> {
        let rules = self.rules.iter();
        let rules = rules.map(|(priority, rule)| (Some(*priority), &**rule));
        rules.chain([(None, &*self.default)])
    }
}

/// One worker's figures of a target group.
#[derive(Debug, Default)]
pub struct GroupSide {
    /// Responses, a target's or our own.
    pub responses: Classes,
    /// Answers of our own.
    pub reasons: Reasons,
    /// Attempts that were followed by another.
    pub retries: Counter,
    /// From the end of a request's head to the last byte of its response.
    pub total: Histogram<{ TIMES.len() }>,
    /// From the first byte that went to the target to the head of its response.
    pub target: Histogram<{ TIMES.len() }>,
    /// What is neither the target's time nor the client's: from the request's head to its way to
    /// the target, and from the response's head to its way to the client; without waiting for a
    /// connection or a target.
    pub added: Histogram<{ ADDED.len() }>,
    /// New connections, with TLS where there is any.
    pub connect: Histogram<{ TIMES.len() }>,
    /// Waiting for a target that can be used, of requests that waited.
    pub wait: Histogram<{ TIMES.len() }>,
}

/// One worker's figures of a target.
#[derive(Debug, Default)]
pub struct TargetSide {
    /// Responses of the target.
    pub responses: Classes,
    /// From the first byte that went to the target to the head of its response.
    pub time: Histogram<{ TARGET_TIMES.len() }>,
}

#[cfg(test)]
mod tests {
    use super::{ListenerLedger, Matched};

    #[test]
    fn what_was_counted_goes_on_with_a_rule_and_ends_with_it() {
        let first = ListenerLedger::new(2, [20, 10].into_iter(), None);
        let count = |ledger: &ListenerLedger, matched| {
            let rule = ledger.rule(matched);
            rule.map(|rule| rule.row(|side| &side.responses)[2])
        };
        for matched in [Matched::Rule(10), Matched::Default] {
            let rule = first.rule(matched).expect("there is one");
            rule.of(1).responses.count(2);
        }
        assert_eq!(count(&first, Matched::Nothing), None);
        let second = ListenerLedger::new(2, [10, 30].into_iter(), Some(&first));
        assert_eq!(count(&second, Matched::Rule(10)), Some(1));
        assert_eq!(count(&second, Matched::Rule(30)), Some(0));
        assert_eq!(count(&second, Matched::Rule(20)), None);
        assert_eq!(count(&second, Matched::Default), Some(1));
        let third = ListenerLedger::new(2, [20].into_iter(), Some(&second));
        assert_eq!(
            count(&third, Matched::Rule(20)),
            Some(0),
            "it is another rule"
        );
    }
}
