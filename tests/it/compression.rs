//! Compression of responses, by what clients accept.

use std::io::Read as _;
use std::sync::Arc;

use longshore_tests::balancer::{Running, start};
use longshore_tests::origin::{Origin, read};
use longshore_tests::wire::{Head, Wire};
use longshore_tests::within;
use tokio::sync::Semaphore;

/// A balancer that compresses, and does not for `/off*`.
async fn balancer(settings: &str, app: &Origin) -> Running {
    start(&format!(
        "runtime: {{workers: 1}}
listeners:
  - name: web
    address: 127.0.0.1:1
    policy: {{compression: {{{settings}}}}}
    default_action: [{{type: forward, target_group: app}}]
    rules:
      - priority: 1
        condition: [{{path_pattern: {{values: ['/off*']}}}}]
        action: [{{type: forward, target_group: app}}]
        policy: {{compression: {{algorithms: []}}}}
target_groups:
  - {{name: app, targets: [{{address: {}, port: {}}}], health_check: {{enabled: false}}}}
",
        app.address.ip(),
        app.address.port(),
    ))
    .await
}

/// As much as can be read of a coding, also if its end is not there.
fn undo(coding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let undone = match coding {
        "gzip" => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out),
        "br" => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut out),
        "zstd" => zstd::stream::read::Decoder::new(bytes)
            .expect("a decoder")
            .read_to_end(&mut out),
        other => panic!("no coding: {other}"),
    };
    drop(undone);
    out
}

async fn ask(client: &mut Wire, method: &str, path: &str, fields: &str) -> (Head, Vec<u8>) {
    client
        .send(format!(
            "{method} {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"
        ))
        .await;
    let head = within("a head", client.head()).await.expect("a head");
    if method == "HEAD" || matches!(head.status(), 204 | 304) {
        return (head, Vec::new());
    }
    let (body, _) = within("a body", client.body(&head, true))
        .await
        .expect("whole");
    (head, body)
}

const FIELDS: &str =
    "Content-Type: text/html; charset=utf-8\r\nETag: \"v1\"\r\nAccept-Ranges: bytes\r\n";

#[tokio::test]
async fn a_client_gets_the_coding_that_it_likes_best_and_caches_are_told() {
    let text: String = (0..2_000)
        .map(|number| format!("<p>line {number}</p>\n"))
        .collect();
    let body = text.clone();
    // By length, in chunks, and up to the end of the connection.
    let app = Origin::http(move |seen| {
        let line = &seen.head.line;
        if line.contains("/chunks") {
            let (one, two) = body.split_at(7_000);
            format!(
                "HTTP/1.1 200 OK\r\n{FIELDS}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\nX-Trailer: t\r\n\r\n",
                one.len(),
                two.len()
            )
            .into_bytes()
        } else {
            let length = body.len();
            let sent = if line.starts_with("HEAD") { "" } else { &body };
            format!("HTTP/1.1 200 OK\r\n{FIELDS}Content-Length: {length}\r\n\r\n{sent}").into_bytes()
        }
    })
    .await;
    let running = balancer("", &app).await;
    let mut client = Wire::connect(running.address()).await;
    for (accepts, coding) in [
        ("gzip", Some("gzip")),
        ("gzip, deflate, br, zstd", Some("br")),
        ("br;q=0.5, zstd;q=0.8", Some("zstd")),
        ("br;q=0", None),
    ] {
        for path in ["/", "/chunks", "/off"] {
            let coding = coding.filter(|_| path != "/off");
            let fields = format!("Accept-Encoding: {accepts}\r\n");
            let (head, got) = ask(&mut client, "GET", path, &fields).await;
            let what = format!("{accepts} {path}");
            assert_eq!(head.get("content-encoding"), coding, "{what}");
            let varies = (path != "/off").then_some("Accept-Encoding");
            assert_eq!(head.get("vary"), varies, "{what}");
            let Some(coding) = coding else {
                assert_eq!(got, text.as_bytes(), "{what}");
                assert_eq!(head.get("etag"), Some("\"v1\""), "{what}");
                assert_eq!(head.get("accept-ranges"), Some("bytes"), "{what}");
                continue;
            };
            assert_eq!(undo(coding, &got), text.as_bytes(), "{what}");
            assert!(got.len() * 3 < text.len(), "{what}: {} bytes", got.len());
            for (name, value) in [
                ("etag", Some("W/\"v1\"")),
                ("accept-ranges", None),
                ("content-length", None),
                ("transfer-encoding", Some("chunked")),
                ("content-type", Some("text/html; charset=utf-8")),
            ] {
                assert_eq!(head.get(name), value, "{what} {name}");
            }
            // HEAD says what GET does.
            if path == "/" {
                let (of_head, _) = ask(&mut client, "HEAD", path, &fields).await;
                for name in [
                    "content-encoding",
                    "etag",
                    "vary",
                    "content-length",
                    "accept-ranges",
                ] {
                    assert_eq!(of_head.get(name), head.get(name), "{what} {name}");
                }
            }
        }
    }
    // All of it on one connection of the client, and one to the target.
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn what_must_stay_as_it_is_stays() {
    let long = "x".repeat(5_000);
    let app = Origin::http(move |seen| {
        let path = seen
            .head
            .line
            .split(' ')
            .nth(1)
            .unwrap_or_default()
            .to_owned();
        let (status, more, body) = match path.as_str() {
            "/small" => (200, "Content-Type: text/plain", "small"),
            "/image" => (200, "Content-Type: image/png", &*long),
            "/part" => (
                206,
                "Content-Type: text/plain\r\nContent-Range: bytes 0-4999/9000",
                &*long,
            ),
            "/done" => (
                200,
                "Content-Type: text/plain\r\nContent-Encoding: br",
                &*long,
            ),
            "/keep" => (
                200,
                "Content-Type: text/plain\r\nCache-Control: no-transform",
                &*long,
            ),
            "/digest" => (200, "Content-Type: text/plain\r\nContent-Digest: x", &*long),
            "/same" => (304, "ETag: \"v1\"", ""),
            "/none" => (204, "X: y", ""),
            _ => (200, "Content-Type: text/plain", &*long),
        };
        let length = if matches!(status, 204 | 304) {
            String::new()
        } else {
            format!("Content-Length: {}\r\n", body.len())
        };
        format!("HTTP/1.1 {status} X\r\n{more}\r\n{length}\r\n{body}").into_bytes()
    })
    .await;
    let running = balancer("", &app).await;
    let mut client = Wire::connect(running.address()).await;
    for path in [
        "/small", "/image", "/part", "/done", "/keep", "/digest", "/none",
    ] {
        let (head, _) = ask(&mut client, "GET", path, "Accept-Encoding: gzip\r\n").await;
        let wanted = (path == "/done").then_some("br");
        assert_eq!(head.get("content-encoding"), wanted, "{path}");
        assert_eq!(head.get("vary"), None, "{path}");
        assert_eq!(head.get("transfer-encoding"), None, "{path}");
    }
    // Without an Accept-Encoding, too, caches must know.
    let (head, body) = ask(&mut client, "GET", "/", "").await;
    assert_eq!(
        (head.get("vary"), head.get("content-encoding")),
        (Some("Accept-Encoding"), None)
    );
    assert_eq!(body.len(), 5_000);
    // What the client has may be the compressed one, whose validator is weak.
    let (head, _) = ask(
        &mut client,
        "GET",
        "/same",
        "Accept-Encoding: gzip\r\nIf-None-Match: W/\"v1\"\r\n",
    )
    .await;
    assert_eq!(
        (head.get("etag"), head.get("vary")),
        (Some("W/\"v1\""), Some("Accept-Encoding"))
    );
    let (head, _) = ask(&mut client, "GET", "/same", "").await;
    assert_eq!(head.get("etag"), Some("\"v1\""));
    // HTTP/1.0 has no chunks.
    client
        .send("GET / HTTP/1.0\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
        .await;
    let got = within("an answer", client.response()).await;
    assert_eq!(
        (got.head.get("content-encoding"), got.body.len()),
        (None, 5_000)
    );
}

/// The content of the next chunk.
async fn chunk(client: &mut Wire) -> Vec<u8> {
    let mut size = String::new();
    while !size.ends_with("\r\n") {
        size.push(char::from(client.exactly(1).await.expect("a size")[0]));
    }
    let size = usize::from_str_radix(size.trim(), 16).expect("a size");
    let mut content = client.exactly(size + 2).await.expect("a chunk");
    content.truncate(size);
    content
}

/// Sends an event for each permit, and ends with the one that says so.
async fn events(go: Arc<Semaphore>, last: usize) -> Origin {
    Origin::raw(move |mut wire| {
        let go = Arc::clone(&go);
        async move {
            if read(&mut wire).await.is_none() {
                return;
            }
            wire.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
                .await;
            for number in 0..last {
                let event = format!("data: {number}\n\n");
                wire.send(format!("{:x}\r\n{event}\r\n", event.len())).await;
                go.acquire().await.expect("open").forget();
            }
            // And the connection ends without a last chunk.
        }
    })
    .await
}

#[tokio::test]
async fn each_event_of_a_stream_is_readable_at_once_and_a_cut_stream_never_looks_whole() {
    for coding in ["gzip", "br", "zstd"] {
        let go = Arc::new(Semaphore::new(0));
        let app = events(Arc::clone(&go), 20).await;
        let running = balancer("", &app).await;
        let mut client = Wire::connect(running.address()).await;
        client
            .send(format!(
                "GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {coding}\r\n\r\n"
            ))
            .await;
        let head = within("a head", client.head()).await.expect("a head");
        assert_eq!(head.get("content-encoding"), Some(coding));
        let (mut got, mut wanted) = (Vec::new(), String::new());
        for number in 0..20 {
            wanted += &format!("data: {number}\n\n");
            // The target says no more until this was read.
            within("the event", async {
                while undo(coding, &got) != wanted.as_bytes() {
                    got.extend(chunk(&mut client).await);
                }
            })
            .await;
            go.add_permits(1);
        }
        let rest = within("the end", client.rest()).await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{coding}: {rest:?}");
    }
}

#[tokio::test]
async fn a_worker_compresses_so_many_at_once_and_the_others_go_as_they_are() {
    let go = Arc::new(Semaphore::new(0));
    let app = events(Arc::clone(&go), 2).await;
    let running = balancer("", &app).await;
    let mut clients = Vec::new();
    let mut compressed = 0;
    for _ in 0..70 {
        let mut client = Wire::connect(running.address()).await;
        client
            .send("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
            .await;
        let head = within("a head", client.head()).await.expect("a head");
        assert_eq!(head.get("vary"), Some("Accept-Encoding"));
        compressed += usize::from(head.get("content-encoding").is_some());
        clients.push(client);
    }
    assert_eq!(compressed, 64);
    // Whoever ends makes room.
    drop(clients);
    longshore_tests::eventually("there is room", async || {
        let mut client = Wire::connect(running.address()).await;
        client
            .send("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
            .await;
        let head = client.head().await.expect("a head");
        head.get("content-encoding").map(drop)
    })
    .await;
}

#[tokio::test]
async fn large_bodies_are_compressed_as_they_come() {
    let line: String = (0..997)
        .map(|number| char::from(b'a' + (number % 23) as u8))
        .collect();
    let body = line.repeat(16_000);
    let sent = body.clone();
    let app = Origin::http(move |_| {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            sent.len()
        );
        [head.as_bytes(), sent.as_bytes()].concat()
    })
    .await;
    let running = balancer("level: 1, min_length: 1", &app).await;
    let mut client = Wire::connect(running.address()).await;
    for coding in ["zstd", "gzip", "br"] {
        let fields = format!("Accept-Encoding: {coding}\r\n");
        let (_, got) = ask(&mut client, "GET", "/", &fields).await;
        assert_eq!(undo(coding, &got), body.as_bytes(), "{coding}");
    }
}
