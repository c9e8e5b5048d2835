//! The PROXY protocol, versions 1 and 2: who the client of a forwarded connection is. Pure.
//!
//! The specification is HAProxy's `proxy-protocol.txt`; sections are of its revision of 2020.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use longshore_config::ProxyProtocol;

/// What every header of version 2 begins with (§2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The longest header of version 1, with its line end (§2.1).
pub const V1_MAX: usize = 107;

/// The shortest header of either version.
const V1_MIN: usize = b"PROXY UNKNOWN\r\n".len();

/// The longest header of version 2 that is taken, in bytes. The format allows 64 KiB; the largest in
/// use, with a client's certificate in it, have some hundred.
pub const V2_MAX: usize = 4096;

/// A type of TLV: the checksum of the header (§2.2.3).
const CRC32C: u8 = 0x03;

/// Who speaks to whom on the connection that is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The client.
    pub source: SocketAddr,
    /// What the client connected to.
    pub destination: SocketAddr,
}

/// What bytes at the beginning of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// No whole header yet. So many more bytes belong to it at least.
    More(usize),
    /// A header of so many bytes.
    Header {
        /// Its length.
        len: usize,
        /// Who the client is. None if the sender speaks for itself (`LOCAL`, as in health checks)
        /// or does not know (`UNKNOWN`): then it is the connection's own peer.
        ends: Option<Ends>,
    },
}

/// Why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no PROXY header: {0}")]
pub struct BadHeader(pub &'static str);

/// Reads the header at the beginning of these bytes.
///
/// # Errors
/// If they cannot become one. A sender that is to send one and does not must not be served: it
/// would be taken for the client (§2).
pub fn parse(bytes: &[u8]) -> Result<Parsed, BadHeader> {
    if bytes.is_empty() {
        return Ok(Parsed::More(V1_MIN));
    }
    let common = bytes.len().min(SIGNATURE.len());
    if bytes[..common] == SIGNATURE[..common] {
        return parse_v2(bytes);
    }
    parse_v1(bytes)
}

fn parse_v1(bytes: &[u8]) -> Result<Parsed, BadHeader> {
    const WORD: &[u8] = b"PROXY ";
    let common = bytes.len().min(WORD.len());
    if bytes[..common] != WORD[..common] {
        return Err(BadHeader("it begins with neither version's signature"));
    }
    let seen = &bytes[..bytes.len().min(V1_MAX)];
    let Some(end) = memchr::memchr(b'\n', seen) else {
        if bytes.len() >= V1_MAX {
            return Err(BadHeader("a line of more than 107 bytes"));
        }
        let one = if bytes.last() == Some(&b'\r') { 1 } else { 2 };
        return Ok(Parsed::More(V1_MIN.saturating_sub(bytes.len()).max(one)));
    };
    let Some(line) = bytes[..end].strip_suffix(b"\r") else {
        return Err(BadHeader("a line that ends with LF alone"));
    };
    let header = |ends| Parsed::Header { len: end + 1, ends };
    let text = std::str::from_utf8(&line[WORD.len()..]).map_err(|_| BadHeader("no ASCII"))?;
    // What stands behind the word is to be ignored.
    if text == "UNKNOWN" || text.starts_with("UNKNOWN ") {
        return Ok(header(None));
    }
    let words: Vec<&str> = text.splitn(6, ' ').collect();
    let &[family, source, destination, source_port, destination_port] = &*words else {
        return Err(BadHeader("not five words"));
    };
    let address = |text: &str| -> Result<IpAddr, BadHeader> {
        let address = match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => return Err(BadHeader("neither TCP4 nor TCP6 nor UNKNOWN")),
        };
        address.ok_or(BadHeader("an address that is none of its family"))
    };
    Ok(header(Some(Ends {
        source: SocketAddr::new(address(source)?, port(source_port)?),
        destination: SocketAddr::new(address(destination)?, port(destination_port)?),
    })))
}

/// Digits without leading zeros (§2.1).
fn port(text: &str) -> Result<u16, BadHeader> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = digits && (text == "0" || !text.starts_with('0'));
    let port = plain.then(|| text.parse().ok()).flatten();
    port.ok_or(BadHeader("a port that is none"))
}

fn parse_v2(bytes: &[u8]) -> Result<Parsed, BadHeader> {
    const FIXED: usize = 16;
    let Some((&[command, family, high, low], _)) = bytes
        .get(SIGNATURE.len()..)
        .and_then(|rest| rest.split_first_chunk::<4>())
    else {
        return Ok(Parsed::More(FIXED - bytes.len()));
    };
    if command >> 4 != 2 {
        return Err(BadHeader("a version other than 2"));
    }
    let len = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if len > V2_MAX {
        return Err(BadHeader("more than 4096 bytes"));
    }
    let Some(header) = bytes.get(..len) else {
        return Ok(Parsed::More(len - bytes.len()));
    };
    let rest = &header[FIXED..];
    let ends = match command & 0xF {
        // §2.2: what it holds is to be ignored, the family too.
        0 => None,
        1 => {
            let (ends, tlvs) = addresses(family, rest)?;
            check(header, tlvs)?;
            ends
        }
        _ => return Err(BadHeader("a command that does not exist")),
    };
    Ok(Parsed::Header { len, ends })
}

/// The addresses, and the TLVs behind them.
fn addresses(family: u8, rest: &[u8]) -> Result<(Option<Ends>, &[u8]), BadHeader> {
    const SHORT: BadHeader = BadHeader("too short for its addresses");
    match family {
        0x11 => {
            let (&[a, b, c, d, e, f, g, h, ports @ ..], tlvs) =
                rest.split_first_chunk::<12>().ok_or(SHORT)?;
            let source = Ipv4Addr::new(a, b, c, d).into();
            let destination = Ipv4Addr::new(e, f, g, h).into();
            Ok((Some(with_ports(source, destination, ports)), tlvs))
        }
        0x21 => {
            let (source, rest) = rest.split_first_chunk::<16>().ok_or(SHORT)?;
            let (destination, rest) = rest.split_first_chunk::<16>().ok_or(SHORT)?;
            let (ports, tlvs) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
            let ends = with_ports(
                Ipv6Addr::from(*source).into(),
                Ipv6Addr::from(*destination).into(),
                *ports,
            );
            Ok((Some(ends), tlvs))
        }
        // Unix sockets: the sender's client has no address.
        0x31 => Ok((None, rest.get(216..).ok_or(SHORT)?)),
        0x00 => Ok((None, rest)),
        0x12 | 0x22 | 0x32 => Err(BadHeader("datagrams")),
        _ => Err(BadHeader("a family that does not exist")),
    }
}

fn with_ports(source: IpAddr, destination: IpAddr, [a, b, c, d]: [u8; 4]) -> Ends {
    Ends {
        source: SocketAddr::new(source, u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(destination, u16::from_be_bytes([c, d])),
    }
}

/// Goes through the TLVs. None of them says anything to us, but the checksum is to be compared by
/// whoever knows it (§2.2.3).
fn check(header: &[u8], tlvs: &[u8]) -> Result<(), BadHeader> {
    let mut rest = tlvs;
    while !rest.is_empty() {
        let &[kind, high, low, ref behind @ ..] = rest else {
            return Err(BadHeader("a TLV that is cut off"));
        };
        let len = usize::from(u16::from_be_bytes([high, low]));
        let Some((value, next)) = behind.split_at_checked(len) else {
            return Err(BadHeader("a TLV that is cut off"));
        };
        if kind == CRC32C {
            let stated = value
                .try_into()
                .map(u32::from_be_bytes)
                .map_err(|_| BadHeader("a checksum that is not of four bytes"))?;
            let at = header.len() - behind.len();
            let zeroed = crc32c([&header[..at], &[0; 4], &header[at + 4..]]);
            if zeroed != stated {
                return Err(BadHeader("a checksum that is wrong"));
            }
        }
        rest = next;
    }
    Ok(())
}

/// The CRC of RFC 4960, appendix B, of parts one behind the other. Bit by bit: it is made once for
/// a connection, over some dozen bytes.
fn crc32c(parts: [&[u8]; 3]) -> u32 {
    let bytes = parts.into_iter().flatten();
    !bytes.fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg())
        })
    })
}

/// Writes the header for a connection. Without `ends`, that it is our own.
pub fn write(version: ProxyProtocol, ends: Option<Ends>, out: &mut Vec<u8>) {
    // Both addresses are of one family. An IPv4 address has a spelling in IPv6.
    let ends = ends.map(|ends| match (ends.source.ip(), ends.destination.ip()) {
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => ends,
        _ => Ends {
            source: mapped(ends.source),
            destination: mapped(ends.destination),
        },
    });
    match version {
        ProxyProtocol::V1 => write_v1(ends, out),
        ProxyProtocol::V2 => write_v2(ends, out),
    }
}

fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

fn write_v1(ends: Option<Ends>, out: &mut Vec<u8>) {
    let Some(Ends {
        source,
        destination,
    }) = ends
    else {
        out.extend_from_slice(b"PROXY UNKNOWN\r\n");
        return;
    };
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let mut line = String::with_capacity(V1_MAX);
    write!(
        line,
        "PROXY {family} {} {} {} {}\r\n",
        source.ip(),
        destination.ip(),
        source.port(),
        destination.port()
    )
    .expect("a string takes everything");
    out.extend_from_slice(line.as_bytes());
}

fn write_v2(ends: Option<Ends>, out: &mut Vec<u8>) {
    out.extend_from_slice(SIGNATURE);
    let Some(Ends {
        source,
        destination,
    }) = ends
    else {
        out.extend_from_slice(&[0x20, 0, 0, 0]);
        return;
    };
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            out.extend_from_slice(&[0x21, 0x11, 0, 12]);
            out.extend_from_slice(&from.octets());
            out.extend_from_slice(&to.octets());
        }
        (from, to) => {
            let octets = |address| match address {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                IpAddr::V6(ip) => ip.octets(),
            };
            out.extend_from_slice(&[0x21, 0x21, 0, 36]);
            out.extend_from_slice(&octets(from));
            out.extend_from_slice(&octets(to));
        }
    }
    out.extend_from_slice(&source.port().to_be_bytes());
    out.extend_from_slice(&destination.port().to_be_bytes());
}

#[cfg(test)]
#[path = "proxy_protocol_tests.rs"]
mod tests;
