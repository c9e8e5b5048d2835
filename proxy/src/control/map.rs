//! The resource map, as ALB's console has it: which listeners and rules lead to which groups.

use longshore_config::{Action, ActionKind, Condition};
use serde::Serialize;

use super::controller::Controller;
use crate::explain::wants;

/// The most rules of a listener that are told of: it is for people, who look at a page of it.
const RULES_MAX: usize = 200;

/// A listener, and where its rules lead.
#[derive(Debug, Clone, Serialize)]
pub struct RoutesView {
    /// Its name.
    pub listener: String,
    /// Where it listens.
    pub address: Option<String>,
    /// `HTTP` or `HTTPS`.
    pub protocol: &'static str,
    /// Its rules in the order in which they are tried, the default one last.
    pub rules: Vec<RouteView>,
    /// Rules that are not told of, because there are so many.
    pub more: usize,
}

/// A rule.
#[derive(Debug, Clone, Serialize)]
pub struct RouteView {
    /// Its priority; none for the default one.
    pub priority: Option<u64>,
    /// What must hold, each as the condition and its values.
    pub conditions: Vec<String>,
    /// `forward`, `redirect` or `fixed_response`.
    pub action: &'static str,
    /// Where it forwards to.
    pub target_groups: Vec<ShareView>,
}

/// A group that a rule forwards to.
#[derive(Debug, Clone, Serialize)]
pub struct ShareView {
    /// The group.
    pub name: String,
    /// Its weight.
    pub weight: u64,
}

impl Controller {
    /// Listeners and rules, of the file and of labels.
    pub(super) fn routes(&self) -> Vec<RoutesView> {
        let listeners = self.file.listeners.iter();
        listeners
            .map(|listener| {
                let own = listener.rules.iter();
                let own = own.map(|rule| (rule.priority.get(), rule));
                let by_labels = self.verdict.rules.get(&listener.name).into_iter().flatten();
                let by_labels = by_labels.map(|(priority, rule)| (*priority, rule));
                let mut all: Vec<_> = own.chain(by_labels).collect();
                all.sort_by_key(|(priority, _)| *priority);
                let told = all
                    .iter()
                    .take(RULES_MAX)
                    .map(|(priority, rule)| route(Some(*priority), &rule.condition, &rule.action));
                let default = route(None, &[], &listener.default_action);
                RoutesView {
                    listener: listener.name.clone(),
                    address: listener.socket_address().map(|at| at.to_string()),
                    protocol: if listener.certificates.is_empty() {
                        "HTTP"
                    } else {
                        "HTTPS"
                    },
                    rules: told.chain([default]).collect(),
                    more: all.len().saturating_sub(RULES_MAX),
                }
            })
            .collect()
    }
}

fn route(priority: Option<u64>, conditions: &[Condition], actions: &[Action]) -> RouteView {
    let conditions = conditions.iter().flat_map(|condition| {
        let kinds = condition.kinds().into_iter();
        kinds.map(|kind| format!("{kind} {}", wants(condition, kind)))
    });
    let short = actions.iter().filter_map(|action| {
        let name = action.target_group.clone()?;
        Some(ShareView { name, weight: 1 })
    });
    let weighted = actions.iter().filter_map(|action| action.forward.as_ref());
    let weighted = weighted.flat_map(|forward| &forward.target_group);
    let weighted = weighted.map(|target| ShareView {
        name: target.name.clone(),
        weight: target.weight.get(),
    });
    RouteView {
        priority,
        conditions: conditions.collect(),
        action: match actions.first().map(|action| action.kind) {
            Some(ActionKind::Redirect) => "redirect",
            Some(ActionKind::FixedResponse) => "fixed_response",
            Some(ActionKind::Forward) | None => "forward",
        },
        target_groups: short.chain(weighted).collect(),
    }
}
