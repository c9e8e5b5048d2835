//! Longshore: a Layer-7 load balancer for containers that come and go on dynamic ports.
//!
//! Modules in reading order: [`app`] puts the parts together; `serve` is from sockets to requests;
//! [`http1`] is HTTP/1.1 as bytes; [`http2`] is HTTP/2 as streams of these; [`tls`] is what may be
//! around them; [`request`] is the life of one request; [`upstream`] is from a choice to a target;
//! [`control`] decides what the world looks like; [`observe`] says what happened; [`explain`] says
//! what would happen.

pub mod app;
pub mod clock;
pub mod control;
pub mod explain;
pub mod http1;
pub mod http2;
pub mod observe;
pub mod proxy_protocol;
pub mod request;
pub mod tls;
pub mod upstream;

mod serve;
