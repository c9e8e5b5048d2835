use super::{Admitted, Reason, admit, is_authority};
use crate::http1::body::Body;
use crate::http1::head::{RequestHead, room};

/// What becomes of a head, given without the empty line that ends it.
fn judge<T>(head: &str, look: impl FnOnce(Admitted<'_>) -> T) -> Result<T, Reason> {
    let bytes = format!("{head}\r\n\r\n");
    let mut room = room();
    let head = RequestHead::parse(bytes.as_bytes(), &mut room)
        .expect("a head")
        .expect("complete");
    admit(&head).map(look)
}

fn place(head: &str) -> Result<(String, String), Reason> {
    judge(head, |admitted| {
        let query = admitted.query.map(|query| format!("?{query}"));
        let target = format!("{}{}", admitted.path, query.unwrap_or_default());
        (target, admitted.host.unwrap_or_default().to_owned())
    })
}

fn refused(head: &str) -> Option<Reason> {
    judge(head, |_| ()).err()
}

#[test]
fn a_host_is_needed_once() {
    assert_eq!(refused("GET / HTTP/1.1"), Some(Reason::BadHost));
    assert_eq!(
        refused("GET / HTTP/1.1\r\nHost: a\r\nhost: a"),
        Some(Reason::BadHost)
    );
    assert_eq!(refused("GET / HTTP/1.1\r\nHost: a"), None);
    assert_eq!(refused("GET / HTTP/1.0"), None);
}

#[test]
fn hosts_are_names_or_addresses_with_an_optional_port() {
    for good in ["a", "a.b-c_d", "a:80", "[::1]", "[::1]:80", "", "1.2.3.4:5"] {
        assert!(is_authority(good.as_bytes()), "{good:?}");
    }
    for bad in [
        "a b", "a/b", "a@b", "a:b", "[::1", "[::1]x", "a\\b", "a?b", "a#b", "a%41", "a:80:90",
        "a:99999", "a:000080", "\u{e4}",
    ] {
        assert!(!is_authority(bad.as_bytes()), "{bad:?}");
    }
}

#[test]
fn an_absolute_target_decides_the_host() {
    for (target, path, host) in [
        ("http://real.example:81/x?y", "/x?y", "real.example:81"),
        ("http://user:secret@real.example", "/", "real.example"),
        ("HTTPS://real.example?y=/", "/?y=/", "real.example"),
        ("/x://y", "/x://y", "other"),
    ] {
        let got = place(&format!("GET {target} HTTP/1.1\r\nHost: other"));
        assert_eq!(got, Ok((path.to_owned(), host.to_owned())), "{target}");
    }
    for target in ["http://a@b@c/", "http://b\\@c/", "http://b[@c/"] {
        let got = refused(&format!("GET {target} HTTP/1.1\r\nHost: a"));
        assert_eq!(got, Some(Reason::BadHost), "{target}");
    }
    let got = place("OPTIONS http://real.example HTTP/1.1\r\nHost: other");
    assert_eq!(got, Ok(("*".to_owned(), "real.example".to_owned())));
}

#[test]
fn a_target_has_one_of_the_forms_that_its_method_allows() {
    for target in [
        "*",
        "x",
        "a:80",
        "http:/x",
        "ftp://a/",
        "://a/",
        "/x#y",
        "http://a/#",
        "\\x",
        "?x",
    ] {
        let got = refused(&format!("GET {target} HTTP/1.1\r\nHost: a"));
        assert_eq!(got, Some(Reason::BadTarget), "{target}");
    }
    for target in ["http:///x", "http://a b@/", "http://a:b/", "http://a%2fb/"] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: a");
        let bytes = format!("{head}\r\n\r\n");
        // A space ends the target, and then there is no version.
        if RequestHead::parse(bytes.as_bytes(), &mut room()).is_ok() {
            assert_eq!(refused(&head), Some(Reason::BadHost), "{target}");
        }
    }
    assert_eq!(refused("OPTIONS * HTTP/1.1\r\nHost: a"), None);
}

#[test]
fn a_length_is_one_number() {
    let body = |fields: &str| {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}");
        judge(&head, |admitted| (admitted.body, admitted.close))
    };
    assert_eq!(body("Content-Length: 12"), Ok((Body::Length(12), false)));
    assert_eq!(body("X: y"), Ok((Body::NONE, false)));
    for bad in ["", "+1", "1, 1", "1 1", "0x1", "99999999999999999999"] {
        assert_eq!(
            body(&format!("Content-Length: {bad}")),
            Err(Reason::BadLength),
            "{bad:?}"
        );
    }
    assert_eq!(
        body("Content-Length: 1\r\ncontent-length: 2"),
        Err(Reason::BadLength)
    );
    // Whether it may come in is another question; see `desync`.
    let twice = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\ncontent-length: 01";
    let twice = judge(twice, |admitted| (admitted.body, admitted.is_clean));
    assert_eq!(twice, Ok((Body::Length(1), false)));
}

#[test]
fn chunks_are_the_only_coding_and_end_the_connection_beside_a_length() {
    let body = |version: &str, fields: &str| {
        let head = format!("POST / HTTP/{version}\r\nHost: a\r\n{fields}");
        judge(&head, |admitted| (admitted.body, admitted.close))
    };
    assert_eq!(
        body("1.1", "Transfer-Encoding: Chunked"),
        Ok((Body::chunked(), false))
    );
    assert_eq!(
        body("1.1", "Content-Length: 3\r\nTransfer-Encoding: chunked"),
        Ok((Body::chunked(), true))
    );
    assert_eq!(
        body("1.0", "Transfer-Encoding: chunked"),
        Err(Reason::AmbiguousLength)
    );
    for coding in [
        "gzip",
        "gzip, chunked",
        "chunked, chunked",
        "xchunked",
        "identity",
        "",
        "chunked\r\nTransfer-Encoding: chunked",
    ] {
        assert_eq!(
            body("1.1", &format!("Transfer-Encoding: {coding}")),
            Err(Reason::UnsupportedTransferEncoding),
            "{coding:?}"
        );
    }
}

#[test]
fn connection_options_decide_whether_it_stays() {
    let close = |version: &str, fields: &str| {
        let head = format!("GET / HTTP/{version}\r\nHost: a{fields}");
        judge(&head, |admitted| admitted.close).expect("admitted")
    };
    assert!(!close("1.1", ""));
    assert!(close("1.1", "\r\nConnection: x, Close"));
    assert!(close("1.0", ""));
    assert!(!close("1.0", "\r\nConnection: keep-alive"));
    assert!(close("1.0", "\r\nConnection: keep-alive, close"));
}

#[test]
fn a_client_waits_for_100_only_with_a_body_and_in_http_1_1() {
    let expects = |version: &str, fields: &str| {
        let head = format!("POST / HTTP/{version}\r\nHost: a\r\nExpect: 100-Continue{fields}");
        judge(&head, |admitted| admitted.expects_continue).expect("admitted")
    };
    assert!(expects("1.1", "\r\nContent-Length: 1"));
    assert!(!expects("1.1", ""));
    assert!(!expects("1.0", "\r\nContent-Length: 1"));
}

#[test]
fn connect_is_not_allowed() {
    assert_eq!(
        refused("CONNECT / HTTP/1.1\r\nHost: a"),
        Some(Reason::MethodNotAllowed)
    );
}
