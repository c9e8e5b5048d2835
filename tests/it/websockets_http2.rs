//! WebSockets over HTTP/2 (RFC 8441): a stream of a client, and a connection to a target.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::ext::Protocol;
use h2::{Reason, RecvStream, SendStream};
use http::{Method, Request, Response};
use longshore_tests::balancer::{Running, fixed, start};
use longshore_tests::origin::{Origin, read, response};
use longshore_tests::websocket::{self, CLOSE, TEXT, frame};
use longshore_tests::{eventually, within};
use tokio::net::TcpStream;

/// A target that echoes, and says its name first.
async fn echoing() -> Origin {
    Origin::raw(|mut wire| async move {
        while let Some(request) = read(&mut wire).await {
            if request.head.get("upgrade").is_none() {
                wire.send(response(200, "plain")).await;
                continue;
            }
            websocket::echo(&mut wire, "name").await;
            return;
        }
    })
    .await
}

async fn before(origin: &Origin, group: &str) -> Running {
    let group = format!("health_check: {{enabled: false}}\n{group}");
    let running = start(&fixed(&[origin.address], group.trim_end(), "")).await;
    running.wait_for("healthy", 1).await;
    running
}

/// A client that knows that it may ask.
async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.expect("connected");
    let (sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(async move {
        // How it ended is seen by its requests.
        drop(connection.await);
    });
    let sender = sender.ready().await.expect("ready");
    eventually("the setting comes", async || {
        sender.is_extended_connect_protocol_enabled().then_some(())
    })
    .await;
    sender
}

async fn ask(
    client: &mut SendRequest<Bytes>,
    protocol: &'static str,
) -> (Response<RecvStream>, SendStream<Bytes>) {
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri("http://a.test/chat?x=y")
        .header("sec-websocket-version", "13")
        .extension(Protocol::from_static(protocol));
    let request = request.body(()).expect("sound");
    let (response, stream) = client.send_request(request, false).expect("open");
    (within("a response", response).await.expect("one"), stream)
}

/// Reads until so many bytes have come, or the end.
async fn bytes(body: &mut RecvStream, count: usize) -> Result<Vec<u8>, h2::Error> {
    within("bytes", async {
        let mut all = Vec::new();
        while all.len() < count {
            let Some(data) = body.data().await else {
                break;
            };
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            all.extend_from_slice(&data);
        }
        Ok(all)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_over_http2_reaches_a_target_and_ends_in_order() {
    let origin = echoing().await;
    let running = before(&origin, "").await;
    let mut client = connect(running.address()).await;
    let (response, mut stream) = ask(&mut client, "websocket").await;
    assert_eq!(response.status(), 200);
    for hidden in ["sec-websocket-accept", "upgrade", "connection"] {
        assert!(!response.headers().contains_key(hidden), "{hidden}");
    }
    let mut body = response.into_body();
    let name = frame(TEXT, false, b"name");
    assert_eq!(bytes(&mut body, name.len()).await.expect("open"), name);
    for content in [&b"hello"[..], &[b'x'; 100_000]] {
        stream
            .send_data(frame(TEXT, true, content).into(), false)
            .expect("open");
        let echoed = frame(TEXT, false, content);
        assert_eq!(bytes(&mut body, echoed.len()).await.expect("open"), echoed);
    }
    // Other streams of the connection are what they were.
    let get = Request::get("http://a.test/").body(()).expect("sound");
    let (plain, _) = client.send_request(get, true).expect("open");
    assert_eq!(
        within("a response", plain).await.expect("one").status(),
        200
    );
    let close = frame(CLOSE, true, &1000_u16.to_be_bytes());
    stream.send_data(close.into(), true).expect("open");
    let end = bytes(&mut body, usize::MAX)
        .await
        .expect("an end and no reset");
    assert_eq!(end, frame(CLOSE, false, &1000_u16.to_be_bytes()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_resets_its_websocket_ends_the_targets_connection() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let origin = Origin::raw(move |mut wire| {
        let tell = tell.clone();
        async move {
            if read(&mut wire).await.is_some() {
                wire.send(websocket::AGREED).await;
                let ended = websocket::read(&mut wire).await.is_err();
                tell.send(ended).expect("somebody waits");
            }
        }
    })
    .await;
    let running = before(&origin, "").await;
    let mut client = connect(running.address()).await;
    let (response, mut stream) = ask(&mut client, "websocket").await;
    assert_eq!(response.status(), 200);
    stream.send_reset(Reason::CANCEL);
    assert!(within("the end", told.recv()).await.expect("told"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_of_a_client_that_has_said_all_ends_the_websocket_though_its_target_is_silent() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let origin = Origin::raw(move |mut wire| {
        let tell = tell.clone();
        async move {
            if read(&mut wire).await.is_some() {
                wire.send(websocket::AGREED).await;
                // The client has said all, and this side says nothing for as long as it may.
                let rest = wire.rest().await;
                tell.send(rest).expect("somebody waits");
                std::future::pending::<()>().await;
            }
        }
    })
    .await;
    let group = "health_check: {enabled: false}";
    let top = "admin: {address: '127.0.0.1:2'}";
    let running = start(&fixed(&[origin.address], group, top)).await;
    let open = async || running.metric("longshore_tunnels_open").await;
    let mut client = connect(running.address()).await;
    let (response, mut stream) = ask(&mut client, "websocket").await;
    assert_eq!(response.status(), 200);
    let all = frame(TEXT, true, b"all");
    stream.send_data(all.clone().into(), true).expect("open");
    assert_eq!(within("the end", told.recv()).await.expect("told"), all);
    assert_eq!(open().await, 1);
    stream.send_reset(Reason::CANCEL);
    eventually("it is over", async || (open().await == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_websocket_or_has_no_target_for_one_is_answered() {
    let origin = Origin::ok("no").await;
    let running = before(&origin, "").await;
    let mut client = connect(running.address()).await;
    let (response, _stream) = ask(&mut client, "websocket").await;
    assert_eq!(response.status(), 200, "an ordinary answer of the target");
    let got = bytes(&mut response.into_body(), usize::MAX).await;
    assert_eq!(got.expect("whole"), b"no");
    let (response, _stream) = ask(&mut client, "connect-udp").await;
    assert_eq!(response.status(), 405);
    let running = before(&origin, "protocol_version: HTTP2").await;
    let mut client = connect(running.address()).await;
    let (response, _stream) = ask(&mut client, "websocket").await;
    assert_eq!(response.status(), 464);
}
