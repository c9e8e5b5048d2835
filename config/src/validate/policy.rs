//! Checks of policies.

use super::attributes::{is_name, is_text};
use super::{Scope, balancing};
use crate::{BasicAuth, Compression, Cors, HeaderEdits, Policy, RateLimit, limits};

pub(super) fn policy(scope: &mut Scope<'_, '_>, policy: &Policy) {
    for (key, networks) in [
        ("source_ip_allow", &policy.source_ip_allow),
        ("source_ip_deny", &policy.source_ip_deny),
    ] {
        if networks.as_ref().is_some_and(Vec::is_empty) && key == "source_ip_allow" {
            scope.fault_at(
                key,
                "an empty list lets nobody through; remove the key to let all through",
            );
        }
    }
    if let Some(limit) = &policy.rate_limit {
        scope.key("rate_limit", |scope| rate_limit(scope, limit));
    }
    if let Some(settings) = &policy.cors {
        scope.key("cors", |scope| cors(scope, settings));
    }
    if let Some(settings) = &policy.basic_auth {
        scope.key("basic_auth", |scope| basic_auth(scope, settings));
    }
    if let Some(mirror) = &policy.mirror {
        scope.key("mirror", |scope| {
            scope.key("target_group", |scope| {
                super::action::group(scope, &mirror.target_group);
            });
        });
    }
    if let Some(settings) = &policy.compression {
        scope.key("compression", |scope| compression(scope, settings));
    }
    for (key, edits) in [
        ("request_headers", &policy.request_headers),
        ("response_headers", &policy.response_headers),
    ] {
        if let Some(edits) = edits {
            scope.key(key, |scope| header_edits(scope, edits));
        }
    }
}

fn rate_limit(scope: &mut Scope<'_, '_>, limit: &RateLimit) {
    let micros = limit.period.get().as_micros() / u128::from(limit.requests.get());
    if micros < limits::RATE_INTERVAL_MICROS {
        scope.fault_at(
            "requests",
            "more than 100,000 a second cannot be counted; make `requests` smaller or `period` longer",
        );
    }
    if let Some(key) = &limit.key {
        scope.key("key", |scope| balancing::hash_policy(scope, key));
    }
}

fn compression(scope: &mut Scope<'_, '_>, settings: &Compression) {
    let mut seen = Vec::new();
    scope.each("algorithms", &settings.algorithms, |scope, algorithm| {
        if seen.contains(algorithm) {
            scope.fault("it is in the list already");
        }
        seen.push(*algorithm);
    });
    if settings.content_types.is_empty() {
        scope.fault_at(
            "content_types",
            "without a type nothing is compressed; to say so, write `algorithms: []`",
        );
    }
    let valid = |c: char| c.is_ascii_alphanumeric() || "!#$&^_.+-*/".contains(c);
    scope.each("content_types", &settings.content_types, |scope, kind| {
        if kind.len() > limits::NAME_BYTES
            || kind.matches('/').count() != 1
            || kind.starts_with('/')
            || kind.ends_with('/')
            || !kind.chars().all(valid)
        {
            scope.fault(format!(
                "expected a type such as application/json or text/*, without parameters; found {kind:?}"
            ));
        }
    });
}

fn cors(scope: &mut Scope<'_, '_>, cors: &Cors) {
    if cors.allow_origins.is_empty() {
        scope.fault_at("allow_origins", "at least one origin is needed");
    }
    scope.each("allow_origins", &cors.allow_origins, |scope, origin| {
        if origin == "*" {
            if cors.allow_credentials {
                scope.fault("with `allow_credentials`, every page could act for its visitors; name the origins");
            }
            return;
        }
        let host = origin
            .strip_prefix("https://")
            .or_else(|| origin.strip_prefix("http://"));
        let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._:[]*".contains(c);
        if host.is_some_and(is_any_host) && cors.allow_credentials {
            scope.fault(format!(
                "with `allow_credentials`, every page could act for its visitors, as {origin:?} is any host; name the origins"
            ));
        } else if !host.is_some_and(|host| !host.is_empty() && host.chars().all(valid))
            || origin.matches('*').count() > 1
        {
            scope.fault(format!(
                "expected an origin in small letters, such as https://shop.example or https://*.shop.example, without a path; found {origin:?}"
            ));
        }
    });
    let names = |scope: &mut Scope<'_, '_>, key: &str, list: &[String], star: bool| {
        scope.each(key, list, |scope, name| {
            if !(is_name(name) && (star || name != "*")) {
                scope.fault(format!("{name:?} is no name"));
            }
        });
    };
    names(scope, "allow_methods", &cors.allow_methods, false);
    names(scope, "allow_headers", &cors.allow_headers, true);
    names(
        scope,
        "expose_headers",
        &cors.expose_headers,
        !cors.allow_credentials,
    );
}

/// Whether a pattern for a host, with a port or without, is that of every host.
fn is_any_host(pattern: &str) -> bool {
    let host = pattern.split_once(':').map_or(pattern, |(host, _)| host);
    host == "*"
}

fn basic_auth(scope: &mut Scope<'_, '_>, auth: &BasicAuth) {
    if auth.realm.is_empty()
        || auth.realm.len() > limits::NAME_BYTES
        || !is_text(&auth.realm)
        || auth.realm.contains(['"', '\\'])
    {
        scope.fault_at(
            "realm",
            format!(
                "expected 1 to {} visible ASCII characters other than `\"` and `\\`",
                limits::NAME_BYTES
            ),
        );
    }
    if auth.users.is_empty() {
        scope.fault_at("users", "at least one user is needed");
    }
    scope.key("users", |scope| {
        for (name, hash) in &auth.users {
            if name.is_empty() || name.contains(':') || name.chars().any(char::is_control) {
                scope.fault_at(name, "a user's name is not empty and has no `:`");
            }
            // Nothing of the hash is shown.
            match hash.cost() {
                None => scope.fault_at(
                    name,
                    "expected a bcrypt hash, such as the second part of what `htpasswd -nB NAME` prints",
                ),
                Some(cost) if !(4..=limits::BCRYPT_COST_MAX).contains(&cost) => scope.fault_at(
                    name,
                    format!(
                        "the hash has cost {cost}; expected 4 to {}, which takes long enough already",
                        limits::BCRYPT_COST_MAX
                    ),
                ),
                Some(_) => {}
            }
        }
    });
}

/// Fields that frame a message, that are for one connection, or that have keys of their own.
pub(super) const NOT_EDITED: [&str; 14] = [
    "connection",
    "content-length",
    "date",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-port",
    "x-forwarded-proto",
];

fn header_edits(scope: &mut Scope<'_, '_>, edits: &HeaderEdits) {
    let name = |scope: &mut Scope<'_, '_>, name: &str| {
        if !is_name(name) || name.len() > limits::NAME_BYTES {
            scope.fault(format!("{name:?} is no name of a header"));
        } else if NOT_EDITED.iter().any(|not| name.eq_ignore_ascii_case(not)) {
            scope.fault(format!(
                "`{name}` cannot be changed here: it belongs to the connection or has a key of its own"
            ));
        }
    };
    for (key, list) in [("set", &edits.set), ("add", &edits.add)] {
        scope.key(key, |scope| {
            for (field, value) in list {
                scope.key(field, |scope| {
                    name(scope, field);
                    if value.len() > limits::HEADER_VALUE_BYTES || !is_text(value) {
                        scope.fault(format!(
                            "expected at most {} visible ASCII characters",
                            limits::HEADER_VALUE_BYTES
                        ));
                    }
                });
            }
        });
    }
    scope.each("remove", &edits.remove, |scope, field| name(scope, field));
    if edits.set.is_empty() && edits.add.is_empty() && edits.remove.is_empty() {
        scope.fault("expected at least one of `set`, `add` and `remove`");
    }
}
