//! TLS: certificates, what clients have to show, and TLS to targets.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

/// A certificate and its private key, each a file in PEM. Both are looked at again while the
/// process runs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// The certificate, and after it those that lead to a root.
    pub cert: PathBuf,
    /// Its private key: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// What clients have to show (`mutual_authentication` of `aws_lb_listener`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MutualAuthentication {
    /// Whether a client's certificate is asked for, and who judges it.
    #[serde(default)]
    pub mode: MutualMode,
    /// With `verify`: files in PEM with the authorities that are trusted.
    #[serde(default)]
    pub trust_store: Vec<PathBuf>,
    /// With `verify`: files with lists of revoked certificates, in PEM.
    #[serde(default)]
    pub crl: Vec<PathBuf>,
    /// Whether clients are told the names of the trusted authorities (default `off`).
    #[serde(default)]
    pub advertise_trust_store_ca_names: Switch,
    /// With `verify`: a certificate that has expired counts all the same (default false).
    #[serde(default)]
    pub ignore_client_certificate_expiry: bool,
}

/// Who judges a client's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MutualMode {
    /// None is asked for.
    #[default]
    Off,
    /// The target: the client's certificates are handed on in `X-Amzn-Mtls-Clientcert`.
    Passthrough,
    /// The load balancer: without a certificate of a trusted authority there is no connection.
    Verify,
}

/// `on` or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    /// Off.
    #[default]
    Off,
    /// On.
    On,
}

/// TLS to the targets of a group with `protocol: HTTPS`. ALB has none of these keys: it encrypts
/// and verifies nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TargetTls {
    /// Whose certificates targets must have (default `off`, as at ALB: any will do).
    pub verify: TargetVerification,
    /// With `verify: ca_file`: a file in PEM with the authorities that are trusted.
    pub ca_file: Option<PathBuf>,
    /// The name that targets are asked for (SNI) and that a verified certificate must have. Absent:
    /// none is sent, and a verified certificate must have the target's address.
    pub server_name: Option<String>,
    /// The certificate that is shown to targets that ask for one.
    pub certificate: Option<CertificateFiles>,
}

/// Whose certificates targets must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TargetVerification {
    /// Anybody's.
    #[default]
    Off,
    /// Those of the authorities that the system trusts.
    System,
    /// Those of the authorities in `ca_file`.
    CaFile,
}
