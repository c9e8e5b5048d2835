//! Requests as bytes: what the client is told in each mode, and what a target gets, byte for byte.
//! The cases are in `raw_requests/cases.txt`, which also says how they are written.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longshore_tests::balancer::{Running, fixed, start};
use longshore_tests::eventually;
use longshore_tests::wire::Wire;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

const CASES: &str = include_str!("raw_requests/cases.txt");

const MODES: [&str; 3] = ["monitor", "defensive", "strictest"];

/// What the test sends behind each case, and how a target gets it.
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: next\r\n\r\n";
const NEXT_AT_TARGET: &str = "GET /next HTTP/1.1\r\nHost: next\r\n<f>\r\n\r\n";

/// How long an answer or the end may take.
const PATIENCE: Duration = Duration::from_secs(10);

struct Case {
    name: String,
    sent: Vec<u8>,
    /// For each mode.
    expected: [Expected; 3],
    classification: String,
    /// The target may have got a part of it.
    partial: bool,
    /// The client sends no more, and nothing else behind it.
    leaves: bool,
    client: Ipv4Addr,
    at_target: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// It reached the target, and the connection goes on.
    Passes,
    /// It reached the target, and the connection ends.
    PassesLast,
    /// It reached the target, and what comes behind is refused.
    PassesThenRefused,
    Refused(u16),
    NoAnswer,
}

impl Expected {
    fn parse(text: &str) -> Self {
        match text {
            "200" => Self::Passes,
            "200." => Self::PassesLast,
            "200!" => Self::PassesThenRefused,
            "-" => Self::NoAnswer,
            status => Self::Refused(status.parse().expect("a status")),
        }
    }
}

/// The bytes of a line as the file writes it, with its end.
fn unescape(line: &str, out: &mut Vec<u8>) {
    let (line, ends) = match line.strip_suffix('\\') {
        Some(line) if !line.ends_with('\\') => (line, false),
        _ => (line, true),
    };
    let mut rest = line;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let (kind, behind) = rest[at + 1..].split_at(1);
        rest = behind;
        match kind {
            "r" => out.push(b'\r'),
            "n" => out.push(b'\n'),
            "t" => out.push(b'\t'),
            "0" => out.push(0),
            "\\" => out.push(b'\\'),
            "x" => {
                out.push(u8::from_str_radix(&rest[..2], 16).expect("two digits"));
                rest = &rest[2..];
            }
            "[" => {
                let (inside, behind) = rest.split_once(']').expect("a closing bracket");
                let (count, text) = inside.split_once(' ').expect("a count and a text");
                let mut once = Vec::new();
                unescape(&format!("{text}\\ ").replace("\\ ", "\\"), &mut once);
                for _ in 0..count.parse().expect("a count") {
                    out.extend_from_slice(&once);
                }
                rest = behind;
            }
            other => panic!("no escape: {other}"),
        }
    }
    out.extend_from_slice(rest.as_bytes());
    if ends {
        out.extend_from_slice(b"\r\n");
    }
}

fn bytes(lines: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in lines {
        unescape(line, &mut out);
    }
    out
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let text = CASES.strip_suffix('\n').unwrap_or(CASES);
    let blocks = text.split("\n== ").skip(1);
    for block in blocks {
        let block = block.split("\n=== ").next().unwrap_or_default();
        // Its last line has lost its end to the next case.
        let block = format!("{block}\n");
        let mut lines = block.lines();
        let name = lines.next().expect("a name").to_owned();
        let lines: Vec<&str> = lines.collect();
        let at = lines.iter().position(|line| line.starts_with("-- "));
        let at = at.unwrap_or_else(|| panic!("{name}: no answer is given"));
        let mut words = lines[at][3..].split(' ').collect::<Vec<_>>();
        let partial = words.last() == Some(&"partial");
        if partial {
            words.pop();
        }
        let expected = [0, 1, 2].map(|index| Expected::parse(words[index]));
        let target = &lines[at + 1..];
        let nothing = target.iter().all(|line| line.is_empty());
        cases.push(Case {
            leaves: name.ends_with("(leaves)"),
            name,
            sent: bytes(&lines[..at]),
            expected,
            classification: words[3..].join(" "),
            partial,
            client: Ipv4Addr::from(0x7F01_0001 + u32::try_from(cases.len()).expect("few")),
            at_target: if nothing { Vec::new() } else { bytes(target) },
        });
    }
    cases
}

/// A target that keeps what it gets, byte for byte, and answers each whole request.
struct Recorder {
    address: SocketAddr,
    whole: Arc<Mutex<Vec<Vec<u8>>>>,
    /// What connections ended with that was no whole request.
    parts: Arc<Mutex<Vec<Vec<u8>>>>,
    open: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Recorder {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("bound");
        let whole: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let parts: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let open = Arc::new(AtomicUsize::new(0));
        let (all, rests, count) = (Arc::clone(&whole), Arc::clone(&parts), Arc::clone(&open));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (all, rests, count) =
                    (Arc::clone(&all), Arc::clone(&rests), Arc::clone(&count));
                count.fetch_add(1, Ordering::Relaxed);
                connections.spawn(async move {
                    let rest = record(stream, &all).await;
                    if !rest.is_empty() {
                        rests.lock().expect("not poisoned").push(rest);
                    }
                    count.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        Self {
            address,
            whole,
            parts,
            open,
            task,
        }
    }

    fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.whole.lock().expect("not poisoned"))
    }

    fn take_parts(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.parts.lock().expect("not poisoned"))
    }
}

/// Answers requests until the connection ends. Returns what was left.
async fn record(mut stream: TcpStream, all: &Mutex<Vec<Vec<u8>>>) -> Vec<u8> {
    let mut buffer = Vec::new();
    loop {
        while let Some(len) = request_len(&buffer) {
            let request: Vec<u8> = buffer.drain(..len).collect();
            all.lock().expect("not poisoned").push(request);
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            if stream.write_all(answer).await.is_err() {
                return buffer;
            }
        }
        // A reset ends it as well as a close does.
        if !matches!(stream.read_buf(&mut buffer).await, Ok(1..)) {
            return buffer;
        }
    }
}

fn line_len(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    Some(at + 2)
}

/// The length of the request that begins here, if all of it is here. Knows only what a balancer may
/// send; whatever else it sends shows in the comparison.
fn request_len(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    if head.contains("\r\ntransfer-encoding: chunked\r\n") {
        let mut at = end;
        loop {
            let len = line_len(&bytes[at..])?;
            let size = std::str::from_utf8(&bytes[at..at + len - 2]).ok()?;
            let size = usize::from_str_radix(size, 16).ok()?;
            at += len;
            if size == 0 {
                break;
            }
            if bytes.get(at + size..at + size + 2)? != b"\r\n" {
                return None;
            }
            at += size + 2;
        }
        loop {
            let len = line_len(&bytes[at..])?;
            at += len;
            if len == 2 {
                return Some(at);
            }
        }
    }
    let length = head
        .split_once("\r\ncontent-length: ")
        .and_then(|(_, rest)| rest.split_once("\r\n"))
        .map_or(Some(0), |(length, _)| length.parse::<usize>().ok())?;
    (bytes.len() >= end + length).then_some(end + length)
}

/// With the fields that tell of the client.
fn fill(at_target: &[u8], client: Ipv4Addr, port: u16) -> Vec<u8> {
    let client = client.to_string();
    let other = format!("X-Forwarded-Proto: http\r\nX-Forwarded-Port: {port}");
    let all = format!("X-Forwarded-For: {client}\r\n{other}");
    let mut out = Vec::with_capacity(at_target.len());
    let mut rest = at_target;
    while let [first, behind @ ..] = rest {
        if let Some(behind) = rest.strip_prefix(b"<f>") {
            out.extend_from_slice(all.as_bytes());
            rest = behind;
        } else if let Some(behind) = rest.strip_prefix(b"<g>") {
            out.extend_from_slice(other.as_bytes());
            rest = behind;
        } else if let Some(behind) = rest.strip_prefix(b"<a>") {
            out.extend_from_slice(client.as_bytes());
            rest = behind;
        } else {
            out.push(*first);
            rest = behind;
        }
    }
    out
}

fn split_requests(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let len = request_len(rest).unwrap_or(rest.len());
        all.push(rest[..len].to_vec());
        rest = &rest[len..];
    }
    all
}

/// What the client was told: statuses with their classification, and whether the connection ended.
async fn answers(client: &mut Wire, most: usize) -> (Vec<(u16, Option<String>)>, bool) {
    let mut got = Vec::new();
    while got.len() < most {
        // Whoever waits longer than this waits for what the other side does not know of.
        let response = tokio::time::timeout(PATIENCE, client.try_response()).await;
        let Ok(response) = response else {
            return (got, false);
        };
        let Ok(response) = response else {
            return (got, true);
        };
        if response.status() >= 200 {
            let class = response.head.get("x-longshore-classification");
            got.push((response.status(), class.map(ToOwned::to_owned)));
        }
    }
    (got, false)
}

/// The bytes with a port at the end of a line left out.
fn without(bytes: &[u8], port: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = rest.windows(port.len()).position(|part| part == port) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(b"\r\n");
        rest = &rest[at + port.len()..];
    }
    out.extend_from_slice(rest);
    out
}

fn lossy(all: &[Vec<u8>]) -> String {
    let mut text = String::new();
    for bytes in all {
        let bytes = &bytes[..bytes.len().min(600)];
        write!(text, "{:?} ", String::from_utf8_lossy(bytes)).expect("into memory");
    }
    text
}

/// Each case is a client of its own, so that what arrives late can be told apart.
async fn connect(from: Ipv4Addr, to: SocketAddr) -> Wire {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((from, 0).into()).expect("bound");
    socket.connect(to).await.expect("connected").into()
}

/// Runs one case. Tells what is wrong.
async fn run(
    case: &Case,
    expected: Expected,
    balancer: &Running,
    recorder: &Recorder,
) -> Result<(), String> {
    let address = balancer.address();
    let filled = |text: &[u8]| fill(text, case.client, address.port());
    let mut passing = split_requests(&filled(&case.at_target));
    let classification = (case.classification != "Compliant").then_some(&case.classification);
    let (mut statuses, ends) = match expected {
        Expected::Passes => (vec![(200, None); passing.len() + 1], false),
        Expected::PassesLast => (vec![(200, None); passing.len()], true),
        Expected::PassesThenRefused => (vec![(200, None); passing.len()], true),
        Expected::Refused(status) => (vec![(status, classification.cloned())], true),
        Expected::NoAnswer => (Vec::new(), true),
    };
    match expected {
        Expected::Passes => passing.push(filled(NEXT_AT_TARGET.as_bytes())),
        Expected::PassesLast | Expected::PassesThenRefused => {}
        Expected::Refused(_) | Expected::NoAnswer => passing.clear(),
    }
    let mut client = connect(case.client, address).await;
    let mut sent = case.sent.clone();
    if !case.leaves {
        sent.extend_from_slice(NEXT.as_bytes());
    }
    client.send(&sent).await;
    if case.leaves {
        client.stream.shutdown().await.expect("shut down");
    }
    let most = if ends { 10 } else { statuses.len() };
    let (mut got, ended) = answers(&mut client, most).await;
    if expected == Expected::PassesThenRefused {
        // What is wrong behind the case is not of interest here.
        if let Some(last) = got.last_mut() {
            last.1 = None;
        }
        statuses.push((400, None));
    }
    // The listener's port is put behind a Host without one; see `attributes.rs`.
    let port = format!(":{}\r\n", address.port());
    let bare = |requests: Vec<Vec<u8>>| -> Vec<Vec<u8>> {
        let requests = requests.iter();
        requests
            .map(|bytes| without(bytes, port.as_bytes()))
            .collect()
    };
    let (seen, passing) = (bare(recorder.take()), bare(passing));
    let mut faults = String::new();
    if got != statuses || ended != ends {
        let end = if ended { "the end" } else { "no end" };
        write!(faults, "\n  told {got:?} and {end}").expect("into memory");
    }
    if seen != passing {
        write!(faults, "\n  at the target: {}", lossy(&seen)).expect("into memory");
        write!(faults, "\n  instead of: {}", lossy(&passing)).expect("into memory");
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults)
    }
}

/// Runs all cases with these settings. Tells what is wrong.
async fn run_all(
    cases: &[Case],
    settings: &str,
    expected: impl Fn(&Case) -> Expected,
) -> Result<(), String> {
    let recorder = Recorder::start().await;
    let top = format!(
        "load_balancer: {{{settings}, enable_x_amzn_trace_id: false}}\nruntime: {{workers: 1}}"
    );
    let no_check = "health_check: {enabled: false}";
    let balancer = start(&fixed(&[recorder.address], no_check, &top)).await;
    let mut wrong = String::new();
    for case in cases {
        if let Err(fault) = run(case, expected(case), &balancer, &recorder).await {
            write!(wrong, "\n{} ({settings}):{fault}", case.name).expect("into memory");
        }
    }
    // One connection may be idle; whatever ends has ended then.
    eventually("connections with parts of requests end", async || {
        (recorder.open.load(Ordering::Relaxed) <= 1).then_some(())
    })
    .await;
    for part in recorder.take_parts() {
        let whose = cases.iter().find(|case| {
            let line = format!("X-Forwarded-For: {}\r\n", case.client);
            part.windows(line.len())
                .any(|bytes| bytes == line.as_bytes())
        });
        if !whose.is_some_and(|case| case.partial) {
            let name = whose.map(|case| &*case.name);
            let part = lossy(&[part]);
            write!(wrong, "\n{name:?} ({settings}): a part: {part}").expect("into memory");
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

#[tokio::test]
async fn of_each_raw_request_the_target_gets_exactly_what_it_may_in_each_mode() {
    let cases = cases();
    assert!(cases.len() >= 150, "only {} cases", cases.len());
    let mut wrong = String::new();
    for (index, mode) in MODES.into_iter().enumerate() {
        let settings = format!("desync_mitigation_mode: {mode}");
        if let Err(faults) = run_all(&cases, &settings, |case| case.expected[index]).await {
            wrong.push_str(&faults);
        }
    }
    println!("{} cases in {} modes", cases.len(), MODES.len());
    assert!(wrong.is_empty(), "{wrong}");
}

#[tokio::test]
async fn only_a_body_of_get_or_head_with_one_length_passes_if_that_is_wanted() {
    let cases = cases();
    // What has something else about it is refused as ever, though the finding is the same.
    let passes = |case: &Case| {
        case.classification == "Ambiguous UndefinedContentLengthSemantics"
            && case.expected[0] == Expected::PassesLast
            && !case.name.contains("mixed")
    };
    assert!(cases.iter().filter(|case| passes(case)).count() >= 2);
    for (mode, index) in [("defensive", 1), ("strictest", 2)] {
        let settings = format!("desync_mitigation_mode: {mode}, allow_get_body: true");
        let expected = |case: &Case| {
            if passes(case) && mode == "defensive" {
                Expected::PassesLast
            } else {
                case.expected[index]
            }
        };
        let ran = run_all(&cases, &settings, expected).await;
        assert_eq!(ran, Ok(()));
    }
}

#[test]
fn nothing_ambiguous_or_severe_passes_in_defensive_and_strictest() {
    let mut counted = 0;
    for case in cases() {
        let [monitor, defensive, strictest] = case.expected;
        let passes = |expected| !matches!(expected, Expected::Refused(_) | Expected::NoAnswer);
        let class = case.classification.split(' ').next().unwrap_or_default();
        match class {
            "Ambiguous" => {
                assert!(!passes(defensive) && !passes(strictest), "{}", case.name);
                assert!(monitor != Expected::Passes, "{}", case.name);
            }
            "Severe" => assert!(!passes(monitor) && !passes(defensive), "{}", case.name),
            "Acceptable" => assert!(!passes(strictest), "{}", case.name),
            "Compliant" => continue,
            other => panic!("{}: no class: {other}", case.name),
        }
        counted += 1;
    }
    assert!(counted > 100, "{counted}");
}
