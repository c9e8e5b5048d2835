//! What the comparison's origin and its checks must agree on.
//!
//! The criterion benches live beside this crate's sources, the comparison with
//! other proxies in `src/compare`.

/// The body the origin answers at `/body/LEN`: letters in a fixed order, so that
/// a proxy that loses, repeats or moves bytes is noticed and not only one that
/// changes the length.
#[must_use]
pub fn body(len: usize) -> Vec<u8> {
    // 23 is prime to every buffer size in use: a block repeated or left out
    // shifts the letters after it.
    (b'a'..=b'w').cycle().take(len).collect()
}

#[cfg(test)]
mod tests {
    use super::body;

    #[test]
    fn a_body_has_the_asked_length_and_is_the_same_each_time() {
        assert_eq!(body(0), b"");
        assert_eq!(body(25), b"abcdefghijklmnopqrstuvwab");
        assert_eq!(body(65_536).len(), 65_536);
    }
}
