//! Which requests are let in. Pure.
//!
//! hyper has parsed the head by now; here is what two parsers could read differently, and what no
//! target should see.

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderValue, Method, Version};

use super::answer::Reason;

/// Checks a request head and brings it into the form in which it is forwarded: origin-form, with
/// the authority of an absolute-form target as its Host (RFC 9112 §3.2.2).
///
/// # Errors
/// The reason for which it is refused.
pub fn admit(head: &mut Parts) -> Result<(), Reason> {
    if matches!(head.method, Method::TRACE | Method::CONNECT) {
        return Err(Reason::MethodNotAllowed);
    }
    framing(head)?;
    host(head)
}

/// RFC 9112 §6.1 and §6.3: a request with both lengths is ambiguous, and `chunked` is the only
/// transfer coding that can be passed on.
fn framing(head: &Parts) -> Result<(), Reason> {
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if head.headers.contains_key(CONTENT_LENGTH) || head.version < Version::HTTP_11 {
            return Err(Reason::AmbiguousLength);
        }
        if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(Reason::UnsupportedTransferEncoding);
        }
    }
    Ok(())
}

/// RFC 9112 §3.2: exactly one valid Host in HTTP/1.1.
fn host(head: &mut Parts) -> Result<(), Reason> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let first = hosts.next();
    if hosts.next().is_some() {
        return Err(Reason::BadHost);
    }
    match first {
        Some(value) if !is_authority(value) => return Err(Reason::BadHost),
        None if head.version >= Version::HTTP_11 => return Err(Reason::BadHost),
        _ => {}
    }
    // `*` is for OPTIONS alone (§3.2.4), and an authority alone for CONNECT (§3.2.3).
    if head.uri.path() == "*" && head.method != Method::OPTIONS {
        return Err(Reason::BadTarget);
    }
    if let Some(authority) = head.uri.authority() {
        if head.uri.scheme().is_none() {
            return Err(Reason::BadTarget);
        }
        let value = HeaderValue::from_str(without_userinfo(authority))
            .ok()
            .filter(is_authority)
            .ok_or(Reason::BadHost)?;
        head.headers.insert(HOST, value);
        let mut path = std::mem::take(&mut head.uri).into_parts();
        path.scheme = None;
        path.authority = None;
        path.path_and_query
            .get_or_insert_with(|| http::uri::PathAndQuery::from_static("/"));
        head.uri = path.try_into().map_err(|_| Reason::BadHost)?;
    }
    Ok(())
}

fn without_userinfo(authority: &Authority) -> &str {
    let text = authority.as_str();
    text.rsplit_once('@').map_or(text, |(_, host)| host)
}

/// `uri-host [ ":" port ]` (RFC 9110 §7.2), without percent-encoding: no name that DNS resolves
/// needs it, and two readers may decode it differently. An empty Host is allowed by the RFC.
fn is_authority(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    let (host, port) = match bytes {
        [b'[', ..] => match bytes.iter().position(|&byte| byte == b']') {
            Some(end) => (&bytes[1..end], &bytes[end + 1..]),
            None => return false,
        },
        _ => {
            let end = bytes.iter().position(|&byte| byte == b':');
            bytes.split_at(end.unwrap_or(bytes.len()))
        }
    };
    let literal = bytes.first() == Some(&b'[');
    let valid = |byte: &u8| match byte {
        b':' => literal,
        byte => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte),
    };
    host.iter().all(valid) && is_port(port)
}

/// Nothing, `:` alone, or `:` and a number that a port can have.
fn is_port(text: &[u8]) -> bool {
    match text {
        [] | [b':'] => true,
        [b':', digits @ ..] => {
            digits.len() <= 5
                && digits.iter().all(u8::is_ascii_digit)
                && digits
                    .iter()
                    .fold(0, |port: u32, digit| port * 10 + u32::from(digit - b'0'))
                    <= 65_535
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request, Version};

    use super::{Reason, admit, is_authority};

    fn judge(
        build: impl FnOnce(http::request::Builder) -> http::request::Builder,
    ) -> Result<(String, String), Reason> {
        let request = build(Request::builder()).body(()).expect("a request");
        let (mut head, ()) = request.into_parts();
        admit(&mut head)?;
        let host = head
            .headers
            .get("host")
            .map(|host| host.to_str().expect("text").to_owned());
        Ok((head.uri.to_string(), host.unwrap_or_default()))
    }

    #[test]
    fn a_host_is_needed_once() {
        assert_eq!(judge(|r| r.uri("/")), Err(Reason::BadHost));
        assert_eq!(
            judge(|r| r.uri("/").header("host", "a").header("host", "a")),
            Err(Reason::BadHost)
        );
        assert!(judge(|r| r.uri("/").header("host", "a")).is_ok());
        assert!(judge(|r| r.uri("/").version(Version::HTTP_10)).is_ok());
    }

    #[test]
    fn hosts_are_names_or_addresses_with_an_optional_port() {
        for good in ["a", "a.b-c_d", "a:80", "[::1]", "[::1]:80", "", "1.2.3.4:5"] {
            assert!(is_authority(&HeaderValue::from_static(good)), "{good:?}");
        }
        for bad in [
            "a b", "a/b", "a@b", "a:b", "[::1", "[::1]x", "a\\b", "a?b", "a#b", "a%41", "a:80:90",
            "a:99999", "a:000080",
        ] {
            assert!(!is_authority(&HeaderValue::from_static(bad)), "{bad:?}");
        }
    }

    #[test]
    fn an_absolute_target_decides_the_host() {
        let got = judge(|r| r.uri("http://real.example:81/x?y").header("host", "other"));
        assert_eq!(got, Ok(("/x?y".to_owned(), "real.example:81".to_owned())));
        let got = judge(|r| {
            r.uri("http://user:secret@real.example")
                .header("host", "other")
        });
        assert_eq!(got, Ok(("/".to_owned(), "real.example".to_owned())));
    }

    #[test]
    fn both_lengths_at_once_are_refused() {
        let got = judge(|r| {
            r.uri("/")
                .header("host", "a")
                .header("content-length", "3")
                .header("transfer-encoding", "chunked")
        });
        assert_eq!(got, Err(Reason::AmbiguousLength));
        let got = judge(|r| {
            r.uri("/")
                .header("host", "a")
                .header("transfer-encoding", "chunked")
                .version(Version::HTTP_10)
        });
        assert_eq!(got, Err(Reason::AmbiguousLength));
        for coding in [
            "gzip",
            "gzip, chunked",
            "chunked, chunked",
            "xchunked",
            "identity",
        ] {
            let got = judge(|r| {
                r.uri("/")
                    .header("host", "a")
                    .header("transfer-encoding", coding)
            });
            assert_eq!(got, Err(Reason::UnsupportedTransferEncoding), "{coding}");
        }
    }

    #[test]
    fn trace_and_connect_are_not_served() {
        for method in ["TRACE", "CONNECT"] {
            let got = judge(|r| r.method(method).uri("a:80").header("host", "a"));
            assert_eq!(got, Err(Reason::MethodNotAllowed));
        }
    }
}
