use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{
    Content, Framing, Malformed, push_request, push_response, push_trailers, response, trailers,
};
use crate::http1::head::{RequestHead, ResponseHead, room};

fn request(method: &str, uri: &str, fields: &[(&str, &str)]) -> Request<()> {
    let mut builder = Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        builder = builder.header(*name, *value);
    }
    builder.body(()).expect("a request")
}

fn pushed(request: &Request<()>, ended: bool) -> Result<(String, Framing), Malformed> {
    let mut out = Vec::new();
    let framing = push_request(&mut out, request, ended, None)?;
    Ok((String::from_utf8(out).expect("text"), framing))
}

#[test]
fn a_request_is_written_with_its_authority_as_host() {
    let plain = request("GET", "http://a.test:81/x?y=1", &[("accept", "*/*")]);
    assert_eq!(
        pushed(&plain, true),
        Ok((
            "GET /x?y=1 HTTP/1.1\r\nhost: a.test:81\r\naccept: */*\r\n\r\n".into(),
            Framing::None
        ))
    );
    let host = request("GET", "/x", &[("host", "a.test")]);
    let (text, _) = pushed(&host, true).expect("a host is enough");
    assert_eq!(text, "GET /x HTTP/1.1\r\nhost: a.test\r\n\r\n");
    let both = request("GET", "http://A.test/x", &[("host", "a.TEST")]);
    let (text, _) = pushed(&both, true).expect("both say the same");
    assert_eq!(text, "GET /x HTTP/1.1\r\nhost: A.test\r\n\r\n");
}

#[test]
fn a_body_without_a_length_comes_in_chunks() {
    let known = request("POST", "http://a/", &[("content-length", "3")]);
    let (text, framing) = pushed(&known, false).expect("sound");
    assert!(text.contains("\r\ncontent-length: 3\r\n"), "{text}");
    assert_eq!(framing, Framing::Length);
    let (text, framing) = pushed(&request("POST", "http://a/", &[]), false).expect("sound");
    assert!(
        text.contains("\r\ntransfer-encoding: chunked\r\n"),
        "{text}"
    );
    assert_eq!(framing, Framing::Chunked);
}

#[test]
fn cookie_crumbs_are_one_field_and_expect_ends_here() {
    let crumbs = request(
        "GET",
        "http://a/",
        &[
            ("cookie", "a=1"),
            ("expect", "100-continue"),
            ("cookie", "b=2"),
        ],
    );
    let (text, _) = pushed(&crumbs, true).expect("sound");
    assert_eq!(
        text,
        "GET / HTTP/1.1\r\nhost: a\r\ncookie: a=1; b=2\r\n\r\n"
    );
}

#[test]
fn what_two_readers_could_read_differently_is_malformed() {
    for (method, uri, fields, what) in [
        ("GET", "http://a/", &[("host", "b")][..], "another host"),
        ("GET", "/", &[("host", "a"), ("host", "a")][..], "two hosts"),
        ("GET", "*", &[("host", "a")][..], "a star for GET"),
        ("GET", "http://a/", &[("x", " y")][..], "white space before"),
        (
            "GET",
            "http://a/",
            &[("x", "y\t")][..],
            "white space behind",
        ),
        (
            "GET",
            "http://a/",
            &[("cookie", "y ")][..],
            "and in a crumb",
        ),
    ] {
        assert!(
            pushed(&request(method, uri, fields), true).is_err(),
            "{what}"
        );
    }
    let star = request("OPTIONS", "*", &[("host", "a")]);
    assert!(pushed(&star, true).is_ok());
}

#[test]
fn an_extended_connect_asks_a_target_as_http1_does() {
    let fields = [
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "mine"),
    ];
    let connect = request("CONNECT", "http://a.test/chat?x=y", &fields);
    let mut out = Vec::new();
    let framing = push_request(&mut out, &connect, false, Some("ours"));
    assert_eq!(framing, Ok(Framing::Length));
    assert_eq!(
        String::from_utf8_lossy(&out),
        "GET /chat?x=y HTTP/1.1\r\nhost: a.test\r\nsec-websocket-version: 13\r\n\
         connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: ours\r\n\r\n"
    );
}

/// Whatever values a stream has, the bytes are one head with these values and nothing else.
#[test]
fn no_value_becomes_a_line_of_its_own() {
    let mut rng = SmallRng::seed_from_u64(7);
    for _ in 0..20_000 {
        let mut fields = HeaderMap::new();
        let mut wanted = Vec::new();
        for _ in 0..rng.random_range(0..6) {
            let name: String = (0..rng.random_range(1..8))
                .map(|_| char::from(rng.random_range(b'a'..=b'z')))
                .collect();
            let value: Vec<u8> = (0..rng.random_range(0..12)).map(|_| rng.random()).collect();
            let Ok(value) = HeaderValue::from_bytes(&value) else {
                continue;
            };
            let name = HeaderName::from_bytes(format!("x-{name}").as_bytes()).expect("a name");
            wanted.push((name.as_str().to_owned(), value.as_bytes().to_vec()));
            fields.append(name, value);
        }
        let mut request = request("GET", "http://a/b", &[]);
        *request.headers_mut() = fields;
        let mut out = Vec::new();
        if push_request(&mut out, &request, true, None).is_err() {
            continue;
        }
        let mut room = room();
        let head = RequestHead::parse(&out, &mut room).expect("a head");
        let head = head.expect("a whole one");
        assert_eq!(head.len, out.len());
        let mut got: Vec<_> = head.fields[1..]
            .iter()
            .map(|field| (field.name.to_owned(), field.value.to_vec()))
            .collect();
        got.sort();
        wanted.sort();
        assert_eq!(got, wanted);
    }
}

/// Whatever uri the library lets through is one request line, or malformed.
#[test]
fn no_path_becomes_another_line() {
    let mut rng = SmallRng::seed_from_u64(8);
    for _ in 0..20_000 {
        let path: Vec<u8> = (0..rng.random_range(0..12)).map(|_| rng.random()).collect();
        let path = [&b"/"[..], &path].concat();
        let Ok(uri) = http::uri::PathAndQuery::try_from(&path[..]) else {
            continue;
        };
        let mut request = request("GET", "/", &[("host", "a")]);
        *request.uri_mut() = uri.into();
        let mut out = Vec::new();
        if push_request(&mut out, &request, true, None).is_err() {
            continue;
        }
        let lines = memchr::memchr_iter(b'\n', &out).count();
        assert_eq!(lines, 3, "{path:?}");
        assert_eq!(memchr::memchr_iter(b' ', &out).count(), 3, "{path:?}");
    }
}

fn parsed(bytes: &[u8], to_head: bool) -> (http::Response<()>, Content) {
    let mut room = room();
    let head = ResponseHead::parse(bytes, &mut room).expect("a head");
    response(&head.expect("a whole one"), bytes, to_head).expect("sound")
}

#[test]
fn a_response_keeps_its_fields_without_those_of_the_connection() {
    let bytes = b"HTTP/1.1 200 OK\r\nConnection: close\r\nKeep-Alive: x\r\nX-A: 1\r\nx-a: 2\r\n\
                  Content-Length: 7\r\n\r\nrest";
    let (response, content) = parsed(bytes, false);
    assert_eq!(content, Content::Length(7));
    let fields: Vec<_> = response
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    assert_eq!(
        fields,
        [("x-a", &b"1"[..]), ("x-a", b"2"), ("content-length", b"7")]
    );
}

#[test]
fn a_response_without_a_body_ends_with_its_head() {
    for (bytes, to_head) in [
        (&b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n"[..], true),
        (
            b"HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n",
            false,
        ),
        (b"HTTP/1.1 204 No Content\r\n\r\n", false),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", false),
    ] {
        assert_eq!(parsed(bytes, to_head).1, Content::Length(0));
    }
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    assert!(matches!(parsed(chunked, false).1, Content::Chunked(_)));
}

#[test]
fn trailers_pass_without_those_of_the_connection() {
    let mut map = HeaderMap::new();
    map.insert("grpc-status", HeaderValue::from_static("0"));
    map.append("x", HeaderValue::from_static("1"));
    map.append("x", HeaderValue::from_static("2"));
    let mut out = Vec::new();
    push_trailers(&mut out, Some(&map));
    assert_eq!(out, b"0\r\ngrpc-status: 0\r\nx: 1\r\nx: 2\r\n\r\n");
    assert_eq!(trailers(&out[3..out.len() - 2]), Ok(map));
    let out = b"te: trailers\r\nconnection: x\r\na: b\r\n";
    let left = trailers(out).expect("sound");
    assert_eq!(left.len(), 1);
    assert_eq!(left["a"], "b");
}

#[test]
fn a_response_that_has_trailers_is_written_so_that_they_have_a_place() {
    let written = |fields: &[(&'static str, &'static str)], ended, to_head| {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_static(value));
        }
        let mut out = Vec::new();
        let framing = push_response(&mut out, StatusCode::OK, &map, ended, to_head);
        let text = String::from_utf8(out).expect("text");
        (framing.expect("sound"), text.contains("content-length: 5"))
    };
    let length = ("content-length", "5");
    let announced = [length, ("trailer", "x-sum")];
    let grpc = [length, ("content-type", "application/grpc+proto")];
    assert_eq!(written(&[length], false, false), (Framing::Length, true));
    assert_eq!(written(&announced, false, false), (Framing::Chunked, false));
    assert_eq!(written(&grpc, false, false), (Framing::Chunked, false));
    // Where nothing follows, the length says what would.
    assert_eq!(written(&grpc, false, true), (Framing::None, true));
    assert_eq!(written(&grpc, true, false), (Framing::None, true));
}
