//! How an operator says which port of a container is meant. For messages.

use std::fmt;

/// Where a port is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming<'p> {
    /// By the keys of a group's source.
    Keys,
    /// By labels that begin with this.
    Labels(&'p str),
}

impl fmt::Display for Naming<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys => f.write_str("`container_port`"),
            Self::Labels(prefix) => write!(f, "the label `{prefix}.port`"),
        }
    }
}
