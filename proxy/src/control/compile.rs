//! From the configuration's rules to those that requests are matched against. Pure.

use http::{HeaderName, HeaderValue, Method, StatusCode};
use longshore_config as config;

use super::ids::GroupId;
use crate::request::pattern::Pattern;
use crate::request::redirect::Redirect;
use crate::request::rules::{Action, Condition, Fixed, Rule, RuleTable, Split};
use crate::request::sticky::Keeps;
use crate::upstream::identity::Identity;

/// The rules of a listener. `group` finds the number of a group; a validated configuration names
/// only groups that exist, and one that does not would get no requests.
#[must_use]
pub fn rule_table(
    listener: &config::Listener,
    group: &dyn Fn(&str) -> Option<GroupId>,
) -> RuleTable {
    let rules = listener
        .rules
        .iter()
        .map(|rule| Rule {
            priority: rule.priority.get(),
            conditions: rule.condition.iter().flat_map(conditions).collect(),
            action: {
                let scope = || Identity::rule(&listener.name, Some(rule.priority.get()));
                first_action(&rule.action, group, &scope)
            },
        })
        .collect();
    let scope = || Identity::rule(&listener.name, None);
    RuleTable::new(rules, first_action(&listener.default_action, group, &scope))
}

fn first_action(
    actions: &[config::Action],
    group: &dyn Fn(&str) -> Option<GroupId>,
    scope: &dyn Fn() -> Identity,
) -> Action {
    let Some(action) = actions.first() else {
        return Action::Forward(Split::new([]));
    };
    if let Some(settings) = &action.redirect {
        return Action::Redirect(redirect(settings));
    }
    if let Some(settings) = &action.fixed_response {
        return Action::Fixed(fixed(settings));
    }
    let single = action.target_group.iter().map(|name| (1, name.as_str()));
    let weighted = action
        .forward
        .iter()
        .flat_map(|forward| &forward.target_group)
        .map(|target| (target.weight.get(), target.name.as_str()));
    let split = Split::new(
        single
            .chain(weighted)
            .filter_map(|(weight, name)| Some((weight, group(name)?))),
    );
    let forward = action.forward.as_ref();
    Action::Forward(split.that_keeps(forward.and_then(|forward| keeps(forward, group, scope))))
}

fn keeps(
    forward: &config::Forward,
    group: &dyn Fn(&str) -> Option<GroupId>,
    scope: &dyn Fn() -> Identity,
) -> Option<Keeps> {
    let stickiness = forward.stickiness.as_ref().filter(|with| with.enabled)?;
    let duration = stickiness.duration.get().as_millis();
    Some(Keeps {
        scope: scope(),
        duration: u64::try_from(duration).unwrap_or(u64::MAX),
        groups: forward
            .target_group
            .iter()
            .filter(|target| target.weight.get() > 0)
            .filter_map(|target| Some((Identity::group(&target.name), group(&target.name)?)))
            .collect(),
    })
}

fn redirect(settings: &config::Redirect) -> Redirect {
    Redirect {
        status: status(settings.status_code.code()),
        protocol: settings.protocol.clone(),
        host: settings.host.clone(),
        port: settings.port.clone(),
        path: settings.path.clone(),
        query: settings.query.clone(),
    }
}

fn fixed(settings: &config::FixedResponse) -> Fixed {
    Fixed {
        status: status(u16::try_from(settings.status_code.get()).unwrap_or(500)),
        content_type: HeaderValue::from_str(&settings.content_type)
            .unwrap_or(HeaderValue::from_static("text/plain")),
        body: settings.message_body.clone().into(),
    }
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The one kind that a validated condition has.
fn conditions(condition: &config::Condition) -> Vec<Condition> {
    let patterns = |values: &[String], fold| {
        values
            .iter()
            .map(|value| Pattern::new(value, fold, false))
            .collect::<Vec<_>>()
    };
    let mut all = Vec::with_capacity(1);
    if let Some(host) = &condition.host_header {
        all.push(Condition::Host(patterns(&host.values, true)));
    }
    if let Some(path) = &condition.path_pattern {
        all.push(Condition::Path(patterns(&path.values, false)));
    }
    if let Some(method) = &condition.http_request_method {
        all.push(Condition::Method(
            method
                .values
                .iter()
                .filter_map(|name| Method::from_bytes(name.as_bytes()).ok())
                .collect(),
        ));
    }
    if let Some(header) = &condition.http_header
        && let Ok(name) = HeaderName::from_bytes(header.http_header_name.as_bytes())
    {
        all.push(Condition::Header(name, patterns(&header.values, true)));
    }
    if let Some(pairs) = &condition.query_string {
        let escaped = |text: &str| Pattern::new(text, true, true);
        all.push(Condition::Query(
            pairs
                .iter()
                .map(|pair| (pair.key.as_deref().map(escaped), escaped(&pair.value)))
                .collect(),
        ));
    }
    if let Some(source) = &condition.source_ip {
        all.push(Condition::Source(
            source.values.iter().map(|network| network.0).collect(),
        ));
    }
    all
}
