//! Actions: what a rule does with a request.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::limits::WEIGHT_MAX;
use crate::{Ranged, Retry, Span, Timeouts};

/// One action; the key named by `type` holds its settings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// Which action.
    #[serde(rename = "type")]
    pub kind: ActionKind,
    /// Short form of `forward` to one group.
    #[serde(default)]
    pub target_group: Option<String>,
    /// Settings of `forward`.
    #[serde(default)]
    pub forward: Option<Forward>,
    /// With `forward`: what is tried again, in place of what the group says.
    #[serde(default)]
    pub retry: Option<Retry>,
    /// With `forward`: time limits, each in place of the group's.
    #[serde(default)]
    pub timeouts: Option<Timeouts>,
    /// Settings of `redirect`.
    #[serde(default)]
    pub redirect: Option<Redirect>,
    /// Settings of `fixed_response`.
    #[serde(default)]
    pub fixed_response: Option<FixedResponse>,
}

/// The kinds of actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// To a target of a group.
    Forward,
    /// To another URL, by the client.
    Redirect,
    /// An answer from the file.
    FixedResponse,
}

/// One group, or several by weight.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    /// The groups. At least one with a weight above 0.
    pub target_group: Vec<ForwardTarget>,
    /// Whether requests that were drawn for a group that has no healthy target go to the others
    /// (default `false`: as at ALB, each group keeps its share).
    #[serde(default)]
    pub failover: bool,
    /// Keeps a client at the group that it first came to.
    #[serde(default)]
    pub stickiness: Option<GroupStickiness>,
}

/// A group and its share.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForwardTarget {
    /// The name of a target group.
    pub name: String,
    /// Its share is this over the sum of all (0 to 999, default 1).
    #[serde(default = "one")]
    pub weight: Ranged<0, WEIGHT_MAX>,
}

#[allow(
    clippy::unnecessary_literal_unwrap,
    reason = "1 is within the bounds; checked when the constant is built"
)]
fn one() -> Ranged<0, WEIGHT_MAX> {
    const ONE: Option<Ranged<0, WEIGHT_MAX>> = Ranged::new(1);
    match ONE {
        Some(one) => one,
        None => unreachable!(),
    }
}

/// Stickiness of a weighted forward.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupStickiness {
    /// Off by default.
    #[serde(default)]
    pub enabled: bool,
    /// How long a client stays (1 s to 7 d).
    #[serde(default)]
    pub duration: Span<1_000, 604_800_000, 86_400_000>,
}

/// A redirect; each part may hold `#{protocol}`, `#{host}`, `#{port}`, `#{path}`, `#{query}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// The status code.
    pub status_code: RedirectStatus,
    /// `HTTP`, `HTTPS` or `#{protocol}` (the default).
    #[serde(default = "protocol")]
    pub protocol: String,
    /// Default `#{host}`.
    #[serde(default = "host")]
    pub host: String,
    /// Default `#{port}`.
    #[serde(default = "port")]
    pub port: String,
    /// Starts with `/`; default `/#{path}`.
    #[serde(default = "path")]
    pub path: String,
    /// Without the leading `?`; default `#{query}`.
    #[serde(default = "query")]
    pub query: String,
}

fn protocol() -> String {
    "#{protocol}".to_owned()
}
fn host() -> String {
    "#{host}".to_owned()
}
fn port() -> String {
    "#{port}".to_owned()
}
fn path() -> String {
    "/#{path}".to_owned()
}
fn query() -> String {
    "#{query}".to_owned()
}

/// The status codes of redirects; ALB has the first two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum RedirectStatus {
    /// 301 Moved Permanently.
    #[serde(rename = "HTTP_301")]
    MovedPermanently,
    /// 302 Found.
    #[serde(rename = "HTTP_302")]
    Found,
    /// 303 See Other.
    #[serde(rename = "HTTP_303")]
    SeeOther,
    /// 307 Temporary Redirect.
    #[serde(rename = "HTTP_307")]
    Temporary,
    /// 308 Permanent Redirect.
    #[serde(rename = "HTTP_308")]
    Permanent,
}

impl RedirectStatus {
    /// The number of the status.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::MovedPermanently => 301,
            Self::Found => 302,
            Self::SeeOther => 303,
            Self::Temporary => 307,
            Self::Permanent => 308,
        }
    }
}

/// An answer from the file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FixedResponse {
    /// A status of 2xx, 4xx or 5xx.
    pub status_code: Ranged<200, 599>,
    /// Default `text/plain`.
    #[serde(default = "text_plain")]
    pub content_type: String,
    /// Default empty.
    #[serde(default)]
    pub message_body: String,
}

fn text_plain() -> String {
    "text/plain".to_owned()
}
