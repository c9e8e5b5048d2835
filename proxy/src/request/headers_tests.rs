use std::net::SocketAddr;
use std::sync::Arc;

use longshore_config::{TraceParent, XffMode};

use super::{
    Delivery, Forwarded, Outgoing, Renamed, Understood, switches, understand, write_request,
    write_response,
};
use crate::http1::body::Body;
use crate::http1::head::{RequestHead, ResponseHead, room};
use crate::request::admit::admit;
use crate::request::attributes::Attributes;
use crate::request::edits::Edits;
use crate::request::trace::Seed;

/// What a target gets of a request, given by its lines.
fn forwarded(lines: &[&str]) -> String {
    written(lines, 80, Attributes::default(), None)
}

const SEED: Seed = Seed {
    epoch: 0x5833_7281,
    random: [7; 12],
};

/// The same, on a listener at a port, with attributes and edits.
fn written(lines: &[&str], port: u16, attributes: Attributes, edits: Option<&Edits>) -> String {
    let bytes = format!("{}\r\n\r\n", lines.join("\r\n"));
    let mut room = room();
    let head = RequestHead::parse(bytes.as_bytes(), &mut room)
        .expect("a head")
        .expect("complete");
    let admitted = admit(&head).expect("admitted");
    let forwarded = Forwarded::new(([192, 0, 2, 7], 4711).into(), "http", 8080);
    let outgoing = Outgoing {
        forwarded: &forwarded,
        local: ([127, 0, 0, 1], port).into(),
        attributes: &attributes,
        trace: attributes.makes_traces().then_some(SEED),
        edits,
        host_is_ours: false,
    };
    let mut out = Vec::new();
    write_request(&mut out, &head, &admitted, &outgoing);
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
    write_response(
        &mut out,
        &head,
        &understood,
        delivery,
        b"today",
        None,
        None,
        |_| {},
    );
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

/// The lines of a request with these, behind `GET / HTTP/1.1`, as its target gets them.
fn lines_with(fields: &[&str], attributes: Attributes) -> Vec<String> {
    let mut lines = vec!["GET / HTTP/1.1", "Host: a"];
    lines.extend(fields);
    let got = written(&lines, 80, attributes, None);
    let lines = got.trim_end().lines().skip(1);
    lines.map(ToOwned::to_owned).collect()
}

#[test]
fn the_host_is_what_albs_table_says() {
    let host = |port, preserve_host, lines: &[&str]| {
        let attributes = Attributes {
            preserve_host,
            ..Attributes::default()
        };
        let got = written(lines, port, attributes, None);
        let line = got.lines().find_map(|line| line.strip_prefix("Host: "));
        line.expect("a Host").to_owned()
    };
    // The listener's port, what the client sent, without and with preservation.
    for (port, sent, changed, preserved) in [
        (80, "example.com", "example.com", "example.com"),
        (443, "example.com", "example.com", "example.com"),
        (80, "example.com:80", "example.com", "example.com:80"),
        (443, "example.com:443", "example.com", "example.com:443"),
        (80, "example.com:8080", "example.com", "example.com:8080"),
        (8080, "example.com", "example.com:8080", "example.com"),
        (
            8080,
            "example.com:8080",
            "example.com:8080",
            "example.com:8080",
        ),
        (8080, "example.com:80", "example.com:80", "example.com:80"),
        (8080, "Example.COM", "example.com:8080", "Example.COM"),
        (80, "EXAMPLE.com", "example.com", "EXAMPLE.com"),
        (8080, "[2001:DB8::1]", "[2001:db8::1]:8080", "[2001:DB8::1]"),
        (80, "[2001:db8::1]:80", "[2001:db8::1]", "[2001:db8::1]:80"),
        (8080, "example.com:", "example.com:8080", "example.com:"),
    ] {
        let field = format!("Host: {sent}");
        let lines = ["GET / HTTP/1.1", &field];
        assert_eq!(host(port, false, &lines), changed, "{sent} at {port}");
        assert_eq!(host(port, true, &lines), preserved, "{sent} at {port}");
    }
    let absolute = ["GET http://dns_name/x HTTP/1.1", "Host: example.com"];
    assert_eq!(host(80, false, &absolute), "dns_name");
}

#[test]
fn forwarded_addresses_follow_their_mode() {
    let sent = [
        "X-Forwarded-For: 10.0.0.1, 10.0.0.2",
        "x-forwarded-for: 10.0.0.3",
    ];
    let with = |xff, client_port| Attributes {
        xff,
        client_port,
        ..Attributes::default()
    };
    let addresses = |fields: &[&str], attributes| -> Vec<String> {
        let lines = lines_with(fields, attributes).into_iter();
        lines
            .filter(|line| line.to_lowercase().starts_with("x-forwarded-for"))
            .collect()
    };
    assert_eq!(
        addresses(&sent, with(XffMode::Append, false)),
        ["X-Forwarded-For: 10.0.0.1, 10.0.0.2, 10.0.0.3, 192.0.2.7"]
    );
    assert_eq!(
        addresses(&sent, with(XffMode::Append, true)),
        ["X-Forwarded-For: 10.0.0.1, 10.0.0.2, 10.0.0.3, 192.0.2.7:4711"]
    );
    assert_eq!(
        addresses(&[], with(XffMode::Append, true)),
        ["X-Forwarded-For: 192.0.2.7:4711"]
    );
    assert_eq!(addresses(&sent, with(XffMode::Preserve, false)), sent);
    assert_eq!(addresses(&[], with(XffMode::Preserve, true)), [""; 0]);
    assert_eq!(addresses(&sent, with(XffMode::Remove, false)), [""; 0]);
    let others = lines_with(&sent, with(XffMode::Remove, false));
    assert!(
        others.contains(&"X-Forwarded-Port: 8080".to_owned()),
        "{others:?}"
    );
}

#[test]
fn an_address_and_its_port_are_written_as_they_are_together() {
    for peer in ["192.0.2.7:4711", "[2001:db8::7]:4711", "[::1]:1"] {
        let peer: SocketAddr = peer.parse().expect("an address");
        let mut out = Vec::new();
        Forwarded::new(peer, "http", 80).push_address_and_port(&mut out);
        assert_eq!(out, peer.to_string().into_bytes());
    }
}

#[test]
fn fields_with_unusual_names_go_on_unless_they_are_to_be_dropped() {
    let sent = ["My_Field: 1", "My.Field: 2", "My-Field: 3", "My~Field9: 4"];
    let got = lines_with(&sent, Attributes::default());
    assert_eq!(got[1..5], sent);
    let attributes = Attributes {
        drop_invalid: true,
        ..Attributes::default()
    };
    let got = lines_with(&sent, attributes);
    assert_eq!(got[..2], ["Host: a", "My-Field: 3"]);
    assert_eq!(got.len(), 5, "{got:?}");
}

#[test]
fn a_trace_id_stands_where_the_client_had_it_or_at_the_end() {
    let traced = Attributes {
        trace_id: true,
        ..Attributes::default()
    };
    let made = "1-58337281-070707070707070707070707";
    let got = lines_with(&["Accept: x"], traced);
    assert_eq!(got.last(), Some(&format!("X-Amzn-Trace-Id: Root={made}")));
    let sent = [
        "x-amzn-trace-id: Root=1-1-2",
        "Accept: x",
        "X-Amzn-Trace-Id: Root=3",
    ];
    let got = lines_with(&sent, traced);
    assert_eq!(got[1], format!("X-Amzn-Trace-Id: Self={made};Root=1-1-2"));
    assert_eq!(got.len(), 6, "one of them goes on: {got:?}");
    let long = format!("Cookie: {}", "x".repeat(7 * 1024));
    let got = lines_with(&["X-Amzn-Trace-Id: Root=1-1-2", &long], traced);
    assert_eq!(got[1], format!("X-Amzn-Trace-Id: Root={made}"));
    // Without it, what the client sent goes on.
    let got = lines_with(&sent, Attributes::default());
    assert_eq!(got[1..4], sent);
}

#[test]
fn a_trace_context_is_kept_and_begun_only_when_it_is_asked_for() {
    let parent = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let state = "tracestate: a=b";
    let create = Attributes {
        traceparent: TraceParent::Create,
        ..Attributes::default()
    };
    for attributes in [Attributes::default(), create] {
        let got = lines_with(&[parent, state], attributes);
        assert_eq!(got[1..3], [parent, state]);
        assert_eq!(got.len(), 6, "{got:?}");
    }
    assert_eq!(lines_with(&[], Attributes::default()).len(), 4);
    assert_eq!(
        lines_with(&[], create).last().map(String::as_str),
        Some("traceparent: 00-58337281070707070707070707070707-0707070707070707-01")
    );
}

#[test]
fn edits_replace_add_and_remove_whatever_the_client_sent() {
    let edits = Edits {
        set: vec![("X-User".to_owned(), "none".to_owned())],
        add: vec![("X-Add".to_owned(), "2".to_owned())],
        remove: vec!["X-Gone".to_owned()],
    };
    let lines = [
        "GET / HTTP/1.1",
        "Host: a",
        "x-user: admin",
        "X_User: admin",
        "X-ADD: 1",
        "x-gone: 1",
    ];
    let got = written(&lines, 80, Attributes::default(), Some(&edits));
    assert_eq!(
        got,
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX-ADD: 1\r\n{}X-User: none\r\nX-Add: 2\r\n\r\n",
            &TAIL[..TAIL.len() - 2]
        )
    );
}

#[test]
fn fields_about_tls_have_the_names_that_the_listener_gave_them_and_no_client_sends_them() {
    let lines = [
        "GET / HTTP/1.1",
        "Host: a",
        "X-Tls: mine",
        "x-amzn-tls-version: mine",
        "x-amzn-tls-cipher-suite: mine",
    ];
    let bytes = format!("{}\r\n\r\n", lines.join("\r\n"));
    let mut room = room();
    let head = RequestHead::parse(bytes.as_bytes(), &mut room)
        .expect("a head")
        .expect("complete");
    let admitted = admit(&head).expect("admitted");
    let about = "x-amzn-tls-version: TLSv1.3\r\nx-amzn-tls-cipher-suite: A-B\r\n";
    let renamed: Arc<[Renamed]> = [("x-amzn-tls-version", "X-Tls".to_owned())].into();
    for (renamed, version) in [(None, "x-amzn-tls-version"), (Some(&renamed), "X-Tls")] {
        let forwarded = Forwarded::new(([192, 0, 2, 7], 4711).into(), "https", 443);
        let forwarded = forwarded.with_tls(about, renamed);
        let attributes = Attributes::default();
        let outgoing = Outgoing {
            forwarded: &forwarded,
            local: ([127, 0, 0, 1], 443).into(),
            attributes: &attributes,
            trace: None,
            edits: None,
            host_is_ours: false,
        };
        let mut out = Vec::new();
        write_request(&mut out, &head, &admitted, &outgoing);
        let text = String::from_utf8(out).expect("text");
        assert!(
            text.ends_with(&format!(
                "\r\n{version}: TLSv1.3\r\nx-amzn-tls-cipher-suite: A-B\r\n\r\n"
            )),
            "{text}"
        );
        let mine = text.matches("mine").count();
        assert_eq!(mine, usize::from(renamed.is_none()), "{text}");
    }
}
