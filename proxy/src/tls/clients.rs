//! Mutual TLS: what clients have to show, and what targets are told of it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use longshore_config::{MutualAuthentication, Switch};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use x509_cert::der::Decode as _;

use super::certificate::{chain, facts};
use super::name;

/// The most certificates that a client may show (ALB: a depth of 4).
const CHAIN_MAX: usize = 4;

/// What is wrong with one that shows more.
pub(crate) const TOO_LONG: &str = "the chain is too long";

/// Whether no more is shown, beside the client's own certificate.
fn check_length(intermediates: &[CertificateDer<'_>]) -> Result<(), Error> {
    match intermediates.len() < CHAIN_MAX {
        true => Ok(()),
        false => Err(Error::General(TOO_LONG.to_owned())),
    }
}

/// A verifier for `mode: verify`. `stores` and `crls` are the contents of the files.
///
/// # Errors
/// The key and place of the file at fault, and what is wrong.
pub(crate) fn verifier(
    settings: &MutualAuthentication,
    stores: &[Vec<u8>],
    crls: &[Vec<u8>],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, (&'static str, usize, String)> {
    let mut roots = RootCertStore::empty();
    for (index, text) in stores.iter().enumerate() {
        for certificate in chain(text).map_err(|error| ("trust_store", index, error))? {
            roots.add(certificate).map_err(|error| {
                let message = format!("a certificate that cannot be an authority: {error}");
                ("trust_store", index, message)
            })?;
        }
    }
    let mut lists = Vec::new();
    for (index, text) in crls.iter().enumerate() {
        let read: Vec<_> = CertificateRevocationListDer::pem_slice_iter(text)
            .collect::<Result<_, _>>()
            .map_err(|error| ("crl", index, format!("not PEM: {error}")))?;
        if read.is_empty() {
            let message = "no list in PEM (`-----BEGIN X509 CRL-----`) is in it; `openssl crl -inform DER -in FILE` writes PEM";
            return Err(("crl", index, message.to_owned()));
        }
        // Read one by one, so that the file at fault has its name.
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots.clone()), Arc::clone(provider))
            .with_crls(read.iter().cloned())
            .build()
            .map_err(|error| ("crl", index, error.to_string()))?;
        lists.extend(read);
    }
    let mut builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
            .with_crls(lists)
            // As at ALB, certificates of an authority without a list are not revoked.
            .allow_unknown_revocation_status();
    if settings.advertise_trust_store_ca_names == Switch::Off {
        builder = builder.clear_root_hint_subjects();
    }
    let inner = builder
        .build()
        .map_err(|error| ("trust_store", 0, error.to_string()))?;
    Ok(Arc::new(Verify {
        inner,
        ignores_expiry: settings.ignore_client_certificate_expiry,
    }))
}

/// `mode: verify`.
#[derive(Debug)]
struct Verify {
    inner: Arc<dyn ClientCertVerifier>,
    ignores_expiry: bool,
}

impl ClientCertVerifier for Verify {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        check_length(intermediates)?;
        let verify = |at| self.inner.verify_client_cert(end_entity, intermediates, at);
        match verify(now) {
            Err(Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            )) if self.ignores_expiry => {
                // All else has to hold at the last moment at which it was valid.
                let facts = facts(end_entity)
                    .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
                let last = std::time::Duration::from_secs(facts.not_after);
                verify(UnixTime::since_unix_epoch(last))
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// `mode: passthrough`: a certificate is asked for, and the client must have its key; the rest is
/// for the target to judge.
#[derive(Debug)]
pub(crate) struct Passthrough(pub(crate) Arc<CryptoProvider>);

impl ClientCertVerifier for Passthrough {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        // The whole chain goes with each request, and stays as long as the connection.
        check_length(intermediates)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The fields for a client whose certificate was verified, as lines.
#[must_use]
pub(crate) fn verified_lines(chain: &[CertificateDer<'_>]) -> String {
    let Some(leaf) = chain.first() else {
        return String::new();
    };
    // It was verified, so it can be read.
    let Ok(parsed) = x509_cert::Certificate::from_der(leaf) else {
        return String::new();
    };
    let Shown {
        subject,
        validity,
        serial,
    } = Shown::new(&parsed);
    format!(
        "X-Amzn-Mtls-Clientcert-Serial-Number: {serial}\r\n\
         X-Amzn-Mtls-Clientcert-Issuer: {}\r\n\
         X-Amzn-Mtls-Clientcert-Subject: {subject}\r\n\
         X-Amzn-Mtls-Clientcert-Validity: {validity}\r\n\
         X-Amzn-Mtls-Clientcert-Leaf: {}\r\n",
        name::rfc2253(&parsed.tbs_certificate.issuer),
        encoded_pem(&chain[..1]),
    )
}

/// What is told of a certificate.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) subject: String,
    pub(crate) validity: String,
    pub(crate) serial: String,
}

/// What is told of a client's certificate, if it can be read.
pub(crate) fn shown(leaf: &CertificateDer<'_>) -> Option<Shown> {
    let parsed = x509_cert::Certificate::from_der(leaf).ok()?;
    Some(Shown::new(&parsed))
}

impl Shown {
    fn new(parsed: &x509_cert::Certificate) -> Self {
        let tbs = &parsed.tbs_certificate;
        let serial = tbs
            .serial_number
            .as_bytes()
            .iter()
            // DER puts a zero before a number that would look negative.
            .skip_while(|byte| **byte == 0)
            .map(|byte| format!("{byte:02X}"))
            .collect();
        // Written as `2026-11-27T08:00:00Z`.
        let (not_before, not_after) = (
            tbs.validity.not_before.to_date_time(),
            tbs.validity.not_after.to_date_time(),
        );
        Self {
            subject: name::rfc2253(&tbs.subject),
            validity: format!("NotBefore={not_before};NotAfter={not_after}"),
            serial,
        }
    }
}

/// The field for a client whose certificate nobody has judged, as a line.
#[must_use]
pub(crate) fn passthrough_line(chain: &[CertificateDer<'_>]) -> String {
    if chain.is_empty() {
        return String::new();
    }
    format!("X-Amzn-Mtls-Clientcert: {}\r\n", encoded_pem(chain))
}

/// PEM, in which everything is percent-encoded but letters, digits, `-._~` and, as ALB leaves them,
/// `+=/`.
fn encoded_pem(chain: &[CertificateDer<'_>]) -> String {
    use std::fmt::Write as _;
    let mut pem = String::new();
    for certificate in chain {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        let text = STANDARD.encode(certificate);
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (line, more) = rest.split_at(rest.len().min(64));
            pem.push_str(line);
            pem.push('\n');
            rest = more;
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    let mut out = String::with_capacity(pem.len() * 5 / 4);
    for byte in pem.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => out.push(char::from(byte)),
            b'-' | b'.' | b'_' | b'~' | b'+' | b'=' | b'/' => out.push(char::from(byte)),
            // Writing to a String does not fail.
            byte => write!(out, "%{byte:02X}").unwrap_or_default(),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        Arc, CHAIN_MAX, CertificateDer, ClientCertVerifier as _, CryptoProvider, Passthrough,
        UnixTime,
    };

    #[test]
    fn a_client_shows_no_more_certificates_than_allowed_also_where_the_target_judges_them() {
        let provider: CryptoProvider = rustls::crypto::aws_lc_rs::default_provider();
        let verifier = Passthrough(Arc::new(provider));
        let one = CertificateDer::from(vec![0]);
        let passes = |shown: usize| {
            let others = vec![one.clone(); shown - 1];
            let now = UnixTime::since_unix_epoch(Duration::ZERO);
            verifier.verify_client_cert(&one, &others, now).is_ok()
        };
        assert!(passes(CHAIN_MAX) && !passes(CHAIN_MAX + 1));
    }
}
