//! The header work of one request and one response: parse, judge, and write for the other side.
//!
//! `browser` and `curl` name the client: 12 and 3 fields in the request, and a response with as
//! many from an application and from a bare server.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use longshore::http1::head::{RequestHead, ResponseHead, room};
use longshore::request::admit::admit;
use longshore::request::attributes::Attributes;
use longshore::request::headers::{
    Delivery, Forwarded, Outgoing, understand, write_request, write_response,
};
use longshore::request::trace::Seed;

type Fields = &'static [(&'static str, &'static str)];

const BROWSER_REQUEST: Fields = &[
    ("host", "shop.example.com"),
    ("connection", "keep-alive"),
    ("upgrade-insecure-requests", "1"),
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
    ),
    (
        "accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    ),
    ("sec-fetch-site", "same-origin"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-dest", "document"),
    ("referer", "http://shop.example.com/orders"),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", "en-GB,en;q=0.9,de;q=0.8"),
    (
        "cookie",
        "session=0f1e2d3c4b5a69788796a5b4c3d2e1f0; theme=dark; seen=4711",
    ),
];

const CURL_REQUEST: Fields = &[
    ("host", "shop.example.com"),
    ("user-agent", "curl/8.14.1"),
    ("accept", "*/*"),
];

const APPLICATION_RESPONSE: Fields = &[
    ("date", "Thu, 20 Nov 2025 12:00:00 GMT"),
    ("content-type", "text/html; charset=utf-8"),
    ("content-length", "18231"),
    ("connection", "keep-alive"),
    ("keep-alive", "timeout=5"),
    ("cache-control", "private, max-age=0, must-revalidate"),
    ("etag", "W/\"4737-Yk3o0m6Xr2bq1Zt7c8vJ\""),
    ("vary", "accept-encoding, cookie"),
    (
        "set-cookie",
        "session=0f1e2d3c4b5a69788796a5b4c3d2e1f0; Path=/; HttpOnly; SameSite=Lax",
    ),
    ("x-request-id", "7b0a6c0e-5d0f-4f5a-9a43-0d6f6f0c1f55"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
];

const BARE_RESPONSE: Fields = &[
    ("date", "Thu, 20 Nov 2025 12:00:00 GMT"),
    ("content-type", "text/plain"),
    ("content-length", "3"),
];

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    requests(&mut criterion);
    responses(&mut criterion);
    criterion.final_summary();
}

fn text(line: &str, fields: Fields) -> Vec<u8> {
    let fields: String = fields
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    format!("{line}\r\n{fields}\r\n").into_bytes()
}

fn requests(criterion: &mut Criterion) {
    let forwarded = Forwarded::new(([192, 0, 2, 7], 4711).into(), "http", 80);
    let attributes = Attributes {
        trace_id: true,
        ..Attributes::default()
    };
    let outgoing = Outgoing {
        forwarded: &forwarded,
        local: ([192, 0, 2, 1], 80).into(),
        attributes: &attributes,
        trace: Some(Seed {
            epoch: 1,
            random: [7; 12],
        }),
        edits: None,
        host_is_ours: false,
    };
    let relay = |bytes: &[u8], out: &mut Vec<u8>| {
        let mut room = room();
        let head = RequestHead::parse(bytes, &mut room)
            .expect("a head")
            .expect("complete");
        let admitted = admit(&head).expect("admitted");
        out.clear();
        write_request(out, &head, &admitted, &outgoing);
    };
    let mut group = criterion.benchmark_group("headers/request");
    // The lines left: without `connection`, with the three of X-Forwarded and the trace.
    for (case, fields, left) in [("browser", BROWSER_REQUEST, 15), ("curl", CURL_REQUEST, 7)] {
        let bytes = text("GET /orders/4711?page=2 HTTP/1.1", fields);
        let mut out = Vec::new();
        relay(&bytes, &mut out);
        assert_eq!(lines(&out), left + 2, "{case}");
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(case), |bencher| {
            bencher.iter(|| relay(black_box(&bytes), &mut out));
        });
    }
    group.finish();
}

fn responses(criterion: &mut Criterion) {
    let relay = |bytes: &[u8], out: &mut Vec<u8>| {
        let mut room = room();
        let head = ResponseHead::parse(bytes, &mut room)
            .expect("a head")
            .expect("complete");
        let understood = understand(&head, false).expect("understood");
        out.clear();
        let delivery = Delivery {
            chunked: false,
            connection: None,
        };
        write_response(out, &head, &understood, delivery, b"", None, None, |_| {});
    };
    let mut group = criterion.benchmark_group("headers/response");
    // The lines left: without `connection` and `keep-alive`.
    for (case, fields, left) in [
        ("browser", APPLICATION_RESPONSE, 10),
        ("curl", BARE_RESPONSE, 3),
    ] {
        let bytes = text("HTTP/1.1 200 OK", fields);
        let mut out = Vec::new();
        relay(&bytes, &mut out);
        assert_eq!(lines(&out), left + 2, "{case}");
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(case), |bencher| {
            bencher.iter(|| relay(black_box(&bytes), &mut out));
        });
    }
    group.finish();
}

/// The lines of a head, the first and the empty last one included.
fn lines(head: &[u8]) -> usize {
    head.iter().filter(|byte| **byte == b'\n').count()
}
