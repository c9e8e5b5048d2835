//! ALB's attributes that name header fields: of the load balancer, and of a listener.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::Listener;

/// What becomes of `X-Forwarded-For` on the way to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum XffMode {
    /// The client's address is added at its end.
    #[default]
    Append,
    /// It goes on as it came; without one there is none.
    Preserve,
    /// It is left out.
    Remove,
}

/// What becomes of W3C trace context (`traceparent`, `tracestate`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TraceParent {
    /// It goes on as it came.
    #[default]
    Preserve,
    /// A request without `traceparent` gets one.
    Create,
}

/// The response fields that a listener sets, by their names: each is written into every response,
/// in place of the target's own.
pub type ResponseHeaders<'l> = [(&'static str, &'static str, Option<&'l str>); 10];

/// The names that a listener gives to the fields about TLS and client certificates. None: ALB's.
pub type TlsHeaderNames<'l> = [(&'static str, &'static str, Option<&'l str>); 8];

impl Listener {
    /// Each `routing_http_response_…_header_value`: the key, the field, and its value if there is
    /// one.
    #[must_use]
    pub fn response_headers(&self) -> ResponseHeaders<'_> {
        [
            (
                "routing_http_response_strict_transport_security_header_value",
                "Strict-Transport-Security",
                text(&self.routing_http_response_strict_transport_security_header_value),
            ),
            (
                "routing_http_response_access_control_allow_origin_header_value",
                "Access-Control-Allow-Origin",
                text(&self.routing_http_response_access_control_allow_origin_header_value),
            ),
            (
                "routing_http_response_access_control_allow_methods_header_value",
                "Access-Control-Allow-Methods",
                text(&self.routing_http_response_access_control_allow_methods_header_value),
            ),
            (
                "routing_http_response_access_control_allow_headers_header_value",
                "Access-Control-Allow-Headers",
                text(&self.routing_http_response_access_control_allow_headers_header_value),
            ),
            (
                "routing_http_response_access_control_allow_credentials_header_value",
                "Access-Control-Allow-Credentials",
                text(&self.routing_http_response_access_control_allow_credentials_header_value),
            ),
            (
                "routing_http_response_access_control_expose_headers_header_value",
                "Access-Control-Expose-Headers",
                text(&self.routing_http_response_access_control_expose_headers_header_value),
            ),
            (
                "routing_http_response_access_control_max_age_header_value",
                "Access-Control-Max-Age",
                text(&self.routing_http_response_access_control_max_age_header_value),
            ),
            (
                "routing_http_response_content_security_policy_header_value",
                "Content-Security-Policy",
                text(&self.routing_http_response_content_security_policy_header_value),
            ),
            (
                "routing_http_response_x_content_type_options_header_value",
                "X-Content-Type-Options",
                text(&self.routing_http_response_x_content_type_options_header_value),
            ),
            (
                "routing_http_response_x_frame_options_header_value",
                "X-Frame-Options",
                text(&self.routing_http_response_x_frame_options_header_value),
            ),
        ]
    }

    /// Each `routing_http_request_…_header_name`: the key, ALB's name for the field, and the name
    /// that it gets instead, if there is one.
    #[must_use]
    pub fn tls_header_names(&self) -> TlsHeaderNames<'_> {
        [
            (
                "routing_http_request_x_amzn_mtls_clientcert_serial_number_header_name",
                "X-Amzn-Mtls-Clientcert-Serial-Number",
                text(&self.routing_http_request_x_amzn_mtls_clientcert_serial_number_header_name),
            ),
            (
                "routing_http_request_x_amzn_mtls_clientcert_issuer_header_name",
                "X-Amzn-Mtls-Clientcert-Issuer",
                text(&self.routing_http_request_x_amzn_mtls_clientcert_issuer_header_name),
            ),
            (
                "routing_http_request_x_amzn_mtls_clientcert_subject_header_name",
                "X-Amzn-Mtls-Clientcert-Subject",
                text(&self.routing_http_request_x_amzn_mtls_clientcert_subject_header_name),
            ),
            (
                "routing_http_request_x_amzn_mtls_clientcert_validity_header_name",
                "X-Amzn-Mtls-Clientcert-Validity",
                text(&self.routing_http_request_x_amzn_mtls_clientcert_validity_header_name),
            ),
            (
                "routing_http_request_x_amzn_mtls_clientcert_leaf_header_name",
                "X-Amzn-Mtls-Clientcert-Leaf",
                text(&self.routing_http_request_x_amzn_mtls_clientcert_leaf_header_name),
            ),
            (
                "routing_http_request_x_amzn_mtls_clientcert_header_name",
                "X-Amzn-Mtls-Clientcert",
                text(&self.routing_http_request_x_amzn_mtls_clientcert_header_name),
            ),
            (
                "routing_http_request_x_amzn_tls_version_header_name",
                "x-amzn-tls-version",
                text(&self.routing_http_request_x_amzn_tls_version_header_name),
            ),
            (
                "routing_http_request_x_amzn_tls_cipher_suite_header_name",
                "x-amzn-tls-cipher-suite",
                text(&self.routing_http_request_x_amzn_tls_cipher_suite_header_name),
            ),
        ]
    }
}

/// An empty value means what an absent one does, as at ALB.
fn text(value: &Option<String>) -> Option<&str> {
    value.as_deref().filter(|value| !value.is_empty())
}
