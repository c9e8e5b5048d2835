//! Targets with HTTP/2: what reaches them, how their connections are used, and how streams end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use longshore_tests::balancer::{Running, fixed, start};
use longshore_tests::frames::{END_HEADERS, Frames, GOAWAY, HEADERS, SETTINGS, frame};
use longshore_tests::http::connect;
use longshore_tests::origin::Origin;
use longshore_tests::wire::Wire;
use longshore_tests::{eventually, secure, within};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

/// A balancer before targets with HTTP/2.
async fn before(targets: &[SocketAddr], version: &str, more: &str) -> Running {
    let group = format!("protocol_version: {version}\nhealth_check: {{enabled: false}}\n{more}");
    let running = start(&fixed(targets, group.trim_end(), "runtime: {workers: 1}")).await;
    running.wait_for("healthy", targets.len()).await;
    running
}

fn request(method: Method, path: &str) -> Request<()> {
    let builder = Request::builder().method(method);
    let request = builder.uri(format!("http://a.test{path}")).body(());
    request.expect("a request")
}

/// Reads a body to its end.
async fn read(body: &mut RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        all.extend_from_slice(&data);
        body.flow_control().release_capacity(data.len())?;
    }
    Ok((all, body.trailers().await?))
}

/// Sends a request, whole, and reads its response.
async fn send(
    sender: &mut SendRequest<Bytes>,
    request: Request<()>,
    body: &'static [u8],
) -> Result<(u16, Vec<u8>, Option<HeaderMap>), h2::Error> {
    let (response, mut stream) = sender.send_request(request, body.is_empty())?;
    if !body.is_empty() {
        stream.send_data(Bytes::from_static(body), true)?;
    }
    within("a response", async {
        let mut response = response.await?;
        let (got, trailers) = read(response.body_mut()).await?;
        Ok((response.status().as_u16(), got, trailers))
    })
    .await
}

/// A target. Each stream is given to `answer`; `connections` counts.
struct Target {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

type Stream = (Request<RecvStream>, SendResponse<Bytes>);

async fn target<F>(
    streams: u32,
    answer: impl Fn(usize, Stream) -> F + Clone + Send + Sync + 'static,
) -> Target
where
    F: Future<Output = Result<(), h2::Error>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound");
    let connections = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let number = counter.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(serve(socket, streams, number, answer.clone()));
        }
    });
    Target {
        address,
        connections,
    }
}

async fn serve<F>(
    socket: impl AsyncRead + AsyncWrite + Unpin,
    streams: u32,
    number: usize,
    answer: impl Fn(usize, Stream) -> F,
) where
    F: Future<Output = Result<(), h2::Error>> + Send + 'static,
{
    let mut builder = h2::server::Builder::new();
    let handshake = builder.max_concurrent_streams(streams).handshake(socket);
    let Ok(mut connection) = handshake.await else {
        return;
    };
    while let Some(Ok(stream)) = connection.accept().await {
        let answered = answer(number, stream);
        tokio::spawn(async move {
            // A stream that its client has left is no fault here.
            drop(answered.await);
        });
    }
}

/// Sends back the body, and its length in a trailer.
async fn echo((request, mut respond): Stream) -> Result<(), h2::Error> {
    let (parts, mut body) = request.into_parts();
    let (all, trailers) = read(&mut body).await?;
    let line = format!(
        "{} {} {:?}",
        parts.method,
        parts.uri,
        parts.headers.get("te")
    );
    let response = Response::builder()
        .header("x-line", line)
        .header("x-trailer", trailers.map_or(0, |trailers| trailers.len()));
    let mut stream = respond.send_response(response.body(()).expect("sound"), false)?;
    let mut last = HeaderMap::new();
    last.insert("x-length", HeaderValue::from(all.len()));
    stream.send_data(all.into(), false)?;
    stream.send_trailers(last)
}

/// Answers `ok`.
fn ok(mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let mut stream = respond.send_response(Response::new(()), false)?;
    stream.send_data(Bytes::from_static(b"ok"), true)
}

static LARGE: [u8; 1_000_000] = [7; 1_000_000];

#[tokio::test(flavor = "multi_thread")]
async fn bodies_and_trailers_reach_a_target_with_http2_and_come_back() {
    let target = target(100, |_, stream| echo(stream)).await;
    let running = before(&[target.address], "HTTP2", "").await;
    let mut client = connect(running.address()).await;
    let mut post = request(Method::POST, "/a/b?c=d");
    post.headers_mut()
        .insert("te", HeaderValue::from_static("trailers"));
    let (response, mut stream) = client.send_request(post, false).expect("open");
    stream
        .send_data(Bytes::from_static(&LARGE), false)
        .expect("open");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-a", HeaderValue::from_static("1"));
    trailers.insert("x-b", HeaderValue::from_static("2"));
    stream.send_trailers(trailers).expect("open");
    let mut response = within("a response", response).await.expect("one");
    let port = running.address().port();
    assert_eq!(
        response.headers()["x-line"],
        format!("POST http://a.test:{port}/a/b?c=d Some(\"trailers\")")
    );
    assert_eq!(response.headers()["x-trailer"], "2");
    let (body, trailers) = within("the rest", read(response.body_mut()))
        .await
        .expect("whole");
    assert_eq!(body, LARGE);
    assert_eq!(trailers.expect("trailers")["x-length"], "1000000");
    for path in ["/<a>`", "/{b}", "/\"c\""] {
        // No URI may have these, and clients send them.
        let path = path
            .replace('<', "%3C")
            .replace('>', "%3E")
            .replace('`', "%60");
        let (status, ..) = send(&mut client, request(Method::GET, &path), b"")
            .await
            .expect(&path);
        assert_eq!(status, 200, "{path}");
    }
    let head = send(&mut client, request(Method::HEAD, "/"), b"").await;
    assert_eq!(head.expect("a response").0, 200);
    assert_eq!(
        target.connections.load(Ordering::SeqCst),
        1,
        "one carried all"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_with_http2_are_reached_over_tls_by_alpn() {
    let acceptor = secure::acceptor(&[b"h2"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let stream = acceptor.accept(socket).await.expect("a handshake");
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            tokio::spawn(serve(stream, 100, 0, |_, stream| echo(stream)));
        }
    });
    let running = before(&[address], "HTTP2", "protocol: HTTPS").await;
    let mut client = connect(running.address()).await;
    for _ in 0..3 {
        let got = send(&mut client, request(Method::POST, "/"), &LARGE).await;
        assert_eq!(got.expect("a response").1, LARGE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_do_not_suit_the_groups_version_get_464() {
    let target = target(100, |_, stream| echo(stream)).await;
    for version in ["HTTP2", "GRPC"] {
        let running = before(&[target.address], version, "").await;
        let got = Wire::connect(running.address()).await.get("/").await;
        assert_eq!(
            (got.status(), got.reason()),
            (464, Some("protocol_version_mismatch"))
        );
        let mut client = connect(running.address()).await;
        let got = send(&mut client, request(Method::GET, "/"), b"")
            .await
            .expect("a response");
        assert_eq!(got.0, if version == "GRPC" { 464 } else { 200 });
        let got = send(&mut client, request(Method::POST, "/"), b"x")
            .await
            .expect("a response");
        assert_eq!(got.0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_speaks_no_http2_is_named_as_such_and_gets_no_request() {
    let plain = Origin::ok("hello").await;
    let running = before(&[plain.address], "HTTP2", "").await;
    let mut client = connect(running.address()).await;
    let (response, _) = client
        .send_request(request(Method::GET, "/"), true)
        .expect("open");
    let response = within("a response", response).await.expect("one");
    assert_eq!(response.status(), 502);
    let reason = response.headers().get("x-longshore-reason");
    assert_eq!(reason, Some(&HeaderValue::from_static("target_not_http2")));
    assert!(
        plain
            .seen()
            .iter()
            .all(|seen| !seen.head.line.starts_with("GET"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_stream_is_sent_again_also_with_its_body() {
    let refusals = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&refusals);
    let target = target(100, move |_, (request, mut respond): Stream| {
        let refuse = counter.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
        async move {
            if refuse {
                respond.send_reset(Reason::REFUSED_STREAM);
                return Ok(());
            }
            echo((request, respond)).await
        }
    })
    .await;
    let running = before(&[target.address], "HTTP2", "").await;
    let mut client = connect(running.address()).await;
    for _ in 0..10 {
        let got = send(&mut client, request(Method::POST, "/"), b"once").await;
        let (status, body, _) = got.expect("a response");
        assert_eq!((status, &*body), (200, &b"once"[..]));
    }
    assert_eq!(refusals.load(Ordering::SeqCst), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_goaway_leaves_out_is_sent_again_on_a_new_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound");
    let running = before(&[address], "HTTP2", "").await;
    let mut client = connect(running.address()).await;
    let asked =
        tokio::spawn(async move { send(&mut client, request(Method::POST, "/"), b"body").await });
    let mut first = Frames::accept(&listener).await;
    let asked_first = first.next_of(HEADERS).await.expect("a request");
    assert_eq!(asked_first.stream, 1);
    // Nothing was processed.
    let go = frame(GOAWAY, 0, 0, &[0; 8]);
    assert!(first.send(&go).await);
    let mut second = Frames::accept(&listener).await;
    let again = second.next_of(HEADERS).await.expect("the request again");
    assert_eq!(again.stream, 1);
    // `:status: 204`, from HPACK's table.
    assert!(
        second
            .send(&frame(HEADERS, END_HEADERS | 1, 1, &[0x89]))
            .await
    );
    let got = asked.await.expect("no panic").expect("a response");
    assert_eq!(got.0, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_break_the_rules_end_the_connection_and_the_next_request_has_another() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound");
    let running = before(&[address], "HTTP2", "outlier_detection: {enabled: false}").await;
    let mut client = connect(running.address()).await;
    for bad in [
        // DATA on no stream; SETTINGS of five bytes; a response with an index that no table has.
        frame(0, 0, 0, b"x"),
        frame(SETTINGS, 0, 0, &[0; 5]),
        frame(HEADERS, END_HEADERS, 1, &[0xFF, 0xFF, 0xFF]),
    ] {
        let mut asking = client.clone();
        let asked =
            tokio::spawn(
                async move { send(&mut asking, request(Method::POST, "/"), b"body").await },
            );
        let mut server = Frames::accept(&listener).await;
        server.next_of(HEADERS).await.expect("a request");
        assert!(server.send(&bad).await);
        let got = asked.await.expect("no panic").expect("a response");
        assert_eq!(got.0, 502, "{bad:?}");
        assert!(server.next_of(GOAWAY).await.is_some(), "{bad:?}");
    }
    let asked =
        tokio::spawn(async move { send(&mut client, request(Method::GET, "/"), b"").await });
    let mut server = Frames::accept(&listener).await;
    server.next_of(HEADERS).await.expect("a request");
    assert!(
        server
            .send(&frame(HEADERS, END_HEADERS | 1, 1, &[0x89]))
            .await
    );
    assert_eq!(asked.await.expect("no panic").expect("a response").0, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_never_has_more_streams_than_it_allows_and_gets_more_connections() {
    static NOW: [AtomicUsize; 8] = [const { AtomicUsize::new(0) }; 8];
    let target = target(2, |number, (_, respond)| async move {
        let at = NOW[number].fetch_add(1, Ordering::SeqCst) + 1;
        assert!(at <= 2, "{at} streams on connection {number}");
        // Until all of them are there.
        while NOW
            .iter()
            .map(|count| count.load(Ordering::SeqCst))
            .sum::<usize>()
            < 8
        {
            tokio::task::yield_now().await;
        }
        ok(respond)
    })
    .await;
    let running = before(&[target.address], "HTTP2", "").await;
    let client = connect(running.address()).await;
    let all = (0..8).map(|_| {
        let mut client = client.clone();
        async move { send(&mut client, request(Method::GET, "/"), b"").await }
    });
    for got in futures_util::future::join_all(all).await {
        assert_eq!(got.expect("a response").1, b"ok");
    }
    assert_eq!(target.connections.load(Ordering::SeqCst), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_a_target_resets_is_reset_with_a_code_that_fits() {
    let codes = [
        Reason::CANCEL,
        Reason::ENHANCE_YOUR_CALM,
        Reason::PROTOCOL_ERROR,
    ];
    let target = target(100, move |_, (request, mut respond): Stream| async move {
        let at: usize = request.uri().path()[1..].parse().unwrap_or_default();
        let mut stream = respond.send_response(Response::new(()), false)?;
        stream.send_data(Bytes::from_static(b"part"), false)?;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        stream.send_reset(codes[at]);
        Ok(())
    })
    .await;
    let running = before(&[target.address], "HTTP2", "").await;
    let mut client = connect(running.address()).await;
    for (at, told) in [
        Reason::CANCEL,
        Reason::ENHANCE_YOUR_CALM,
        Reason::INTERNAL_ERROR,
    ]
    .into_iter()
    .enumerate()
    {
        let got = send(&mut client, request(Method::GET, &format!("/{at}")), b"").await;
        assert_eq!(got.expect_err("it is cut short").reason(), Some(told));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_resets_each_stream_is_taken_out_though_its_connection_lives() {
    let bad = target(100, |_, (_, mut respond): Stream| async move {
        respond.send_reset(Reason::INTERNAL_ERROR);
        Ok(())
    })
    .await;
    let good = target(100, |_, (_, respond): Stream| async move { ok(respond) }).await;
    let running = before(&[bad.address, good.address], "HTTP2", "").await;
    let mut client = connect(running.address()).await;
    let out = eventually("it is taken out", async || {
        let got = send(&mut client, request(Method::GET, "/"), b"").await;
        assert_eq!(got.expect("tried again").0, 200);
        let targets = running.group().await.targets.into_iter();
        let mut out = targets.filter(|target| target.ejection.is_some());
        out.next()
    })
    .await;
    assert_eq!(out.address, bad.address.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_a_stream_ends_it_at_the_target_and_no_other() {
    let left = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&left);
    let target = target(100, move |_, (request, mut respond): Stream| {
        let counter = Arc::clone(&counter);
        async move {
            if request.uri().path() != "/wait" {
                return ok(respond);
            }
            let reset = std::future::poll_fn(|cx| respond.poll_reset(cx)).await?;
            assert_eq!(reset, Reason::CANCEL);
            counter.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    })
    .await;
    let running = before(&[target.address], "HTTP2", "").await;
    let mut client = connect(running.address()).await;
    let (waits, mut stream) = client
        .send_request(request(Method::POST, "/wait"), false)
        .expect("open");
    let got = send(&mut client, request(Method::GET, "/"), b"")
        .await
        .expect("a response");
    assert_eq!(got.1, b"ok");
    stream.send_reset(Reason::CANCEL);
    drop(waits);
    eventually("the target hears of it", async || {
        (left.load(Ordering::SeqCst) == 1).then_some(())
    })
    .await;
    let got = send(&mut client, request(Method::GET, "/"), b"")
        .await
        .expect("a response");
    assert_eq!(got.1, b"ok");
    assert_eq!(target.connections.load(Ordering::SeqCst), 1);
}
