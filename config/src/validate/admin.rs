//! Checks of who may use the admin server.

use super::Scope;
use crate::{Admin, Secret, limits};

/// Checks `token` and `allowed_hosts`.
pub(super) fn keys(scope: &mut Scope<'_, '_>, admin: &Admin) {
    if let Some(token) = admin.token.as_ref().map(Secret::reveal) {
        // Neither fault shows the value: an error may end in a log.
        if token.len() < limits::ADMIN_TOKEN_BYTES {
            scope.fault_at(
                "token",
                format!(
                    "a token has at least {} bytes; make one with `openssl rand -hex 32`",
                    limits::ADMIN_TOKEN_BYTES
                ),
            );
        } else if token.len() > limits::TOKEN_BYTES || !token.chars().all(|c| c.is_ascii_graphic())
        {
            scope.fault_at(
                "token",
                format!(
                    "a token has at most {} visible ASCII characters, or nobody could send it; a variable that was made from a file may have the end of its line at its own end",
                    limits::TOKEN_BYTES
                ),
            );
        }
    }
    scope.each("allowed_hosts", &admin.allowed_hosts, |scope, host| {
        if !is_host(host) {
            scope.fault(format!(
                "no Host is compared equal to {host:?}; write the name of the host alone, such as admin.example, without a scheme, a port or a path"
            ));
        }
    });
}

/// Whether a Host without its port can be that name.
fn is_host(host: &str) -> bool {
    let valid = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=limits::DNS_NAME_BYTES).contains(&host.len()) && host.chars().all(valid)
}
