//! Checks of health checks, of how many healthy targets are needed, and of zones to be left.

use super::Scope;
use crate::{
    BodyMatch, CheckMethod, CheckProtocol, HealthCheck, ProtocolVersion, TargetGroup, ZonalShift,
    limits, regex,
};

/// The codes of gRPC that a matcher may have, as at ALB.
const GRPC_CODES: std::ops::RangeInclusive<u16> = 0..=99;

/// The status codes of HTTP.
const HTTP_CODES: std::ops::RangeInclusive<u16> = 100..=599;

/// Header fields that belong to the connection and not to the request.
const NOT_OURS: [&str; 8] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Checks a group's `health_check`.
pub(super) fn checks(scope: &mut Scope<'_, '_>, group: &TargetGroup) {
    let check = &group.health_check;
    scope.key("health_check", |scope| {
        if check.protocol == CheckProtocol::Tcp {
            only_a_connection(scope, check);
        } else if check.protocol_version.or(group.protocol_version) == Some(ProtocolVersion::Grpc) {
            grpc(scope, check);
        } else {
            http(scope, check);
        }
        path(scope, check);
        headers(scope, check);
        if let Some(body) = &check.body {
            scope.key("body", |scope| body_match(scope, body));
        }
        let timeout = check.timeout.map(|timeout| timeout.get());
        if timeout.is_some_and(|timeout| timeout > check.interval.get()) {
            scope.fault_at(
                "timeout",
                "a check may not take longer than the `interval` between two of them",
            );
        }
    });
}

fn only_a_connection(scope: &mut Scope<'_, '_>, check: &HealthCheck) {
    for (key, present) in [
        ("protocol_version", check.protocol_version.is_some()),
        ("method", check.method != CheckMethod::Get),
        ("path", check.path.is_some()),
        ("headers", !check.headers.is_empty()),
        ("grpc_service", check.grpc_service.is_some()),
        ("matcher", check.matcher.is_some()),
        ("body", check.body.is_some()),
    ] {
        if present {
            scope.fault_at(
                key,
                "`protocol: TCP` only connects and sends nothing; remove this key, or choose HTTP or HTTPS",
            );
        }
    }
}

fn grpc(scope: &mut Scope<'_, '_>, check: &HealthCheck) {
    if check.method != CheckMethod::Get {
        scope.fault_at("method", "a gRPC check is always a POST; remove this key");
    }
    if check.body.is_some() {
        scope.fault_at(
            "body",
            "the body of a gRPC check is not text; use `matcher`, or `grpc_service`",
        );
    }
    let matcher = check.matcher.as_ref();
    if matcher.is_some_and(|matcher| !matcher.is_within(&GRPC_CODES)) {
        scope.fault_at(
            "matcher",
            "expected gRPC codes from 0 to 99, such as \"12\", \"0,12\" or \"0-99\"",
        );
    }
    let Some(service) = &check.grpc_service else {
        return;
    };
    if service.len() > limits::CHECK_VALUE_BYTES {
        scope.fault_at(
            "grpc_service",
            format!("the name has at most {} bytes", limits::CHECK_VALUE_BYTES),
        );
    }
    let path = check.path.as_deref();
    if path.is_some_and(|path| path != crate::GRPC_HEALTH_PATH) {
        scope.fault_at(
            "path",
            format!(
                "`grpc_service` asks {}; remove one of the two keys",
                crate::GRPC_HEALTH_PATH
            ),
        );
    }
}

fn http(scope: &mut Scope<'_, '_>, check: &HealthCheck) {
    if check.grpc_service.is_some() {
        scope.fault_at("grpc_service", "only `protocol_version: GRPC` has services");
    }
    let matcher = check.matcher.as_ref();
    if matcher.is_some_and(|matcher| !matcher.is_within(&HTTP_CODES)) {
        scope.fault_at(
            "matcher",
            "expected status codes from 100 to 599, such as \"200\", \"200,202\" or \"200-299\"",
        );
    }
    if check.method == CheckMethod::Head && check.body.is_some() {
        scope.fault_at("body", "a response to HEAD has no body");
    }
}

fn path(scope: &mut Scope<'_, '_>, check: &HealthCheck) {
    let Some(path) = &check.path else {
        return;
    };
    if !path.starts_with('/')
        || path.len() > limits::HEALTH_PATH_BYTES
        || !path.chars().all(|c| c.is_ascii_graphic())
    {
        scope.fault_at(
            "path",
            format!(
                "expected a path that begins with `/` and has at most {} visible ASCII characters, found {path:?}",
                limits::HEALTH_PATH_BYTES,
            ),
        );
    } else if let Some(character) = not_sent(path) {
        scope.fault_at(
            "path",
            format!(
                "`{character}` cannot be sent there; write %{:02X}",
                u32::from(character)
            ),
        );
    }
}

/// The first character that stands for itself neither in a path nor in a query. These are those that
/// the `http` crate refuses, with which checks are made: what passes here can be sent.
fn not_sent(path: &str) -> Option<char> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut path = path.chars().filter(|c| "#<>`".contains(*c));
    let mut query = query.chars().filter(|c| "#<>\"".contains(*c));
    path.next().or_else(|| query.next())
}

fn headers(scope: &mut Scope<'_, '_>, check: &HealthCheck) {
    if check.headers.len() > limits::CHECK_HEADERS {
        scope.fault_at(
            "headers",
            format!("at most {} header fields", limits::CHECK_HEADERS),
        );
    }
    // RFC 9110 §5.1 and §5.5.
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let visible = |c: char| c.is_ascii_graphic() || c == ' ';
    scope.key("headers", |scope| {
        let mut seen = std::collections::BTreeSet::new();
        for (name, value) in &check.headers {
            let lower = name.to_ascii_lowercase();
            let value = value.reveal();
            if name.is_empty() || !name.chars().all(token) {
                scope.fault_at(name, format!("{name:?} is no name of a header field"));
            } else if NOT_OURS.contains(&lower.as_str()) {
                scope.fault_at(
                    name,
                    "this field belongs to the connection, not to the check; remove it",
                );
            } else if !seen.insert(lower) {
                scope.fault_at(name, "this field is there already, in other letters");
            }
            if value.len() > limits::CHECK_VALUE_BYTES || !value.chars().all(visible) {
                scope.fault_at(
                    name,
                    format!(
                        "a value has at most {} visible ASCII characters and spaces",
                        limits::CHECK_VALUE_BYTES
                    ),
                );
            }
        }
    });
}

fn body_match(scope: &mut Scope<'_, '_>, body: &BodyMatch) {
    let (key, text) = match (&body.contains, &body.regex) {
        (Some(text), None) => ("contains", text),
        (None, Some(text)) => ("regex", text),
        _ => return scope.fault("exactly one of the keys `contains` and `regex` is needed"),
    };
    if text.is_empty() || text.len() > limits::CHECK_VALUE_BYTES {
        scope.fault_at(
            key,
            format!("expected 1 to {} bytes", limits::CHECK_VALUE_BYTES),
        );
    } else if key == "regex"
        && let Err(error) = regex(text, false)
    {
        scope.fault_at(key, format!("{text:?} is no regular expression: {error}"));
    }
}

/// Checks a group's `target_group_health`.
pub(super) fn minimums(scope: &mut Scope<'_, '_>, group: &TargetGroup) {
    let routing = group.routing_minimum();
    let Some(ready) = group.readiness_minimum() else {
        return;
    };
    // ALB refuses it, too: an instance would send requests to unhealthy targets while it asks for
    // more of them.
    let less = |ready: Option<u64>, routing: Option<u64>| {
        ready
            .zip(routing)
            .filter(|(ready, routing)| ready < routing)
    };
    for (key, found) in [
        (
            "minimum_healthy_targets_count",
            less(ready.count, routing.count),
        ),
        (
            "minimum_healthy_targets_percentage",
            less(ready.percentage, routing.percentage),
        ),
    ] {
        if let Some((ready, routing)) = found {
            scope.key("target_group_health", |scope| {
                scope.key("dns_failover", |scope| {
                    scope.fault_at(
                        key,
                        format!(
                            "{ready} is less than the {routing} of `unhealthy_state_routing`; expected at least as much"
                        ),
                    );
                });
            });
        }
    }
}

/// Checks `load_balancer.zonal_shift`.
pub(super) fn shift(scope: &mut Scope<'_, '_>, shift: &ZonalShift) {
    if shift.away_from.len() > limits::ZONES_MAX {
        scope.fault_at("away_from", format!("at most {} zones", limits::ZONES_MAX));
    }
    scope.each("away_from", &shift.away_from, |scope, zone| {
        if !super::balancing::is_zone(zone) {
            scope.fault(super::balancing::no_zone(zone));
        }
    });
}
