//! What the comparison's origins, its load and its checks must agree on.
//!
//! The criterion benches live beside this crate's sources, the comparison with
//! other proxies in `src/compare`.

pub mod steady;
pub mod tls;

use std::time::Duration;

/// The key of the comparison's WebSockets and the answer to it (RFC 6455 §1.3).
pub const WEBSOCKET_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// See [`WEBSOCKET_KEY`].
pub const WEBSOCKET_ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Prints what a program that makes load has counted, for the comparison to read.
pub fn print_counts(latencies_us: &mut [u64], time: Duration, others: &[(&str, u64)]) {
    latencies_us.sort_unstable();
    let at = |share| percentile(latencies_us, share).unwrap_or(0);
    println!("done {}", latencies_us.len());
    println!("seconds {}", time.as_secs_f64());
    println!("p50 {}", at(0.5));
    println!("p99 {}", at(0.99));
    for (name, count) in others {
        println!("{name} {count}");
    }
}

/// The value below which `share` (0 to 1) of the sorted values lie, by nearest rank.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank is far below 2^52 and never negative"
)]
#[must_use]
pub fn percentile(sorted: &[u64], share: f64) -> Option<u64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

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

/// What an origin is asked to be.
#[derive(Debug, PartialEq, Eq)]
pub struct OriginPlan {
    /// Ports to listen on.
    pub listeners: usize,
    /// Sizes of bodies.
    pub sizes: Vec<usize>,
    /// Messages in an answer to `/stream/SIZE/COUNT`, for an origin with gRPC.
    pub streams: Vec<usize>,
    /// Listen on all addresses of the machine, for many targets on the loopback network.
    pub everywhere: bool,
}

impl OriginPlan {
    /// The address to listen on.
    #[must_use]
    pub fn address(&self) -> std::net::Ipv4Addr {
        if self.everywhere {
            std::net::Ipv4Addr::UNSPECIFIED
        } else {
            std::net::Ipv4Addr::LOCALHOST
        }
    }
}

/// Reads the command line of an origin: `--listeners N --body LEN… --stream COUNT… --everywhere 1`.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn origin_arguments(mut arguments: impl Iterator<Item = String>) -> Result<OriginPlan, String> {
    let mut plan = OriginPlan {
        listeners: 1,
        sizes: Vec::new(),
        streams: Vec::new(),
        everywhere: false,
    };
    while let Some(argument) = arguments.next() {
        let value = arguments
            .next()
            .ok_or_else(|| format!("{argument} needs a value"))?;
        let number: usize = value
            .parse()
            .map_err(|_| format!("{argument} {value}: not a number"))?;
        match argument.as_str() {
            "--listeners" => plan.listeners = number,
            "--body" => plan.sizes.push(number),
            "--stream" => plan.streams.push(number),
            "--everywhere" => plan.everywhere = number == 1,
            _ => return Err(format!("unknown option {argument}")),
        }
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::{OriginPlan, body, grpc_message, origin_arguments, percentile};

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
        let plan = of(&["--listeners", "2", "--body", "9", "--stream", "3"]);
        assert_eq!(
            plan,
            Ok(OriginPlan {
                listeners: 2,
                sizes: vec![9],
                streams: vec![3],
                everywhere: false
            })
        );
        assert!(of(&["--body"]).is_err());
        assert!(of(&["--body", "x"]).is_err());
        assert!(of(&["--port", "1"]).is_err());
    }

    #[test]
    fn a_percentile_is_a_value_that_occurred() {
        let values: Vec<u64> = (1..=100).collect();
        assert_eq!(percentile(&values, 0.5), Some(50));
        assert_eq!(percentile(&values, 0.99), Some(99));
        assert_eq!(percentile(&[7], 0.99), Some(7));
        assert_eq!(percentile(&[], 0.5), None);
    }
}
