//! The PROXY protocol, in and out.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::Cidr;

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Bytes.
    V2,
}

/// From whom a listener takes PROXY headers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptProxy {
    /// Networks of the proxies before the listener. Each of their connections must begin with a
    /// header, of either version; those of others must not.
    pub trusted: Vec<Cidr>,
}
