//! Responses as bytes: what the client gets of each, and whether the target's connection serves
//! another request. Whatever a target sends, the next client's response is its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use longshore_tests::balancer::{fixed, start};
use longshore_tests::origin::{Origin, read, response};
use longshore_tests::wire::Wire;
use longshore_tests::{eventually, within};
use socket2::SockRef;
use tokio::io::AsyncWriteExt as _;

/// What the target does behind its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Stays,
    Closes,
    Resets,
}

/// What the client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gets {
    /// A status with a body, whole.
    Whole(u16, &'static str),
    /// A response that ends before its end.
    Cut,
    /// 502.
    Nothing,
}

use Gets::{Cut, Nothing, Whole};
use Then::{Closes, Resets, Stays};

/// The method, the bytes, what comes then, what the client gets, and whether the connection serves
/// another request.
type Case = (&'static str, &'static str, Then, Gets, bool);

const LENGTHS: &[Case] = &[
    (
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        Stays,
        Whole(200, "hello"),
        true,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 005\r\n\r\nhello",
        Stays,
        Whole(200, "hello"),
        true,
    ),
    (
        "GET",
        "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello",
        Stays,
        Whole(200, "hello"),
        true,
    ),
    // Equal lengths are one (RFC 9112 §6.3).
    (
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        Stays,
        Whole(200, "hello"),
        true,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        Stays,
        Nothing,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nContent-Length: 5\r\n\r\nhello!",
        Stays,
        Nothing,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
        Stays,
        Nothing,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        Stays,
        Nothing,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        Stays,
        Nothing,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello",
        Stays,
        Nothing,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhello",
        Stays,
        Nothing,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551621\r\n\r\nhello",
        Stays,
        Nothing,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello",
        Stays,
        Nothing,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        Stays,
        Whole(200, ""),
        true,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\ncut",
        Closes,
        Cut,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\ncut",
        Resets,
        Cut,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n",
        Closes,
        Cut,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
        Stays,
        Whole(200, "hello"),
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: content-length\r\n\r\nhello",
        Stays,
        Whole(200, "hello"),
        true,
    ),
    (
        "GET",
        "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        Stays,
        Whole(200, "hello"),
        false,
    ),
    (
        "GET",
        "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello",
        Stays,
        Whole(200, "hello"),
        true,
    ),
    (
        "GET",
        "HTTP/1.0 200 OK\r\n\r\nuntil the end",
        Closes,
        Whole(200, "until the end"),
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\n\r\nuntil the end",
        Closes,
        Whole(200, "until the end"),
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\n\r\nuntil the end",
        Resets,
        Cut,
        false,
    ),
];

const CHUNKS: &[Case] = &[
    (
        "GET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
        Stays,
        Whole(200, "hello"),
        true,
    ),
    // Both: chunks count, and the connection is not trusted any more (RFC 9112 §6.3).
    (
        "GET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Stays,
        Whole(200, "hello"),
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 500\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Stays,
        Whole(200, "hello"),
        false,
    ),
    (
        "GET",
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Stays,
        Whole(200, "hello"),
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
        Closes,
        Nothing,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        Stays,
        Nothing,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        Stays,
        Nothing,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello",
        Stays,
        Nothing,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Stays,
        Nothing,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        Stays,
        Nothing,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding:\u{b}chunked\r\n\r\n0\r\n\r\n",
        Stays,
        Nothing,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        Closes,
        Cut,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        Closes,
        Cut,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n",
        Stays,
        Cut,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n",
        Stays,
        Cut,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\n\n",
        Stays,
        Cut,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
        Stays,
        Cut,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        Stays,
        Cut,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n",
        Stays,
        Cut,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX : y\r\n\r\n",
        Stays,
        Cut,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno chunks",
        Closes,
        Cut,
        false,
    ),
];

const HEADS: &[Case] = &[
    (
        "GET",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        Stays,
        Nothing,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nX: a\r\n\tContent-Length: 0\r\n\r\n",
        Stays,
        Nothing,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n",
        Stays,
        Nothing,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
        Stays,
        Nothing,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nX y\r\n\r\n",
        Stays,
        Nothing,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\n: y\r\n\r\n",
        Stays,
        Nothing,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 0\r\n\r\n",
        Stays,
        Nothing,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\rX: y\r\nContent-Length: 0\r\n\r\n",
        Stays,
        Nothing,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n",
        Stays,
        Nothing,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n",
        Stays,
        Nothing,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 20 Short\r\nContent-Length: 0\r\n\r\n",
        Stays,
        Nothing,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 2000 Long\r\nContent-Length: 0\r\n\r\n",
        Stays,
        Nothing,
        false,
    ),
    (
        "GET",
        "HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
        Stays,
        Nothing,
        false,
    ),
    (
        "GET",
        "HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
        Stays,
        Nothing,
        false,
    ),
    (
        "GET",
        "ICY 200 OK\r\nContent-Length: 0\r\n\r\n",
        Stays,
        Nothing,
        false,
    ),
    ("GET", "no http at all", Closes, Nothing, false),
    ("GET", "\0\0\0\0\0\0\0\0\r\n\r\n", Stays, Nothing, false),
    ("GET", "", Closes, Nothing, false),
    ("GET", "", Resets, Nothing, false),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Le",
        Closes,
        Nothing,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Hop: 1\r\nConnection: x-hop\r\n\r\nhello",
        Stays,
        Whole(200, "hello"),
        true,
    ),
];

const SWITCHES: &[Case] = &[
    (
        "GET",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        Stays,
        Whole(200, "ok"),
        true,
    ),
    (
        "GET",
        "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        Stays,
        Whole(200, "ok"),
        true,
    ),
    // A 1xx response has no body, whatever it says.
    (
        "GET",
        "HTTP/1.1 103 X\r\nContent-Length: 2\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        Stays,
        Whole(200, "ok"),
        true,
    ),
    (
        "GET",
        "HTTP/1.1 103 X\r\nContent-Length: 2\r\n\r\nxxHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        Stays,
        Nothing,
        false,
    ),
    (
        "GET",
        "HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
        Stays,
        Nothing,
        false,
    ),
    ("GET", "HTTP/1.1 103 X\r\n\r\n", Closes, Nothing, false),
];

const BODILESS: &[Case] = &[
    (
        "HEAD",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        Stays,
        Whole(200, ""),
        true,
    ),
    (
        "HEAD",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        Stays,
        Whole(200, ""),
        false,
    ),
    (
        "HEAD",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        Stays,
        Whole(200, ""),
        true,
    ),
    (
        "HEAD",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Stays,
        Whole(200, ""),
        false,
    ),
    (
        "HEAD",
        "HTTP/1.1 200 OK\r\n\r\n",
        Stays,
        Whole(200, ""),
        true,
    ),
    (
        "GET",
        "HTTP/1.1 204 No Content\r\n\r\n",
        Stays,
        Whole(204, ""),
        true,
    ),
    (
        "GET",
        "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
        Stays,
        Whole(204, ""),
        false,
    ),
    (
        "GET",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        Stays,
        Whole(304, ""),
        true,
    ),
    (
        "GET",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello",
        Stays,
        Whole(304, ""),
        false,
    ),
    (
        "GET",
        "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Stays,
        Whole(304, ""),
        false,
    ),
];

const MORE: &[Case] = &[
    (
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\r\n",
        Stays,
        Whole(200, "hello"),
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, and more",
        Stays,
        Whole(200, "hello"),
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        Stays,
        Whole(200, "hello"),
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        Stays,
        Whole(200, ""),
        false,
    ),
    (
        "GET",
        "HTTP/1.1 204 X\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        Stays,
        Whole(204, ""),
        false,
    ),
];

/// Answers the first request with the bytes, and all others well.
async fn target(bytes: Vec<u8>, then: Then) -> Origin {
    let first = Arc::new(AtomicUsize::new(0));
    let bytes = Arc::new(bytes);
    Origin::raw(move |mut wire| {
        let (first, bytes) = (Arc::clone(&first), Arc::clone(&bytes));
        async move {
            while let Some(request) = read(&mut wire).await {
                if first.fetch_add(1, Ordering::Relaxed) > 0 {
                    let path = request.head.line.clone();
                    wire.send(response(200, &path)).await;
                    continue;
                }
                // It may be refused before all of it is written.
                drop(wire.stream.write_all(&bytes).await);
                match then {
                    Stays => {}
                    Closes => return,
                    Resets => {
                        // After what was sent before has arrived: this is a time of its own.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        let socket = SockRef::from(&wire.stream);
                        socket.set_linger(Some(Duration::ZERO)).expect("set");
                        return;
                    }
                }
            }
        }
    })
    .await
}

/// What a client gets for its request, without interim responses.
async fn ask(client: &mut Wire, method: &str) -> Gets {
    let request = format!("{method} /first HTTP/1.1\r\nHost: a\r\n\r\n");
    client.send(request).await;
    let head = loop {
        match within("a head", client.head()).await {
            Ok(head) if head.status() < 200 => {}
            Ok(head) => break head,
            Err(_) => return Cut,
        }
    };
    if head.status() == 502 {
        return Nothing;
    }
    if method == "HEAD" || matches!(head.status(), 204 | 304) {
        return Whole(head.status(), "");
    }
    match within("a body", client.body(&head, true)).await {
        Ok((body, _)) => Whole(
            head.status(),
            String::from_utf8_lossy(&body).into_owned().leak(),
        ),
        Err(_) => Cut,
    }
}

async fn judge(cases: &[Case]) {
    let mut wrong = Vec::new();
    for (method, bytes, then, wanted, reused) in cases {
        let origin = target(bytes.as_bytes().to_vec(), *then).await;
        // A GET that fails is tried again, which would hide what became of the first.
        let top = "runtime: {workers: 1}";
        let no_check = "health_check: {enabled: false}";
        let balancer = start(&fixed(&[origin.address], no_check, top)).await;
        let mut client = Wire::connect(balancer.address()).await;
        let mut got = ask(&mut client, method).await;
        if *wanted == Nothing && got == Whole(200, "GET /first HTTP/1.1") {
            // It was sent again on another connection, which is as good.
            got = Nothing;
        }
        let before = origin.connections();
        let mut other = Wire::connect(balancer.address()).await;
        let next = within("the next response", other.get("/next")).await;
        let is_reused = origin.connections() == before;
        // A connection that was good for a second try is good for a third.
        let retried = before > 1;
        if got != *wanted
            || next.text() != "GET /next HTTP/1.1"
            || (is_reused != *reused && !retried)
        {
            wrong.push(format!(
                "{method} {bytes:?} {then:?}: {got:?}, next {:?}, connection reused: {is_reused}",
                next.text()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn responses_end_where_their_length_says_or_are_not_whole() {
    judge(LENGTHS).await;
}

#[tokio::test]
async fn chunks_of_responses_are_read_strictly() {
    judge(CHUNKS).await;
}

#[tokio::test]
async fn heads_that_two_readers_could_read_differently_reach_no_client() {
    judge(HEADS).await;
}

#[tokio::test]
async fn interim_responses_are_not_taken_for_the_last_one() {
    judge(SWITCHES).await;
}

#[tokio::test]
async fn bytes_behind_a_response_without_a_body_are_no_response() {
    judge(BODILESS).await;
}

#[tokio::test]
async fn a_second_response_to_one_request_reaches_nobody() {
    judge(MORE).await;
}

#[tokio::test]
async fn a_head_of_more_than_32_kib_or_200_fields_reaches_no_client() {
    let head = |size: usize| {
        let rest = size - "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: \r\n\r\n".len();
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: {}\r\n\r\n",
            "x".repeat(rest)
        )
    };
    let many = |count: usize| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{}\r\n",
            "X: y\r\n".repeat(count)
        )
    };
    for (bytes, wanted) in [
        (head(32 * 1024), Whole(200, "")),
        (head(32 * 1024 + 1), Nothing),
        (head(200_000), Nothing),
        (many(199), Whole(200, "")),
        (many(200), Nothing),
        ("HTTP/1.1 103 X\r\n\r\n".repeat(2_000), Nothing),
    ] {
        let size = bytes.len();
        let origin = target(bytes.into_bytes(), Stays).await;
        let no_check = "health_check: {enabled: false}";
        let balancer = start(&fixed(&[origin.address], no_check, "")).await;
        let mut client = Wire::connect(balancer.address()).await;
        assert_eq!(ask(&mut client, "POST").await, wanted, "{size} bytes");
    }
}

/// Bytes that a target sends while nobody asks are no response to the next request.
#[tokio::test]
async fn a_response_that_comes_before_its_request_reaches_nobody() {
    let early = Arc::new(AtomicUsize::new(0));
    let sent = Arc::clone(&early);
    let origin = Origin::raw(move |mut wire| {
        let sent = Arc::clone(&sent);
        async move {
            while read(&mut wire).await.is_some() {
                wire.send(response(200, "good")).await;
                if sent.load(Ordering::Relaxed) == 0 {
                    // A moment later, when the connection is idle: this is a time of its own.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    drop(wire.stream.write_all(&response(200, "evil")).await);
                    sent.store(1, Ordering::Relaxed);
                }
            }
        }
    })
    .await;
    let no_check = "health_check: {enabled: false}";
    let balancer = start(&fixed(&[origin.address], no_check, "runtime: {workers: 1}")).await;
    let mut client = Wire::connect(balancer.address()).await;
    assert_eq!(client.get("/1").await.text(), "good");
    eventually("bytes that nobody asked for are sent", async || {
        (early.load(Ordering::Relaxed) == 1).then_some(())
    })
    .await;
    for _ in 0..5 {
        assert_eq!(client.get("/2").await.text(), "good");
    }
    assert_eq!(origin.connections(), 2);
}
