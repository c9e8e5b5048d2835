//! Cookies as they stand in fields (RFC 6265). Pure.

use crate::http1::field::{Field, is};

/// The cookies of a request, in their order: name and value, without the quotes around a value.
///
/// As forgiving as servers are (§5.4 says what browsers send, and others send what they like):
/// several Cookie fields, no space after `;` or several, quotes. Names have case (§5.3).
pub fn cookies<'r>(fields: &'r [Field<'r>]) -> impl Iterator<Item = (&'r [u8], &'r [u8])> {
    fields
        .iter()
        .filter(|field| is(field.name, "cookie"))
        .flat_map(|field| field.value.split(|byte| *byte == b';'))
        .filter_map(|pair| {
            let equals = memchr::memchr(b'=', pair)?;
            let (name, value) = (&pair[..equals], &pair[equals + 1..]);
            Some((name.trim_ascii(), unquoted(value.trim_ascii())))
        })
}

fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    }
}

/// Whether a response sets the cookie of that name. As at ALB only the name counts, so a response
/// that deletes it sets it, too.
#[must_use]
pub fn sets(fields: &[Field<'_>], name: &str) -> bool {
    fields
        .iter()
        .filter(|field| is(field.name, "set-cookie"))
        .any(|field| {
            let pair = field.value.split(|byte| *byte == b';').next();
            let pair = pair.unwrap_or_default();
            memchr::memchr(b'=', pair)
                .is_some_and(|equals| pair[..equals].trim_ascii() == name.as_bytes())
        })
}

/// Who may send a cookie back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    /// Whoever the client thinks right: nothing is said.
    Default,
    /// Requests from other sites as well, over plain HTTP.
    Any,
    /// Requests from other sites as well, over TLS only.
    AnySecure,
}

/// Writes a Set-Cookie field with ALB's attributes. `expires` is an HTTP date.
pub fn push(out: &mut Vec<u8>, name: &[&str], value: &[u8], expires: &[u8], site: Site) {
    out.extend_from_slice(b"Set-Cookie: ");
    for part in name {
        out.extend_from_slice(part.as_bytes());
    }
    out.push(b'=');
    out.extend_from_slice(value);
    out.extend_from_slice(b"; Expires=");
    out.extend_from_slice(expires);
    out.extend_from_slice(b"; Path=/");
    out.extend_from_slice(match site {
        Site::Default => b"",
        Site::Any => b"; SameSite=None",
        Site::AnySecure => b"; SameSite=None; Secure",
    });
    out.extend_from_slice(b"\r\n");
}
