//! Values with bounds: numbers, durations and networks that cannot be wrong once they are parsed.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

/// A whole number from `MIN` to `MAX`, both allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ranged<const MIN: u64, const MAX: u64>(u64);

/// A TCP port, 1 to 65535.
pub type Port = Ranged<1, 65535>;

impl<const MIN: u64, const MAX: u64> Ranged<MIN, MAX> {
    /// The number, if it is within the bounds.
    #[must_use]
    pub const fn new(value: u64) -> Option<Self> {
        if value >= MIN && value <= MAX {
            Some(Self(value))
        } else {
            None
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A default, which is within its bounds or the build fails.
pub(crate) const fn ranged<const MIN: u64, const MAX: u64>(value: u64) -> Ranged<MIN, MAX> {
    match Ranged::new(value) {
        Some(value) => value,
        None => panic!("a default is within its bounds"),
    }
}

impl Port {
    /// The port as the socket calls take it.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the bound of Port is that of u16"
    )]
    pub const fn number(self) -> u16 {
        self.get() as u16
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Ranged<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V<const MIN: u64, const MAX: u64>;
        impl<const MIN: u64, const MAX: u64> Visitor<'_> for V<MIN, MAX> {
            type Value = Ranged<MIN, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from {MIN} to {MAX}")
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
                Ranged::new(value)
                    .ok_or_else(|| E::invalid_value(Unexpected::Unsigned(value), &self))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
                match u64::try_from(value) {
                    Ok(value) => self.visit_u64(value),
                    Err(_) => Err(E::invalid_value(Unexpected::Signed(value), &self)),
                }
            }
        }
        deserializer.deserialize_u64(V)
    }
}

impl<const MIN: u64, const MAX: u64> JsonSchema for Ranged<MIN, MAX> {
    fn schema_name() -> Cow<'static, str> {
        format!("Integer{MIN}To{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "minimum": MIN, "maximum": MAX})
    }
}

/// A duration from `MIN` to `MAX` milliseconds with a default of `DEFAULT` milliseconds.
///
/// Written as a number of seconds (`30`, `0.5`) or with a unit (`500ms`, `30s`, `5m`, `2h`, `1d`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span<const MIN: u64, const MAX: u64, const DEFAULT: u64>(u64);

impl<const MIN: u64, const MAX: u64, const DEFAULT: u64> Span<MIN, MAX, DEFAULT> {
    /// The duration of that many milliseconds, if it is within the bounds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Option<Self> {
        if millis >= MIN && millis <= MAX {
            Some(Self(millis))
        } else {
            None
        }
    }

    /// The duration.
    #[must_use]
    pub const fn get(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl<const MIN: u64, const MAX: u64, const DEFAULT: u64> Default for Span<MIN, MAX, DEFAULT> {
    fn default() -> Self {
        Self(DEFAULT)
    }
}

/// `1500` as `1500ms`, `60000` as `1m`: the largest unit that divides it.
pub(crate) fn show_millis(millis: u64) -> String {
    for (unit, size) in [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
    ] {
        if millis >= size && millis.is_multiple_of(size) {
            return format!("{}{unit}", millis / size);
        }
    }
    format!("{millis}ms")
}

/// The duration that a text stands for, as durations in the file are written: a number of seconds,
/// or with a unit (`500ms`, `30s`, `5m`, `2h`, `1d`). None if it is none.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    parse_millis(text).map(Duration::from_millis)
}

/// The milliseconds of `500ms`, `30s`, `5m`, `2h`, `1d` or of a bare number of seconds.
pub(crate) fn parse_millis(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let number: u64 = text.get(..digits)?.parse().ok()?;
    let unit: u64 = match text.get(digits..)? {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(unit)
}

impl<'de, const MIN: u64, const MAX: u64, const DEFAULT: u64> Deserialize<'de>
    for Span<MIN, MAX, DEFAULT>
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V<const MIN: u64, const MAX: u64, const DEFAULT: u64>;
        impl<const MIN: u64, const MAX: u64, const DEFAULT: u64> V<MIN, MAX, DEFAULT> {
            fn bounded<E: Error>(
                self,
                millis: u64,
                shown: Unexpected<'_>,
            ) -> Result<Span<MIN, MAX, DEFAULT>, E> {
                Span::from_millis(millis).ok_or_else(|| E::invalid_value(shown, &self))
            }
        }
        impl<const MIN: u64, const MAX: u64, const DEFAULT: u64> Visitor<'_> for V<MIN, MAX, DEFAULT> {
            type Value = Span<MIN, MAX, DEFAULT>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(
                    f,
                    "a duration from {} to {}, such as 30, 500ms, 30s, 5m or 1d",
                    show_millis(MIN),
                    show_millis(MAX)
                )
            }

            fn visit_u64<E: Error>(self, seconds: u64) -> Result<Self::Value, E> {
                self.bounded(seconds.saturating_mul(1_000), Unexpected::Unsigned(seconds))
            }

            fn visit_i64<E: Error>(self, seconds: i64) -> Result<Self::Value, E> {
                match u64::try_from(seconds) {
                    Ok(seconds) => self.visit_u64(seconds),
                    Err(_) => Err(E::invalid_value(Unexpected::Signed(seconds), &self)),
                }
            }

            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "checked to be finite and within 0 to 1e12 before the cast"
            )]
            fn visit_f64<E: Error>(self, seconds: f64) -> Result<Self::Value, E> {
                let millis = (seconds * 1_000.0).round();
                if (0.0..1e12).contains(&millis) {
                    self.bounded(millis as u64, Unexpected::Float(seconds))
                } else {
                    Err(E::invalid_value(Unexpected::Float(seconds), &self))
                }
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                match parse_millis(text) {
                    Some(millis) => self.bounded(millis, Unexpected::Str(text)),
                    None => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(V)
    }
}

impl<const MIN: u64, const MAX: u64, const DEFAULT: u64> JsonSchema for Span<MIN, MAX, DEFAULT> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Duration{MIN}To{MAX}Default{DEFAULT}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let bounds = format!("{} to {}", show_millis(MIN), show_millis(MAX));
        json_schema!({
            "description": format!("A duration, {bounds}: seconds, or with a unit (500ms, 30s, 5m, 1d)"),
            "anyOf": [
                {"type": "number", "minimum": MIN as f64 / 1000.0, "maximum": MAX as f64 / 1000.0},
                {"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)?$"}
            ],
            "default": show_millis(DEFAULT)
        })
    }
}

/// A network in CIDR notation, IPv4 or IPv6. A bare address is that one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr(pub IpNet);

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = Cidr;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a network such as 10.0.0.0/8 or 2001:db8::/32")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Cidr, E> {
                IpNet::from_str(text)
                    .or_else(|_| std::net::IpAddr::from_str(text).map(IpNet::from))
                    .map(Cidr)
                    .map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(V)
    }
}

impl JsonSchema for Cidr {
    fn schema_name() -> Cow<'static, str> {
        "Cidr".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "description": "A network in CIDR notation, or one address"})
    }
}

#[cfg(test)]
mod tests {
    use super::{parse_millis, show_millis};

    #[test]
    fn durations_are_read_with_every_unit() {
        let cases = [
            ("30", Some(30_000)),
            ("500ms", Some(500)),
            ("30s", Some(30_000)),
            ("5m", Some(300_000)),
            ("2h", Some(7_200_000)),
            ("1d", Some(86_400_000)),
            ("", None),
            ("s", None),
            ("-1s", None),
            ("1w", None),
            ("1 s", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
        ];
        for (text, millis) in cases {
            assert_eq!(parse_millis(text), millis, "{text:?}");
        }
    }

    #[test]
    fn durations_are_shown_in_their_largest_whole_unit() {
        for (millis, text) in [
            (0, "0ms"),
            (999, "999ms"),
            (1_500, "1500ms"),
            (60_000, "1m"),
            (90_000, "90s"),
            (86_400_000, "1d"),
        ] {
            assert_eq!(show_millis(millis), text);
        }
    }
}
