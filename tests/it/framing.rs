//! Requests that two readers could understand differently reach no target.

use longshore_tests::balancer::{fixed, start};
use longshore_tests::origin::Origin;
use longshore_tests::wire::Wire;
use longshore_tests::{eventually, within};

const NO_CHECK: &str = "health_check: {enabled: false}";

#[tokio::test]
async fn an_ambiguous_or_malformed_request_is_refused_and_the_connection_ends() {
    let origin = Origin::ok("reached").await;
    let balancer = start(&fixed(&[origin.address], NO_CHECK, "")).await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let cases = [
        (
            "two lengths",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n",
        ),
        (
            "a list of lengths",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 5\r\n\r\n",
        ),
        (
            "a length with a sign",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n\r\n",
        ),
        (
            "a negative length",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        ),
        (
            "an unknown coding",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        ),
        (
            "chunked not last",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        ),
        (
            "chunked twice",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "chunked in HTTP/1.0",
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("no Host", "GET / HTTP/1.1\r\n\r\n"),
        ("two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        ("a Host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
        (
            "a space before the colon",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        ),
        (
            "a folded field",
            "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n",
        ),
        (
            "a field without a name",
            "GET / HTTP/1.1\r\nHost: a\r\n: 1\r\n\r\n",
        ),
        (
            "a NUL in a value",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        ),
        (
            "a space in the target",
            "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        ("an unknown version", "GET / HTTP/1.7\r\nHost: a\r\n\r\n"),
        ("no version", "GET /\r\nHost: a\r\n\r\n"),
        ("CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ];
    let mut wrong = Vec::new();
    for (what, request) in cases {
        let mut client = Wire::connect(balancer.address()).await;
        client.send(format!("{request}{smuggled}")).await;
        let answer = within("an answer", client.try_response()).await;
        let rest = within(what, client.rest()).await;
        let refused = answer
            .as_ref()
            .is_ok_and(|answer| matches!(answer.status(), 400 | 405 | 501 | 505));
        if !refused || !rest.is_empty() || !origin.seen().is_empty() {
            wrong.push(format!(
                "{what}: {answer:?}, then {:?}, and at the target {:?}",
                String::from_utf8_lossy(&rest),
                origin.seen()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// RFC 9112 §6.3: a server that does not refuse such a request must go by Transfer-Encoding, must
/// not pass the length on, and must close the connection. Only `monitor` does not refuse it.
#[tokio::test]
async fn both_lengths_mean_chunks_for_the_target_and_the_end_of_both_connections() {
    for fields in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
    ] {
        let origin = Origin::ok("reached").await;
        let mode = "load_balancer: {desync_mitigation_mode: monitor}";
        let balancer = start(&fixed(&[origin.address], NO_CHECK, mode)).await;
        let mut client = Wire::connect(balancer.address()).await;
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
        client
            .send(format!(
                "{head}0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
            ))
            .await;
        let answer = within("an answer", client.response()).await;
        assert_eq!(answer.head.get("connection"), Some("close"));
        assert!(within("the end", client.rest()).await.is_empty());
        let seen = origin.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert_eq!(seen[0].head.get("content-length"), None);
        assert_eq!(seen[0].head.get("transfer-encoding"), Some("chunked"));
        assert!(seen[0].body.is_empty());
        eventually("the target's connection ends", async || {
            (origin.open() == 0).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_body_with_broken_chunks_is_never_whole_for_the_target() {
    let origin = Origin::ok("reached").await;
    let balancer = start(&fixed(&[origin.address], NO_CHECK, "")).await;
    for chunks in [
        "x\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
    ] {
        let mut client = Wire::connect(balancer.address()).await;
        client
            .send(format!(
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
            ))
            .await;
        let answer = within("an answer", client.try_response()).await;
        if let Ok(answer) = &answer {
            assert_eq!(
                (answer.status(), answer.reason()),
                (400, Some("request_body_incomplete")),
                "{chunks:?}"
            );
        }
        assert!(
            within("the end", client.rest()).await.is_empty(),
            "{chunks:?}"
        );
    }
    assert!(origin.seen().is_empty(), "{:?}", origin.seen());
}

#[tokio::test]
async fn an_absolute_target_becomes_a_path_with_its_host() {
    let origin = Origin::ok("ok").await;
    let balancer = start(&fixed(&[origin.address], NO_CHECK, "")).await;
    let mut client = Wire::connect(balancer.address()).await;
    client
        .send("GET http://user@real.example/x?y HTTP/1.1\r\nHost: other\r\n\r\n")
        .await;
    assert_eq!(client.response().await.status(), 200);
    let seen = &origin.seen()[0].head;
    assert_eq!(seen.line, "GET /x?y HTTP/1.1");
    assert_eq!(
        seen.get("host"),
        Some(format!("real.example:{}", balancer.address().port()).as_str())
    );
}

#[tokio::test]
async fn a_client_that_is_still_sending_reads_why_it_was_refused() {
    let origin = Origin::ok("ok").await;
    let running = start(&fixed(
        &[origin.address],
        "health_check: {enabled: false}",
        "",
    ))
    .await;
    let many = "1.2.3.4,".repeat(31);
    for (fields, status) in [
        (format!("X-Forwarded-For: {many}"), 463),
        ("Content-Length: 1".to_owned(), 400),
    ] {
        let mut client = Wire::connect(running.address()).await;
        let length = 8 * 1024 * 1024;
        client
            .send(format!(
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{fields}\r\n\r\n"
            ))
            .await;
        // More than all buffers on the way hold: a reset would overtake the answer.
        client.send(vec![b'x'; length]).await;
        let answer = within("an answer", client.response()).await;
        assert_eq!(answer.status(), status, "{fields}");
    }
    assert!(origin.seen().is_empty());
}
