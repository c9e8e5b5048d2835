//! Session tickets: what a client hands in to resume a session without a full handshake, sealed
//! under a list of keys that workers, replicas and restarts share.
//!
//! ```text
//! version (1) | key (4) | issued, seconds since 1970 (8) | nonce (12) | sealed state | tag (16)
//! ```
//!
//! Each listener seals with keys of its own, derived from the list and its name: a ticket of
//! another listener, whose clients may have been asked for other certificates, does not open.
//! (That a ticket counts only for the server name that it was given for is seen to by rustls, which
//! keeps the name in the state.) AES-256-GCM-SIV, for the reason that `request/sticky/ticket.rs`
//! gives: one key seals at every replica for months.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use longshore_config::CookieKey;
use rustls::server::ProducesTickets;

use crate::clock;

/// How long a ticket is good for. RFC 8446 §4.6.1 allows 7 days; as long as its key is kept, whoever
/// gets hold of the key can read the TLS 1.2 sessions of a ticket, so it is kept short.
pub const LIFETIME_SECS: u32 = 6 * 3600;

/// How far the clocks of replicas may be apart.
const SKEW_SECS: u64 = 300;

const VERSION: u8 = 1;
const NUMBER: usize = 4;
const TIME: usize = 8;
const NONCE: usize = 12;
const HEAD: usize = 1 + NUMBER + TIME + NONCE;
const TAG: usize = 16;

/// The tickets of one listener: the first key seals, all of them open.
pub struct Tickets(Box<[([u8; NUMBER], LessSafeKey)]>);

impl Tickets {
    /// Of these keys, for the listener of that name.
    #[must_use]
    pub fn new(keys: &[CookieKey], listener: &str) -> Self {
        Self(
            keys.iter()
                .filter_map(|key| derive(key, listener))
                .collect(),
        )
    }

    fn seal(&self, state: &[u8], nonce: [u8; NONCE], now: u64) -> Option<Vec<u8>> {
        let (number, key) = self.0.first()?;
        let mut ticket = Vec::with_capacity(HEAD + state.len() + TAG);
        ticket.push(VERSION);
        ticket.extend_from_slice(number);
        ticket.extend_from_slice(&now.to_be_bytes());
        ticket.extend_from_slice(&nonce);
        let associated = Aad::from(<[u8; HEAD]>::try_from(ticket.as_slice()).ok()?);
        ticket.extend_from_slice(state);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key
            .seal_in_place_separate_tag(nonce, associated, &mut ticket[HEAD..])
            .ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn open(&self, ticket: &[u8], now: u64) -> Option<Vec<u8>> {
        let (head, sealed) = ticket.split_at_checked(HEAD)?;
        let [VERSION, rest @ ..] = head else {
            return None;
        };
        let (number, rest) = rest.split_at(NUMBER);
        let (issued, nonce) = rest.split_at(TIME);
        let issued = u64::from_be_bytes(issued.try_into().ok()?);
        if issued > now + SKEW_SECS || now > issued.saturating_add(u64::from(LIFETIME_SECS)) {
            return None;
        }
        self.0
            .iter()
            .filter(|(of, _)| of == number)
            .find_map(|(_, key)| {
                let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
                let associated = Aad::from(<[u8; HEAD]>::try_from(head).ok()?);
                let mut state = sealed.to_vec();
                let len = key.open_in_place(nonce, associated, &mut state).ok()?.len();
                state.truncate(len);
                Some(state)
            })
    }
}

/// The key of a listener, and the number that its tickets call it by.
fn derive(key: &CookieKey, listener: &str) -> Option<([u8; NUMBER], LessSafeKey)> {
    let secret = Salt::new(HKDF_SHA256, b"longshore session ticket").extract(key.reveal());
    // Neither fails: 32 bytes are what the cipher takes, and few enough for the derivation.
    let info = [b"key\0".as_slice(), listener.as_bytes()];
    let sealer = UnboundKey::from(secret.expand(&info, &AES_256_GCM_SIV).ok()?);
    let mut number = [0; 32];
    secret
        .expand(&[b"number"], HKDF_SHA256)
        .and_then(|number_of| number_of.fill(&mut number))
        .ok()?;
    let number = [number[0], number[1], number[2], number[3]];
    Some((number, LessSafeKey::new(sealer)))
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tickets({} keys)", self.0.len())
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        !self.0.is_empty()
    }

    fn lifetime(&self) -> u32 {
        LIFETIME_SECS
    }

    fn encrypt(&self, state: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE];
        aws_lc_rs::rand::fill(&mut nonce).ok()?;
        self.seal(state, nonce, clock::wall().as_secs())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.open(ticket, clock::wall().as_secs())
    }
}

#[cfg(test)]
mod tests {
    use longshore_config::CookieKey;

    use super::{LIFETIME_SECS, Tickets};

    const NOW: u64 = 1_800_000_000;

    fn tickets(keys: &[u8], listener: &str) -> Tickets {
        let keys: Vec<CookieKey> = keys
            .iter()
            .map(|byte| CookieKey::new([*byte; 32]))
            .collect();
        Tickets::new(&keys, listener)
    }

    #[test]
    fn all_keys_open_and_the_first_seals() {
        let sealed = tickets(&[1], "web")
            .seal(b"state", [9; 12], NOW)
            .expect("sealed");
        let open = |keys: &[u8]| tickets(keys, "web").open(&sealed, NOW);
        assert_eq!(open(&[1]).as_deref(), Some(&b"state"[..]));
        assert_eq!(open(&[2, 1]).as_deref(), Some(&b"state"[..]));
        assert_eq!(open(&[2, 3]), None);
        let newer = tickets(&[2, 1], "web")
            .seal(b"state", [9; 12], NOW)
            .expect("sealed");
        assert_eq!(tickets(&[1], "web").open(&newer, NOW), None);
    }

    #[test]
    fn a_ticket_of_another_listener_does_not_open() {
        let sealed = tickets(&[1], "web")
            .seal(b"state", [9; 12], NOW)
            .expect("sealed");
        assert_eq!(tickets(&[1], "admin").open(&sealed, NOW), None);
    }

    #[test]
    fn a_ticket_ends_with_its_lifetime() {
        let all = tickets(&[1], "web");
        let sealed = all.seal(b"state", [9; 12], NOW).expect("sealed");
        let end = NOW + u64::from(LIFETIME_SECS);
        assert!(all.open(&sealed, end).is_some());
        assert!(all.open(&sealed, end + 1).is_none());
        assert!(all.open(&sealed, NOW - 300).is_some());
        assert!(all.open(&sealed, NOW - 301).is_none());
    }

    #[test]
    fn a_ticket_with_any_other_bit_or_length_does_not_open() {
        let all = tickets(&[1], "web");
        let sealed = all.seal(b"state", [9; 12], NOW).expect("sealed");
        for at in 0..sealed.len() * 8 {
            let mut other = sealed.clone();
            other[at / 8] ^= 1 << (at % 8);
            assert_eq!(all.open(&other, NOW), None, "bit {at}");
        }
        for len in 0..sealed.len() {
            assert_eq!(all.open(&sealed[..len], NOW), None, "{len} bytes");
        }
    }
}
