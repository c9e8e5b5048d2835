//! A side that can be loaded: where it is, and what is spoken there.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use crate::arguments::{Arguments, Http};
use crate::client::{self, Failure, Meter};
use crate::secure::{self, Trust};
use crate::target::{Target, beyond_loopback};

/// Which version of HTTP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

impl Version {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::One => "HTTP/1.1",
            Self::Two => "HTTP/2",
        }
    }

    fn alpn(self) -> &'static [u8] {
        match self {
            Self::One => b"http/1.1",
            Self::Two => b"h2",
        }
    }
}

/// A side.
pub(crate) struct Side {
    pub(crate) target: Target,
    /// Connections take one after the other, as a name may stand for several.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) tls: Option<(TlsConnector, ServerName<'static>)>,
    pub(crate) version: Version,
    /// The protocol and what is in it, such as `TLS 1.3, HTTP/2`.
    pub(crate) spoken: String,
    /// The status of the first response.
    pub(crate) status: u16,
    pub(crate) timeout: Duration,
    pub(crate) churn: bool,
    method: Method,
    uri: Uri,
    fields: HeaderMap,
    /// Requests take one after the other.
    bodies: Vec<Bytes>,
}

/// Resolves both, and refuses what must not be loaded. Nothing is sent to either.
pub(crate) async fn resolve(
    arguments: &Arguments,
) -> Result<[(Target, Vec<SocketAddr>); 2], Refusal> {
    let mut targets = [
        Target::parse("URL_A", &arguments.url_a)?,
        Target::parse("URL_B", &arguments.url_b)?,
    ];
    if let Some(path) = &arguments.path {
        targets
            .iter_mut()
            .for_each(|target| target.path.clone_from(path));
    }
    let [a, b] = &targets;
    if a.is_same(b) && !arguments.allow_equal {
        return Err(Refusal::Use(format!(
            "URL_A and URL_B are the same ({}): name two, or say --allow-equal to see how much \
             the measurement itself varies",
            a.url
        )));
    }
    let mut found = Vec::new();
    for (name, target) in ["URL_A", "URL_B"].into_iter().zip(&targets) {
        let wrong = |why: &str| format!("{name}: {}: {why}", target.url);
        let looked = tokio::net::lookup_host((target.host.as_str(), target.port)).await;
        let addresses: Vec<SocketAddr> = looked
            .map_err(|error| wrong(&format!("no address for {:?}: {error}", target.host)))
            .map_err(Refusal::Failed)?
            .collect();
        if addresses.is_empty() {
            return Err(Refusal::Failed(wrong("the name has no address")));
        }
        if let Some(beyond) = beyond_loopback(&addresses)
            && !arguments.yes_i_own_both
        {
            return Err(Refusal::Use(wrong(&format!(
                "{} is not this machine. Load on what is not yours is an attack: say \
                 --yes-i-own-both if you own both",
                beyond.ip()
            ))));
        }
        found.push(addresses);
    }
    let mut found = found.into_iter();
    Ok(targets.map(|target| (target, found.next().unwrap_or_default())))
}

/// Why nothing is measured.
pub(crate) enum Refusal {
    /// The command line is wrong.
    Use(String),
    /// It could not be done.
    Failed(String),
}

impl From<String> for Refusal {
    fn from(message: String) -> Self {
        Self::Use(message)
    }
}

impl Side {
    /// Connects and makes one request, to learn whether it can be done at all and what is spoken.
    pub(crate) async fn prepare(
        name: &str,
        target: Target,
        addresses: Vec<SocketAddr>,
        arguments: &Arguments,
    ) -> Result<Self, String> {
        let wrong = |why: String| format!("{name}: {}: {why}", target.url);
        let authority = arguments.host.clone().unwrap_or(target.authority.clone());
        let fields = fields(&authority, arguments).map_err(wrong)?;
        let scheme = if target.secure { "https" } else { "http" };
        let uri = Uri::builder()
            .scheme(scheme)
            .authority(authority.as_str())
            .path_and_query(target.path.as_str())
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        let bodies = arguments.body_size.iter();
        let mut bodies: Vec<Bytes> = bodies.map(|&size| Bytes::from(vec![b'x'; size])).collect();
        if bodies.is_empty() {
            bodies.push(Bytes::new());
        }
        let version = match arguments.http {
            Http::Two => Version::Two,
            Http::One | Http::Auto => Version::One,
        };
        let mut side = Self {
            tls: tls(&target, uri.host().unwrap_or_default(), arguments).map_err(wrong)?,
            version,
            spoken: String::new(),
            status: 0,
            timeout: arguments.timeout,
            churn: arguments.churn,
            method: arguments.method.clone(),
            uri,
            fields,
            bodies,
            addresses: Vec::new(),
            target: target.clone(),
        };
        let mut last = String::new();
        for address in addresses {
            match side.try_address(address).await {
                Ok(()) => side.addresses.push(address),
                Err(failure) => {
                    let port = address.port();
                    let hint = failure.hint(target.secure, port, arguments.ca.is_some());
                    last = format!("{address}: {}{hint}", failure.message);
                }
            }
        }
        if side.addresses.is_empty() {
            return Err(wrong(last));
        }
        // From here on only what was agreed on is offered, so that all connections are the same.
        if let Some((connector, _)) = &mut side.tls {
            let mut config = rustls::ClientConfig::clone(connector.config());
            config.alpn_protocols = vec![side.version.alpn().to_vec()];
            *connector = TlsConnector::from(Arc::new(config));
        }
        Ok(side)
    }

    /// Makes one request at an address, and learns what is spoken there.
    async fn try_address(&mut self, address: SocketAddr) -> Result<(), Failure> {
        let meter = Arc::new(Meter::default());
        let (stream, agreed, cipher) = client::connect(self, address, &meter, self.timeout).await?;
        let version = match agreed.as_deref() {
            Some(b"h2") => Version::Two,
            // Without ALPN a server of HTTP/2 may still be one.
            Some(_) => Version::One,
            None => self.version,
        };
        self.version = version;
        let mut sender = client::over(stream, version).await?;
        self.status = client::exchange(&mut sender, self.request(0), self.timeout).await?;
        self.spoken = match cipher {
            Some(tls) => format!("{tls}, {}", version.name()),
            None => version.name().to_owned(),
        };
        Ok(())
    }

    /// The request with a number.
    pub(crate) fn request(&self, number: u64) -> Request<Full<Bytes>> {
        let count = self.bodies.len().max(1) as u64;
        let body = self.bodies.get((number % count) as usize).cloned();
        let mut request = Request::new(Full::new(body.unwrap_or_default()));
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = self.fields.clone();
        match self.version {
            // Only the path, as servers are asked (RFC 9112 §3.2.1).
            Version::One => {
                let path = self.uri.path_and_query().cloned();
                *request.uri_mut() = path.map(Uri::from).unwrap_or_default();
                if self.churn {
                    let close = HeaderValue::from_static("close");
                    request.headers_mut().insert(header::CONNECTION, close);
                }
            }
            Version::Two => {
                *request.uri_mut() = self.uri.clone();
                *request.version_mut() = http::Version::HTTP_2;
                // `:authority` says it (RFC 9113 §8.3.1).
                request.headers_mut().remove(header::HOST);
            }
        }
        request
    }
}

fn fields(authority: &str, arguments: &Arguments) -> Result<HeaderMap, String> {
    let mut fields = HeaderMap::new();
    let host = HeaderValue::from_str(authority).map_err(|error| error.to_string())?;
    fields.insert(header::HOST, host);
    let agent = HeaderValue::from_static(concat!("longshore-compare/", env!("CARGO_PKG_VERSION")));
    fields.insert(header::USER_AGENT, agent);
    fields.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    for (name, _) in &arguments.headers {
        fields.remove(name);
    }
    for (name, value) in &arguments.headers {
        fields.append(name, value.clone());
    }
    Ok(fields)
}

fn tls(
    target: &Target,
    host: &str,
    arguments: &Arguments,
) -> Result<Option<(TlsConnector, ServerName<'static>)>, String> {
    if !target.secure {
        return Ok(None);
    }
    let trust = match (&arguments.ca, arguments.insecure) {
        (Some(path), _) => Trust::File(path),
        (None, true) => Trust::Anybody,
        (None, false) => Trust::System,
    };
    let protocols: &[&[u8]] = match arguments.http {
        Http::Auto => &[b"h2", b"http/1.1"],
        Http::One => &[b"http/1.1"],
        Http::Two => &[b"h2"],
    };
    let config = secure::config(trust, protocols, arguments.full_handshakes)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = match host.parse::<IpAddr>() {
        Ok(address) => ServerName::from(address),
        Err(_) => ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?,
    };
    Ok(Some((TlsConnector::from(Arc::new(config)), name)))
}
