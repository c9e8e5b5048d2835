//! Passive health: which targets are taken out because of the requests that they got.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::values::ranged;
use crate::{Ranged, Span};

/// When requests take a target out, for how long, and how it comes back.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OutlierDetection {
    /// On by default.
    pub enabled: bool,
    /// So many refused connections in a row (default 1; 0: never).
    pub refused_connections: Ranged<0, 1000>,
    /// So many requests in a row without a response: no connection, a reset, silence, no HTTP
    /// (default 5; 0: never).
    pub consecutive_failures: Ranged<0, 1000>,
    /// So many of those, or responses 502, 503 or 504, in a row (default 0: never).
    pub consecutive_gateway_errors: Ranged<0, 1000>,
    /// So many of those, or responses 5xx, in a row (default 0: never).
    pub consecutive_5xx: Ranged<0, 1000>,
    /// This percentage of its requests in an `interval` failed, twice as many as those of the
    /// others (default 0: never).
    pub failure_percent: Ranged<0, 100>,
    /// Its response heads took this many times as long as the median of the others in an `interval`
    /// (default 0: never).
    pub latency_factor: Ranged<0, 1000>,
    /// Fewer requests in an `interval` say nothing of percentages and latencies (default 100).
    pub request_volume: Ranged<1, 1_000_000>,
    /// From one comparison to the next (default 10 s).
    pub interval: Span<100, 300_000, 10_000>,
    /// How long a target stays out, doubled each time that it fails again (default 10 s).
    pub base_ejection_time: Span<100, 3_600_000, 10_000>,
    /// The longest time (default 300 s).
    pub max_ejection_time: Span<100, 3_600_000, 300_000>,
    /// The most of the healthy targets that are out, in percent; one of two may always be, and one
    /// always stays (default 50).
    pub max_ejection_percent: Ranged<1, 100>,
    /// So many requests, one at first, must succeed before a target has its share again (default 3).
    pub trial_requests: Ranged<1, 100>,
}

impl Default for OutlierDetection {
    fn default() -> Self {
        Self {
            enabled: true,
            refused_connections: const { ranged(1) },
            consecutive_failures: const { ranged(5) },
            consecutive_gateway_errors: const { ranged(0) },
            consecutive_5xx: const { ranged(0) },
            failure_percent: const { ranged(0) },
            latency_factor: const { ranged(0) },
            request_volume: const { ranged(100) },
            interval: Span::default(),
            base_ejection_time: Span::default(),
            max_ejection_time: Span::default(),
            max_ejection_percent: const { ranged(50) },
            trial_requests: const { ranged(3) },
        }
    }
}
