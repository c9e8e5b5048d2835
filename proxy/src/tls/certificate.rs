//! A certificate with its key: read from PEM, and what of it a choice depends on.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use x509_cert::der::Decode as _;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::time::Time;

/// Keys of elliptic curves (RFC 5480 §2.1.1).
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// The common name (X.520).
const CN: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// A certificate that can be served.
#[derive(Debug)]
pub struct Certificate {
    /// The chain and the key.
    pub key: Arc<CertifiedKey>,
    /// What a choice depends on.
    pub facts: Facts,
}

/// What the choice of a certificate depends on. ALB prefers the lowest of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The names that it is for, in lower case; `*.` begins those of a whole level.
    pub names: Vec<Box<str>>,
    /// It has an elliptic curve's key and not RSA's.
    pub is_ecdsa: bool,
    /// Bits of the hash that its signature is over.
    pub hash: u16,
    /// The length of its public key, in bytes of its encoding.
    pub key_bytes: usize,
    /// When it begins and ends to be valid, in seconds since 1970.
    pub not_before: u64,
    /// See `not_before`.
    pub not_after: u64,
}

impl Facts {
    /// Whether it is valid at a time.
    #[must_use]
    pub fn is_valid(&self, now: u64) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }
}

/// Which of the two files of a certificate is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `cert`.
    Cert,
    /// `key`.
    Key,
}

/// Reads a chain and its key.
///
/// # Errors
/// Which file is at fault, what is wrong with it, and the mend.
pub fn read(
    cert: &[u8],
    key: &[u8],
    provider: &CryptoProvider,
) -> Result<Certificate, (Part, String)> {
    let chain = chain(cert).map_err(|error| (Part::Cert, error))?;
    let facts = chain
        .first()
        .ok_or_else(|| "no certificate".to_owned())
        .and_then(facts)
        .map_err(|error| (Part::Cert, error))?;
    let key = private_key(key).map_err(|error| (Part::Key, error))?;
    let certified = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => (
            Part::Key,
            "it is the key of another certificate than the first one in `cert`; if the key is right, the order in `cert` may be wrong: the certificate first, then those that lead to a root".to_owned(),
        ),
        error => (
            Part::Key,
            format!("a key that cannot be used ({error}); RSA of 2048 to 8192 bits, and ECDSA on P-256, P-384 and P-521 can"),
        ),
    })?;
    Ok(Certificate {
        key: Arc::new(certified),
        facts,
    })
}

/// The certificates of a text in PEM, at least one.
///
/// # Errors
/// What is wrong, and the mend.
pub fn chain(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(|error| broken(&error))?;
    if chain.is_empty() {
        return Err(
            "no certificate in PEM (`-----BEGIN CERTIFICATE-----`) is in it; `openssl x509 -inform DER -in FILE` writes PEM"
                .to_owned(),
        );
    }
    Ok(chain)
}

fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        pem::Error::NoItemsFound if text.windows(9).any(|part| part == b"ENCRYPTED") => {
            "the key is encrypted; `openssl pkey -in FILE` writes it without a password".to_owned()
        }
        pem::Error::NoItemsFound => {
            "no private key in PEM (`-----BEGIN PRIVATE KEY-----`) is in it; `openssl pkey -inform DER -in FILE` writes PEM".to_owned()
        }
        error => broken(&error),
    })
}

fn broken(error: &pem::Error) -> String {
    format!("not PEM: {error}")
}

/// What a certificate says.
///
/// # Errors
/// What is wrong with it.
pub fn facts(certificate: &CertificateDer<'_>) -> Result<Facts, String> {
    let parsed = x509_cert::Certificate::from_der(certificate)
        .map_err(|error| format!("no X.509 certificate: {error}"))?;
    let tbs = &parsed.tbs_certificate;
    let seconds = |time: Time| time.to_unix_duration().as_secs();
    let key = &tbs.subject_public_key_info;
    Ok(Facts {
        names: names(&parsed),
        is_ecdsa: key.algorithm.oid == EC,
        key_bytes: key.subject_public_key.raw_bytes().len(),
        hash: hash(&parsed),
        not_before: seconds(tbs.validity.not_before),
        not_after: seconds(tbs.validity.not_after),
    })
}

/// RFC 9525 §2: the alternative names; the common name is for certificates that have none of them.
fn names(certificate: &x509_cert::Certificate) -> Vec<Box<str>> {
    let tbs = &certificate.tbs_certificate;
    let alternative = tbs.get::<SubjectAltName>().ok().flatten();
    let mut names: Vec<Box<str>> = match alternative {
        Some((_, all)) => all
            .0
            .iter()
            .filter_map(|name| match name {
                GeneralName::DnsName(name) => Some(name.as_str().to_ascii_lowercase().into()),
                _ => None,
            })
            .collect(),
        None => {
            let parts = tbs.subject.0.iter().flat_map(|part| part.0.iter());
            parts
                .filter(|part| part.oid == CN)
                .filter_map(|part| super::name::text(&part.value))
                .map(|name| name.to_ascii_lowercase().into())
                .collect()
        }
    };
    names.sort();
    names.dedup();
    names
}

/// The bits of the hash that the signature is over; 0 if it has none of its own.
fn hash(certificate: &x509_cert::Certificate) -> u16 {
    match certificate.signature_algorithm.oid.to_string().as_str() {
        // SHA-1 with RSA and with ECDSA.
        "1.2.840.113549.1.1.5" | "1.2.840.10045.4.1" => 160,
        "1.2.840.113549.1.1.11" | "1.2.840.10045.4.3.2" => 256,
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => 384,
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => 512,
        // RSASSA-PSS has its hash in its parameters, and is never used with less than SHA-256.
        "1.2.840.113549.1.1.10" => 256,
        _ => 0,
    }
}
