//! What of a request decides its target, with `consistent_hash`. Pure.

use std::net::IpAddr;

use longshore_config::{HashOn, HashPolicy};

use super::rules::Facts;
use crate::http1::field::{Field, is};
use crate::upstream::maglev::Hasher;

/// A part of requests; see `longshore_config::HashPolicy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// The first field of that name.
    Header(Box<str>),
    /// The first cookie of that name.
    Cookie(Box<str>),
    /// The path without the query.
    Path,
    /// The address of the TCP peer.
    SourceAddress,
}

impl HashKey {
    /// The key for a policy of the file.
    #[must_use]
    pub fn new(policy: &HashPolicy) -> Self {
        let name = || policy.name.as_deref().unwrap_or_default().into();
        match policy.on {
            HashOn::Header => Self::Header(name()),
            HashOn::Cookie => Self::Cookie(name()),
            HashOn::Path => Self::Path,
            HashOn::SourceAddress => Self::SourceAddress,
        }
    }

    /// The hash of a request. None if it has no such field or cookie.
    #[must_use]
    pub fn of(&self, facts: &Facts<'_>) -> Option<u64> {
        self.with_value(facts, |value| {
            let mut hash = Hasher::default();
            hash.write(value);
            hash.finish()
        })
    }

    /// What a function makes of that part of a request. None if it has no such field or cookie.
    pub fn with_value<R>(&self, facts: &Facts<'_>, with: impl FnOnce(&[u8]) -> R) -> Option<R> {
        Some(match self {
            Self::Header(name) => {
                let field = facts.fields.iter().find(|field| is(field.name, name))?;
                with(field.value)
            }
            Self::Cookie(name) => with(cookie(facts.fields, name)?),
            Self::Path => with(facts.path.as_bytes()),
            // An IPv4 client of a socket for both is the same client.
            Self::SourceAddress => match facts.source.to_canonical() {
                IpAddr::V4(address) => with(&address.octets()),
                IpAddr::V6(address) => with(&address.octets()),
            },
        })
    }
}

/// The value of the first cookie of a name (RFC 6265 §4.2.1), whose case counts.
fn cookie<'b>(fields: &[Field<'b>], name: &str) -> Option<&'b [u8]> {
    fields
        .iter()
        .filter(|field| is(field.name, "cookie"))
        .flat_map(|field| field.value.split(|byte| *byte == b';'))
        .find_map(|pair| {
            let value = pair.trim_ascii().strip_prefix(name.as_bytes())?;
            value.strip_prefix(b"=")
        })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{Facts, HashKey};
    use crate::http1::field::Field;

    fn hash(key: &HashKey, fields: &[(&str, &str)], path: &str, source: &str) -> Option<u64> {
        let fields: Vec<Field<'_>> = fields
            .iter()
            .map(|(name, value)| Field {
                name,
                value: value.as_bytes(),
            })
            .collect();
        key.of(&Facts {
            method: "GET",
            host: "a.example",
            host_name: "a.example",
            path,
            query: Some("q=1"),
            fields: &fields,
            source: source.parse::<IpAddr>().expect("an address"),
        })
    }

    #[test]
    fn equal_values_have_equal_hashes_and_others_do_not() {
        let header = HashKey::Header("x-user".into());
        let of = |value: &str| hash(&header, &[("X-User", value), ("x-user", "z")], "/", "::1");
        assert_eq!(of("a"), of("a"));
        assert_ne!(of("a"), of("b"));
        assert_eq!(hash(&header, &[("x-other", "a")], "/", "::1"), None);
        let of = |path: &str| hash(&HashKey::Path, &[], path, "::1");
        assert_eq!(of("/a"), of("/a"));
        assert_ne!(of("/a"), of("/b"));
        let of = |source: &str| hash(&HashKey::SourceAddress, &[], "/", source);
        assert_eq!(of("10.0.0.1"), of("::ffff:10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name_in_any_field() {
        let key = HashKey::Cookie("id".into());
        let of = |fields: &[(&str, &str)]| hash(&key, fields, "/", "::1");
        let wanted = of(&[("Cookie", "id=7")]);
        assert!(wanted.is_some());
        assert_eq!(of(&[("cookie", "a=b; id=7; id=8")]), wanted);
        assert_eq!(of(&[("cookie", "a=b"), ("Cookie", " id=7")]), wanted);
        assert_ne!(of(&[("cookie", "id=8")]), wanted);
        for none in ["xid=7", "ids=7", "ID=7", "a=id=7", "id", ""] {
            assert_eq!(of(&[("cookie", none)]), None, "{none}");
        }
    }
}
