//! Targets from a file that other programs write: one task for each group, which looks at the file
//! at an interval. What the file says is decided by [`contents`], without IO.
//!
//! Looking again and again, and not inotify, because it also works on network file systems, for
//! files that are replaced, and for directories that are exchanged by a symbolic link.

mod contents;
mod syntax;

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_config::FileDiscovery;
use rand::Rng;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use crate::backoff;
use crate::clock::now;
use crate::target::Update;
use contents::Contents;

/// The most bytes that are read: 1.6 KB for each of the targets that are taken at the most.
const FILE_BYTES: u64 = 16 * 1024 * 1024;

/// The longest that a look may take. A local disk needs milliseconds; a network file system whose
/// server is gone may never answer.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// The shortest time from one look to the next, however often one is asked for.
const LOOK_SPACING: Duration = Duration::from_millis(500);

/// How long a file must have had the same stamp before it is no longer read in each look. A write
/// within the tick of the file system's clock (2 s on FAT, 4 ms on most) leaves the stamp as it was.
const SETTLED: Duration = Duration::from_secs(2);

/// Looks at a file until the receiver is gone.
///
/// `look_now` asks for a look before its time: somebody lost connections to a target and wants to
/// know whether it is still there. That look reads the file in any case.
pub async fn run(
    spec: FileDiscovery,
    out: mpsc::Sender<Update>,
    look_now: Arc<Notify>,
    mut rng: impl Rng,
) {
    let mut watch = Watch::new(spec.path.as_str().into());
    let mut read_again = true;
    loop {
        let update = watch.look(read_again).await;
        if out.send(update).await.is_err() {
            return;
        }
        // No longer waits after failures: a look uses up nobody's budget, and who mends the file
        // wants to see that it is mended.
        let wait = backoff::jittered(spec.refresh_interval.get(), &mut rng);
        read_again = tokio::select! {
            () = tokio::time::sleep(wait) => false,
            () = async { tokio::time::sleep(LOOK_SPACING).await; look_now.notified().await } => true,
        };
    }
}

/// One file over time.
struct Watch {
    path: Arc<str>,
    /// What was found when the file was last read.
    seen: Option<Seen>,
    /// A look that began then and has not come back.
    pending: Option<(Instant, JoinHandle<Result<Glance, String>>)>,
}

/// A version of the file, and what it says.
struct Seen {
    stamp: Stamp,
    /// The start of the first look at this version.
    first: Instant,
    /// The start of the latest look that read it.
    read: Instant,
    contents: Result<Contents, String>,
}

impl Watch {
    fn new(path: Arc<str>) -> Self {
        Self {
            path,
            seen: None,
            pending: None,
        }
    }

    /// One look. The file is read if it has changed, if it may have changed unseen, or if
    /// `read_again` asks for it.
    async fn look(&mut self, read_again: bool) -> Update {
        let (began, mut task) = self.pending.take().unwrap_or_else(|| {
            let (path, began) = (Arc::clone(&self.path), now());
            let known = self
                .seen
                .as_ref()
                .filter(|seen| !read_again && seen.is_settled())
                .map(|seen| seen.stamp);
            // A thread that may block, because files have no other way; at most one for each group.
            let look = move || glance(&path, known, began);
            (began, tokio::task::spawn_blocking(look))
        });
        let looked = match tokio::time::timeout(LOOK_LIMIT, &mut task).await {
            Ok(Ok(looked)) => looked,
            Ok(Err(error)) => Err(format!("{}: the look ended early: {error}", self.path)),
            Err(_) => {
                // It cannot be called off, so the next look is its answer.
                self.pending = Some((began, task));
                Err(format!(
                    "{}: the file system has not answered for {} s; is its server there?",
                    self.path,
                    LOOK_LIMIT.as_secs()
                ))
            }
        };
        let at = now();
        match looked.and_then(|glance| self.believe(glance, began)) {
            Ok(Contents { targets, problems }) => Update::Set {
                targets,
                problems,
                at,
            },
            Err(error) => Update::Failed { error, at },
        }
    }

    /// What the file says after a look that began then.
    fn believe(&mut self, glance: Glance, began: Instant) -> Result<Contents, String> {
        let seen = match glance {
            Glance::Same => self.seen.take(),
            Glance::Read(stamp, contents) => Some(Seen {
                first: match &self.seen {
                    Some(known) if known.stamp == stamp => known.first,
                    _ => began,
                },
                stamp,
                read: began,
                contents,
            }),
        };
        let Some(seen) = seen else {
            return Err(format!("{}: not read yet", self.path));
        };
        let mut contents = self.seen.insert(seen).contents.clone()?;
        for target in &mut contents.targets {
            target.confirmed_at = began;
        }
        Ok(contents)
    }
}

impl Seen {
    /// Whether the stamp is old enough to tell that nothing was written after the file was read.
    fn is_settled(&self) -> bool {
        self.read.saturating_duration_since(self.first) >= SETTLED
    }
}

/// What tells one version of a file from another without reading it. The time of the last change
/// of status is among it because the other time can be set: `cp -p` and `rsync -t` do so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// What one look found.
#[derive(Debug)]
enum Glance {
    /// The version that is known.
    Same,
    /// This one, which says this.
    Read(Stamp, Result<Contents, String>),
}

/// Looks at a file; blocks. It is read unless its stamp is `known`. An error means that there is
/// no file whose content could be judged.
fn glance(path: &str, known: Option<Stamp>, began: Instant) -> Result<Glance, String> {
    let fault = |error: io::Error| format!("{path}: {}", io_message(&error));
    // Before the file is opened: opening a named pipe would wait for its writer.
    let metadata = std::fs::metadata(path).map_err(fault)?;
    if !metadata.is_file() {
        return Err(format!(
            "{path}: not a regular file; name the file itself, not its directory or a pipe"
        ));
    }
    if known == Some(Stamp::of(&metadata)) {
        return Ok(Glance::Same);
    }
    let mut file = File::open(path).map_err(fault)?;
    let stamp = Stamp::of(&file.metadata().map_err(fault)?);
    let mut bytes = Vec::new();
    // One byte more than the limit tells a file that is too large from one that just fits.
    Read::by_ref(&mut file)
        .take(FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(fault)?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err(format!(
            "{path}: larger than {} MiB, the most that is read; is it the right file?",
            FILE_BYTES / 1024 / 1024
        ));
    }
    let after = Stamp::of(&file.metadata().map_err(fault)?);
    // Not the time of the last change of status: that also changes when another file takes the
    // name of this one, and this one was read whole all the same.
    if (after.bytes, after.modified) != (stamp.bytes, stamp.modified) {
        return Err(format!(
            "{path}: it was written while it was read; write another file and rename it to this name"
        ));
    }
    Ok(Glance::Read(stamp, contents::read(path, &bytes, began)))
}

fn io_message(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "there is no such file; `[]` in it stands for no targets".to_owned(),
        ErrorKind::PermissionDenied => {
            "permission denied; let the user that runs this process read it".to_owned()
        }
        _ => format!("cannot be read: {error}"),
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests watch real time")]
#[path = "file_tests.rs"]
mod tests;
