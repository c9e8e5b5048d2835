//! What is said about what happens.

pub(crate) mod access_log;
pub mod actions;
pub(crate) mod admin;
pub mod counters;
pub(crate) mod dashboard;
pub(crate) mod guard;
pub mod journal;
pub mod ledger;
pub(crate) mod log_writer;
pub mod metrics;
pub(crate) mod note;
pub(crate) mod outcome;
pub(crate) mod recorder;
pub(crate) mod scrape;
