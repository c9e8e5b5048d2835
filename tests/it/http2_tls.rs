//! HTTP/2 inside of TLS: agreed on by ALPN, and by nothing else.

use longshore_tests::balancer::{self, Running};
use longshore_tests::certificates::{Folder, Key, curl, run, s_client};
use longshore_tests::origin::{Origin, response};
use longshore_tests::secure;
use longshore_tests::within;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

async fn start(folder: &Folder, top: &str, origin: &Origin) -> Running {
    folder.make("site", &["site.test"], Key::Ecdsa, 30);
    let (cert, key) = (folder.path("site.pem"), folder.path("site.key"));
    let text = balancer::fixed(&[origin.address], "health_check: {enabled: false}", top).replacen(
        "name: web\n",
        &format!(
            "name: web\n    protocol: HTTPS\n    certificates: [{{cert: {cert}, key: {key}}}]\n"
        ),
        1,
    );
    balancer::start(&text).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("it ends")
}

async fn says(target: &Origin, top: &str, arguments: &'static [&'static str]) -> String {
    let folder = Folder::default();
    let running = start(&folder, top, target).await;
    let (address, ca) = (running.address(), folder.path("site.pem"));
    let got = blocking(move || {
        curl(
            address,
            "site.test",
            &[&["--cacert", &ca][..], arguments].concat(),
        )
    });
    got.await.0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_offers_http2_gets_it_and_another_one_does_not() {
    let origin = Origin::http(|request| response(200, &request.head.line)).await;
    let text = says(&origin, "", &["--http2"]).await;
    assert!(text.starts_with("HTTP/2 200"), "{text}");
    assert!(text.ends_with("GET / HTTP/1.1"), "{text}");
    let text = says(&origin, "", &["--http2", "--tls-max", "1.2"]).await;
    assert!(text.starts_with("HTTP/2 200"), "{text}");
    let text = says(&origin, "", &[]).await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    let text = says(&origin, "", &["--no-alpn"]).await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    for seen in origin.seen() {
        assert_eq!(seen.head.get("x-forwarded-proto"), Some("https"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_enable_http2_nobody_gets_it() {
    let origin = Origin::ok("hello").await;
    let off = "load_balancer: {enable_http2: false}";
    let text = says(&origin, off, &["--http2"]).await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    let plain = balancer::fixed(&[origin.address], "health_check: {enabled: false}", off);
    let running = balancer::start(&plain).await;
    let mut stream = TcpStream::connect(running.address())
        .await
        .expect("connected");
    stream
        .write_all(longshore_tests::frames::PREFACE)
        .await
        .expect("sent");
    let mut text = String::new();
    within("the end", stream.read_to_string(&mut text))
        .await
        .expect("text");
    assert!(text.starts_with("HTTP/1.1 505"), "{text}");
}

/// RFC 9113 §3.2 has no other way into HTTP/2 inside of TLS; ALB answers 505.
#[tokio::test(flavor = "multi_thread")]
async fn the_preface_of_http2_after_another_protocol_was_agreed_on_is_refused() {
    let (folder, origin) = (Folder::default(), Origin::ok("hello").await);
    let running = start(&folder, "", &origin).await;
    for offered in [&["http/1.1"][..], &[]] {
        let mut stream = secure::connect(running.address(), "site.test", offered).await;
        stream
            .write_all(longshore_tests::frames::PREFACE)
            .await
            .expect("sent");
        let mut got = Vec::new();
        within("the end", stream.read_to_end(&mut got))
            .await
            .expect("an end");
        let text = String::from_utf8_lossy(&got);
        assert!(text.starts_with("HTTP/1.1 505"), "{offered:?}: {text}");
    }
    assert!(origin.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http2_after_http2_was_agreed_on_ends_the_connection() {
    let (folder, origin) = (Folder::default(), Origin::ok("hello").await);
    let running = start(&folder, "", &origin).await;
    let mut stream = secure::connect(running.address(), "site.test", &["h2"]).await;
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    stream.write_all(request).await.expect("sent");
    let mut got = Vec::new();
    within("the end", stream.read_to_end(&mut got))
        .await
        .expect("an end");
    assert!(!got.starts_with(b"HTTP/1"), "{got:?}");
    assert!(origin.seen().is_empty());
    let address = running.address();
    let text = blocking(move || s_client(address, &["-alpn", "h2,http/1.1"])).await;
    assert!(text.contains("ALPN protocol: h2"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn h2load_is_served_over_tls() {
    if std::env::var_os("LONGSHORE_HTTP2_CLIENTS").is_none() {
        println!("not looked at: LONGSHORE_HTTP2_CLIENTS is not set");
        return;
    }
    let (folder, origin) = (Folder::default(), Origin::ok("hello").await);
    let running = start(&folder, "", &origin).await;
    let url = format!("https://{}/", running.address());
    let got = blocking(move || run("h2load", &["-n", "2000", "-c", "4", "-m", "100", &url]));
    let got = String::from_utf8_lossy(&got.await.stdout).into_owned();
    assert!(got.contains("Application protocol: h2"), "{got}");
    assert!(got.contains(" 2000 succeeded, 0 failed"), "{got}");
}
