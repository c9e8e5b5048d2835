//! An HTTP/2 server that nobody here wrote as a target: nghttpd. `tests/run` installs it with the
//! clients of `http2_clients.rs`, and says so in `LONGSHORE_HTTP2_CLIENTS`; without it these tests
//! say that they look at nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use longshore_tests::balancer::{fixed, start};
use longshore_tests::certificates::{Folder, Key, run};
use longshore_tests::eventually;
use longshore_tests::process::{Killed, free_port};
use tokio::net::TcpStream;

/// More than the windows of both connections hold.
const LARGE: usize = 3_000_000;

/// A running nghttpd. It ends when dropped.
struct Nghttpd {
    _child: Killed,
    port: u16,
}

impl Nghttpd {
    /// Starts it over a folder. `after`: key and certificate, if it is to speak TLS.
    async fn start(folder: &Folder, options: &[&str], after: &[&str]) -> Option<Self> {
        if std::env::var_os("LONGSHORE_HTTP2_CLIENTS").is_none() {
            println!("not looked at: LONGSHORE_HTTP2_CLIENTS is not set");
            return None;
        }
        // Where system programs are is often not looked at.
        let there = PathBuf::from("/usr/sbin/nghttpd");
        let program = if there.exists() {
            there.as_path()
        } else {
            Path::new("nghttpd")
        };
        let port = free_port();
        let child = Command::new(program)
            .args(["-a", "127.0.0.1", "-d", &folder.path("")])
            .args(options)
            .arg(port.to_string())
            .args(after)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("nghttpd is installed");
        let this = Self {
            _child: Killed(child),
            port,
        };
        eventually("nghttpd accepts", async || {
            TcpStream::connect(("127.0.0.1", port)).await.ok().map(drop)
        })
        .await;
        Some(this)
    }

    fn address(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }
}

/// What a program prints that must end well.
async fn output(program: &'static str, arguments: &[&str]) -> Vec<u8> {
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let output = tokio::task::spawn_blocking(move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        run(program, &arguments)
    });
    let output = output.await.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {said}");
    output.stdout
}

/// A folder with a small and a large file.
fn files() -> Folder {
    let folder = Folder::default();
    std::fs::write(folder.path("small"), "hello").expect("written");
    let large: Vec<u8> = (b'a'..=b'w').cycle().take(LARGE).collect();
    std::fs::write(folder.path("large"), large).expect("written");
    folder
}

const CURL: [&str; 4] = ["-sSf", "-m", "30", "--http2-prior-knowledge"];

#[tokio::test(flavor = "multi_thread")]
async fn nghttpd_serves_as_a_target_with_prior_knowledge() {
    let folder = files();
    std::fs::copy(folder.path("small"), folder.path("call.grpc")).expect("copied");
    let types = folder.path("types");
    std::fs::write(&types, "application/grpc grpc\n").expect("written");
    let types = format!("--mime-types-file={types}");
    let trailer = ["--trailer", "grpc-status: 0"];
    let options = [&["--no-tls", "--echo-upload", &types][..], &trailer].concat();
    let Some(target) = Nghttpd::start(&folder, &options, &[]).await else {
        return;
    };
    let group =
        "protocol_version: HTTP2\nhealth_check: {path: /small, interval: 1, healthy_threshold: 2}";
    let running = start(&fixed(&[target.address()], group, "runtime: {workers: 2}")).await;
    running.wait_for("healthy", 1).await;
    let at = |path: &str| format!("http://{}{path}", running.address());
    let known = std::fs::read(folder.path("large")).expect("read");

    let got = output("curl", &[&CURL[..], &[&at("/large")]].concat()).await;
    assert!(got == known, "{} bytes", got.len());

    // It states the length of a response and sends trailers.
    let head = folder.path("head");
    let more = ["--dump-header", &head, &at("/call.grpc")];
    assert_eq!(output("curl", &[&CURL[..], &more].concat()).await, b"hello");
    let head = std::fs::read_to_string(&head).expect("read");
    let (_, trailers) = head.split_once("\r\n\r\n").expect("an end of the head");
    assert!(trailers.contains("grpc-status: 0"), "{head}");

    let upload = format!("@{}", folder.path("large"));
    let more = ["--data-binary", &upload, &at("/echo")];
    let got = output("curl", &[&CURL[..], &more].concat()).await;
    assert!(got == known, "{} bytes came back", got.len());

    // More streams than one connection to the target has.
    let load = ["-n", "5000", "-c", "4", "-m", "100", &at("/small")];
    let got = output("h2load", &load).await;
    let got = String::from_utf8_lossy(&got);
    assert!(got.contains(" 5000 succeeded, 0 failed"), "{got}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nghttpd_serves_as_a_target_over_tls_and_its_small_limits_are_kept() {
    let folder = files();
    folder.make("target", &["target.test"], Key::Ecdsa, 30);
    let (key, cert) = (folder.path("target.key"), folder.path("target.pem"));
    // Two streams on a connection, and windows of one KiB.
    let options = ["-m", "2", "-w", "10", "-W", "10"];
    let Some(target) = Nghttpd::start(&folder, &options, &[&key, &cert]).await else {
        return;
    };
    let group = "protocol: HTTPS\nprotocol_version: HTTP2\nhealth_check: {protocol: HTTPS, path: /small, interval: 1, healthy_threshold: 2}";
    let text = fixed(&[target.address()], group, "runtime: {workers: 2}");
    let running = start(&text).await;
    running.wait_for("healthy", 1).await;
    let at = |path: &str| format!("http://{}{path}", running.address());
    let known = std::fs::read(folder.path("large")).expect("read");
    let got = output("curl", &[&CURL[..], &[&at("/large")]].concat()).await;
    assert!(got == known, "{} bytes", got.len());
    let load = ["-n", "500", "-c", "4", "-m", "20", &at("/small")];
    let got = output("h2load", &load).await;
    let got = String::from_utf8_lossy(&got);
    assert!(got.contains(" 500 succeeded, 0 failed"), "{got}");
}
