//! Listeners: the addresses that clients connect to.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{AcceptProxy, Action, CertificateFiles, MutualAuthentication, Port, Rule, SslPolicy};

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
