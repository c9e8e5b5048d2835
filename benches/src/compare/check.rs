//! Before anything is measured: does the proxy do what all are to do?

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::failure::{Context as _, Failure, Result, fail};
use crate::interrupt;
use crate::load;
use crate::process::{self, Running};
use crate::proxies::Role;
use crate::proxies::Started;
use crate::rows::{Feature, Frontend, Row, Target};

/// Time until a proxy must answer correctly: two health checks five seconds
/// apart, and some more on a busy machine.
const READY: Duration = Duration::from_secs(20);
const ANSWER: Duration = Duration::from_secs(2);
/// More than any answer that is asked for here.
const ANSWER_LIMIT: u64 = 4 * 1024 * 1024;
/// What stands before a message of gRPC.
const GRPC_PREFIX: usize = 5;
/// Requests in which every target must have been seen.
const SPREAD_OVER: usize = 16;

/// Waits until the proxy answers as it must, and says what is wrong if it does
/// not come to that.
pub(crate) fn proxy(started: &mut Started, row: &Row, targets: usize, core: usize) -> Result<()> {
    let begin = Instant::now();
    loop {
        started.process.expect_alive()?;
        let wrong = match once(started, row, targets, core) {
            Ok(()) => return Ok(()),
            Err(Failure(wrong)) => wrong,
        };
        if begin.elapsed() > READY {
            let why = format!("does not answer correctly after {READY:?}: {wrong}");
            return Err(started.process.failure(&why));
        }
        interrupt::pause(Duration::from_millis(100))?;
    }
}

/// How long after its start a proxy gives the right answer, in milliseconds. Only over HTTP/1.1
/// without TLS: there a look takes no program that has to start itself.
pub(crate) fn started_in(started: &mut Started, row: &Row) -> Result<Option<f64>> {
    if (row.frontend, row.target) != (Frontend::Http1, Target::Http1) {
        return Ok(None);
    }
    loop {
        if http1(started.address, &row.path(), ANSWER)
            .is_ok_and(|body| expect_body(&body, row).is_ok())
        {
            return Ok(Some(started.since.elapsed().as_secs_f64() * 1e3));
        }
        started.process.expect_alive()?;
        if started.since.elapsed() > READY {
            // The check says what is wrong.
            return Ok(None);
        }
        interrupt::pause(Duration::from_millis(1))?;
    }
}

/// What a client with cookies sends after its first answer. None if there were none.
pub(crate) fn cookie(started: &Started, row: &Row) -> Result<Option<String>> {
    let mut stream = TcpStream::connect_timeout(&started.address, ANSWER)
        .context(|| format!("cannot connect to {}", started.address))?;
    let mut received = Vec::new();
    stream
        .set_read_timeout(Some(ANSWER))
        .and_then(|()| {
            let (path, host) = (row.path(), started.address);
            write!(
                stream,
                "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            )
        })
        .and_then(|()| stream.read_to_end(&mut received))
        .context(|| "cannot ask for a cookie".into())?;
    Ok(cookies(&String::from_utf8_lossy(&received)))
}

fn cookies(answer: &str) -> Option<String> {
    let pairs: Vec<&str> = answer
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"))
        .filter_map(|(_, value)| value.trim().split(';').next())
        .collect();
    (!pairs.is_empty()).then(|| pairs.join("; "))
}

/// Checks that the origin itself answers `row`.
pub(crate) fn origin(address: SocketAddr, row: &Row, core: usize, directory: &Path) -> Result<()> {
    let path = row.path();
    let body = match row.target {
        Target::Http1 => http1(address, &path, ANSWER)?,
        Target::Grpc => Curl { directory, core }.call(address, Frontend::Http2, row, &path)?,
    };
    expect_body(&body, row)
}

fn once(started: &Started, row: &Row, targets: usize, core: usize) -> Result<()> {
    let curl = Curl {
        directory: &started.directory,
        core,
    };
    let address = started.address;
    let ask = |path: &str| match (row.target, row.frontend) {
        (Target::Grpc, frontend) => curl.call(address, frontend, row, path),
        (Target::Http1, Frontend::Http1) => http1(address, path, ANSWER),
        (Target::Http1, Frontend::Http2) => http2(started, path, core),
        (Target::Http1, Frontend::Http1Tls) => curl.get(address, "--http1.1", path),
        (Target::Http1, Frontend::Http2Tls) => curl.get(address, "--http2", path),
    };
    expect_body(&ask(&row.path())?, row)?;
    let targets = match started.feature {
        // One client stays at one target; of many, all are one origin.
        Feature::Sticky | Feature::Many { .. } => 1,
        Feature::Plain | Feature::Rules(_) | Feature::Log => targets,
    };
    if started.kind.role == Role::Floor {
        return Ok(());
    }
    let mut seen = BTreeSet::new();
    for _ in 0..SPREAD_OVER {
        let echo = ask("/headers")?;
        let text = match row.target {
            Target::Http1 => &echo[..],
            Target::Grpc => echo.get(GRPC_PREFIX..).unwrap_or_default(),
        };
        let echo = String::from_utf8_lossy(text);
        let port = started.address.port();
        let scheme = row.frontend.scheme();
        seen.insert(echoed(&echo, scheme, port, started.kind.rewrites_loopback)?);
        if seen.len() == targets {
            return Ok(());
        }
    }
    fail(format!(
        "{SPREAD_OVER} requests reached {} of {targets} targets",
        seen.len()
    ))
}

fn expect_body(body: &[u8], row: &Row) -> Result<()> {
    if body == row.answer() {
        return Ok(());
    }
    fail(format!(
        "{} answered {} bytes that are not the {} of the origin",
        row.path(),
        body.len(),
        row.answer().len()
    ))
}

/// Checks a request as the origin saw it and returns which target that was.
fn echoed(echo: &str, scheme: &str, port: u16, rewrites_loopback: bool) -> Result<String> {
    let value = |name: &str| {
        echo.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    };
    let port = port.to_string();
    let client = match value("x-forwarded-for") {
        // Whatever it is, it must be one address.
        Some(found) if rewrites_loopback && found.parse::<IpAddr>().is_ok() => found,
        _ => "127.0.0.1",
    };
    for (name, expected) in [
        ("x-forwarded-for", client),
        ("x-forwarded-proto", scheme),
        ("x-forwarded-port", &port),
    ] {
        match value(name) {
            Some(found) if found == expected => {}
            Some(found) => {
                return fail(format!("{name} is {found}, not {expected}, at the origin"));
            }
            None => return fail(format!("{name} is missing at the origin")),
        }
    }
    if value("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
        return fail("the connection to the origin is not kept");
    }
    match value("listener") {
        Some(listener) => Ok(listener.into()),
        None => fail("/headers was not answered by the origin"),
    }
}

/// The body of a 200 answer over HTTP/1.1, which comes within `limit`.
pub(crate) fn http1(address: SocketAddr, path: &str, limit: Duration) -> Result<Vec<u8>> {
    let connected = TcpStream::connect_timeout(&address, ANSWER);
    let mut stream = connected.context(|| format!("cannot connect to {address}"))?;
    stream
        .set_read_timeout(Some(limit))
        .and_then(|()| {
            // No `Connection: close`, so that one seen at the origin is the proxy's.
            let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
            stream.write_all(request.as_bytes())
        })
        .context(|| format!("cannot ask for {path}"))?;
    let mut received = Vec::new();
    let begin = Instant::now();
    let mut chunk = vec![0; 64 * 1024];
    loop {
        if let Some(body) = complete(&received, path)? {
            return Ok(body);
        }
        let too_much = received.len() as u64 > ANSWER_LIMIT;
        if too_much || begin.elapsed() > limit {
            return fail(format!("{path}: no complete answer"));
        }
        let count = stream.read(&mut chunk).context(|| path.to_owned())?;
        if count == 0 {
            return fail(format!("{path}: closed after {} bytes", received.len()));
        }
        received.extend_from_slice(&chunk[..count]);
    }
}

/// The body, once all of it is there.
fn complete(received: &[u8], path: &str) -> Result<Option<Vec<u8>>> {
    let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&received[..end]);
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        let why = String::from_utf8_lossy(&received[end + 4..]);
        return fail(format!("{path}: {status}: {why}"));
    }
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok());
    let Some(length) = length else {
        return fail(format!("{path}: no Content-Length in {head}"));
    };
    Ok(received[end + 4..].get(..length).map(<[u8]>::to_vec))
}

/// The body of an answer over HTTP/2 with prior knowledge. nghttp says no status,
/// but a body that only the origin makes comes with no other than 200.
fn http2(started: &Started, path: &str, core: usize) -> Result<Vec<u8>> {
    let program = process::find("nghttp")?;
    let url = format!("http://{}{path}", started.address);
    let mut client = Running::start("nghttp", &program, &[url], core, &started.directory)?;
    Ok(client.finish(ANSWER, &mut |_| Ok(()))?.into_bytes())
}

/// What curl is started with.
struct Curl<'run> {
    directory: &'run Path,
    core: usize,
}

impl Curl<'_> {
    /// The body of an answer over TLS.
    fn get(&self, address: SocketAddr, version: &str, path: &str) -> Result<Vec<u8>> {
        self.run(&[version, &format!("https://{address}{path}")])
    }

    /// The body of an answer to a call of gRPC, which must end with the status 0.
    fn call(
        &self,
        address: SocketAddr,
        frontend: Frontend,
        row: &Row,
        path: &str,
    ) -> Result<Vec<u8>> {
        let version = match frontend {
            Frontend::Http2Tls => "--http2",
            _ => "--http2-prior-knowledge",
        };
        let head = self.directory.join("curl-head");
        let body = self.run(&[
            version,
            "--dump-header",
            &head.display().to_string(),
            "--header",
            "Content-Type: application/grpc",
            "--header",
            "TE: trailers",
            "--data-binary",
            &format!("@{}", load::grpc_call(row, self.directory)?.display()),
            &format!("{}://{address}{path}", frontend.scheme()),
        ])?;
        let head = std::fs::read_to_string(&head).context(|| format!("no {}", head.display()))?;
        expect_grpc_ok(&head, path)?;
        Ok(body)
    }

    /// The body that it wrote. It says if the status of HTTP is an error.
    fn run(&self, words: &[&str]) -> Result<Vec<u8>> {
        let program = process::find("curl")?;
        let body = self.directory.join("curl-body");
        let always = ["-skf", "-o", "curl-body"];
        let words: Vec<String> = always
            .iter()
            .chain(words)
            .map(ToString::to_string)
            .collect();
        let mut client = Running::start("curl", &program, &words, self.core, self.directory)?;
        client.finish(ANSWER, &mut |_| Ok(()))?;
        std::fs::read(&body).context(|| format!("no answer in {}", body.display()))
    }
}

/// Looks for the status among the trailers, which curl writes behind the head and an empty line.
fn expect_grpc_ok(head: &str, path: &str) -> Result<()> {
    let trailers = head.split_once("\r\n\r\n").map_or("", |(_, after)| after);
    let status = trailers
        .lines()
        .find_map(|line| line.strip_prefix("grpc-status:"));
    match status.map(str::trim) {
        Some("0") => Ok(()),
        Some(other) => fail(format!("{path}: grpc-status {other}")),
        None => fail(format!("{path}: no grpc-status behind the answer: {head}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ECHO: &str = "listener: 1\r\nGET /headers HTTP/1.1\r\nHost: a:80\r\n\
        x-forwarded-for: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Port: 81\r\n\r\n";

    #[test]
    fn the_echo_must_show_who_asked_and_how() {
        assert_eq!(echoed(ECHO, "http", 81, false).unwrap(), "1");
        let wrong = echoed(ECHO, "http", 82, false).unwrap_err().to_string();
        assert!(wrong.contains("x-forwarded-port is 81, not 82"), "{wrong}");
        let other = ECHO.replace("127.0.0.1", "192.0.2.1");
        assert!(echoed(&other, "http", 81, false).is_err());
        assert_eq!(echoed(&other, "http", 81, true).unwrap(), "1");
        assert!(echoed(&other.replace("192.", "x"), "http", 81, true).is_err());
        let missing = ECHO.replace("x-forwarded-for", "x-other");
        assert!(echoed(&missing, "http", 81, false).is_err());
        let closing = ECHO.replace("Host: a:80", "Connection: close");
        assert!(echoed(&closing, "http", 81, false).is_err());
    }

    #[test]
    fn a_client_sends_back_all_cookies_without_their_attributes() {
        let answer =
            "HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nset-cookie: b=2\r\n\r\nset-cookie: c=3";
        assert_eq!(cookies(answer), Some("a=1; b=2".into()));
        assert_eq!(cookies("HTTP/1.1 200 OK\r\n\r\n"), None);
    }

    #[test]
    fn the_status_of_a_call_is_a_trailer() {
        let head = "HTTP/2 200 \r\ncontent-type: application/grpc\r\n\r\n";
        assert!(expect_grpc_ok(&format!("{head}grpc-status: 0\r\n"), "/").is_ok());
        assert!(expect_grpc_ok(&format!("{head}grpc-status: 12\r\n"), "/").is_err());
        assert!(expect_grpc_ok(head, "/").is_err());
    }

    #[test]
    fn an_answer_is_complete_with_its_last_byte() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(complete(answer, "/").unwrap(), Some(b"abc".to_vec()));
        assert_eq!(complete(&answer[..40], "/").unwrap(), None);
        assert_eq!(complete(&answer[..20], "/").unwrap(), None);
        assert!(complete(b"HTTP/1.1 503 No\r\n\r\n", "/").is_err());
        assert!(complete(b"HTTP/1.1 200 OK\r\n\r\n", "/").is_err());
    }
}
