//! A listener's TLS: read from its files, and read again as they change.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use longshore_config::{CookieKey, Listener, MutualAuthentication, MutualMode};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};

use super::certificate::{self, Certificate, Part};
use super::choice::Certificates;
use super::clients;
use super::file::Watched;
use super::policy;
use super::ticket::Tickets;

/// What a handshake at a listener needs.
#[derive(Debug)]
pub struct ListenerTls {
    /// For rustls.
    pub config: Arc<ServerConfig>,
    /// Who judges clients' certificates.
    pub mutual: MutualMode,
    /// The certificates, for figures.
    pub certificates: Arc<Certificates>,
}

/// Something that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The key that names the file, such as `listeners[0].certificates[1].cert`.
    pub key: String,
    /// The file, what is wrong, and the mend.
    pub message: String,
    /// It can be served all the same.
    pub is_warning: bool,
}

/// The files of one listener.
#[derive(Debug)]
pub struct ListenerFiles {
    /// `listeners[0]`
    key: String,
    provider: Arc<CryptoProvider>,
    versions: Vec<&'static rustls::SupportedProtocolVersion>,
    tickets: Arc<Tickets>,
    /// HTTP/2 is offered.
    http2: bool,
    pairs: Vec<Pair>,
    mutual: MutualAuthentication,
    stores: Vec<Watched>,
    crls: Vec<Watched>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// What is wrong with the trust store or a list.
    clients_fault: Option<Fault>,
}

/// A certificate and its key.
#[derive(Debug)]
struct Pair {
    cert: Watched,
    key: Watched,
    /// The last good one.
    good: Option<Arc<Certificate>>,
    fault: Option<(Part, String)>,
}

impl Pair {
    /// Reads both files. What is no better than what is served is not taken.
    fn read(&mut self, provider: &CryptoProvider, now: Duration) {
        let read = self.try_read(provider, now).and_then(|new| {
            let now = now.as_secs();
            let serves_valid = self.good.as_ref().is_some_and(|old| old.facts.is_valid(now));
            if serves_valid && !new.facts.is_valid(now) {
                let message = "it has expired or is not valid yet, and the one that it should replace is; that one stays";
                return Err((Part::Cert, message.to_owned()));
            }
            Ok(new)
        });
        match read {
            Ok(new) => {
                self.good = Some(Arc::new(new));
                self.fault = None;
            }
            Err(fault) => self.fault = Some(fault),
        }
    }

    fn try_read(
        &mut self,
        provider: &CryptoProvider,
        now: Duration,
    ) -> Result<Certificate, (Part, String)> {
        // Both are read in any case, so that both are known not to have changed.
        let cert = self.cert.read(now).map_err(|error| (Part::Cert, error));
        let key = self.key.read(now).map_err(|error| (Part::Key, error));
        certificate::read(&cert?, &key?, provider)
    }

    fn has_changed(&self) -> bool {
        self.cert.has_changed() || self.key.has_changed()
    }
}

impl ListenerFiles {
    /// Reads the files of a listener with TLS. `ticket_keys` are the keys of session tickets.
    /// `http2`: clients are offered HTTP/2.
    #[must_use]
    pub fn read(
        index: usize,
        listener: &Listener,
        ticket_keys: &[CookieKey],
        http2: bool,
        now: Duration,
    ) -> Self {
        let ssl_policy = listener.ssl_policy.unwrap_or_default();
        let mutual = listener.mutual_authentication.clone().unwrap_or_default();
        let mut files = Self {
            key: format!("listeners[{index}]"),
            provider: policy::provider(ssl_policy),
            versions: policy::versions(ssl_policy),
            tickets: Arc::new(Tickets::new(ticket_keys, &listener.name)),
            http2,
            pairs: listener
                .certificates
                .iter()
                .map(|pair| Pair {
                    cert: Watched::new(&pair.cert),
                    key: Watched::new(&pair.key),
                    good: None,
                    fault: None,
                })
                .collect(),
            stores: mutual
                .trust_store
                .iter()
                .map(|path| Watched::new(path))
                .collect(),
            crls: mutual.crl.iter().map(|path| Watched::new(path)).collect(),
            mutual,
            verifier: None,
            clients_fault: None,
        };
        for pair in &mut files.pairs {
            pair.read(&files.provider, now);
        }
        files.read_clients(now);
        files
    }

    /// Reads again what may have changed. True if anything was read.
    pub fn look(&mut self, now: Duration) -> bool {
        let mut changed = false;
        for pair in self.pairs.iter_mut().filter(|pair| pair.has_changed()) {
            pair.read(&self.provider, now);
            changed = true;
        }
        if self
            .stores
            .iter()
            .chain(&self.crls)
            .any(Watched::has_changed)
        {
            self.read_clients(now);
            changed = true;
        }
        changed
    }

    /// Reads the trust store and the lists. What cannot be used leaves all as it was.
    fn read_clients(&mut self, now: Duration) {
        if self.mutual.mode != MutualMode::Verify {
            return;
        }
        let contents = |key: &'static str, files: &mut [Watched]| {
            let each = files.iter_mut().enumerate();
            each.map(|(index, file)| file.read(now).map_err(|error| (key, index, error)))
                .collect::<Vec<_>>()
        };
        let stores = contents("trust_store", &mut self.stores);
        let crls = contents("crl", &mut self.crls);
        let whole = |all: Vec<Result<Vec<u8>, _>>| all.into_iter().collect::<Result<Vec<_>, _>>();
        let made = whole(stores).and_then(|stores| {
            clients::verifier(&self.mutual, &stores, &whole(crls)?, &self.provider)
        });
        match made {
            Ok(verifier) => {
                self.verifier = Some(verifier);
                self.clients_fault = None;
            }
            Err((key, index, message)) => {
                let files = if key == "crl" {
                    &self.crls
                } else {
                    &self.stores
                };
                let path = files
                    .get(index)
                    .map(|file| file.path().display().to_string());
                self.clients_fault = Some(Fault {
                    key: format!("{}.mutual_authentication.{key}[{index}]", self.key),
                    message: format!("{}: {message}", path.unwrap_or_default()),
                    is_warning: false,
                });
            }
        }
    }

    /// What is wrong at this time, also with what is served.
    #[must_use]
    pub fn faults(&self, now: Duration) -> Vec<Fault> {
        let now = now.as_secs();
        let mut faults = Vec::new();
        for (index, pair) in self.pairs.iter().enumerate() {
            if let Some((part, message)) = &pair.fault {
                let (name, file) = match part {
                    Part::Cert => ("cert", &pair.cert),
                    Part::Key => ("key", &pair.key),
                };
                faults.push(Fault {
                    key: format!("{}.certificates[{index}].{name}", self.key),
                    message: format!("{}: {message}", file.path().display()),
                    is_warning: false,
                });
            } else if let Some(good) = &pair.good
                && !good.facts.is_valid(now)
            {
                let what = if good.facts.not_after < now {
                    "the certificate has expired; renew it"
                } else {
                    "the certificate is not valid yet"
                };
                faults.push(Fault {
                    key: format!("{}.certificates[{index}].cert", self.key),
                    message: format!("{}: {what}", pair.cert.path().display()),
                    is_warning: true,
                });
            }
        }
        faults.extend(self.clients_fault.clone());
        faults
    }

    /// The names of which no certificate is for.
    pub fn uncovered<'n>(&self, names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
        let good = self.pairs.iter().filter_map(|pair| pair.good.as_ref());
        let known: Vec<&str> = good
            .flat_map(|good| good.facts.names.iter().map(|name| &**name))
            .collect();
        let is_covered = |name: &str| {
            let name = name.to_ascii_lowercase();
            let level = name.split_once('.').map(|(_, rest)| format!("*.{rest}"));
            known
                .iter()
                .any(|known| *known == name || level.as_deref() == Some(*known))
        };
        names.filter(|name| !is_covered(name)).collect()
    }

    /// The files of the certificates that are served, and when each ends.
    pub fn ends(&self) -> impl Iterator<Item = (&std::path::Path, u64)> {
        self.pairs.iter().filter_map(|pair| {
            let good = pair.good.as_ref()?;
            Some((pair.cert.path(), good.facts.not_after))
        })
    }

    /// What handshakes need, of the last good files. None if the default certificate, or what
    /// clients are verified with, was never good.
    #[must_use]
    pub fn build(&self) -> Option<Arc<ListenerTls>> {
        self.pairs.first()?.good.as_ref()?;
        let all = self.pairs.iter().filter_map(|pair| pair.good.clone());
        let certificates = Arc::new(Certificates::new(all.collect()));
        let verifier: Arc<dyn ClientCertVerifier> = match self.mutual.mode {
            MutualMode::Off => WebPkiClientVerifier::no_client_auth(),
            MutualMode::Passthrough => Arc::new(clients::Passthrough(Arc::clone(&self.provider))),
            MutualMode::Verify => Arc::clone(self.verifier.as_ref()?),
        };
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&self.versions)
            // Each policy has suites for its versions; a test goes through them.
            .ok()?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::<Certificates>::clone(&certificates));
        config.alpn_protocols = policy::alpn(self.http2);
        // The server's order counts, as at ALB.
        config.ignore_client_order = true;
        // Nothing is kept for sessions but tickets, which every worker and replica can open.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if self.mutual.mode == MutualMode::Off {
            config.ticketer = Arc::<Tickets>::clone(&self.tickets);
        } else {
            // ALB resumes nothing with mutual TLS: a certificate that was revoked since would count.
            config.send_tls13_tickets = 0;
        }
        Some(Arc::new(ListenerTls {
            config: Arc::new(config),
            mutual: self.mutual.mode,
            certificates,
        }))
    }
}

impl ListenerTls {
    /// Whether clients have to show a certificate, which is verified.
    #[must_use]
    pub fn verifies(&self) -> bool {
        self.mutual == MutualMode::Verify
    }

    /// What targets are told of a client, as lines of a head: of its certificate, and of what was
    /// agreed on if `versions`.
    #[must_use]
    pub fn lines(&self, tls: &rustls::CommonState, versions: bool) -> String {
        let chain = tls.peer_certificates().unwrap_or_default();
        let mut lines = match self.mutual {
            MutualMode::Off => String::new(),
            MutualMode::Passthrough => clients::passthrough_line(chain),
            MutualMode::Verify => clients::verified_lines(chain),
        };
        if versions
            && let (Some(version), Some(suite)) =
                (tls.protocol_version(), tls.negotiated_cipher_suite())
        {
            // Writing to a String does not fail.
            write!(
                lines,
                "x-amzn-tls-version: {}\r\nx-amzn-tls-cipher-suite: {}\r\n",
                policy::version_name(version),
                policy::openssl_name(suite.suite())
            )
            .unwrap_or_default();
        }
        lines
    }
}
