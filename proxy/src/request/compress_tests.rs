use longshore_config as config;

use super::{Coded, Coding, Compression};
use crate::http1::field::Field;
use crate::http1::head::{ResponseHead, room};
use crate::request::edits::Edits;
use crate::request::headers::understand;

fn policy() -> Compression {
    Compression::new(&config::Compression::default()).expect("on")
}

#[test]
fn the_client_decides_by_its_weights_and_the_file_where_they_are_alike() {
    for (accepts, wanted) in [
        (&[][..], None),
        (&[""], None),
        (&["gzip"], Some(Coding::Gzip)),
        (&["x-gzip"], Some(Coding::Gzip)),
        (&["GZIP;q=0.5"], Some(Coding::Gzip)),
        (&["gzip, deflate, br, zstd"], Some(Coding::Brotli)),
        (&["gzip", "br"], Some(Coding::Brotli)),
        (&["gzip;q=1.0, br;q=0.9"], Some(Coding::Gzip)),
        (&["br;q=0.001, zstd;q=0.002"], Some(Coding::Zstd)),
        (&["*"], Some(Coding::Brotli)),
        (&["*;q=0.5, br;q=0"], Some(Coding::Zstd)),
        (&["br;q=0, zstd;q=0.000, *"], Some(Coding::Gzip)),
        (&["gzip;q=0"], None),
        (&["*;q=0"], None),
        (&["identity"], None),
        (&["gzip;q=0.4, identity"], None),
        (&["gzip;q=0.4, identity;q=0.4"], Some(Coding::Gzip)),
        (&["gzip, identity;q=0"], Some(Coding::Gzip)),
        (&["deflate, compress"], None),
        // What is malformed says nothing.
        (&["gzip;q=2, br;q=a, zstd;q=0.1234"], None),
        (&["gzip;q=1.5"], None),
        (&["gzip;q"], None),
        (&["gzip;level=1"], None),
        (&["gzip ; q=0.5"], Some(Coding::Gzip)),
    ] {
        let fields: Vec<Field<'_>> = accepts
            .iter()
            .map(|value| Field {
                name: "Accept-Encoding",
                value: value.as_bytes(),
            })
            .collect();
        assert_eq!(policy().negotiate(&fields), wanted, "{accepts:?}");
    }
}

fn suits(status: u16, fields: &str) -> bool {
    let bytes = format!("HTTP/1.1 {status} X\r\n{fields}\r\n\r\n");
    let mut room = room();
    let head = ResponseHead::parse(bytes.as_bytes(), &mut room)
        .expect("a head")
        .expect("whole");
    let understood = understand(&head, false).expect("understood");
    policy().suits(&head, &understood)
}

#[test]
fn only_what_gains_by_it_and_may_be_changed_is_compressed() {
    for (fields, wanted) in [
        ("Content-Type: text/html\r\nContent-Length: 1024", true),
        ("Content-Type: text/html\r\nContent-Length: 1023", false),
        (
            "Content-Type: text/html\r\nTransfer-Encoding: chunked",
            true,
        ),
        ("Content-Type: TEXT/HTML; charset=utf-8", true),
        ("Content-Type: text/event-stream", true),
        ("Content-Type: application/json", true),
        ("Content-Type: application/problem+json", true),
        ("Content-Type: image/svg+xml", true),
        ("Content-Type: image/png", false),
        ("Content-Type: application/grpc", false),
        ("Content-Type: application/octet-stream", false),
        ("X: y", false),
        ("Content-Type: text/html\r\nContent-Encoding: gzip", false),
        (
            "Content-Type: text/html\r\nContent-Encoding: identity",
            true,
        ),
        (
            "Content-Type: text/html\r\nCache-Control: public, No-Transform",
            false,
        ),
        ("Content-Type: text/html\r\nCache-Control: max-age=5", true),
        (
            "Content-Type: text/html\r\nContent-Range: bytes 0-5/10",
            false,
        ),
        ("Content-Type: text/html\r\nContent-MD5: x", false),
        ("Content-Type: text/html\r\nContent-Digest: x", false),
        ("Content-Type: text/html\r\nRepr-Digest: x", false),
        ("Content-Type: text/html\r\nDigest: x", false),
    ] {
        assert_eq!(suits(200, fields), wanted, "{fields}");
    }
    for (status, wanted) in [
        (204, false),
        (206, false),
        (304, false),
        (404, true),
        (500, true),
    ] {
        assert_eq!(suits(status, "Content-Type: text/html"), wanted, "{status}");
    }
}

#[test]
fn fields_say_what_became_of_the_body() {
    let coded = Coded {
        coding: Some(Coding::Zstd),
        weak: true,
        varies: true,
    };
    let put = |name, value: &'static str| {
        let mut out = Vec::new();
        let field = Field {
            name,
            value: value.as_bytes(),
        };
        let taken = coded.push(&mut out, &field);
        (taken, String::from_utf8(out).expect("text"))
    };
    assert_eq!(put("ETag", "\"a\""), (true, "ETag: W/\"a\"\r\n".to_owned()));
    assert_eq!(put("ETag", "W/\"a\""), (false, String::new()));
    assert_eq!(put("Accept-Ranges", "bytes"), (true, String::new()));
    assert_eq!(put("Content-Encoding", "identity"), (true, String::new()));
    assert_eq!(put("X", "y"), (false, String::new()));
    let finish = |vary: Option<&'static str>, edits: Option<&Edits>| {
        let fields: Vec<Field<'_>> = vary
            .iter()
            .map(|value| Field {
                name: "Vary",
                value: value.as_bytes(),
            })
            .collect();
        let mut out = Vec::new();
        coded.finish(&mut out, &fields, edits);
        String::from_utf8(out).expect("text")
    };
    let both = "Content-Encoding: zstd\r\nVary: Accept-Encoding\r\n";
    assert_eq!(finish(None, None), both);
    assert_eq!(finish(Some("Origin"), None), both);
    for said in ["*", "origin, accept-encoding"] {
        assert_eq!(finish(Some(said), None), "Content-Encoding: zstd\r\n");
        // What does not go on says nothing.
        let edits = Edits {
            set: vec![("vary".to_owned(), "Origin".to_owned())],
            ..Edits::default()
        };
        assert_eq!(finish(Some(said), Some(&edits)), both);
    }
}
