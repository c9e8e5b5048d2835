//! Whether the configuration file has changed.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;

/// From one look at the file to the next.
const LOOK: Duration = Duration::from_millis(500);

/// What tells one state of a file from another: which one it is, its size, and when it was changed
/// (not: written, which tools set back). A file that is put in the place of another, also by way of
/// a symbolic link to its folder, as Kubernetes does it with a ConfigMap, is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    file: (u64, u64),
    size: u64,
    changed: (i64, i64),
}

impl Mark {
    /// Of the file that is there now, if it can be reached.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let data = std::fs::metadata(path).ok()?;
        Some(Self {
            file: (data.dev(), data.ino()),
            size: data.size(),
            changed: (data.ctime(), data.ctime_nsec()),
        })
    }
}

/// Looks at a file again and again, out of a thread of its own: a file system that does not answer
/// holds up nobody else. Between two looks it waits until the one before has been taken.
///
/// # Errors
/// If there can be no more threads.
pub(super) fn looks(path: PathBuf) -> io::Result<mpsc::Receiver<Option<Mark>>> {
    let (seen, looks) = mpsc::channel(1);
    thread::Builder::new()
        .name("config-file".into())
        .spawn(move || {
            while seen.blocking_send(Mark::of(&path)).is_ok() {
                thread::sleep(LOOK);
            }
        })?;
    Ok(looks)
}

/// What is known of the file.
#[derive(Debug)]
pub(super) struct Watch {
    taken: Option<Mark>,
    seen: Option<Mark>,
}

impl Watch {
    /// The file was read in this state.
    pub(super) fn new(taken: Option<Mark>) -> Self {
        let seen = taken;
        Self { taken, seen }
    }

    /// Looks again. True if the file is another one, and has been the same for two looks: what is
    /// being written is not read half. A file that is gone is no change.
    pub(super) fn look(&mut self, now: Option<Mark>) -> bool {
        let settled = now.is_some() && now == self.seen;
        self.seen = now;
        if settled && now != self.taken {
            self.taken = now;
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::{Mark, Watch};

    #[test]
    fn a_file_is_read_once_when_it_has_been_the_same_for_two_looks() {
        let mark = |number| {
            let file = (0, number);
            Some(Mark {
                file,
                size: 0,
                changed: (0, 0),
            })
        };
        let mut watch = Watch::new(mark(1));
        let looks = [
            (mark(1), false),
            (mark(2), false),
            (mark(3), false),
            (mark(3), true),
            (mark(3), false),
            (None, false),
            (None, false),
            (mark(3), false),
            (mark(3), false),
            (mark(1), false),
            (mark(1), true),
        ];
        for (number, (now, changed)) in looks.into_iter().enumerate() {
            assert_eq!(watch.look(now), changed, "look {number}");
        }
    }
}
