//! The Huffman code of HPACK (RFC 7541 Appendix B), to read. Pure.
//!
//! The code is canonical: the lengths of its codes tell the codes. Most are short and are found by
//! the next bits at once; the others by their length.

/// How long the code of each byte is, and that of the end (256), in bits.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

/// The end, which no string may hold.
const END: u16 = 256;

/// Codes of up to so many bits are found by one look. Nearly all of what heads hold.
const FAST: u32 = 10;

/// The length of the longest code.
const LONGEST: usize = 30;

struct Tables {
    /// For each value of the next [`FAST`] bits, the byte whose code they begin with and its length;
    /// 0: it is longer.
    fast: [(u8, u8); 1 << FAST],
    /// For each length, the first code of that length, how many there are, and where they begin in
    /// `sorted`.
    first: [u32; LONGEST + 1],
    count: [u32; LONGEST + 1],
    offset: [u32; LONGEST + 1],
    /// Bytes by the length of their codes, then by value.
    sorted: [u16; 257],
}

static TABLES: Tables = tables();

const fn tables() -> Tables {
    let mut tables = Tables {
        fast: [(0, 0); 1 << FAST],
        first: [0; LONGEST + 1],
        count: [0; LONGEST + 1],
        offset: [0; LONGEST + 1],
        sorted: [0; 257],
    };
    let (mut code, mut place, mut length) = (0_u32, 0, 1);
    while length <= LONGEST {
        code <<= 1;
        tables.first[length] = code;
        tables.offset[length] = place as u32;
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                tables.sorted[place] = symbol as u16;
                if length as u32 <= FAST {
                    let shift = FAST - length as u32;
                    let mut rest = 0;
                    while rest < 1 << shift {
                        tables.fast[((code << shift) | rest) as usize] =
                            (symbol as u8, length as u8);
                        rest += 1;
                    }
                }
                place += 1;
                code += 1;
            }
            symbol += 1;
        }
        tables.count[length] = code - tables.first[length];
        length += 1;
    }
    tables
}

/// Appends what a string says.
///
/// # Errors
/// If it is none (RFC 7541 §5.2): it holds the end, or what is left over at its end is no padding.
pub(super) fn decode(mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ()> {
    let start = out.len();
    // No code is shorter than 5 bits.
    out.resize(start + bytes.len() * 8 / 5, 0);
    let room = &mut out[start..];
    let mut at = 0;
    let (mut bits, mut have) = (0_u64, 0_u32);
    loop {
        if have <= 32
            && let Some((next, rest)) = bytes.split_first_chunk::<4>()
        {
            bits |= u64::from(u32::from_be_bytes(*next)) << (32 - have);
            have += 32;
            bytes = rest;
        }
        while have <= 56
            && let Some((byte, rest)) = bytes.split_first()
        {
            bits |= u64::from(*byte) << (56 - have);
            have += 8;
            bytes = rest;
        }
        while have >= FAST {
            let (symbol, length) = TABLES.fast[(bits >> (64 - FAST)) as usize];
            if length == 0 {
                break;
            }
            room[at] = symbol;
            at += 1;
            bits <<= length;
            have -= u32::from(length);
        }
        // A code that is longer is whole in so many bits, or with the last ones.
        if have < LONGEST as u32 && !bytes.is_empty() {
            continue;
        }
        if have == 0 {
            break;
        }
        // What is missing reads as padding does.
        let (symbol, length) = next(bits | u64::MAX.checked_shr(have).unwrap_or(0));
        if length > have || symbol == END {
            let is_padding = have < 8 && bits >> (64 - have) == (1 << have) - 1;
            if !is_padding {
                return Err(());
            }
            break;
        }
        // Not the end, so it is a byte.
        room[at] = symbol as u8;
        at += 1;
        bits <<= length;
        have -= length;
    }
    out.truncate(start + at);
    Ok(())
}

/// The symbol whose code these bits begin with, and its length.
fn next(window: u64) -> (u16, u32) {
    let (symbol, length) = TABLES.fast[(window >> (64 - FAST)) as usize];
    if length > 0 {
        return (symbol.into(), length.into());
    }
    for length in FAST as usize + 1..=LONGEST {
        let code = (window >> (64 - length)) as u32;
        let place = code - TABLES.first[length];
        if place < TABLES.count[length] {
            let symbol = TABLES.sorted[(TABLES.offset[length] + place) as usize];
            return (symbol, length as u32);
        }
    }
    // The code is complete: there is no other.
    (END, LONGEST as u32)
}

#[cfg(test)]
mod tests {
    use super::decode;

    fn read(bytes: &[u8]) -> Result<Vec<u8>, ()> {
        let mut out = Vec::new();
        decode(bytes, &mut out).map(|()| out)
    }

    #[test]
    fn the_strings_of_the_rfc_are_read() {
        // RFC 7541 Appendix C.4 and C.6.
        let www = [
            0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
        ];
        assert_eq!(read(&www).as_deref(), Ok(&b"www.example.com"[..]));
        let date = [
            0xd0, 0x7a, 0xbe, 0x94, 0x10, 0x54, 0xd4, 0x44, 0xa8, 0x20, 0x05, 0x95, 0x04, 0x0b,
            0x81, 0x66, 0xe0, 0x82, 0xa6, 0x2d, 0x1b, 0xff,
        ];
        let text = &b"Mon, 21 Oct 2013 20:13:21 GMT"[..];
        assert_eq!(read(&date).as_deref(), Ok(text));
        assert_eq!(read(&[]).as_deref(), Ok(&b""[..]));
    }

    #[test]
    fn what_is_left_over_must_be_padding() {
        // "a" is 00011; three ones pad it.
        assert_eq!(read(&[0b0001_1111]).as_deref(), Ok(&b"a"[..]));
        assert_eq!(read(&[0b0001_1110]), Err(()), "a zero in it");
        assert_eq!(read(&[0b0001_1111, 0xFF]), Err(()), "a byte of it");
        assert_eq!(read(&[0xFF; 4]), Err(()), "the end");
    }
}
