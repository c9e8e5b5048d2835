//! The configuration file on its way in, and the files that it names, which may take as long as their
//! file systems like.

use std::path::Path;
use std::thread;

use longshore::app::{Prepared, Preparer, StartError};
use longshore_config::{Config, ConfigErrors};
use tokio::sync::oneshot;

use super::watch::Mark;

/// Whoever asked for it, if anybody waits.
pub(super) type Asked = Option<oneshot::Sender<Result<(), String>>>;

/// What came of a file, and in which state it was before it was read.
pub(super) struct Read<T> {
    pub(super) mark: Option<Mark>,
    pub(super) came: T,
}

/// Reads the file now.
pub(super) fn read(path: &Path) -> Read<Result<Config, ConfigErrors>> {
    // Before it is read: what is written meanwhile is seen later.
    let mark = Mark::of(path);
    let came = longshore_config::load(path);
    Read { mark, came }
}

/// What can be taken, or why nothing can.
pub(super) type Ready = Result<Prepared, StartError>;

/// A file that is being read.
pub(super) struct Reading {
    done: oneshot::Receiver<Read<Ready>>,
    pub(super) asked: Asked,
}

impl Reading {
    /// Begins, in a thread of its own that nobody waits for: the process can end meanwhile.
    pub(super) fn begin(path: &Path, preparer: Preparer, asked: Asked) -> Self {
        tracing::info!("reading the configuration");
        let (ready, done) = oneshot::channel();
        let path = path.to_owned();
        let run = move || {
            let Read { mark, came } = read(&path);
            let came = came.map_err(StartError::from);
            let came = came.and_then(|config| preparer.prepare(config));
            // Nobody wants it if the process ends.
            drop(ready.send(Read { mark, came }));
        };
        if let Err(error) = thread::Builder::new().name("read-config".into()).spawn(run) {
            tracing::error!(%error, "the configuration file cannot be read: no thread");
        }
        Self { done, asked }
    }

    /// Waits until it is read. None if it could not be tried. It may be asked again if it was not
    /// waited for to the end.
    pub(super) async fn done(&mut self) -> Option<Read<Ready>> {
        (&mut self.done).await.ok()
    }
}
