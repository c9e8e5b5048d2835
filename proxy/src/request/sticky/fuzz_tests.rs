//! Cookies that nobody sends by accident: seeded mutations of valid ones.

use std::sync::Arc;

use longshore_config::CookieKey;
use longshore_discovery::{Target, TargetKey};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::of_group;
use super::ticket::{Keyring, Kind, Ticket};
use crate::http1::field::Field;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::identity::Identity;
use crate::upstream::stickiness::Stickiness;

const INPUTS: usize = 100_000;
const NOW: u64 = 1_763_640_000_000;

fn key(byte: u8) -> CookieKey {
    CookieKey::new(std::array::from_fn(|index| byte ^ (index as u8)))
}

fn key_of(number: u32) -> TargetKey {
    TargetKey {
        task: format!("task {number}").into(),
        container: "app".into(),
        port: 8080,
    }
}

fn target(number: u32) -> Identity {
    Identity::target(&key_of(number))
}

/// Targets 1 and 0. Cookies name a third one as well, which has left.
fn candidates() -> Vec<Arc<Endpoint>> {
    [1, 0]
        .map(|number| {
            let target = Target {
                key: key_of(number),
                address: ([127, 0, 0, 1], 80).into(),
                zone: None,
                instance: None,
                shared_port: false,
                weight: 1,
                started_at: None,
                protocol_version: None,
                claim: None,
                confirmed_at: crate::clock::now(),
            };
            Endpoint::new("app".into(), &target, 1)
        })
        .into()
}

fn sealed(keys: &Keyring, kind: Kind, this: &str, rng: &mut SmallRng) -> Vec<u8> {
    let mut ticket = Ticket::default();
    for _ in 0..rng.random_range(0..9) {
        let other = Identity::group(&format!("other {}", rng.random_range(0..20)));
        ticket = ticket.renewed(other, target(rng.random()), NOW + 1_000, NOW);
    }
    let until = NOW + rng.random_range(1..100_000);
    ticket = ticket.renewed(
        Identity::group(this),
        target(rng.random_range(0..3)),
        until,
        NOW,
    );
    let sealed = keys.seal(kind, &ticket, rng.random()).expect("a key");
    sealed.as_bytes().to_vec()
}

/// Another text than `valid`, made from it.
fn mutated(valid: &[u8], other: &[u8], rng: &mut SmallRng) -> Vec<u8> {
    let mut text = valid.to_vec();
    match rng.random_range(0..8) {
        0 => {
            let at = rng.random_range(0..text.len());
            text[at] ^= 1 << rng.random_range(0..8);
        }
        1 => text.truncate(rng.random_range(0..text.len())),
        2 => {
            let at = rng.random_range(1..text.len().min(other.len()));
            text.truncate(at);
            text.extend_from_slice(&other[at..]);
        }
        3 => {
            let at = rng.random_range(0..=text.len());
            text.insert(at, rng.random());
        }
        4 => drop(text.remove(rng.random_range(0..text.len()))),
        5 => text.extend((0..rng.random_range(1..5_000)).map(|_| b'A')),
        6 => {
            text = (0..rng.random_range(0..600))
                .map(|_| rng.random())
                .collect();
        }
        _ => {
            let (a, b) = (
                rng.random_range(0..text.len()),
                rng.random_range(0..text.len()),
            );
            text.swap(a, b);
        }
    }
    text
}

fn stickiness(candidates: &[Arc<Endpoint>]) -> Stickiness {
    let file = "listeners: [{name: web, port: 80, default_action: [{type: forward, target_group: app}]}]\n\
         target_groups: [{name: app, stickiness: {enabled: true}}]";
    let config = longshore_config::parse("f", file, &|_| None).expect("valid");
    Stickiness::new(&config.target_groups[0], candidates).expect("enabled")
}

#[test]
fn no_cookie_but_a_whole_one_of_ours_for_this_group_says_anything() {
    let seed = 11;
    println!("seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let ours = Keyring::new(&[key(1), key(2)]);
    let theirs = Keyring::new(&[key(3)]);
    let candidates = candidates();
    let with = stickiness(&candidates);
    let (mut valid, mut inside) = (0, 0);
    for input in 0..INPUTS {
        let good = sealed(&ours, Kind::Target, "app", &mut rng);
        let (text, should_say) = match rng.random_range(0..8) {
            0 => (good, true),
            1 => (sealed(&theirs, Kind::Target, "app", &mut rng), false),
            2 => (sealed(&ours, Kind::Group, "app", &mut rng), false),
            3 => (sealed(&ours, Kind::Application, "app", &mut rng), false),
            4 => (sealed(&ours, Kind::Target, "apq", &mut rng), false),
            _ => {
                let other = sealed(&ours, Kind::Target, "app", &mut rng);
                let text = mutated(&good, &other, &mut rng);
                // What a reader makes of it: up to `;`, without white space and quotes.
                let read = text.split(|byte| *byte == b';').next().unwrap_or_default();
                let read = match read.trim_ascii() {
                    [b'"', inner @ .., b'"'] => inner,
                    read => read,
                };
                let same = read == good || read == other;
                (text, same)
            }
        };
        let mut value = match rng.random_range(0..4) {
            0 => b"a=b;AWSALB=".to_vec(),
            1 => b"AWSALBCORS=".to_vec(),
            2 => b" ; =; AWSALB  =\t ".to_vec(),
            _ => b"AWSALB=x; AWSALB=".to_vec(),
        };
        value.extend_from_slice(&text);
        let fields = [Field {
            name: "cookie",
            value: &value,
        }];
        let there = of_group(&ours, &with, &fields, NOW).there;
        assert_eq!(
            there.is_some(),
            should_say,
            "input {input}: {}",
            value.escape_ascii()
        );
        let Some(there) = there else {
            continue;
        };
        valid += 1;
        // Sealed by us or not, what is found is a candidate, and the one that was meant.
        let place = with.place(there);
        assert_eq!(place.is_some(), there != target(2), "input {input}");
        if let Some(place) = place {
            assert_eq!(candidates[place].identity, there, "input {input}");
            inside += 1;
        }
    }
    assert!(valid > INPUTS / 20, "{valid} of {INPUTS} said something");
    assert!(
        inside > valid / 2 && inside < valid,
        "{inside} of {valid} are there"
    );
}

#[test]
fn every_changed_bit_of_a_cookie_is_noticed() {
    let mut rng = SmallRng::seed_from_u64(5);
    let keys = Keyring::new(&[key(1)]);
    let good = sealed(&keys, Kind::Target, "app", &mut rng);
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut text = good.clone();
            text[at] ^= 1 << bit;
            assert_eq!(keys.open(Kind::Target, &text), None, "byte {at}, bit {bit}");
        }
    }
    for len in 0..good.len() {
        assert_eq!(keys.open(Kind::Target, &good[..len]), None, "{len} bytes");
    }
}
