//! Distinguished names as text.

use std::borrow::Cow;

use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::{Any, Encode as _, Tag, Tagged as _};
use x509_cert::name::Name;

/// A name as RFC 2253 writes it: the most special part first. What is no printable ASCII becomes
/// `\XX` byte by byte (§2.4), so that the text can stand in a header field whatever the name holds.
#[must_use]
pub(crate) fn rfc2253(name: &Name) -> String {
    let mut parts: Vec<String> = name
        .0
        .iter()
        .map(|part| {
            let pairs: Vec<String> = part.0.iter().map(pair).collect();
            pairs.join("+")
        })
        .collect();
    parts.reverse();
    parts.join(",")
}

/// A value that is text.
pub(super) fn text(value: &Any) -> Option<Cow<'_, str>> {
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String => {
            std::str::from_utf8(value.value()).ok().map(Cow::Borrowed)
        }
        // Latin 1, as everybody reads it.
        Tag::TeletexString => Some(value.value().iter().map(|byte| char::from(*byte)).collect()),
        _ => None,
    }
}

fn pair(attribute: &AttributeTypeAndValue) -> String {
    let oid = attribute.oid.to_string();
    // §2.3: these have a name; others are written as numbers. E-mail addresses have one by custom.
    let key = match oid.as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "0.9.2342.19200300.100.1.25" => "DC",
        "0.9.2342.19200300.100.1.1" => "UID",
        "1.2.840.113549.1.9.1" => "emailAddress",
        other => other,
    };
    match text(&attribute.value) {
        Some(text) => format!("{key}={}", escaped(&text)),
        None => {
            // §2.4: the encoding as it is; a value that was read can be written.
            let encoded = attribute.value.to_der().unwrap_or_default();
            let hex: String = encoded.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{key}=#{hex}")
        }
    }
}

fn escaped(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    let last = text.len().saturating_sub(1);
    for (at, byte) in text.bytes().enumerate() {
        let special = matches!(byte, b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';')
            || (at == 0 && matches!(byte, b'#' | b' '))
            || (at == last && byte == b' ');
        match byte {
            b' '..=b'~' if special => {
                out.push('\\');
                out.push(char::from(byte));
            }
            b' '..=b'~' => out.push(char::from(byte)),
            // Writing to a String does not fail.
            byte => write!(out, "\\{byte:02X}").unwrap_or_default(),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn what_means_something_is_escaped_and_no_line_can_be_broken() {
        for (text, wanted) in [
            ("Acme, Inc.", "Acme\\, Inc."),
            (" a b ", "\\ a b\\ "),
            ("#1", "\\#1"),
            ("a#1", "a#1"),
            ("q\"<>;+\\", "q\\\"\\<\\>\\;\\+\\\\"),
            ("x\r\nHost: y", "x\\0D\\0AHost: y"),
            ("Zürich", "Z\\C3\\BCrich"),
            ("", ""),
        ] {
            assert_eq!(escaped(text), wanted);
        }
    }
}
