//! Small files that others write, and whether they have changed since they were read.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The most bytes of one file (ALB: lists of revoked certificates of 50 MB in all).
const BYTES: u64 = 64 * 1024 * 1024;

/// A file that was changed less than so long before it was read is read again: a second change
/// within the tick of the file system's clock leaves its times as they were.
const SETTLED: Duration = Duration::from_secs(2);

/// A file, and what it was like when it was read.
#[derive(Debug)]
pub(crate) struct Watched {
    path: PathBuf,
    stamp: Option<Stamp>,
    settled: bool,
}

/// What tells one version of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: (metadata.dev(), metadata.ino()),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    fn is_settled(&self, now: Duration) -> bool {
        let changed = Duration::from_secs(u64::try_from(self.changed.0).unwrap_or(0));
        now.saturating_sub(changed) > SETTLED
    }
}

impl Watched {
    /// A file that was not read yet.
    #[must_use]
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            stamp: None,
            settled: false,
        }
    }

    /// Where it is.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it may be another one than was read.
    #[must_use]
    pub(crate) fn has_changed(&self) -> bool {
        let stamp = std::fs::metadata(&self.path).ok().map(|m| Stamp::of(&m));
        !self.settled || stamp != self.stamp
    }

    /// Reads it. `now` is the time since 1970.
    ///
    /// # Errors
    /// Why it cannot be read, and the mend.
    pub(crate) fn read(&mut self, now: Duration) -> Result<Vec<u8>, String> {
        // A file that cannot be read is looked at again only when it has changed.
        let metadata = std::fs::metadata(&self.path);
        self.stamp = metadata.as_ref().ok().map(Stamp::of);
        self.settled = self.stamp.is_none_or(|stamp| stamp.is_settled(now));
        // Before it is opened: opening a named pipe would wait for its writer.
        if !metadata.map_err(|error| message(&error))?.is_file() {
            return Err("not a regular file".to_owned());
        }
        let mut bytes = Vec::new();
        File::open(&self.path)
            .and_then(|file| file.take(BYTES + 1).read_to_end(&mut bytes))
            .map_err(|error| message(&error))?;
        if bytes.len() as u64 > BYTES {
            return Err(format!("larger than {} MiB", BYTES / 1024 / 1024));
        }
        Ok(bytes)
    }
}

fn message(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => {
            "there is no such file; a relative path begins where the process was started".to_owned()
        }
        ErrorKind::PermissionDenied => {
            "permission denied; let the user that runs this process read it".to_owned()
        }
        _ => format!("cannot be read: {error}"),
    }
}
