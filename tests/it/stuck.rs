//! Who reads what the process writes, and stops reading: nobody else notices.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use longshore_tests::origin::Origin;
use longshore_tests::process::{Process, TempFile, binary, free_port};
use longshore_tests::wire::Wire;
use longshore_tests::{admin, eventually, within};
use tokio::io::AsyncWriteExt as _;

/// A process that does not outlive its test.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap_or_default();
        self.0.wait().map(drop).unwrap_or_default();
    }
}

/// Scrapers that hang.
const HUNG: u64 = 4;

/// The value of a series, if the server has room to tell it.
async fn figure(at: SocketAddr, series: &str) -> Option<f64> {
    let mut client = Wire::connect(at).await;
    let head = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    client.stream.write_all(head).await.ok()?;
    let text = client.try_response().await.ok()?.text();
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    value.parse().ok()
}

fn config(origin: &Origin) -> (TempFile, SocketAddr, SocketAddr) {
    let (port, admin) = (free_port(), free_port());
    // Many groups make a long text of metrics.
    let groups: String = (0..200)
        .map(|number| {
            format!("  - {{name: g{number}, targets: [], health_check: {{enabled: false}}}}\n")
        })
        .collect();
    let file = TempFile::new(&format!(
        "admin: {{address: '127.0.0.1:{admin}'}}
listeners: [{{name: web, address: '127.0.0.1:{port}', default_action: [{{type: forward, target_group: app}}]}}]
target_groups:
  - {{name: app, targets: [{{address: 127.0.0.1, port: {}}}], health_check: {{enabled: false}}}}
{groups}",
        origin.address.port()
    ));
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    (file, at(port), at(admin))
}

#[tokio::test]
async fn scrapers_that_never_read_cost_little_memory_and_are_let_go() {
    let origin = Origin::ok("ok").await;
    let (file, _, at) = config(&origin);
    let (mut process, web) = Process::run(&file);
    let size = admin::get(at, "/metrics").await.body.len();
    let before = process.memory();
    let mut hung = Vec::new();
    for _ in 0..HUNG {
        let mut client = Wire::connect(at).await;
        client
            .send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(200))
            .await;
        hung.push(client);
    }
    // Traffic goes on meanwhile.
    let mut client = Wire::connect(web).await;
    let mut slowest = Duration::ZERO;
    for _ in 0..200 {
        let began = Instant::now();
        assert_eq!(client.get("/").await.status(), 200);
        slowest = slowest.max(began.elapsed());
    }
    println!("{size} bytes of metrics; the slowest of 200 requests took {slowest:?}");
    assert_eq!(admin::get(at, "/livez").await.status(), 200);
    // More than there is room for are not served.
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(Wire::connect(at).await);
    }
    let last = idle.last_mut().expect("a hundred");
    assert_eq!(within("the end", last.rest()).await, b"");
    drop(idle);
    let of = |result: &str| format!("longshore_admin_connections_total{{result=\"{result}\"}}");
    // What the kernel holds for each has to be rendered first, which takes its time on a busy machine.
    eventually("the first is let go", async || {
        (figure(at, &of("stalled")).await? >= 1.0).then_some(())
    })
    .await;
    eventually("those that hang are let go", async || {
        (figure(at, &of("stalled")).await? == HUNG as f64).then_some(())
    })
    .await;
    assert!(
        figure(at, &of("refused"))
            .await
            .is_some_and(|count| count > 0.0)
    );
    let grown = process.memory().saturating_sub(before);
    // One answer for each connection that may be open, and not one for each request.
    let most = HUNG * 3 * size as u64 + 64 * 1024 * 1024;
    assert!(grown < most, "{grown} bytes, {size} each");
    drop(hung);
    process.signal("TERM");
    assert!(process.wait().success());
}

#[tokio::test]
async fn the_admin_server_stands_back_behind_those_that_serve() {
    let origin = Origin::ok("ok").await;
    let (file, _, at) = config(&origin);
    let (process, _) = Process::run(&file);
    // What renders it has begun then, too.
    assert_eq!(admin::get(at, "/metrics").await.status(), 200);
    let folder = format!("/proc/{}/task", process.id());
    let threads = std::fs::read_dir(folder).expect("it runs");
    let nice: Vec<(String, i32)> = threads
        .map(|thread| {
            let stat = thread.expect("listed").path().join("stat");
            let stat = std::fs::read_to_string(stat).expect("it has not ended");
            // proc_pid_stat(5): the name in brackets, and nice as the 17th field behind it.
            let (before, after) = stat.split_once(") ").expect("a name");
            let name = before.split_once('(').expect("a name").1;
            let nice = after.split(' ').nth(16).expect("a field");
            (name.to_owned(), nice.parse().expect("a number"))
        })
        .collect();
    let of = |name: &str| {
        let found = nice.iter().find(|(thread, _)| thread == name);
        found.expect("there is one").1
    };
    // The tests may be run with a lower priority themselves.
    let usual = of("control");
    assert_eq!(of("worker-0"), usual, "{nice:?}");
    assert_eq!(of("admin"), (usual + 10).min(19), "{nice:?}");
    assert_eq!(of("tokio-rt-worker"), (usual + 10).min(19), "{nice:?}");
}

#[tokio::test]
async fn a_log_that_nobody_reads_stops_nothing() {
    let origin = Origin::ok("ok").await;
    let (file, web, at) = config(&origin);
    let child = Command::new(binary())
        .args(["run", "-c", file.path().to_str().expect("text")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let mut child = Killed(child);
    // It is read up to the line that says that it listens, and never again.
    let mut stderr = BufReader::new(child.0.stderr.take().expect("piped"));
    let mut line = String::new();
    while !line.contains("listening ") {
        line.clear();
        stderr.read_line(&mut line).expect("text");
    }
    // Each change of the level is a line of the log.
    let body = "{\"filter\": \"info\"}";
    let lost = eventually("lines are lost, and counted", async || {
        for _ in 0..100 {
            let got = within("an answer", admin::post(at, "/log_level", body, "")).await;
            assert_eq!(got.status(), 200);
        }
        let lost = admin::figure(at, "longshore_log_lines_lost_total").await;
        lost.filter(|lost| *lost > 0.0)
    })
    .await;
    within("a reload", admin::reload(at)).await;
    println!("{lost} lines lost");
    let mut client = Wire::connect(web).await;
    for _ in 0..100 {
        let got = within("an answer", client.get("/")).await;
        assert_eq!(got.status(), 200);
    }
    assert_eq!(
        within("an answer", admin::get(at, "/livez")).await.status(),
        200
    );
    let pid = child.0.id().to_string();
    let status = Command::new("kill").args(["-s", "TERM", &pid]).status();
    assert!(status.expect("kill runs").success());
    let ended = eventually("it ends all the same", async || {
        child.0.try_wait().expect("waited")
    })
    .await;
    assert!(ended.success());
}
