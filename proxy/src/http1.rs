//! HTTP/1.1 as bytes (RFC 9112): heads, bodies and buffers. What is decided about a request is in
//! `request`.
//!
//! A head is never turned into a map: it is read in place, judged, and written anew into the buffer
//! that goes to the other side, in the order and case in which it came. Nothing of the framing that
//! came is passed on; lengths and chunks are written from what was understood.

pub mod body;
pub mod buffer;
pub mod chunked;
pub mod field;
pub mod head;
pub(crate) mod stream;
pub(crate) mod wire;
