//! Envoy.

use super::{Kind, Role, Setup, can_all, each_rule, word_after};
use crate::failure::Result;
use crate::rows::{Feature, Frontend, Target};

pub(super) const KIND: Kind = Kind {
    name: "envoy",
    role: Role::Peer,
    cannot: can_all,
    program: "envoy",
    version_argument: "--version",
    // With `use_remote_address`, X-Forwarded-For gets an address of the machine when
    // the client's is a loopback one.
    rewrites_loopback: true,
    // commit/VERSION/state/build/TLS library
    version: |output| word_after(output, "version: ")?.split('/').nth(1),
    arguments,
};

fn arguments(setup: &Setup<'_>) -> Result<Vec<String>> {
    let config = setup.file("envoy.yaml", &config(setup))?;
    // Without hot restart there is no memory shared by number with another Envoy
    // of this machine.
    let workers = setup.workers.to_string();
    let words = [
        "--concurrency",
        &workers,
        "--disable-hot-restart",
        "--log-level",
        "warning",
        "-c",
        &config,
    ];
    Ok(words.map(str::to_owned).into())
}

/// The request id and the `x-envoy-` headers are off: nobody else here makes
/// them. The circuit breakers are as high as the connections of others.
fn config(setup: &Setup<'_>) -> String {
    let Setup {
        listen,
        connections,
        ..
    } = setup;
    let endpoints = setup.each_target(|_, port| {
        format!("        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}\n")
    });
    let codec = match setup.frontend {
        Frontend::Http1 | Frontend::Http1Tls => "HTTP1",
        Frontend::Http2 | Frontend::Http2Tls => "HTTP2",
    };
    let tls = if setup.frontend.is_secure() {
        let (cert, key) = (&setup.certificate.cert, &setup.certificate.key);
        let alpn = match setup.frontend {
            Frontend::Http2Tls => "h2",
            _ => "http/1.1",
        };
        format!(
            r#"      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [{alpn}]
            tls_certificates:
            - {{certificate_chain: {{filename: "{cert}"}}, private_key: {{filename: "{key}"}}}}
"#
        )
    } else {
        String::new()
    };
    let (protocol, check_codec) = match setup.target {
        Target::Http1 => ("", "HTTP1"),
        Target::Grpc => (
            r#"    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
"#,
            "HTTP2",
        ),
    };
    let rules = each_rule(setup.feature, |_, path| {
        format!(
            "              - {{match: {{prefix: {path}}}, route: {{cluster: app, timeout: 60s}}}}\n"
        )
    });
    let log = if setup.feature == Feature::Log {
        format!(
            r#"          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: "{}"
              log_format:
                json_format:
                  time: "%START_TIME%"
                  client: "%DOWNSTREAM_REMOTE_ADDRESS%"
                  request: "%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL%"
                  host: "%REQ(:AUTHORITY)%"
                  user_agent: "%REQ(USER-AGENT)%"
                  status: "%RESPONSE_CODE%"
                  received: "%BYTES_RECEIVED%"
                  sent: "%BYTES_SENT%"
                  took: "%DURATION%"
                  target: "%UPSTREAM_HOST%"
                  target_took: "%RESPONSE_DURATION%"
"#,
            setup.directory.join("access.log").display()
        )
    } else {
        String::new()
    };
    let sticky = if setup.feature == Feature::Sticky {
        r#"          - name: envoy.filters.http.stateful_session
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSession
              session_state:
                name: envoy.http.stateful_session.cookie
                typed_config:
                  "@type": type.googleapis.com/envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState
                  cookie: {name: TARGET, path: /, ttl: 3600s}
"#
    } else {
        ""
    };
    let upgrades = match setup.frontend {
        Frontend::Http1 => "          upgrade_configs: [{upgrade_type: websocket}]\n",
        _ => "",
    };
    format!(
        r#"static_resources:
  listeners:
  - name: web
    address: {{socket_address: {{address: 127.0.0.1, port_value: {listen}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: web
          codec_type: {codec}
          use_remote_address: true
          append_x_forwarded_port: true
          generate_request_id: false
{upgrades}{log}          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
{rules}              - {{match: {{prefix: /}}, route: {{cluster: app, timeout: 60s}}}}
          http_filters:
{sticky}          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
              suppress_envoy_headers: true
{tls}  clusters:
  - name: app
    type: STATIC
    connect_timeout: 5s
{protocol}    lb_policy: ROUND_ROBIN
    circuit_breakers:
      thresholds: [{{max_connections: {connections}, max_pending_requests: {connections}, max_requests: {connections}}}]
    health_checks:
    - timeout: 2s
      interval: 5s
      unhealthy_threshold: 2
      healthy_threshold: 2
      http_health_check: {{path: /health, codec_client_type: {check_codec}, expected_statuses: [{{start: 200, end: 300}}]}}
    load_assignment:
      cluster_name: app
      endpoints:
      - lb_endpoints:
{endpoints}"#
    )
}
