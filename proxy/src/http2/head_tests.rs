use http::{HeaderMap, HeaderValue, StatusCode};

use super::{Framing, push_response, push_trailers, trailers};

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
