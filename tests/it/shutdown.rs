//! SIGTERM.

use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;

use longshore_tests::certificates::{Folder, Key};
use longshore_tests::origin::{Origin, read, response};
use longshore_tests::process::{Process, TempFile, free_port};
use longshore_tests::python::Peer;
use longshore_tests::wire::Wire;
use longshore_tests::{eventually, within};

fn config(origin: &Origin, drain: &str) -> TempFile {
    TempFile::new(&format!(
        "runtime: {{drain_timeout: {drain}}}\nlisteners: [{{name: web, address: '127.0.0.1:{}', default_action: [{{type: forward, target_group: app}}]}}]\n\
         target_groups: [{{name: app, targets: [{{address: 127.0.0.1, port: {}}}], health_check: {{enabled: false}}}}]\n",
        free_port(),
        origin.address.port()
    ))
}

#[tokio::test]
async fn a_request_in_flight_is_finished_and_told_to_close() {
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
    let config = config(&origin, "20s");
    let (mut process, address) = Process::run(&config);
    let mut client = Wire::connect(address).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    eventually("the request is at the target", async || {
        (origin.connections() == 1).then_some(())
    })
    .await;
    process.signal("TERM");
    process.wait_for_line("draining");
    eventually("new connections are refused", async || {
        tokio::net::TcpStream::connect(address)
            .await
            .is_err()
            .then_some(())
    })
    .await;
    go.send(true).expect("the target lives");
    let got = within("the response", client.response()).await;
    assert_eq!(got.text(), "finished");
    assert_eq!(got.head.get("connection"), Some("close"));
    assert!(process.wait().success());
}

#[tokio::test]
async fn the_drain_timeout_ends_what_does_not_finish() {
    let origin = Origin::raw(|mut wire| async move {
        wire.rest().await;
    })
    .await;
    let log = TempFile::new("");
    let text = std::fs::read_to_string(config(&origin, "500ms").path()).expect("there");
    let config = TempFile::new(&format!(
        "load_balancer: {{access_logs: {{path: '{}', format: json}}}}\n{text}",
        log.path().display()
    ));
    let (mut process, address) = Process::run(&config);
    let mut client = Wire::connect(address).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    eventually("the request is at the target", async || {
        (origin.connections() == 1).then_some(())
    })
    .await;
    process.signal("TERM");
    process.wait_for_line("drain timeout");
    assert!(process.wait().success());
    // It is in the log as one without an answer, and that is not laid to the client.
    let lines = std::fs::read_to_string(log.path()).expect("there");
    let line: serde_json::Value = serde_json::from_str(&lines).expect("one line");
    assert_eq!(
        (&line["status"], &line["reason"], &line["whole"]),
        (&503.into(), &"drain_timeout".into(), &false.into())
    );
}

#[tokio::test]
async fn an_idle_client_does_not_keep_the_process() {
    let origin = Origin::ok("ok").await;
    let config = config(&origin, "20s");
    let (mut process, address) = Process::run(&config);
    let mut client = Wire::connect(address).await;
    assert_eq!(client.get("/").await.status(), 200);
    process.signal("TERM");
    assert!(within("the end", client.rest()).await.is_empty());
    assert!(process.wait().success());
}

#[tokio::test]
async fn a_slow_reader_gets_all_of_its_response_while_the_process_drains() {
    const SIZE: usize = 4 * 1024 * 1024;
    let origin = Origin::raw(|mut wire| async move {
        read(&mut wire).await;
        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"))
            .await;
        wire.send(vec![b'x'; SIZE]).await;
        wire.rest().await;
    })
    .await;
    let config = config(&origin, "20s");
    let (mut process, address) = Process::run(&config);
    let mut client = Wire::connect(address).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let head = within("a head", client.head()).await.expect("a head");
    assert_eq!(head.status(), 200);
    process.signal("TERM");
    process.wait_for_line("draining");
    let mut read = 0;
    while read < SIZE {
        // The client's own pace: some two seconds for all of it.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let count = (SIZE - read).min(SIZE / 20);
        read += within("more", client.exactly(count))
            .await
            .expect("not cut")
            .len();
    }
    assert!(process.wait().success());
}

#[tokio::test]
async fn a_request_on_an_idle_connection_right_after_sigterm_is_answered() {
    let origin = Origin::ok("ok").await;
    let config = config(&origin, "20s");
    let (mut process, address) = Process::run(&config);
    let mut client = Wire::connect(address).await;
    assert_eq!(client.get("/").await.status(), 200);
    // Longer idle than the time that idle connections have while the process drains.
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    process.signal("TERM");
    process.wait_for_line("draining");
    // The line may be there a moment before the worker knows of it.
    eventually("it is told to close", async || {
        let got = within("a response", client.get("/")).await;
        assert_eq!(got.status(), 200);
        (got.head.get("connection") == Some("close")).then_some(())
    })
    .await;
    assert!(process.wait().success());
}

/// `O_NONBLOCK` of Linux.
const NONBLOCK: i32 = 0o4000;

/// Serves, and ends when it is told to.
async fn is_well(process: &mut Process, address: SocketAddr) {
    let mut client = Wire::connect(address).await;
    let got = within("a response", client.get("/")).await;
    assert_eq!(got.status(), 200);
    process.signal("TERM");
    assert!(process.wait().success());
}

#[tokio::test]
async fn a_file_that_is_not_read_to_its_end_keeps_neither_requests_nor_the_end() {
    let origin = Origin::ok("ok").await;
    let config = config(&origin, "20s");
    let (mut process, address) = Process::run(&config);
    // As a file on a server that does not answer: a pipe that is open and brings nothing.
    std::fs::remove_file(config.path()).expect("removed");
    let made = std::process::Command::new("mkfifo")
        .arg(config.path())
        .status();
    assert!(made.expect("mkfifo runs").success());
    process.signal("HUP");
    let pipe = eventually("the file is being read", async || {
        let mut options = std::fs::OpenOptions::new();
        let opened = options
            .write(true)
            .custom_flags(NONBLOCK)
            .open(config.path());
        opened.ok()
    })
    .await;
    is_well(&mut process, address).await;
    drop(pipe);
}

#[tokio::test]
async fn a_certificate_that_cannot_be_opened_yet_keeps_neither_requests_nor_the_end() {
    let origin = Origin::ok("ok").await;
    let config = config(&origin, "20s");
    let (mut process, address) = Process::run(&config);
    let folder = Folder::default();
    folder.make("web", &["web.example"], Key::Ecdsa, 30);
    let (cert, key) = (folder.path("web.pem"), folder.path("web.key"));
    let Some(mut holder) = Peer::start("lease.py", "its standard library", &[&cert]) else {
        return;
    };
    assert_eq!(holder.line(), "held");
    let listener = format!(
        "listeners: [{{name: secure, address: '127.0.0.2:{}', protocol: HTTPS, certificates: [{{cert: {cert}, key: {key}}}], \
         default_action: [{{type: forward, target_group: app}}]}}, ",
        free_port()
    );
    let text = std::fs::read_to_string(config.path()).expect("read");
    config.write(&text.replace("listeners: [", &listener));
    process.signal("HUP");
    assert_eq!(holder.line(), "wanted");
    is_well(&mut process, address).await;
}
