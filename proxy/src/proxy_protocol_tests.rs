use std::net::SocketAddr;

use longshore_config::ProxyProtocol;

use super::{BadHeader, Ends, Parsed, SIGNATURE, V1_MAX, V2_MAX, crc32c, parse, write};

fn ends(source: &str, destination: &str) -> Ends {
    let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
    Ends {
        source: address(source),
        destination: address(destination),
    }
}

/// A header of version 2.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend_from_slice(&[command, family]);
    bytes.extend_from_slice(&u16::try_from(rest.len()).expect("short").to_be_bytes());
    bytes.extend_from_slice(rest);
    bytes
}

const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0x30, 0x39, 0, 80];

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&u16::try_from(value.len()).expect("short").to_be_bytes());
    bytes.extend_from_slice(value);
    bytes
}

fn refused(bytes: &[u8]) -> &'static str {
    match parse(bytes) {
        Err(BadHeader(why)) => why,
        Ok(parsed) => panic!("{:?}: {parsed:?}", String::from_utf8_lossy(bytes)),
    }
}

/// Of each part of a header more is wanted, and never more than there is.
fn grows(header: &[u8]) {
    for len in 0..header.len() {
        match parse(&header[..len]) {
            Ok(Parsed::More(more)) => assert!(
                more >= 1 && len + more <= header.len(),
                "{len} bytes of {header:?} want {more}"
            ),
            other => panic!("{len} bytes of {header:?}: {other:?}"),
        }
    }
}

#[test]
fn version_1_names_both_ends() {
    for (line, wanted) in [
        (
            "PROXY TCP4 192.0.2.1 198.51.100.2 12345 80\r\n",
            Some(ends("192.0.2.1:12345", "198.51.100.2:80")),
        ),
        (
            "PROXY TCP6 2001:db8::1 ::2 0 65535\r\n",
            Some(ends("[2001:db8::1]:0", "[::2]:65535")),
        ),
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN what ever stands here\r\n", None),
    ] {
        let whole = format!("{line}GET / HTTP/1.1\r\n");
        let len = line.len();
        let parsed = parse(whole.as_bytes());
        assert_eq!(parsed, Ok(Parsed::Header { len, ends: wanted }), "{line}");
        grows(line.as_bytes());
    }
}

#[test]
fn version_1_is_read_strictly() {
    let long = format!("PROXY UNKNOWN {}", "x".repeat(V1_MAX));
    for (line, why) in [
        (
            "GET / HTTP/1.1\r\n\r\n",
            "it begins with neither version's signature",
        ),
        (
            "proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
            "it begins with neither version's signature",
        ),
        (
            " PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
            "it begins with neither version's signature",
        ),
        (
            "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n",
            "a line that ends with LF alone",
        ),
        ("PROXY  TCP4 1.1.1.1 2.2.2.2 1 2\r\n", "not five words"),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n", "not five words"),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n", "not five words"),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n", "not five words"),
        ("PROXY UNKNOWNS\r\n", "not five words"),
        (
            "PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n",
            "neither TCP4 nor TCP6 nor UNKNOWN",
        ),
        (
            "PROXY TCP4 1.1.1 2.2.2.2 1 2\r\n",
            "an address that is none of its family",
        ),
        (
            "PROXY TCP4 01.1.1.1 2.2.2.2 1 2\r\n",
            "an address that is none of its family",
        ),
        (
            "PROXY TCP4 ::1 2.2.2.2 1 2\r\n",
            "an address that is none of its family",
        ),
        (
            "PROXY TCP6 1.1.1.1 ::1 1 2\r\n",
            "an address that is none of its family",
        ),
        (
            "PROXY TCP4 1.1.1.1 2.2.2.256 1 2\r\n",
            "an address that is none of its family",
        ),
        (
            "PROXY TCP4 1.1.1.1 2.2.2.2 65536 2\r\n",
            "a port that is none",
        ),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n", "a port that is none"),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n", "a port that is none"),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 1 \r\n", "a port that is none"),
        (
            "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\r\n",
            "a port that is none",
        ),
        (&long, "a line of more than 107 bytes"),
    ] {
        assert_eq!(refused(line.as_bytes()), why, "{line:?}");
    }
    assert_eq!(refused(b"PROXY TCP4 \xFF\r\n"), "no ASCII");
}

#[test]
fn version_2_names_both_ends() {
    let mut v6 = [0; 36];
    v6[..2].copy_from_slice(&[0x20, 1]);
    v6[31] = 2;
    v6[32..].copy_from_slice(&[0x30, 0x39, 1, 0xBB]);
    for (header, wanted) in [
        (
            v2(0x21, 0x11, &V4),
            Some(ends("192.0.2.1:12345", "198.51.100.2:80")),
        ),
        (
            v2(0x21, 0x21, &v6),
            Some(ends("[2001::]:12345", "[::2]:443")),
        ),
        (v2(0x21, 0x31, &[b'/'; 216]), None),
        (v2(0x21, 0, &[]), None),
        (v2(0x20, 0, &[]), None),
        // What a LOCAL header holds is to be ignored, whatever it is.
        (v2(0x20, 0x11, &V4), None),
        (v2(0x20, 0xFF, &[1, 2, 3]), None),
    ] {
        let len = header.len();
        let mut whole = header.clone();
        whole.extend_from_slice(b"GET");
        assert_eq!(
            parse(&whole),
            Ok(Parsed::Header { len, ends: wanted }),
            "{header:?}"
        );
        grows(&header);
    }
}

#[test]
fn version_2_is_read_strictly() {
    let mut near = v2(0x21, 0x11, &V4);
    near[11] = b'\r';
    for (header, why) in [
        (near, "it begins with neither version's signature"),
        (v2(0x11, 0x11, &V4), "a version other than 2"),
        (v2(0x31, 0x11, &V4), "a version other than 2"),
        (v2(0x22, 0x11, &V4), "a command that does not exist"),
        (v2(0x21, 0x11, &V4[..11]), "too short for its addresses"),
        (v2(0x21, 0x21, &[0; 35]), "too short for its addresses"),
        (v2(0x21, 0x31, &[0; 215]), "too short for its addresses"),
        (v2(0x21, 0x12, &V4), "datagrams"),
        (v2(0x21, 0x22, &[0; 36]), "datagrams"),
        (v2(0x21, 0x13, &V4), "a family that does not exist"),
        (v2(0x21, 0x41, &V4), "a family that does not exist"),
        (v2(0x21, 0x11, &[0; V2_MAX - 15]), "more than 4096 bytes"),
    ] {
        assert_eq!(refused(&header), why, "{header:?}");
    }
}

#[test]
fn tlvs_are_passed_over_within_their_bounds() {
    let with = |tlvs: &[u8]| v2(0x21, 0x11, &[&V4, tlvs].concat());
    let good = [
        tlv(0xEA, b"\x01vpce-1"),
        tlv(0x04, b""),
        tlv(0x20, &[0; 100]),
    ]
    .concat();
    let header = with(&good);
    let wanted = Some(ends("192.0.2.1:12345", "198.51.100.2:80"));
    let len = header.len();
    assert_eq!(parse(&header), Ok(Parsed::Header { len, ends: wanted }));
    grows(&header);
    let largest = with(&tlv(0x04, &vec![0; V2_MAX - 16 - 12 - 3]));
    assert_eq!(
        parse(&largest),
        Ok(Parsed::Header {
            len: V2_MAX,
            ends: wanted
        })
    );
    for bad in [
        &[1][..],
        &[1, 0],
        &[1, 0, 1],
        &[1, 0, 5, 1, 2],
        &[1, 0xFF, 0xFF],
    ] {
        assert_eq!(refused(&with(bad)), "a TLV that is cut off", "{bad:?}");
    }
}

#[test]
fn a_checksum_counts() {
    // The check value that RFC 3720 and others give for these digits.
    assert_eq!(crc32c([b"1234", b"56789", b""]), 0xE306_9283);
    let rest = [V4.to_vec(), tlv(0x03, &[0; 4]), tlv(0x04, b"behind")].concat();
    let mut header = v2(0x21, 0x11, &rest);
    let sum = crc32c([&header, b"", b""]);
    header[31..35].copy_from_slice(&sum.to_be_bytes());
    assert!(matches!(
        parse(&header),
        Ok(Parsed::Header { ends: Some(_), .. })
    ));
    for at in 16..header.len() {
        let mut other = header.clone();
        other[at] ^= 1;
        assert!(
            parse(&other).is_err() || (28..31).contains(&at),
            "byte {at} does not count"
        );
    }
    let short = v2(0x21, 0x11, &[&V4[..], &tlv(0x03, &[0; 3])].concat());
    assert_eq!(refused(&short), "a checksum that is not of four bytes");
}

#[test]
fn what_is_written_is_read_again() {
    for wanted in [
        Some(ends("192.0.2.1:12345", "198.51.100.2:80")),
        Some(ends("[2001:db8::1]:1", "[::1]:65535")),
        None,
    ] {
        for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
            let mut header = Vec::new();
            write(version, wanted, &mut header);
            let len = header.len();
            assert_eq!(parse(&header), Ok(Parsed::Header { len, ends: wanted }));
        }
    }
    let mut line = Vec::new();
    write(
        ProxyProtocol::V1,
        Some(ends("192.0.2.1:1", "[::1]:2")),
        &mut line,
    );
    assert_eq!(line, b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n");
    let longest = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
    let mut line = Vec::new();
    write(ProxyProtocol::V1, Some(ends(longest, longest)), &mut line);
    assert!(line.len() <= V1_MAX && parse(&line).is_ok());
}
