//! Logs of requests.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::OnByDefault;

/// The access log: a line for each request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLogs {
    /// ALB `access_logs.s3.enabled` (default true, where there is a block).
    pub enabled: OnByDefault,
    /// The file, which is appended to. Absent: standard output.
    pub path: Option<PathBuf>,
    /// How lines are written (default `alb`).
    pub format: LogFormat,
}

/// A log that has one form, ALB's: of client connections, or of health checks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PlainLogs {
    /// ALB `connection_logs.s3.enabled`, `health_check_logs.s3.enabled` (default true, where there
    /// is a block).
    pub enabled: OnByDefault,
    /// The file, which is appended to. Absent: standard output.
    pub path: Option<PathBuf>,
}

/// How lines of a log are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// ALB's fields in their order.
    #[default]
    Alb,
    /// An object of JSON, with the attempts, the reason and the times.
    Json,
}
