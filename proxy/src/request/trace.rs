//! What a request is traced by: ALB's `X-Amzn-Trace-Id` and W3C trace context. Pure.

use std::ops::Range;

use super::headers::push_field;
use crate::http1::field::{Field, Kind, is, kind};

/// ALB's name for its field.
pub const TRACE_ID: &str = "X-Amzn-Trace-Id";

/// Heads beyond this many bytes get a fresh `Root` in place of what the client sent (ALB).
const KEPT_MAX: usize = 7 * 1024;

/// What makes an identifier the only one: when, and 96 random bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed {
    /// Seconds since 1970-01-01.
    pub epoch: u32,
    /// Random.
    pub random: [u8; 12],
}

/// The length of [`Seed::text`].
const TEXT: usize = 35;

impl Seed {
    /// `1-58337281-1d84f3d73c47ec4e58577259`: ALB's form.
    fn text(self) -> [u8; TEXT] {
        let mut text = [b'-'; TEXT];
        text[0] = b'1';
        put_hex(&mut text[2..10], &self.epoch.to_be_bytes());
        put_hex(&mut text[11..], &self.random);
        text
    }

    fn push(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.text());
    }
}

/// Each byte in hex.
const HEX: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    table
};

/// Writes bytes as hex digits, two for each.
fn put_hex(place: &mut [u8], bytes: &[u8]) {
    for (pair, byte) in place.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&HEX[usize::from(*byte)]);
    }
}

fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    let at = out.len();
    out.resize(at + 2 * bytes.len(), 0);
    put_hex(&mut out[at..], bytes);
}

/// Writes the field for a target. `sent` is what the client sent, `head` the size of its head.
///
/// - Without it, and with a large head: `Root=…`.
/// - With a `Self`, which another load balancer set: that part is replaced.
/// - With a `Root`: `Self=…` comes before it. Neither: `Root=…` does. All other parts are kept.
///
/// Tells where its value stands.
pub fn push_trace_id(
    out: &mut Vec<u8>,
    sent: Option<&[u8]>,
    head: usize,
    seed: Seed,
) -> Range<usize> {
    out.extend_from_slice(TRACE_ID.as_bytes());
    out.extend_from_slice(b": ");
    let begin = out.len();
    let sent = sent.filter(|sent| !sent.is_empty() && head <= KEPT_MAX);
    match sent {
        None => {
            out.extend_from_slice(b"Root=");
            seed.push(out);
        }
        Some(sent) if part(sent, b"Self=").is_some() => {
            let mut written = false;
            for (index, member) in sent.split(|byte| *byte == b';').enumerate() {
                if index > 0 {
                    out.push(b';');
                }
                if !written && begins(member, b"Self=") {
                    written = true;
                    out.extend_from_slice(b"Self=");
                    seed.push(out);
                } else {
                    out.extend_from_slice(member);
                }
            }
        }
        Some(sent) => {
            let name: &[u8] = if part(sent, b"Root=").is_some() {
                b"Self="
            } else {
                b"Root="
            };
            out.extend_from_slice(name);
            seed.push(out);
            out.push(b';');
            out.extend_from_slice(sent);
        }
    }
    let end = out.len();
    out.extend_from_slice(b"\r\n");
    begin..end
}

/// The trace identifier in a head that was written for a target.
#[must_use]
pub fn written(head: &[u8]) -> Option<&[u8]> {
    let at = memchr::memmem::find(head, b"\r\nX-Amzn-Trace-Id: ")?;
    let value = &head[at + 2 + TRACE_ID.len() + 2..];
    value.split(|byte| *byte == b'\r').next()
}

/// The trace identifier that a client sent, if it sent one.
#[must_use]
pub fn sent<'b>(fields: &[Field<'b>]) -> Option<&'b [u8]> {
    let mut all = fields.iter();
    let found = all.find(|field| kind(field.name) == Kind::TraceId)?;
    Some(found.value)
}

fn begins(member: &[u8], name: &[u8]) -> bool {
    let member = member.trim_ascii_start();
    member.len() >= name.len() && member[..name.len()].eq_ignore_ascii_case(name)
}

fn part<'v>(value: &'v [u8], name: &[u8]) -> Option<&'v [u8]> {
    value
        .split(|byte| *byte == b';')
        .find(|member| begins(member, name))
}

/// Whether a request takes part in a W3C trace already.
#[must_use]
pub fn has_parent(fields: &[Field<'_>]) -> bool {
    fields.iter().any(|field| is(field.name, "traceparent"))
}

/// Writes a `traceparent` (W3C Trace Context, section 3.2) that begins a trace, sampled. Its trace
/// is that of the `Root` which comes of the same seed, so that one leads to the other: ALB's 32 hex
/// digits without the dashes.
pub fn push_parent(out: &mut Vec<u8>, seed: Seed) {
    let mut value = Vec::with_capacity(55);
    value.extend_from_slice(b"00-");
    push_hex(&mut value, &seed.epoch.to_be_bytes());
    push_hex(&mut value, &seed.random);
    value.push(b'-');
    // All zeros would be no parent (section 3.2.2.4).
    let mut parent = [0; 8];
    parent.copy_from_slice(&seed.random[4..]);
    parent[0] |= 1;
    push_hex(&mut value, &parent);
    value.extend_from_slice(b"-01");
    push_field(out, "traceparent", &value);
}

#[cfg(test)]
mod tests {
    use super::{Seed, push_parent, push_trace_id};

    const SEED: Seed = Seed {
        epoch: 0x6789_1233,
        random: [
            0xab, 0xcd, 0xef, 1, 0x23, 0x45, 0x67, 0x89, 0x12, 0x34, 0x56, 0x78,
        ],
    };
    const MADE: &str = "1-67891233-abcdef012345678912345678";

    fn written(sent: Option<&str>, head: usize) -> String {
        let mut out = Vec::new();
        push_trace_id(&mut out, sent.map(str::as_bytes), head, SEED);
        let text = String::from_utf8(out).expect("text");
        let value = text.strip_prefix("X-Amzn-Trace-Id: ").expect("the name");
        value.strip_suffix("\r\n").expect("a line").to_owned()
    }

    #[test]
    fn a_trace_id_is_made_continued_or_replaced_as_alb_documents_it() {
        let cases = [
            (None, format!("Root={MADE}")),
            (Some(""), format!("Root={MADE}")),
            (
                Some("Root=1-67891233-000000000000000000000001"),
                format!("Self={MADE};Root=1-67891233-000000000000000000000001"),
            ),
            (
                Some("Root=1-67891233-000000000000000000000001;CalledFrom=app"),
                format!("Self={MADE};Root=1-67891233-000000000000000000000001;CalledFrom=app"),
            ),
            (
                Some("Self=1-67891234-12456789abcdef012345678;Root=1-1-2;Parent=3;Sampled=1"),
                format!("Self={MADE};Root=1-1-2;Parent=3;Sampled=1"),
            ),
            (
                Some("Root=1-1-2; self=old;Self=older"),
                format!("Root=1-1-2;Self={MADE};Self=older"),
            ),
            (
                Some("CalledFrom=app"),
                format!("Root={MADE};CalledFrom=app"),
            ),
        ];
        for (sent, expected) in cases {
            assert_eq!(written(sent, 500), expected, "{sent:?}");
        }
        assert_eq!(
            written(Some("Root=1-1-2"), 7 * 1024 + 1),
            format!("Root={MADE}"),
            "a large head gets a fresh one"
        );
        assert!(written(Some("Root=1-1-2"), 7 * 1024).starts_with("Self="));
    }

    #[test]
    fn a_traceparent_has_the_form_of_the_recommendation() {
        let mut out = Vec::new();
        push_parent(&mut out, SEED);
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "traceparent: 00-67891233abcdef012345678912345678-2345678912345678-01\r\n"
        );
        let zero = Seed {
            epoch: 1,
            random: [0; 12],
        };
        out = Vec::new();
        push_parent(&mut out, zero);
        assert!(
            String::from_utf8(out)
                .expect("text")
                .contains("-0100000000000000-01")
        );
    }
}
