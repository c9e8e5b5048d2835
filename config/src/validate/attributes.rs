//! Checks of ALB's attributes.

use super::Scope;
use super::policy::NOT_EDITED;
use crate::{Listener, ListenerProtocol, LoadBalancer, XffMode, limits};

pub(super) fn of_load_balancer(scope: &mut Scope<'_, '_>, attributes: &LoadBalancer) {
    if attributes.enable_xff_client_port && attributes.xff_header_processing_mode != XffMode::Append
    {
        scope.fault_at(
            "enable_xff_client_port",
            "the port is written only with `xff_header_processing_mode: append`; change one of the two",
        );
    }
    let server = &attributes.server_header.0;
    if server.is_empty() || server.len() > limits::NAME_BYTES || !is_text(server) {
        scope.fault_at(
            "server_header",
            format!(
                "expected 1 to {} visible ASCII characters; to send no `server`, set `routing_http_response_server_enabled: false` at the listener",
                limits::NAME_BYTES
            ),
        );
    }
}

pub(super) fn of_listener(scope: &mut Scope<'_, '_>, listener: &Listener) {
    for (key, _, value) in listener.response_headers() {
        let Some(value) = value else { continue };
        if value.len() > limits::ATTRIBUTE_BYTES || !value.chars().all(is_attribute_char) {
            scope.fault_at(
                key,
                format!(
                    "expected at most {} letters, digits, spaces and characters of `{ATTRIBUTE_CHARS}`",
                    limits::ATTRIBUTE_BYTES
                ),
            );
        }
        let expected = match key {
            "routing_http_response_access_control_allow_credentials_header_value" => {
                (value != "true").then_some("`true`, which is the only value that browsers know")
            }
            "routing_http_response_access_control_max_age_header_value" => value
                .parse::<u32>()
                .is_err()
                .then_some("a number of seconds"),
            "routing_http_response_x_content_type_options_header_value" => (!value
                .eq_ignore_ascii_case("nosniff"))
            .then_some("`nosniff`, which is the only value that browsers know"),
            _ => None,
        };
        if let Some(expected) = expected {
            scope.fault_at(key, format!("expected {expected}; found {value:?}"));
        }
    }
    let names = listener.tls_header_names();
    for (index, (key, _, name)) in names.iter().enumerate() {
        let Some(name) = name else { continue };
        if listener.protocol != ListenerProtocol::Https {
            scope.fault_at(
                key,
                "only an HTTPS listener has this field; remove this key or change `protocol`",
            );
        }
        if !is_name(name) || name.len() > limits::NAME_BYTES {
            scope.fault_at(key, format!("{name:?} is no name of a header"));
        } else if NOT_EDITED.iter().any(|not| is_same(not, name)) {
            scope.fault_at(
                key,
                format!(
                    "`{name}` cannot be the name: that field belongs to the connection or has a key of its own; choose another one, such as `X-{name}`"
                ),
            );
        }
        // Of two names of the file the second is at fault; ALB's names are there before all.
        let taken = names
            .iter()
            .enumerate()
            .any(|(other, (_, usual, own))| match own {
                Some(own) => other < index && is_same(own, name),
                None => is_same(usual, name),
            });
        if taken {
            scope.fault_at(key, format!("another field has the name {name:?} already"));
        }
    }
}

/// Whether a target may take two names for one: many read `-` and `_` alike, as CGI made them.
fn is_same(one: &str, other: &str) -> bool {
    let read = |name: &str| name.to_ascii_lowercase().replace('_', "-");
    read(one) == read(other)
}

const ATTRIBUTE_CHARS: &str = "_ :;.,\\/'?!(){}[]@<>=-+*#&`|~^%";

fn is_attribute_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || ATTRIBUTE_CHARS.contains(c)
}

/// A field name (RFC 9110, section 5.6.2).
pub(super) fn is_name(name: &str) -> bool {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !name.is_empty() && name.chars().all(token)
}

/// A field value without anything that is not shown.
pub(super) fn is_text(value: &str) -> bool {
    value.chars().all(|c| c.is_ascii_graphic() || c == ' ') && value.trim() == value
}

/// Two logs in one file would be no log that anybody can read.
pub(super) fn logs(scope: &mut Scope<'_, '_>, lb: &LoadBalancer) {
    let access = lb.access_logs.as_ref();
    let access = access.map(|logs| ("access_logs", logs.enabled.0, &logs.path));
    let plain = [
        ("connection_logs", &lb.connection_logs),
        ("health_check_logs", &lb.health_check_logs),
    ];
    let plain = plain.into_iter().filter_map(|(key, logs)| {
        let logs = logs.as_ref()?;
        Some((key, logs.enabled.0, &logs.path))
    });
    let mut known: Vec<(&str, &std::path::Path)> = Vec::new();
    for (key, enabled, path) in access.into_iter().chain(plain) {
        let Some(path) = path.as_deref().filter(|_| enabled) else {
            continue;
        };
        if let Some((other, _)) = known.iter().find(|(_, other)| *other == path) {
            let message = format!("`{other}` has this file already; each log needs one of its own");
            scope.key(key, |scope| scope.fault_at("path", message));
        }
        known.push((key, path));
    }
}
