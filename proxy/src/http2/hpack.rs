//! HPACK (RFC 7541). Pure.

mod decode;
mod encode;
mod huffman;
mod table;

pub use decode::{Broken, Decoder};
pub(super) use encode::table_size_zero;
pub use encode::{field, status};
