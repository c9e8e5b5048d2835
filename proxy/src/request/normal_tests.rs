use std::borrow::Cow;

use longshore_config::PathNormalization::{self, None as Off, Rfc3986, Strict};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{TwoReadings, host, path, without_port};

#[track_caller]
fn is(mode: PathNormalization, from: &str, to: &str) {
    assert_eq!(path(from, mode).as_deref(), Ok(to), "{from:?}");
}

#[test]
fn equal_paths_have_one_spelling() {
    let cases = [
        ("/", "/"),
        ("/a", "/a"),
        ("/a/", "/a/"),
        ("/%61dmin", "/admin"),
        ("/%41", "/A"),
        ("/a%2eb", "/a.b"),
        ("/%7euser", "/~user"),
        ("/%2e%2e/x", "/x"),
        ("/%2E/x", "/x"),
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/b/..", "/a/"),
        ("/a/.", "/a/"),
        ("/..", "/"),
        ("/../../a", "/a"),
        ("/.hidden", "/.hidden"),
        ("/...", "/..."),
        ("/a/..b", "/a/..b"),
        ("/a%2fb", "/a%2Fb"),
        ("/a%c3%a4", "/a%C3%A4"),
        ("/%25", "/%25"),
        ("/%252e%252e/a", "/%252e%252e/a"),
        ("/a;b=1/c", "/a;b=1/c"),
        ("/a%20b", "/a%20b"),
    ];
    for (from, to) in cases {
        is(Strict, from, to);
        is(Rfc3986, from, to);
        is(Off, from, from);
    }
    is(Off, "/%2e%2e/x", "/%2e%2e/x");
    is(Strict, "*", "*");
}

#[test]
fn only_strict_joins_slashes() {
    for (from, strict, rfc3986) in [
        ("//", "/", "//"),
        ("//a", "/a", "//a"),
        ("/a//b", "/a/b", "/a//b"),
        ("/a//", "/a/", "/a//"),
        ("/a//../b", "/b", "/a/b"),
        ("/a/.//b", "/a/b", "/a//b"),
    ] {
        is(Strict, from, strict);
        is(Rfc3986, from, rfc3986);
    }
}

#[test]
fn what_two_readers_take_for_two_paths_is_refused_in_strict() {
    for from in [
        r"/a\b",
        r"/..\x",
        "/a%00",
        "/..;/x",
        "/.;a=b/x",
        "/%2e%2e;/x",
        "/a/%2E%3b",
        "/..%3Bx=1/y",
        "/a%2f.%3b",
        "/a%2f..%2fb",
        "/..%2f",
        "/a%5c..%5cb",
        "/%2e%2e%5c",
        "/%c0%ae%c0%ae/x",
        "/%C1%9C",
        "/a%e0%80%af",
        "/a%f0%80%80%af",
    ] {
        assert_eq!(path(from, Strict), Err(TwoReadings), "{from:?}");
        assert!(path(from, Rfc3986).is_ok(), "{from:?}");
    }
    for from in ["/%", "/%2", "/%zz", "/%b%61", "/a/../%"] {
        assert_eq!(path(from, Strict), Err(TwoReadings), "{from:?}");
        assert_eq!(path(from, Rfc3986), Err(TwoReadings), "{from:?}");
        assert_eq!(path(from, Off).as_deref(), Ok(from));
    }
}

#[test]
fn a_path_in_its_one_spelling_is_not_copied() {
    for text in ["/", "/a/b.c/d-e_f~", "/a.b/c..d", "/a/b/?"] {
        assert!(matches!(path(text, Strict), Ok(Cow::Borrowed(_))), "{text}");
    }
}

#[test]
fn a_port_and_a_last_dot_are_no_part_of_a_host_name() {
    for (from, name) in [
        ("a.example", "a.example"),
        ("a.example:80", "a.example"),
        ("a.example.", "a.example"),
        ("a.example.:443", "a.example"),
        ("a.example:", "a.example"),
        ("[::1]", "[::1]"),
        ("[::1]:80", "[::1]"),
        ("", ""),
        (".", "."),
    ] {
        assert_eq!(without_port(&host(from)), name);
    }
}

/// Whatever comes in: what comes out has no second spelling, and a reader who decodes once and
/// resolves dots finds no other path in it.
#[test]
fn what_was_made_one_spelling_stays_as_it_is() {
    let seed = 7;
    println!("seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let pieces = [
        "/", "/", "a", "b", ".", "..", "%2e", "%2E", "%2f", "%5c", ";", "%", "2", "e", "%61",
        "%00", "\\", "%25", "x=1", "~",
    ];
    for _ in 0..200_000 {
        let count = random.random_range(0..12);
        let mut text = String::from("/");
        for _ in 0..count {
            text.push_str(pieces[random.random_range(0..pieces.len())]);
        }
        for mode in [Strict, Rfc3986] {
            let Ok(once) = path(&text, mode) else {
                continue;
            };
            assert_eq!(path(&once, mode).as_deref(), Ok(&*once), "{text:?}");
            assert!(
                once.starts_with('/') && once.len() <= text.len(),
                "{text:?}"
            );
            assert!(
                !once
                    .split('/')
                    .any(|segment| segment == "." || segment == ".."),
                "{text:?} became {once:?}"
            );
            if mode == Strict {
                assert!(!once.contains("//") && !once.contains('\\'), "{text:?}");
                let resolved = naive(&once);
                assert!(
                    !resolved.split(['/', '\\']).any(|part| {
                        let name = part.split(';').next().unwrap_or_default();
                        name == "." || name == ".."
                    }),
                    "{text:?} became {once:?}, which some read as {resolved:?}"
                );
            }
        }
    }
}

/// Decodes everything once, as a careless reader does.
fn naive(path: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digits: String = bytes.by_ref().take(2).map(char::from).collect();
        out.push(u8::from_str_radix(&digits, 16).expect("two digits"));
    }
    String::from_utf8_lossy(&out).into_owned()
}
