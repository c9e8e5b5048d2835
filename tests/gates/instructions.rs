//! Instructions for each message, beside those of the kernel, counted by callgrind.

use std::path::{Path, PathBuf};
use std::process::Command;

use longshore_tests::eventually;
use longshore_tests::process::{Process, binary};

use crate::messages::{Kind, Site};
use crate::works;

/// Messages that are counted, after some that are not.
const COUNTED: u32 = 300;
const BEFORE: u32 = 50;

/// How far beyond its budget a figure may be, in per cent: versions of the compiler and what a
/// processor has (libraries choose their code by it) make some difference.
const SLACK: u64 = 4;

/// Budgets, for what `cargo test` builds: code that is not optimised, with all its checks. It
/// has about seven times as many instructions as what is shipped, so the figures say nothing about
/// speed: only that a message has more to do than before. Whoever must go beyond one says in the
/// commit what is got for it; whoever gets far below one lowers it.
const BUDGETS: &[(Kind, u64)] = &[
    (Kind::Get, 147_000),
    (Kind::Post, 157_000),
    (Kind::Chunks, 159_000),
    (Kind::Tls, 179_000),
    (Kind::Http2, 234_000),
    (Kind::WebSocket, 50_000),
];

/// The same with an access log in JSON.
const LOGGED: &[(Kind, u64)] = &[(Kind::Get, 196_000)];

const LOG: &str = "load_balancer: {access_logs: {path: /dev/null, format: json}}\n";

#[tokio::test]
async fn messages_stay_within_their_budgets_of_instructions() {
    let runs = ["--tool=callgrind", "--callgrind-out-file=/dev/null", "true"];
    if !works("callgrind_control", &["--version"]) || !works("valgrind", &runs) {
        println!("skipped: valgrind is not installed, or does not run here");
        return;
    }
    // Another build of it, for figures of optimised code: then no budget holds.
    let other = std::env::var_os("LONGSHORE_COUNT").map(PathBuf::from);
    let program = other.clone().unwrap_or_else(binary);
    let mut beyond = Vec::new();
    for (top, budgets) in [("", BUDGETS), (LOG, LOGGED)] {
        beyond.extend(beyond_budgets(top, budgets, &program, other.is_some()).await);
    }
    assert!(beyond.is_empty(), "{beyond:#?}");
}

/// Counts messages of these kinds, and tells of those that are beyond their budgets. `top`: more keys
/// of the file.
async fn beyond_budgets(
    top: &str,
    budgets: &[(Kind, u64)],
    program: &Path,
    is_other: bool,
) -> Vec<String> {
    let folder = std::env::temp_dir().join(format!("longshore-costs-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("made");
    let out = folder.join("counted");
    let site = Site::start(top, |words| {
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--separate-threads=yes"]);
        command.arg(format!("--callgrind-out-file={}", out.display()));
        command.arg(program).args(words);
        command
    })
    .await;
    let log = if top.is_empty() {
        ""
    } else {
        ", with an access log"
    };
    let mut beyond = Vec::new();
    for (number, &(kind, budget)) in budgets.iter().enumerate() {
        let mut client = site.client(kind).await;
        client.send(BEFORE).await;
        control(&site.process, "--zero");
        client.send(COUNTED).await;
        control(&site.process, "--dump");
        let dump = format!("counted.{}-", number + 1);
        let all = eventually("callgrind has written all", async || most(&folder, &dump)).await;
        let each = all / u64::from(COUNTED);
        println!("{kind:?}{log}: {each} instructions for each");
        if !is_other && each > budget + budget * SLACK / 100 {
            beyond.push(format!("{kind:?}{log}: {each}, and {budget} are allowed"));
        }
        // Less than this would be a fault of the counting.
        assert!(each > 1_000, "{kind:?}: {each}");
    }
    drop(site);
    std::fs::remove_dir_all(&folder).expect("removed");
    beyond
}

/// Tells callgrind to do something at once.
fn control(process: &Process, what: &str) {
    let id = process.id().to_string();
    let mut command = Command::new("callgrind_control");
    let output = command.args([what, &id]).output().expect("it starts");
    assert!(output.status.success(), "callgrind_control: {output:?}");
}

/// The instructions of the thread that had most of them: the worker. None while a file of the dump
/// is not whole.
fn most(folder: &Path, dump: &str) -> Option<u64> {
    let mut most = None;
    for entry in std::fs::read_dir(folder).ok()? {
        let entry = entry.ok()?;
        if entry.file_name().to_string_lossy().starts_with(dump) {
            most = most.max(Some(total(&entry.path())?));
        }
    }
    most
}

/// All instructions in a file that is whole: its last line has them.
fn total(file: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().rev().find(|line| !line.is_empty())?;
    line.strip_prefix("totals: ")?.trim().parse().ok()
}
