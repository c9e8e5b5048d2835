//! What comes from outside, mutated: each target is fed with changes of its corpus, and must keep
//! its promises whatever comes.
//!
//! A run in the test command is short and bounded. `LONGSHORE_FUZZ_SECONDS=600` runs each target by
//! time, `LONGSHORE_SEED` chooses another seed. See `tests/README.md`.

#![allow(clippy::disallowed_methods, reason = "tests watch real time")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

mod config;
mod cookies;
mod ecs;
mod engine;
mod http;
mod http2;
mod proxy_header;
mod rules;
mod spelling;
