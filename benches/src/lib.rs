//! What the comparison's origins, its load and its checks must agree on.
//!
//! The criterion benches live beside this crate's sources, the comparison with
//! other proxies in `src/compare`.

pub mod steady;

/// The body the origin answers at `/body/LEN`: letters in a fixed order, so that
/// a proxy that loses, repeats or moves bytes is noticed and not only one that
/// changes the length.
#[must_use]
pub fn body(len: usize) -> Vec<u8> {
    // 23 is prime to every buffer size in use: a block repeated or left out
    // shifts the letters after it.
    (b'a'..=b'w').cycle().take(len).collect()
}

/// A message of gRPC as it stands in a body: not compressed, its length, and itself.
///
/// # Panics
/// If the message has 4 GiB or more.
#[must_use]
pub fn grpc_message(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a message of a few bytes");
    let mut framed = vec![0];
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    framed
}

/// Reads the command line of an origin: `--listeners N --body LEN…`.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn origin_arguments(
    mut arguments: impl Iterator<Item = String>,
) -> Result<(usize, Vec<usize>), String> {
    let mut listeners = 1;
    let mut sizes = Vec::new();
    while let Some(argument) = arguments.next() {
        let value = arguments
            .next()
            .ok_or_else(|| format!("{argument} needs a value"))?;
        let number: usize = value
            .parse()
            .map_err(|_| format!("{argument} {value}: not a number"))?;
        match argument.as_str() {
            "--listeners" => listeners = number,
            "--body" => sizes.push(number),
            _ => return Err(format!("unknown option {argument}")),
        }
    }
    Ok((listeners, sizes))
}

#[cfg(test)]
mod tests {
    use super::{body, grpc_message, origin_arguments};

    #[test]
    fn a_body_has_the_asked_length_and_is_the_same_each_time() {
        assert_eq!(body(0), b"");
        assert_eq!(body(25), b"abcdefghijklmnopqrstuvwab");
        assert_eq!(body(65_536).len(), 65_536);
    }

    #[test]
    fn a_message_has_its_length_before_it() {
        assert_eq!(grpc_message(b""), [0, 0, 0, 0, 0]);
        assert_eq!(grpc_message(b"ab"), *b"\0\0\0\0\x02ab");
    }

    #[test]
    fn arguments_are_numbers_after_known_names() {
        let of = |words: &[&str]| origin_arguments(words.iter().map(ToString::to_string));
        assert_eq!(of(&["--listeners", "2", "--body", "9"]), Ok((2, vec![9])));
        assert!(of(&["--body"]).is_err());
        assert!(of(&["--body", "x"]).is_err());
        assert!(of(&["--port", "1"]).is_err());
    }
}
