use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{CLOSE, Frames, masked_close};

/// A frame with so much content, its length in the shortest form.
fn frame(first: u8, masked: bool, length: usize) -> Vec<u8> {
    let mask = if masked { 0x80 } else { 0 };
    let mut bytes = vec![first];
    if let Ok(short @ 0..126) = u8::try_from(length) {
        bytes.push(mask | short);
    } else if let Ok(middle) = u16::try_from(length) {
        bytes.push(mask | 126);
        bytes.extend(middle.to_be_bytes());
    } else {
        bytes.push(mask | 127);
        bytes.extend((length as u64).to_be_bytes());
    }
    if masked {
        bytes.extend([1, 2, 3, 4]);
    }
    bytes.resize(bytes.len() + length, 0x88);
    bytes
}

#[test]
fn ends_of_frames_are_found_in_any_pieces() {
    let seed = 7;
    println!("seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    for masked in [false, true] {
        for _ in 0..200 {
            let mut stream = Vec::new();
            let mut ends = vec![0];
            for _ in 0..rng.random_range(1..8) {
                let length = match rng.random_range(0..6) {
                    0 => 0,
                    1 => 125,
                    2 => 126,
                    3 => 65_535,
                    4 => 65_536,
                    _ => rng.random_range(1..300),
                };
                // A first part, a middle one, a last one, a ping between them, with an extension.
                let first = [0x01, 0x00, 0x80, 0x89, 0xC2][rng.random_range(0..5)];
                let length = if first == 0x89 { length % 126 } else { length };
                stream.extend(frame(first, masked, length));
                ends.push(stream.len());
            }
            let mut frames = Frames::new(masked);
            let mut at = 0;
            while at < stream.len() {
                let size = match rng.random_range(0..3) {
                    0 => 1,
                    1 => rng.random_range(1..10),
                    _ => rng.random_range(1..70_000),
                };
                let end = (at + size).min(stream.len());
                let rest = frames.rest_of_frame(&stream[at..end]);
                let next = ends.iter().copied().find(|end| *end >= at).expect("an end");
                assert_eq!(rest, (next - at).min(end - at), "at {at} of {ends:?}");
                frames.advance(&stream[at..end]);
                at = end;
                assert_eq!(
                    frames.at_boundary(),
                    ends.contains(&at),
                    "at {at} of {ends:?}"
                );
                assert!(!frames.are_closed() && !frames.are_lost());
            }
        }
    }
}

#[test]
fn a_close_counts_once_it_is_whole() {
    let mut frames = Frames::of_server();
    frames.advance(&CLOSE[..3]);
    assert!(!frames.are_closed());
    frames.advance(&CLOSE[3..]);
    assert!(frames.are_closed() && frames.at_boundary());
    let mut frames = Frames::of_client();
    frames.advance(&masked_close([0xFF, 0x17, 0, 9]));
    assert!(frames.are_closed() && frames.at_boundary());
    let mut empty = Frames::of_server();
    empty.advance(&[0x88, 0]);
    assert!(empty.are_closed() && empty.at_boundary());
}

#[test]
fn a_masked_close_says_1001() {
    let close = masked_close([0xA5, 0x5A, 1, 2]);
    assert_eq!([close[6] ^ 0xA5, close[7] ^ 0x5A], 1001_u16.to_be_bytes());
}

#[test]
fn what_is_no_websocket_has_no_ends_of_frames() {
    let huge = [[0x82, 127].as_slice(), &[0xFF; 8]].concat();
    let long = [[0x82, 127].as_slice(), &[0; 6], &[1, 0]].concat();
    for (masked, bytes) in [
        // Masked where it must not be, and the other way round (§5.1).
        (false, frame(0x81, true, 5)),
        (true, frame(0x81, false, 5)),
        // A long form for a short length, and one beyond 63 bits (§5.2).
        (false, vec![0x82, 126, 0, 125]),
        (false, long),
        (false, huge),
        // A control frame in parts, or with too much in it (§5.5).
        (false, vec![0x09, 1]),
        (false, vec![0x88, 126, 0, 126]),
    ] {
        let mut frames = Frames::new(masked);
        frames.advance(&bytes);
        assert!(frames.are_lost() && !frames.at_boundary(), "{bytes:02x?}");
        frames.advance(&CLOSE);
        assert!(frames.are_lost() && !frames.are_closed());
        assert_eq!(frames.rest_of_frame(&CLOSE), 4, "all is of one piece");
    }
}
