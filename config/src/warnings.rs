//! What a valid file most likely does not mean. Pure.

use crate::{Action, Cidr, Condition, Config, Patterns, Rule, Span, TargetGroup, Timeouts};

/// The key, and what is odd about it.
pub type Warning = (String, String);

impl Config {
    /// What is allowed, and most likely a mistake.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        let mut found = Vec::new();
        for (index, listener) in self.listeners.iter().enumerate() {
            let key = format!("listeners[{index}]");
            shadowed(&key, &listener.rules, &mut found);
            actions(
                &format!("{key}.default_action"),
                &listener.default_action,
                &mut found,
            );
            for (number, rule) in listener.rules.iter().enumerate() {
                actions(
                    &format!("{key}.rules[{number}].action"),
                    &rule.action,
                    &mut found,
                );
            }
        }
        for (index, group) in self.target_groups.iter().enumerate() {
            times_of_group(&format!("target_groups[{index}]"), group, &mut found);
        }
        let lb = &self.load_balancer;
        if lb.connect_timeout.get() >= lb.idle_timeout.get() {
            let message = "connecting may take as long as `idle_timeout`, so that clients leave before the next target is tried";
            found.push((
                "load_balancer.connect_timeout".to_owned(),
                message.to_owned(),
            ));
        }
        found
    }
}

/// Rules that no request meets, because another one before them takes all of theirs.
fn shadowed(key: &str, rules: &[Rule], found: &mut Vec<Warning>) {
    for (index, rule) in rules.iter().enumerate() {
        let before = rules
            .iter()
            .filter(|other| other.priority.get() < rule.priority.get())
            .find(|other| takes_all(other, rule));
        if let Some(other) = before {
            let message = format!(
                "no request gets here: rule {} takes all that this one would",
                other.priority.get()
            );
            found.push((format!("{key}.rules[{index}].priority"), message));
        }
    }
}

/// Whether the first rule surely holds where the second does.
fn takes_all(first: &Rule, second: &Rule) -> bool {
    first
        .condition
        .iter()
        .all(|wide| second.condition.iter().any(|narrow| covers(wide, narrow)))
}

fn covers(wide: &Condition, narrow: &Condition) -> bool {
    if let (Some(wide), Some(narrow)) = (&wide.host_header, &narrow.host_header) {
        return patterns(wide, narrow, true);
    }
    if let (Some(wide), Some(narrow)) = (&wide.path_pattern, &narrow.path_pattern) {
        return patterns(wide, narrow, false);
    }
    if let (Some(wide), Some(narrow)) = (&wide.http_request_method, &narrow.http_request_method) {
        return narrow
            .values
            .iter()
            .all(|value| wide.values.contains(value));
    }
    if let (Some(wide), Some(narrow)) = (&wide.query_string, &narrow.query_string) {
        return narrow.iter().all(|pair| wide.contains(pair));
    }
    if let (Some(wide), Some(narrow)) = (&wide.source_ip, &narrow.source_ip) {
        let within = |inner: &Cidr| wide.values.iter().any(|outer| outer.0.contains(&inner.0));
        return narrow.values.iter().all(within);
    }
    wide.http_header.is_some() && wide.http_header == narrow.http_header
}

fn patterns(wide: &Patterns, narrow: &Patterns, fold: bool) -> bool {
    let matches = |narrow: &String| wide.values.iter().any(|wide| pattern(wide, narrow, fold));
    narrow.values.iter().all(matches)
        && narrow
            .regex_values
            .iter()
            .all(|text| wide.regex_values.contains(text))
}

/// Whether one pattern surely matches all that another does: they are the same, or it is a
/// beginning and the other goes on from there.
fn pattern(wide: &str, narrow: &str, fold: bool) -> bool {
    let (wide, narrow) = match fold {
        true => (wide.to_ascii_lowercase(), narrow.to_ascii_lowercase()),
        false => (wide.to_owned(), narrow.to_owned()),
    };
    let begins = wide
        .strip_suffix('*')
        .filter(|start| !start.contains(['*', '?', '\\']))
        .is_some_and(|start| narrow.starts_with(start));
    wide == narrow || begins
}

fn actions(key: &str, actions: &[Action], found: &mut Vec<Warning>) {
    for (index, action) in actions.iter().enumerate() {
        let Some(forward) = &action.forward else {
            continue;
        };
        if !forward.stickiness.as_ref().is_some_and(|with| with.enabled) {
            continue;
        }
        for (place, target) in forward.target_group.iter().enumerate() {
            if target.weight.get() == 0 {
                let message = format!(
                    "with weight 0, clients that stayed at {:?} are moved to another group at once; give it a small weight to let them finish",
                    target.name
                );
                let at = format!("{key}[{index}].forward.target_group[{place}].weight");
                found.push((at, message));
            }
        }
    }
}

fn times_of_group(key: &str, group: &TargetGroup, found: &mut Vec<Warning>) {
    let Timeouts {
        connect,
        response_header,
        total,
        ..
    } = group.timeouts;
    let Some(total) = total.map(Span::get) else {
        return;
    };
    let within = [
        ("timeouts.connect", connect.map(Span::get)),
        ("timeouts.response_header", response_header.map(Span::get)),
        (
            "retry.per_try_timeout",
            group
                .retry
                .as_ref()
                .and_then(|retry| retry.per_try_timeout)
                .map(Span::get),
        ),
    ];
    for (name, limit) in within {
        if limit.is_some_and(|limit| limit >= total) {
            let message = "is never reached: `timeouts.total` ends the request before or with it";
            found.push((format!("{key}.{name}"), message.to_owned()));
        }
    }
}
