//! Who decides what the world looks like: one task owns all of it.
//!
//! `run` selects the next event, [`controller`] applies it (pure), [`snapshot`] is built from the
//! result and swapped in.

mod anomaly;
mod arbiter;
pub mod checks;
pub mod compile;
pub mod controller;
mod doubts;
mod ejection;
pub(crate) mod figures;
mod group;
mod health;
mod hosts;
pub mod ids;
mod labelled;
pub mod map;
pub(crate) mod memory;
pub mod operator;
pub mod outlier;
mod record;
mod registration;
mod registry;
mod remembered;
mod routing;
pub mod run;
pub mod secure;
mod slow_start;
pub mod snapshot;
mod spoken;
mod status;
pub mod threshold;
mod verdicts;
pub mod view;
mod zones;
