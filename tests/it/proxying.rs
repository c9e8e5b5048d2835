//! Requests and responses pass through whole.

use longshore_tests::balancer::{fixed, start};
use longshore_tests::origin::{Origin, read, response};
use longshore_tests::wire::Wire;
use longshore_tests::{eventually, within};

const NO_CHECK: &str = "health_check: {enabled: false}";

#[tokio::test]
async fn a_request_reaches_the_target_with_the_clients_address() {
    let origin = Origin::ok("hello").await;
    let balancer = start(&fixed(&[origin.address], NO_CHECK, "")).await;
    let mut client = Wire::connect(balancer.address()).await;
    client
        .send("GET /a/b?c=d HTTP/1.1\r\nHost: Example.com:81\r\nX-Custom: kept\r\nX-Forwarded-For: 192.0.2.1\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\r\n")
        .await;
    let got = client.response().await;
    assert_eq!((got.status(), got.text().as_str()), (200, "hello"));
    let seen = &origin.seen()[0].head;
    assert_eq!(seen.line, "GET /a/b?c=d HTTP/1.1");
    assert_eq!(seen.get("host"), Some("example.com:81"));
    assert_eq!(seen.get("x-custom"), Some("kept"));
    assert_eq!(seen.get("x-forwarded-for"), Some("192.0.2.1, 127.0.0.1"));
    assert_eq!(seen.get("x-forwarded-proto"), Some("http"));
    assert_eq!(
        seen.get("x-forwarded-port"),
        Some(balancer.address().port().to_string().as_str())
    );
    for name in ["connection", "x-hop", "keep-alive"] {
        assert_eq!(seen.get(name), None);
    }
}

#[tokio::test]
async fn a_body_passes_with_a_length_and_in_chunks() {
    let origin = Origin::http(|request| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        )
        .into_bytes()
    })
    .await;
    let balancer = start(&fixed(&[origin.address], NO_CHECK, "")).await;
    let mut client = Wire::connect(balancer.address()).await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
        .await;
    assert_eq!(client.response().await.text(), "hello");
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").await;
    let got = client.response().await;
    assert_eq!(got.text(), "abcde");
    assert_eq!(got.head.get("transfer-encoding"), Some("chunked"));
    let seen = origin.seen();
    assert_eq!(seen[0].head.get("content-length"), Some("5"));
    assert_eq!(seen[1].head.get("transfer-encoding"), Some("chunked"));
    assert_eq!(
        origin.connections(),
        1,
        "the connection to the target is kept"
    );
}

#[tokio::test]
async fn trailers_pass_in_both_directions() {
    let origin = Origin::http(|_| {
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: down\r\n\r\n".to_vec()
    })
    .await;
    let balancer = start(&fixed(&[origin.address], NO_CHECK, "")).await;
    let mut client = Wire::connect(balancer.address()).await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: up\r\n\r\n")
        .await;
    let got = client.response().await;
    assert_eq!(got.text(), "ok");
    assert_eq!(got.trailers, [("x-sum".to_owned(), "down".to_owned())]);
    let seen = &origin.seen()[0];
    assert_eq!(seen.trailers, [("x-sum".to_owned(), "up".to_owned())]);
    assert_eq!(seen.head.get("te"), Some("trailers"));
}

#[tokio::test]
async fn an_http_1_0_client_gets_a_whole_response_without_chunks() {
    let origin = Origin::http(|_| {
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_vec()
    })
    .await;
    let balancer = start(&fixed(&[origin.address], NO_CHECK, "")).await;
    let mut client = Wire::connect(balancer.address()).await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    let got = within("the end of the response", client.response()).await;
    assert_eq!(got.head.get("transfer-encoding"), None);
    assert_eq!(got.text(), "hello");
    let seen = &origin.seen()[0].head;
    assert_eq!(seen.line, "GET / HTTP/1.1");
    assert_eq!(
        seen.get("host"),
        Some(balancer.address().to_string().as_str()),
        "HTTP/1.1 needs a Host"
    );
}

#[tokio::test]
async fn an_http_1_0_client_may_keep_its_connection() {
    let origin = Origin::ok("hello").await;
    let balancer = start(&fixed(&[origin.address], NO_CHECK, "")).await;
    let mut client = Wire::connect(balancer.address()).await;
    for _ in 0..3 {
        client
            .send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
            .await;
        let got = within("a response", client.response()).await;
        assert_eq!(got.text(), "hello");
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::http(|request| response(200, &request.head.line)).await;
    let balancer = start(&fixed(&[origin.address], NO_CHECK, "")).await;
    let mut client = Wire::connect(balancer.address()).await;
    let requests: String = (0..50)
        .map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n"))
        .collect();
    client.send(requests).await;
    for n in 0..50 {
        let got = within("a response", client.response()).await;
        assert_eq!(got.text(), format!("GET /{n} HTTP/1.1"));
    }
}

#[tokio::test]
async fn a_client_that_expects_100_continue_gets_it_and_the_target_is_not_asked() {
    let origin =
        Origin::http(|request| response(200, &String::from_utf8_lossy(&request.body))).await;
    let balancer = start(&fixed(&[origin.address], NO_CHECK, "")).await;
    let mut client = Wire::connect(balancer.address()).await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        .await;
    let interim = within("100 Continue", client.head()).await.expect("a head");
    assert_eq!(interim.status(), 100);
    client.send("hello").await;
    assert_eq!(client.response().await.text(), "hello");
    assert_eq!(origin.seen()[0].head.get("expect"), None);
}

#[tokio::test]
async fn a_response_without_a_body_keeps_its_length_and_the_connection() {
    let origin = Origin::http(|request| match request.head.line.split(' ').next() {
        Some("HEAD") => b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n".to_vec(),
        _ => b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\nETag: \"x\"\r\n\r\n".to_vec(),
    })
    .await;
    let balancer = start(&fixed(&[origin.address], NO_CHECK, "")).await;
    let mut client = Wire::connect(balancer.address()).await;
    for _ in 0..3 {
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let head = within("a head", client.head()).await.expect("a head");
        assert_eq!(
            (head.status(), head.get("content-length")),
            (200, Some("1234"))
        );
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let head = within("a head", client.head()).await.expect("a head");
        assert_eq!((head.status(), head.get("etag")), (304, Some("\"x\"")));
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_response_that_ends_with_its_connection_is_whole() {
    let origin = Origin::raw(|mut wire| async move {
        read(&mut wire).await;
        wire.send("HTTP/1.1 200 OK\r\n\r\nuntil the end").await;
    })
    .await;
    let balancer = start(&fixed(&[origin.address], NO_CHECK, "")).await;
    let mut client = Wire::connect(balancer.address()).await;
    for _ in 0..3 {
        assert_eq!(
            within("a response", client.get("/")).await.text(),
            "until the end"
        );
    }
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_request_at_the_target() {
    let (gone, mut told) = tokio::sync::mpsc::channel(1);
    let origin = Origin::raw(move |mut wire| {
        let gone = gone.clone();
        async move {
            read(&mut wire).await;
            // No answer: only the end of the connection goes on.
            wire.rest().await;
            gone.send(()).await.expect("the test listens");
        }
    })
    .await;
    let balancer = start(&fixed(&[origin.address], NO_CHECK, "")).await;
    let mut client = Wire::connect(balancer.address()).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    eventually("the request is at the target", async || {
        (origin.connections() == 1).then_some(())
    })
    .await;
    drop(client);
    within("the target sees the end", told.recv())
        .await
        .expect("told");
    eventually("nothing is in flight", async || {
        (balancer.group().await.targets[0].in_flight == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_response_that_begins_before_the_request_ends_does_not_stop_it() {
    // The target answers more than all buffers hold while it still reads; the client reads only
    // after it has sent all.
    const SIZE: usize = 8 * 1024 * 1024;
    let origin = Origin::raw(|mut wire| async move {
        let head = wire.head().await.expect("a head");
        assert_eq!(head.get("content-length"), Some(SIZE.to_string().as_str()));
        let Wire { stream, .. } = wire;
        let (mut input, mut output) = stream.into_split();
        let answer = tokio::spawn(async move {
            use tokio::io::AsyncWriteExt as _;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
            output.write_all(head.as_bytes()).await.expect("sent");
            output.write_all(&vec![b'x'; SIZE]).await.expect("sent");
            output
        });
        let mut left = SIZE;
        let mut buffer = vec![0; 64 * 1024];
        while left > 0 {
            left -= tokio::io::AsyncReadExt::read(&mut input, &mut buffer)
                .await
                .expect("read");
        }
        answer.await.expect("sent");
    })
    .await;
    let balancer = start(&fixed(&[origin.address], NO_CHECK, "")).await;
    let mut client = Wire::connect(balancer.address()).await;
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n"
        ))
        .await;
    within("all is sent", client.send(vec![b'y'; SIZE])).await;
    let got = within("all is received", client.response()).await;
    assert_eq!(got.body.len(), SIZE);
}

#[tokio::test]
async fn rules_answer_and_redirect_without_a_target() {
    let origin = Origin::ok("target").await;
    let text = fixed(&[origin.address], NO_CHECK, "").replace(
        "target_groups:",
        "    rules:
      - {priority: 1, condition: [{path_pattern: {values: ['/old/*']}}], action: [{type: redirect, redirect: {status_code: HTTP_301, path: '/new/#{path}'}}]}
      - {priority: 2, condition: [{path_pattern: {values: ['/no']}}], action: [{type: fixed_response, fixed_response: {status_code: 418, content_type: text/plain, message_body: 'a teapot'}}]}
target_groups:",
    );
    let balancer = start(&text).await;
    let mut client = Wire::connect(balancer.address()).await;
    let got = client.get("/old/x?y=1").await;
    assert_eq!(got.status(), 301);
    let port = balancer.address().port();
    assert_eq!(
        got.head.get("location"),
        Some(format!("http://localhost:{port}/new/old/x?y=1").as_str())
    );
    let got = client.get("/no").await;
    assert_eq!((got.status(), got.text().as_str()), (418, "a teapot"));
    assert_eq!(client.get("/else").await.text(), "target");
}

#[tokio::test]
async fn requests_are_spread_evenly_over_targets() {
    let origins = [
        Origin::ok("a").await,
        Origin::ok("b").await,
        Origin::ok("c").await,
    ];
    let addresses = origins.each_ref().map(|origin| origin.address);
    for algorithm in ["round_robin", "least_outstanding_requests"] {
        let before = origins.each_ref().map(|origin| origin.seen().len());
        let group = format!("{NO_CHECK}\nload_balancing_algorithm_type: {algorithm}");
        let balancer = start(&fixed(&addresses, &group, "runtime: {workers: 1}")).await;
        let mut client = Wire::connect(balancer.address()).await;
        for _ in 0..30 {
            client.get("/").await;
        }
        for (origin, before) in origins.iter().zip(before) {
            assert_eq!(origin.seen().len() - before, 10, "{algorithm}");
        }
    }
}

#[tokio::test]
async fn least_outstanding_requests_avoids_a_busy_target() {
    let slow = Origin::raw(|mut wire| async move {
        read(&mut wire).await;
        wire.rest().await;
    })
    .await;
    let quick = Origin::ok("quick").await;
    let group = format!("{NO_CHECK}\nload_balancing_algorithm_type: least_outstanding_requests");
    let balancer = start(&fixed(&[slow.address, quick.address], &group, "")).await;
    // One request hangs at the slow target, and nothing else is at work: from then on it is the
    // busier one, also while the quick one has a request.
    let mut stuck = Vec::new();
    let in_flight = async |origin: &Origin| {
        let targets = balancer.group().await.targets;
        let target = targets
            .iter()
            .find(|target| target.address == origin.address.to_string());
        target.expect("registered").in_flight
    };
    while in_flight(&slow).await == 0 {
        let mut client = Wire::connect(balancer.address()).await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        stuck.push(client);
        eventually("the request is done or stuck", async || {
            let seen = quick.seen().len() as u64 + in_flight(&slow).await;
            (seen >= stuck.len() as u64 && in_flight(&quick).await == 0).then_some(())
        })
        .await;
    }
    let mut client = Wire::connect(balancer.address()).await;
    for _ in 0..50 {
        assert_eq!(within("a response", client.get("/")).await.text(), "quick");
    }
}

#[tokio::test]
async fn a_get_with_a_body_in_chunks_keeps_its_body_where_the_mode_lets_it_pass() {
    let origin =
        Origin::http(|request| response(200, &String::from_utf8_lossy(&request.body))).await;
    let mode = "load_balancer: {desync_mitigation_mode: monitor}";
    let balancer = start(&fixed(&[origin.address], NO_CHECK, mode)).await;
    let mut client = Wire::connect(balancer.address()).await;
    client
        .send("GET /_search HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nquery\r\n0\r\n\r\n")
        .await;
    assert_eq!(
        within("a response", client.response()).await.text(),
        "query"
    );
}

#[tokio::test]
async fn an_http_1_0_target_does_not_make_the_clients_connection_one() {
    let origin = Origin::raw(|mut wire| async move {
        read(&mut wire).await;
        wire.send("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await;
    })
    .await;
    let balancer = start(&fixed(&[origin.address], NO_CHECK, "")).await;
    let mut client = Wire::connect(balancer.address()).await;
    for _ in 0..2 {
        let got = within("a response", client.get("/")).await;
        assert_eq!(got.head.line, "HTTP/1.1 200 OK");
        assert_eq!(got.text(), "ok");
    }
}

#[tokio::test]
async fn early_responses_leave_no_connection_behind() {
    let origin = Origin::raw(|mut wire| async move {
        wire.head().await.expect("a head");
        wire.send("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            .await;
        wire.rest().await;
    })
    .await;
    let top = "load_balancer: {idle_timeout: 1}";
    let balancer = start(&fixed(&[origin.address], NO_CHECK, top)).await;
    for _ in 0..5 {
        let mut client = Wire::connect(balancer.address()).await;
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\npart")
            .await;
        assert_eq!(within("a response", client.response()).await.status(), 413);
    }
    eventually("all connections to the target are closed", async || {
        (origin.open() == 0).then_some(())
    })
    .await;
}
