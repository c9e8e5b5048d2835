use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::{FILE_BYTES, Glance, SETTLED, Seen, Stamp, Update, Watch, glance};

/// A folder that is gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "longshore-file-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("created");
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).expect("written");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}

fn one(port: u16) -> String {
    format!("[{{\"targets\": [\"10.0.0.1:{port}\"]}}]")
}

/// The ports of the set, or the error.
async fn look(watch: &mut Watch, read_again: bool) -> Result<Vec<u16>, String> {
    match watch.look(read_again).await {
        Update::Set { targets, .. } => Ok(targets.iter().map(|it| it.address.port()).collect()),
        Update::Failed { error, .. } => Err(error),
        other @ Update::Changed { .. } => panic!("a file has no events: {other:?}"),
    }
}

/// The watch as if its file had not changed for long.
fn settle(watch: &mut Watch) {
    let seen = watch.seen.as_mut().expect("read before");
    seen.first = seen.read.checked_sub(SETTLED).expect("the machine is up");
}

fn stamp(path: &str) -> Stamp {
    Stamp::of(&fs::metadata(path).expect("there"))
}

#[tokio::test]
async fn each_look_confirms_the_targets_also_without_reading() {
    let folder = Folder::new();
    let mut watch = Watch::new(folder.write("t.json", &one(1)).into());
    assert_eq!(look(&mut watch, true).await, Ok(vec![1]));
    settle(&mut watch);
    let read = watch.seen.as_ref().expect("read").read;
    let before = Instant::now();
    let Update::Set { targets, at, .. } = watch.look(false).await else {
        panic!("a set");
    };
    assert!(targets[0].confirmed_at >= before && targets[0].confirmed_at <= at);
    assert_eq!(watch.seen.as_ref().expect("known").read, read, "not read");
    look(&mut watch, true).await.expect("a set");
    assert!(watch.seen.as_ref().expect("known").read > read, "read");
}

#[tokio::test]
async fn a_file_is_read_in_each_look_until_its_stamp_is_old_enough() {
    let folder = Folder::new();
    let mut watch = Watch::new(folder.write("t.json", &one(1)).into());
    look(&mut watch, false).await.expect("a set");
    let first = watch.seen.as_ref().expect("read").first;
    look(&mut watch, false).await.expect("a set");
    let seen = watch.seen.as_ref().expect("read");
    assert!(seen.first == first && seen.read > first, "read again");
    let seen = |read| Seen {
        stamp: stamp(&watch.path),
        first,
        read: first + read,
        contents: Err(String::new()),
    };
    assert!(!seen(Duration::from_millis(1_999)).is_settled());
    assert!(seen(Duration::from_secs(2)).is_settled());
}

#[tokio::test]
async fn a_change_is_seen_however_it_is_made() {
    let folder = Folder::new();
    let path = folder.write("t.json", &one(1));
    let mut watch = Watch::new(path.as_str().into());
    assert_eq!(look(&mut watch, false).await, Ok(vec![1]));

    // Another file of the same size takes its name.
    settle(&mut watch);
    fs::rename(folder.write("new", &one(2)), &path).expect("renamed");
    assert_eq!(look(&mut watch, false).await, Ok(vec![2]));

    // In place, with another size.
    settle(&mut watch);
    fs::write(&path, one(33)).expect("written");
    assert_eq!(look(&mut watch, false).await, Ok(vec![33]));

    // In place, with the same size and the old time of modification.
    settle(&mut watch);
    let modified = fs::metadata(&path).expect("there").modified();
    let old = stamp(&path);
    // The time of the last change of status has the kernel's tick.
    while stamp(&path) == old {
        fs::write(&path, one(44)).expect("written");
        let file = fs::File::options().write(true).open(&path).expect("opened");
        file.set_modified(modified.as_ref().copied().expect("a time"))
            .expect("set");
    }
    assert_eq!(
        (stamp(&path).bytes, stamp(&path).modified),
        (old.bytes, old.modified)
    );
    assert_eq!(look(&mut watch, false).await, Ok(vec![44]));

    // A symbolic link to another folder, as Kubernetes exchanges mounted files.
    fs::create_dir(folder.0.join("a")).expect("created");
    fs::create_dir(folder.0.join("b")).expect("created");
    folder.write("a/t.json", &one(5));
    folder.write("b/t.json", &one(6));
    let link = |to: &str| {
        std::os::unix::fs::symlink(to, folder.path("next")).expect("linked");
        fs::rename(folder.path("next"), folder.path("data")).expect("renamed");
    };
    link("a");
    let mut watch = Watch::new(folder.path("data/t.json").into());
    assert_eq!(look(&mut watch, false).await, Ok(vec![5]));
    settle(&mut watch);
    link("b");
    assert_eq!(look(&mut watch, false).await, Ok(vec![6]));
}

#[tokio::test]
async fn a_failed_look_says_why_and_the_next_good_one_is_a_set_again() {
    let folder = Folder::new();
    let path = folder.path("t.json");
    let mut watch = Watch::new(path.as_str().into());
    let error = look(&mut watch, false).await.expect_err("no file");
    assert_eq!(
        error,
        format!("{path}: there is no such file; `[]` in it stands for no targets")
    );

    folder.write("t.json", "[");
    let error = look(&mut watch, false).await.expect_err("half");
    assert!(
        error.starts_with(&format!("{path}:1:1: the file ends in the middle")),
        "{error}"
    );
    settle(&mut watch);
    let again = look(&mut watch, false).await.expect_err("still half");
    assert_eq!(again, error, "also without reading");

    folder.write("t.json", &one(1));
    assert_eq!(look(&mut watch, false).await, Ok(vec![1]));
    fs::remove_file(&path).expect("removed");
    look(&mut watch, false).await.expect_err("gone");
    folder.write("t.json", "[]");
    assert_eq!(look(&mut watch, false).await, Ok(vec![]));
}

#[test]
fn what_is_no_file_is_never_opened() {
    let folder = Folder::new();
    let pipe = folder.path("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo is there").success());
    for path in [folder.path("."), pipe, "/dev/zero".to_owned()] {
        let error = glance(&path, None, Instant::now()).expect_err("no file");
        assert!(
            error.starts_with(&format!("{path}: not a regular file")),
            "{error}"
        );
    }
    for (path, what) in [
        (
            format!("{}/t.json/x", folder.path(".")),
            "there is no such file",
        ),
        ("t\0.json".to_owned(), "cannot be read"),
    ] {
        let error = glance(&path, None, Instant::now()).expect_err("no file");
        assert!(error.starts_with(&format!("{path}: {what}")), "{error}");
    }
}

#[test]
fn a_file_is_read_up_to_its_bound_and_not_beyond() {
    let folder = Folder::new();
    let path = folder.path("t.json");
    let long = |bytes: u64| {
        let mut text = one(1).into_bytes();
        text.resize(usize::try_from(bytes).expect("fits"), b' ');
        fs::write(Path::new(&path), text).expect("written");
        glance(&path, None, Instant::now())
    };
    let Ok(Glance::Read(_, Ok(contents))) = long(FILE_BYTES) else {
        panic!("read");
    };
    assert_eq!(contents.targets.len(), 1);
    let error = long(FILE_BYTES + 1).expect_err("too large");
    assert!(error.contains("larger than 16 MiB"), "{error}");
}
