//! Checks of TLS: keys that belong together.

use super::Scope;
use crate::{
    Listener, ListenerProtocol, MutualAuthentication, MutualMode, TargetGroup, TargetProtocol,
    TargetVerification, limits,
};

/// Checks the keys of one listener.
pub(super) fn of_listener(scope: &mut Scope<'_, '_>, listener: &Listener) {
    if listener.protocol == ListenerProtocol::Http {
        let keys = [
            ("certificates", !listener.certificates.is_empty()),
            ("ssl_policy", listener.ssl_policy.is_some()),
            (
                "mutual_authentication",
                listener.mutual_authentication.is_some(),
            ),
        ];
        for (key, _) in keys.into_iter().filter(|(_, is_set)| *is_set) {
            scope.fault_at(
                key,
                "this listener has no TLS; add `protocol: HTTPS`, or remove the key",
            );
        }
        return;
    }
    let count = listener.certificates.len();
    if count == 0 {
        scope.fault(
            "an HTTPS listener needs `certificates`, such as `certificates: [{cert: site.pem, key: site.key}]`; the first is the default",
        );
    } else if count > limits::CERTIFICATES {
        scope.fault_at(
            "certificates",
            format!(
                "{count} certificates; at most {} are served",
                limits::CERTIFICATES
            ),
        );
    }
    if let Some(mutual) = &listener.mutual_authentication {
        scope.key("mutual_authentication", |scope| of_clients(scope, mutual));
    }
}

fn of_clients(scope: &mut Scope<'_, '_>, mutual: &MutualAuthentication) {
    if mutual.mode == MutualMode::Verify {
        if mutual.trust_store.is_empty() {
            scope.fault(
                "`mode: verify` needs `trust_store`, a list of files in PEM with the authorities that are trusted",
            );
        }
        if mutual.crl.len() > limits::CRLS {
            scope.fault_at(
                "crl",
                format!(
                    "{} lists; at most {} are used",
                    mutual.crl.len(),
                    limits::CRLS
                ),
            );
        }
        return;
    }
    let keys = [
        ("trust_store", !mutual.trust_store.is_empty()),
        ("crl", !mutual.crl.is_empty()),
        (
            "ignore_client_certificate_expiry",
            mutual.ignore_client_certificate_expiry,
        ),
        (
            "advertise_trust_store_ca_names",
            mutual.advertise_trust_store_ca_names == crate::Switch::On,
        ),
    ];
    for (key, _) in keys.into_iter().filter(|(_, is_set)| *is_set) {
        scope.fault_at(
            key,
            "nothing is verified here; set `mode: verify`, or remove the key",
        );
    }
}

/// Checks the keys of one group.
pub(super) fn of_group(scope: &mut Scope<'_, '_>, group: &TargetGroup) {
    let Some(tls) = &group.tls else {
        return;
    };
    if group.protocol == TargetProtocol::Http {
        scope.fault_at(
            "tls",
            "this group's targets have no TLS; add `protocol: HTTPS`, or remove the key",
        );
        return;
    }
    scope.key("tls", |scope| {
        match (tls.verify, &tls.ca_file) {
            (TargetVerification::CaFile, None) => {
                scope.fault("`verify: ca_file` needs `ca_file`, a file in PEM");
            }
            (TargetVerification::Off | TargetVerification::System, Some(_)) => {
                scope.fault_at("ca_file", "set `verify: ca_file`, or remove the key");
            }
            _ => {}
        }
        if let Some(name) = &tls.server_name
            && !is_host_name(name)
        {
            scope.fault_at(
                "server_name",
                format!("expected the name of a host, such as app.example.com, found {name:?}"),
            );
        }
    });
}

/// Letters, digits, hyphens and underscores between dots (RFC 1123 §2.1).
fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=limits::DNS_LABEL_BYTES).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= limits::DNS_NAME_BYTES
        && name.split('.').all(label)
        && name.parse::<std::net::IpAddr>().is_err()
}
