//! Why a balancer does not start, or does not change.

use std::io;
use std::net::SocketAddr;

use longshore_config::ConfigErrors;

use crate::tls::listener::Fault;

/// Why a balancer cannot start, or cannot take a new configuration.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's or the admin server's address.
    #[error("{name}: cannot listen on {address}: {error}")]
    Bind {
        /// The listener's name, or `admin`.
        name: String,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// The system has no random bytes.
    #[error("the system gives no random bytes for a key")]
    Random,
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// A log.
    #[error("load_balancer.{key}: {path}: {error}")]
    Log {
        /// Its key.
        key: &'static str,
        /// Its file.
        path: String,
        /// What the system said.
        error: io::Error,
    },
    /// Files of certificates, keys or authorities.
    #[error("{}", list(.0))]
    Files(Vec<Fault>),
    /// A setting that only a restart changes.
    #[error("`{0}` cannot change while the process runs; restart it")]
    NeedsRestart(&'static str),
    /// The control task is gone.
    #[error("the control task has ended")]
    Gone,
}

fn list(faults: &[Fault]) -> String {
    let lines: Vec<String> = faults
        .iter()
        .map(|fault| format!("{}: {}", fault.key, fault.message))
        .collect();
    lines.join("\n")
}
