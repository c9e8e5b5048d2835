//! What is said about what happens.

pub(crate) mod admin;
pub mod metrics;
pub(crate) mod outcome;
