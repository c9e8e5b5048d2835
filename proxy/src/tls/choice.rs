//! Which of a listener's certificates a client gets (SNI, RFC 6066 §3), by ALB's order.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::{Certificate, Facts};
use crate::clock;

/// The certificates of a listener, found by name. The first is the default.
#[derive(Debug, Default)]
pub struct Certificates {
    all: Vec<Arc<Certificate>>,
    /// For each name those that are for it, the preferred first as far as time has no say.
    exact: HashMap<Box<str>, Vec<u32>>,
    /// The same by what follows `*.`.
    wild: HashMap<Box<str>, Vec<u32>>,
}

impl Certificates {
    /// Of these. The first is the default.
    #[must_use]
    pub fn new(all: Vec<Arc<Certificate>>) -> Self {
        let mut made = Self::default();
        for (index, certificate) in all.iter().enumerate() {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            for name in &certificate.facts.names {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(rest) => (&mut made.wild, rest.into()),
                    None => (&mut made.exact, name.clone()),
                };
                names.entry(name).or_default().push(index);
            }
        }
        let preference = |index: &u32| preference(&all[*index as usize].facts);
        #[allow(
            clippy::iter_over_hash_type,
            reason = "each list is sorted by itself, in whatever order"
        )]
        for candidates in made.exact.values_mut().chain(made.wild.values_mut()) {
            // Stable: of two alike the one that the file has first.
            candidates.sort_by_key(preference);
            candidates.shrink_to_fit();
        }
        made.all = all;
        made
    }

    /// All of them, in the order of the file.
    #[must_use]
    pub fn all(&self) -> &[Arc<Certificate>] {
        &self.all
    }

    /// The certificate for a name in lower case: one for just that name before one for its whole
    /// level, and the default if there is none. `can`: the client can use it.
    pub fn choose(
        &self,
        name: Option<&str>,
        now: u64,
        can: impl Fn(&Certificate) -> bool,
    ) -> Option<&Arc<Certificate>> {
        let exact = name.and_then(|name| self.exact.get(name));
        let wild = name
            .and_then(|name| name.split_once('.'))
            .and_then(|(_, rest)| self.wild.get(rest));
        let of = |index: &u32| &self.all[*index as usize];
        let best = |candidates: &Vec<u32>| {
            candidates
                .iter()
                .map(of)
                .filter(|one| can(one))
                // The first of the least, so that the order within the list decides the rest.
                .min_by_key(|one| (!one.facts.is_ecdsa, !one.facts.is_valid(now)))
        };
        exact
            .and_then(best)
            .or_else(|| wild.and_then(best))
            .or_else(|| self.all.first())
    }
}

/// ALB's order, the least preferred last, without what depends on the time: ECDSA before RSA, then
/// the stronger hash, the longer key, the later end.
fn preference(facts: &Facts) -> impl Ord + use<> {
    (
        !facts.is_ecdsa,
        Reverse(facts.hash),
        Reverse(facts.key_bytes),
        Reverse(facts.not_after),
    )
}

thread_local! {
    /// The name that the latest client of this thread has asked for.
    static ASKED: RefCell<Option<Box<str>>> = const { RefCell::new(None) };
}

/// The name that a client has asked for in the step of a handshake that has just been made. rustls
/// tells it to whoever chooses a certificate, and, by the interface that we use, to nobody else.
pub(super) fn take_asked() -> Option<Box<str>> {
    ASKED.take()
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        ASKED.set(hello.server_name().map(Box::from));
        // What the client says of signatures was narrowed down by rustls to what the suites that
        // both sides have can be used with.
        let schemes = hello.signature_schemes();
        let can = |one: &Certificate| one.key.key.choose_scheme(schemes).is_some();
        let chosen = self.choose(hello.server_name(), clock::wall().as_secs(), can)?;
        Some(Arc::clone(&chosen.key))
    }
}

#[cfg(test)]
#[path = "choice_tests.rs"]
mod tests;
