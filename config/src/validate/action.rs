//! Checks of actions.

use std::collections::BTreeSet;

use super::{Scope, stickiness};
use crate::{Action, ActionKind, FixedResponse, Forward, Redirect, limits};

/// Checks a list of actions that must hold exactly one.
pub(super) fn one(scope: &mut Scope<'_, '_>, key: &str, actions: &[Action]) {
    if actions.len() != 1 {
        scope.fault_at(
            key,
            format!("expected exactly one action, found {}", actions.len()),
        );
    }
    scope.each(key, actions, action);
}

fn action(scope: &mut Scope<'_, '_>, action: &Action) {
    let settings = [
        (
            ActionKind::Forward,
            "target_group",
            action.target_group.is_some(),
        ),
        (ActionKind::Forward, "forward", action.forward.is_some()),
        (ActionKind::Forward, "retry", action.retry.is_some()),
        (ActionKind::Forward, "timeouts", action.timeouts.is_some()),
        (ActionKind::Redirect, "redirect", action.redirect.is_some()),
        (
            ActionKind::FixedResponse,
            "fixed_response",
            action.fixed_response.is_some(),
        ),
    ];
    for (kind, key, present) in settings {
        if present && kind != action.kind {
            scope.fault_at(
                key,
                "the action's `type` is another one; remove this key or change `type`",
            );
        }
    }
    if let Some(retry) = &action.retry {
        scope.key("retry", |scope| super::retry(scope, retry));
    }
    match action.kind {
        ActionKind::Forward => match (&action.target_group, &action.forward) {
            (Some(name), None) => scope.key("target_group", |scope| group(scope, name)),
            (None, Some(settings)) => scope.key("forward", |scope| forward(scope, settings)),
            (Some(_), Some(_)) => {
                scope.fault_at(
                    "target_group",
                    "`forward` names the groups already; remove one of the two",
                );
            }
            (None, None) => scope.fault("`type: forward` needs `target_group` or `forward`"),
        },
        ActionKind::Redirect => match &action.redirect {
            Some(settings) => scope.key("redirect", |scope| redirect(scope, settings)),
            None => scope.fault("`type: redirect` needs the key `redirect`"),
        },
        ActionKind::FixedResponse => match &action.fixed_response {
            Some(settings) => scope.key("fixed_response", |scope| fixed_response(scope, settings)),
            None => scope.fault("`type: fixed_response` needs the key `fixed_response`"),
        },
    }
}

pub(super) fn group(scope: &mut Scope<'_, '_>, name: &str) {
    if scope.groups.iter().any(|known| known == name) {
        return;
    }
    let close = scope
        .groups
        .iter()
        .map(|known| (strsim::jaro_winkler(known, name), known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let message = match close {
        Some((_, known)) => format!("there is no target group {name:?}; did you mean {known:?}?"),
        None => format!("there is no target group {name:?}; add it to `target_groups`"),
    };
    scope.fault(message);
}

fn forward(scope: &mut Scope<'_, '_>, forward: &Forward) {
    let mut seen = BTreeSet::new();
    scope.each("target_group", &forward.target_group, |scope, target| {
        scope.key("name", |scope| {
            group(scope, &target.name);
            if !seen.insert(target.name.clone()) {
                scope.fault(format!("{:?} is named twice in this action", target.name));
            }
        });
    });
    if forward
        .target_group
        .iter()
        .all(|target| target.weight.get() == 0)
    {
        scope.fault_at(
            "target_group",
            "at least one group with a weight above 0 is needed",
        );
    }
    stickiness::of_forward(scope, forward);
}

fn redirect(scope: &mut Scope<'_, '_>, redirect: &Redirect) {
    if !matches!(redirect.protocol.as_str(), "HTTP" | "HTTPS" | "#{protocol}") {
        scope.fault_at(
            "protocol",
            format!(
                "expected `HTTP`, `HTTPS` or `#{{protocol}}`, found {:?}",
                redirect.protocol
            ),
        );
    }
    let port = redirect.port.as_str();
    if port != "#{port}" && !port.parse::<u16>().is_ok_and(|port| port > 0) {
        scope.fault_at(
            "port",
            format!("expected 1 to 65535 or `#{{port}}`, found {port:?}"),
        );
    }
    if !redirect.path.starts_with('/') {
        scope.fault_at(
            "path",
            format!(
                "expected a path that begins with `/`, found {:?}",
                redirect.path
            ),
        );
    }
    if redirect.query.starts_with('?') {
        scope.fault_at("query", "the `?` is added by the redirect; remove it here");
    }
    for (key, text) in [
        ("host", &redirect.host),
        ("path", &redirect.path),
        ("query", &redirect.query),
    ] {
        if !text.chars().all(|c| c.is_ascii_graphic()) {
            scope.fault_at(
                key,
                "only visible ASCII characters may stand in a redirect; percent-encode others",
            );
        }
        if let Some(name) = unknown_placeholder(text) {
            scope.fault_at(
                key,
                format!("unknown placeholder `#{{{name}}}`; there are protocol, host, port, path and query"),
            );
        }
    }
    if redirect.host.is_empty() {
        scope.fault_at("host", "expected a host name or `#{host}`");
    }
    let same = redirect.protocol == "#{protocol}"
        && redirect.host == "#{host}"
        && redirect.port == "#{port}"
        && redirect.path == "/#{path}";
    if same {
        scope.fault("this redirect leads to the URL it came from; change one of `protocol`, `host`, `port` and `path`");
    }
}

fn unknown_placeholder(text: &str) -> Option<&str> {
    text.split("#{").skip(1).find_map(|rest| {
        let name = rest.split('}').next().unwrap_or(rest);
        let known = ["protocol", "host", "port", "path", "query"].contains(&name);
        (!known || !rest.contains('}')).then_some(name)
    })
}

fn fixed_response(scope: &mut Scope<'_, '_>, fixed: &FixedResponse) {
    let status = fixed.status_code.get();
    if !matches!(status / 100, 2 | 4 | 5) {
        scope.fault_at(
            "status_code",
            format!("expected 2xx, 4xx or 5xx, found {status}"),
        );
    }
    if fixed.content_type.is_empty()
        || !fixed
            .content_type
            .chars()
            .all(|c| c.is_ascii_graphic() || c == ' ')
    {
        scope.fault_at(
            "content_type",
            format!(
                "expected a media type such as text/plain, found {:?}",
                fixed.content_type
            ),
        );
    }
    if fixed.message_body.len() > limits::FIXED_BODY_BYTES {
        scope.fault_at(
            "message_body",
            format!(
                "the body has {} bytes; at most {} are served",
                fixed.message_body.len(),
                limits::FIXED_BODY_BYTES
            ),
        );
    }
    if matches!(status, 204 | 205) && !fixed.message_body.is_empty() {
        scope.fault_at(
            "message_body",
            format!("a response with status {status} has no body"),
        );
    }
}
