//! PROXY headers, both versions.

use longshore::proxy_protocol::{Ends, Parsed, V2_MAX, parse, write};
use longshore_config::ProxyProtocol;

use crate::engine::{corpus, outcome, run};

const WORDS: &[&[u8]] = &[
    b"PROXY ",
    b"TCP4 ",
    b"TCP6 ",
    b"UNKNOWN",
    b"\r\n",
    b"\n",
    b" ",
    b"1.2.3.4 ",
    b"::1 ",
    b"65535",
    b"65536",
    b"0",
    b"\r\n\r\n\0\r\nQUIT\n",
    b"\x21",
    b"\x20",
    b"\x11",
    b"\x21\x11\0\x0c",
    b"\x21\x21\0\x24",
    b"\x03\0\x04",
    b"\x04\0\0",
    b"\xff\xff",
    b"\0",
];

fn header(input: &[u8]) -> u64 {
    match parse(input) {
        Err(bad) => outcome((0, bad.0)),
        Ok(Parsed::More(count)) => {
            assert!(count >= 1 && input.len() + count <= V2_MAX);
            outcome((1, count.min(40)))
        }
        Ok(Parsed::Header { len, ends }) => {
            assert!(len <= input.len() && len <= V2_MAX);
            // What is behind it does not count, and no shorter part is one.
            assert_eq!(parse(&input[..len]), Ok(Parsed::Header { len, ends }));
            for shorter in 0..len {
                let Ok(Parsed::More(count)) = parse(&input[..shorter]) else {
                    panic!(
                        "{shorter} of {len} bytes are {:?}",
                        parse(&input[..shorter])
                    );
                };
                assert!(shorter + count <= len);
            }
            if let Some(Ends {
                source,
                destination,
            }) = ends
            {
                assert_eq!(source.is_ipv4(), destination.is_ipv4());
            }
            for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
                let mut out = Vec::new();
                write(version, ends, &mut out);
                let len = out.len();
                assert_eq!(parse(&out), Ok(Parsed::Header { len, ends }));
            }
            outcome((2, ends.map(|ends| ends.source.is_ipv4()), len.min(64)))
        }
    }
}

#[test]
fn any_proxy_header_is_refused_or_read_to_its_end() {
    run(
        "PROXY header",
        10_000,
        &corpus(include_str!("corpus/proxy_header.txt")),
        WORDS,
        header,
    );
}
