//! Limits on client connections, and the time before the listeners close.

use longshore_tests::balancer::{self, fixed};
use longshore_tests::eventually;
use longshore_tests::origin::Origin;
use longshore_tests::process::{Process, TempFile, free_port};
use longshore_tests::wire::Wire;

#[tokio::test]
async fn a_connection_too_many_is_answered_with_503_and_the_others_go_on() {
    let origin = Origin::ok("ok").await;
    for (limit, reason) in [
        ("max_connections: 2", "connection_limit"),
        ("max_connections_per_source: 2", "source_connection_limit"),
    ] {
        let top = format!("runtime: {{{limit}}}");
        let text = fixed(&[origin.address], "health_check: {enabled: false}", &top);
        let running = balancer::start(&text).await;
        let address = running.address();
        let (mut a, mut b) = (Wire::connect(address).await, Wire::connect(address).await);
        assert_eq!(a.get("/").await.status(), 200);
        assert_eq!(b.get("/").await.status(), 200);
        let mut shed = Wire::connect(address).await;
        let got = shed.get("/").await;
        assert_eq!((got.status(), got.reason()), (503, Some(reason)));
        assert_eq!(got.head.get("connection"), Some("close"));
        assert_eq!(a.get("/").await.status(), 200, "the others go on");
        drop((b, shed));
        eventually("there is room again", async || {
            let got = Wire::connect(address).await.get("/").await;
            (got.status() == 200).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn during_the_shutdown_delay_it_is_not_ready_and_serves_all() {
    let origin = Origin::ok("ok").await;
    let (port, admin) = (free_port(), free_port());
    let file = TempFile::new(&format!(
        "admin: {{address: '127.0.0.1:{admin}'}}
runtime: {{shutdown_delay: 2s}}
listeners: [{{name: web, address: '127.0.0.1:{port}', default_action: [{{type: forward, target_group: app}}]}}]
target_groups: [{{name: app, targets: [{{address: 127.0.0.1, port: {}}}], health_check: {{enabled: false}}}}]
",
        origin.address.port()
    ));
    let (mut process, address) = Process::run(&file);
    let admin: std::net::SocketAddr = ([127, 0, 0, 1], admin).into();
    process.signal("TERM");
    process.wait_for_line("draining");
    eventually("it is not ready", async || {
        let got = Wire::connect(admin).await.get("/readyz").await;
        (got.status() == 503).then_some(())
    })
    .await;
    let got = Wire::connect(address).await.get("/").await;
    assert_eq!(got.status(), 200, "it accepts");
    assert!(process.wait().success());
}

/// A stream on an open connection: its status, and the reason.
async fn over_http2(
    sender: &h2::client::SendRequest<bytes::Bytes>,
) -> Result<(u16, Option<String>), h2::Error> {
    let mut sender = sender.clone().ready().await?;
    let request = http::Request::get("http://a.test/").body(());
    let (response, _) = sender.send_request(request.expect("a request"), true)?;
    let response = response.await?;
    let reason = response.headers().get("x-longshore-reason");
    let reason = reason.map(|it| it.to_str().expect("text").to_owned());
    Ok((response.status().as_u16(), reason))
}

#[tokio::test]
async fn with_too_much_memory_first_connections_and_then_requests_get_503_until_there_is_less() {
    let origin = Origin::ok("ok").await;
    let (port, admin) = (free_port(), free_port());
    let text = |runtime: &str| {
        format!(
            "admin: {{address: '127.0.0.1:{admin}'}}
runtime: {{{runtime}}}
listeners: [{{name: web, address: '127.0.0.1:{port}', default_action: [{{type: forward, target_group: app}}]}}]
target_groups: [{{name: app, targets: [{{address: 127.0.0.1, port: {}}}], health_check: {{enabled: false}}}}]
",
            origin.address.port()
        )
    };
    let file = TempFile::new(&text("workers: 1"));
    let (mut process, address) = Process::run(&file);
    let admin: std::net::SocketAddr = ([127, 0, 0, 1], admin).into();
    let reload = async |most: u64| {
        file.write(&text(&format!("workers: 1, max_memory: {most}")));
        longshore_tests::admin::reload(admin).await;
    };
    let mut early = Wire::connect(address).await;
    assert_eq!(early.get("/").await.status(), 200);
    let stream = tokio::net::TcpStream::connect(address).await;
    let (streams, connection) = h2::client::handshake(stream.expect("connected"))
        .await
        .expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let good = (200, None);
    assert_eq!(over_http2(&streams).await.expect("a response"), good);

    // A reload takes memory of its own the first time.
    reload(1 << 40).await;
    process.wait_for_line("reloaded");
    // A twentieth too much, and not yet an eighth.
    let most = process.memory() * 20 / 21;
    reload(most).await;
    process.wait_for_line("new connections are refused");
    let got = Wire::connect(address).await.get("/").await;
    assert_eq!((got.status(), got.reason()), (503, Some("memory_limit")));
    assert_eq!(
        early.get("/").await.status(),
        200,
        "who is connected goes on"
    );
    assert_eq!(over_http2(&streams).await.expect("a response"), good);

    // The least that a file may say, which is far less than what the process has.
    reload(32 * 1024 * 1024).await;
    process.wait_for_line("new requests are refused");
    early
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
        .await;
    let got = early.response().await;
    assert_eq!((got.status(), got.reason()), (503, Some("memory_limit")));
    assert_eq!(got.head.get("connection"), Some("close"));
    let refused = (503, Some("memory_limit".to_owned()));
    assert_eq!(over_http2(&streams).await.expect("a response"), refused);
    // The client is told to go, and no stream was broken.
    let ended = longshore_tests::within("the end", connection).await;
    ended.expect("no panic").expect("no error");
    let series = "longshore_answers_total{reason=\"memory_limit\"}";
    let counted = longshore_tests::admin::figure(admin, series).await;
    assert_eq!(counted, Some(3.0), "a connection, a request and a stream");

    reload(1 << 40).await;
    process.wait_for_line("less memory than");
    let got = Wire::connect(address).await.get("/").await;
    assert_eq!(got.status(), 200);
}
