//! Which responses are compressed for which clients (RFC 9110 §8.4, §12.5.3). Pure.

pub(crate) mod coder;

use longshore_config as config;

use super::edits::Edits;
use super::headers::{Understood, push_field};
use super::pattern::Pattern;
use crate::http1::field::{Field, is, list};
use crate::http1::head::ResponseHead;

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// `br`.
    Brotli,
    /// `zstd`.
    Zstd,
    /// `gzip`.
    Gzip,
}

impl Coding {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];

    /// Its name in fields.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }
}

/// What a policy says of compression.
#[derive(Debug)]
pub struct Compression {
    /// The one that is liked best first.
    codings: Box<[Coding]>,
    types: Box<[Pattern]>,
    min_length: u64,
    level: u32,
}

impl Compression {
    /// As the file says; none if it is off.
    #[must_use]
    pub fn new(settings: &config::Compression) -> Option<Self> {
        let codings: Box<[Coding]> = settings
            .algorithms
            .iter()
            .map(|algorithm| match algorithm {
                config::ContentCoding::Br => Coding::Brotli,
                config::ContentCoding::Zstd => Coding::Zstd,
                config::ContentCoding::Gzip => Coding::Gzip,
            })
            .collect();
        let types = settings.content_types.iter();
        (!codings.is_empty()).then(|| Self {
            codings,
            types: types.map(|text| Pattern::new(text, true, false)).collect(),
            min_length: settings.min_length.get(),
            level: u32::try_from(settings.level.get()).unwrap_or(1),
        })
    }

    /// How much work is done for each byte, 1 to 9.
    pub(crate) fn level(&self) -> u32 {
        self.level
    }

    /// The coding that a client likes best, by what its request accepts. Of those that it likes
    /// alike, the one that comes first here.
    #[must_use]
    pub fn negotiate(&self, fields: &[Field<'_>]) -> Option<Coding> {
        let members = || {
            let accepts = fields
                .iter()
                .filter(|field| is(field.name, "accept-encoding"));
            accepts
                .flat_map(|field| list(field.value))
                .filter_map(weighed)
        };
        let said = |name: &str| {
            let mut said = members().filter(|(member, _)| {
                let alias = name == "gzip" && member.eq_ignore_ascii_case(b"x-gzip");
                alias || member.eq_ignore_ascii_case(name.as_bytes())
            });
            said.next().map(|(_, weight)| weight)
        };
        let others = said("*");
        let mut best: Option<(Coding, u16)> = None;
        for coding in &self.codings {
            let weight = said(coding.name()).or(others).unwrap_or(0);
            if weight > 0 && best.is_none_or(|(_, other)| weight > other) {
                best = Some((*coding, weight));
            }
        }
        // A client may like it better as it is. If it says nothing of that, it asked for less bytes.
        best.filter(|(_, weight)| said("identity").is_none_or(|plain| plain <= *weight))
            .map(|(coding, _)| coding)
    }

    /// Whether a response may be compressed, for whomever.
    #[must_use]
    pub fn suits(&self, head: &ResponseHead<'_>, understood: &Understood) -> bool {
        if matches!(head.status, 100..=199 | 204 | 205 | 206 | 304) {
            return false;
        }
        if understood
            .length
            .is_some_and(|length| length < self.min_length.max(1))
        {
            return false;
        }
        let mut kind = None;
        for field in head.fields {
            let stays = match field.name.len() {
                12 if is(field.name, "content-type") => {
                    kind = kind.or(Some(field.value));
                    false
                }
                // It is compressed already.
                16 if is(field.name, "content-encoding") => {
                    !field.value.eq_ignore_ascii_case(b"identity")
                }
                13 if is(field.name, "content-range") => true,
                // RFC 9111 §5.2.2.6.
                13 if is(field.name, "cache-control") => {
                    list(field.value).any(|said| said.eq_ignore_ascii_case(b"no-transform"))
                }
                // Fields behind the body can speak of it too.
                7 if is(field.name, "trailer") => list(field.value).any(is_digest),
                _ => is_digest(field.name.as_bytes()),
            };
            if stays {
                return false;
            }
        }
        kind.is_some_and(|kind| {
            let end = kind.iter().position(|byte| matches!(byte, b';' | b' '));
            let name = &kind[..end.unwrap_or(kind.len())];
            self.types.iter().any(|pattern| pattern.matches(name))
        })
    }
}

/// Whether a field speaks of the bytes as the target sent them.
fn is_digest(name: &[u8]) -> bool {
    let is = |wanted: &[u8]| name.eq_ignore_ascii_case(wanted);
    match name.len() {
        6 => is(b"digest"),
        11 => is(b"content-md5") || is(b"repr-digest"),
        14 => is(b"content-digest"),
        _ => false,
    }
}

/// A member of Accept-Encoding with its weight, in thousandths. None if it is malformed.
fn weighed(member: &[u8]) -> Option<(&[u8], u16)> {
    let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let name = parts.next().filter(|name| !name.is_empty())?;
    let Some(parameter) = parts.next() else {
        return Some((name, 1_000));
    };
    let (key, value) = parameter.split_at_checked(2)?;
    if !key.eq_ignore_ascii_case(b"q=") || parts.next().is_some() {
        return None;
    }
    // RFC 9110 §12.4.2: 0 or 1, with at most three digits behind a point.
    let (whole, digits) = match value {
        [whole @ (b'0' | b'1')] => (*whole, &[][..]),
        [whole @ (b'0' | b'1'), b'.', digits @ ..] if digits.len() <= 3 => (*whole, digits),
        _ => return None,
    };
    let mut thousandths = u16::from(whole - b'0') * 1_000;
    for (digit, worth) in digits.iter().zip([100, 10, 1]) {
        thousandths += digit.is_ascii_digit().then(|| u16::from(digit - b'0'))? * worth;
    }
    (thousandths <= 1_000).then_some((name, thousandths))
}

/// How a head differs from the target's because of compression.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coded {
    /// The body has this coding.
    pub coding: Option<Coding>,
    /// Validators are weak: the same tag would stand for different bytes otherwise (RFC 9110
    /// §8.8.3.3).
    pub weak: bool,
    /// Caches are told that it depends on what the client accepts.
    pub varies: bool,
}

impl Coded {
    /// As the target sent it.
    pub const PLAIN: Self = Self {
        coding: None,
        weak: false,
        varies: false,
    };

    /// Writes a field that is not to go on as it came. False if it may.
    pub(crate) fn push(self, out: &mut Vec<u8>, field: &Field<'_>) -> bool {
        if self.weak && is(field.name, "etag") {
            if !field.value.starts_with(b"\"") {
                return false;
            }
            let weak = [b"W/", field.value].concat();
            push_field(out, field.name, &weak);
            return true;
        }
        // Parts of what is compressed on the way cannot be asked for.
        self.coding.is_some()
            && (is(field.name, "content-encoding") || is(field.name, "accept-ranges"))
    }

    /// Writes the fields that are its own. `fields` are the target's, as far as `edits` leave them.
    pub(crate) fn finish(self, out: &mut Vec<u8>, fields: &[Field<'_>], edits: Option<&Edits>) {
        if let Some(coding) = self.coding {
            push_field(out, "Content-Encoding", coding.name().as_bytes());
        }
        let says =
            |member: &[u8]| member == b"*" || member.eq_ignore_ascii_case(b"accept-encoding");
        let mut varies = fields.iter().filter(|field| is(field.name, "vary"));
        let said = !edits.is_some_and(|edits| edits.drops("vary"))
            && varies.any(|field| list(field.value).any(says));
        if self.varies && !said {
            push_field(out, "Vary", b"Accept-Encoding");
        }
    }
}

#[cfg(test)]
#[path = "compress_tests.rs"]
mod tests;
