//! HAProxy.

use super::{Kind, Role, Setup, can_all, each_rule, word_after};
use crate::failure::Result;
use crate::rows::{Feature, Frontend, Target};

pub(super) const KIND: Kind = Kind {
    name: "haproxy",
    role: Role::Peer,
    cannot: can_all,
    program: "haproxy",
    version_argument: "-v",
    rewrites_loopback: false,
    version: |output| word_after(output, "HAProxy version "),
    arguments,
};

fn arguments(setup: &Setup<'_>) -> Result<Vec<String>> {
    let config = setup.file("haproxy.cfg", &config(setup))?;
    // -db: in the foreground.
    Ok(vec!["-db".into(), "-f".into(), config])
}

fn config(setup: &Setup<'_>) -> String {
    let Setup {
        listen,
        workers,
        connections,
        ..
    } = setup;
    let sticky = setup.feature == Feature::Sticky;
    // A check speaks what its server does.
    let (proto, version) = match setup.target {
        Target::Http1 => ("", "HTTP/1.1"),
        Target::Grpc => (" proto h2", "HTTP/2"),
    };
    let servers = setup.each_target(|index, port| {
        format!(
            "  server target{index} 127.0.0.1:{port}{proto} check inter 5s rise 2 fall 2{}\n",
            if sticky {
                format!(" cookie target{index}")
            } else {
                String::new()
            }
        )
    });
    let rules = each_rule(setup.feature, |_, path| {
        format!("  use_backend app if {{ path_beg {path} }}\n")
    });
    let cookie = if sticky {
        "  cookie TARGET insert indirect nocache\n"
    } else {
        ""
    };
    // Its log goes to standard output, which is a file here: by itself it writes to sockets only.
    let (log, lines) = if setup.feature == Feature::Log {
        (
            "  log stdout format raw local0\n",
            "  log global\n  log-format '{\"time\":\"%tr\",\"client\":\"%ci:%cp\",\
             \"request\":\"%[capture.req.method] %[capture.req.uri,json] %HV\",\
             \"status\":%ST,\"received\":%U,\"sent\":%B,\"took\":%Ta,\
             \"target\":\"%si:%sp\",\"server\":\"%s\",\"target_took\":%Tr}'\n",
        )
    } else {
        ("", "")
    };
    let both = &setup.certificate.both;
    let http2 = match setup.frontend {
        Frontend::Http1 => String::new(),
        Frontend::Http2 => " proto h2".to_owned(),
        Frontend::Http1Tls => format!(" ssl crt {both} alpn http/1.1"),
        Frontend::Http2Tls => format!(" ssl crt {both} alpn h2"),
    };
    let scheme = setup.frontend.scheme();
    format!(
        "\
global
  nbthread {workers}
  maxconn {connections}
{log}
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout check 2s

frontend web
  bind 127.0.0.1:{listen}{http2}
{lines}  option forwardfor
  http-request set-header X-Forwarded-Proto {scheme}
  http-request set-header X-Forwarded-Port %[dst_port]
{rules}  default_backend app

backend app
  balance roundrobin
{cookie}  http-reuse always
  option httpchk
  http-check send meth GET uri /health ver {version} hdr Host health.test
  http-check expect status 200-299
{servers}"
    )
}
