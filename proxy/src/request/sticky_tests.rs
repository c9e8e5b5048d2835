use std::collections::BTreeMap;

use longshore_config::CookieKey;

use super::cookie::{cookies, sets};
use super::ticket::{Keyring, Kind, STAYS_MAX, Sealed, TEXT_MAX, Ticket};
use super::{Found, Keeps, Setting, Sticky, is_chromium_80, of_group, of_rule};
use crate::control::ids::GroupId;
use crate::http1::field::Field;
use crate::upstream::identity::Identity;
use crate::upstream::stickiness::Stickiness;

const NOW: u64 = 1_763_640_000_000;
const HOUR: u64 = 3_600_000;
const EXPIRES: &[u8] = b"Thu, 27 Nov 2025 12:00:00 GMT";

fn key(byte: u8) -> CookieKey {
    CookieKey::new(std::array::from_fn(|index| byte ^ (index as u8)))
}

fn ring(keys: &[u8]) -> Keyring {
    Keyring::new(&keys.iter().map(|byte| key(*byte)).collect::<Vec<_>>())
}

fn who(name: &str) -> Identity {
    Identity::group(name)
}

fn ticket(this: &str, there: &str, until: u64) -> Ticket {
    Ticket::default().renewed(who(this), who(there), until, NOW)
}

fn text(sealed: Option<Sealed>) -> String {
    String::from_utf8(sealed.expect("a key").as_bytes().to_vec()).expect("text")
}

/// The stickiness of the group `app` as a file writes it.
fn with(settings: &str) -> Stickiness {
    let file = format!(
        "listeners: [{{name: web, port: 80, default_action: [{{type: forward, target_group: app}}]}}]\n\
         target_groups: [{{name: app, stickiness: {{enabled: true, {settings}}}}}]"
    );
    let config =
        longshore_config::parse("f", &file, &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
    Stickiness::new(&config.target_groups[0], &[]).expect("enabled")
}

fn cookie_field(value: &str) -> Field<'_> {
    Field {
        name: "Cookie",
        value: value.as_bytes(),
    }
}

/// The Set-Cookie lines of a response from the target `at`.
fn response(
    keys: &Keyring,
    with: &Stickiness,
    request: &[Field<'_>],
    at: &str,
    fields: &[Field<'_>],
    secure: bool,
    now: u64,
) -> Vec<String> {
    let found = of_group(keys, with, request, now);
    let sticky = Sticky::new(GroupId(0), None, Some(found), request).expect("sticky");
    let setting = Setting {
        keys,
        now,
        expires: EXPIRES,
        secure,
    };
    let mut out = Vec::new();
    sticky.set_cookies(&mut out, Some(with), who(at), fields, &setting, || [9; 12]);
    let out = String::from_utf8(out).expect("text");
    out.split_terminator("\r\n").map(str::to_owned).collect()
}

/// The value in a Set-Cookie line.
fn value(line: &str) -> &str {
    let (_, value) = line.split_once('=').expect("a cookie");
    value.split(';').next().expect("a value")
}

#[test]
fn a_ticket_says_where_until_its_time_is_over_and_not_a_millisecond_longer() {
    let keys = ring(&[1]);
    let text = text(keys.seal(Kind::Target, &ticket("app", "a", NOW + HOUR), [0; 12]));
    let opened = keys.open(Kind::Target, text.as_bytes()).expect("ours");
    assert_eq!(opened.find(who("app"), NOW), Some(who("a")));
    assert_eq!(opened.find(who("app"), NOW + HOUR - 1), Some(who("a")));
    assert_eq!(opened.find(who("app"), NOW + HOUR), None);
    assert_eq!(opened.find(who("other"), NOW), None);
}

#[test]
fn a_ticket_of_another_kind_key_or_version_does_not_open() {
    let keys = ring(&[1]);
    let sealed = text(keys.seal(Kind::Target, &ticket("app", "a", NOW + HOUR), [0; 12]));
    for kind in [Kind::Application, Kind::Group] {
        assert_eq!(keys.open(kind, sealed.as_bytes()), None, "{kind:?}");
    }
    assert_eq!(ring(&[2]).open(Kind::Target, sealed.as_bytes()), None);
    assert_eq!(ring(&[]).open(Kind::Target, sealed.as_bytes()), None);
    // The first six bits of the text are those of the version.
    let other = format!("B{}", &sealed[1..]);
    assert_eq!(keys.open(Kind::Target, other.as_bytes()), None);
    assert!(keys.open(Kind::Target, sealed.as_bytes()).is_some());
}

#[test]
fn the_first_key_seals_and_all_open_so_that_keys_can_be_rotated() {
    let old = ring(&[1]);
    let both = ring(&[2, 1]);
    let new = ring(&[2]);
    let mine = ticket("app", "a", NOW + HOUR);
    let before = text(old.seal(Kind::Target, &mine, [0; 12]));
    let after = text(both.seal(Kind::Target, &mine, [0; 12]));
    assert_eq!(both.open(Kind::Target, before.as_bytes()), Some(mine));
    assert_eq!(both.open(Kind::Target, after.as_bytes()), Some(mine));
    assert_eq!(new.open(Kind::Target, after.as_bytes()), Some(mine));
    assert_eq!(new.open(Kind::Target, before.as_bytes()), None);
    assert_eq!(old.open(Kind::Target, after.as_bytes()), None);
}

#[test]
fn keys_with_the_same_number_do_not_hide_each_other() {
    // 256 numbers: among 300 keys some share one.
    let sealed: Vec<(u8, u8, String)> = (0..=255)
        .flat_map(|byte| [(byte, 0), (byte, 1)])
        .take(300)
        .map(|(byte, flip)| {
            let one = Keyring::new(&[key_of(byte, flip)]);
            let text = text(one.seal(Kind::Target, &ticket("app", "a", NOW + 1), [0; 12]));
            (byte, flip, text)
        })
        .collect();
    let mut by_number: BTreeMap<&str, Vec<&(u8, u8, String)>> = BTreeMap::new();
    for one in &sealed {
        // Version and number are the first 16 bits: two characters and two thirds.
        by_number.entry(&one.2[1..3]).or_default().push(one);
    }
    let mut shared = 0;
    for same in by_number.values().filter(|same| same.len() > 1) {
        let keys: Vec<CookieKey> = same
            .iter()
            .map(|(byte, flip, _)| key_of(*byte, *flip))
            .collect();
        let all = Keyring::new(&keys);
        for (_, _, text) in same {
            assert!(all.open(Kind::Target, text.as_bytes()).is_some());
            shared += 1;
        }
    }
    assert!(shared > 20, "{shared}");
}

fn key_of(byte: u8, flip: u8) -> CookieKey {
    CookieKey::new(std::array::from_fn(|index| {
        byte.wrapping_mul(index as u8 + 1) ^ flip
    }))
}

#[test]
fn a_ticket_keeps_places_in_eight_groups_and_drops_the_oldest_and_those_that_are_over() {
    let keys = ring(&[1]);
    let mut all = Ticket::default();
    for number in 0..=STAYS_MAX {
        all = all.renewed(who(&format!("g{number}")), who("a"), NOW + HOUR, NOW);
    }
    let sealed = keys.seal(Kind::Target, &all, [0; 12]).expect("a key");
    assert_eq!(sealed.as_bytes().len(), TEXT_MAX);
    let opened = keys.open(Kind::Target, sealed.as_bytes()).expect("ours");
    assert_eq!(opened, all);
    assert_eq!(opened.find(who("g0"), NOW), None, "the oldest gave way");
    for number in 1..=STAYS_MAX {
        let there = opened.find(who(&format!("g{number}")), NOW);
        assert_eq!(there, Some(who("a")), "g{number}");
    }
    let later = opened.renewed(who("g5"), who("b"), NOW + 2 * HOUR, NOW + HOUR);
    assert_eq!(
        later,
        Ticket::default().renewed(who("g5"), who("b"), NOW + 2 * HOUR, NOW)
    );
}

#[test]
fn nothing_of_an_address_or_a_name_is_to_be_seen_in_a_cookie() {
    let keys = ring(&[1]);
    let one = text(keys.seal(Kind::Target, &ticket("app", "a", NOW + HOUR), [1; 12]));
    let two = text(keys.seal(Kind::Target, &ticket("app", "a", NOW + HOUR), [2; 12]));
    let raw = |text: &str| {
        use base64::Engine as _;
        base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(text)
            .expect("base64")
    };
    let (one, two) = (raw(&one), raw(&two));
    let target = who("a").to_bytes();
    assert!(!one.windows(16).any(|window| window == target));
    // The same stay looks like another one with another nonce.
    assert!(
        one[14..]
            .iter()
            .zip(&two[14..])
            .filter(|(a, b)| a == b)
            .count()
            < 12
    );
}

#[test]
fn cookies_are_found_in_every_form_that_clients_send() {
    let fields = [
        cookie_field("a=b;AWSALB=1"),
        cookie_field("  AWSALB = 2 ; ;=;novalue; x=\"AWSALB=3\""),
        Field {
            name: "X-Cookie",
            value: b"AWSALB=4",
        },
        Field {
            name: "cookie",
            value: b"AWSALB=\"5\";\tAWSALB=6=7;awsalb=8;AWSALB=\"",
        },
    ];
    let found: Vec<_> = cookies(&fields)
        .filter(|(name, _)| *name == b"AWSALB")
        .map(|(_, value)| std::str::from_utf8(value).expect("text"))
        .collect();
    assert_eq!(found, ["1", "2", "5", "6=7", "\""]);
}

#[test]
fn a_set_cookie_counts_by_its_name_alone() {
    let set = |value: &'static str| {
        sets(
            &[Field {
                name: "set-cookie",
                value: value.as_bytes(),
            }],
            "SID",
        )
    };
    for yes in ["SID=1", "SID=", " SID =1; Path=/", "SID=x; Max-Age=0"] {
        assert!(set(yes), "{yes}");
    }
    for no in ["sid=1", "SIDE=1", "x=1; SID=1", "SID", "", ";SID=1"] {
        assert!(!set(no), "{no}");
    }
}

#[test]
fn a_response_sets_albs_two_cookies_with_albs_attributes() {
    let keys = ring(&[1]);
    let app = with("cookie_duration: 60");
    let lines = response(&keys, &app, &[], "a", &[], false, NOW);
    let sealed = value(&lines[0]);
    let expires = "Expires=Thu, 27 Nov 2025 12:00:00 GMT; Path=/";
    assert_eq!(
        lines,
        [
            format!("Set-Cookie: AWSALB={sealed}; {expires}"),
            format!("Set-Cookie: AWSALBCORS={sealed}; {expires}; SameSite=None"),
        ]
    );
    let lines = response(&keys, &app, &[], "a", &[], true, NOW);
    assert!(!lines[0].contains("Secure"));
    assert!(lines[1].ends_with("; SameSite=None; Secure"));

    let named = with("cookie_name: ROUTE");
    let lines = response(&keys, &named, &[], "a", &[], false, NOW);
    assert!(lines[0].starts_with("Set-Cookie: ROUTE="));
    assert!(lines[1].starts_with("Set-Cookie: ROUTECORS="));
}

#[test]
fn each_response_renews_the_time_and_says_where_it_came_from() {
    let keys = ring(&[1]);
    let app = with("cookie_duration: 60");
    let lines = response(&keys, &app, &[], "a", &[], false, NOW);
    let first = format!("AWSALB={}", value(&lines[0]));
    let at = |cookie: &str, now| of_group(&keys, &app, &[cookie_field(cookie)], now).there;
    assert_eq!(at(&first, NOW + 59_999), Some(who("a")));
    assert_eq!(at(&first, NOW + 60_000), None);
    // 50 s later the client comes again, and its target was gone.
    let request = [cookie_field(&first)];
    let lines = response(&keys, &app, &request, "b", &[], false, NOW + 50_000);
    let second = format!("AWSALB={}", value(&lines[0]));
    assert_eq!(at(&second, NOW + 109_999), Some(who("b")));
    assert_eq!(at(&second, NOW + 110_000), None);
}

#[test]
fn the_twin_for_other_sites_counts_first_and_the_first_good_one_of_several() {
    let keys = ring(&[1]);
    let app = with("cookie_duration: 60");
    let to = |target| value(&response(&keys, &app, &[], target, &[], false, NOW)[0]).to_owned();
    let (a, b) = (to("a"), to("b"));
    let there = |cookie: &str| of_group(&keys, &app, &[cookie_field(cookie)], NOW).there;
    assert_eq!(
        there(&format!("AWSALB={a}; AWSALBCORS={b}")),
        Some(who("b"))
    );
    assert_eq!(there(&format!("AWSALB={a}; AWSALBCORS=x")), Some(who("a")));
    assert_eq!(
        there(&format!("AWSALB=x; AWSALB={a}; AWSALB={b}")),
        Some(who("a"))
    );
    assert_eq!(there(&format!("AWSALB=\"{a}\"")), Some(who("a")));
    // Four of a name are looked at.
    assert_eq!(
        there(&format!("AWSALB=1; AWSALB=2; AWSALB=3; AWSALB={a}")),
        Some(who("a"))
    );
    assert_eq!(
        there(&format!(
            "AWSALB=1; AWSALB=2; AWSALB=3; AWSALB=4; AWSALB={a}"
        )),
        None
    );
    assert_eq!(
        there(&format!(
            "AWSALBTG={a}; AWSALBX={a}; XAWSALB={a}; awsalb={a}"
        )),
        None
    );
}

#[test]
fn going_to_another_group_loses_no_place_in_the_first() {
    let keys = ring(&[1]);
    let app = with("cookie_duration: 60");
    let mut other = with("cookie_duration: 60");
    other.scope = who("other");
    let first = response(&keys, &app, &[], "a", &[], false, NOW);
    let cookie = format!("AWSALB={}", value(&first[0]));
    let request = [cookie_field(&cookie)];
    assert_eq!(
        of_group(&keys, &other, &request, NOW).there,
        None,
        "of another group"
    );
    let second = response(&keys, &other, &request, "o", &[], false, NOW);
    let cookie = format!("AWSALB={}", value(&second[0]));
    let request = [cookie_field(&cookie)];
    assert_eq!(of_group(&keys, &other, &request, NOW).there, Some(who("o")));
    assert_eq!(of_group(&keys, &app, &request, NOW).there, Some(who("a")));
}

#[test]
fn an_application_session_begins_with_its_cookie_and_needs_both() {
    let keys = ring(&[1]);
    let app = with("type: app_cookie, cookie_name: SID, cookie_duration: 60");
    let set = [Field {
        name: "Set-Cookie",
        value: b"SID=1; Path=/; HttpOnly",
    }];
    assert!(response(&keys, &app, &[], "a", &[], false, NOW).is_empty());
    let lines = response(&keys, &app, &[], "a", &set, false, NOW);
    let ours = format!("AWSALBAPP-0={}", value(&lines[0]));
    assert_eq!(
        lines,
        [format!(
            "Set-Cookie: {ours}; Expires=Thu, 27 Nov 2025 12:00:00 GMT; Path=/"
        )]
    );
    let there = |cookie: &str, now| of_group(&keys, &app, &[cookie_field(cookie)], now).there;
    assert_eq!(there(&format!("SID=1; {ours}"), NOW), Some(who("a")));
    assert_eq!(there(&format!("SID=; {ours}"), NOW), Some(who("a")));
    assert_eq!(there(&ours, NOW), None, "without the application's");
    assert_eq!(there("SID=1", NOW), None, "without ours");
    assert_eq!(there(&format!("SID=1; {ours}"), NOW + 60_000), None, "over");

    // As long as both come, each response renews it, wherever the session is by then.
    let both = format!("SID=1; {ours}");
    let request = [cookie_field(&both)];
    let lines = response(&keys, &app, &request, "b", &[], false, NOW + 30_000);
    let renewed = format!("SID=1; AWSALBAPP-0={}", value(&lines[0]));
    assert_eq!(there(&renewed, NOW + 89_999), Some(who("b")));
    // Over: nothing renews it but the application.
    assert!(response(&keys, &app, &request, "b", &[], false, NOW + 60_000).is_empty());
    let request = [cookie_field(&ours)];
    assert!(response(&keys, &app, &request, "b", &[], false, NOW).is_empty());
}

#[test]
fn only_new_chromiums_are_told_same_site_none_of_the_application_session_and_only_over_tls() {
    for (agent, new) in [
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
            true,
        ),
        ("Chrome/80", true),
        ("Chromium/80.1", true),
        ("Chrome/79.9", false),
        ("Chrome/", false),
        ("Mozilla/5.0 Version/13.0 Safari/605.1.15", false),
        ("Chrome/99999999999999999999", true),
        ("", false),
    ] {
        assert_eq!(is_chromium_80(agent.as_bytes()), new, "{agent}");
        let keys = ring(&[1]);
        let app = with("type: app_cookie, cookie_name: SID");
        let set = [Field {
            name: "Set-Cookie",
            value: b"SID=1",
        }];
        let request = [Field {
            name: "User-Agent",
            value: agent.as_bytes(),
        }];
        for secure in [true, false] {
            let lines = response(&keys, &app, &request, "a", &set, secure, NOW);
            assert_eq!(
                lines[0].ends_with("; SameSite=None; Secure"),
                new && secure,
                "{agent}"
            );
        }
    }
}

#[test]
fn a_rule_keeps_a_client_at_a_group_that_it_still_has() {
    let keys = ring(&[1]);
    let keeps = |rule: &str, groups: &[&str]| Keeps {
        scope: who(rule),
        duration: 60_000,
        groups: (0..)
            .zip(groups)
            .map(|(id, name)| (who(name), GroupId(id)))
            .collect(),
    };
    let rule = keeps("rule", &["a", "b"]);
    let sticky = Sticky::new(GroupId(1), Some((&rule, Found::default())), None, &[]);
    let setting = Setting {
        keys: &keys,
        now: NOW,
        expires: EXPIRES,
        secure: false,
    };
    let mut out = Vec::new();
    sticky
        .expect("sticky")
        .set_cookies(&mut out, None, who("x"), &[], &setting, || [3; 12]);
    let out = String::from_utf8(out).expect("text");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].starts_with("Set-Cookie: AWSALBTG=") && lines[0].ends_with("; Path=/"));
    assert!(
        lines[1].starts_with("Set-Cookie: AWSALBTGCORS=") && lines[1].ends_with("; SameSite=None")
    );
    let cookie = format!("AWSALBTG={}", value(lines[0]));
    let fields = [cookie_field(&cookie)];
    let group = |keeps: &Keeps, now| {
        of_rule(&keys, keeps, &fields, now)
            .there
            .and_then(|there| keeps.group(there))
    };
    assert_eq!(group(&rule, NOW), Some(GroupId(1)));
    assert_eq!(group(&rule, NOW + 60_000), None, "over");
    assert_eq!(group(&keeps("rule", &["b"]), NOW), Some(GroupId(0)));
    assert_eq!(
        group(&keeps("rule", &["a"]), NOW),
        None,
        "taken out of the rule"
    );
    assert_eq!(
        group(&keeps("other", &["a", "b"]), NOW),
        None,
        "another rule"
    );
    // A cookie of a target is none of a group.
    let app = with("cookie_duration: 60");
    let lines = response(&keys, &app, &[], "b", &[], false, NOW);
    let wrong = format!("AWSALBTG={}", value(&lines[0]));
    assert_eq!(
        of_rule(&keys, &rule, &[cookie_field(&wrong)], NOW).there,
        None
    );
}
