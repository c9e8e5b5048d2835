//! What is said about what happens.

pub(crate) mod access_log;
pub mod actions;
pub(crate) mod admin;
pub(crate) mod admin_server;
pub(crate) mod check_log;
pub(crate) mod connection_log;
pub mod console;
pub mod counters;
pub(crate) mod dashboard;
pub(crate) mod guard;
pub mod journal;
mod kept;
pub mod ledger;
pub(crate) mod log_writer;
pub mod metrics;
pub(crate) mod note;
pub(crate) mod outcome;
pub(crate) mod pieces;
pub(crate) mod recorder;
pub(crate) mod room;
pub(crate) mod scrape;
pub(crate) mod snapshot_view;
pub(crate) mod text;
