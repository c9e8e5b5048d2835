//! Caddy.

use super::{Kind, Role, Setup, can_all, each_rule};
use crate::failure::Result;
use crate::rows::{Feature, Frontend, Target};

pub(super) const KIND: Kind = Kind {
    name: "caddy",
    role: Role::Peer,
    cannot: can_all,
    program: "caddy",
    version_argument: "version",
    rewrites_loopback: false,
    version: |output| output.split_ascii_whitespace().next()?.strip_prefix('v'),
    arguments,
};

/// It has as many threads as cores that it may use.
fn arguments(setup: &Setup<'_>) -> Result<Vec<String>> {
    let config = setup.file("Caddyfile", &config(setup))?;
    let words = ["run", "--adapter", "caddyfile", "--config", &config];
    Ok(words.map(str::to_owned).into())
}

fn config(setup: &Setup<'_>) -> String {
    let Setup { listen, .. } = setup;
    let scheme = match setup.target {
        Target::Http1 => "",
        Target::Grpc => "h2c://",
    };
    let targets = setup.each_target(|_, port| format!(" {scheme}127.0.0.1:{port}"));
    let (site, tls) = if setup.frontend.is_secure() {
        let (cert, key) = (&setup.certificate.cert, &setup.certificate.key);
        (
            format!("https://:{listen}"),
            format!("  tls {cert} {key}\n"),
        )
    } else {
        (format!("http://:{listen}"), String::new())
    };
    let protocols = match setup.frontend {
        Frontend::Http1 | Frontend::Http1Tls => "h1",
        Frontend::Http2 => "h1 h2c",
        Frontend::Http2Tls => "h1 h2",
    };
    let policy = match setup.feature {
        Feature::Sticky => "cookie target",
        _ => "round_robin",
    };
    let log = match setup.feature {
        Feature::Log => {
            "  log {\n    output file access.log {\n      roll_disabled\n    }\n    format json\n  }\n"
        }
        _ => "",
    };
    // A health check of it speaks HTTP/1.1 by itself, and HTTP/2 to targets that do.
    let proxy = format!(
        "reverse_proxy{targets} {{
      lb_policy {policy}
      health_uri /health
      health_interval 5s
      health_timeout 2s
      header_up X-Forwarded-Port {listen}
      transport http {{
        keepalive_idle_conns_per_host 512
        compression off
      }}
    }}"
    );
    let rules = each_rule(setup.feature, |_, path| {
        format!("  handle {path}* {{\n    {proxy}\n  }}\n")
    });
    format!(
        "{{
  admin off
  persist_config off
  auto_https off
  default_sni bench.test
  storage file_system data
  log default {{
    level ERROR
    exclude http.log.access
  }}
  servers {{
    protocols {protocols}
  }}
}}
{site} {{
  bind 127.0.0.1
{tls}{log}{rules}  handle {{
    {proxy}
  }}
}}
"
    )
}
