//! TLS to the targets of a group.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use longshore_config::{TargetGroup, TargetProtocol, TargetTls as Settings, TargetVerification};
use rustls::client::Resumption;
use rustls::client::UnbufferedClientConnection;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};

use super::anybody::Anybody;
use super::certificate::{self, Part, chain};
use super::file::Watched;
use super::listener::Fault;
use super::policy;

/// How many names a target has sessions for: it is reached by one.
const NAMES: usize = 1;

/// How connections to the targets of a group are secured.
#[derive(Debug, Clone)]
pub struct TargetTls {
    config: Arc<ClientConfig>,
    /// The name to ask for. None: the address.
    name: Option<ServerName<'static>>,
    /// Of all that it was made from, to tell whether a reload changes it.
    digest: [u8; 32],
}

impl TargetTls {
    /// Reads the files of a group. None if its targets have no TLS.
    ///
    /// # Errors
    /// What is wrong with a file. `index` is the group's place in the configuration.
    pub fn read(index: usize, group: &TargetGroup, now: Duration) -> Result<Option<Self>, Fault> {
        if group.protocol == TargetProtocol::Http {
            return Ok(None);
        }
        let settings = group.tls.clone().unwrap_or_default();
        make(&settings, now)
            .map(Some)
            .map_err(|(key, message)| Fault {
                key: format!("target_groups[{index}].tls.{key}"),
                message,
                is_warning: false,
            })
    }

    /// Whether two are the same in all that matters.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    /// The same with sessions of its own: those of one target open nothing at another, and would
    /// only take each other's place. `http2`: that is spoken inside, and nothing else.
    #[must_use]
    pub fn for_target(&self, http2: bool) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = vec![match http2 {
            true => policy::H2.to_vec(),
            false => b"http/1.1".to_vec(),
        }];
        config.resumption = Resumption::in_memory_sessions(NAMES);
        Self {
            config: Arc::new(config),
            ..self.clone()
        }
    }

    /// For rustls, without sessions.
    #[must_use]
    pub fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    /// The name that a target at this address is asked for.
    #[must_use]
    pub fn name(&self, address: IpAddr) -> ServerName<'static> {
        match &self.name {
            Some(name) => name.clone(),
            None => ServerName::IpAddress(address.into()),
        }
    }

    /// The beginning of a connection.
    ///
    /// # Errors
    /// If there are no random bytes.
    pub fn connection(&self, address: IpAddr) -> io::Result<UnbufferedClientConnection> {
        UnbufferedClientConnection::new(Arc::clone(&self.config), self.name(address))
            .map_err(io::Error::other)
    }
}

fn make(settings: &Settings, now: Duration) -> Result<TargetTls, (&'static str, String)> {
    let mut digest = Context::new(&SHA256);
    digest.update(format!("{settings:?}").as_bytes());
    let mut read = |key: &'static str, path: &std::path::Path| {
        let bytes = Watched::new(path)
            .read(now)
            .map_err(|error| (key, format!("{}: {error}", path.display())))?;
        digest.update(&bytes);
        Ok(bytes)
    };
    // Whatever rustls has, and not a policy: the targets are the operator's own.
    let provider = Arc::new(default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| ("verify", error.to_string()))?;
    let builder = match (settings.verify, &settings.ca_file) {
        (TargetVerification::Off, _) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(Arc::clone(&provider)))),
        (TargetVerification::System, _) => builder.with_root_certificates(system_roots()?),
        (TargetVerification::CaFile, path) => {
            let path = path.clone().unwrap_or_default();
            let at = |error| ("ca_file", format!("{}: {error}", path.display()));
            let mut roots = RootCertStore::empty();
            for certificate in chain(&read("ca_file", &path)?).map_err(at)? {
                roots
                    .add(certificate)
                    .map_err(|error| at(format!("no authority: {error}")))?;
            }
            builder.with_root_certificates(roots)
        }
    };
    let config = match &settings.certificate {
        None => builder.with_no_client_auth(),
        Some(files) => {
            let cert = read("certificate.cert", &files.cert)?;
            let key = read("certificate.key", &files.key)?;
            let own = certificate::read(&cert, &key, &provider).map_err(|(part, error)| {
                let (key, path) = match part {
                    Part::Cert => ("certificate.cert", &files.cert),
                    Part::Key => ("certificate.key", &files.key),
                };
                (key, format!("{}: {error}", path.display()))
            })?;
            builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(
                rustls::sign::CertifiedKey::clone(&own.key),
            )))
        }
    };
    let name = settings.server_name.clone().map(ServerName::try_from);
    let name = name.transpose().map_err(|_| {
        let message = "expected the name of a host".to_owned();
        ("server_name", message)
    })?;
    let mut made = [0; 32];
    made.copy_from_slice(digest.finish().as_ref());
    Ok(TargetTls {
        config: Arc::new(config),
        name,
        digest: made,
    })
}

fn system_roots() -> Result<RootCertStore, (&'static str, String)> {
    let loaded = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some systems have authorities that rustls does not understand; the others count.
    let (added, _) = roots.add_parsable_certificates(loaded.certs);
    if added == 0 {
        let message = "the system has no trusted authorities (the package ca-certificates brings them); name a file with `verify: ca_file`";
        return Err(("verify", message.to_owned()));
    }
    Ok(roots)
}
