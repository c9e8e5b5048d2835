//! Certificates whose files change all the time, under load: nobody's handshake fails, and nobody's
//! connection is closed.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use longshore_tests::certificates::{Folder, Key, curl, s_client};
use longshore_tests::origin::Origin;
use longshore_tests::process::{Process, TempFile, free_port};
use longshore_tests::{eventually, secure};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Connections that stay open all the while, half of them with HTTP/2.
const OPEN: usize = 20;
/// Files are looked at every 3 s: four looks.
const LASTS: Duration = Duration::from_secs(13);
/// Between two swaps of the files.
const EVERY: Duration = Duration::from_millis(100);

/// A request and its whole response on a kept connection.
async fn ask(stream: &mut TlsStream<TcpStream>) -> io::Result<()> {
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
        .await?;
    let mut got = Vec::new();
    while !got.ends_with(b"\r\n\r\nhello") {
        if stream.read_buf(&mut got).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    assert!(got.starts_with(b"HTTP/1.1 200"));
    Ok(())
}

/// Keeps one connection busy until told to stop. How many requests it made.
async fn stay(address: SocketAddr, http2: bool, stop: Arc<AtomicBool>) -> usize {
    let mut count = 0;
    if http2 {
        let stream = secure::connect(address, "site.test", &["h2"]).await;
        let (mut sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        let driver = tokio::spawn(connection);
        while !stop.load(Ordering::Relaxed) {
            let request = http::Request::get("https://site.test/").body(());
            let sent = sender.send_request(request.expect("a request"), true);
            let (response, _) = sent.expect("the connection is open");
            assert_eq!(response.await.expect("a response").status(), 200);
            count += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(!driver.is_finished(), "it was closed");
        driver.abort();
        return count;
    }
    let mut stream = secure::connect(address, "site.test", &["http/1.1"]).await;
    while !stop.load(Ordering::Relaxed) {
        ask(&mut stream).await.expect("the connection is open");
        count += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    count
}

/// What new connections have seen.
#[derive(Default)]
struct Seen {
    full: AtomicUsize,
    resumed: AtomicUsize,
    curls: AtomicUsize,
}

/// Makes handshakes one after the other; each second one goes on with a session, if it can. Which
/// certificates came.
async fn arrive(address: SocketAddr, seen: Arc<Seen>, stop: Arc<AtomicBool>) -> BTreeSet<Vec<u8>> {
    let config = || longshore::tls::anybody::client_config(&[b"http/1.1"]).expect("ciphers");
    let mut forgetful = config();
    forgetful.resumption = rustls::client::Resumption::disabled();
    let connectors = [config(), forgetful].map(|config| TlsConnector::from(Arc::new(config)));
    let mut turns = connectors.iter().cycle();
    let mut certificates = BTreeSet::new();
    while !stop.load(Ordering::Relaxed) {
        let socket = TcpStream::connect(address).await.expect("connected");
        let name = ServerName::try_from("site.test").expect("a name");
        let connector = turns.next().expect("there is no end");
        let made = connector.connect(name, socket).await;
        let mut stream = made.expect("no handshake fails");
        ask(&mut stream).await.expect("a response");
        let (_, tls) = stream.get_ref();
        let shown = tls.peer_certificates().expect("a certificate");
        certificates.insert(shown[0].to_vec());
        let count = match tls.handshake_kind() {
            Some(rustls::HandshakeKind::Resumed) => &seen.resumed,
            _ => &seen.full,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
    certificates
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_are_swapped_all_the_time_fail_no_handshake_and_close_no_connection() {
    let folder = Arc::new(Folder::default());
    folder.make("one", &["site.test"], Key::Ecdsa, 30);
    folder.make("two", &["site.test"], Key::Rsa, 30);
    folder.put("one", "site");
    let origin = Origin::ok("hello").await;
    let config = TempFile::new(&format!(
        "runtime: {{workers: 2}}\nlisteners:\n  - name: web\n    address: '127.0.0.1:{}'\n    protocol: HTTPS\n    \
         certificates: [{{cert: {}, key: {}}}]\n    default_action: [{{type: forward, target_group: app}}]\n\
         target_groups:\n  - name: app\n    targets: [{{address: 127.0.0.1, port: {}}}]\n    health_check: {{enabled: false}}\n",
        free_port(),
        folder.path("site.pem"),
        folder.path("site.key"),
        origin.address.port()
    ));
    let (process, address) = Process::run(&config);
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::new(Seen::default());
    let open: Vec<_> = (0..OPEN)
        .map(|index| tokio::spawn(stay(address, index % 2 == 0, Arc::clone(&stop))))
        .collect();
    let arriving: Vec<_> = (0..4)
        .map(|_| tokio::spawn(arrive(address, Arc::clone(&seen), Arc::clone(&stop))))
        .collect();
    // Another client, with TLS 1.2.
    let curls = {
        let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
        tokio::task::spawn_blocking(move || {
            while !stop.load(Ordering::Relaxed) {
                let (text, good) = curl(address, "site.test", &["-k", "--tls-max", "1.2"]);
                assert!(good && text.ends_with("hello"), "{text}");
                seen.curls.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let begun = Instant::now();
    let mut swaps = 0;
    while begun.elapsed() < LASTS {
        // A look may come between certificate and key, which do not go together then.
        folder.put(if swaps % 2 == 0 { "two" } else { "one" }, "site");
        swaps += 1;
        tokio::time::sleep(EVERY).await;
    }
    folder.put("two", "site");
    let known = std::fs::read_to_string(folder.path("two.pem")).expect("read");
    let one_line = |text: &str| text.replace(['\r', '\n'], "");
    eventually("the latest is served", async || {
        let shown = tokio::task::spawn_blocking(move || s_client(address, &[]));
        let shown = shown.await.expect("it ends");
        one_line(&shown).contains(&one_line(&known)).then_some(())
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    let mut requests = 0;
    for one in open {
        requests += one.await.expect("it was never closed");
    }
    let mut certificates = BTreeSet::new();
    for one in arriving {
        certificates.extend(one.await.expect("no handshake failed"));
    }
    curls.await.expect("no handshake failed");
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    let (full, resumed, curls) = (count(&seen.full), count(&seen.resumed), count(&seen.curls));
    println!(
        "{swaps} swaps of the files; {full} full and {resumed} resumed handshakes, {curls} by curl with \
         TLS 1.2; {requests} requests on {OPEN} open connections"
    );
    assert_eq!(certificates.len(), 2, "both were served");
    assert!(full + resumed >= 100, "{full} {resumed}");
    assert!(resumed > 0 && curls > 0);
    assert!(requests >= 10 * OPEN, "{requests}");
    drop(process);
}
