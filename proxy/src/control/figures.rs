//! How often checks passed and failed. Pure.

use super::threshold::Failure;

/// The names of results: `passed`, or ALB's reason codes.
pub(crate) const RESULTS: [&str; 5] = [
    "passed",
    "Target.ResponseCodeMismatch",
    "Target.Timeout",
    "Target.FailedHealthChecks",
    "Elb.InternalError",
];

/// Results of checks, in the order of [`RESULTS`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CheckCounts([u64; RESULTS.len()]);

impl CheckCounts {
    pub(super) fn add(&mut self, result: &Result<(), Failure>) {
        let name = match result {
            Ok(()) => "passed",
            Err(failure) => failure.code(),
        };
        for (count, known) in self.0.iter_mut().zip(RESULTS) {
            *count += u64::from(known == name);
        }
    }

    /// Each result and how often it came.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        RESULTS.into_iter().zip(self.0)
    }
}
