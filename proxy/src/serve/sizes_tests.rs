//! What a connection and a request hold while they wait: the sizes of their futures and states.
//! Every idle connection pays for the first, and each step of a request moves or clears some of the
//! others. The compiler lays futures out, so a local variable that lives over one `await` more shows
//! here and nowhere else.

use super::connection::{self, Conversation};
use super::{client, desks};
use crate::observe::outcome::Outcome;
use crate::request;
use crate::request::link::Link;
use crate::tls::stream::TlsStream;
use crate::upstream::lease::Lease;
use crate::upstream::pool::Connection;

/// The future that a function of two arguments returns.
fn of_two<A, B, F>(_: impl FnOnce(A, B) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn futures_and_states_stay_within_their_budgets() {
    // Whoever must go beyond a budget says in the commit what is got for it; whoever gets far
    // below one lowers it.
    let mut beyond = Vec::new();
    let waiting = size_of_val(&connection::serve(Box::pin(std::future::ready(None))));
    for (what, bytes, budget) in [
        ("a connection", waiting, 136),
        ("its conversation", size_of::<Conversation>(), 320),
        ("a desk", desks::size(), 1_600),
        ("a request", of_two(request::handle), 1_536),
        ("a client", size_of::<client::Client>(), 176),
        ("a link", size_of::<Link>(), 128),
        ("an outcome", size_of::<Outcome<'_>>(), 200),
        ("a connection to a target", size_of::<Connection>(), 192),
        ("TLS", size_of::<TlsStream>(), 1_280),
        ("a lease", size_of::<Lease>(), 56),
    ] {
        println!("{what}: {bytes} bytes");
        if bytes > budget {
            beyond.push(format!("{what}: {bytes} bytes, and {budget} are allowed"));
        }
    }
    assert!(beyond.is_empty(), "{beyond:#?}");
}
