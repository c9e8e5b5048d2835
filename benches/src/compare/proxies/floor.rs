//! The floor: `floor`, which lies beside this program. It forwards and does nothing else, so it says
//! what the kernel and a parser alone cost.

use super::{Kind, Role, Setup};
use crate::failure::Result;
use crate::rows::Row;

pub(super) const KIND: Kind = Kind {
    name: "floor",
    role: Role::Floor,
    cannot,
    program: "floor",
    version_argument: "--version",
    rewrites_loopback: false,
    version: |output| super::word_after(output, "floor "),
    arguments,
};

fn cannot(row: &Row) -> Option<&'static str> {
    (!row.suits_the_floor()).then_some("it only forwards GET over HTTP/1.1")
}

fn arguments(setup: &Setup<'_>) -> Result<Vec<String>> {
    let mut words = vec![setup.listen.to_string()];
    words.extend(setup.targets.iter().map(ToString::to_string));
    Ok(words)
}
