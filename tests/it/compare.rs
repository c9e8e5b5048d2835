//! `longshore compare` finds what one address adds to another, and says when it does not know.

use std::net::SocketAddr;
use std::process::Output;
use std::time::Duration;

use longshore_tests::balancer::{fixed, https, start};
use longshore_tests::certificates::{Folder, Key};
use longshore_tests::origin::{Origin, response};
use longshore_tests::process::{Process, TempFile, free_port, output};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The delay that a report has to find. What is found may be this much off: a timer of the relay
/// is late by up to a millisecond, and a busy machine adds to it.
const DELAY_MS: u64 = 5;
const TOLERANCE_MS: std::ops::Range<f64> = -0.5..4.0;

/// The exit status of figures that are not valid, as a busy machine makes them.
const NOT_VALID: i32 = 3;

/// Runs the command while the servers of the test go on.
async fn compare(arguments: &[&str]) -> Output {
    let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
    let running = tokio::task::spawn_blocking(move || {
        let mut all = vec!["compare"];
        all.extend(arguments.iter().map(String::as_str));
        output(&all)
    });
    running.await.expect("it runs")
}

/// What it said: exit status, standard output and error.
fn said(got: &Output) -> (i32, String, String) {
    (
        got.status.code().expect("no signal"),
        String::from_utf8_lossy(&got.stdout).into_owned(),
        String::from_utf8_lossy(&got.stderr).into_owned(),
    )
}

/// Runs it, and reads the JSON that it writes.
async fn figures(a: &str, b: &str, more: &[&str]) -> (i32, Value) {
    let file = TempFile::new("");
    let path = file.path().to_str().expect("text");
    let got = compare(&[&[a, b, "--json", path][..], more].concat()).await;
    let (code, out, error) = said(&got);
    let text = std::fs::read_to_string(path).expect("a file");
    let json = serde_json::from_str(&text);
    (
        code,
        json.unwrap_or_else(|why| panic!("{why}: {out}{error}")),
    )
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}/")
}

/// A quick run.
const QUICK: [&str; 8] = [
    "--rate",
    "100",
    "--duration",
    "300ms",
    "--warmup",
    "0s",
    "--rounds",
    "2",
];

/// Relays connections, and holds back what the server says.
async fn relay(to: SocketAddr, delay: Duration) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut pairs = JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            pairs.spawn(pair(client, to, delay));
        }
    });
    (address, tasks)
}

async fn pair(mut client: TcpStream, to: SocketAddr, delay: Duration) {
    let mut server = TcpStream::connect(to).await.expect("the origin is there");
    client.set_nodelay(true).expect("set");
    server.set_nodelay(true).expect("set");
    let (mut from_client, mut from_server) = (vec![0; 4096], vec![0; 4096]);
    loop {
        // Whoever ends, or writes to somebody who has ended, ends both.
        let moved = tokio::select! {
            count = client.read(&mut from_client) => match count {
                Ok(count @ 1..) => server.write_all(&from_client[..count]).await,
                _ => return,
            },
            count = server.read(&mut from_server) => match count {
                Ok(count @ 1..) => {
                    if !delay.is_zero() {
                        tokio::time::sleep(delay).await;
                    }
                    client.write_all(&from_server[..count]).await
                }
                _ => return,
            },
        };
        if moved.is_err() {
            return;
        }
    }
}

/// A Longshore process before a target.
fn proxy(to: SocketAddr) -> (Process, SocketAddr, TempFile) {
    let text = fixed(&[to], "health_check: {enabled: false}", "");
    let listener = format!("127.0.0.1:{}", free_port());
    let file = TempFile::new(&text.replace("127.0.0.1:1\n", &format!("{listener}\n")));
    let (process, address) = Process::run(&file);
    (process, address, file)
}

#[tokio::test]
async fn it_finds_a_known_delay_and_no_delay_between_equals() {
    let origin = Origin::ok("hello").await;
    let (at_once, _tasks) = relay(origin.address, Duration::ZERO).await;
    let (delayed, _more) = relay(origin.address, Duration::from_millis(DELAY_MS)).await;
    let proxies = [proxy(at_once), proxy(at_once), proxy(delayed)];
    let [quick, equal, slow] = proxies.each_ref().map(|(_, address, _)| url(*address));
    let load = [
        "--rate",
        "200",
        "--duration",
        "600ms",
        "--warmup",
        "200ms",
        "--rounds",
        "6",
        "--seed",
        "1",
    ];
    let (code, found) = figures(&quick, &slow, &load).await;
    assert!(code == 0 || code == NOT_VALID, "{found:#}");
    let added = &found["steps"][0]["added"];
    let number = |value: &Value| value.as_f64().expect("a number");
    for percentile in [&added[0], &added[1]] {
        let off = number(&percentile["milliseconds"]) - DELAY_MS as f64;
        assert!(
            TOLERANCE_MS.contains(&off) || code == NOT_VALID,
            "{found:#}"
        );
    }
    assert!(number(&added[0]["interval"][0]) > 0.0, "{found:#}");
    assert_eq!(added[0]["is_certain"], true, "{found:#}");
    let off = number(&added[0]["milliseconds"]) - DELAY_MS as f64;
    assert!(TOLERANCE_MS.contains(&off), "{found:#}");

    let (code, found) = figures(&quick, &equal, &load).await;
    assert!(code == 0 || code == NOT_VALID, "{found:#}");
    let added = &found["steps"][0]["added"][0];
    let (low, high) = (number(&added["interval"][0]), number(&added["interval"][1]));
    let contains = low <= 0.0 && high >= 0.0;
    let small = number(&added["milliseconds"]).abs() < 1.0;
    assert!(contains || small, "{found:#}");
}

#[tokio::test]
async fn a_stall_is_paid_for_by_all_requests_that_were_due_meanwhile() {
    // One answer in each turn of 100 takes 300 ms, on the only connection.
    let stalling = Origin::at(([127, 0, 0, 1], 0).into(), |mut wire, seen| async move {
        for number in 0u32.. {
            let Some(request) = longshore_tests::origin::read(&mut wire).await else {
                return;
            };
            seen.lock().expect("not poisoned").push(request);
            if number == 20 {
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            let answer = response(200, "");
            if wire.stream.write_all(&answer).await.is_err() {
                return;
            }
        }
    })
    .await;
    let steady = Origin::ok("").await;
    let load = [
        "--rate",
        "100",
        "--duration",
        "1s",
        "--warmup",
        "0s",
        "--rounds",
        "2",
        "--connections",
        "1",
    ];
    let (_, found) = figures(&url(steady.address), &url(stalling.address), &load).await;
    // 30 of 100 were due within it, and waited for 0 to 300 ms: a tenth of all for at least 200.
    let latency = &found["steps"][0]["sides"][1]["latency"];
    assert!(latency["p90"].as_f64() > Some(150.0), "{found:#}");
    assert!(latency["max"].as_f64() >= Some(295.0), "{found:#}");
    assert_eq!(found["steps"][0]["sides"][1]["succeeded"], 200, "{found:#}");
}

#[tokio::test]
async fn beyond_loopback_it_refuses_and_sends_nothing() {
    let origin = Origin::ok("").await;
    // An address for documents, which is nobody's.
    let got = compare(&[&url(origin.address), "http://192.0.2.1:9/"]).await;
    let (code, out, error) = said(&got);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(
        error.starts_with("longshore: URL_B: http://192.0.2.1:9/: "),
        "{error}"
    );
    assert!(error.contains("--yes-i-own-both"), "{error}");
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn errors_are_counted_by_kind_and_side() {
    let good = Origin::ok("").await;
    let count = std::sync::atomic::AtomicU32::new(0);
    let bad = Origin::http(move |_| {
        // The first one is the look before.
        match count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 4 {
            1 => response(503, ""),
            2 => response(404, ""),
            3 => Vec::new(),
            _ => response(200, ""),
        }
    })
    .await;
    let (code, found) = figures(&url(good.address), &url(bad.address), &QUICK).await;
    assert!(code == 4 || code == NOT_VALID, "{code}");
    let [a, b] = [
        &found["steps"][0]["sides"][0],
        &found["steps"][0]["sides"][1],
    ];
    assert_eq!(a["failed"], 0, "{found:#}");
    assert_eq!(a["succeeded"], 60, "{found:#}");
    assert_eq!(
        (&b["due"], &b["failed"]),
        (&60.into(), &45.into()),
        "{found:#}"
    );
    for kind in ["status_5xx", "status_4xx", "reset"] {
        assert_eq!(b["errors"][kind], 15, "{found:#}");
    }
    let warnings = found["warnings"].to_string();
    assert!(
        warnings.contains("75 % of the requests to B failed;"),
        "{warnings}"
    );
}

#[tokio::test]
async fn a_side_that_is_silent_costs_timeouts_and_what_was_not_sent_is_told() {
    let good = Origin::ok("").await;
    let silent = Origin::at(([127, 0, 0, 1], 0).into(), |mut wire, seen| async move {
        let Some(request) = longshore_tests::origin::read(&mut wire).await else {
            return;
        };
        let first = {
            let mut seen = seen.lock().expect("not poisoned");
            seen.push(request);
            seen.len() == 1
        };
        if first {
            wire.stream
                .write_all(&response(200, ""))
                .await
                .unwrap_or_default();
        }
        // Until the client has had enough.
        let ended = wire.stream.read_u8().await;
        assert!(ended.is_err(), "it sends no more");
    })
    .await;
    let more = ["--timeout", "200ms", "--connections", "1", "--rounds", "1"];
    let load = [&QUICK[..], &more].concat();
    let (_, found) = figures(&url(good.address), &url(silent.address), &load).await;
    let side = &found["steps"][0]["sides"][1];
    assert_eq!(
        (&side["due"], &side["failed"]),
        (&30.into(), &30.into()),
        "{found:#}"
    );
    let errors = &side["errors"];
    let (late, unsent) = (errors["timeout"].as_u64(), errors["not_sent"].as_u64());
    assert!(late >= Some(1) && unsent >= Some(20), "{found:#}");
    assert_eq!(
        found["steps"][0]["added"],
        serde_json::json!([]),
        "{found:#}"
    );
}

#[tokio::test]
async fn requests_are_as_they_were_asked_for() {
    let (a, b) = (Origin::ok("").await, Origin::ok("").await);
    let more = [
        "-X",
        "PUT",
        "-H",
        "x-one: 1",
        "--header",
        "x-one: 2",
        "--path",
        "/p?q=1",
        "--host",
        "shop.example.com",
        "--body-size",
        "0,1KiB",
        "--connections",
        "3",
    ];
    let (_, found) = figures(
        &url(a.address),
        &url(b.address),
        &[&QUICK[..], &more].concat(),
    )
    .await;
    for origin in [&a, &b] {
        let seen = origin.seen();
        // One before the load, and 30 in each of 2 rounds.
        assert_eq!(seen.len(), 61, "{found:#}");
        for request in &seen {
            assert_eq!(request.head.line, "PUT /p?q=1 HTTP/1.1");
            assert_eq!(request.head.get("host"), Some("shop.example.com"));
        }
        let sizes = |size| {
            seen.iter()
                .filter(|request| request.body.len() == size)
                .count()
        };
        assert_eq!((sizes(0), sizes(1024)), (31, 30));
        // Three for each round, and one before.
        assert_eq!(origin.connections(), 7);
    }
}

#[tokio::test]
async fn churn_is_a_connection_for_each_request() {
    let (a, b) = (Origin::ok("").await, Origin::ok("").await);
    let load = [&QUICK[..], &["--churn"]].concat();
    let (_, found) = figures(&url(a.address), &url(b.address), &load).await;
    assert_eq!((a.connections(), b.connections()), (61, 61));
    let side = &found["steps"][0]["sides"][0];
    assert_eq!(side["connections_per_second"], 100.0, "{found:#}");
    assert_eq!(found["steps"][0]["cost"]["dimension"], "new connections");
    assert_eq!(found["steps"][0]["cost"]["lcus_paid"], 4.0, "{found:#}");
}

#[tokio::test]
async fn tls_and_http2_are_spoken_where_they_are_asked_for() {
    let folder = Folder::default();
    folder.make("site", &["shop.example.com"], Key::Ecdsa, 30);
    let (secure, _origin) = https(&folder, "site", "").await;
    let plain = Origin::ok("").await;
    let clear = start(&fixed(
        &[plain.address],
        "health_check: {enabled: false}",
        "",
    ))
    .await;
    let at = format!("https://{}/", secure.address());
    let ca = folder.path("site.pem");
    let own = ["--ca", &ca, "--host", "shop.example.com"];
    for (more, protocol) in [
        (&["--insecure"][..], "TLS 1.3, HTTP/2"),
        (
            &["--insecure", "--http", "1", "--churn", "--full-handshakes"],
            "TLS 1.3, HTTP/1.1",
        ),
        (&own, "TLS 1.3, HTTP/2"),
    ] {
        // Handshakes are slow without optimisation.
        let load = [&QUICK[..], &["--rate", "20"], more].concat();
        let (_, found) = figures(&at, &url(clear.address()), &load).await;
        let sides = &found["sides"];
        assert_eq!(sides[0]["protocol"], protocol, "{more:?}");
        assert_eq!(sides[1]["protocol"], "HTTP/1.1", "{more:?}");
        assert!(found["warnings"].to_string().contains("--http chooses"));
        for side in [0, 1] {
            assert_eq!(
                found["steps"][0]["sides"][side]["succeeded"], 60,
                "{found:#}"
            );
        }
    }
    // Both with HTTP/2, one by ALPN and one at once.
    let load = [&QUICK[..], &["--insecure", "--http", "2"]].concat();
    let (_, found) = figures(&at, &url(clear.address()), &load).await;
    assert_eq!(found["sides"][1]["protocol"], "HTTP/2");
    let side = &found["steps"][0]["sides"][1];
    assert_eq!(side["succeeded"], side["due"], "{found:#}");
    // Nobody has signed it; it is for another name; there is no TLS; there is only TLS.
    for (a, more, told) in [
        (&at, &[][..], "--ca FILE"),
        (&at, &["--ca", &ca], "--host"),
        (
            &format!("https://{}/", plain.address),
            &["--insecure"],
            "http://",
        ),
        (&format!("http://{}/", secure.address()), &[], "HTTP"),
    ] {
        let got = compare(&[&[a.as_str(), &url(clear.address())][..], more].concat()).await;
        let (code, out, error) = said(&got);
        let refused = code == 1 && out.is_empty() && error.starts_with("longshore: URL_A: ");
        // A server of TLS may answer plain HTTP with 400, which is an answer.
        assert!(
            refused && error.contains(told) || told == "HTTP",
            "{code} {out}{error}"
        );
    }
}

#[tokio::test]
async fn what_is_wrong_is_told_with_its_place_and_mend() {
    let origin = Origin::ok("").await;
    let (good, dead) = (
        url(origin.address),
        format!("http://127.0.0.1:{}/", free_port()),
    );
    for (arguments, code, told) in [
        (vec![good.as_str(), &good], 2, "--allow-equal"),
        (vec![&good, "nonsense"], 2, "URL_B"),
        (vec![&good, "ftp://127.0.0.1/"], 2, "http:// or https://"),
        (vec![&good], 2, "URL_B"),
        (vec![&good, &dead], 1, "Is something listening on port"),
        (vec![&good, "http://nobody.invalid/"], 1, "nobody.invalid"),
        (vec![&good, &dead, "--rate", "0"], 2, "--rate"),
        (
            vec![&good, &dead, "--json", "/nowhere/x.json"],
            1,
            "--json /nowhere/x.json",
        ),
        (
            vec![&good, &dead, "--html", "/nowhere/x.html"],
            1,
            "--html /nowhere/x.html",
        ),
        (
            vec![&good, "https://127.0.0.1:1/", "--ca", "/nowhere/ca.pem"],
            1,
            "--ca /nowhere/ca.pem",
        ),
        (
            vec![&good, &dead, "--duration", "10m", "--rounds", "100"],
            2,
            "--rounds",
        ),
    ] {
        let got = compare(&arguments).await;
        let (found, out, error) = said(&got);
        assert_eq!((found, out.as_str()), (code, ""), "{arguments:?}: {error}");
        assert!(error.contains(told), "{arguments:?}: {error}");
    }
}

#[tokio::test]
async fn figures_of_a_generator_that_was_late_are_not_valid() {
    let (a, b) = (Origin::ok("").await, Origin::ok("").await);
    let file = TempFile::new("");
    let path = file.path().to_str().expect("text").to_owned();
    let (at_a, at_b) = (url(a.address), url(b.address));
    let mut process = Process::start(&[
        "compare",
        &at_a,
        &at_b,
        "--rate",
        "50",
        "--duration",
        "2s",
        "--warmup",
        "0s",
        "--rounds",
        "1",
        "--json",
        &path,
    ]);
    longshore_tests::eventually("load", async || (b.seen().len() > 5).then_some(())).await;
    // A quarter of what is due to B is due while the generator does nothing.
    process.signal("STOP");
    tokio::time::sleep(Duration::from_millis(500)).await;
    process.signal("CONT");
    let waiting = tokio::task::spawn_blocking(move || (process.wait(), process));
    let (status, mut process) = waiting.await.expect("waited");
    assert_eq!(status.code(), Some(NOT_VALID));
    process.wait_for_line("the generator did not keep the rate");
    let found: Value =
        serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("JSON");
    assert_eq!(found["is_valid"], false, "{found:#}");
    assert!(
        found["steps"][0]["sides"][1]["late"].as_f64() > Some(0.1),
        "{found:#}"
    );
    let warnings = found["warnings"].to_string();
    assert!(warnings.contains("at 50/s are NOT VALID"), "{warnings}");
}

#[tokio::test]
async fn what_a_side_cannot_answer_is_told_and_not_left_out() {
    let (a, b) = (Origin::ok("").await, Origin::ok("").await);
    let load = [&QUICK[..], &["--rate", "200000", "--timeout", "500ms"]].concat();
    let (code, found) = figures(&url(a.address), &url(b.address), &load).await;
    assert!(code == 4 || code == NOT_VALID, "{found:#}");
    let side = &found["steps"][0]["sides"][0];
    let sum = side["succeeded"]
        .as_u64()
        .zip(side["failed"].as_u64())
        .map(|(a, b)| a + b);
    assert_eq!(sum, side["due"].as_u64(), "{found:#}");
    assert!(side["errors"]["not_sent"].as_u64() > Some(0), "{found:#}");
    // What was answered late is no rate that was kept.
    let achieved = side["achieved"].as_f64().expect("a number");
    let most = side["succeeded"].as_f64().expect("a number") / 0.6;
    assert!(achieved < most / 1.5, "{found:#}");
}

#[tokio::test]
async fn steps_are_rates_or_parts_of_a_maximum_that_is_given_or_found() {
    let (a, b) = (Origin::ok("").await, Origin::ok("").await);
    let (a, b) = (url(a.address), url(b.address));
    let load = ["--duration", "200ms", "--warmup", "0s", "--rounds", "1"];
    let rates = async |more: &[&str]| -> (Vec<f64>, Option<f64>) {
        let (_, found) = figures(&a, &b, &[&load[..], more].concat()).await;
        let steps = found["steps"].as_array().expect("a list").clone();
        let rate = |step: &Value| step["rate"].as_f64().expect("a number");
        (steps.iter().map(rate).collect(), found["maximum"].as_f64())
    };
    assert_eq!(
        rates(&["--steps", "50,100"]).await,
        (vec![50.0, 100.0], None)
    );
    let given = ["--steps", "50%,100%", "--maximum", "120"];
    assert_eq!(rates(&given).await, (vec![60.0, 120.0], Some(120.0)));
    let (found, maximum) = rates(&["--steps", "10%", "--connections", "2"]).await;
    let maximum = maximum.expect("found");
    assert!(maximum > 20.0, "{maximum}");
    assert!((found[0] - maximum / 10.0).abs() < 1e-6);
}

#[tokio::test]
async fn the_page_is_whole_and_loads_nothing_and_nothing_but_the_table_is_printed() {
    let (a, b) = (Origin::ok("").await, Origin::ok("").await);
    let page = TempFile::new("");
    let path = page.path().to_str().expect("text");
    let urls = [url(a.address), url(b.address) + "?a=<b>"];
    let load = [&QUICK[..], &["--html", path, "--steps", "50,100"]].concat();
    let load: Vec<&str> = load
        .into_iter()
        .filter(|text| !["--rate", "100"].contains(text))
        .collect();
    let got = compare(&[&[urls[0].as_str(), &url(b.address)][..], &load].concat()).await;
    let (code, out, error) = said(&got);
    assert!(code == 0 || code == NOT_VALID, "{error}");
    // No progress where there is no terminal.
    assert!(!error.contains('\r') && !error.contains('%'), "{error}");
    for row in ["p50", "p90", "p99", "p99.9", "B ADDS", "LCU", "seed"] {
        assert!(out.contains(row), "{out}");
    }
    let html = std::fs::read_to_string(path).expect("written");
    assert!(
        html.starts_with("<!doctype html>") && html.ends_with("</html>\n"),
        "{html}"
    );
    assert!(html.matches("<svg").count() >= 7);
    // The only addresses in it are those that were measured, as text.
    let text = html
        .replace(&url(a.address), "")
        .replace(&url(b.address), "");
    for foreign in [
        "http:", "https:", "src=", "href=", "url(", "@import", "<script",
    ] {
        assert!(!text.contains(foreign), "{foreign}");
    }
}

#[tokio::test]
async fn the_examples_of_the_manual_run_as_they_stand() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    let page = std::fs::read_to_string(root.join("docs/src/compare.md")).expect("a page");
    let (a, b) = (Origin::ok("hello").await, Origin::ok("hello").await);
    let folder = Folder::default();
    folder.make("site", &["shop.example.com"], Key::Ecdsa, 30);
    std::fs::create_dir_all(folder.path("certs")).expect("made");
    std::fs::copy(folder.path("site.pem"), folder.path("certs/site.pem")).expect("copied");
    let (secure, _origin) = https(&folder, "site", "").await;
    let (other, _more) = https(&folder, "site", "").await;
    let mut count = 0;
    let blocks = page.split("\n```sh\n").skip(1);
    for block in blocks.filter_map(|rest| rest.split("\n```").next()) {
        let block = block.replace("\\\n", " ");
        for line in block
            .lines()
            .filter_map(|line| line.strip_prefix("longshore "))
        {
            // The addresses of the page are those of the test here, and load is little and short.
            let line = line
                .replace(
                    "https://127.0.0.1:8443",
                    &format!("https://{}", secure.address()),
                )
                .replace(
                    "https://127.0.0.1:9443",
                    &format!("https://{}", other.address()),
                )
                .replace(
                    "http://127.0.0.1:8080",
                    url(a.address).trim_end_matches('/'),
                )
                .replace(
                    "http://127.0.0.1:9090",
                    url(b.address).trim_end_matches('/'),
                )
                .replace(
                    "https://alb.example.com",
                    &format!("https://{}", secure.address()),
                )
                .replace(
                    "https://longshore.example.com",
                    &format!("https://{}", other.address()),
                );
            let short = [
                "--duration",
                "200ms",
                "--warmup",
                "0s",
                "--rounds",
                "2",
                "--insecure",
            ];
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let insecure = !line.contains("--ca");
            let place = folder.path("");
            let got = tokio::task::spawn_blocking(move || {
                std::process::Command::new(longshore_tests::process::binary())
                    .args(&words)
                    .args(if insecure { &short[..] } else { &short[..6] })
                    .current_dir(place)
                    .output()
                    .expect("runs")
            });
            let (code, out, error) = said(&got.await.expect("runs"));
            assert!(
                code == 0 || code == NOT_VALID,
                "{line}: {code}\n{out}{error}"
            );
            count += 1;
        }
    }
    assert!(count >= 6, "{count} examples");
}

#[tokio::test]
async fn what_was_measured_before_ctrl_c_is_shown() {
    let (a, b) = (Origin::ok("").await, Origin::ok("").await);
    let file = TempFile::new("");
    let path = file.path().to_str().expect("text").to_owned();
    let (at_a, at_b) = (url(a.address), url(b.address));
    let mut process = Process::start(&[
        "compare",
        &at_a,
        &at_b,
        "--rate",
        "50",
        "--duration",
        "200ms",
        "--warmup",
        "0s",
        "--rounds",
        "100",
        "--json",
        &path,
    ]);
    longshore_tests::eventually("some rounds are over", async || {
        (b.seen().len() > 40).then_some(())
    })
    .await;
    process.signal("INT");
    let status = tokio::task::spawn_blocking(move || process.wait())
        .await
        .expect("waited");
    assert!(
        [Some(0), Some(NOT_VALID)].contains(&status.code()),
        "{status}"
    );
    let found: Value =
        serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("JSON");
    let rounds = found["rounds"].as_u64().expect("a number");
    assert!((1..100).contains(&rounds), "{found:#}");
}
