//! The access log, and what a running process knows of past requests.

use std::path::PathBuf;

use longshore_tests::origin::{Origin, read, response};
use longshore_tests::process::{Process, TempFile, free_port, output};
use longshore_tests::python::python;
use longshore_tests::wire::Wire;
use longshore_tests::{eventually, within};
use regex::Regex;

/// The regular expression of the table for Athena in the user guide of ALB ("Create a table for ALB
/// access logs in Athena using partition projection"): AWS's, not ours.
const ATHENA: &str = r#"^([^ ]*) ([^ ]*) ([^ ]*) ([^ ]*):([0-9]*) ([^ ]*)[:-]([0-9]*) ([-.0-9]*) ([-.0-9]*) ([-.0-9]*) (|[-0-9]*) (-|[-0-9]*) ([-0-9]*) ([-0-9]*) "([^ ]*) (.*) (- |[^ ]*)" "([^"]*)" ([A-Z0-9-_]+) ([A-Za-z0-9.-]*) ([^ ]*) "([^"]*)" "([^"]*)" "([^"]*)" ([-.0-9]*) ([^ ]*) "([^"]*)" "([^"]*)" "([^ ]*)" "([^\s]+?)" "([^\s]+)" "([^ ]*)" "([^ ]*)" ?([^ ]*)? ?(.*)?$"#;

/// A place for a log, empty.
pub(super) struct Place(pub(super) PathBuf);

impl Place {
    pub(super) fn new(name: &str) -> Self {
        let name = format!("longshore-log-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::remove_file(&path).unwrap_or_default();
        Self(path)
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap_or_default();
    }
}

/// A configuration with a log; the ports of the listener and of the admin server.
fn config(origin: &Origin, log: &str, format: &str) -> (TempFile, std::net::SocketAddr) {
    let (port, admin) = (free_port(), free_port());
    let file = TempFile::new(&format!(
        "admin: {{address: '127.0.0.1:{admin}'}}
load_balancer: {{access_logs: {{path: '{log}', format: {format}}}}}
listeners:
  - name: web
    address: 127.0.0.1:{port}
    default_action: [{{type: forward, target_group: app}}]
    rules:
      - {{priority: 7, condition: [{{path_pattern: {{values: [/old]}}}}], action: [{{type: redirect, redirect: {{status_code: HTTP_301, path: /new}}}}]}}
      - {{priority: 8, condition: [{{path_pattern: {{values: [/none]}}}}], action: [{{type: forward, target_group: none}}]}}
target_groups:
  - {{name: app, targets: [{{address: 127.0.0.1, port: {}}}], health_check: {{enabled: false}}}}
  - {{name: none, targets: []}}
",
        origin.address.port()
    ));
    (file, ([127, 0, 0, 1], admin).into())
}

pub(super) async fn lines(place: &Place, count: usize) -> Vec<String> {
    eventually("the lines are written", async || {
        let lines = place.lines();
        (lines.len() >= count).then_some(lines)
    })
    .await
}

async fn lost(admin: std::net::SocketAddr, result: &str) -> u64 {
    let text = Wire::connect(admin).await.get("/metrics").await.text();
    let start = format!("longshore_access_log_lines_total{{result=\"{result}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&start));
    line.expect("the series").parse().expect("a number")
}

#[tokio::test]
async fn readers_of_albs_logs_read_ours() {
    let origin = Origin::ok("hello").await;
    let place = Place::new("alb");
    let (file, _) = config(&origin, place.0.to_str().expect("text"), "alb");
    let (mut process, address) = Process::run(&file);
    let mut client = Wire::connect(address).await;
    client
        .send("GET /a?b=c HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: x \"y\"\r\n\r\n")
        .await;
    assert_eq!(client.response().await.status(), 200);
    assert_eq!(client.get("/old").await.status(), 301);
    assert_eq!(client.get("/none").await.status(), 503);
    client.send("BAD\r\n\r\n").await;
    assert_eq!(client.response().await.status(), 400);
    let athena = Regex::new(ATHENA).expect("valid");
    let lines = lines(&place, 4).await;
    let read: Vec<regex::Captures<'_>> = lines
        .iter()
        .map(|line| athena.captures(line).unwrap_or_else(|| panic!("{line}")))
        .collect();
    let of = |line: usize, field: usize| read[line].get(field).map_or("", |it| it.as_str());
    let all = |field: usize| (0..4).map(|line| of(line, field)).collect::<Vec<_>>();
    assert_eq!(all(1), ["http"; 4]);
    assert_eq!(all(3), ["web"; 4]);
    assert_eq!(all(4), ["127.0.0.1"; 4]);
    assert_eq!(of(0, 7), origin.address.port().to_string());
    assert_eq!(all(11), ["200", "301", "503", "400"], "elb_status_code");
    assert_eq!(all(12), ["200", "-", "-", "-"], "target_status_code");
    assert_eq!(of(0, 15), "GET");
    let url = format!("http://shop.example.com:{}/a?b=c", address.port());
    assert_eq!((of(0, 16), of(0, 17)), (url.as_str(), "HTTP/1.1"));
    assert_eq!(of(0, 18), r"x \x22y\x22");
    assert_eq!(all(21), ["app", "-", "none", "-"], "target_group_arn");
    assert!(of(0, 22).starts_with("Root=1-"), "{}", of(0, 22));
    assert_eq!(all(25), ["0", "7", "8", "-"], "matched_rule_priority");
    assert_eq!(all(27), ["forward", "redirect", "forward", "-"], "actions");
    assert!(of(1, 28).ends_with("/new"), "{}", of(1, 28));
    assert_eq!(all(29), ["-"; 4], "error_reason");
    // Behind ALB's fields.
    for (line, reason) in ["-", "-", "no_targets", "malformed_request"]
        .iter()
        .enumerate()
    {
        let rest = of(line, 35);
        assert!(
            rest.ends_with(&format!(" 127.0.0.1 \"{reason}\"")),
            "{rest}"
        );
    }
    let seconds: f64 = of(0, 9).parse().expect("seconds");
    assert!(seconds >= 0.0 && of(2, 9) == "-1");
    process.signal("TERM");
    assert!(process.wait().success());
    read_by_a_library(&place, origin.address.port());
}

/// The same lines, as aws-log-parser understands them. (Left out where Python has it not.)
fn read_by_a_library(place: &Place, port: u16) {
    let Some(python) = python("aws-log-parser") else {
        return;
    };
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("alb_log.py");
    let mut command = std::process::Command::new(python);
    let got = command.arg(script).arg(&place.0).output().expect("runs");
    let error = String::from_utf8_lossy(&got.stderr);
    assert!(got.status.success(), "{error}");
    let text = String::from_utf8(got.stdout).expect("text");
    let entries: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let all = |key: &str| -> Vec<serde_json::Value> {
        entries.iter().map(|entry| entry[key].clone()).collect()
    };
    let null = serde_json::Value::Null;
    assert_eq!(all("status"), [200, 301, 503, 400]);
    assert_eq!(all("error"), vec![null.clone(); 4]);
    assert_eq!(all("client"), ["127.0.0.1"; 4]);
    assert_eq!(all("elb"), ["web"; 4]);
    let first = &entries[0];
    assert_eq!(first["target_port"], port);
    assert_eq!(first["target_status"], 200);
    assert_eq!(first["method"], "GET");
    assert_eq!(first["group"], "app");
    assert_eq!(first["rule"], 0);
    assert_eq!(first["actions"], serde_json::json!(["forward"]));
    assert!(first["request"].as_f64().expect("seconds") >= 0.0);
    assert_eq!(entries[1]["rule"], 7);
    let redirect = entries[1]["redirect"].as_str().expect("a URL");
    assert!(redirect.ends_with("/new"), "{redirect}");
    assert_eq!(entries[3]["rule"], null);
}

#[tokio::test]
async fn a_log_that_was_moved_away_is_opened_anew_and_the_last_lines_are_written_at_the_end() {
    let origin = Origin::ok("hello").await;
    let (place, moved) = (Place::new("json"), Place::new("moved"));
    let (file, _) = config(&origin, place.0.to_str().expect("text"), "json");
    let (mut process, address) = Process::run(&file);
    let mut client = Wire::connect(address).await;
    assert_eq!(client.get("/first").await.status(), 200);
    lines(&place, 1).await;
    std::fs::rename(&place.0, &moved.0).expect("moved");
    process.signal("USR1");
    eventually("there is a new file", async || {
        place.0.exists().then_some(())
    })
    .await;
    assert_eq!(client.get("/second").await.status(), 200);
    process.signal("TERM");
    assert!(process.wait().success());
    let (old, new) = (moved.lines(), place.lines());
    assert_eq!((old.len(), new.len()), (1, 1));
    let value: serde_json::Value = serde_json::from_str(&new[0]).expect("JSON");
    assert!(value["url"].as_str().expect("text").ends_with("/second"));
    assert_eq!(value["attempts"][0]["status"], 200);
    assert_eq!(value["candidates"], 1);
}

#[tokio::test]
async fn a_log_that_is_moved_away_during_a_drain_is_opened_anew() {
    let (go, wait) = tokio::sync::watch::channel(false);
    let origin = Origin::raw(move |mut wire| {
        let mut wait = wait.clone();
        async move {
            read(&mut wire).await;
            wait.wait_for(|go| *go).await.expect("the test lives");
            wire.send(response(200, "finished")).await;
            wire.rest().await;
        }
    })
    .await;
    let (place, moved) = (Place::new("drain"), Place::new("drain-moved"));
    let (file, _) = config(&origin, place.0.to_str().expect("text"), "json");
    let (mut process, address) = Process::run(&file);
    let mut client = Wire::connect(address).await;
    client.send("GET /last HTTP/1.1\r\nHost: a\r\n\r\n").await;
    eventually("the request is at the target", async || {
        (origin.connections() == 1).then_some(())
    })
    .await;
    process.signal("TERM");
    process.wait_for_line("draining");
    std::fs::rename(&place.0, &moved.0).expect("moved");
    process.signal("USR1");
    eventually("there is a new file", async || {
        place.0.exists().then_some(())
    })
    .await;
    go.send(true).expect("the target lives");
    assert_eq!(within("it", client.response()).await.text(), "finished");
    assert!(process.wait().success());
    assert_eq!((moved.lines().len(), place.lines().len()), (0, 1));
}

#[tokio::test]
async fn a_full_disk_and_a_pipe_that_nobody_reads_cost_lines_and_nothing_else() {
    let origin = Origin::ok("hello").await;
    let (full, admin) = config(&origin, "/dev/full", "alb");
    let (mut process, address) = Process::run(&full);
    let mut client = Wire::connect(address).await;
    for _ in 0..20 {
        assert_eq!(client.get("/").await.status(), 200);
    }
    eventually("all lines are lost, and counted", async || {
        (lost(admin, "write_failed").await == 20).then_some(())
    })
    .await;
    process.signal("TERM");
    assert!(process.wait().success());

    let pipe = Place::new("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe.0).status();
    assert!(made.expect("mkfifo runs").success());
    let (file, admin) = config(&origin, pipe.0.to_str().expect("text"), "json");
    let (mut process, address) = Process::run(&file);
    // Each request that is refused has a line of 8 KiB: the queue is full after some hundreds.
    let long = format!("/{}", "x".repeat(7_000));
    eventually("lines are lost, and counted", async || {
        let mut client = Wire::connect(address).await;
        for _ in 0..100 {
            assert_eq!(client.get(&long).await.status(), 200);
        }
        (lost(admin, "queue_full").await > 0).then_some(())
    })
    .await;
    assert_eq!(lost(admin, "written").await, 0);
    process.signal("TERM");
    assert!(process.wait().success(), "nobody waits for the pipe");
}

#[tokio::test]
async fn explain_says_why_a_request_of_the_past_got_its_answer() {
    let origin = Origin::ok("hello").await;
    let (file, admin) = config(&origin, "/dev/null", "alb");
    let (_process, address) = Process::run(&file);
    let mut client = Wire::connect(address).await;
    let id = "1-67891233-abcdef012345678912345678";
    client
        .send(format!(
            "GET /none HTTP/1.1\r\nHost: a\r\nX-Amzn-Trace-Id: Root={id}\r\n\r\n"
        ))
        .await;
    assert_eq!(client.response().await.status(), 503);
    // What came later does not wash it away.
    for _ in 0..2_000 {
        assert_eq!(client.get("/").await.status(), 200);
    }
    let admin = format!("http://{admin}");
    let got = output(&["explain", "--admin", &admin, "--trace-id", id]);
    let text = String::from_utf8(got.stdout).expect("text");
    assert!(
        got.status.success(),
        "{}",
        String::from_utf8_lossy(&got.stderr)
    );
    for part in [
        "503 no_targets",
        "rule      8",
        "group     none (0 candidates)",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let got = output(&["explain", "--admin", &admin, "--trace-id", "1-1-2"]);
    assert!(!got.status.success());
    let path = file.path().to_str().expect("text");
    let url = format!("http://{address}/");
    let got = output(&["explain", "-c", path, "--admin", &admin, "GET", &url]);
    let text = String::from_utf8(got.stdout).expect("text");
    assert!(text.contains("healthy") && text.contains("STATE"), "{text}");
}
