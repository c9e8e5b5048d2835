//! Load generators: how each is called, and what it reports.

mod h2load;
mod handshakes;
mod websockets;
mod wrk;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::failure::{Context as _, Result};
use crate::process::{self, Running};
use crate::rows::{Generator, Row, Target};

/// What a generator counted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Report {
    pub(crate) requests: u64,
    pub(crate) requests_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// What makes the figures worthless, in words: answers other than 2xx and
    /// errors of sockets.
    pub(crate) errors: Vec<String>,
}

/// One use of a generator.
pub(crate) struct Load<'run> {
    pub(crate) row: &'run Row,
    pub(crate) connections: usize,
    pub(crate) target: SocketAddr,
    pub(crate) seconds: u64,
    pub(crate) core: usize,
    pub(crate) directory: &'run Path,
    /// What the client sends as `Cookie`.
    pub(crate) cookie: Option<&'run str>,
}

impl Load<'_> {
    /// Makes the load, calling `look` with the time passed while it lasts.
    pub(crate) fn run(&self, look: &mut dyn FnMut(Duration) -> Result<()>) -> Result<Report> {
        let scheme = self.row.frontend.scheme();
        let url = format!("{scheme}://{}{}", self.target, self.row.path());
        let latencies = self.directory.join("h2load-latencies");
        let (connections, seconds) = (self.connections, self.seconds);
        let (name, arguments) = match self.row.generator {
            Generator::Wrk | Generator::WrkClosing => {
                let closing = self.row.generator == Generator::WrkClosing;
                let cookie = self.cookie;
                let arguments = wrk::arguments(connections, seconds, closing, cookie, &url);
                ("wrk", arguments)
            }
            Generator::H2load { streams } => {
                // h2load appends to a log that is there already.
                remove_if_there(&latencies)?;
                let mut arguments =
                    h2load::arguments(connections, streams, seconds, &latencies, &url);
                if self.row.target == Target::Grpc {
                    arguments.extend(h2load::grpc(&grpc_call(self.row, self.directory)?));
                }
                ("h2load", arguments)
            }
            Generator::Resuming => (
                "handshakes",
                handshakes::arguments(self.target, self.row, connections, seconds),
            ),
            Generator::WebSockets => (
                "websockets",
                websockets::arguments(self.target, connections, seconds),
            ),
        };
        let program = match self.row.generator {
            Generator::Resuming | Generator::WebSockets => process::beside(name)?,
            _ => process::find(name)?,
        };
        let mut generator = Running::start(name, &program, &arguments, self.core, self.directory)?;
        // Twice the time and some: a generator that hangs must not hang the run.
        let limit = Duration::from_secs(self.seconds * 2 + 20);
        let output = generator.finish(limit, look)?;
        let report = match self.row.generator {
            Generator::Wrk | Generator::WrkClosing => wrk::parse(&output),
            Generator::H2load { .. } => {
                let log = std::fs::read_to_string(&latencies).unwrap_or_default();
                h2load::parse(&output, &log)
            }
            Generator::Resuming => handshakes::parse(&output, "full"),
            Generator::WebSockets => handshakes::parse(&output, ""),
        };
        report.ok_or_else(|| generator.failure("its output was not understood"))
    }
}

/// The file of the message that a call of a row with gRPC sends: as long as the answer.
pub(crate) fn grpc_call(row: &Row, directory: &Path) -> Result<PathBuf> {
    let path = directory.join("grpc-call");
    let call = longshore_benches::grpc_message(&longshore_benches::body(row.body));
    std::fs::write(&path, call).context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn remove_if_there(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
