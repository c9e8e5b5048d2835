//! nginx.

use super::{Kind, Setup, word_after};
use crate::failure::Result;
use crate::rows::{Frontend, Target};

pub(super) const KIND: Kind = Kind {
    name: "nginx",
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
    let Setup { listen, .. } = setup;
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
             proxy_set_header Connection \"\";",
            "proxy_set_header",
        ),
        Target::Grpc => ("grpc_pass grpc://app;", "grpc_set_header"),
    };
    format!(
        r#"daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
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
{servers}    keepalive 512;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{listen}{http2};
{tls}    location / {{
      {pass}
      {directive} Host $http_host;
      {directive} X-Forwarded-For $proxy_add_x_forwarded_for;
      {directive} X-Forwarded-Proto $scheme;
      {directive} X-Forwarded-Port $server_port;
    }}
  }}
}}
"#
    )
}
