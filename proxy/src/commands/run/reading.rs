//! The configuration file on its way in, which may take as long as its file system likes.

use std::path::Path;
use std::thread;

use longshore_config::{Config, ConfigErrors};
use tokio::sync::oneshot;

use super::watch::Mark;

/// Whoever asked for it, if anybody waits.
pub(super) type Asked = Option<oneshot::Sender<Result<(), String>>>;

/// What was read, and in which state the file was before.
pub(super) struct Read {
    pub(super) mark: Option<Mark>,
    pub(super) config: Result<Config, ConfigErrors>,
}

impl Read {
    /// Reads it now.
    pub(super) fn of(path: &Path) -> Self {
        // Before it is read: what is written meanwhile is seen later.
        let mark = Mark::of(path);
        let config = longshore_config::load(path);
        Self { mark, config }
    }
}

/// A file that is being read.
pub(super) struct Reading {
    done: oneshot::Receiver<Read>,
    pub(super) asked: Asked,
}

impl Reading {
    /// Begins, in a thread of its own that nobody waits for: the process can end meanwhile.
    pub(super) fn begin(path: &Path, asked: Asked) -> Self {
        tracing::info!("reading the configuration");
        let (read, done) = oneshot::channel();
        let path = path.to_owned();
        // Nobody wants it if the process ends.
        let run = move || drop(read.send(Read::of(&path)));
        if let Err(error) = thread::Builder::new().name("read-config".into()).spawn(run) {
            tracing::error!(%error, "the configuration file cannot be read: no thread");
        }
        Self { done, asked }
    }

    /// Waits until it is read. None if it could not be tried. It may be asked again if it was not
    /// waited for to the end.
    pub(super) async fn done(&mut self) -> Option<Read> {
        (&mut self.done).await.ok()
    }
}
