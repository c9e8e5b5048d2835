//! Spellings of paths and hosts.

use longshore::request::normal;
use longshore_config::PathNormalization;

use crate::engine::{corpus, outcome, run};

const WORDS: &[&[u8]] = &[
    b"/",
    b"//",
    b"/./",
    b"/../",
    b"%2e",
    b"%2E",
    b"%2f",
    b"%5c",
    b"%25",
    b"%00",
    b"%c0%ae",
    b"%e0%80%ae",
    b"%252e",
    b";",
    b";a=b",
    b"\\",
    b".",
    b"..",
    b"%",
    b"%4",
    b"%61",
    b":80",
    b":",
    b"@",
    b"A",
    b"\xc3\xa4",
];

/// What a reader that is as generous as can be makes of a segment: decoded, and cut at `;`.
fn generous(path: &str) -> Vec<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let [first, behind @ ..] = rest {
        let digits = behind
            .get(..2)
            .and_then(|two| std::str::from_utf8(two).ok());
        let decoded = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        match decoded {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            _ => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    let segments = bytes.split(|byte| matches!(byte, b'/' | b'\\'));
    segments
        .map(|segment| {
            segment
                .split(|byte| *byte == b';')
                .next()
                .unwrap_or_default()
                .to_vec()
        })
        .collect()
}

fn path(input: &[u8]) -> u64 {
    let Ok(text) = std::str::from_utf8(input) else {
        return 0;
    };
    // The rest of what comes in has been refused before.
    if !text.starts_with('/')
        || text
            .bytes()
            .any(|byte| byte <= b' ' || byte == 0x7F || byte == b'?')
    {
        return 1;
    }
    let mut seen = 2;
    for mode in [
        PathNormalization::Strict,
        PathNormalization::Rfc3986,
        PathNormalization::None,
    ] {
        let Ok(once) = normal::path(text, mode) else {
            seen = outcome((seen, 0));
            continue;
        };
        let twice = normal::path(&once, mode).expect("it was good once");
        assert_eq!(once, twice, "{mode:?}");
        assert!(once.starts_with('/'));
        seen = outcome((seen, once.len().cmp(&text.len()), once == text));
        if mode == PathNormalization::None {
            assert_eq!(once, text);
            continue;
        }
        assert!(
            once.split('/')
                .all(|segment| segment != "." && segment != ".."),
            "{once}"
        );
        assert!(
            !once.to_lowercase().contains("%2e") && !once.contains("%61"),
            "{once}"
        );
        if mode == PathNormalization::Strict {
            assert!(!once.contains("//") && !once.contains('\\'), "{once}");
            let dots = |segment: &Vec<u8>| matches!(&**segment, b"." | b"..");
            assert!(!generous(&once).iter().any(dots), "{once}");
            assert!(!once.contains("%00"));
        }
    }
    seen
}

fn host(input: &[u8]) -> u64 {
    let Ok(text) = std::str::from_utf8(input) else {
        return 0;
    };
    let once = normal::host(text);
    assert!(once.len() <= text.len());
    let name = normal::without_port(&once);
    assert!(once.starts_with(name));
    outcome((once == text, name.len() == once.len(), name.contains(':')))
}

#[test]
fn any_path_has_one_spelling_in_which_nobody_sees_dots() {
    run(
        "path",
        10_000,
        &corpus(include_str!("corpus/path.txt")),
        WORDS,
        path,
    );
}

#[test]
fn any_host_has_one_spelling() {
    run(
        "host",
        10_000,
        &corpus(include_str!("corpus/host.txt")),
        WORDS,
        host,
    );
}
