//! Figures, moments, addresses and texts of logs, written in place: without a block of memory, and
//! without the work of `fmt`. Pure.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::room::Room;

/// Numbers below this have at most eight digits.
const EIGHT_DIGITS: u64 = 100_000_000;

/// The digits of the largest number.
const DIGITS: usize = 20;

/// The longest text of an address: IPv6 with a scope and a port.
const ADDRESS: usize = 64;

/// `0` eight times.
const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);

/// What stands for nothing, as ALB has it.
pub(super) fn or_dash(text: &[u8]) -> &[u8] {
    if text.is_empty() { b"-" } else { text }
}

/// The eight digits of a number below 100,000,000 as bytes from 0 to 9, the first in the lowest
/// byte.
#[inline(always)]
fn digits(value: u64) -> u64 {
    // All parts are split at the same time: fours of digits into twos, and those into ones. To
    // multiply and to shift is to divide, and exact for numbers as small as these.
    let fours = (value / 10_000) | ((value % 10_000) << 32);
    let hundreds = ((fours * 5_243) >> 19) & 0x0000_007F_0000_007F;
    let twos = hundreds | ((fours - hundreds * 100) << 16);
    let tens = ((twos * 103) >> 10) & 0x000F_000F_000F_000F;
    tens | ((twos - tens * 10) << 8)
}

/// 00 to 99: two digits for one division. As many as make every index of seven bits one of these.
const PAIRS: [[u8; 2]; 128] = {
    let mut pairs = [[b'0'; 2]; 128];
    let mut value = 0;
    while value < 100 {
        pairs[value] = [b'0' + (value / 10) as u8, b'0' + (value % 10) as u8];
        value += 1;
    }
    pairs
};

/// Two digits of a number below 100.
#[inline(always)]
fn two(value: u32) -> [u8; 2] {
    PAIRS[value as usize % PAIRS.len()]
}

/// Four digits of a number below 10,000.
#[inline(always)]
fn four(value: u32) -> [u8; 4] {
    let high = value / 100;
    let ([a, b], [c, d]) = (two(high), two(value - 100 * high));
    [a, b, c, d]
}

/// Six digits of a number below 1,000,000.
#[inline(always)]
fn six(value: u32) -> [u8; 6] {
    let high = value / 10_000;
    let ([a, b], [c, d, e, f]) = (two(high), four(value - 10_000 * high));
    [a, b, c, d, e, f]
}

/// The text of a number below 10,000, and its length.
#[inline(always)]
fn tiny(value: u32) -> ([u8; 4], usize) {
    let zeros = usize::from(value < 1_000) + usize::from(value < 100) + usize::from(value < 10);
    let text = u32::from_le_bytes(four(value)) >> (8 * zeros);
    (text.to_le_bytes(), 4 - zeros)
}

/// The text of a number below 100,000,000, and its length.
#[inline(always)]
fn short(value: u64) -> ([u8; 8], usize) {
    let digits = digits(value);
    // 0 has a digit, too.
    let zeros = (digits.trailing_zeros() / 8).min(7);
    let text = (digits | ZEROS) >> (8 * zeros);
    (text.to_le_bytes(), 8 - zeros as usize)
}

/// The text of any number is at the end of this, from that place on.
#[inline(never)]
fn long(value: u64) -> ([u8; DIGITS], usize) {
    let mut text = [b'0'; DIGITS];
    let (mut rest, mut begin) = (value, DIGITS);
    loop {
        begin -= 1;
        text[begin] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return (text, begin);
        }
    }
}

/// Eight hex digits, the first in the lowest byte.
#[inline(always)]
fn hex(value: u32) -> u64 {
    // The bytes apart, then their halves.
    let bytes = u64::from(value.swap_bytes());
    let bytes = (bytes | (bytes << 16)) & 0x0000_FFFF_0000_FFFF;
    let bytes = (bytes | (bytes << 8)) & 0x00FF_00FF_00FF_00FF;
    let halves = ((bytes >> 4) | (bytes << 8)) & 0x0F0F_0F0F_0F0F_0F0F;
    // `a` to `f` do not come right behind `9`.
    let letters = ((halves + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    (halves | ZEROS) + letters * u64::from(b'a' - b'9' - 1)
}

/// 0 to 255, each with a point behind it.
const OCTETS: [[u8; 4]; 256] = {
    let mut octets = [[b'.'; 4]; 256];
    let mut value = 0;
    while value < 256 {
        let (mut at, mut rest, mut power) = (0, value, 100);
        while power > 0 {
            if value >= power || power == 1 {
                octets[value][at] = b'0' + (rest / power) as u8;
                at += 1;
            }
            rest %= power;
            power /= 10;
        }
        value += 1;
    }
    octets
};

/// The identifier of a connection.
#[inline(always)]
fn identifier(number: u64) -> [u8; 36] {
    let mut text = *b"TID_00000000000000000000000000000000";
    text[20..28].copy_from_slice(&hex((number >> 32) as u32).to_le_bytes());
    text[28..].copy_from_slice(&hex(number as u32).to_le_bytes());
    text
}

/// The text of what writes itself, and its length.
#[inline(never)]
fn shown(address: &dyn std::fmt::Display) -> ([u8; ADDRESS], usize) {
    let mut text = [0; ADDRESS];
    let mut rest = &mut text[..];
    // There is room for the longest.
    write!(rest, "{address}").unwrap_or_default();
    let left = rest.len();
    (text, ADDRESS - left)
}

/// A second up to the point behind it, as ISO 8601 writes it: `2018-07-02T22:23:00.`. Lines come
/// many in a second, so it is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Second {
    number: u64,
    text: [u8; 20],
}

impl Default for Second {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Second {
    #[inline(never)]
    fn new(number: u64) -> Self {
        let (days, second) = (number / 86_400, number % 86_400);
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
        let mut text = *b"0000-00-00T00:00:00.";
        fill(&mut text[..4], year);
        fill(&mut text[5..7], month);
        fill(&mut text[8..10], day);
        fill(&mut text[11..13], second / 3_600);
        fill(&mut text[14..16], second / 60 % 60);
        fill(&mut text[17..19], second % 60);
        Self { number, text }
    }

    #[inline(always)]
    fn of(&mut self, number: u64) -> &[u8; 20] {
        if self.number != number {
            *self = Self::new(number);
        }
        &self.text
    }
}

/// The last digits of a number, as many as there is room for.
fn fill(room: &mut [u8], value: u64) {
    let mut rest = value;
    for place in room.iter_mut().rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// Whether all of it can stand in quotes as it is.
pub(super) fn is_plain(text: &[u8]) -> bool {
    let Some(last) = text.last_chunk() else {
        return !text.iter().any(|byte| is_odd(*byte));
    };
    // Eight at a time, and no early end. The last ones are looked at, though some of them may have
    // been seen before.
    let (chunks, _) = text.as_chunks();
    let seen = chunks
        .iter()
        .fold(suspects(last), |seen, chunk| seen | suspects(chunk));
    seen & every(0x80) == 0
}

/// That byte eight times.
const fn every(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// Has the highest bit of a byte set if one of these bytes is odd.
#[inline(always)]
fn suspects(bytes: &[u8; 8]) -> u64 {
    let bytes = u64::from_le_bytes(*bytes);
    // In bytes of ASCII that bit is free: what is below a space, or equal to the other one (0 is what
    // is left of it), borrows it, and 0x7F carries into it.
    let below = |bytes: u64, bound| bytes.wrapping_sub(every(bound));
    bytes
        | below(bytes, b' ')
        | below(bytes ^ every(b'"'), 1)
        | below(bytes ^ every(b'\\'), 1)
        | bytes.wrapping_add(every(1))
}

fn is_odd(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | 0..=0x1F | 0x7F..=0xFF)
}

impl Room<'_> {
    /// A whole number.
    #[inline(always)]
    pub(super) fn number(&mut self, value: u64) {
        if value < 10_000 {
            let (text, length) = tiny(value as u32);
            self.put_first(&text, length);
        } else if value < EIGHT_DIGITS {
            let (text, length) = short(value);
            self.put_first(&text, length);
        } else {
            let (text, begin) = long(value);
            self.put_all(&text[begin..]);
        }
    }

    /// Seconds with six digits behind the point, as ALB has them.
    #[inline(always)]
    pub(super) fn seconds(&mut self, took: Duration) {
        let (whole, part) = (took.as_secs(), took.subsec_micros());
        if whole < 10 {
            let [a, b, c, d, e, f] = six(part);
            self.put(&[b'0' + whole as u8, b'.', a, b, c, d, e, f]);
        } else {
            self.number(whole);
            self.put(b".");
            self.put(&six(part));
        }
    }

    /// The identifier of a connection.
    #[inline(always)]
    pub(super) fn connection(&mut self, number: u64) {
        self.put(&identifier(number));
    }

    /// An address of a host.
    #[inline(always)]
    pub(super) fn ip(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => {
                let [first, second, third, fourth] = ip.octets();
                for octet in [first, second, third] {
                    self.put_first(&OCTETS[usize::from(octet)], places(octet) + 1);
                }
                self.put_first(&OCTETS[usize::from(fourth)], places(fourth));
            }
            // Its short form is work that is left to the library.
            IpAddr::V6(ip) => {
                let (text, length) = shown(&ip);
                self.put_all(&text[..length]);
            }
        }
    }

    /// An address with its port.
    #[inline(always)]
    pub(super) fn socket(&mut self, address: SocketAddr) {
        match address {
            SocketAddr::V4(address) => {
                self.ip(IpAddr::V4(*address.ip()));
                self.put(b":");
                let (text, length) = short(address.port().into());
                self.put_first(&text, length);
            }
            // With what belongs to its scope.
            SocketAddr::V6(address) => {
                let (text, length) = shown(&address);
                self.put_all(&text[..length]);
            }
        }
    }

    /// A moment in microseconds since 1970-01-01, as ISO 8601 writes it.
    #[inline(always)]
    pub(super) fn moment(&mut self, micros: u64, second: &mut Second) {
        self.put(second.of(micros / 1_000_000));
        self.put(&six((micros % 1_000_000) as u32));
        self.put(b"Z");
    }
}

/// How many digits an octet has.
#[inline(always)]
fn places(octet: u8) -> usize {
    1 + usize::from(octet > 9) + usize::from(octet > 99)
}

/// What stands in quotes, with what would end them or the line escaped as ALB does it (`\x22`).
#[cold]
#[inline(never)]
pub(super) fn escape_alb<'r>(text: &[u8], mut room: Room<'r>) -> Room<'r> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text {
        if is_odd(*byte) {
            let (high, low) = (usize::from(byte >> 4), usize::from(byte & 0xF));
            room.put(&[b'\\', b'x', HEX[high], HEX[low]]);
        } else {
            room.put(&[*byte]);
        }
    }
    room
}

/// What stands in quotes in JSON (RFC 8259 §7). What is no UTF-8 is replaced.
#[cold]
#[inline(never)]
pub(super) fn escape_json<'r>(text: &[u8], mut room: Room<'r>) -> Room<'r> {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for chunk in text.utf8_chunks() {
        for byte in chunk.valid().bytes() {
            match byte {
                b'"' | b'\\' => room.put(&[b'\\', byte]),
                b'\n' => room.put(b"\\n"),
                b'\r' => room.put(b"\\r"),
                b'\t' => room.put(b"\\t"),
                0x08 => room.put(b"\\b"),
                0x0C => room.put(b"\\f"),
                0..=0x1F => {
                    room.put(b"\\u00");
                    room.put(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0xF)]]);
                }
                byte => room.put(&[byte]),
            }
        }
        if !chunk.invalid().is_empty() {
            room.put_all("\u{FFFD}".as_bytes());
        }
    }
    room
}

/// A whole number, behind other text.
pub(crate) fn number(value: u64, out: &mut Vec<u8>) {
    if value < EIGHT_DIGITS {
        let (text, length) = short(value);
        out.extend_from_slice(&text[..length]);
    } else {
        let (text, begin) = long(value);
        out.extend_from_slice(&text[begin..]);
    }
}

/// Appends to a vector what is at most that long.
fn append<const N: usize>(out: &mut Vec<u8>, write: impl FnOnce(&mut Room<'_>)) {
    let mut text = [0; N];
    let mut room = Room::new(&mut text);
    write(&mut room);
    let left = room.left().unwrap_or_default();
    out.extend_from_slice(&text[..N - left]);
}

/// Seconds with six digits behind the point, as ALB has them, behind other text.
pub(super) fn seconds(took: Duration, out: &mut Vec<u8>) {
    append::<{ DIGITS + 8 }>(out, |room| room.seconds(took));
}

/// The identifier of a connection, behind other text.
pub(super) fn connection(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&identifier(number));
}

/// An address with its port, behind other text.
pub(super) fn socket(address: SocketAddr, out: &mut Vec<u8>) {
    append::<ADDRESS>(out, |room| room.socket(address));
}

/// A moment in microseconds since 1970-01-01, as ISO 8601 writes it, behind other text.
pub(super) fn moment(micros: u64, out: &mut Vec<u8>) {
    append::<32>(out, |room| room.moment(micros, &mut Second::default()));
}

/// Texts as one in quotes, escaped as ALB does it, and a space, behind other text.
pub(super) fn quoted(texts: &[&[u8]], out: &mut Vec<u8>) {
    out.push(b'"');
    for text in texts {
        if is_plain(text) {
            out.extend_from_slice(text);
            continue;
        }
        // Four bytes for one.
        let begin = out.len();
        out.resize(begin + 4 * text.len(), 0);
        let left = escape_alb(text, Room::new(&mut out[begin..])).left();
        out.truncate(out.len() - left.unwrap_or_default());
    }
    out.extend_from_slice(b"\" ");
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};
    use std::time::Duration;

    use super::{Room, Second, escape_alb, escape_json, is_plain};

    /// What is written into room of this length; None if there was too little.
    fn within(length: usize, write: impl for<'r> FnOnce(Room<'r>) -> Room<'r>) -> Option<String> {
        let mut bytes = vec![0; length];
        let left = write(Room::new(&mut bytes)).left()?;
        bytes.truncate(length - left);
        Some(String::from_utf8(bytes).expect("text"))
    }

    fn text(write: impl FnOnce(&mut Room<'_>)) -> String {
        let written = within(1_000, |mut room| {
            write(&mut room);
            room
        });
        written.expect("room")
    }

    fn appended(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = b"before ".to_vec();
        write(&mut out);
        let text = String::from_utf8(out).expect("text");
        text.strip_prefix("before ").expect("it stays").to_owned()
    }

    #[test]
    fn moments_are_written_as_iso_8601_does() {
        for (micros, expected) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400_000_001, "2000-02-29T00:00:00.000001Z"),
            (4_102_444_799_999_999, "2099-12-31T23:59:59.999999Z"),
        ] {
            let mut second = Second::default();
            assert_eq!(text(|room| room.moment(micros, &mut second)), expected);
            assert_eq!(appended(|out| super::moment(micros, out)), expected);
        }
        assert_eq!(appended(|out| super::moment(u64::MAX, out)).len(), 27);
    }

    #[test]
    fn the_second_that_was_kept_is_that_of_each_moment() {
        let mut kept = Second::default();
        let begin = 1_530_570_179_999_998;
        // Over the end of a second and of a minute, back again as a clock that is set does, and far.
        for step in [0, 1, 2, 3, 1_000_000, 999_999, 2, 1, 60_000_000, 0] {
            let fresh = appended(|out| super::moment(begin + step, out));
            assert_eq!(text(|room| room.moment(begin + step, &mut kept)), fresh);
        }
        assert_eq!(
            text(|room| room.moment(begin + 2, &mut kept)),
            "2018-07-02T22:23:00.000000Z"
        );
    }

    #[test]
    fn figures_are_written_as_the_library_writes_them() {
        let around = |value: u64| [value.saturating_sub(1), value, value.saturating_add(1)];
        let powers = (0..20).map(|power| 10_u64.pow(power)).flat_map(around);
        let others = [12_345_678, 90_909_090, 9_999_999, 1 << 40, u64::MAX];
        // All that differ in the ways in which numbers are split.
        let dense = (0..100_000_000).step_by(9_973);
        for value in powers.chain(others).chain(0..20_000).chain(dense) {
            let expected = value.to_string();
            assert_eq!(text(|room| room.number(value)), expected);
            assert_eq!(appended(|out| super::number(value, out)), expected);
            let expected = format!("TID_{value:032x}");
            assert_eq!(text(|room| room.connection(value)), expected);
            assert_eq!(appended(|out| super::connection(value, out)), expected);
            let took = Duration::from_micros(value);
            let expected = format!("{}.{:06}", took.as_secs(), took.subsec_micros());
            assert_eq!(text(|room| room.seconds(took)), expected);
            assert_eq!(appended(|out| super::seconds(took, out)), expected);
        }
    }

    #[test]
    fn addresses_are_written_as_the_library_writes_them() {
        let octets = (0..=255).map(|octet| SocketAddr::from(([octet, 255 - octet, 7, octet], 80)));
        let longest = "[1111:2222:3333:4444:5555:6666:7777:8888%4294967295]:65535";
        let others = [
            "0.0.0.0:0",
            "255.1.20.99:65535",
            "[::1]:80",
            "[fe80::a%3]:1",
            longest,
        ];
        let others = others.map(|address| address.parse().expect("valid"));
        for address in octets.chain(others) {
            assert_eq!(text(|room| room.socket(address)), address.to_string());
            assert_eq!(
                appended(|out| super::socket(address, out)),
                address.to_string()
            );
            let host: IpAddr = address.ip();
            assert_eq!(text(|room| room.ip(host)), host.to_string());
        }
    }

    #[test]
    fn whatever_cannot_stand_in_quotes_is_seen_wherever_it_stands() {
        for length in [0, 1, 15, 16, 17, 31, 32, 33, 100] {
            let plain = vec![b'a'; length];
            assert!(is_plain(&plain));
            for byte in 0..=255 {
                let is_odd = !matches!(byte, 0x20..0x7F) || matches!(byte, b'"' | b'\\');
                for place in 0..length {
                    let mut text = plain.clone();
                    text[place] = byte;
                    assert_eq!(is_plain(&text), !is_odd, "{byte} at {place} of {length}");
                }
            }
        }
    }

    #[test]
    fn texts_in_quotes_end_where_they_should() {
        let odd = b"a \"b\" \\ \n\x7F \xC3\xA4 \xFF";
        let expected = r"a \x22b\x22 \x5C \x0A\x7F \xC3\xA4 \xFF";
        assert_eq!(
            appended(|out| super::quoted(&[b"a", b" ", odd], out)),
            format!("\"a {expected}\" ")
        );
        assert_eq!(
            within(100, |room| escape_alb(odd, room)).as_deref(),
            Some(expected)
        );
        assert_eq!(within(10, |room| escape_alb(odd, room)), None);
    }

    #[test]
    fn texts_of_json_are_escaped_as_the_library_does_it() {
        let all: Vec<u8> = (0..=255)
            .chain("äß€😀".bytes())
            .chain([0xE2, 0x82])
            .collect();
        for text in [&all[..], b"a\"b\\c\xFF\xFFd", b"plain", b""] {
            let expected = serde_json::to_string(&String::from_utf8_lossy(text)).expect("text");
            let written = within(2_000, |room| escape_json(text, room)).expect("room");
            assert_eq!(format!("\"{written}\""), expected);
        }
        assert_eq!(within(10, |room| escape_json(&all, room)), None);
    }
}
