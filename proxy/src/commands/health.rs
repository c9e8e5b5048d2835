//! `longshore health`: whether the Longshore on this host works, for container health checks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::admin::ask;
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
    match ask(address, path, None, arguments.timeout, ANSWER_MAX) {
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

#[cfg(test)]
mod tests {
    use super::reachable;

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
