//! Heads of requests and responses, and chunked bodies.

use longshore::http1::body::Body;
use longshore::http1::chunked::{Chunks, Part, push, push_end};
use longshore::http1::head::{RequestHead, ResponseHead, room};
use longshore::request::admit::admit;
use longshore::request::attributes::Attributes;
use longshore::request::desync::{has_clean_lines, judge};
use longshore::request::headers::{
    Delivery, Forwarded, Outgoing, understand, write_request, write_response,
};
use longshore::request::normal;
use longshore::request::trace::Seed;
use longshore_config::PathNormalization;

use crate::engine::{corpus, outcome, run};

const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"GET ",
    b"HEAD ",
    b"POST ",
    b" HTTP/1.1",
    b" HTTP/1.0",
    b"Host: a\r\n",
    b"Host: b:80\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"content_length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer_Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: host, content-length\r\n",
    b"X-Forwarded-For: 1.2.3.4\r\n",
    b"Expect: 100-continue\r\n",
    b"TE: trailers\r\n",
    b"http://u@h:1/",
    b"/../",
    b"%2e",
    b"%00",
    b"#",
    b"?",
    b"\\",
    b" x\r\n",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"ffffffffffffffff\r\n",
    b"0000000000000005\r\n",
    b"5;a=b\r\n",
    b"0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 103 X\r\n\r\n",
];

/// What one reader sees of a request: its line, its Hosts, how it frames its body.
fn is_plain(out: &[u8]) {
    let text = String::from_utf8_lossy(out);
    let head = text.strip_suffix("\r\n\r\n").expect("an empty line");
    let lines: Vec<&str> = head.split("\r\n").collect();
    let count = |name: &str| {
        let named = |line: &&&str| {
            let field = line.split(':').next().unwrap_or_default();
            field.eq_ignore_ascii_case(name)
        };
        lines[1..].iter().filter(named).count()
    };
    assert_eq!(count("host"), 1);
    assert!(count("content-length") + count("transfer-encoding") <= 1);
    assert_eq!(count("x-forwarded-proto"), 1);
    assert!(count("keep-alive") == 0 && count("expect") == 0);
    // One protocol may be asked for, and with it there is no body.
    let upgrades = count("upgrade");
    assert!(upgrades == 0 || (upgrades == 1 && count("transfer-encoding") == 0));
    let of_upgrade = |line: &&&str| line.to_lowercase().starts_with("upgrade:");
    for line in lines[1..].iter().filter(of_upgrade) {
        assert_eq!(line.to_lowercase(), "upgrade: websocket");
    }
    for line in lines {
        assert!(!line.contains(['\r', '\n', '\0']) && !line.starts_with([' ', '\t']));
        let name = line.split(':').next().unwrap_or_default();
        let folded = name.replace('_', "-").to_lowercase();
        let framing = matches!(&*folded, "content-length" | "transfer-encoding");
        assert!(!framing || !name.contains('_'), "{name}");
    }
}

fn request(input: &[u8]) -> u64 {
    let finding = judge(input);
    let mut room_for = room();
    let head = match RequestHead::parse(input, &mut room_for) {
        Ok(Some(head)) => head,
        Ok(None) => return outcome((0, finding.map(|found| found.name()))),
        Err(error) => return outcome((1, error.to_string(), finding.map(|found| found.name()))),
    };
    let finding = judge(&input[..head.len]);
    let name = finding.map(|found| found.name());
    let admitted = match admit(&head) {
        Ok(admitted) => admitted,
        Err(reason) => return outcome((2, reason.name(), name)),
    };
    // Empty lines before the head are no part of it, and are taken away before this.
    let leads = input.starts_with(b"\r") || input.starts_with(b"\n");
    if !leads && admitted.is_clean && has_clean_lines(&head, input) {
        assert_eq!(name, None);
    }
    let Ok(path) = normal::path(admitted.path, PathNormalization::Strict) else {
        return outcome((3, name));
    };
    let mut admitted = admitted;
    admitted.path = &path;
    let mut out = Vec::new();
    let forwarded = Forwarded::new(([127, 0, 0, 1], 9).into(), "http", 80);
    let attributes = Attributes {
        preserve_host: true,
        trace_id: true,
        ..Attributes::default()
    };
    let outgoing = Outgoing {
        forwarded: &forwarded,
        local: ([127, 0, 0, 1], 80).into(),
        attributes: &attributes,
        trace: Some(Seed {
            epoch: 1,
            random: [7; 12],
        }),
        edits: None,
        host_is_ours: false,
    };
    write_request(&mut out, &head, &admitted, &outgoing);
    is_plain(&out);
    // What is sent is read again as the same request, and is beyond all doubt.
    let mut room_for = room();
    let again = RequestHead::parse(&out, &mut room_for)
        .expect("a head")
        .expect("whole");
    assert_eq!(again.len, out.len());
    assert_eq!(again.method, head.method);
    let read = admit(&again).expect("admitted");
    assert_eq!(read.body, admitted.body);
    assert_eq!((read.path, read.query), (admitted.path, admitted.query));
    assert!(admitted.host.is_none() || read.host == admitted.host);
    if !matches!(head.method, "GET" | "HEAD") {
        assert!(read.is_clean && has_clean_lines(&again, &out));
        assert_eq!(judge(&out).map(|found| found.name()), None);
    }
    let body = match admitted.body {
        Body::Length(length) => length.min(2),
        _ => 3,
    };
    outcome((
        4,
        name,
        body,
        admitted.close,
        admitted.host.is_some(),
        head.fields.len().min(8),
    ))
}

fn response(input: &[u8]) -> u64 {
    let mut room_for = room();
    let head = match ResponseHead::parse(input, &mut room_for) {
        Ok(Some(head)) => head,
        Ok(None) => return 0,
        Err(error) => return outcome((1, error.to_string())),
    };
    let mut last = 0;
    for to_head in [false, true] {
        let understood = match understand(&head, to_head) {
            Ok(understood) => understood,
            Err(why) => return outcome((2, why)),
        };
        let known = matches!(understood.body, Body::Length(_));
        let delivery = Delivery {
            chunked: !known,
            connection: (!understood.reusable).then_some("close"),
        };
        let mut out = Vec::new();
        write_response(
            &mut out,
            &head,
            &understood,
            delivery,
            b"Thu, 01 Jan 1970",
            None,
            None,
            |_| {},
        );
        let text = String::from_utf8_lossy(&out);
        let lines = text.strip_suffix("\r\n\r\n").expect("an empty line");
        assert!(
            lines
                .split("\r\n")
                .all(|line| !line.contains(['\r', '\n', '\0']))
        );
        let mut room_for = room();
        let again = ResponseHead::parse(&out, &mut room_for)
            .expect("a head")
            .expect("whole");
        assert_eq!((again.len, again.status), (out.len(), head.status));
        let read = understand(&again, to_head).expect("understood");
        match understood.body {
            Body::Length(_) => assert_eq!(read.body, understood.body),
            _ => assert_eq!(read.body, Body::chunked()),
        }
        last = outcome((
            last,
            understood.reusable,
            understood.length.is_some(),
            known,
            head.status / 100,
        ));
    }
    last
}

/// The content, the trailers, and how much was read.
type Whole = (Vec<u8>, Vec<u8>, usize);

/// Reads a body in pieces of this size.
fn read(input: &[u8], piece: usize) -> Result<Option<Whole>, &'static str> {
    let mut chunks = Chunks::default();
    let mut content = Vec::new();
    let mut at = 0;
    let mut there = 0;
    loop {
        match chunks.next(&input[at..there]).map_err(|bad| bad.0)? {
            Part::Framing(count) => at += count,
            Part::Data(count) => {
                content.extend_from_slice(&input[at..at + count]);
                at += count;
            }
            Part::End => return Ok(Some((content, chunks.trailers().to_vec(), at))),
            Part::More if there == input.len() => return Ok(None),
            Part::More => there = (there + piece).min(input.len()),
        }
        assert!(at <= there);
    }
}

fn chunked(input: &[u8]) -> u64 {
    let whole = read(input, input.len().max(1));
    for piece in [1, 3, 64] {
        let other = read(input, piece);
        match (&whole, &other) {
            (Ok(whole), Ok(other)) => assert_eq!(whole, other),
            // In pieces it may be given up sooner, with another reason.
            (Err(_), Err(_) | Ok(None)) | (Ok(None), Err(_)) => {}
            _ => panic!("{whole:?}, and in pieces of {piece} {other:?}"),
        }
    }
    let (content, trailers, used) = match whole {
        Ok(Some(read)) => read,
        Ok(None) => return 0,
        Err(why) => return outcome((1, why)),
    };
    let text = String::from_utf8_lossy(&trailers)
        .to_lowercase()
        .replace('_', "-");
    for never in [
        "content-length:",
        "transfer-encoding:",
        "host:",
        "x-forwarded-for:",
        "connection:",
    ] {
        assert!(
            !text.split("\r\n").any(|line| line.starts_with(never)),
            "{text:?}"
        );
    }
    let mut out = Vec::new();
    if !content.is_empty() {
        push(&mut out, &content);
    }
    push_end(&mut out, &trailers);
    let again = read(&out, out.len()).expect("chunks").expect("whole");
    assert_eq!(again, (content.clone(), trailers, out.len()));
    outcome((2, content.len().min(4), used.min(32), text.len().min(3)))
}

#[test]
fn any_request_head_is_refused_or_written_beyond_doubt() {
    let seeds = corpus(include_str!("corpus/request_head.txt"));
    run("request head", 10_000, &seeds, WORDS, request);
}

#[test]
fn any_response_head_is_refused_or_written_beyond_doubt() {
    let seeds = corpus(include_str!("corpus/response_head.txt"));
    run("response head", 10_000, &seeds, WORDS, response);
}

#[test]
fn any_chunked_body_reads_the_same_in_any_pieces() {
    let seeds = corpus(include_str!("corpus/chunked.txt"));
    run("chunked body", 5_000, &seeds, WORDS, chunked);
}
