//! Listeners: the addresses that clients connect to.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    AcceptProxy, Action, CertificateFiles, MutualAuthentication, OnByDefault, Policy, Port, Rule,
    SslPolicy,
};

/// An address with its rules (`aws_lb_listener`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Unique among listeners; used in logs, metrics and the `listening` line.
    pub name: String,
    /// Address and port. Either this or `port`.
    #[serde(default)]
    pub address: Option<SocketAddr>,
    /// A port on all addresses, IPv4 and IPv6. Either this or `address`.
    #[serde(default)]
    pub port: Option<Port>,
    /// `HTTP` or `HTTPS` (default `HTTP`).
    #[serde(default)]
    pub protocol: ListenerProtocol,
    /// For `HTTPS`: which versions and ciphers of TLS are spoken (default
    /// `ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09`, what the AWS console sets).
    #[serde(default)]
    pub ssl_policy: Option<SslPolicy>,
    /// For `HTTPS`: certificates. A client gets one for the name that it asks for; the first is for
    /// those that ask for another one, or for none.
    #[serde(default)]
    pub certificates: Vec<CertificateFiles>,
    /// For `HTTPS`: what clients have to show.
    #[serde(default)]
    pub mutual_authentication: Option<MutualAuthentication>,
    /// From whom PROXY headers are taken. Absent: from nobody.
    #[serde(default)]
    pub proxy_protocol: Option<AcceptProxy>,
    /// What happens to a request that no rule matches. Exactly one action.
    pub default_action: Vec<Action>,
    /// Rules; the one with the lowest priority number whose conditions all hold is taken.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// What else is done to all requests and responses, unless a rule's own policy says otherwise.
    #[serde(default)]
    pub policy: Option<Policy>,
    /// Whether answers that Longshore makes itself have a `server` field (default true).
    #[serde(default)]
    pub routing_http_response_server_enabled: OnByDefault,
    /// The value of `Strict-Transport-Security` in every response, in place of the target's own.
    #[serde(default)]
    pub routing_http_response_strict_transport_security_header_value: Option<String>,
    /// The value of `Access-Control-Allow-Origin` in every response, in place of the target's own.
    #[serde(default)]
    pub routing_http_response_access_control_allow_origin_header_value: Option<String>,
    /// The value of `Access-Control-Allow-Methods` in every response, in place of the target's own.
    #[serde(default)]
    pub routing_http_response_access_control_allow_methods_header_value: Option<String>,
    /// The value of `Access-Control-Allow-Headers` in every response, in place of the target's own.
    #[serde(default)]
    pub routing_http_response_access_control_allow_headers_header_value: Option<String>,
    /// The value of `Access-Control-Allow-Credentials` in every response, in place of the target's own.
    #[serde(default)]
    pub routing_http_response_access_control_allow_credentials_header_value: Option<String>,
    /// The value of `Access-Control-Expose-Headers` in every response, in place of the target's own.
    #[serde(default)]
    pub routing_http_response_access_control_expose_headers_header_value: Option<String>,
    /// The value of `Access-Control-Max-Age` in every response, in place of the target's own.
    #[serde(default)]
    pub routing_http_response_access_control_max_age_header_value: Option<String>,
    /// The value of `Content-Security-Policy` in every response, in place of the target's own.
    #[serde(default)]
    pub routing_http_response_content_security_policy_header_value: Option<String>,
    /// The value of `X-Content-Type-Options` in every response, in place of the target's own.
    #[serde(default)]
    pub routing_http_response_x_content_type_options_header_value: Option<String>,
    /// The value of `X-Frame-Options` in every response, in place of the target's own.
    #[serde(default)]
    pub routing_http_response_x_frame_options_header_value: Option<String>,
    /// Another name for the request field `X-Amzn-Mtls-Clientcert-Serial-Number`.
    #[serde(default)]
    pub routing_http_request_x_amzn_mtls_clientcert_serial_number_header_name: Option<String>,
    /// Another name for the request field `X-Amzn-Mtls-Clientcert-Issuer`.
    #[serde(default)]
    pub routing_http_request_x_amzn_mtls_clientcert_issuer_header_name: Option<String>,
    /// Another name for the request field `X-Amzn-Mtls-Clientcert-Subject`.
    #[serde(default)]
    pub routing_http_request_x_amzn_mtls_clientcert_subject_header_name: Option<String>,
    /// Another name for the request field `X-Amzn-Mtls-Clientcert-Validity`.
    #[serde(default)]
    pub routing_http_request_x_amzn_mtls_clientcert_validity_header_name: Option<String>,
    /// Another name for the request field `X-Amzn-Mtls-Clientcert-Leaf`.
    #[serde(default)]
    pub routing_http_request_x_amzn_mtls_clientcert_leaf_header_name: Option<String>,
    /// Another name for the request field `X-Amzn-Mtls-Clientcert`.
    #[serde(default)]
    pub routing_http_request_x_amzn_mtls_clientcert_header_name: Option<String>,
    /// Another name for the request field `X-Amzn-Tls-Version`.
    #[serde(default)]
    pub routing_http_request_x_amzn_tls_version_header_name: Option<String>,
    /// Another name for the request field `X-Amzn-Tls-Cipher-Suite`.
    #[serde(default)]
    pub routing_http_request_x_amzn_tls_cipher_suite_header_name: Option<String>,
}

/// What clients speak to a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
pub enum ListenerProtocol {
    /// Plain HTTP/1.0 and HTTP/1.1.
    #[default]
    #[serde(rename = "HTTP")]
    Http,
    /// HTTP over TLS.
    #[serde(rename = "HTTPS")]
    Https,
}

impl Listener {
    /// Where to listen: `address`, or `port` on all addresses.
    ///
    /// A validated listener has exactly one of the two.
    #[must_use]
    pub fn socket_address(&self) -> Option<SocketAddr> {
        self.address.or_else(|| {
            self.port
                .map(|port| SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port.number()))
        })
    }
}
