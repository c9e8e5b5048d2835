//! The origin: started once, for all rows and proxies.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::check;
use crate::failure::{Context as _, Result};
use crate::interrupt;
use crate::process::Running;
use crate::rows::Row;

/// Targets of each proxy: two, so that each has to choose.
const TARGETS: usize = 2;

/// The running origin.
pub(crate) struct Backend {
    process: Running,
    pub(crate) ports: Vec<u16>,
}

impl Backend {
    /// Starts the `origin` program that lies beside this one.
    pub(crate) fn start(rows: &[&Row], core: usize, directory: &Path) -> Result<Self> {
        let own = std::env::current_exe().context(|| "where is this program?".into())?;
        let program = own.with_file_name("origin");
        let mut arguments = vec!["--listeners".into(), TARGETS.to_string()];
        for row in rows {
            arguments.extend(["--body".into(), row.body.to_string()]);
        }
        let mut process = Running::start("origin", &program, &arguments, core, directory)?;
        let begin = Instant::now();
        let ports = loop {
            process.expect_alive()?;
            let ports = announced(&process.output()?);
            if ports.len() == TARGETS {
                break ports;
            }
            if begin.elapsed() > Duration::from_secs(5) {
                return Err(process.failure("does not listen after 5 s"));
            }
            interrupt::pause(Duration::from_millis(20))?;
        };
        let backend = Self { process, ports };
        for row in rows {
            check::origin(backend.address(), row)?;
        }
        Ok(backend)
    }

    /// Where it is reached without a proxy.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports[0]))
    }

    /// Fails when it has ended.
    pub(crate) fn expect_alive(&mut self) -> Result<()> {
        self.process.expect_alive()
    }
}

/// The ports in lines `listening ADDRESS:PORT`; a line not yet complete is left out.
fn announced(output: &str) -> Vec<u16> {
    output
        .split_inclusive('\n')
        .filter_map(|line| line.strip_prefix("listening ")?.strip_suffix('\n'))
        .filter_map(|address| address.parse::<SocketAddr>().ok())
        .map(|address| address.port())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::announced;

    #[test]
    fn only_whole_lines_announce_a_port() {
        let output = "listening 127.0.0.1:4001\nlistening 127.0.0.1:400";
        assert_eq!(announced(output), [4001]);
    }
}
