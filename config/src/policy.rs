//! What a rule does besides its action, beyond ALB.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::limits::{BODY_LIMIT_MAX, RATE_KEYS_MAX, RATE_MAX};
use crate::values::ranged;
use crate::{Cidr, HashPolicy, Ranged, Span};

/// What is done to requests and responses besides the action. A key of a rule's own policy counts
/// in place of the same key of its listener's; header changes of both hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Only these networks get through; others get 403. Absent: all. The TCP peer counts, never
    /// `X-Forwarded-For`.
    pub source_ip_allow: Option<Vec<Cidr>>,
    /// These networks get 403, also if they are allowed.
    pub source_ip_deny: Option<Vec<Cidr>>,
    /// How many requests one client may make; beyond it 429.
    pub rate_limit: Option<RateLimit>,
    /// Cross-origin requests of browsers. Preflight requests are answered here.
    pub cors: Option<Cors>,
    /// Names and passwords; without one of them 401.
    pub basic_auth: Option<BasicAuth>,
    /// The largest request body, in bytes; beyond it 413. Absent: any.
    pub request_body_limit: Option<Ranged<0, BODY_LIMIT_MAX>>,
    /// Which responses are compressed for clients that accept it. Absent: none.
    pub compression: Option<Compression>,
    /// What is done to the fields of requests for targets.
    pub request_headers: Option<HeaderEdits>,
    /// What is done to the fields of responses, whoever made them.
    pub response_headers: Option<HeaderEdits>,
}

/// Changes of header fields: names and values.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderEdits {
    /// In place of all fields of that name.
    pub set: BTreeMap<String, String>,
    /// Behind the fields that are there.
    pub add: BTreeMap<String, String>,
    /// Left out.
    pub remove: Vec<String>,
}

/// Compression of responses (RFC 9110 §8.4). Each key may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Compression {
    /// Of those that a client likes alike, the first is taken (default `[br, zstd, gzip]`). An empty
    /// list: nothing is compressed, whatever the listener says.
    pub algorithms: Vec<ContentCoding>,
    /// Types of content, in which `*` stands for any characters. Default: text and its like.
    pub content_types: Vec<String>,
    /// What states a smaller length stays as it is (default 1024 bytes).
    pub min_length: Ranged<1, BODY_LIMIT_MAX>,
    /// From 1, quick, to 9, small (default 4).
    pub level: Ranged<1, 9>,
}

impl Default for Compression {
    fn default() -> Self {
        let types = [
            "text/*",
            "application/json",
            "application/*+json",
            "application/javascript",
            "application/xml",
            "application/*+xml",
            "application/wasm",
            "image/svg+xml",
        ];
        Self {
            algorithms: vec![ContentCoding::Br, ContentCoding::Zstd, ContentCoding::Gzip],
            content_types: types.map(str::to_owned).to_vec(),
            min_length: ranged(1024),
            level: ranged(4),
        }
    }
}

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ContentCoding {
    /// Brotli (RFC 7932).
    Br,
    /// Zstandard (RFC 8878).
    Zstd,
    /// RFC 1952.
    Gzip,
}

/// So many requests in so much time, for each value of a part of the request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// How many in a period, spread evenly.
    pub requests: Ranged<1, RATE_MAX>,
    /// The period (default 1 s; 1 s to 1 d).
    #[serde(default)]
    pub period: Span<1_000, 86_400_000, 1_000>,
    /// How many may come at once. Absent: as many as in a period.
    #[serde(default)]
    pub burst: Option<Ranged<1, RATE_MAX>>,
    /// What requests are counted by. Absent: the address of the TCP peer.
    #[serde(default)]
    pub key: Option<HashPolicy>,
    /// How many values are remembered at once (default 65,536).
    #[serde(default = "keys")]
    pub max_keys: Ranged<1024, RATE_KEYS_MAX>,
}

#[allow(
    clippy::unnecessary_literal_unwrap,
    reason = "it is within the bounds; checked when the constant is built"
)]
fn keys() -> Ranged<1024, RATE_KEYS_MAX> {
    const KEYS: Option<Ranged<1024, RATE_KEYS_MAX>> = Ranged::new(65_536);
    match KEYS {
        Some(keys) => keys,
        None => unreachable!(),
    }
}

/// Which pages of other origins may read responses (Fetch, "CORS protocol").
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cors {
    /// Origins such as `https://shop.example`; one `*` in a host stands for any characters without
    /// a `/`; `*` alone for all origins. At least one.
    pub allow_origins: Vec<String>,
    /// Methods beside GET, HEAD and POST.
    #[serde(default)]
    pub allow_methods: Vec<String>,
    /// Request fields; `*` stands for all that are asked for.
    #[serde(default)]
    pub allow_headers: Vec<String>,
    /// Response fields that pages may read.
    #[serde(default)]
    pub expose_headers: Vec<String>,
    /// Requests with cookies; not with all origins.
    #[serde(default)]
    pub allow_credentials: bool,
    /// How long a browser may remember the answer to a preflight request (default 2 h; 0 to 1 d).
    #[serde(default)]
    pub max_age: Span<0, 86_400_000, 7_200_000>,
}

/// HTTP Basic authentication (RFC 7617).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BasicAuth {
    /// What browsers show (default `Restricted`).
    #[serde(default = "realm")]
    pub realm: String,
    /// Names, and bcrypt hashes of their passwords as `htpasswd -B` makes them. At least one.
    pub users: BTreeMap<String, PasswordHash>,
}

fn realm() -> String {
    "Restricted".to_owned()
}

/// A bcrypt hash. It is never shown.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// The text, for the one place that compares with it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The cost, if it is a bcrypt hash.
    pub(crate) fn cost(&self) -> Option<u32> {
        let rest = ["$2a$", "$2b$", "$2y$"]
            .iter()
            .find_map(|prefix| self.0.strip_prefix(prefix))?;
        let (cost, rest) = rest.split_once('$')?;
        let digit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '/');
        let whole = cost.len() == 2 && rest.len() == 53 && rest.chars().all(digit);
        whole.then(|| cost.parse().ok())?
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}
