//! nginx.

use super::{Kind, Role, Setup, can_all, each_rule, word_after};
use crate::failure::Result;
use crate::rows::{Feature, Frontend, Target};

pub(super) const KIND: Kind = Kind {
    name: "nginx",
    role: Role::Peer,
    cannot: can_all,
    program: "nginx",
    version_argument: "-v",
    rewrites_loopback: false,
    version: |output| word_after(output, "nginx/"),
    arguments,
};

fn arguments(setup: &Setup<'_>) -> Result<Vec<String>> {
    let config = setup.file("nginx.conf", &config(setup))?;
    let prefix = format!("{}/", setup.directory.display());
    // -e: the log of the time before the configuration is read has a fixed place
    // otherwise.
    let words = ["-p", &prefix, "-c", &config, "-e", "stderr"];
    Ok(words.map(str::to_owned).into())
}

/// The free edition has no active health checks; `max_fails` counts failed
/// requests. Connections are never closed for their number of requests: with the
/// default of 1000 the figures would include connecting again. The buffers are
/// those of HAProxy, 16 KiB, and never a file: with nginx's own of 4 KiB a 64 KiB
/// body costs it almost twice the CPU.
fn config(setup: &Setup<'_>) -> String {
    let Setup {
        listen,
        workers,
        connections,
        ..
    } = setup;
    let servers = setup.each_target(|_, port| {
        format!("    server 127.0.0.1:{port} max_fails=3 fail_timeout=5s;\n")
    });
    let http2 = match setup.frontend {
        Frontend::Http1 => "",
        Frontend::Http2 => " http2",
        Frontend::Http1Tls => " ssl",
        Frontend::Http2Tls => " ssl http2",
    };
    let tls = if setup.frontend.is_secure() {
        let (cert, key) = (&setup.certificate.cert, &setup.certificate.key);
        format!(
            "    ssl_certificate {cert};\n    ssl_certificate_key {key};\n    \
             ssl_protocols TLSv1.2 TLSv1.3;\n    ssl_session_cache shared:tls:10m;\n"
        )
    } else {
        String::new()
    };
    // The fields are the same, the directives are not. Connections that are kept are said with
    // a version and an empty field for HTTP/1.1, and are a matter of course with gRPC.
    let (pass, directive) = match setup.target {
        Target::Http1 => (
            "proxy_pass http://app;\n      proxy_http_version 1.1;\n      \
             proxy_set_header Connection $kept;\n      \
             proxy_set_header Upgrade $http_upgrade;",
            "proxy_set_header",
        ),
        Target::Grpc => ("grpc_pass grpc://app;", "grpc_set_header"),
    };
    let fields = [
        "Host $http_host",
        "X-Forwarded-For $proxy_add_x_forwarded_for",
        "X-Forwarded-Proto $scheme",
        "X-Forwarded-Port $server_port",
    ]
    .map(|field| format!("{directive} {field};"))
    .join(" ");
    let rules = each_rule(setup.feature, |_, path| {
        format!("    location {path} {{ {pass} {fields} }}\n")
    });
    let log = if setup.feature == Feature::Log {
        "log_format json escape=json '{\"time\":\"$time_iso8601\",\"client\":\"$remote_addr:$remote_port\",\
         \"request\":\"$request\",\"host\":\"$http_host\",\"user_agent\":\"$http_user_agent\",\
         \"status\":$status,\"received\":$request_length,\"sent\":$bytes_sent,\"took\":$request_time,\
         \"target\":\"$upstream_addr\",\"target_status\":\"$upstream_status\",\
         \"target_took\":\"$upstream_response_time\"}';\n  \
         access_log access.log json buffer=64k flush=1s;"
    } else {
        "access_log off;"
    };
    // The free edition of this age has no cookies for it: the same client, the same target.
    let stays = match setup.feature {
        Feature::Sticky => "    ip_hash;\n",
        _ => "",
    };
    format!(
        r#"daemon off;
worker_processes {workers};
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections {connections}; }}
http {{
  {log}
  map $http_upgrade $kept {{ default upgrade; "" ""; }}
  client_body_temp_path temp-body;
  proxy_temp_path temp-proxy;
  fastcgi_temp_path temp-fastcgi;
  uwsgi_temp_path temp-uwsgi;
  scgi_temp_path temp-scgi;
  keepalive_requests 1000000000;
  proxy_buffers 8 16k;
  proxy_busy_buffers_size 64k;
  proxy_max_temp_file_size 0;
  upstream app {{
{stays}{servers}    keepalive 512;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{listen}{http2};
{tls}{rules}    location / {{
      {pass}
      {fields}
    }}
  }}
}}
"#
    )
}
