//! Fields of responses, to write (RFC 7541 §6).
//!
//! Names come from the static table, values go as they are: nothing is remembered between two
//! responses, so no client can make us keep anything, and nothing that one response holds shows in
//! the length of another. It costs some bytes and saves most of the work.

use super::table::STATIC;

/// The place of `:status` in the static table.
const STATUS: u8 = 8;

/// Writes `:status`.
pub fn status(out: &mut Vec<u8>, status: u16) {
    let known: Option<u8> = match status {
        200 => Some(0),
        204 => Some(1),
        206 => Some(2),
        304 => Some(3),
        400 => Some(4),
        404 => Some(5),
        500 => Some(6),
        _ => None,
    };
    match known {
        Some(place) => out.push(0x80 | (STATUS + place)),
        None => {
            out.extend_from_slice(&[STATUS, 3]);
            for digit in [status / 100, status / 10 % 10, status % 10] {
                out.push(b'0' + digit as u8);
            }
        }
    }
}

/// Writes a field. Its name may be in any case; it is written in small letters.
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    // Once for all that follows: each of the two numbers has up to five bytes.
    out.reserve(name.len() + value.len() + 11);
    // Without indexing (§6.2.2).
    match place(name) {
        Some(index) => number(out, 0, 4, index),
        None => {
            out.push(0);
            number(out, 0, 7, name.len());
            out.extend(name.iter().map(u8::to_ascii_lowercase));
        }
    }
    number(out, 0, 7, value.len());
    out.extend_from_slice(value);
}

/// Says that nothing is remembered from now on: for a peer that wants a smaller table than it had
/// (§4.2).
pub(crate) fn table_size_zero(out: &mut Vec<u8>) {
    out.push(0x20);
}

/// §5.1.
#[inline]
fn number(out: &mut Vec<u8>, first: u8, prefix: u32, number: usize) {
    let max = (1 << prefix) - 1;
    if number < max {
        out.push(first | number as u8);
        return;
    }
    out.push(first | max as u8);
    let mut rest = number - max;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Where the names of responses begin in the static table.
const FIRST: usize = 15;

/// The length of the longest name there.
const LONGEST: usize = 27;

/// The indexes of the names of each length, each with the last letter of its name, which tells
/// nearly all of them apart; 0: there are no more.
const BY_LENGTH: [[(u8, u8); 6]; LONGEST + 1] = {
    let mut indexes = [[(0, 0); 6]; LONGEST + 1];
    let mut index = FIRST;
    while index <= STATIC.len() {
        let name = STATIC[index - 1].0;
        let places = &mut indexes[name.len()];
        let mut place = 0;
        while places[place].0 != 0 {
            place += 1;
        }
        places[place] = (index as u8, name[name.len() - 1]);
        index += 1;
    }
    indexes
};

/// The index of a name in the static table.
fn place(name: &[u8]) -> Option<usize> {
    // All of them end with a letter, of which this bit is the case.
    let last = name.last()? | 0x20;
    for (index, end) in BY_LENGTH.get(name.len())? {
        let index = usize::from(*index);
        if index == 0 {
            break;
        }
        if *end == last && same(STATIC[index - 1].0, name) {
            return Some(index);
        }
    }
    None
}

/// Whether a name, which is a token, is this one, which is of the same length, in small letters and
/// hyphens. Of no other character of a token is it the bit for small letters that tells it from
/// one of these.
fn same(known: &[u8], name: &[u8]) -> bool {
    // No early end, so that many bytes are looked at together.
    let pairs = known.iter().zip(name);
    pairs.fold(0, |differ, (known, byte)| differ | ((byte | 0x20) ^ known)) == 0
}

#[cfg(test)]
mod tests {
    use super::super::Decoder;
    use super::{field, status, table_size_zero};

    #[test]
    fn what_is_written_is_read_as_it_was() {
        let long = "v".repeat(5_000);
        let fields = [
            ("content-type", "text/html"),
            ("X-Own", ""),
            ("Www-Authenticate", "Basic"),
            ("location", long.as_str()),
            ("a-name-that-is-longer-than-any-in-the-table", "x"),
        ];
        let mut decoder = Decoder::new();
        for code in [100, 200, 204, 206, 304, 400, 404, 500, 503, 999] {
            let mut block = Vec::new();
            table_size_zero(&mut block);
            status(&mut block, code);
            for (name, value) in fields {
                field(&mut block, name.as_bytes(), value.as_bytes());
            }
            let mut read = Vec::new();
            let decoded = decoder.decode(&block, |name, value| {
                read.push((name.to_vec(), value.to_vec()));
            });
            assert_eq!(decoded, Ok(()));
            let (head, rest) = read.split_first().expect("a status");
            assert_eq!(head.0, b":status");
            assert_eq!(head.1, code.to_string().as_bytes());
            let expected = fields.map(|(name, value)| {
                let name = name.to_ascii_lowercase().into_bytes();
                (name, value.as_bytes().to_vec())
            });
            assert_eq!(rest, expected);
        }
    }

    #[test]
    fn names_of_the_table_are_one_or_two_bytes() {
        let mut out = Vec::new();
        field(&mut out, b"Content-Type", b"");
        assert_eq!(out, [0x0F, 16, 0]);
        out.clear();
        field(&mut out, b"accept-charset", b"x");
        assert_eq!(out, [0x0F, 0, 1, b'x']);
    }
}
