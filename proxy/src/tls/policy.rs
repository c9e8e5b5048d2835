//! ALB's security policies as rustls can express them.

use std::sync::Arc;

use longshore_config::SslPolicy;
use rustls::crypto::aws_lc_rs::{cipher_suite as suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion, version};

/// In ALB's order: the server takes the first of its own that the client offers.
const SUITES_13: [SupportedCipherSuite; 3] = [
    suite::TLS13_AES_128_GCM_SHA256,
    suite::TLS13_AES_256_GCM_SHA384,
    suite::TLS13_CHACHA20_POLY1305_SHA256,
];
const SUITES_12: [SupportedCipherSuite; 4] = [
    suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
];

const GROUPS_PQ: [&dyn SupportedKxGroup; 2] =
    [kx_group::X25519MLKEM768, kx_group::SECP256R1MLKEM768];
const GROUPS: [&dyn SupportedKxGroup; 3] =
    [kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];

/// Ciphers and groups of a policy.
#[must_use]
pub fn provider(policy: SslPolicy) -> Arc<CryptoProvider> {
    let mut suites = Vec::new();
    if policy.has_tls13() {
        suites.extend(SUITES_13);
    }
    if policy.has_tls12() {
        suites.extend(SUITES_12);
    }
    let mut groups = Vec::new();
    if policy.is_post_quantum() {
        groups.extend(GROUPS_PQ);
    }
    groups.extend(GROUPS);
    Arc::new(CryptoProvider {
        cipher_suites: suites,
        kx_groups: groups,
        ..default_provider()
    })
}

/// Versions of a policy.
#[must_use]
pub fn versions(policy: SslPolicy) -> Vec<&'static SupportedProtocolVersion> {
    let mut versions = Vec::new();
    if policy.has_tls13() {
        versions.push(&version::TLS13);
    }
    if policy.has_tls12() {
        versions.push(&version::TLS12);
    }
    versions
}

/// HTTP/2 in ALPN (RFC 9113 §3.1).
pub const H2: &[u8] = b"h2";

/// The protocols that a client is offered inside of TLS, the preferred first.
#[must_use]
pub fn alpn(http2: bool) -> Vec<Vec<u8>> {
    let all: [&[u8]; 3] = [H2, b"http/1.1", b"http/1.0"];
    let offered = if http2 { &all[..] } else { &all[1..] };
    offered.iter().map(|name| name.to_vec()).collect()
}

/// OpenSSL's name of a suite, which ALB's headers and logs use.
#[must_use]
pub fn openssl_name(suite: rustls::CipherSuite) -> &'static str {
    use rustls::CipherSuite as S;
    match suite {
        S::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        S::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        S::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        S::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        S::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        S::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        S::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        // No policy has another.
        _ => "unknown",
    }
}

/// The name of a version as ALB's headers and logs have it.
#[must_use]
pub fn version_name(version: rustls::ProtocolVersion) -> &'static str {
    match version {
        rustls::ProtocolVersion::TLSv1_3 => "TLSv1.3",
        rustls::ProtocolVersion::TLSv1_2 => "TLSv1.2",
        // No policy has another.
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use longshore_config::SslPolicy;

    use super::{openssl_name, provider, versions};

    #[test]
    fn every_policy_has_suites_for_each_of_its_versions_and_names_for_all() {
        for policy in SslPolicy::ALL {
            let provider = provider(policy);
            for version in versions(policy) {
                let has = |suite: &&rustls::SupportedCipherSuite| suite.version() == version;
                assert!(
                    provider.cipher_suites.iter().any(|suite| has(&suite)),
                    "{policy:?}"
                );
            }
            for suite in &provider.cipher_suites {
                assert_ne!(openssl_name(suite.suite()), "unknown");
            }
            let first = format!("{:?}", provider.kx_groups[0].name());
            assert_eq!(
                first.contains("MLKEM"),
                policy.is_post_quantum(),
                "{policy:?} {first}"
            );
        }
    }
}
