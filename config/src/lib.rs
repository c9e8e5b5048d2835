//! The configuration file of Longshore: its format, bounds, defaults and errors.
//!
//! This is the only crate that derives `Deserialize` for the file. Keys and nesting follow
//! Terraform's `aws_lb_listener`, `aws_lb_listener_rule` and `aws_lb_target_group`; a group's
//! `name` stands where Terraform has an ARN.
//!
//! Reading order: [`Config`] and its parts say what a file can hold, [`limits`] every bound,
//! [`load`] and [`parse`] how a text becomes a [`Config`], [`ConfigErrors`] what a reader of a
//! bad file sees.

mod action;
mod attributes;
mod balancing;
mod check;
mod cookie_key;
mod decode;
mod difference;
mod discovery;
mod env;
mod error;
mod file;
mod group_health;
mod health_check;
mod label_discovery;
mod labels;
pub mod limits;
mod listener;
mod logs;
mod matcher;
mod node;
mod outlier;
mod policy;
mod proxy_protocol;
mod regex;
mod retry;
mod rule;
mod schema;
mod ssl_policy;
mod target_group;
mod tls;
mod transform;
mod validate;
mod values;
mod warnings;
mod written;

pub use action::{
    Action, ActionKind, FixedResponse, Forward, ForwardTarget, GroupStickiness, Redirect,
    RedirectStatus,
};
pub use attributes::{ResponseHeaders, TlsHeaderNames, TraceParent, XffMode};
pub use balancing::{Algorithm, AnomalyMitigation, CrossZone, HashOn, HashPolicy};
pub use check::{Check, GRPC_HEALTH_PATH};
pub use cookie_key::CookieKey;
pub use difference::{Difference, differences};
pub use discovery::{
    ConsulDiscovery, Discovery, DnsDiscovery, DnsRecordType, DockerDiscovery, EcsDiscovery,
    FileDiscovery, Secret,
};
pub use env::Environment;
pub use error::{ConfigError, ConfigErrors, Position};
pub use file::{load, located, parse};
pub use group_health::{
    DnsFailover, MinimumHealthy, OrOff, TargetGroupHealth, UnhealthyStateRouting,
};
pub use health_check::{BodyMatch, CheckMethod, CheckPort, CheckProtocol, HealthCheck};
pub use label_discovery::{DockerEngine, EcsCluster, LabelDiscovery};
pub use labels::{Exposure, LabelFault, LabelPort, LabelRule, Labels};
pub use listener::{Listener, ListenerProtocol};
pub use logs::{AccessLogs, LogFormat, PlainLogs};
pub use matcher::Matcher;
pub use outlier::OutlierDetection;
pub use policy::{
    BasicAuth, Compression, ContentCoding, Cors, HeaderEdits, Mirror, PasswordHash, Policy,
    RateLimit,
};
pub use proxy_protocol::{AcceptProxy, ProxyProtocol};
pub use regex::regex;
pub use retry::{Retry, RetryBudget, RetryMethods, RetryOn, TargetControl, Timeouts};
pub use rule::{Condition, HttpHeaderCondition, Patterns, QueryStringPair, Rule, Values};
pub use schema::schema;
pub use ssl_policy::SslPolicy;
pub use target_group::{
    FixedTarget, ProtocolVersion, Stickiness, StickinessType, TargetGroup, TargetProtocol,
};
pub use tls::{
    CertificateFiles, MutualAuthentication, MutualMode, Switch, TargetTls, TargetVerification,
};
pub use transform::{Piece, Rewrite, RewriteConfig, Transform, TransformKind};
pub use values::{Cidr, Port, Ranged, Span, parse_duration};
pub use warnings::Warning;
pub use written::{HIDDEN, Written};

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Deserialize;

/// A whole configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The admin server: `/livez`, `/readyz`, `/metrics`, `/targets`. Off when absent.
    #[serde(default)]
    pub admin: Option<Admin>,
    /// What belongs to the process, not to traffic.
    #[serde(default)]
    pub runtime: Runtime,
    /// ALB's load balancer attributes; they hold for every listener.
    #[serde(default)]
    pub load_balancer: LoadBalancer,
    /// The addresses that clients connect to. At least one.
    pub listeners: Vec<Listener>,
    /// The groups of targets that rules forward to.
    #[serde(default)]
    pub target_groups: Vec<TargetGroup>,
    /// Where labels of containers make more groups and rules.
    #[serde(default)]
    pub label_discovery: Vec<LabelDiscovery>,
    /// The file as it was written.
    #[serde(skip)]
    pub written: Written,
}

impl Config {
    /// One that nothing is in, which no file can be.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            admin: None,
            runtime: Runtime::default(),
            load_balancer: LoadBalancer::default(),
            listeners: Vec::new(),
            target_groups: Vec::new(),
            label_discovery: Vec::new(),
            written: Written::default(),
        }
    }

    /// Whether anything keeps clients where they are.
    #[must_use]
    pub fn has_stickiness(&self) -> bool {
        let of_rules = self.listeners.iter().flat_map(|listener| {
            let rules = listener.rules.iter().flat_map(|rule| &rule.action);
            listener.default_action.iter().chain(rules)
        });
        let mut forwards = of_rules.filter_map(|action| action.forward.as_ref());
        let mut groups = self.target_groups.iter();
        forwards.any(|forward| forward.stickiness.as_ref().is_some_and(|with| with.enabled))
            || groups.any(|group| group.stickiness.as_ref().is_some_and(|with| with.enabled))
    }
}

impl Config {
    /// The groups that requests are copied to.
    pub fn groups_mirrored(&self) -> impl Iterator<Item = &str> {
        self.listeners.iter().flat_map(|listener| {
            let rules = listener.rules.iter().map(|rule| rule.policy.as_ref());
            let policies = rules.chain([listener.policy.as_ref()]).flatten();
            let mirrors = policies.filter_map(|policy| policy.mirror.as_ref());
            mirrors.map(|mirror| mirror.target_group.as_str())
        })
    }

    /// The groups that a rule forwards to. Without listeners: all of them, because then nobody asks
    /// for requests.
    pub fn groups_in_use(&self) -> impl Iterator<Item = &str> {
        let of_rules = self.listeners.iter().flat_map(|listener| {
            let rules = listener.rules.iter().flat_map(|rule| &rule.action);
            listener.default_action.iter().chain(rules)
        });
        let named = of_rules.flat_map(|action| {
            let weighted = action.forward.iter().flat_map(|with| &with.target_group);
            let weighted = weighted.map(|target| target.name.as_str());
            action.target_group.as_deref().into_iter().chain(weighted)
        });
        let all = self.target_groups.iter().map(|group| group.name.as_str());
        named.chain(all.filter(|_| self.listeners.is_empty()))
    }
}

/// The admin server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Where it listens. Beyond loopback only with a `token`.
    pub address: SocketAddr,
    /// What everybody has to show who asks for more than `/livez` and `/readyz`: as a bearer token,
    /// or in a browser as the password of any user. 16 to 1024 visible ASCII characters.
    #[serde(default)]
    pub token: Option<Secret>,
    /// Names by which the server is called besides addresses and `localhost`, without a port.
    #[serde(default)]
    pub allowed_hosts: Vec<String>,
    /// How many of the latest requests that went badly each worker keeps for `longshore explain`,
    /// and a fifth as many of the others (default 500, 0 to 100,000), in at most 2 KiB for each; of
    /// those that are longer fewer are kept.
    #[serde(default = "recent_requests")]
    pub recent_requests: Ranged<0, 100_000>,
}

fn recent_requests() -> Ranged<0, 100_000> {
    const MOST: Option<Ranged<0, 100_000>> = Ranged::new(500);
    MOST.expect("500 is within the bounds")
}

/// Settings of the process.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Runtime {
    /// Worker threads. Absent: one for each core that the process may use.
    pub workers: Option<Ranged<1, 1024>>,
    /// How long SIGTERM waits for requests in flight before the process ends anyway
    /// (default 30 s).
    pub drain_timeout: Span<0, 3_600_000, 30_000>,
    /// How long SIGTERM waits before it closes the listeners, while `/readyz` says 503, so that
    /// whoever sends requests here learns of it first (default 0).
    pub shutdown_delay: Span<0, 3_600_000, 0>,
    /// The most client connections; beyond it 503. Absent: as many as there are descriptors.
    pub max_connections: Option<Ranged<1, 10_000_000>>,
    /// The most client connections from one address, or one /64 of IPv6; beyond it 503.
    pub max_connections_per_source: Option<Ranged<1, 1_000_000>>,
    /// The most memory of the process in bytes (resident, 32 MiB to 1 TiB); while it has more, new
    /// client connections get 503, and with an eighth more all new requests do. Absent: no limit.
    pub max_memory: Option<Ranged<33_554_432, 1_099_511_627_776>>,
    /// The file is read again when it has changed, as at SIGHUP (default false).
    pub reload_on_change: bool,
    /// WebSockets whose target drains, and all of them when the process drains, are closed one by
    /// one over this time, so that their clients do not all come back at once; at most over half
    /// of `deregistration_delay` and `drain_timeout` (default 5 s).
    pub websocket_close_spread: Span<0, 3_600_000, 5_000>,
    /// Where the last good targets of each discovered group are kept, so that a restart serves
    /// while discovery does not answer. Absent: nowhere.
    pub state_directory: Option<std::path::PathBuf>,
    /// What cookies of sticky sessions are sealed with: the first key seals, all of them open, so
    /// that keys can be rotated. Absent: a random one for each start, which other replicas and the
    /// next start do not know.
    pub cookie_keys: Vec<CookieKey>,
    /// What TLS session tickets are sealed with: the first key seals, all of them open. Absent: a
    /// random one for each start, and clients of an earlier start or of another replica make a full
    /// handshake.
    pub session_ticket_keys: Vec<CookieKey>,
    /// The same from a file, one key a line, after those in `session_ticket_keys`. It is read at
    /// the start and at a reload.
    pub session_ticket_key_file: Option<std::path::PathBuf>,
    /// The availability zone that this process is in, named as the zones of targets are. Absent:
    /// zones do not matter.
    pub zone: Option<String>,
}

/// ALB's load balancer attributes (`aws_lb`), for every listener.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LoadBalancer {
    /// ALB `idle_timeout.timeout_seconds`: the longest time without a byte in either direction,
    /// and the longest wait for a target's response head (default 60 s, 1 s to 4000 s).
    pub idle_timeout: Span<1_000, 4_000_000, 60_000>,
    /// ALB `client_keep_alive.seconds`: the longest life of a client connection. The first
    /// response after it carries `Connection: close` (default 3600 s, 60 s to 7 d).
    pub client_keep_alive: Span<60_000, 604_800_000, 3_600_000>,
    /// How long a client may take from the first byte of a request to the end of its head;
    /// beyond it the answer is 408 (default 30 s, 1 s to 300 s). ALB has only its idle time
    /// limit here, which a client that sends a byte a minute never meets.
    pub request_header_timeout: Span<1_000, 300_000, 30_000>,
    /// How long connecting to a target may take before the next target is tried, or 504
    /// (ALB: 10 s, fixed; 10 ms to 60 s).
    pub connect_timeout: Span<10, 60_000, 10_000>,
    /// How long the TLS handshake with a client may take (default 10 s, 1 s to 60 s).
    pub tls_handshake_timeout: Span<1_000, 60_000, 10_000>,
    /// ALB `routing.http.x_amzn_tls_version_and_cipher_suite.enabled`: targets are told the version
    /// and the cipher of the client's TLS (default false).
    pub enable_tls_version_and_cipher_suite_headers: bool,
    /// Which spellings of a path are made one before rules see it and before it is sent on.
    pub path_normalization: PathNormalization,
    /// Zones whose targets get no requests.
    pub zonal_shift: ZonalShift,
    /// The access log. Absent: none.
    pub access_logs: Option<AccessLogs>,
    /// A line for each client connection. Absent: none.
    pub connection_logs: Option<PlainLogs>,
    /// A line for each health check. Absent: none.
    pub health_check_logs: Option<PlainLogs>,
    /// ALB `routing.http.desync_mitigation_mode`: what happens to requests that readers could
    /// understand differently (`monitor`, `defensive`, `strictest`; default `defensive`).
    pub desync_mitigation_mode: DesyncMitigationMode,
    /// In `defensive`, GET and HEAD requests may have a body, as at ALB; both connections end with
    /// them (default false).
    pub allow_get_body: bool,
    /// What becomes of `X-Forwarded-For` (default `append`).
    pub xff_header_processing_mode: XffMode,
    /// With `append`: the client's port stands behind its address (default false).
    pub enable_xff_client_port: bool,
    /// The target gets the Host as the client sent it. Off (the default), it is in small letters,
    /// without a port on a listener at 80 or 443, and with the listener's port elsewhere.
    pub preserve_host_header: bool,
    /// Request fields whose names hold other characters than letters, digits and `-` are left out
    /// (default false).
    pub drop_invalid_header_fields: bool,
    /// Requests get `X-Amzn-Trace-Id`, as ALB makes it (default true).
    pub enable_x_amzn_trace_id: OnByDefault,
    /// W3C trace context (default `preserve`).
    pub traceparent: TraceParent,
    /// ALB `routing.http2.enabled`: clients may speak HTTP/2 (default true).
    pub enable_http2: OnByDefault,
    /// The `server` field of answers that Longshore makes itself (default `longshore`; ALB says
    /// `awselb/2.0`).
    pub server_header: ServerHeader,
}

/// A switch that is on unless it is set to false.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct OnByDefault(pub bool);

impl Default for OnByDefault {
    fn default() -> Self {
        Self(true)
    }
}

/// A name for the `server` field.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ServerHeader(pub String);

impl Default for ServerHeader {
    fn default() -> Self {
        Self("longshore".to_owned())
    }
}

/// Moves requests away from zones (ALB: a zonal shift).
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ZonalShift {
    /// The zones, spelled as those of targets are.
    pub away_from: Vec<String>,
}

/// What happens to requests that are not as RFC 9112 wants them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DesyncMitigationMode {
    /// What can be read goes on, unless it is severe; what is ambiguous on connections that are
    /// not used again.
    Monitor,
    /// What is ambiguous or severe is refused.
    #[default]
    Defensive,
    /// What is not compliant is refused.
    Strictest,
}

/// What is made one of the spellings of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PathNormalization {
    /// What RFC 3986 calls equivalent, and `//` is `/`; what two readers could take for two paths
    /// is refused.
    #[default]
    Strict,
    /// What RFC 3986, section 6.2.2, calls equivalent. A `%` without two digits is refused.
    Rfc3986,
    /// The path is used as it came.
    None,
}
