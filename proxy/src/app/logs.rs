//! The logs of a balancer, each with a thread of its own.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use longshore_config::{LoadBalancer, LogFormat, PlainLogs};

use super::StartError;
use crate::observe::log_writer::{Counts, LogCounts, LogHandle, LogSide};
use crate::observe::recorder::Settings;

/// How long the last lines may take at the end.
const LOG_LIMIT: Duration = Duration::from_secs(1);

/// Those that there are.
#[derive(Debug, Default)]
pub(super) struct Logs {
    access: Option<(LogFormat, Log)>,
    connections: Option<Log>,
    checks: Option<Log>,
}

#[derive(Debug)]
struct Log {
    handle: LogHandle,
    thread: JoinHandle<()>,
}

impl Logs {
    /// Opens those that there are to be.
    pub(super) fn open(lb: &LoadBalancer, counts: &LogCounts) -> Result<Self, StartError> {
        let access = lb.access_logs.as_ref().filter(|logs| logs.enabled.0);
        let access = match access {
            Some(logs) => {
                let path = logs.path.as_deref();
                let log = open("access_logs", "access-log", path, &counts.access)?;
                Some((logs.format, log))
            }
            None => None,
        };
        let plain = |key, thread, logs: &Option<PlainLogs>, counts| {
            let logs = logs.as_ref().filter(|logs| logs.enabled.0);
            let opened = logs.map(|logs| open(key, thread, logs.path.as_deref(), counts));
            opened.transpose()
        };
        let (connections, checks) = (&lb.connection_logs, &lb.health_check_logs);
        Ok(Self {
            access,
            connections: plain(
                "connection_logs",
                "connection-log",
                connections,
                &counts.connections,
            )?,
            checks: plain("health_check_logs", "check-log", checks, &counts.checks)?,
        })
    }

    /// What a worker has to note; so many requests are kept.
    pub(super) fn settings(&self, keep: u64) -> Settings {
        let access = self.access.as_ref();
        Settings {
            log: access.map(|(format, log)| (*format, log.handle.side())),
            connections: self.connections.as_ref().map(|log| log.handle.side()),
            keep: usize::try_from(keep).unwrap_or(usize::MAX),
        }
    }

    /// Where health checks are noted.
    pub(super) fn checks(&self) -> Option<LogSide> {
        self.checks.as_ref().map(|log| log.handle.side())
    }

    /// Opens the files anew.
    pub(super) fn reopen(&self) {
        for log in self.all() {
            log.handle.reopen();
        }
    }

    fn all(&self) -> impl Iterator<Item = &Log> {
        let access = self.access.as_ref().map(|(_, log)| log);
        access
            .into_iter()
            .chain(&self.connections)
            .chain(&self.checks)
    }

    /// Waits for the last lines, if whoever writes them has ended; says so if they are lost.
    pub(super) async fn end(self, ended: bool) {
        let access = self.access.map(|(_, log)| log);
        let all = access
            .into_iter()
            .chain(self.connections)
            .chain(self.checks);
        let threads: Vec<JoinHandle<()>> = all.map(|log| log.thread).collect();
        let written = async {
            while !threads.iter().all(JoinHandle::is_finished) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // A disk that does not take the last lines does not keep the process.
        let may_be_lost = !ended && !threads.is_empty();
        if may_be_lost || tokio::time::timeout(LOG_LIMIT, written).await.is_err() {
            tracing::warn!("the last lines of a log are lost");
        }
    }
}

/// Whether other logs are wanted than before.
pub(super) fn differ(old: &LoadBalancer, new: &LoadBalancer) -> bool {
    old.access_logs != new.access_logs
        || old.connection_logs != new.connection_logs
        || old.health_check_logs != new.health_check_logs
}

fn open(
    key: &'static str,
    name: &'static str,
    path: Option<&Path>,
    counts: &Arc<Counts>,
) -> Result<Log, StartError> {
    let started = LogHandle::start(name, path, counts);
    let (handle, thread) = started.map_err(|error| StartError::Log {
        key,
        path: path.map_or("standard output".into(), |path| path.display().to_string()),
        error,
    })?;
    Ok(Log { handle, thread })
}
