//! What is said about what happens.

pub(crate) mod admin;
pub(crate) mod dashboard;
pub mod journal;
pub mod metrics;
pub(crate) mod outcome;
