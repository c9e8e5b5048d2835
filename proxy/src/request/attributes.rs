//! ALB's load balancer attributes as requests are written by them.

use longshore_config::{LoadBalancer, TraceParent, XffMode};

/// The attributes of all listeners; see `longshore_config::LoadBalancer`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// What becomes of `X-Forwarded-For`.
    pub xff: XffMode,
    /// The client's port stands behind its address.
    pub client_port: bool,
    /// The Host goes on as it came.
    pub preserve_host: bool,
    /// Fields with unusual names do not go on.
    pub drop_invalid: bool,
    /// `X-Amzn-Trace-Id` is made.
    pub trace_id: bool,
    /// What becomes of `traceparent`.
    pub traceparent: TraceParent,
}

impl From<&LoadBalancer> for Attributes {
    fn from(config: &LoadBalancer) -> Self {
        Self {
            xff: config.xff_header_processing_mode,
            client_port: config.enable_xff_client_port,
            preserve_host: config.preserve_host_header,
            drop_invalid: config.drop_invalid_header_fields,
            trace_id: config.enable_x_amzn_trace_id.0,
            traceparent: config.traceparent,
        }
    }
}

impl Attributes {
    /// Whether anything is made of a trace seed.
    #[must_use]
    pub fn makes_traces(&self) -> bool {
        self.trace_id || self.traceparent == TraceParent::Create
    }
}

/// ALB: a valid name is `[-A-Za-z0-9]+`.
#[must_use]
pub fn is_valid_name(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}
