//! Health checks: one task for each endpoint, however many workers there are.

use std::net::SocketAddr;
use std::time::Duration;

use http::header::{CONNECTION, HOST, USER_AGENT};
use http::{HeaderValue, Request};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use longshore_config::{HealthCheck, ProxyProtocol};
use longshore_discovery::backoff;
use rand::Rng;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::threshold::Failure;
use crate::proxy_protocol;

/// How soon a target that has never passed is checked again: a new target should not wait for the
/// interval because it was asked a moment too early.
const UNTIL_FIRST_PASS: Duration = Duration::from_secs(1);

/// The most of a response body that is read before the connection is closed.
const BODY_MAX: usize = 64 * 1024;

/// Checks a target until the task is aborted, at once and then at the interval, and tells each
/// result. Returns when nobody listens.
pub(crate) async fn watch<F: Future<Output = bool>>(
    target: SocketAddr,
    check: HealthCheck,
    announced: Option<ProxyProtocol>,
    mut rng: impl Rng,
    tell: impl Fn(Result<(), Failure>) -> F,
) {
    let interval = check.interval.get();
    let mut passed = false;
    loop {
        let probe = probe(target, &check, announced);
        let result = match tokio::time::timeout(check.timeout.get(), probe).await {
            Ok(result) => result,
            Err(_) => Err(Failure::Timeout),
        };
        passed |= result.is_ok();
        if !tell(result).await {
            return;
        }
        let wait = if passed {
            interval
        } else {
            interval.min(UNTIL_FIRST_PASS)
        };
        tokio::time::sleep(backoff::jittered(wait, &mut rng)).await;
    }
}

/// One check, as ALB makes it: GET on a new connection, which is closed after it.
async fn probe(
    target: SocketAddr,
    check: &HealthCheck,
    announced: Option<ProxyProtocol>,
) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Failed(error.to_string());
    let port = check.port.map_or(target.port(), |port| port.number());
    let address = SocketAddr::new(target.ip(), port);
    let mut stream = TcpStream::connect(address)
        .await
        .map_err(|error| failed(&error))?;
    if let Some(version) = announced {
        // There is no client: the check speaks for itself.
        let mut header = Vec::new();
        proxy_protocol::write(version, None, &mut header);
        stream
            .write_all(&header)
            .await
            .map_err(|error| failed(&error))?;
    }
    let (mut sender, driver) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(&error))?;
    let request = Request::builder()
        .uri(&check.path)
        .header(HOST, host(address))
        .header(
            USER_AGENT,
            HeaderValue::from_static("ELB-HealthChecker/2.0"),
        )
        .header(CONNECTION, HeaderValue::from_static("close"))
        .body(Empty::<bytes::Bytes>::new())
        .map_err(|error| failed(&error))?;
    let exchange = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| failed(&error))?;
        let status = response.status().as_u16();
        // Read to its end, so that the target does not see a reset and log an error for each
        // check; but not more than a health page can sensibly have.
        let body = http_body_util::Limited::new(response.into_body(), BODY_MAX);
        if let Err(error) = body.collect().await {
            tracing::trace!(%error, "the body of a health check was not read to its end");
        }
        if check.matcher.matches(status) {
            Ok(())
        } else {
            Err(Failure::Status(status))
        }
    };
    // A target may close the connection right after its answer, so the end of the driver is not
    // the end of the check: what was read by then is still to be judged, and if it is too little
    // the exchange itself fails.
    let driven = async {
        let ended = driver.await;
        tracing::trace!(?ended, "the connection of a health check ended");
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        result = exchange => result,
        () = driven => Err(Failure::Failed("the connection ended".to_owned())),
    }
}

/// ALB: the address, and the port unless it is the protocol's own.
fn host(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) if address.port() == 80 => address.ip().to_string(),
        SocketAddr::V6(address) if address.port() == 80 => format!("[{}]", address.ip()),
        address => address.to_string(),
    }
}
