//! Who decides what the world looks like: one task owns all of it.
//!
//! `run` selects the next event, [`controller`] applies it (pure), [`snapshot`] is built from the
//! result and swapped in.

mod anomaly;
mod arbiter;
pub mod compile;
pub mod controller;
mod group;
pub mod health;
pub mod ids;
mod labelled;
mod registration;
mod registry;
mod remembered;
pub mod run;
mod slow_start;
pub mod snapshot;
pub mod threshold;
pub mod view;
mod zones;
