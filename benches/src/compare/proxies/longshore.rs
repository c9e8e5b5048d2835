//! Longshore.

use super::{Kind, Setup, word_after};
use crate::failure::Result;
use crate::rows::Target;

pub(super) const KIND: Kind = Kind {
    name: "longshore",
    program: "longshore",
    version_argument: "--version",
    rewrites_loopback: false,
    version: |output| word_after(output, "longshore "),
    arguments,
};

fn arguments(setup: &Setup<'_>) -> Result<Vec<String>> {
    let config = setup.file("longshore.yaml", &config(setup))?;
    Ok(vec!["run".into(), "-c".into(), config])
}

/// A listener takes HTTP/1.1 and HTTP/2 alike.
fn config(setup: &Setup<'_>) -> String {
    let Setup { listen, .. } = setup;
    let targets =
        setup.each_target(|_, port| format!("      - {{address: 127.0.0.1, port: {port}}}\n"));
    let protocol = if setup.frontend.is_secure() {
        let (cert, key) = (&setup.certificate.cert, &setup.certificate.key);
        format!("HTTPS\n    certificates: [{{cert: {cert}, key: {key}}}]")
    } else {
        "HTTP".to_owned()
    };
    let (version, matcher) = match setup.target {
        Target::Http1 => ("HTTP1", "200-299"),
        Target::Grpc => ("GRPC", "0"),
    };
    format!(
        r#"runtime: {{workers: 1}}

listeners:
  - name: web
    address: 127.0.0.1:{listen}
    protocol: {protocol}
    default_action: [{{type: forward, target_group: app}}]

target_groups:
  - name: app
    protocol: HTTP
    protocol_version: {version}
    load_balancing_algorithm_type: round_robin
    health_check: {{path: /health, interval: 5, timeout: 2, healthy_threshold: 2, unhealthy_threshold: 2, matcher: "{matcher}"}}
    targets:
{targets}"#
    )
}
