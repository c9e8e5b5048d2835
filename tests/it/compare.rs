//! `longshore compare` finds what one address adds to another, and says when it does not know.

mod refusals;
mod reports;

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
    let number = |value: &Value| value.as_f64().expect("a number");
    // Where other tests leave the load no turn, it may say so, and be wrong.
    let tried = async |other: &str, is_right: &dyn Fn(&Value, bool) -> bool| {
        let mut wrong = Vec::new();
        for _ in 0..4 {
            let (code, found) = figures(&quick, other, &load).await;
            assert!(code == 0 || code == NOT_VALID, "{found:#}");
            if is_right(&found["steps"][0]["added"], code == 0) {
                return;
            }
            wrong.push(found);
        }
        panic!("{wrong:#?}");
    };
    let finds_the_delay = |added: &Value, is_valid: bool| {
        let is_it = |added: &Value| {
            let off = number(&added["milliseconds"]) - DELAY_MS as f64;
            TOLERANCE_MS.contains(&off)
        };
        let is_certain = number(&added[0]["interval"][0]) > 0.0 && added[0]["is_certain"] == true;
        is_it(&added[0]) && is_certain && (is_it(&added[1]) || !is_valid)
    };
    tried(&slow, &finds_the_delay).await;
    let finds_none = |added: &Value, _: bool| {
        let (low, high) = (
            number(&added[0]["interval"][0]),
            number(&added[0]["interval"][1]),
        );
        let contains = low <= 0.0 && high >= 0.0;
        contains || number(&added[0]["milliseconds"]).abs() < 1.0
    };
    tried(&equal, &finds_none).await;
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
    // A busy machine takes a little longer than the turn for the last answer.
    let per_second = side["connections_per_second"].as_f64().expect("a number");
    assert!((50.0..=100.0).contains(&per_second), "{found:#}");
    let cost = &found["steps"][0]["cost"];
    assert_eq!(cost["dimension"], "new connections");
    let lcus = cost["lcus_paid"].as_f64().expect("a number");
    assert!((lcus - per_second / 25.0).abs() < 1e-6, "{found:#}");
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
