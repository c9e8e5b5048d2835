//! Files that a restart reads: JSON, each whole or the one before.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;

/// The longest file that is read, in bytes; 10,000 targets take 3 MB.
const SIZE_MAX: u64 = 64 << 20;

/// How long a record may take to be read. After that the start goes on without it: a source that
/// waited for a disk for ever would tell of nothing that changes.
const READ_LIMIT: Duration = Duration::from_secs(2);

/// Reads something apart from the runtime, as a disk may be slow.
///
/// # Errors
/// Those of `work`, and one if it takes too long.
pub(super) async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    match tokio::time::timeout(READ_LIMIT, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(read)) => read,
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("not read within {} s", READ_LIMIT.as_secs())),
    }
}

/// Where a record of a kind lies. A name may hold what a file's name may not.
pub(super) fn path(directory: &Path, kind: &str, name: &str) -> PathBuf {
    let name: String = name
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).into(),
            byte => format!("%{byte:02x}"),
        })
        .collect();
    directory.join(format!("{kind}-{name}.json"))
}

/// Writes a record beside its place and renames it into it.
///
/// # Errors
/// If the directory cannot be made or the file not be written; then the old record stays.
pub(super) fn write(path: &Path, record: &Value) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    // Of this process: two may have one directory, as while one takes over from another. And of this
    // write: an older one of the same record may still wait for a slow disk.
    static WRITES: AtomicU64 = AtomicU64::new(0);
    let write = WRITES.fetch_add(1, Ordering::Relaxed);
    let beside = path.with_extension(format!("json.{}-{write}", std::process::id()));
    let written = std::fs::File::create(&beside).and_then(|mut file| {
        file.write_all(record.to_string().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    });
    if written.is_err() {
        // It helps nobody, and a full disk is not to be filled with more of them.
        std::fs::remove_file(&beside).unwrap_or_default();
    }
    written
}

/// Reads a record. None if there is none.
///
/// # Errors
/// What is wrong with the file.
pub(super) fn read(path: &Path) -> Result<Option<Value>, String> {
    let about = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let size = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(about(&error)),
    };
    if size > SIZE_MAX {
        return Err(about(&format!("larger than {} MiB", SIZE_MAX >> 20)));
    }
    let text = std::fs::read_to_string(path).map_err(|error| about(&error))?;
    serde_json::from_str(&text).map_err(|error| about(&error))
}
