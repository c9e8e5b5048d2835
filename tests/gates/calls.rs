//! System calls for each message, counted by strace.

use std::collections::BTreeMap;
use std::process::Command;

use longshore_tests::eventually;
use longshore_tests::process::binary;

use crate::messages::{Kind, Site};
use crate::works;

/// Messages that are counted, after some that are not: connections to the target are there then.
const COUNTED: u32 = 400;
const BEFORE: u32 = 20;

/// What the two marks, timers and the one or other event that comes by itself may add to each. On a
/// busy machine it was 0.1; one call more for each message is 1.
const BESIDE: f64 = 0.4;

/// The calls with which a worker waits for events. Under load it waits once for many of them, so
/// they have a budget of their own.
const WAITS: &[&str] = &["epoll_wait", "epoll_pwait", "epoll_pwait2"];

/// Budgets: calls that do something, and waits, with one message at a time. A message over HTTP/1.1
/// cannot do with less than four and two: it is read, written to the target, and its answer is
/// read, written to the client. POST looks once more whether the client has sent another byte, a
/// response in chunks is written in two pieces. A connection has up to four waits, by which of its
/// events come together. Whoever must go beyond one says in the commit what is got for it;
/// whoever gets below one lowers it.
const BUDGETS: &[(Kind, f64, f64)] = &[
    (Kind::Get, 4.0, 2.0),
    (Kind::Post, 5.0, 2.0),
    (Kind::Chunks, 5.0, 2.0),
    (Kind::Tls, 4.0, 2.0),
    (Kind::Http2, 4.0, 2.0),
    (Kind::WebSocket, 4.0, 2.0),
    (Kind::Connection, 13.0, 4.0),
];

#[tokio::test]
async fn messages_stay_within_their_budgets_of_system_calls() {
    if !works("strace", &["-f", "-o", "/dev/null", "true"]) {
        println!("skipped: strace is not installed, or may not trace here");
        return;
    }
    let mut beyond = Vec::new();
    for &(kind, calls, waits) in BUDGETS {
        let counted = count(kind).await;
        let sum = |of_waits: bool| -> f64 {
            let of_kind = counted
                .iter()
                .filter(|(name, _)| WAITS.contains(&name.as_str()) == of_waits);
            of_kind.map(|(_, count)| count).sum()
        };
        let (did, waited) = (sum(false), sum(true));
        println!("{kind:?}: {did:.2} system calls and {waited:.2} waits for each: {counted:.2?}");
        if did > calls + BESIDE || waited > waits + BESIDE {
            beyond.push(format!(
                "{kind:?}: {did:.2} and {waited:.2}, and {calls} and {waits} are allowed: {counted:.2?}"
            ));
        }
        // Less than this would be a fault of the counting.
        assert!(did >= 2.0 && waited >= 1.0, "{kind:?}: {counted:?}");
    }
    assert!(beyond.is_empty(), "{beyond:#?}");
}

/// The calls of the worker for each message, by their names.
async fn count(kind: Kind) -> BTreeMap<String, f64> {
    let log = std::env::temp_dir().join(format!("longshore-calls-{}", std::process::id()));
    let site = Site::start("", |words| {
        let mut command = Command::new("strace");
        // -D: what is started here is longshore itself, and strace the child of nobody.
        command.args(["-D", "-f", "-qq", "-s", "16", "-o"]);
        command.arg(&log).arg(binary()).args(words);
        command
    })
    .await;
    let mut client = site.client(kind).await;
    client.send(BEFORE).await;
    site.mark("/begin").await;
    client.send(COUNTED).await;
    site.mark("/end").await;
    drop(site);
    let text = eventually("strace has written all", async || {
        let text = std::fs::read_to_string(&log).ok()?;
        text.contains("GET /end").then_some(text)
    })
    .await;
    std::fs::remove_file(&log).expect("removed");
    let counted = between(&text, "\"GET /begin", "\"GET /end").expect("both marks are there");
    let each =
        |(name, count): (&str, u32)| (name.to_owned(), f64::from(count) / f64::from(COUNTED));
    counted.into_iter().map(each).collect()
}

/// The calls between two marks, of the thread that met the first.
fn between<'log>(log: &'log str, begin: &str, end: &str) -> Option<BTreeMap<&'log str, u32>> {
    let mut lines = log.lines().skip_while(|line| !line.contains(begin));
    let (worker, _) = lines.next()?.split_once(' ')?;
    let mut counted = BTreeMap::new();
    for line in lines {
        let Some((thread, call)) = line.split_once(' ') else {
            continue;
        };
        if thread != worker {
            continue;
        }
        if call.contains(end) {
            return Some(counted);
        }
        // The other half of a call stands in a line `<... NAME resumed>`, a signal in one with `---`.
        let name = call.trim_start().split('(').next().unwrap_or_default();
        if name.starts_with(|first: char| first.is_ascii_lowercase()) {
            *counted.entry(name).or_default() += 1;
        }
    }
    None
}

#[test]
fn calls_are_counted_once_and_only_those_of_the_worker() {
    let log = "7 read(3, \"x\", 1) = 1\n\
        7 recvfrom(9, \"GET /begin HTTP\"..., 4096, 0, NULL, NULL) = 80\n\
        7 epoll_wait(5,  <unfinished ...>\n\
        8 futex(0x7f) = 0\n\
        7 <... epoll_wait resumed>[], 1024, -1) = 1\n\
        7 --- SIGCHLD {si_signo=SIGCHLD} ---\n\
        7 recvfrom(9, \"GET /path?query \"..., 4096, 0, NULL, NULL) = 80\n\
        7 recvfrom(9, \"GET /end HTTP/1.\"..., 4096, 0, NULL, NULL) = 80\n\
        7 write(3, \"x\", 1) = 1\n";
    let counted = between(log, "GET /begin", "GET /end").expect("both marks");
    assert_eq!(
        counted,
        BTreeMap::from([("epoll_wait", 1), ("recvfrom", 1)])
    );
    assert_eq!(between(log, "GET /begin", "GET /never"), None);
}
