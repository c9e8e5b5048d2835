//! Header fields that mean something to a proxy.

/// A field as it stands in a head: name and value, without the white space around it.
pub type Field<'b> = httparse::Header<'b>;

/// What a field is for, as far as a proxy must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `Connection`.
    Connection,
    /// For one connection only, by RFC 9110 §7.6.1 or by custom: `Keep-Alive`, `Proxy-Connection`,
    /// `Upgrade`.
    Hop,
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
    /// `Date`.
    Date,
    /// Not for us.
    Other,
}

/// What a name means. By its length first: most names are told apart by that alone.
#[must_use]
pub fn kind(name: &str) -> Kind {
    let (wanted, kind) = match name.len() {
        2 => ("te", Kind::Te),
        4 if is(name, "date") => ("date", Kind::Date),
        4 => ("host", Kind::Host),
        6 => ("expect", Kind::Expect),
        7 => ("upgrade", Kind::Hop),
        10 if is(name, "keep-alive") => ("keep-alive", Kind::Hop),
        10 => ("connection", Kind::Connection),
        14 => ("content-length", Kind::ContentLength),
        15 => ("x-forwarded-for", Kind::ForwardedFor),
        16 if is(name, "proxy-connection") => ("proxy-connection", Kind::Hop),
        16 => ("x-forwarded-port", Kind::Forwarded),
        17 if is(name, "transfer-encoding") => ("transfer-encoding", Kind::TransferEncoding),
        17 => ("x-forwarded-proto", Kind::Forwarded),
        _ => return Kind::Other,
    };
    if is(name, wanted) { kind } else { Kind::Other }
}

/// Whether a name is this one.
#[must_use]
pub fn is(name: &str, wanted: &str) -> bool {
    name.eq_ignore_ascii_case(wanted)
}

/// The members of a list (RFC 9110 §5.6.1), without white space.
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

/// What the Connection fields of a head say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// `close`.
    pub close: bool,
    /// `keep-alive`.
    pub keep_alive: bool,
    /// Names of fields that are for one connection only.
    pub names: bool,
}

impl Options {
    /// Takes one Connection field in.
    pub fn add(&mut self, value: &[u8]) {
        for option in list(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
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

/// The value of a Content-Length field: digits alone. None if it is not one or too large.
#[must_use]
pub fn length(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0_u64, |length, byte| {
        if !byte.is_ascii_digit() {
            return None;
        }
        length.checked_mul(10)?.checked_add(u64::from(byte - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::{Field, Kind, Options, is_named, kind, length};

    #[test]
    fn names_mean_the_same_in_any_case() {
        for (name, wanted) in [
            ("TE", Kind::Te),
            ("Host", Kind::Host),
            ("DATE", Kind::Date),
            ("Expect", Kind::Expect),
            ("upgrade", Kind::Hop),
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
    fn a_length_is_digits_and_nothing_else() {
        assert_eq!(length(b"0"), Some(0));
        assert_eq!(length(b"007"), Some(7));
        assert_eq!(length(b"18446744073709551615"), Some(u64::MAX));
        for bad in ["", "+1", "-1", "1 ", "1,1", "0x1", "18446744073709551616"] {
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
        options.add(b"x-hop");
        assert!(options.names);
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
