//! Cookies of sticky sessions.

use longshore::http1::field::Field;
use longshore::request::sticky::cookie::{cookies, sets};
use longshore::request::sticky::ticket::{Keyring, Kind, Ticket};
use longshore::upstream::identity::Identity;
use longshore_config::CookieKey;

use crate::engine::{corpus, outcome, run};

const NOW: u64 = 1_763_640_000_000;

const WORDS: &[&[u8]] = &[
    b"AWSALB=",
    b"AWSALBTG=",
    b"AWSALBCORS=",
    b"; ",
    b";",
    b"=",
    b"\"",
    b",",
    b" ",
    b"\t",
    b"A",
    b"-",
    b"_",
    b"%3D",
    b"==",
    b"\x80",
    b"Path=/",
    b"Max-Age=0",
    b"$Version=1; ",
];

#[test]
fn no_cookie_but_one_of_ours_opens() {
    let ours = Keyring::new(&[CookieKey::new([7; 32])]);
    let ticket = Ticket::default().renewed(
        Identity::group("app"),
        Identity::group("there"),
        NOW + 1_000,
        NOW,
    );
    let sealed = ours.seal(Kind::Target, &ticket, [9; 12]).expect("a key");
    let good = sealed.as_bytes().to_vec();
    let mut seeds = corpus(include_str!("corpus/cookies.txt"));
    seeds.push([b"a=b; AWSALB=", &*good, b"; c=d"].concat());
    seeds.push([b"AWSALB=\"", &*good, b"\""].concat());
    run("cookies", 10_000, &seeds, WORDS, |input| {
        let fields = [
            Field {
                name: "Cookie",
                value: input,
            },
            Field {
                name: "Set-Cookie",
                value: input,
            },
        ];
        let mut opened = 0;
        let mut count = 0;
        for (name, value) in cookies(&fields) {
            count += 1;
            assert!(!name.contains(&b';') && !value.contains(&b';'));
            for kind in [Kind::Target, Kind::Group, Kind::Application] {
                if let Some(found) = ours.open(kind, value) {
                    assert!(
                        kind == Kind::Target && value == good,
                        "{}",
                        value.escape_ascii()
                    );
                    assert_eq!(
                        found.find(Identity::group("app"), NOW),
                        Some(Identity::group("there"))
                    );
                    assert_eq!(found.find(Identity::group("other"), NOW), None);
                    assert_eq!(found.find(Identity::group("app"), NOW + 2_000), None);
                    opened += 1;
                }
            }
        }
        outcome((opened.min(2), count.min(6), sets(&fields, "AWSALB")))
    });
}
