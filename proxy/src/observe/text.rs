//! Figures, moments, addresses and texts of logs, written in place: without a block of memory, and
//! without the work of `fmt`. Pure.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The digits of the largest number.
const DIGITS: usize = 20;

/// What stands for nothing, as ALB has it.
pub(super) fn or_dash(text: &[u8]) -> &[u8] {
    if text.is_empty() { b"-" } else { text }
}

/// 00 to 99: two digits for one division.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut value = 0;
    while value < 100 {
        pairs[value] = [b'0' + (value / 10) as u8, b'0' + (value % 10) as u8];
        value += 1;
    }
    pairs
};

/// A whole number.
pub(crate) fn number(value: u64, out: &mut Vec<u8>) {
    if value < 10 {
        return out.push(digit(value));
    }
    let mut digits = [0; DIGITS];
    let (mut rest, mut begin) = (value, DIGITS);
    while rest >= 10 {
        begin -= 2;
        digits[begin..begin + 2].copy_from_slice(&PAIRS[(rest % 100) as usize]);
        rest /= 100;
    }
    if rest > 0 {
        begin -= 1;
        digits[begin] = digit(rest);
    }
    out.extend_from_slice(&digits[begin..]);
}

/// Seconds with six digits behind the point, as ALB has them.
pub(super) fn seconds(took: Duration, out: &mut Vec<u8>) {
    number(took.as_secs(), out);
    let mut part = *b".000000";
    fill(&mut part[1..], took.subsec_micros().into());
    out.extend_from_slice(&part);
}

/// The identifier of a connection.
pub(super) fn connection(number: u64, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = *b"TID_00000000000000000000000000000000";
    let mut rest = number;
    for place in text[20..].iter_mut().rev() {
        *place = HEX[(rest % 16) as usize];
        rest /= 16;
    }
    out.extend_from_slice(&text);
}

/// An address of a host.
pub(super) fn ip(ip: IpAddr, out: &mut Vec<u8>) {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            number(a.into(), out);
            for octet in [b, c, d] {
                out.push(b'.');
                number(octet.into(), out);
            }
        }
        // Its short form is work that is left to the library. Writing into memory does not fail.
        IpAddr::V6(ip) => write!(out, "{ip}").unwrap_or_default(),
    }
}

/// An address with its port.
pub(super) fn socket(address: SocketAddr, out: &mut Vec<u8>) {
    match address {
        SocketAddr::V4(_) => {
            ip(address.ip(), out);
            out.push(b':');
            number(address.port().into(), out);
        }
        // With what belongs to its scope.
        SocketAddr::V6(address) => write!(out, "{address}").unwrap_or_default(),
    }
}

/// A moment in microseconds since 1970-01-01, as ISO 8601 writes it.
pub(super) fn moment(micros: u64, out: &mut Vec<u8>) {
    let (seconds, part) = (micros / 1_000_000, micros % 1_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": years begin in March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    fill(&mut text[..4], year);
    fill(&mut text[5..7], month);
    fill(&mut text[8..10], day);
    fill(&mut text[11..13], second / 3_600);
    fill(&mut text[14..16], second / 60 % 60);
    fill(&mut text[17..19], second % 60);
    fill(&mut text[20..26], part);
    out.extend_from_slice(&text);
}

/// In quotes, with what would end them or the line escaped as ALB does it (`\x22`), and a space.
pub(super) fn quoted(texts: &[&[u8]], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.push(b'"');
    for text in texts {
        if !has_odd(text) {
            out.extend_from_slice(text);
            continue;
        }
        for byte in *text {
            if is_odd(*byte) {
                let (high, low) = (usize::from(byte >> 4), usize::from(byte & 0xF));
                out.extend_from_slice(&[b'\\', b'x', HEX[high], HEX[low]]);
            } else {
                out.push(*byte);
            }
        }
    }
    out.extend_from_slice(b"\" ");
}

/// A text of JSON. What is no UTF-8 is replaced.
pub(super) fn json(text: &[u8], out: &mut Vec<u8>) {
    if has_odd(text) {
        let text = String::from_utf8_lossy(text);
        // Writing into memory does not fail.
        serde_json::to_writer(&mut *out, &text).unwrap_or_default();
    } else {
        out.push(b'"');
        out.extend_from_slice(text);
        out.push(b'"');
    }
}

/// Whether anything in it cannot stand in quotes as it is.
fn has_odd(text: &[u8]) -> bool {
    // No early end, so that many bytes are looked at together.
    text.iter().fold(false, |odd, byte| odd | is_odd(*byte))
}

fn is_odd(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | 0..=0x1F | 0x7F..=0xFF)
}

/// The last digits of a number, as many as there is room for.
fn fill(room: &mut [u8], value: u64) {
    let mut rest = value;
    let mut pairs = room.rchunks_exact_mut(2);
    for pair in &mut pairs {
        pair.copy_from_slice(&PAIRS[(rest % 100) as usize]);
        rest /= 100;
    }
    if let [first] = pairs.into_remainder() {
        *first = digit(rest % 10);
    }
}

fn digit(value: u64) -> u8 {
    // Below 10.
    b'0' + value as u8
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};
    use std::time::Duration;

    use super::{connection, ip, json, moment, number, quoted, seconds, socket};

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn moments_are_written_as_iso_8601_does() {
        for (micros, expected) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400_000_001, "2000-02-29T00:00:00.000001Z"),
            (4_102_444_799_999_999, "2099-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(text(|out| moment(micros, out)), expected);
        }
        assert_eq!(text(|out| moment(u64::MAX, out)).len(), 27);
    }

    #[test]
    fn figures_are_written_as_the_library_writes_them() {
        let some = [0, 1, 9, 10, 11, 99, 100, 101, 999, 1_000, 10_050, 65_535];
        for value in some.into_iter().chain([1 << 40, u64::MAX / 10, u64::MAX]) {
            assert_eq!(text(|out| number(value, out)), value.to_string());
            let expected = format!("TID_{value:032x}");
            assert_eq!(text(|out| connection(value, out)), expected);
            let took = Duration::from_micros(value);
            let expected = format!("{}.{:06}", took.as_secs(), took.subsec_micros());
            assert_eq!(text(|out| seconds(took, out)), expected);
        }
        for address in [
            "0.0.0.0:0",
            "255.1.20.99:65535",
            "[::1]:80",
            "[fe80::a%3]:1",
        ] {
            let address: SocketAddr = address.parse().expect("valid");
            assert_eq!(text(|out| socket(address, out)), address.to_string());
            let host: IpAddr = address.ip();
            assert_eq!(text(|out| ip(host, out)), host.to_string());
        }
    }

    #[test]
    fn texts_in_quotes_end_where_they_should() {
        let odd = b"a \"b\" \\ \n\x7F \xC3\xA4 \xFF";
        let expected = r#""a \x22b\x22 \x5C \x0A\x7F \xC3\xA4 \xFF" "#;
        assert_eq!(text(|out| quoted(&[odd], out)), expected);
        assert_eq!(text(|out| quoted(&[b"a", b" ", b"b"], out)), "\"a b\" ");
        for bytes in [&odd[..], b"plain", b""] {
            let written = text(|out| json(bytes, out));
            let read: String = serde_json::from_str(&written).expect("JSON");
            assert_eq!(read, String::from_utf8_lossy(bytes));
        }
    }
}
