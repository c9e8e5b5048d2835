//! Figures of listeners and rules.

use std::fmt;
use std::sync::Arc;

use super::{Out, RULES_MAX, named};
use crate::observe::counters::{CLASSES, Counter, TIMES, Times};
use crate::observe::ledger::ListenerLedger;
use crate::request::answer::Reason;

type Listeners = [(Arc<str>, Arc<ListenerLedger>)];

pub(super) fn encode(listeners: &Listeners, out: &mut Out<'_>) -> fmt::Result {
    out.counters(
        "listener_responses",
        "Responses of a listener, by class of status",
        listeners.iter().flat_map(|(name, ledger)| {
            let counts = ledger.own.row(|side| &side.responses);
            let all = CLASSES.into_iter().zip(counts);
            all.map(move |(code, count)| ([("listener", &**name), ("code", code)], count))
        }),
    )?;
    out.counters(
        "listener_answers",
        "Responses of a listener that Longshore made itself, by reason",
        listeners.iter().flat_map(|(name, ledger)| {
            let counts = ledger.own.row(|side| &side.reasons);
            let all = named(Reason::ALL.iter().map(|reason| reason.name()), counts);
            all.map(move |(reason, count)| ([("listener", &**name), ("reason", reason)], count))
        }),
    )?;
    out.counters(
        "listener_bytes",
        "Bytes of requests and responses, with their heads and without TLS, by direction",
        listeners.iter().flat_map(|(name, ledger)| {
            let sum = |pick: fn(&crate::observe::ledger::ListenerSide) -> &Counter| {
                ledger.own.sum(|side| pick(side).get())
            };
            let directions = [
                ("from_client", sum(|side| &side.received)),
                ("to_client", sum(|side| &side.sent)),
            ];
            let all = directions.into_iter();
            all.map(move |(direction, count)| {
                ([("listener", &**name), ("direction", direction)], count)
            })
        }),
    )?;
    out.times(
        "listener_request_seconds",
        "From the end of a request's head to the last byte of its response",
        &TIMES,
        listeners.iter().map(|(name, ledger)| {
            let times = Times::sum(ledger.own.iter().map(|side| &side.total));
            ([("listener", &**name)], times)
        }),
    )?;
    let rules = rules(listeners);
    out.counters(
        "rule_responses",
        "Responses to requests that met a rule, by class of status",
        rules.iter().flat_map(|(listener, rule, counts)| {
            let all = named(CLASSES.into_iter(), *counts);
            all.map(move |(code, count)| {
                let labels = [("listener", &**listener), ("rule", rule), ("code", code)];
                (labels, count)
            })
        }),
    )
}

/// Each rule with its responses; those beyond the bound are one.
fn rules(listeners: &Listeners) -> Vec<(&str, String, [u64; CLASSES.len()])> {
    let mut rows = Vec::new();
    for (name, ledger) in listeners {
        let mut others: Option<[u64; CLASSES.len()]> = None;
        let of_rules = ledger.rules().filter(|(priority, _)| priority.is_some());
        for (place, (priority, rule)) in of_rules.enumerate() {
            let counts = rule.row(|side| &side.responses);
            if place < RULES_MAX {
                let priority = priority.map_or_else(String::new, |it| it.to_string());
                rows.push((&**name, priority, counts));
            } else {
                let sums = others.get_or_insert_default();
                for (sum, count) in sums.iter_mut().zip(counts) {
                    *sum += count;
                }
            }
        }
        for (_, default) in ledger.rules().filter(|(priority, _)| priority.is_none()) {
            let counts = default.row(|side| &side.responses);
            rows.push((&**name, "default".to_owned(), counts));
        }
        if let Some(others) = others {
            rows.push((&**name, "others".to_owned(), others));
        }
    }
    rows
}
