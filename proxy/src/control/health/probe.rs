//! One check: a new connection, one request on it, and what the answer says.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use longshore_config::{Check, CheckMethod, CheckProtocol, Matcher, ProtocolVersion};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::super::threshold::Failure;
use super::body::{self, Wanted};
use super::grpc;
use crate::observe::check_log::Seen;
use crate::proxy_protocol;
use crate::tls::anybody;

/// How long what is left of an answer that fails anyway is read, so that the target does not see a
/// reset and log an error for each check.
const COURTESY: Duration = Duration::from_millis(100);

/// Errors of Linux that say nothing about a target: this process, or this host, has run out of
/// something or may not connect at all.
const OWN_ERRORS: [(i32, &str); 8] = [
    (1, "EPERM"),
    (12, "ENOMEM"),
    (13, "EACCES"),
    (23, "ENFILE"),
    (24, "EMFILE"),
    (97, "EAFNOSUPPORT"),
    (99, "EADDRNOTAVAIL"),
    (105, "ENOBUFS"),
];

/// A check, with all made that is the same each time.
pub(super) struct Probe {
    address: SocketAddr,
    /// What its connections begin with: a PROXY header, if one is wanted. There is no client, so
    /// that the check speaks for itself.
    beginning: Vec<u8>,
    timeout: Duration,
    is_h2: bool,
    tls: Option<TlsConnector>,
    /// None: only a connection.
    asked: Option<Asked>,
    /// What came back of the latest check, also of one that did not end in time.
    seen: Mutex<Seen>,
}

/// What is asked, and what must come.
struct Asked {
    head: Request<()>,
    body: Bytes,
    matcher: Matcher,
    answer: Answer,
}

/// How the answer is read.
enum Answer {
    Http(Wanted),
    /// `true`: it must say that the service serves.
    Grpc(bool),
}

impl Probe {
    /// # Errors
    /// If such a check cannot be made here.
    pub(super) fn new(address: SocketAddr, check: &Check) -> Result<Self, Failure> {
        let is_h2 = check.version != ProtocolVersion::Http1;
        let tls = if check.protocol == CheckProtocol::Https {
            let protocol: &[u8] = if is_h2 { b"h2" } else { b"http/1.1" };
            let config = anybody::client_config(&[protocol]).map_err(|e| internal(&e))?;
            Some(TlsConnector::from(Arc::new(config)))
        } else {
            None
        };
        let asked = if check.protocol == CheckProtocol::Tcp {
            None
        } else {
            Some(Asked::new(address, check)?)
        };
        let mut beginning = Vec::new();
        if let Some(version) = check.proxy_protocol {
            proxy_protocol::write(version, None, &mut beginning);
        }
        Ok(Self {
            address,
            beginning,
            timeout: check.timeout,
            is_h2,
            tls,
            asked,
            seen: Mutex::new(Seen::Nothing),
        })
    }

    /// What came back of the latest check.
    pub(super) fn seen(&self) -> Seen {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn saw(&self, seen: Seen) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }

    /// Makes the check. Has no time limit of its own.
    pub(super) async fn run(&self) -> Result<(), Failure> {
        self.saw(Seen::Nothing);
        let mut stream = TcpStream::connect(self.address).await.map_err(connecting)?;
        let begun = stream.write_all(&self.beginning).await;
        begun.map_err(|error| failed(&error))?;
        let Some(asked) = &self.asked else {
            return Ok(());
        };
        let Some(tls) = &self.tls else {
            return self.ask(stream, asked).await;
        };
        let name = ServerName::from(self.address.ip());
        let stream = tls.connect(name, stream).await;
        self.ask(stream.map_err(|error| failed(&error))?, asked)
            .await
    }

    async fn ask<S>(&self, stream: S, asked: &Asked) -> Result<(), Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let request = asked.head.clone().map(|()| Full::new(asked.body.clone()));
        let stream = TokioIo::new(stream);
        if self.is_h2 {
            let made = http2::handshake(TokioExecutor::new(), stream).await;
            let (mut sender, driver) = made.map_err(|error| failed(&error))?;
            self.drive(driver);
            let response = sender.send_request(request).await;
            let response = response.map_err(|error| failed(&error))?;
            asked.judge(response, |seen| self.saw(seen)).await
        } else {
            let made = http1::handshake(stream).await;
            let (mut sender, driver) = made.map_err(|error| failed(&error))?;
            self.drive(driver);
            let response = sender.send_request(request).await;
            let response = response.map_err(|error| failed(&error))?;
            asked.judge(response, |seen| self.saw(seen)).await
        }
    }

    /// Moves the bytes of a connection. It ends by itself when the request is done with, and then
    /// says good-bye (HTTP/2, TLS); a peer that does not let it is left after one more time limit.
    fn drive(&self, driver: impl Future<Output = hyper::Result<()>> + Send + 'static) {
        let driven = tokio::time::timeout(self.timeout * 2, driver);
        tokio::spawn(async move {
            let ended = driven.await;
            tracing::trace!(?ended, "the connection of a health check ended");
        });
    }
}

impl Asked {
    fn new(address: SocketAddr, check: &Check) -> Result<Self, Failure> {
        let is_h2 = check.version != ProtocolVersion::Http1;
        let is_grpc = check.version == ProtocolVersion::Grpc;
        let is_tls = check.protocol == CheckProtocol::Https;
        let mut fields = HeaderMap::new();
        let agent = HeaderValue::from_static("ELB-HealthChecker/2.0");
        fields.insert(USER_AGENT, agent);
        let host = HeaderValue::try_from(host(address, is_tls)).map_err(|e| internal(&e))?;
        fields.insert(HOST, host);
        if is_grpc {
            fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            fields.insert(TE, HeaderValue::from_static("trailers"));
        }
        for (name, value) in &check.headers {
            let name = HeaderName::try_from(name).map_err(|error| internal(&error))?;
            let value = HeaderValue::try_from(value.reveal()).map_err(|error| internal(&error))?;
            fields.insert(name, value);
        }
        let mut head = Request::new(());
        *head.method_mut() =
            Method::from_bytes(check.method.name().as_bytes()).map_err(|e| internal(&e))?;
        *head.uri_mut() = if is_h2 {
            // RFC 9113 §8.3.1: the Host goes into `:authority`.
            let host = fields.remove(HOST);
            Uri::builder()
                .scheme(if is_tls { "https" } else { "http" })
                .authority(host.as_ref().map_or(&b""[..], HeaderValue::as_bytes))
                .path_and_query(check.path.as_str())
                .build()
                .map_err(|error| internal(&error))?
        } else {
            fields.insert(CONNECTION, HeaderValue::from_static("close"));
            if check.method == CheckMethod::Post {
                // RFC 9110 §8.6: some servers answer 411 without it.
                fields.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            }
            check.path.parse().map_err(|error| internal(&error))?
        };
        if is_h2 {
            *head.version_mut() = Version::HTTP_2;
        }
        *head.headers_mut() = fields;
        let service = check.grpc_service.as_deref();
        Ok(Self {
            head,
            body: if is_grpc {
                grpc::request(service.unwrap_or_default())
            } else {
                Bytes::new()
            },
            matcher: check.matcher.clone(),
            answer: if is_grpc {
                Answer::Grpc(service.is_some())
            } else {
                let wanted = Wanted::new(check.body.as_ref());
                Answer::Http(wanted.map_err(|error| internal(&error))?)
            },
        })
    }

    async fn judge(&self, response: Response<Incoming>, saw: impl Fn(Seen)) -> Result<(), Failure> {
        match &self.answer {
            Answer::Http(wanted) => {
                saw(Seen::Code(response.status().as_u16()));
                self.judge_http(response, wanted).await
            }
            Answer::Grpc(must_serve) => {
                saw(Seen::Response);
                let code = grpc::read(response).await?;
                saw(Seen::Code(code.number));
                if !self.matcher.matches(code.number) {
                    return Err(Failure::Grpc(code.number));
                }
                match code.says_serving {
                    false if *must_serve && code.number == 0 => {
                        Err(Failure::Failed("the service does not serve".to_owned()))
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    async fn judge_http(
        &self,
        response: Response<Incoming>,
        wanted: &Wanted,
    ) -> Result<(), Failure> {
        let status = response.status().as_u16();
        let read = body::read(response.into_body());
        if !self.matcher.matches(status) {
            let read = tokio::time::timeout(COURTESY, read).await;
            tracing::trace!(?read, "the rest of a failed health check");
            return Err(Failure::Status(status));
        }
        let beginning = read.await.map_err(|error| failed(&error))?;
        if wanted.is_in(&beginning) {
            Ok(())
        } else {
            let why = format!("the body does not hold {}", wanted.shown());
            Err(Failure::Failed(why))
        }
    }
}

/// ALB: the address, and the port unless it is the protocol's own.
fn host(address: SocketAddr, is_tls: bool) -> String {
    let own = if is_tls { 443 } else { 80 };
    match address {
        SocketAddr::V4(address) if address.port() == own => address.ip().to_string(),
        SocketAddr::V6(address) if address.port() == own => format!("[{}]", address.ip()),
        address => address.to_string(),
    }
}

fn connecting(error: io::Error) -> Failure {
    let own = OWN_ERRORS
        .iter()
        .any(|(number, _)| error.raw_os_error() == Some(*number));
    if own {
        internal(&error)
    } else {
        failed(&error)
    }
}

pub(super) fn failed(error: &dyn std::error::Error) -> Failure {
    Failure::Failed(chain(error))
}

fn internal(error: &dyn std::error::Error) -> Failure {
    Failure::Internal(chain(error))
}

/// What an error says, and its causes: hyper's own words are only "connection error".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn the_host_has_its_port_unless_it_is_the_protocols_own() {
        for (address, is_tls, wanted) in [
            ("10.0.0.1:80", false, "10.0.0.1"),
            ("10.0.0.1:80", true, "10.0.0.1:80"),
            ("10.0.0.1:443", true, "10.0.0.1"),
            ("10.0.0.1:8080", false, "10.0.0.1:8080"),
            ("[2001:db8::1]:80", false, "[2001:db8::1]"),
            ("[2001:db8::1]:8080", false, "[2001:db8::1]:8080"),
        ] {
            let address = address.parse().expect("an address");
            assert_eq!(host(address, is_tls), wanted);
        }
    }
}
