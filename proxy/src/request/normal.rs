//! One spelling for hosts and paths: what rules see is what targets get. Pure.

use std::borrow::Cow;

use longshore_config::PathNormalization;

/// A path that two readers could take for two different ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TwoReadings;

/// A Host without a dot at the end of its name: `example.com.` is `example.com` for DNS.
#[must_use]
pub fn host(host: &str) -> Cow<'_, str> {
    let name = without_port(host);
    match name.strip_suffix('.') {
        None | Some("") => Cow::Borrowed(host),
        Some(stripped) if name.len() == host.len() => Cow::Borrowed(stripped),
        Some(stripped) => Cow::Owned(stripped.to_owned() + &host[name.len()..]),
    }
}

/// A Host without its port.
#[must_use]
pub fn without_port(host: &str) -> &str {
    let mut rest = host.as_bytes();
    // From the end: a port is a few digits. Not within the brackets of an IPv6 address.
    while let [before @ .., b'0'..=b'9'] = rest {
        rest = before;
    }
    match rest {
        [name @ .., b':'] => &host[..name.len()],
        _ => host,
    }
}

/// The one spelling of a path. Most paths are in it already, and cost one look at their bytes.
///
/// - RFC 3986, section 6.2.2: percent-encoded letters, digits, `-`, `.`, `_` and `~` are decoded,
///   the digits of other encodings are in capital letters, and the segments `.` and `..` are
///   resolved, never above the root.
/// - In `strict` also: `//` becomes `/`.
///
/// # Errors
/// What readers disagree about: `%` without two digits, which is no URI. In `strict` also a `\`,
/// which some take for `/`; an encoded NUL; ASCII in overlong UTF-8; a segment that is `.` or `..`
/// for those who decode `%2F` or `%5C`, or cut off what comes behind `;` or `%3B`.
pub fn path(path: &str, mode: PathNormalization) -> Result<Cow<'_, str>, TwoReadings> {
    if mode == PathNormalization::None || !path.starts_with('/') || is_plain(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    let strict = mode == PathNormalization::Strict;
    let decoded = decode(path, strict)?;
    let mut out = String::with_capacity(decoded.len());
    let mut ends_with_slash = false;
    let mut segments = decoded[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    out.truncate(out.rfind('/').unwrap_or(0));
                }
                ends_with_slash = is_last;
            }
            "" if is_last => ends_with_slash = true,
            "" if strict => {}
            segment => {
                if strict && hides_dots(segment) {
                    return Err(TwoReadings);
                }
                out.push('/');
                out.push_str(segment);
            }
        }
    }
    if ends_with_slash || out.is_empty() {
        out.push('/');
    }
    Ok(Cow::Owned(out))
}

/// Nothing in it has a second spelling: no `%`, no `\`, no `;`, and no segment that is empty or
/// begins with a dot.
fn is_plain(path: &[u8]) -> bool {
    let mut before = 0;
    path.iter().all(|&byte| {
        let plain = match byte {
            b'%' | b'\\' | b';' => false,
            b'/' | b'.' => before != b'/',
            _ => true,
        };
        before = byte;
        plain
    })
}

fn decode(path: &str, strict: bool) -> Result<String, TwoReadings> {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find(['%', '\\']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        if strict && from.starts_with('\\') {
            return Err(TwoReadings);
        }
        match encoded(from.as_bytes()) {
            Some(0) if strict => return Err(TwoReadings),
            Some(byte) if strict && is_overlong(byte, &from.as_bytes()[3..]) => {
                return Err(TwoReadings);
            }
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                out.push(char::from(byte));
                rest = &from[3..];
            }
            Some(_) => {
                out.push_str(&from[..3].to_ascii_uppercase());
                rest = &from[3..];
            }
            // Kept, it could become an encoding with what is decoded behind it: `%b%61`.
            None if from.starts_with('%') => return Err(TwoReadings),
            None => {
                out.push('\\');
                rest = &from[1..];
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// The byte that `%` and two digits stand for.
fn encoded(text: &[u8]) -> Option<u8> {
    let &[b'%', high, low, ..] = text else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// The beginning of an ASCII character in more bytes than it needs, which is no UTF-8 (RFC 3629 §3):
/// some readers decode it nevertheless, and `%C0%AE` is a dot for them.
fn is_overlong(first: u8, rest: &[u8]) -> bool {
    let second = encoded(rest);
    match first {
        0xC0 | 0xC1 => second.is_some_and(|byte| (0x80..=0xBF).contains(&byte)),
        0xE0 => matches!(second, Some(0x80 | 0x81)),
        0xF0 => second == Some(0x80),
        _ => false,
    }
}

/// A segment with a part that some readers take for `.` or `..`.
fn hides_dots(segment: &str) -> bool {
    segment
        .split("%2F")
        .flat_map(|part| part.split("%5C"))
        .any(|part| {
            let name = part.split_once(';').map_or(part, |(name, _)| name);
            let name = name.split_once("%3B").map_or(name, |(name, _)| name);
            name == "." || name == ".."
        })
}

#[cfg(test)]
#[path = "normal_tests.rs"]
mod tests;
