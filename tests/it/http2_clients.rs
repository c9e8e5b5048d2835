//! HTTP/2 clients that nobody here wrote: curl, nghttp and h2load. `tests/run` installs them and
//! says so in `LONGSHORE_HTTP2_CLIENTS`; without it these tests say that they look at nothing.

use std::process::Stdio;

use longshore_tests::balancer::{fixed, start};
use longshore_tests::origin::{Origin, response};
use longshore_tests::within;

/// Whether the clients are there.
fn are_installed() -> bool {
    let there = std::env::var_os("LONGSHORE_HTTP2_CLIENTS").is_some();
    if !there {
        println!("not looked at: LONGSHORE_HTTP2_CLIENTS is not set");
    }
    there
}

/// What a program prints.
async fn output(program: &str, arguments: &[&str]) -> String {
    let mut command = std::process::Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let run = tokio::task::spawn_blocking(move || command.output());
    let output = within(program, run)
        .await
        .expect("no panic")
        .expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{program}: {out}\n{err}");
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_nghttp_and_h2load_are_served_over_http2() {
    if !are_installed() {
        return;
    }
    let origin = Origin::http(|request| {
        let length = request.body.len();
        response(200, &format!("{} {length}", request.head.line))
    })
    .await;
    let text = fixed(&[origin.address], "health_check: {enabled: false}", "");
    let running = start(&text).await;
    running.wait_for("healthy", 1).await;
    let url = format!("http://{}/a?b", running.address());
    let file = std::env::temp_dir().join(format!("longshore-upload-{}", std::process::id()));
    std::fs::write(&file, vec![b'x'; 3_000_000]).expect("written");
    let upload = format!("@{}", file.display());
    let curl = [
        "-sS",
        "--http2-prior-knowledge",
        "-w",
        " %{http_version} %{http_code}",
    ];
    let got = output("curl", &[&curl[..], &[&url]].concat()).await;
    assert_eq!(got, "GET /a?b HTTP/1.1 0 2 200");
    let got = output(
        "curl",
        &[&curl[..], &["--data-binary", &upload, &url]].concat(),
    )
    .await;
    std::fs::remove_file(&file).expect("removed");
    assert_eq!(got, "POST /a?b HTTP/1.1 3000000 2 200");
    let got = output("curl", &[&curl[..], &["-I", &url]].concat()).await;
    assert!(got.starts_with("HTTP/2 200"), "{got}");
    let got = output("nghttp", &["-v", &url, &url]).await;
    assert!(got.contains(":status: 200"), "{got}");
    assert!(!got.contains("RST_STREAM"), "{got}");
    let got = output("h2load", &["-n", "2000", "-c", "4", "-m", "100", &url]).await;
    assert!(got.contains(" 2000 succeeded, 0 failed"), "{got}");
}

/// curl 7.88 loses a response if the stream is reset while it sends.
#[tokio::test(flavor = "multi_thread")]
async fn curl_reads_the_answer_to_a_large_upload_that_nobody_takes() {
    if !are_installed() {
        return;
    }
    let nobody =
        std::net::SocketAddr::from(([127, 0, 0, 1], longshore_tests::process::free_port()));
    let running = start(&fixed(&[nobody], "health_check: {enabled: false}", "")).await;
    let url = format!("http://{}/", running.address());
    let file = std::env::temp_dir().join(format!("longshore-refused-{}", std::process::id()));
    std::fs::write(&file, vec![b'x'; 5_000_000]).expect("written");
    let upload = format!("@{}", file.display());
    let curl = [
        "-sS",
        "--http2-prior-knowledge",
        "-m",
        "15",
        "-o",
        "/dev/null",
    ];
    let more = [
        "-w",
        "%{http_version} %{http_code}",
        "--data-binary",
        &upload,
        &url,
    ];
    for _ in 0..10 {
        let got = output("curl", &[&curl[..], &more].concat()).await;
        assert_eq!(got, "2 502");
    }
    std::fs::remove_file(&file).expect("removed");
}
