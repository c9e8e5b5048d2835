use std::collections::BTreeSet;

use longshore_config::DesyncMitigationMode;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{Class, Finding, Measure, has_clean_lines, is_suspicious, judge, measure};
use crate::http1::head::{RequestHead, room};
use crate::request::admit::admit;

fn found(head: &str) -> Option<Finding> {
    judge(head.as_bytes())
}

/// A POST with these fields, of which each has its line.
fn post(fields: &str) -> Option<Finding> {
    found(&format!("POST /a HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n"))
}

#[test]
fn every_finding_has_a_name_and_a_number_of_its_own() {
    let names: BTreeSet<_> = Finding::ALL.iter().map(|finding| finding.name()).collect();
    assert_eq!(names.len(), Finding::ALL.len());
    for (index, finding) in Finding::ALL.into_iter().enumerate() {
        assert_eq!(finding as usize, index);
        assert_eq!(format!("{finding:?}"), finding.name());
    }
}

#[test]
fn modes_are_stricter_than_those_of_alb_where_readers_may_differ() {
    use DesyncMitigationMode::{Defensive, Monitor, Strictest};
    for (finding, monitor, defensive, strictest) in [
        (None, Measure::Pass, Measure::Pass, Measure::Pass),
        (
            Some(Finding::GetHeadZeroContentLength),
            Measure::Pass,
            Measure::Pass,
            Measure::Block,
        ),
        (
            Some(Finding::BothTeClPresent),
            Measure::PassAlone,
            Measure::Block,
            Measure::Block,
        ),
        (
            Some(Finding::BadContentLength),
            Measure::Block,
            Measure::Block,
            Measure::Block,
        ),
    ] {
        assert_eq!(measure(Monitor, finding, false), monitor, "{finding:?}");
        assert_eq!(measure(Defensive, finding, false), defensive, "{finding:?}");
        assert_eq!(measure(Strictest, finding, false), strictest, "{finding:?}");
        let passes = finding == Some(Finding::UndefinedContentLengthSemantics);
        let with = if passes {
            Measure::PassAlone
        } else {
            defensive
        };
        assert_eq!(measure(Defensive, finding, true), with, "{finding:?}");
        assert_eq!(measure(Strictest, finding, true), strictest, "{finding:?}");
    }
}

#[test]
fn what_is_compliant_has_no_finding() {
    for head in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET /?a=%20%00%0d#x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\u{e9}t\u{e9} HTTP/1.1\r\nX: \u{e4}\t~\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length:  \t12 \t\r\n\r\n",
        "PUT / HTTP/1.1\r\nTransfer-Encoding: gzip , Chunked\r\n\r\n",
        "PUT / HTTP/1.1\r\nTransfer-Encoding: deflate\r\nTransfer-Encoding: chunked;q=1\r\n\r\n",
        "POST / HTTP/1.0\r\nContent-Length: 007\r\n\r\n",
        "DELETE / HTTP/1.1\r\nX: Content-Length: 5\r\nContent-Type: a\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nAll!#$%&'*+-.^_`|~09: x\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Lengths: 1\r\nContent-Length2: 1\r\nX-Content-Length: 1\r\n\r\n",
    ] {
        assert_eq!(found(head), None, "{head:?}");
    }
}

#[test]
fn the_request_line_is_judged_by_its_parts() {
    for (line, finding) in [
        ("GET / HTTP/1.2", Finding::NonCompliantVersion),
        ("GET / HTTP/1.9", Finding::NonCompliantVersion),
        ("GET / HTTP/1.1 ", Finding::NonCompliantVersion),
        ("GET / HTTP/1.1\t", Finding::NonCompliantVersion),
        ("GET / HTTP/0.9", Finding::NonCompliantVersion),
        ("GET /", Finding::NonCompliantVersion),
        ("GET / HTTP/1.11", Finding::BadVersion),
        ("GET / HTTP/1.", Finding::BadVersion),
        ("GET / HTTP/2.0", Finding::BadVersion),
        ("GET / http/1.1", Finding::BadVersion),
        ("GET / HTTP/1.1\rX", Finding::BadVersion),
        ("GET /a b HTTP/1.1", Finding::SpaceInUri),
        ("GET  / HTTP/1.1", Finding::SpaceInUri),
        ("GET /a\tb HTTP/1.1", Finding::AmbiguousUri),
        ("GET /\u{1} HTTP/1.1", Finding::AmbiguousUri),
        ("GET /\u{7f} HTTP/1.1", Finding::AmbiguousUri),
        ("GET /\0 HTTP/1.1", Finding::BadUri),
        ("GET /\rb HTTP/1.1", Finding::BadUri),
        ("GET HTTP/1.1", Finding::MissingUri),
        ("GET  HTTP/1.1", Finding::MissingUri),
        ("G\u{1}ET / HTTP/1.1", Finding::BadMethod),
        ("G(T / HTTP/1.1", Finding::BadMethod),
        (" / HTTP/1.1", Finding::BadMethod),
    ] {
        let head = format!("{line}\r\nHost: a\r\n\r\n");
        assert_eq!(found(&head), Some(finding), "{line:?}");
    }
    let invalid = [b"GET /\xFF HTTP/1.1\r\n\r\n".as_slice()];
    assert_eq!(judge(invalid[0]), Some(Finding::AmbiguousUri));
}

#[test]
fn fields_are_judged_by_name_and_value() {
    for (fields, finding) in [
        ("X : 1", Finding::NonCompliantHeader),
        ("X\t: 1", Finding::NonCompliantHeader),
        ("\u{1}X: 1", Finding::NonCompliantHeader),
        ("X: \u{1}", Finding::NonCompliantHeader),
        ("X: a\u{7f}", Finding::NonCompliantHeader),
        ("\u{e4}: 1", Finding::NonCompliantHeader),
        ("X: a\0", Finding::BadHeader),
        ("\0X: a", Finding::BadHeader),
        ("X\r: a", Finding::BadHeader),
        ("X: a\rb", Finding::BadHeader),
        (": a", Finding::EmptyHeader),
        (" \t : a", Finding::MultilineHeader),
        (" \t ", Finding::EmptyHeader),
        ("X: a\r\n b", Finding::MultilineHeader),
        ("X: a\r\n\tContent-Length: 5", Finding::MultilineHeader),
        ("X", Finding::MissingHeaderColon),
    ] {
        assert_eq!(post(fields), Some(finding), "{fields:?}");
    }
    let first = "POST / HTTP/1.1\r\n X: 1\r\n\r\n";
    assert_eq!(found(first), Some(Finding::NonCompliantHeader));
}

#[test]
fn lengths_and_codings_are_judged_together() {
    for (fields, finding) in [
        (
            "Content-Length: 5\r\nContent-Length: 5",
            Finding::DuplicateContentLength,
        ),
        (
            "Content-Length: 5\r\nContent-Length: 05",
            Finding::DuplicateContentLength,
        ),
        (
            "Content-Length: 5\r\nContent-Length: 6",
            Finding::MultipleContentLength,
        ),
        ("Content-Length: 5, 5", Finding::BadContentLength),
        ("Content-Length: 5 5", Finding::BadContentLength),
        ("Content-Length: +5", Finding::BadContentLength),
        ("Content-Length: -1", Finding::BadContentLength),
        ("Content-Length: 0x5", Finding::BadContentLength),
        ("Content-Length: 1e3", Finding::BadContentLength),
        ("Content-Length:", Finding::BadContentLength),
        ("Content-Length: 5\u{b}", Finding::BadContentLength),
        (
            "Content-Length: 9223372036854775808",
            Finding::BadContentLength,
        ),
        (
            "Content-Length: 18446744073709551621",
            Finding::BadContentLength,
        ),
        ("Transfer-Encoding: xchunked", Finding::BadTransferEncoding),
        (
            "Transfer-Encoding: chunked\u{b}",
            Finding::BadTransferEncoding,
        ),
        (
            "Transfer-Encoding: \"chunked\"",
            Finding::BadTransferEncoding,
        ),
        (
            "Transfer-Encoding: chunked, gzip",
            Finding::BadTransferEncoding,
        ),
        ("Transfer-Encoding: chunked,", Finding::BadTransferEncoding),
        ("Transfer-Encoding:", Finding::BadTransferEncoding),
        (
            "Transfer-Encoding: chunked, chunked",
            Finding::MultipleTransferEncodingChunked,
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: Chunked",
            Finding::MultipleTransferEncodingChunked,
        ),
        (
            "Transfer-Encoding : chunked\r\nTransfer-Encoding: chunked",
            Finding::MultipleTransferEncodingChunked,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            Finding::BothTeClPresent,
        ),
        (
            "Content-Length: 5\r\nTransfer-Encoding: gzip",
            Finding::BothTeClPresent,
        ),
        ("Transfer-Encoding : chunked", Finding::SuspiciousHeader),
        ("Content_Length: 5", Finding::SuspiciousHeader),
        (
            "Content_Length: 5\r\nContent-Length: 6",
            Finding::MultipleContentLength,
        ),
        (
            "Transfer_Encoding: chunked\r\nContent-Length: 5",
            Finding::SuspiciousTeClPresent,
        ),
    ] {
        assert_eq!(post(fields), Some(finding), "{fields:?}");
    }
}

#[test]
fn a_body_has_no_meaning_in_get_and_head_nor_chunks_before_http_1_1() {
    let cases = [
        ("Content-Length: 0", Finding::GetHeadZeroContentLength),
        (
            "Content-Length: 1",
            Finding::UndefinedContentLengthSemantics,
        ),
        (
            "Transfer-Encoding: chunked",
            Finding::UndefinedTransferEncodingSemantics,
        ),
        ("Content-Length: x", Finding::BadContentLength),
    ];
    for (field, finding) in cases {
        for method in ["GET", "HEAD"] {
            let head = format!("{method} / HTTP/1.1\r\n{field}\r\n\r\n");
            assert_eq!(found(&head), Some(finding), "{head:?}");
        }
    }
    for (head, finding) in [
        (
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: x\r\n\r\n",
            Finding::UndefinedTransferEncodingSemantics,
        ),
        (
            "POST /\r\nTransfer-Encoding: chunked\r\n\r\n",
            Finding::UndefinedTransferEncodingSemantics,
        ),
        (
            "POST / HTTP/0.9\r\nContent-Length: 5\r\n\r\n",
            Finding::UndefinedContentLengthSemantics,
        ),
    ] {
        assert_eq!(found(head), Some(finding), "{head:?}");
    }
}

#[test]
fn names_that_some_readers_take_for_the_framing_are_suspicious() {
    for name in [
        "Transfer_Encoding",
        "transfer--encoding",
        "Transfer.Encoding",
        "_Transfer-Encoding",
        "Transfer-Encoding-",
        "TransferEncoding",
        "Transfer-Encod\u{131}ng",
        "Tran\u{17f}fer-Encoding",
        "Content_Length",
        "Content~Length",
        "ContentLength",
    ] {
        assert!(is_suspicious(name), "{name}");
        assert_eq!(post(&format!("{name}: 5")).map(Finding::class), {
            let coding = name.to_lowercase().contains('r');
            Some(if coding {
                Class::Severe
            } else {
                Class::Ambiguous
            })
        });
    }
    for name in [
        "Content-Length",
        "transfer-encoding",
        "Content-Lengths",
        "XContent-Length",
        "Content-Language",
        "Content-Encoding",
        "Transfer-Encoding1",
        "",
    ] {
        assert!(!is_suspicious(name), "{name}");
    }
}

#[test]
fn line_ends_of_one_kind_are_acceptable_and_a_mixture_is_not() {
    for (head, finding) in [
        (
            "GET / HTTP/1.1\nHost: a\n\n",
            Finding::NonCrLfLineTermination,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            Finding::MixedLineTermination,
        ),
        (
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            Finding::MixedLineTermination,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            Finding::MixedLineTermination,
        ),
    ] {
        assert_eq!(found(head), Some(finding), "{head:?}");
    }
}

#[test]
fn a_part_of_a_head_is_judged_by_what_is_there() {
    assert_eq!(found("GET / HT"), Some(Finding::BadVersion));
    let partial = found("GET / HTTP/1.1\r\nHost: a");
    assert_eq!(partial, Some(Finding::PartialHeaderLine));
    let unfinished = found("GET / HTTP/1.1\r\nHost: a\r\n");
    assert_eq!(unfinished, Some(Finding::MissingLastEmptyLine));
    let worse = found("GET / HTTP/1.1\r\nContent-Length: x");
    assert_eq!(worse, Some(Finding::BadContentLength));
    assert!(found("").is_some());
}

/// The short look at what is parsed anyway, against the long one at all bytes.
#[test]
fn what_the_short_look_calls_clean_is_compliant() {
    let seed = 7;
    println!("seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let pieces = [
        "\r\n",
        "\n",
        "\r",
        " ",
        "\t",
        ":",
        "X: y\r\n",
        "X: y\n",
        "Content-Length: 5\r\n",
        "Content-Length: 0\r\n",
        "Content_Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "transfer--encoding: chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "\0",
        "\u{e4}",
        "HTTP/1.0",
        "GET",
        "HEAD",
        "POST",
        ",",
        "0",
        "\u{17f}",
        "_",
        "-",
        "\r\n\r\n",
        "Content-Length:\n",
    ];
    let heads = [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nAccept: */*\r\n\r\n",
        "GET /a HTTP/1.0\r\nAccept-Encoding: gzip\r\nX-Empty:\r\n\r\n",
    ];
    let (mut clean, mut others) = (0, 0);
    for _ in 0..100_000 {
        let mut head = heads[rng.random_range(0..heads.len())].to_owned();
        for _ in 0..rng.random_range(0..3) {
            let mut at = rng.random_range(0..=head.len());
            while !head.is_char_boundary(at) {
                at -= 1;
            }
            head.insert_str(at, pieces[rng.random_range(0..pieces.len())]);
        }
        let bytes = head.trim_start_matches(['\r', '\n']).as_bytes();
        let mut room = room();
        let Ok(Some(head)) = RequestHead::parse(bytes, &mut room) else {
            continue;
        };
        let Ok(admitted) = admit(&head) else {
            continue;
        };
        let finding = judge(&bytes[..head.len]);
        if admitted.is_clean && has_clean_lines(&head, bytes) {
            assert_eq!(finding, None, "{:?}", String::from_utf8_lossy(bytes));
            clean += 1;
        } else {
            others += 1;
        }
    }
    println!("{clean} clean, {others} others");
    assert!(clean > 10_000 && others > 1_000);
}
