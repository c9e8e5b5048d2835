use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{Head, LIST_MAX, OVERHEAD, Refused, Request, Trailers, trailer};
use crate::http1::head::{RequestHead, room};
use crate::http2::head::Framing;

fn read(fields: &[(&str, &str)], ended: bool) -> Result<Request, Refused> {
    let mut head = Head::default();
    for (name, value) in fields {
        head.field(name.as_bytes(), value.as_bytes());
    }
    head.finish(ended, || "ours".into())
}

fn text(fields: &[(&str, &str)], ended: bool) -> String {
    let request = read(fields, ended).expect("sound");
    String::from_utf8(request.text).expect("text")
}

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "https");
const PATH: (&str, &str) = (":path", "/x?y=1");
const AUTHORITY: (&str, &str) = (":authority", "a.test:81");

fn with(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    let mut fields = vec![METHOD, SCHEME, AUTHORITY, PATH];
    fields.extend_from_slice(more);
    fields
}

#[test]
fn a_request_is_written_with_its_authority_as_host() {
    assert_eq!(
        text(&with(&[("accept", "*/*")]), true),
        "GET /x?y=1 HTTP/1.1\r\nhost: a.test:81\r\naccept: */*\r\n\r\n"
    );
    assert_eq!(
        text(&[PATH, SCHEME, METHOD, ("host", "a.test")], true),
        "GET /x?y=1 HTTP/1.1\r\nhost: a.test\r\n\r\n"
    );
    assert_eq!(
        text(&with(&[("host", "A.test:81")]), true),
        "GET /x?y=1 HTTP/1.1\r\nhost: a.test:81\r\n\r\n",
        "both say the same"
    );
}

#[test]
fn a_body_without_a_length_comes_in_chunks() {
    let known = with(&[("content-length", "3"), ("content-length", "3")]);
    let request = read(&known, false).expect("sound");
    assert_eq!(
        (request.framing, request.length),
        (Framing::Length, Some(3))
    );
    let once = text(&known, false).matches("content-length: 3\r\n").count();
    assert_eq!(once, 1);
    assert!(text(&with(&[]), false).contains("\r\ntransfer-encoding: chunked\r\n"));
    let framing = |ended| read(&with(&[]), ended).expect("sound").framing;
    assert_eq!(
        (framing(false), framing(true)),
        (Framing::Chunked, Framing::None)
    );
}

#[test]
fn a_request_that_may_have_content_and_has_none_says_so() {
    let of = |method: &'static str, ended| {
        let fields = [(":method", method), SCHEME, AUTHORITY, PATH];
        text(&fields, ended)
    };
    for method in ["POST", "PUT", "PATCH"] {
        assert!(of(method, true).ends_with("\r\ncontent-length: 0\r\n\r\n"));
        assert!(!of(method, false).contains("content-length"));
    }
    assert!(!of("GET", true).contains("content-length"));
}

#[test]
fn cookie_crumbs_are_one_field_and_expect_ends_here() {
    let crumbs = with(&[
        ("cookie", "a=1"),
        ("expect", "100-continue"),
        ("cookie", "b=2"),
    ]);
    assert_eq!(
        text(&crumbs, true),
        "GET /x?y=1 HTTP/1.1\r\nhost: a.test:81\r\ncookie: a=1; b=2\r\n\r\n"
    );
}

#[test]
fn what_the_rfc_forbids_is_malformed() {
    for (what, fields) in [
        ("no method", vec![SCHEME, AUTHORITY, PATH]),
        ("no scheme", vec![METHOD, AUTHORITY, PATH]),
        ("no path", vec![METHOD, SCHEME, AUTHORITY]),
        ("a method twice", vec![METHOD, METHOD, SCHEME, PATH]),
        (
            "a method that is no token",
            vec![(":method", "GE T"), SCHEME, PATH],
        ),
        (
            "a scheme that is none",
            vec![METHOD, (":scheme", "h:p"), PATH],
        ),
        (
            "a pseudo-field behind a field",
            vec![METHOD, SCHEME, ("a", "b"), PATH],
        ),
        (
            "an unknown pseudo-field",
            vec![METHOD, SCHEME, PATH, (":x", "y")],
        ),
        (
            "one of responses",
            vec![METHOD, SCHEME, PATH, (":status", "200")],
        ),
        ("an empty path", vec![METHOD, SCHEME, (":path", "")]),
        (
            "a path without a slash",
            vec![METHOD, SCHEME, (":path", "x")],
        ),
        ("a star for GET", vec![METHOD, SCHEME, (":path", "*")]),
        (
            "a path with a space",
            vec![METHOD, SCHEME, (":path", "/ HTTP/1.1")],
        ),
        (
            "a path with a line",
            vec![METHOD, SCHEME, (":path", "/\r\nx: y")],
        ),
        (
            "an authority with a line",
            vec![METHOD, SCHEME, PATH, (":authority", "a\r\nx: y")],
        ),
        (
            "an authority with a space",
            vec![METHOD, SCHEME, PATH, (":authority", " a")],
        ),
        (
            "an empty authority",
            vec![METHOD, SCHEME, PATH, (":authority", "")],
        ),
        ("another host", with(&[("host", "b.test")])),
        (
            "two hosts",
            with(&[("host", "a.test:81"), ("host", "a.test:81")]),
        ),
        ("a large letter", with(&[("Accept", "x")])),
        ("an empty name", with(&[("", "x")])),
        ("a name with a colon", with(&[("a:b", "x")])),
        ("a name with a line", with(&[("a\r\nb", "x")])),
        ("a value with a line", with(&[("x", "y\r\nz: a")])),
        ("a value with a line feed", with(&[("x", "y\nz: a")])),
        ("a value with a zero", with(&[("x", "y\0")])),
        ("white space before", with(&[("x", " y")])),
        ("white space behind", with(&[("x", "y\t")])),
        ("and in a crumb", with(&[("cookie", "y ")])),
        ("Connection", with(&[("connection", "close")])),
        ("Keep-Alive", with(&[("keep-alive", "1")])),
        ("Proxy-Connection", with(&[("proxy-connection", "x")])),
        (
            "Transfer-Encoding",
            with(&[("transfer-encoding", "chunked")]),
        ),
        ("Upgrade", with(&[("upgrade", "h2c")])),
        ("TE", with(&[("te", "gzip")])),
        ("a length that is none", with(&[("content-length", "+1")])),
        (
            "two lengths",
            with(&[("content-length", "1"), ("content-length", "2")]),
        ),
        ("a length without a body", with(&[("content-length", "1")])),
        (
            "a protocol for GET",
            with(&[]).into_iter().chain([(":protocol", "x")]).collect(),
        ),
        (
            "CONNECT with a path",
            vec![(":method", "CONNECT"), AUTHORITY, SCHEME, PATH],
        ),
    ] {
        let got = read(&fields, true);
        assert!(matches!(got, Err(Refused::Malformed(_))), "{what}: {got:?}");
    }
    assert!(read(&with(&[("te", "trailers")]), true).is_ok());
    let star = [(":method", "OPTIONS"), SCHEME, AUTHORITY, (":path", "*")];
    assert!(text(&star, true).starts_with("OPTIONS * HTTP/1.1\r\n"));
    let connect = [(":method", "CONNECT"), AUTHORITY];
    assert!(text(&connect, false).starts_with("CONNECT / HTTP/1.1\r\nhost: a.test:81\r\n"));
}

#[test]
fn an_extended_connect_asks_a_target_as_http1_does() {
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        SCHEME,
        AUTHORITY,
        PATH,
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "mine"),
    ];
    let request = read(&fields, false).expect("sound");
    assert!(request.websocket);
    assert_eq!(request.framing, Framing::Length);
    assert_eq!(
        String::from_utf8_lossy(&request.text),
        "GET /x?y=1 HTTP/1.1\r\nhost: a.test:81\r\nsec-websocket-version: 13\r\n\
         connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: ours\r\n\r\n"
    );
}

#[test]
fn a_list_as_large_as_allowed_is_read_and_one_byte_more_is_not() {
    let fixed: usize = with(&[])
        .iter()
        .map(|(name, value)| name.len() + value.len() + OVERHEAD)
        .sum();
    for (more, good) in [(0, true), (1, false)] {
        let value = "v".repeat(LIST_MAX - fixed - OVERHEAD - 1 + more);
        let mut fields = with(&[]);
        fields.push(("x", &value));
        let got = read(&fields, true).map(|request| request.to_head);
        assert_eq!(
            got,
            if good {
                Ok(false)
            } else {
                Err(Refused::TooLarge)
            }
        );
    }
}

/// Whatever names and values a stream has, the bytes are one head with these and nothing else.
#[test]
fn no_field_becomes_a_line_of_its_own() {
    let seed = 7;
    println!("seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut sound = 0;
    for _ in 0..20_000 {
        let mut head = Head::default();
        let path: Vec<u8> = (0..rng.random_range(0..3)).map(|_| rng.random()).collect();
        let path = [&b"/"[..], &path].concat();
        for (name, value) in [
            (&b":method"[..], &b"GET"[..]),
            (b":scheme", b"http"),
            (b":authority", b"a"),
            (b":path", &path),
        ] {
            head.field(name, value);
        }
        let mut wanted = Vec::new();
        for _ in 0..rng.random_range(0..4) {
            let name: Vec<u8> = match rng.random_range(0..8) {
                0 => (0..rng.random_range(0..4)).map(|_| rng.random()).collect(),
                _ => (0..4).map(|_| rng.random_range(b'a'..=b'z')).collect(),
            };
            let name = [&b"x-"[..], &name].concat();
            let value: Vec<u8> = match rng.random_range(0..4) {
                0 => (0..rng.random_range(0..4)).map(|_| rng.random()).collect(),
                _ => (0..8).map(|_| rng.random_range(b'!'..=b'~')).collect(),
            };
            head.field(&name, &value);
            wanted.push((name, value));
        }
        let Ok(request) = head.finish(true, String::new) else {
            continue;
        };
        let lines = memchr::memchr_iter(b'\n', &request.text).count();
        assert_eq!(lines, wanted.len() + 3, "{path:?} {wanted:?}");
        let mut room = room();
        // The relay refuses some paths that are sound here.
        let Ok(parsed) = RequestHead::parse(&request.text, &mut room) else {
            continue;
        };
        sound += 1;
        let parsed = parsed.expect("a whole one");
        assert_eq!(parsed.len, request.text.len());
        assert_eq!(parsed.target.as_bytes(), path);
        let got: Vec<_> = parsed.fields[1..]
            .iter()
            .map(|field| (field.name.as_bytes().to_vec(), field.value.to_vec()))
            .collect();
        assert_eq!(got, wanted);
    }
    assert!(sound > 5_000, "{sound} of them were sound");
}

#[test]
fn trailers_of_requests_are_fields_and_nothing_else() {
    let read = |fields: &[(&str, &str)]| {
        let mut trailers = Trailers::default();
        for (name, value) in fields {
            trailers.field(name.as_bytes(), value.as_bytes());
        }
        trailers.finish()
    };
    let lines = b"x-sum: 1\r\ny: 2\r\n".to_vec();
    assert_eq!(read(&[("x-sum", "1"), ("y", "2")]), Ok(lines));
    for bad in [
        (":path", "/"),
        ("X", "y"),
        ("x", "y\n"),
        ("connection", "x"),
    ] {
        assert!(read(&[bad]).is_err(), "{bad:?}");
    }
}

#[test]
fn trailers_of_responses_pass_without_those_of_the_connection() {
    assert_eq!(
        trailer(b"Grpc-Status: 0"),
        Ok(Some((&b"Grpc-Status"[..], &b"0"[..])))
    );
    for own in [
        "te: trailers",
        "Connection: x",
        "Trailer: a",
        "keep-alive: 1",
    ] {
        assert_eq!(trailer(own.as_bytes()), Ok(None), "{own}");
    }
    for bad in ["x", ": y", "a b: c", "a: \0"] {
        assert!(trailer(bad.as_bytes()).is_err(), "{bad}");
    }
}
