//! `longshore compare`: the same constant load on two addresses in turns, and what one adds to
//! the other.
//!
//! Modules in reading order: [`arguments`] is what was asked for; [`target`] an address and
//! whether it may be loaded; [`schedule`] when each request is due; [`client`] and [`secure`] one
//! request; [`load`] one turn of one side, paced by [`pace`], counted in [`tally`]; [`session`] all
//! turns in their order; [`statistics`], [`cost`] and [`report`] what they say; [`text`] and
//! [`html`] with [`plot`] show it. `schedule`, `statistics`, `cost`, `report` and what shows it do
//! no IO.

mod arguments;
mod client;
mod clock;
mod cost;
mod html;
mod load;
mod pace;
mod plot;
mod progress;
mod report;
mod schedule;
mod secure;
mod session;
mod side;
mod statistics;
mod table;
mod tally;
mod target;
mod text;

use std::process::ExitCode;

pub use arguments::Arguments;
pub use table::table;

/// Measures, prints a table, and writes the reports that were asked for. The exit status is
/// described in the help of [`Arguments`].
#[must_use]
pub fn run(arguments: &Arguments) -> ExitCode {
    session::run(arguments)
}
