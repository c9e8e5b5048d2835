//! HTTP/2 from clients: what passes, what does not, and how it ends.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use longshore_tests::balancer::{Running, fixed, start};
use longshore_tests::frames::{
    self, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PROTOCOL_ERROR, RST_STREAM,
};
use longshore_tests::http::connect;
use longshore_tests::origin::{Origin, response};
use longshore_tests::wire::{Head, Wire};
use longshore_tests::{eventually, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A balancer before one target.
async fn before(origin: &Origin, top: &str) -> Running {
    let running = start(&fixed(
        &[origin.address],
        "health_check: {enabled: false}",
        top,
    ))
    .await;
    running.wait_for("healthy", 1).await;
    running
}

/// All values of a name.
fn all<'h>(head: &'h Head, name: &str) -> Vec<&'h str> {
    let fields = head
        .fields
        .iter()
        .filter(|field| field.0.eq_ignore_ascii_case(name));
    fields.map(|field| field.1.as_str()).collect()
}

fn request(method: Method, path: &str) -> Request<()> {
    let builder = Request::builder().method(method);
    let request = builder.uri(format!("http://a.test{path}")).body(());
    request.expect("a request")
}

/// Sends a request, whole.
async fn send(
    sender: &mut SendRequest<Bytes>,
    request: Request<()>,
    body: Option<Bytes>,
) -> Result<(Response<RecvStream>, Vec<u8>, Option<HeaderMap>), h2::Error> {
    let (response, mut stream) = sender.send_request(request, body.is_none())?;
    if let Some(body) = body {
        stream.send_data(body, true)?;
    }
    let mut response = within("a response", response).await?;
    let (body, trailers) = read(response.body_mut()).await?;
    Ok((response, body, trailers))
}

async fn read(body: &mut RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    within("a body", async {
        let mut all = Vec::new();
        while let Some(data) = body.data().await {
            let data = data?;
            all.extend_from_slice(&data);
            body.flow_control().release_capacity(data.len())?;
        }
        Ok((all, body.trailers().await?))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_over_http2_reaches_a_target_as_one_over_http1() {
    let origin = Origin::http(|_| {
        b"HTTP/1.1 200 OK\r\nX-Name: a\r\nx-name: b\r\nKeep-Alive: 5\r\nContent-Length: 5\r\n\r\nhello"
            .to_vec()
    })
    .await;
    let running = before(&origin, "").await;
    let mut client = connect(running.address()).await;
    let mut get = request(Method::GET, "/a/b?c=d");
    let fields = get.headers_mut();
    fields.append("x-one", HeaderValue::from_static("1"));
    fields.append("cookie", HeaderValue::from_static("a=1"));
    fields.append("x-one", HeaderValue::from_static("2"));
    fields.append("cookie", HeaderValue::from_static("b=2"));
    fields.append("te", HeaderValue::from_static("trailers"));
    let (response, body, trailers) = send(&mut client, get, None).await.expect("a response");
    assert_eq!(response.status(), 200);
    assert_eq!(body, b"hello");
    assert_eq!(trailers, None);
    let fields = response.headers();
    let names: Vec<_> = fields.get_all("x-name").iter().collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(fields.get("keep-alive"), None);
    assert_eq!(fields.get("connection"), None);
    assert!(fields.contains_key("date"));
    let seen = origin.seen();
    let head = &seen[0].head;
    assert_eq!(head.line, "GET /a/b?c=d HTTP/1.1");
    // With the listener's port, as ALB does it in any version.
    let host = format!("a.test:{}", running.address().port());
    assert_eq!(head.get("host"), Some(&*host));
    assert_eq!(all(head, "x-one"), ["1", "2"]);
    assert_eq!(all(head, "cookie"), ["a=1; b=2"]);
    assert_eq!(head.get("te"), Some("trailers"));
    assert_eq!(head.get("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(head.get("x-forwarded-proto"), Some("http"));
    assert_eq!(head.get("content-length"), None);
    assert_eq!(head.get("transfer-encoding"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_and_trailers_pass_both_ways_with_and_without_a_length() {
    let origin = Origin::http(|request| {
        let mut out = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for part in request.body.chunks(10_000) {
            out.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
            out.extend_from_slice(part);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"0\r\nX-Sum: 7\r\n\r\n");
        out
    })
    .await;
    let running = before(&origin, "").await;
    let mut client = connect(running.address()).await;
    let body: Bytes = (0..1_000_000_u32)
        .map(|n| (n % 251) as u8)
        .collect::<Vec<_>>()
        .into();
    for known in [true, false] {
        let mut post = request(Method::POST, "/");
        if known {
            post.headers_mut()
                .insert("content-length", body.len().into());
        }
        let (response, mut stream) = client.send_request(post, false).expect("sent");
        stream.send_data(body.clone(), false).expect("sent");
        let mut trailers = HeaderMap::new();
        trailers.insert("x-check", HeaderValue::from_static("9"));
        stream.send_trailers(trailers).expect("sent");
        let mut response = within("a response", response).await.expect("a response");
        assert_eq!(response.headers().get("transfer-encoding"), None);
        let (back, trailers) = read(response.body_mut()).await.expect("a body");
        assert!(back == body, "{} bytes came back", back.len());
        assert_eq!(trailers.expect("trailers")["x-sum"], "7");
        let seen = origin.seen();
        let seen = seen.last().expect("a request");
        assert!(seen.body == body, "{} bytes came", seen.body.len());
        if known {
            assert_eq!(seen.head.get("content-length"), Some("1000000"));
        } else {
            assert_eq!(seen.trailers, [("x-check".to_owned(), "9".to_owned())]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_without_a_body_end_with_their_head() {
    let origin = Origin::http(|request| {
        if request.head.line.starts_with("HEAD") {
            return b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n".to_vec();
        }
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n".to_vec()
    })
    .await;
    let running = before(&origin, "").await;
    let mut client = connect(running.address()).await;
    let (response, body, _) = send(&mut client, request(Method::HEAD, "/"), None)
        .await
        .expect("a response");
    assert_eq!(response.headers()["content-length"], "7");
    assert!(body.is_empty());
    let (mut response, _) = client
        .send_request(request(Method::GET, "/"), true)
        .expect("sent");
    let hints = std::future::poll_fn(|cx| response.poll_informational(cx));
    let hints = within("hints", hints).await.expect("hints").expect("sound");
    assert_eq!(hints.status(), 103);
    assert_eq!(hints.headers()["link"], "</a>");
    let response = within("a response", response).await.expect("a response");
    assert_eq!(response.status(), 204);
    assert!(response.body().is_end_stream());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_streams_of_one_connection_are_answered_side_by_side() {
    let origin = Origin::http(|request| {
        let path = request.head.line.split(' ').nth(1).expect("a path");
        response(200, path)
    })
    .await;
    let running = before(&origin, "").await;
    let mut client = connect(running.address()).await;
    // A response comes behind the settings: from here on the client knows how many streams it may
    // open.
    let first = send(&mut client, request(Method::GET, "/first"), None).await;
    assert_eq!(first.expect("a response").0.status(), 200);
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..1_000 {
        let mut client = client.clone();
        tasks.spawn(async move {
            let path = format!("/{index}");
            // A client waits while as many streams are open as it was allowed.
            client = client.ready().await.expect("ready");
            let (response, body, _) = send(&mut client, request(Method::GET, &path), None)
                .await
                .expect("a response");
            assert_eq!(response.status(), 200);
            assert_eq!(body, path.as_bytes());
        });
    }
    while let Some(done) = within("all responses", tasks.join_next()).await {
        done.expect("answered");
    }
    assert_eq!(origin.seen().len(), 1_001);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_a_target_cuts_short_is_reset_and_never_looks_whole() {
    for path in ["/known", "/chunked"] {
        let origin = Origin::raw(move |mut wire: Wire| async move {
            let head = wire.head().await.expect("a request");
            let known = head.line.contains("known");
            let text = if known {
                "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"
            } else {
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"
            };
            wire.send(text.as_bytes()).await;
        })
        .await;
        let running = before(&origin, "").await;
        let mut client = connect(running.address()).await;
        let error = send(&mut client, request(Method::GET, path), None)
            .await
            .expect_err("cut short");
        assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR), "{path}");
        // The connection is as good as before.
        let error = send(&mut client, request(Method::GET, path), None).await;
        assert!(error.expect_err("cut short").is_reset(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_resets_its_stream_frees_the_target_and_its_connection_goes_on() {
    let origin = Origin::raw(|mut wire: Wire| async move {
        let head = wire.head().await.expect("a request");
        if head.line.contains("wait") {
            // Until the balancer closes.
            let mut rest = Vec::new();
            wire.stream.read_to_end(&mut rest).await.unwrap_or_default();
            return;
        }
        wire.send(&response(200, "ok")).await;
    })
    .await;
    let running = before(&origin, "").await;
    let mut client = connect(running.address()).await;
    let (waiting, mut stream) = client
        .send_request(request(Method::GET, "/wait"), true)
        .expect("sent");
    eventually("the target has it", async || {
        (origin.open() == 1).then_some(())
    })
    .await;
    stream.send_reset(Reason::CANCEL);
    drop(waiting);
    eventually("the target is free", async || {
        (origin.open() == 0).then_some(())
    })
    .await;
    let (_, body, _) = send(&mut client, request(Method::GET, "/"), None)
        .await
        .expect("a response");
    assert_eq!(body, b"ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_its_target_does_not_take_ends_with_its_client() {
    let origin = Origin::raw(|mut wire: Wire| async move {
        // The head and no more, for as long as it may.
        within("a request", wire.head()).await.expect("a request");
        std::future::pending::<()>().await;
    })
    .await;
    let running = before(&origin, "").await;
    let in_flight = async || running.group().await.targets[0].in_flight;
    for resets in [true, false] {
        let socket = TcpStream::connect(running.address()).await;
        let (client, connection) = h2::client::handshake(socket.expect("connected"))
            .await
            .expect("HTTP/2");
        let driver = tokio::spawn(connection);
        let mut client: SendRequest<Bytes> = client.ready().await.expect("ready");
        let upload = request(Method::POST, "/upload");
        let (response, mut stream) = client.send_request(upload, false).expect("sent");
        // Until nobody on the way has room for more.
        let stuck = Duration::from_millis(500);
        loop {
            stream.reserve_capacity(64 * 1024);
            let room = poll_fn(|cx| stream.poll_capacity(cx));
            let Ok(room) = tokio::time::timeout(stuck, room).await else {
                break;
            };
            let room = room.expect("open").expect("open");
            stream.send_data(vec![0; room].into(), false).expect("open");
        }
        assert_eq!(in_flight().await, 1);
        if resets {
            stream.send_reset(Reason::CANCEL);
        } else {
            driver.abort();
        }
        eventually("the target is free", async || {
            (in_flight().await == 0).then_some(())
        })
        .await;
        drop(response);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_our_own_come_with_their_reason() {
    let origin = Origin::ok("x").await;
    let address = origin.address;
    drop(origin);
    let text = fixed(&[address], "health_check: {enabled: false}", "");
    let running = start(&text).await;
    running.wait_for("healthy", 1).await;
    let mut client = connect(running.address()).await;
    let (response, body, _) = send(&mut client, request(Method::GET, "/"), None)
        .await
        .expect("an answer");
    assert_eq!(response.status(), 502);
    assert_eq!(response.headers()["x-longshore-reason"], "connect_failed");
    assert!(!body.is_empty());
    // A body that nobody wants does not keep the stream.
    let big = Bytes::from(vec![0; 10 << 20]);
    let post = request(Method::POST, "/");
    let (answer, mut stream) = client.send_request(post, false).expect("sent");
    stream.send_data(big, true).expect("taken");
    let answer = within("an answer", answer).await.expect("an answer");
    assert_eq!(answer.status(), 502);
    let (response, ..) = send(&mut client, request(Method::TRACE, "/"), None)
        .await
        .expect("an answer");
    assert_eq!(response.status(), 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_request_is_reset_alone_and_reaches_no_target() {
    let origin = Origin::ok("x").await;
    let running = before(&origin, "").await;
    let sound = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a.test"),
        (":path", "/"),
    ];
    let with = |more: &[(&'static str, &'static str)]| [&sound[..], more].concat();
    let without = |name: &str| -> Vec<_> {
        sound
            .iter()
            .copied()
            .filter(|field| field.0 != name)
            .collect()
    };
    for (what, fields) in [
        ("an upper-case name", with(&[("X-Name", "a")])),
        ("Connection", with(&[("connection", "close")])),
        (
            "Transfer-Encoding",
            with(&[("transfer-encoding", "chunked")]),
        ),
        ("Upgrade", with(&[("upgrade", "x")])),
        ("Keep-Alive", with(&[("keep-alive", "x")])),
        ("Proxy-Connection", with(&[("proxy-connection", "x")])),
        ("TE other than trailers", with(&[("te", "gzip")])),
        ("another host", with(&[("host", "b.test")])),
        ("two hosts", with(&[("host", "a.test"), ("host", "a.test")])),
        ("a method twice", with(&[(":method", "GET")])),
        ("a path twice", with(&[(":path", "/b")])),
        ("an unknown pseudo-field", with(&[(":other", "x")])),
        ("a pseudo-field behind a field", {
            let mut fields = vec![("x", "y")];
            fields.extend(sound);
            fields
        }),
        ("no method", without(":method")),
        ("no scheme", without(":scheme")),
        ("no path", without(":path")),
        ("an empty path", {
            let mut fields = without(":path");
            fields.push((":path", ""));
            fields
        }),
        ("a path with a space", {
            let mut fields = without(":path");
            fields.push((":path", "/a HTTP/1.1\r\nx: y"));
            fields
        }),
        ("a path without a slash", {
            let mut fields = without(":path");
            fields.push((":path", "a"));
            fields
        }),
        ("a line end in a value", with(&[("x", "a\r\nb: c")])),
        ("a method with a space", {
            let mut fields = without(":method");
            fields.push((":method", "GET /x"));
            fields
        }),
        ("a method with a line end", {
            let mut fields = without(":method");
            fields.push((":method", "GET\r\nx: y"));
            fields
        }),
        ("an empty method", {
            let mut fields = without(":method");
            fields.push((":method", ""));
            fields
        }),
        ("a method with a colon", {
            let mut fields = without(":method");
            fields.push((":method", "G:T"));
            fields
        }),
        ("a path with a line end alone", {
            let mut fields = without(":path");
            fields.push((":path", "/a\nx: y"));
            fields
        }),
        ("a path with a zero", {
            let mut fields = without(":path");
            fields.push((":path", "/a\0"));
            fields
        }),
        ("a path with a tab", {
            let mut fields = without(":path");
            fields.push((":path", "/a\tb"));
            fields
        }),
        ("another URL as path", {
            let mut fields = without(":path");
            fields.push((":path", "http://b.test/"));
            fields
        }),
        ("an authority with a line end", {
            let mut fields = without(":authority");
            fields.push((":authority", "a\r\nx: y"));
            fields
        }),
        ("an authority with a space", {
            let mut fields = without(":authority");
            fields.push((":authority", "a b"));
            fields
        }),
        ("a scheme with a line end", {
            let mut fields = without(":scheme");
            fields.push((":scheme", "http\r\nx: y"));
            fields
        }),
        (
            "a pseudo-field in capital letters",
            with(&[(":Path", "/b")]),
        ),
        ("a CR alone in a value", with(&[("x", "a\rb")])),
        ("an LF alone in a value", with(&[("x", "a\nb")])),
        ("a space in a name", with(&[("x b", "c")])),
        ("a zero in a name", with(&[("x\0b", "c")])),
        (
            "a name with a length in it",
            with(&[("x\ncontent-length", "5")]),
        ),
        (
            "HTTP2-Settings with Upgrade",
            with(&[("upgrade", "h2c"), ("http2-settings", "AAMAAABk")]),
        ),
        ("a negative length", with(&[("content-length", "-1")])),
        ("a length with a plus", with(&[("content-length", "+0")])),
        ("a length as a list", with(&[("content-length", "0, 0")])),
        ("a status", with(&[(":status", "200")])),
        ("a protocol", with(&[(":protocol", "websocket")])),
        ("a zero in a value", with(&[("x", "a\0b")])),
        ("a line end in a name", with(&[("x\r\nb", "c")])),
        ("a colon in a name", with(&[("x:b", "c")])),
        ("an empty name", with(&[("", "c")])),
        ("white space around a value", with(&[("x", " a")])),
        (
            "a length that is no number",
            with(&[("content-length", "x")]),
        ),
        ("a length without a body", with(&[("content-length", "5")])),
        (
            "two lengths",
            with(&[("content-length", "0"), ("content-length", "1")]),
        ),
    ] {
        let mut client = Frames::connect(running.address(), &[]).await;
        let block = frames::block(&fields);
        let flags = END_HEADERS | END_STREAM;
        client.send(&frames::frame(HEADERS, flags, 1, &block)).await;
        let refused = within(what, async {
            loop {
                match client.next().await {
                    Some(frame) if frame.kind == RST_STREAM || frame.kind == GOAWAY => {
                        return Some(frame.code());
                    }
                    Some(frame) => assert_ne!(frame.kind, HEADERS, "{what}"),
                    None => return None,
                }
            }
        });
        assert_eq!(refused.await, Some(PROTOCOL_ERROR), "{what}");
    }
    // What HTTP/2 has no word for is judged as HTTP/1.1 is.
    for (what, fields) in [
        ("an authority with user information", {
            let mut fields = without(":authority");
            fields.push((":authority", "u@a.test"));
            fields
        }),
        ("an authority with a path", {
            let mut fields = without(":authority");
            fields.push((":authority", "a.test/x"));
            fields
        }),
        ("an empty authority", {
            let mut fields = without(":authority");
            fields.push((":authority", ""));
            fields
        }),
        ("a length in disguise", with(&[("content_length", "5")])),
        (
            "a coding in disguise",
            with(&[("transfer_encoding", "chunked")]),
        ),
    ] {
        let mut client = Frames::connect(running.address(), &[]).await;
        let block = frames::block(&fields);
        let flags = END_HEADERS | END_STREAM;
        client.send(&frames::frame(HEADERS, flags, 1, &block)).await;
        let answer = within(what, async {
            loop {
                let frame = client.next().await.expect(what);
                if matches!(frame.kind, HEADERS | RST_STREAM) {
                    return frame;
                }
            }
        });
        let answer = answer.await;
        assert!(
            answer.kind == RST_STREAM || !answer.begins_with_200(),
            "{what}"
        );
        assert!(client.is_alive().await, "{what}");
    }
    assert_eq!(origin.seen().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_another_length_than_stated_is_reset_and_never_looks_whole() {
    let origin = Origin::http(|_| response(200, "whole")).await;
    let running = before(&origin, "").await;
    for (stated, parts) in [("5", &[&b"123"[..]][..]), ("5", &[b"123", b"456"])] {
        let mut client = Frames::connect(running.address(), &[]).await;
        let block = frames::block(&[
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "a.test"),
            (":path", "/"),
            ("content-length", stated),
        ]);
        client
            .send(&frames::frame(HEADERS, END_HEADERS, 1, &block))
            .await;
        for (index, part) in parts.iter().enumerate() {
            let flags = if index + 1 == parts.len() {
                END_STREAM
            } else {
                0
            };
            client.send(&frames::frame(DATA, flags, 1, part)).await;
        }
        let reset = client.next_of(RST_STREAM).await.expect("a reset");
        assert_eq!(reset.code(), PROTOCOL_ERROR, "{parts:?}");
    }
    assert_eq!(origin.seen().len(), 0, "no whole request");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_lets_streams_finish_and_tells_the_client_to_go() {
    let (go, wait) = tokio::sync::watch::channel(false);
    let origin = Origin::raw(move |mut wire: Wire| {
        let mut wait = wait.clone();
        async move {
            let _head = wire.head().await.expect("a request");
            wait.wait_for(|go| *go).await.expect("told");
            wire.send(&response(200, "late")).await;
        }
    })
    .await;
    let running = before(&origin, "").await;
    let mut client = connect(running.address()).await;
    let (answer, _) = client
        .send_request(request(Method::GET, "/"), true)
        .expect("sent");
    eventually("the target has it", async || {
        (origin.open() == 1).then_some(())
    })
    .await;
    let drained = tokio::spawn(running.balancer.drain());
    within("no more streams", async {
        while client.clone().ready().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    go.send(true).expect("heard");
    let mut answer = within("an answer", answer).await.expect("an answer");
    let (body, _) = read(answer.body_mut()).await.expect("whole");
    assert_eq!(body, b"late");
    within("the end", drained).await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_knows_http2_only_later_is_still_http1() {
    let origin = Origin::ok("x").await;
    let running = before(&origin, "").await;
    let mut stream = TcpStream::connect(running.address())
        .await
        .expect("connected");
    for part in ["P", "RI / HTTP/1.1\r\nHost: a\r\n\r\n"] {
        stream.write_all(part.as_bytes()).await.expect("sent");
        tokio::task::yield_now().await;
    }
    let mut wire = Wire::from(stream);
    let head = within("a response", wire.head()).await.expect("a response");
    assert_eq!(head.status(), 200);
}
