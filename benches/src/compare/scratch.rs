//! A directory for configurations and logs, gone at the end.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::failure::{Context as _, Result, fail};

/// A directory that is removed with this value.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes a directory nobody else has.
    pub(crate) fn new() -> Result<Self> {
        let parent = std::env::temp_dir();
        for attempt in 0..100 {
            let name = format!("longshore-compare-{}-{attempt}", std::process::id());
            let path = parent.join(name);
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return fail(format!("cannot make {}: {error}", path.display())),
            }
        }
        fail("no free name for a temporary directory after 100 attempts")
    }

    /// Makes an empty directory inside.
    pub(crate) fn directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.0.join(name);
        fs::create_dir_all(&path).context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("compare: {} remains: {error}", self.0.display());
        }
    }
}

/// Writes a file, with an error that names it.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).context(|| format!("cannot write {}", path.display()))
}
