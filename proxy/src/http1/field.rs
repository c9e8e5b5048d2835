//! Header fields that mean something to a proxy.

/// A field as it stands in a head: name and value, without the white space around it.
pub type Field<'b> = httparse::Header<'b>;

/// What a field is for, as far as a proxy must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `Connection`.
    Connection,
    /// For one connection only, by RFC 9110 §7.6.1 or by custom: `Keep-Alive`, `Proxy-Connection`.
    Hop,
    /// `Upgrade`.
    Upgrade,
    /// `TE`.
    Te,
    /// `Transfer-Encoding`.
    TransferEncoding,
    /// `Content-Length`.
    ContentLength,
    /// `Expect`.
    Expect,
    /// `Host`.
    Host,
    /// `X-Forwarded-For`.
    ForwardedFor,
    /// `X-Forwarded-Proto`, `X-Forwarded-Port`.
    Forwarded,
    /// `X-Amzn-Trace-Id`.
    TraceId,
    /// `X-Amzn-Mtls-…`, `x-amzn-tls-version`, `x-amzn-tls-cipher-suite`: what only the load balancer
    /// can know of a client's TLS.
    Tls,
    /// `Date`.
    Date,
    /// Not for us.
    Other,
}

/// What a name means. By its length first: most names are told apart by that alone.
#[must_use]
pub fn kind(name: &str) -> Kind {
    kind_of(name.as_bytes())
}

/// [`kind`] of a name in bytes.
#[must_use]
pub fn kind_of(bytes: &[u8]) -> Kind {
    match bytes.len() {
        2 if same(bytes, b"te") => Kind::Te,
        4 if same(bytes, b"host") => Kind::Host,
        4 if same(bytes, b"date") => Kind::Date,
        6 if same(bytes, b"expect") => Kind::Expect,
        7 if same(bytes, b"upgrade") => Kind::Upgrade,
        10 if same(bytes, b"connection") => Kind::Connection,
        10 if same(bytes, b"keep-alive") => Kind::Hop,
        14 if same(bytes, b"content-length") => Kind::ContentLength,
        15 if same(bytes, b"x-forwarded-for") => Kind::ForwardedFor,
        15 if same(bytes, b"x-amzn-trace-id") => Kind::TraceId,
        16 if same(bytes, b"x-forwarded-port") => Kind::Forwarded,
        16 if same(bytes, b"proxy-connection") => Kind::Hop,
        17 if same(bytes, b"x-forwarded-proto") => Kind::Forwarded,
        17 if same(bytes, b"transfer-encoding") => Kind::TransferEncoding,
        18 if same(bytes, b"x-amzn-tls-version") => Kind::Tls,
        23 if same(bytes, b"x-amzn-tls-cipher-suite") => Kind::Tls,
        // All that begin so, also what may come.
        19.. if begins(bytes, b"x-amzn-mtls-") => Kind::Tls,
        _ => Kind::Other,
    }
}

/// Whether a name is this one, which is in small letters. All bytes at once, without a branch, so
/// that it becomes a few instructions on words: a head is looked through several times.
#[inline]
fn same<const N: usize>(name: &[u8], wanted: &[u8; N]) -> bool {
    let Ok(name) = <&[u8; N]>::try_from(name) else {
        return false;
    };
    let mut differ = 0;
    for (byte, wanted) in name.iter().zip(wanted) {
        // In a letter, this bit is its case. In all else it tells two bytes apart.
        let case = if wanted.is_ascii_lowercase() { 0x20 } else { 0 };
        differ |= (byte | case) ^ wanted;
    }
    differ == 0
}

/// Whether a name is this one.
#[must_use]
pub fn is(name: &str, wanted: &str) -> bool {
    name.eq_ignore_ascii_case(wanted)
}

fn begins(name: &[u8], start: &[u8]) -> bool {
    name.get(..start.len())
        .is_some_and(|bytes| bytes.eq_ignore_ascii_case(start))
}

/// The members of a list (RFC 9110 §5.6.1), without white space.
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

/// Whether an Upgrade field names that protocol. Names of protocols do not depend on case
/// (RFC 9110 §7.8).
#[must_use]
pub fn names_protocol(value: &[u8], protocol: &str) -> bool {
    list(value).any(|member| member.eq_ignore_ascii_case(protocol.as_bytes()))
}

/// The most options in the Connection fields of a head.
const OPTIONS_MAX: usize = 32;

/// What the Connection fields of a head say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// `close`.
    pub close: bool,
    /// `keep-alive`.
    pub keep_alive: bool,
    /// `upgrade`.
    pub upgrade: bool,
    /// Names of fields that are for one connection only.
    pub names: bool,
    count: usize,
}

impl Options {
    /// More options than anybody needs. Each field of a head is compared with each, so their
    /// number must have a bound.
    #[must_use]
    pub fn are_too_many(&self) -> bool {
        self.count > OPTIONS_MAX
    }

    /// Takes one Connection field in.
    pub fn add(&mut self, value: &[u8]) {
        self.count += 1 + value.iter().filter(|byte| **byte == b',').count();
        if self.are_too_many() {
            return;
        }
        for option in list(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else {
                self.names = true;
            }
        }
    }
}

/// Whether a Connection field among these names that field.
#[must_use]
pub fn is_named(fields: &[Field<'_>], name: &str) -> bool {
    fields
        .iter()
        .filter(|field| kind(field.name) == Kind::Connection)
        .any(|field| list(field.value).any(|option| option.eq_ignore_ascii_case(name.as_bytes())))
}

/// The value of a Content-Length field: digits alone. None if it is not one or beyond 63 bits,
/// which a reader with signed numbers would read as another length.
#[must_use]
pub fn length(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    let length = value.iter().try_fold(0_i64, |length, byte| {
        if !byte.is_ascii_digit() {
            return None;
        }
        length.checked_mul(10)?.checked_add(i64::from(byte - b'0'))
    })?;
    u64::try_from(length).ok()
}

/// Whether a name is one of those that frame, route or trace a message once `_` is read as `-`.
/// Many applications cannot tell the two apart (RFC 3875 §4.1.18), so a client could set for them
/// what only a proxy may set.
#[must_use]
pub fn is_disguised(name: &str) -> bool {
    // Longer names mean something only by how they begin.
    const LONGEST: usize = 24;
    let bytes = name.as_bytes();
    if !bytes.contains(&b'_') {
        return false;
    }
    let mut folded = [b'-'; LONGEST];
    for (place, byte) in folded.iter_mut().zip(bytes) {
        if *byte != b'_' {
            *place = *byte;
        }
    }
    let folded = &folded[..bytes.len().min(LONGEST)];
    !matches!(kind_of(folded), Kind::Other | Kind::Date)
}

/// Whether two names are one to applications that read `_` as `-`.
#[must_use]
pub fn is_alike(one: &str, other: &str) -> bool {
    let fold = |byte: u8| match byte {
        b'_' => b'-',
        byte => byte.to_ascii_lowercase(),
    };
    one.len() == other.len() && one.bytes().map(fold).eq(other.bytes().map(fold))
}

#[cfg(test)]
mod tests {
    use super::{Field, Kind, Options, is_disguised, is_named, kind, length};

    #[test]
    fn names_mean_the_same_in_any_case() {
        for (name, wanted) in [
            ("TE", Kind::Te),
            ("Host", Kind::Host),
            ("DATE", Kind::Date),
            ("Expect", Kind::Expect),
            ("upgrade", Kind::Upgrade),
            ("Connection", Kind::Connection),
            ("Keep-Alive", Kind::Hop),
            ("content-LENGTH", Kind::ContentLength),
            ("X-Forwarded-For", Kind::ForwardedFor),
            ("x-forwarded-port", Kind::Forwarded),
            ("Proxy-Connection", Kind::Hop),
            ("Transfer-Encoding", Kind::TransferEncoding),
            ("X-Forwarded-Proto", Kind::Forwarded),
            ("X-Forwarded-Host", Kind::Other),
            ("Transfer_Encoding", Kind::Other),
            ("hosts", Kind::Other),
            ("hos", Kind::Other),
            ("", Kind::Other),
        ] {
            assert_eq!(kind(name), wanted, "{name}");
        }
    }

    #[test]
    fn a_name_with_another_byte_is_another_name() {
        let names = [
            "te",
            "host",
            "date",
            "expect",
            "upgrade",
            "connection",
            "keep-alive",
            "content-length",
            "x-forwarded-for",
            "x-amzn-trace-id",
            "x-forwarded-port",
            "proxy-connection",
            "x-forwarded-proto",
            "transfer-encoding",
            "x-amzn-tls-version",
            "x-amzn-tls-cipher-suite",
        ];
        for name in names {
            let known = kind(name);
            assert_ne!(known, Kind::Other, "{name}");
            for at in 0..name.len() {
                for byte in 0..0x80 {
                    let mut other = name.as_bytes().to_vec();
                    other[at] = byte;
                    let other = String::from_utf8(other).expect("ASCII");
                    let expected = names.iter().find(|it| it.eq_ignore_ascii_case(&other));
                    let expected = expected.map_or(Kind::Other, |it| kind(it));
                    assert_eq!(kind(&other), expected, "{other:?}");
                }
            }
        }
    }

    #[test]
    fn a_length_is_digits_and_nothing_else() {
        assert_eq!(length(b"0"), Some(0));
        assert_eq!(length(b"007"), Some(7));
        assert_eq!(length(b"9223372036854775807"), Some(u64::MAX / 2));
        for bad in ["", "+1", "-1", "1 ", "1,1", "0x1", "9223372036854775808"] {
            assert_eq!(length(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn connection_options_are_read_from_all_fields() {
        let mut options = Options::default();
        options.add(b"Keep-Alive, , CLOSE");
        assert_eq!(
            (options.close, options.keep_alive, options.names),
            (true, true, false)
        );
        assert!(!options.upgrade);
        options.add(b"Upgrade");
        assert!(options.upgrade && !options.names);
        options.add(b"x-hop");
        assert!(options.names && !options.are_too_many());
        options.add(&[b','; 40]);
        assert!(options.are_too_many());
        for (name, disguised) in [
            ("X_Forwarded_For", true),
            ("content_length", true),
            ("Transfer_Encoding", true),
            ("x_forwarded-proto", true),
            ("x_amzn_trace_id", true),
            ("x_amzn_tls_version", true),
            ("X-Amzn-Tls_Cipher-Suite", true),
            ("X_Amzn_Mtls_Clientcert_Subject", true),
            ("X-Amzn-Mtls_Clientcert-Serial-Number", true),
            ("X_Amzn_Mtls", false),
            ("X_Amzn_Tls_Cipher_Suites", false),
            ("X_Forwarded_Host", false),
            ("my_header", false),
            ("Content-Length", false),
        ] {
            assert_eq!(is_disguised(name), disguised, "{name}");
        }
        let fields = [
            Field {
                name: "Connection",
                value: b"close",
            },
            Field {
                name: "connection",
                value: b"a , X-Hop",
            },
        ];
        assert!(is_named(&fields, "x-hop") && !is_named(&fields, "x-ho"));
    }
}
