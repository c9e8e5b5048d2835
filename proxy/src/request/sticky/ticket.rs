//! What a cookie of the balancer says, sealed. Pure: keys, time and nonces are arguments.
//!
//! A ticket is a short list of stays: *there*, as far as *this* is concerned, until *then*. One
//! cookie holds those of several groups, since a browser has one cookie of a name for a whole host:
//! a client that goes back and forth between two groups would otherwise lose its place in each
//! with every request to the other.
//!
//! ```text
//! version (1) | key (1) | nonce (12) | sealed stays (38 each, at most 8) | tag (16)
//! stay:  this (16) | there (16) | until, milliseconds since 1970 (6)
//! ```
//!
//! as base64url. It is sealed with AES-256-GCM-SIV (RFC 8452), with the version, the key's number
//! and the kind of cookie as associated data. That cipher, and not AES-GCM, because the same key
//! seals at every replica for months, and nonces are drawn at random: AES-GCM breaks when a nonce
//! is drawn twice, which after 2^32 cookies is no longer out of the question, and at 10,000
//! requests a second that is five days. Here a nonce that is drawn twice tells no more than
//! whether two cookies say the same, so that nonces need to be neither secret nor unpredictable.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use longshore_config::CookieKey;

use crate::upstream::identity::Identity;

/// The most stays in one ticket. The oldest gives way.
pub const STAYS_MAX: usize = 8;

/// The length of a nonce, in bytes.
pub const NONCE: usize = 12;

const VERSION: u8 = 1;
const HEAD: usize = 2 + NONCE;
const TAG: usize = 16;
const UNTIL: usize = 6;
const STAY: usize = 2 * Identity::LENGTH + UNTIL;
const PLAIN_MAX: usize = STAYS_MAX * STAY;
const RAW_MIN: usize = HEAD + STAY + TAG;
const RAW_MAX: usize = HEAD + PLAIN_MAX + TAG;

/// The longest ticket as text, in bytes.
pub const TEXT_MAX: usize = (RAW_MAX * 4).div_ceil(3);
const TEXT_MIN: usize = (RAW_MIN * 4).div_ceil(3);

/// What a ticket is for. One of another kind does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A target, by the balancer's cookie.
    Target = 1,
    /// A target, beside the application's cookie.
    Application = 2,
    /// A group of a weighted forward.
    Group = 3,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Stay {
    this: Identity,
    there: Identity,
    /// Milliseconds since 1970.
    until: u64,
}

/// Where a client stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ticket {
    /// The latest first.
    stays: [Stay; STAYS_MAX],
    len: usize,
}

impl Ticket {
    fn stays(&self) -> &[Stay] {
        &self.stays[..self.len]
    }

    /// Where the client stays, as far as `this` is concerned. `now`: milliseconds since 1970.
    #[must_use]
    pub fn find(&self, this: Identity, now: u64) -> Option<Identity> {
        let stay = self.stays().iter().find(|stay| stay.this == this)?;
        (now < stay.until).then_some(stay.there)
    }

    /// The ticket after a response: the client stays `there` until `until`. Stays that are over
    /// are left out, and the oldest one if there are too many.
    #[must_use]
    pub fn renewed(&self, this: Identity, there: Identity, until: u64, now: u64) -> Self {
        let mut ticket = Self::default();
        let others = self.stays().iter().copied();
        let others = others.filter(|stay| stay.this != this && now < stay.until);
        let first = Stay { this, there, until };
        for (place, stay) in ticket
            .stays
            .iter_mut()
            .zip(std::iter::once(first).chain(others))
        {
            *place = stay;
            ticket.len += 1;
        }
        ticket
    }
}

/// A ticket as text for a cookie.
pub struct Sealed {
    text: [u8; TEXT_MAX],
    len: usize,
}

impl Sealed {
    /// The text: letters, digits, `-` and `_`.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..self.len]
    }
}

/// The keys of cookies: the first seals, all of them open.
#[derive(Debug, Default)]
pub struct Keyring(Box<[(u8, LessSafeKey)]>);

impl Keyring {
    /// Of these keys.
    #[must_use]
    pub fn new(keys: &[CookieKey]) -> Self {
        Self(
            keys.iter()
                .filter_map(|key| {
                    let key = key.reveal();
                    // 32 bytes are what the cipher takes, so none is left out.
                    let sealer = UnboundKey::new(&AES_256_GCM_SIV, key).ok()?;
                    Some((number(key), LessSafeKey::new(sealer)))
                })
                .collect(),
        )
    }

    /// Seals a ticket. None without a key. A nonce may be drawn from any source; see above.
    #[must_use]
    pub fn seal(&self, kind: Kind, ticket: &Ticket, nonce: [u8; NONCE]) -> Option<Sealed> {
        let (number, key) = self.0.first()?;
        let mut raw = [0; RAW_MAX];
        raw[0] = VERSION;
        raw[1] = *number;
        raw[2..HEAD].copy_from_slice(&nonce);
        let plain = &mut raw[HEAD..HEAD + ticket.len * STAY];
        for (bytes, stay) in plain.chunks_exact_mut(STAY).zip(ticket.stays()) {
            let (this, rest) = bytes.split_at_mut(Identity::LENGTH);
            let (there, until) = rest.split_at_mut(Identity::LENGTH);
            this.copy_from_slice(&stay.this.to_bytes());
            there.copy_from_slice(&stay.there.to_bytes());
            until.copy_from_slice(&stay.until.to_be_bytes()[8 - UNTIL..]);
        }
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key
            .seal_in_place_separate_tag(nonce, associated(*number, kind), plain)
            .ok()?;
        let end = HEAD + plain.len();
        raw[end..end + TAG].copy_from_slice(tag.as_ref());
        let mut text = [0; TEXT_MAX];
        let len = URL_SAFE_NO_PAD
            .encode_slice(&raw[..end + TAG], &mut text)
            .ok()?;
        Some(Sealed { text, len })
    }

    /// Opens a ticket. None for anything that was not sealed with one of the keys, for this kind.
    #[must_use]
    pub fn open(&self, kind: Kind, text: &[u8]) -> Option<Ticket> {
        if !(TEXT_MIN..=TEXT_MAX).contains(&text.len()) {
            return None;
        }
        let mut raw = [0; RAW_MAX];
        let len = URL_SAFE_NO_PAD.decode_slice(text, &mut raw).ok()?;
        let (head, rest) = raw[..len].split_at_checked(HEAD)?;
        let (sealed, tag) = rest.split_at_checked(rest.len().checked_sub(TAG)?)?;
        let ([VERSION, number, nonce @ ..], true) = (
            head,
            sealed.len().is_multiple_of(STAY) && !sealed.is_empty(),
        ) else {
            return None;
        };
        let mut plain = [0; PLAIN_MAX];
        let plain = plain.get_mut(..sealed.len())?;
        // The number tells which key it is, so that rotation does not double the work.
        let opened = self
            .0
            .iter()
            .filter(|(of, _)| of == number)
            .any(|(_, key)| {
                Nonce::try_assume_unique_for_key(nonce).is_ok_and(|nonce| {
                    let associated = associated(*number, kind);
                    key.open_separate_gather(nonce, associated, sealed, tag, plain)
                        .is_ok()
                })
            });
        opened.then(|| read(plain))
    }
}

/// Stays from their bytes, which are as many as there is room for.
fn read(plain: &[u8]) -> Ticket {
    let identity = |bytes: &[u8]| {
        let mut whole = [0; Identity::LENGTH];
        whole.copy_from_slice(bytes);
        Identity::from_bytes(whole)
    };
    let mut ticket = Ticket::default();
    for (stay, bytes) in ticket.stays.iter_mut().zip(plain.chunks_exact(STAY)) {
        let (this, rest) = bytes.split_at(Identity::LENGTH);
        let (there, until) = rest.split_at(Identity::LENGTH);
        let until = until
            .iter()
            .fold(0, |until, byte| until << 8 | u64::from(*byte));
        *stay = Stay {
            this: identity(this),
            there: identity(there),
            until,
        };
        ticket.len += 1;
    }
    ticket
}

/// What a key is called in cookies: one byte of a hash, which says nothing about the key.
fn number(key: &[u8]) -> u8 {
    let mut named = *b"longshore cookie key number\0................................";
    let start = named.len() - key.len();
    named[start..].copy_from_slice(key);
    digest(&SHA256, &named).as_ref()[0]
}

fn associated(number: u8, kind: Kind) -> Aad<[u8; 20]> {
    let mut data = *b"longshore sticky\0\0\0\0";
    data[17..].copy_from_slice(&[VERSION, number, kind as u8]);
    Aad::from(data)
}
