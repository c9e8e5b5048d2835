//! `headers::to_target` and `headers::to_client`: the header work of one request and one response.
//!
//! `browser` and `curl` name the client: 12 and 3 headers in the request, and a response with as
//! many from an application and from a bare server.
//!
//! hyper makes a `new_map` with room for the headers that came, so adding three may have to enlarge
//! it. On a connection kept alive it can fill a `reused_map`, that of an earlier message, which may
//! have the room already.

use std::str::FromStr;

use criterion::{BatchSize, BenchmarkId, Criterion};
use longshore::request::headers::{Forwarded, to_client, to_target};

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

fn requests(criterion: &mut Criterion) {
    let forwarded = Forwarded {
        address: parsed("192.0.2.7"),
        proto: parsed("http"),
        port: parsed("80"),
    };
    let mut group = criterion.benchmark_group("headers/to_target");
    // The number left: without `connection`, with the three of X-Forwarded.
    for (case, fields, left) in [("browser", BROWSER_REQUEST, 14), ("curl", CURL_REQUEST, 6)] {
        let fields = pairs(fields);
        let mut headers = map(&fields);
        to_target(&mut headers, &forwarded);
        assert_eq!(headers.len(), left, "{case}");
        group.bench_function(BenchmarkId::new(case, "new_map"), |bencher| {
            bencher.iter_batched_ref(
                || map(&fields),
                |headers| to_target(headers, &forwarded),
                BatchSize::SmallInput,
            );
        });
        group.bench_function(BenchmarkId::new(case, "reused_map"), |bencher| {
            bencher.iter_batched_ref(
                || {
                    let mut headers = map(&fields);
                    to_target(&mut headers, &forwarded);
                    headers.clear();
                    headers.extend(fields.iter().cloned());
                    headers
                },
                |headers| to_target(headers, &forwarded),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn responses(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("headers/to_client");
    // The number left: without `connection` and `keep-alive`.
    for (case, fields, left) in [
        ("browser", APPLICATION_RESPONSE, 10),
        ("curl", BARE_RESPONSE, 3),
    ] {
        let fields = pairs(fields);
        let mut headers = map(&fields);
        to_client(&mut headers);
        assert_eq!(headers.len(), left, "{case}");
        group.bench_function(case, |bencher| {
            bencher.iter_batched_ref(|| map(&fields), to_client, BatchSize::SmallInput);
        });
    }
    group.finish();
}

// This package does not depend on `http`: what the functions above take says which types these are.

fn parsed<T: FromStr>(text: &str) -> T {
    text.parse().ok().expect("a valid name or value")
}

fn pairs<N: FromStr, V: FromStr>(fields: Fields) -> Vec<(N, V)> {
    fields
        .iter()
        .map(|(name, value)| (parsed(name), parsed(value)))
        .collect()
}

/// A map with room for just these, as hyper makes it. Making it is not measured.
fn map<M: FromIterator<(N, V)>, N: Clone, V: Clone>(pairs: &[(N, V)]) -> M {
    pairs.iter().cloned().collect()
}
