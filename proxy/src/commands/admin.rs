//! What commands ask the admin server of a running Longshore.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use longshore_config::Config;
use serde_json::Value;

/// The environment variable with the token, where no file has it.
const TOKEN: &str = "LONGSHORE_ADMIN_TOKEN";

/// How long the admin server may take.
const LIMIT: Duration = Duration::from_secs(10);

/// The most that is read of its answer.
const ANSWER_MAX: u64 = 64 * 1024 * 1024;

/// An admin server, such as `http://127.0.0.1:9901`.
#[derive(Debug)]
pub(super) struct Server<'u> {
    url: &'u str,
    address: SocketAddr,
    token: Option<String>,
}

impl<'u> Server<'u> {
    /// The token is that of the file, or of the environment.
    pub(super) fn new(url: &'u str, config: Option<&Config>) -> Result<Self, String> {
        let place = url.strip_prefix("http://").unwrap_or(url);
        let place = place.trim_end_matches('/');
        let mut found = place
            .to_socket_addrs()
            .map_err(|error| format!("{url}: {error}; expected such as http://127.0.0.1:9901"))?;
        let of_file = config
            .and_then(|config| config.admin.as_ref()?.token.as_ref())
            .map(|token| token.reveal().to_owned());
        Ok(Self {
            url,
            address: found.next().ok_or(format!("{url}: no address"))?,
            token: of_file.or_else(|| std::env::var(TOKEN).ok()),
        })
    }

    /// What is at a path.
    pub(super) fn get(&self, path: &str) -> Result<Value, String> {
        let (url, token) = (self.url, self.token.as_deref());
        let asked = ask(self.address, path, token, LIMIT, ANSWER_MAX);
        let (status, body) = asked.map_err(|error| format!("{url}: {error}"))?;
        match status {
            200 => serde_json::from_str(&body).map_err(|error| format!("{url}{path}: {error}")),
            401 => Err(format!("{url} wants another token: set {TOKEN}")),
            _ => Err(format!("{url}{path} answers {status}: {}", body.trim())),
        }
    }
}

/// Asks for a path. The status and the body.
pub(super) fn ask(
    address: SocketAddr,
    path: &str,
    token: Option<&str>,
    limit: Duration,
    most: u64,
) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    let mut head = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n");
    if let Some(token) = token {
        if token.contains(['\r', '\n']) {
            let why = "the token has a line break in it";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        head.push_str(&format!("Authorization: Bearer {token}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(most).read_to_end(&mut answer)?;
    read(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no HTTP came back"))
}

fn read(answer: &[u8]) -> Option<(u16, String)> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    Some((status.get(..3)?.parse().ok()?, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn an_answer_is_read_as_status_and_body_or_not_at_all() {
        let whole = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 10\r\n\r\nnot ready\n";
        assert_eq!(read(whole), Some((503, "not ready\n".to_owned())));
        assert_eq!(read(b"HTTP/1.0 200\r\n\r\n"), Some((200, String::new())));
        for broken in [
            &b""[..],
            b"HTTP/1.1 200 OK\r\n",
            b"SSH-2.0-x\r\n\r\n",
            b"HTTP/1.1 abc\r\n\r\n",
        ] {
            assert_eq!(read(broken), None);
        }
    }
}
