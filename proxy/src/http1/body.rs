//! How long a body is, and how far it has come.

use super::chunked::Chunks;

/// A body that is being read (RFC 9112 §6.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// So many bytes are left; 0 also stands for no body.
    Length(u64),
    /// In chunks. In a box, because bodies are moved with their requests, and few are in chunks.
    Chunked(Box<Chunks>),
    /// Up to the end of the connection.
    UntilClose,
}

impl Body {
    /// No body.
    pub const NONE: Self = Self::Length(0);

    /// In chunks, none of them read.
    #[must_use]
    pub fn chunked() -> Self {
        Self::Chunked(Box::default())
    }

    /// All of it was read. Never so for one that ends with its connection.
    #[must_use]
    pub fn is_done(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunks) => chunks.is_done(),
            Self::UntilClose => false,
        }
    }

    /// What is left of it, if its head stated a length.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// How many of these bytes can be passed on as they are.
    #[must_use]
    pub fn plain(&self, available: usize) -> usize {
        match self {
            Self::Length(left) => {
                usize::try_from(*left).map_or(available, |left| left.min(available))
            }
            Self::Chunked(_) => 0,
            Self::UntilClose => available,
        }
    }

    /// So many of the bytes that [`Self::plain`] allowed were passed on.
    pub fn advance(&mut self, count: usize) {
        if let Self::Length(left) = self {
            *left -= count as u64;
        }
    }

    /// How many bytes the next read may usefully have room for.
    #[must_use]
    pub fn wants(&self) -> usize {
        match self {
            Self::Length(left) => usize::try_from(*left).unwrap_or(usize::MAX),
            Self::Chunked(_) | Self::UntilClose => usize::MAX,
        }
    }
}
