//! ALB's named security policies: those that can be served, and what stands for the others.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

const PREFIX: &str = "ELBSecurityPolicy-";

/// A security policy that can be served: TLS 1.2 and 1.3, with key exchanges that keep earlier
/// traffic secret and ciphers that authenticate what they encrypt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SslPolicy {
    /// `TLS13-1-2-Res-PQ-2025-09`, what the AWS console sets.
    #[default]
    Tls12ResPq,
    /// `TLS13-1-2-Res-2021-06`.
    Tls12Res,
    /// `TLS13-1-3-PQ-2025-09`.
    Tls13Pq,
    /// `TLS13-1-3-2021-06`.
    Tls13,
    /// `FS-1-2-Res-2020-10`.
    FsRes,
}

/// ALB's other policies, and what of each is not served.
const REFUSED: [(&str, &str); 19] = [
    ("TLS13-1-2-2021-06", CBC),
    ("TLS13-1-2-PQ-2025-09", CBC),
    ("TLS13-1-2-Ext1-2021-06", RSA),
    ("TLS13-1-2-Ext1-PQ-2025-09", RSA),
    ("TLS13-1-2-Ext2-2021-06", RSA),
    ("TLS13-1-2-Ext2-PQ-2025-09", RSA),
    ("TLS13-1-1-2021-06", OLD),
    ("TLS13-1-0-2021-06", OLD),
    ("TLS13-1-0-PQ-2025-09", OLD),
    ("TLS-1-2-2017-01", RSA),
    ("TLS-1-2-Ext-2018-06", RSA),
    ("TLS-1-1-2017-01", OLD),
    ("2016-08", OLD),
    ("2015-05", OLD),
    ("TLS-1-0-2015-04", OLD),
    ("FS-1-2-Res-2019-08", CBC),
    ("FS-1-2-2019-08", CBC),
    ("FS-1-1-2019-08", OLD),
    ("FS-2018-06", OLD),
];

const CBC: &str = "CBC cipher suites";
const RSA: &str = "CBC cipher suites and RSA key exchange";
const OLD: &str = "TLS 1.0 or 1.1, CBC cipher suites";
const FIPS: &str = "a cipher library in its FIPS-validated build";

impl SslPolicy {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Tls12ResPq,
        Self::Tls12Res,
        Self::Tls13Pq,
        Self::Tls13,
        Self::FsRes,
    ];

    /// ALB's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tls12ResPq => "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09",
            Self::Tls12Res => "ELBSecurityPolicy-TLS13-1-2-Res-2021-06",
            Self::Tls13Pq => "ELBSecurityPolicy-TLS13-1-3-PQ-2025-09",
            Self::Tls13 => "ELBSecurityPolicy-TLS13-1-3-2021-06",
            Self::FsRes => "ELBSecurityPolicy-FS-1-2-Res-2020-10",
        }
    }

    /// TLS 1.2 is spoken.
    #[must_use]
    pub const fn has_tls12(self) -> bool {
        !matches!(self, Self::Tls13 | Self::Tls13Pq)
    }

    /// TLS 1.3 is spoken.
    #[must_use]
    pub const fn has_tls13(self) -> bool {
        !matches!(self, Self::FsRes)
    }

    /// Keys are exchanged by hybrids with ML-KEM, if the client can.
    #[must_use]
    pub const fn is_post_quantum(self) -> bool {
        matches!(self, Self::Tls12ResPq | Self::Tls13Pq)
    }

    /// The policy of that name, or what is wrong with the name and what would be right.
    fn read(name: &str) -> Result<Self, String> {
        if let Some(policy) = Self::ALL.into_iter().find(|policy| policy.name() == name) {
            return Ok(policy);
        }
        let short = name.strip_prefix(PREFIX).unwrap_or_default();
        let refused = REFUSED.iter().find(|(of, _)| *of == short);
        let needs = match refused {
            Some((_, needs)) => needs,
            None if is_fips(short) => FIPS,
            None => {
                let names = Self::ALL.map(Self::name);
                let near = names
                    .into_iter()
                    .map(|known| (strsim::jaro(known, name), known))
                    .max_by(|a, b| a.0.total_cmp(&b.0));
                let near = near.map_or(Self::default().name(), |(_, known)| known);
                return Err(format!(
                    "ALB has no security policy {name:?}; did you mean `{near}`?"
                ));
            }
        };
        Err(format!(
            "`{name}` needs {needs}, which are not served; the nearest policy is `{}`",
            Self::nearest(short).name()
        ))
    }

    /// The policy with the same highest version, and hybrids if the name has them.
    fn nearest(short: &str) -> Self {
        match (short.contains("PQ"), short.split_once("1-3-").is_some()) {
            (true, true) => Self::Tls13Pq,
            (false, true) => Self::Tls13,
            (true, false) => Self::Tls12ResPq,
            (false, false) if short.starts_with("TLS13") => Self::Tls12Res,
            (false, false) => Self::FsRes,
        }
    }
}

/// Whether it is the short name of one of ALB's policies of FIPS.
fn is_fips(short: &str) -> bool {
    let Some(versions) = short.strip_prefix("TLS13-1-") else {
        return false;
    };
    let plain = |end: &str, known: &[&str]| {
        versions
            .strip_suffix(end)
            .is_some_and(|start| known.contains(&start))
    };
    let common = ["3", "2", "2-Res", "2-Ext0", "2-Ext1", "2-Ext2", "0"];
    plain("-FIPS-PQ-2025-09", &common)
        || plain("-FIPS-2023-04", &common)
        || versions == "1-FIPS-2023-04"
        || plain(
            "-FIPS-2023-07",
            &[
                "3-RFC9151",
                "2-RFC9151",
                "2-Ext0-RFC9151",
                "2-RFC9151-INTEROP1",
                "2-RFC9151-INTEROP2",
                "2-RFC9151-INTEROP3",
                "2-RFC9151-INTEROP4",
            ],
        )
}

impl<'de> Deserialize<'de> for SslPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = SslPolicy;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(
                    f,
                    "the name of a security policy, such as {}",
                    SslPolicy::default().name()
                )
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<SslPolicy, E> {
                SslPolicy::read(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(V)
    }
}

impl JsonSchema for SslPolicy {
    fn schema_name() -> Cow<'static, str> {
        "SslPolicy".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": Self::ALL.map(Self::name) })
    }
}

#[cfg(test)]
mod tests {
    use super::{PREFIX, REFUSED, SslPolicy};

    #[test]
    fn every_policy_that_is_served_has_its_own_name() {
        for policy in SslPolicy::ALL {
            assert_eq!(SslPolicy::read(policy.name()), Ok(policy));
        }
    }

    #[test]
    fn a_policy_that_is_not_served_names_what_it_needs_and_the_nearest_one() {
        let error = |name: &str| SslPolicy::read(&format!("{PREFIX}{name}")).expect_err(name);
        for (name, wanted) in [
            ("2016-08", "FS-1-2-Res-2020-10"),
            ("TLS-1-2-Ext-2018-06", "FS-1-2-Res-2020-10"),
            ("FS-1-2-Res-2019-08", "FS-1-2-Res-2020-10"),
            ("TLS13-1-2-2021-06", "TLS13-1-2-Res-2021-06"),
            ("TLS13-1-0-2021-06", "TLS13-1-2-Res-2021-06"),
            ("TLS13-1-2-Ext2-PQ-2025-09", "TLS13-1-2-Res-PQ-2025-09"),
            ("TLS13-1-3-FIPS-2023-04", "TLS13-1-3-2021-06"),
            ("TLS13-1-2-Res-FIPS-PQ-2025-09", "TLS13-1-2-Res-PQ-2025-09"),
            (
                "TLS13-1-2-RFC9151-INTEROP4-FIPS-2023-07",
                "TLS13-1-2-Res-2021-06",
            ),
        ] {
            let error = error(name);
            assert!(
                error.contains(&format!("nearest policy is `{PREFIX}{wanted}`")),
                "{error}"
            );
        }
        for (name, needs) in REFUSED {
            assert!(error(name).contains(needs), "{name}");
        }
        let error = error("TLS13-1-2-Res-2021-07");
        assert!(
            error.contains("did you mean `ELBSecurityPolicy-TLS13-1-2-Res-2021-06`"),
            "{error}"
        );
    }
}
