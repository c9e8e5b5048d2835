//! `longshore health`: whether the Longshore on this host works, for container health checks.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::{duration, print_out};

/// The most of an answer that is read: the status line and a reason fit in it.
const ANSWER_MAX: u64 = 4_096;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The configuration file, for the address of the admin server.
    #[arg(
        short,
        long,
        value_name = "FILE",
        required_unless_present = "admin",
        conflicts_with = "admin"
    )]
    config: Option<PathBuf>,
    /// The address of the admin server. A file that is being changed then does not matter.
    #[arg(long, value_name = "IP:PORT")]
    admin: Option<SocketAddr>,
    /// Ask whether it should get requests, in place of whether it works. Not for restarts: it is
    /// not ready while it drains either.
    #[arg(long)]
    ready: bool,
    /// How long the answer may take.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    timeout: Duration,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let known = match (&arguments.config, arguments.admin) {
        (_, Some(address)) => Ok(address),
        (Some(path), None) => address_in(path),
        (None, None) => Err("neither a file nor an address".to_owned()),
    };
    let address = match known {
        Ok(address) => reachable(address),
        Err(error) => {
            eprintln!("longshore: {error}");
            return ExitCode::FAILURE;
        }
    };
    let path = if arguments.ready { "/readyz" } else { "/livez" };
    match ask(address, path, arguments.timeout, ANSWER_MAX) {
        Ok((200, _)) => print_out("ok\n"),
        Ok((status, said)) => {
            eprintln!(
                "longshore: {path} at {address} answers {status}: {}",
                said.trim()
            );
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("longshore: {path} at {address}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn address_in(path: &Path) -> Result<SocketAddr, String> {
    let config = longshore_config::load(path).map_err(|errors| errors.to_string())?;
    let admin = config.admin.as_ref();
    let admin = admin.ok_or("there is no admin server to ask: the file has no admin.address")?;
    Ok(admin.address)
}

/// Where a server that listens at all addresses is reached from its own host.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The status and the body.
pub(super) fn ask(
    address: SocketAddr,
    path: &str,
    limit: Duration,
    most: u64,
) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes())?;
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
    use super::{reachable, read};

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

    #[test]
    fn a_server_at_all_addresses_is_asked_at_loopback() {
        for (at, asked) in [
            ("0.0.0.0:9901", "127.0.0.1:9901"),
            ("[::]:9901", "[::1]:9901"),
            ("10.0.0.7:9901", "10.0.0.7:9901"),
        ] {
            let parsed = |text: &str| text.parse().expect("an address");
            assert_eq!(reachable(parsed(at)), parsed(asked));
        }
    }
}
