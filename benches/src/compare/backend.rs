//! The origins: started once, for all rows and proxies.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::check;
use crate::failure::Result;
use crate::interrupt;
use crate::process::{self, Running};
use crate::rows::{Row, Target};

/// Targets of each proxy: two, so that each has to choose.
const TARGETS: usize = 2;

/// The running origins, by what they speak.
pub(crate) struct Backend {
    origins: Vec<(Target, Origin)>,
}

/// A running origin.
struct Origin {
    process: Running,
    ports: Vec<u16>,
}

impl Backend {
    /// Starts the origins that the rows need.
    pub(crate) fn start(rows: &[&Row], core: usize, directory: &Path) -> Result<Self> {
        let mut origins = Vec::new();
        for (target, name) in [(Target::Http1, "origin"), (Target::Grpc, "grpc-origin")] {
            let rows = || rows.iter().copied().filter(|row| row.target == target);
            if rows().next().is_none() {
                continue;
            }
            let mut arguments = vec!["--listeners".into(), TARGETS.to_string()];
            for row in rows() {
                arguments.extend(["--body".into(), row.body.to_string()]);
                if row.messages > 1 {
                    arguments.extend(["--stream".into(), row.messages.to_string()]);
                }
            }
            if rows().any(Row::is_ours_alone) {
                arguments.extend(["--everywhere".into(), "1".into()]);
            }
            let origin = Origin::start(name, &arguments, core, directory)?;
            for row in rows() {
                check::origin(origin.address(), row, core, directory)?;
            }
            origins.push((target, origin));
        }
        Ok(Self { origins })
    }

    /// The ports of the targets that speak this.
    pub(crate) fn ports(&self, target: Target) -> &[u16] {
        &self.origin(target).ports
    }

    /// Where it is reached without a proxy.
    pub(crate) fn address(&self, target: Target) -> SocketAddr {
        self.origin(target).address()
    }

    /// Fails when one has ended.
    pub(crate) fn expect_alive(&mut self) -> Result<()> {
        for (_, origin) in &mut self.origins {
            origin.process.expect_alive()?;
        }
        Ok(())
    }

    fn origin(&self, target: Target) -> &Origin {
        let mut origins = self.origins.iter();
        let (_, origin) = origins
            .find(|(speaks, _)| *speaks == target)
            .expect("all that the rows need were started");
        origin
    }
}

impl Origin {
    /// Starts a program that lies beside this one.
    fn start(name: &str, arguments: &[String], core: usize, directory: &Path) -> Result<Self> {
        let program = process::beside(name)?;
        let mut process = Running::start(name, &program, arguments, core, directory)?;
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
        Ok(Self { process, ports })
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports[0]))
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
