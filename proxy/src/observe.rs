//! What is said about what happens.

pub(crate) mod admin;
pub mod counters;
pub(crate) mod dashboard;
pub mod journal;
pub mod ledger;
pub mod metrics;
pub(crate) mod outcome;
pub(crate) mod scrape;
