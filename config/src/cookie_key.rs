//! The keys that the balancer's own cookies, and TLS session tickets, are sealed with.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

/// The length of a key, in bytes.
const LENGTH: usize = 32;

/// A key of 32 bytes, in base64 or base64url, padded or not. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct CookieKey([u8; LENGTH]);

impl CookieKey {
    /// The key of these bytes, which should be random.
    #[must_use]
    pub const fn new(bytes: [u8; LENGTH]) -> Self {
        Self(bytes)
    }

    /// The bytes, for the one place that seals with them.
    #[must_use]
    pub const fn reveal(&self) -> &[u8; LENGTH] {
        &self.0
    }

    /// One byte over and over: nobody draws that at random.
    pub(crate) fn is_constant(&self) -> bool {
        self.0.iter().all(|byte| *byte == self.0[0])
    }

    /// The key that a text stands for.
    ///
    /// # Errors
    /// What it is instead: its length at most, because it may be most of a key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config =
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let alphabet = if text.contains(['-', '_']) {
            &URL_SAFE
        } else {
            &STANDARD
        };
        let bytes = GeneralPurpose::new(alphabet, config)
            .decode(text)
            .map_err(|_| "other text".to_owned())?;
        let length = bytes.len();
        let bytes = bytes.try_into().map_err(|_| format!("{length} bytes"))?;
        Ok(Self(bytes))
    }
}

impl fmt::Debug for CookieKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieKey(…)")
    }
}

impl<'de> Deserialize<'de> for CookieKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = CookieKey;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(
                    f,
                    "{LENGTH} bytes in base64, as `openssl rand -base64 {LENGTH}` prints them"
                )
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<CookieKey, E> {
                CookieKey::parse(text)
                    .map_err(|found| E::invalid_value(Unexpected::Other(&found), &self))
            }
        }
        deserializer.deserialize_str(V)
    }
}

impl JsonSchema for CookieKey {
    fn schema_name() -> Cow<'static, str> {
        "CookieKey".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "32 bytes in base64 or base64url, as `openssl rand -base64 32` prints them"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::CookieKey;

    #[test]
    fn a_key_is_32_bytes_in_either_alphabet_with_or_without_padding() {
        let bytes: [u8; 32] = std::array::from_fn(|index| 255 - index as u8);
        let key = Ok(CookieKey::new(bytes));
        for text in [
            "//79/Pv6+fj39vX08/Lx8O/u7ezr6uno5+bl5OPi4eA=",
            "//79/Pv6+fj39vX08/Lx8O/u7ezr6uno5+bl5OPi4eA",
            "__79_Pv6-fj39vX08_Lx8O_u7ezr6uno5-bl5OPi4eA=",
            "__79_Pv6-fj39vX08_Lx8O_u7ezr6uno5-bl5OPi4eA",
        ] {
            assert_eq!(CookieKey::parse(text), key, "{text}");
        }
    }

    #[test]
    fn no_key_is_shown() {
        let key = CookieKey::new([7; 32]);
        assert_eq!(format!("{key:?}"), "CookieKey(…)");
        let found = |text| CookieKey::parse(text).expect_err("no key");
        assert_eq!(found("c2VjcmV0"), "6 bytes");
        assert_eq!(found("not base64!"), "other text");
    }
}
