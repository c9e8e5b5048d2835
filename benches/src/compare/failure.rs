//! The one error of the harness: a sentence for whoever started it.

use std::fmt;

/// Why the comparison could not go on.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

/// A result whose error is to be shown as it is.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Puts what was being done before the reason it failed.
pub(crate) trait Context<T> {
    /// `what` reads on with a colon and the reason.
    fn context(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Failure(format!("{}: {error}", what())))
    }
}

/// A failure from a sentence.
pub(crate) fn fail<T>(why: impl Into<String>) -> Result<T> {
    Err(Failure(why.into()))
}
