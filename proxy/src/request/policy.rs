//! What a rule does to requests and responses besides its action. Absent where nothing is done.

use super::edits::Edits;

/// What holds for all requests of a rule, made with the snapshot.
#[derive(Debug, Default)]
pub struct Policy {
    /// Done to each request.
    pub request: Option<Edits>,
    /// Done to each response, of targets and of our own.
    pub response: Option<Edits>,
}
