//! Longshore.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::{Kind, Role, Setup, can_all, rule_path, word_after};
use crate::failure::Result;
use crate::rows::{Feature, Target};

pub(super) const KIND: Kind = Kind {
    name: "longshore",
    role: Role::Ours,
    cannot: can_all,
    program: "longshore",
    version_argument: "--version",
    rewrites_loopback: false,
    version: |output| word_after(output, "longshore "),
    arguments,
};

/// The first address of many targets, which are all one origin.
const FIRST: u32 = 0x7f01_0001;

fn arguments(setup: &Setup<'_>) -> Result<Vec<String>> {
    let config = setup.file("longshore.yaml", &config(setup))?;
    Ok(vec!["run".into(), "-c".into(), config])
}

/// A listener takes HTTP/1.1 and HTTP/2 alike.
fn config(setup: &Setup<'_>) -> String {
    let Setup {
        listen, workers, ..
    } = setup;
    let protocol = if setup.frontend.is_secure() {
        let (cert, key) = (&setup.certificate.cert, &setup.certificate.key);
        format!("HTTPS\n    certificates: [{{cert: {cert}, key: {key}}}]")
    } else {
        "HTTP".to_owned()
    };
    let top = if setup.feature == Feature::Log {
        let log = setup.directory.join("access.log");
        format!(
            "admin: {{address: 127.0.0.1:{}}}\nload_balancer: {{access_logs: {{path: '{}', format: json}}}}\n",
            listen ^ 1,
            log.display()
        )
    } else {
        String::new()
    };
    let mut rules = String::new();
    let mut rule = |index: usize, count: usize, group: &str| {
        let path = rule_path(index, count);
        // A String takes all that is written.
        let written = writeln!(
            rules,
            "      - {{priority: {}, condition: [{{path_pattern: {{values: ['{path}*']}}}}], \
             action: [{{type: forward, target_group: {group}}}]}}",
            index + 1
        );
        written.unwrap_or_default();
    };
    let groups = match setup.feature {
        Feature::Many { count, group } => {
            let groups = count.div_ceil(group);
            for index in 0..count {
                rule(index, count, &name(index % groups));
            }
            many(setup, count, group)
        }
        Feature::Rules(count) => {
            for index in 0..count {
                rule(index, count, "app");
            }
            app(setup)
        }
        Feature::Plain | Feature::Sticky | Feature::Log => app(setup),
    };
    let first = match setup.feature {
        Feature::Many { .. } => name(0),
        _ => "app".to_owned(),
    };
    let rules = if rules.is_empty() {
        rules
    } else {
        format!("    rules:\n{rules}")
    };
    format!(
        "runtime: {{workers: {workers}}}\n{top}\nlisteners:\n  - name: web\n    address: 127.0.0.1:{listen}\n    \
         protocol: {protocol}\n    default_action: [{{type: forward, target_group: {first}}}]\n{rules}\n\
         target_groups:\n{groups}"
    )
}

/// The one group of most rows.
fn app(setup: &Setup<'_>) -> String {
    let targets =
        setup.each_target(|_, port| format!("      - {{address: 127.0.0.1, port: {port}}}\n"));
    let (version, matcher) = match setup.target {
        Target::Http1 => ("HTTP1", "200-299"),
        Target::Grpc => ("GRPC", "0"),
    };
    let sticky = if setup.feature == Feature::Sticky {
        "    stickiness: {enabled: true, type: lb_cookie}\n"
    } else {
        ""
    };
    format!(
        r#"  - name: app
    protocol: HTTP
    protocol_version: {version}
    load_balancing_algorithm_type: round_robin
    health_check: {{path: /health, interval: 5, timeout: 2, healthy_threshold: 2, unhealthy_threshold: 2, matcher: "{matcher}"}}
{sticky}    targets:
{targets}"#
    )
}

fn name(group: usize) -> String {
    format!("group-{group}")
}

/// Groups of many targets, without health checks: those of 10,000 targets are work of their own.
fn many(setup: &Setup<'_>, count: usize, group: usize) -> String {
    let mut text = String::new();
    let mut address = FIRST;
    for index in 0..count.div_ceil(group) {
        text += &format!(
            "  - name: {}\n    health_check: {{enabled: false}}\n    targets:\n",
            name(index)
        );
        for _ in 0..group {
            let port = setup.targets[0];
            text += &format!(
                "      - {{address: {}, port: {port}}}\n",
                Ipv4Addr::from(address)
            );
            address += 1;
        }
    }
    text
}
