use super::{Delivery, Forwarded, Understood, switches, understand, write_request, write_response};
use crate::http1::body::Body;
use crate::http1::head::{RequestHead, ResponseHead, room};
use crate::request::admit::admit;

/// What a target gets of a request, given by its lines.
fn forwarded(lines: &[&str]) -> String {
    let bytes = format!("{}\r\n\r\n", lines.join("\r\n"));
    let mut room = room();
    let head = RequestHead::parse(bytes.as_bytes(), &mut room)
        .expect("a head")
        .expect("complete");
    let admitted = admit(&head).expect("admitted");
    let forwarded = Forwarded::new([192, 0, 2, 7].into(), "http", 8080);
    let mut out = Vec::new();
    let local = ([127, 0, 0, 1], 80).into();
    write_request(&mut out, &head, &admitted, &forwarded, local);
    String::from_utf8(out).expect("text")
}

const TAIL: &str =
    "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Port: 8080\r\n\r\n";

#[test]
fn fields_keep_their_order_and_case_and_the_client_is_told() {
    assert_eq!(
        forwarded(&[
            "GET /a?b HTTP/1.1",
            "ACCEPT: */*",
            "hOsT: a",
            "x-Custom:  kept ",
            "Accept: second",
        ]),
        format!(
            "GET /a?b HTTP/1.1\r\nACCEPT: */*\r\nhOsT: a\r\nx-Custom: kept\r\nAccept: second\r\n{TAIL}"
        )
    );
}

#[test]
fn an_address_is_appended_to_all_that_was_there() {
    let got = forwarded(&[
        "GET / HTTP/1.1",
        "Host: a",
        "x-forwarded-for: 10.0.0.1, 10.0.0.2",
        "Accept: x",
        "X-Forwarded-For: 10.0.0.3",
    ]);
    assert_eq!(
        got,
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.0.0.1, 10.0.0.2, 10.0.0.3, 192.0.2.7\r\nAccept: x\r\n\
         X-Forwarded-Proto: http\r\nX-Forwarded-Port: 8080\r\n\r\n"
    );
}

#[test]
fn a_clients_own_scheme_and_port_are_replaced() {
    let got = forwarded(&[
        "GET / HTTP/1.1",
        "Host: a",
        "X-Forwarded-Proto: https",
        "x-forwarded-port: 1",
        "X_Forwarded_Proto: https",
        "X-Forwarded-Port: 2",
    ]);
    assert_eq!(got, format!("GET / HTTP/1.1\r\nHost: a\r\n{TAIL}"));
}

#[test]
fn fields_for_one_connection_go_no_further() {
    let got = forwarded(&[
        "GET / HTTP/1.1",
        "Host: a",
        "Connection: keep-alive, X-Secret",
        "connection: x-other",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: close",
        "TE: gzip",
        "Upgrade: h2c",
        "Expect: 100-continue",
        "X-Secret: 1",
        "x-other: 2",
        "X-Stays: 3",
    ]);
    assert_eq!(
        got,
        format!("GET / HTTP/1.1\r\nHost: a\r\nX-Stays: 3\r\n{TAIL}")
    );
}

#[test]
fn a_request_for_a_websocket_asks_for_that_alone() {
    let got = forwarded(&[
        "GET /chat HTTP/1.1",
        "host: a",
        "upgrade: h2c, WebSocket",
        "Sec-WebSocket-Key: x",
        "connection: keep-alive, Upgrade, HTTP2-Settings",
        "HTTP2-Settings: y",
        "TE: trailers",
        "Upgrade: foo",
    ]);
    assert_eq!(
        got,
        format!(
            "GET /chat HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nSec-WebSocket-Key: x\r\nconnection: Upgrade\r\n{TAIL}"
        )
    );
}

#[test]
fn a_switch_counts_only_if_it_was_asked_for_and_is_agreed_on() {
    let of = |lines: &[&str], asked| {
        let bytes = format!("{}\r\n\r\n", lines.join("\r\n"));
        let mut room = room();
        let head = ResponseHead::parse(bytes.as_bytes(), &mut room)
            .expect("a head")
            .expect("complete");
        switches(&head, asked)
    };
    let (status, option, protocol) = (
        "HTTP/1.1 101 Switching Protocols",
        "connection: keep-alive, upgrade",
        "UPGRADE: WebSocket",
    );
    assert_eq!(of(&[status, option, protocol], true), Ok(true));
    assert_eq!(of(&["HTTP/1.1 200 OK", option, protocol], true), Ok(false));
    for (lines, asked) in [
        (&[status, option, protocol][..], false),
        (&[status], true),
        (&[status, option], true),
        (&[status, protocol], true),
        (&[status, option, "Upgrade: h2c"], true),
        (&[status, option, "Upgrade: websocket, h2c"], true),
        (&[status, option, protocol, protocol], true),
        (&["HTTP/1.0 101 X", option, protocol], true),
    ] {
        assert!(of(lines, asked).is_err(), "{lines:?}");
    }
}

#[test]
fn connection_cannot_name_away_what_frames_names_or_traces_the_request() {
    let got = forwarded(&[
        "POST / HTTP/1.1",
        "Connection: host, content-length, x-forwarded-for",
        "Host: a",
        "X-Forwarded-For: 10.0.0.1",
        "Content-Length: 03",
    ]);
    assert_eq!(
        got,
        "POST / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.0.0.1, 192.0.2.7\r\nContent-Length: 3\r\n\
         X-Forwarded-Proto: http\r\nX-Forwarded-Port: 8080\r\n\r\n"
    );
}

#[test]
fn chunks_leave_no_length() {
    let got = forwarded(&[
        "POST / HTTP/1.1",
        "Content-Length: 3",
        "Transfer-Encoding: CHUNKED",
        "Host: a",
        "TE: gzip, Trailers",
        "Trailer: x-sum",
    ]);
    assert_eq!(
        got,
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\nConnection: TE\r\nTE: trailers\r\n{TAIL}"
        )
    );
}

#[test]
fn http_1_0_and_absolute_targets_get_the_host_that_counts() {
    assert!(forwarded(&["GET / HTTP/1.0"]).starts_with("GET / HTTP/1.1\r\nHost: 127.0.0.1:80\r\n"));
    assert!(
        forwarded(&["GET http://real/x HTTP/1.1", "Accept: y", "Host: a"])
            .starts_with("GET /x HTTP/1.1\r\nAccept: y\r\nHost: real\r\n")
    );
    assert!(
        forwarded(&["GET http://real/x HTTP/1.0"]).starts_with("GET /x HTTP/1.1\r\nHost: real\r\n")
    );
}

/// What is understood of a response, and what a client gets of it.
fn relayed(lines: &[&str], to_head: bool) -> Result<(Understood, String), &'static str> {
    let bytes = format!("{}\r\n\r\n", lines.join("\r\n"));
    let mut room = room();
    let head = ResponseHead::parse(bytes.as_bytes(), &mut room)
        .expect("a head")
        .expect("complete");
    let understood = understand(&head, to_head)?;
    let delivery = Delivery {
        chunked: matches!(understood.body, Body::Chunked(_) | Body::UntilClose),
        connection: None,
    };
    let mut out = Vec::new();
    write_response(&mut out, &head, &understood, delivery, b"today", |_| {});
    Ok((understood, String::from_utf8(out).expect("text")))
}

#[test]
fn a_response_keeps_its_fields_and_loses_those_for_one_connection() {
    let (understood, out) = relayed(
        &[
            "HTTP/1.1 299 My Own",
            "Content-length: 5",
            "SERVER: x",
            "Keep-Alive: timeout=5",
            "Connection: x-hop",
            "X-Hop: 1",
            "Set-Cookie: a",
            "Set-Cookie: b",
            "date: then",
        ],
        false,
    )
    .expect("understood");
    assert_eq!(
        (understood.body, understood.reusable),
        (Body::Length(5), true)
    );
    assert_eq!(
        out,
        "HTTP/1.1 299 My Own\r\nContent-length: 5\r\nSERVER: x\r\nSet-Cookie: a\r\nSet-Cookie: b\r\ndate: then\r\n\r\n"
    );
}

#[test]
fn a_response_is_framed_as_the_rfc_says() {
    let framed = |lines: &[&str], to_head| {
        relayed(lines, to_head).map(|(got, _)| (got.body, got.length, got.reusable))
    };
    let length = "Content-Length: 3";
    let chunked = "Transfer-Encoding: chunked";
    for (lines, to_head, wanted) in [
        (
            &["HTTP/1.1 200 OK", length][..],
            false,
            (Body::Length(3), Some(3), true),
        ),
        (
            &["HTTP/1.1 200 OK", length][..],
            true,
            (Body::NONE, Some(3), true),
        ),
        (
            &["HTTP/1.1 304 X", length][..],
            false,
            (Body::NONE, Some(3), true),
        ),
        (
            &["HTTP/1.1 204 X", length][..],
            false,
            (Body::NONE, None, true),
        ),
        (
            &["HTTP/1.1 200 OK", chunked][..],
            false,
            (Body::chunked(), None, true),
        ),
        (
            &["HTTP/1.1 200 OK", chunked, length][..],
            false,
            (Body::chunked(), None, false),
        ),
        (
            &["HTTP/1.1 200 OK", length, length][..],
            false,
            (Body::Length(3), Some(3), true),
        ),
        (
            &["HTTP/1.1 200 OK"][..],
            false,
            (Body::UntilClose, None, false),
        ),
        (
            &["HTTP/1.1 200 OK", length, "Connection: close"][..],
            false,
            (Body::Length(3), Some(3), false),
        ),
        (
            &["HTTP/1.0 200 OK", length][..],
            false,
            (Body::Length(3), Some(3), false),
        ),
        (
            &["HTTP/1.0 200 OK", length, "Connection: Keep-Alive"][..],
            false,
            (Body::Length(3), Some(3), true),
        ),
        (
            &["HTTP/1.0 200 OK", chunked, "Connection: Keep-Alive"][..],
            false,
            (Body::chunked(), None, false),
        ),
    ] {
        assert_eq!(framed(lines, to_head), Ok(wanted), "{lines:?}");
    }
    for bad in [
        &["HTTP/1.1 200 OK", "Content-Length: 1", "Content-Length: 2"][..],
        &["HTTP/1.1 200 OK", "Content-Length: 1, 1"],
        &["HTTP/1.1 200 OK", "Transfer-Encoding: gzip"],
        &["HTTP/1.1 200 OK", "Transfer-Encoding: gzip, chunked"],
        &["HTTP/1.1 200 OK", chunked, chunked],
    ] {
        assert!(framed(bad, false).is_err(), "{bad:?}");
    }
}

#[test]
fn a_response_without_a_date_gets_one() {
    let (_, out) = relayed(&["HTTP/1.1 200 OK", "Content-Length: 0"], false).expect("understood");
    assert_eq!(
        out,
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nDate: today\r\n\r\n"
    );
}
