//! The cookie part of a request with sticky sessions: find and open the cookie, look the target up,
//! seal the next one and write it; and what the same costs with stickiness off, for a client that
//! sends no cookie, and for one that sends garbage.

use std::hint::black_box;
use std::sync::Arc;

use criterion::Criterion;
use longshore::clock;
use longshore::control::ids::GroupId;
use longshore::http1::field::Field;
use longshore::request::sticky::ticket::Keyring;
use longshore::request::sticky::{Setting, Sticky, of_group};
use longshore::upstream::endpoint::Endpoint;
use longshore::upstream::stickiness::Stickiness;
use longshore_config::CookieKey;
use longshore_discovery::{Target, TargetKey};

const NOW: u64 = 1_763_640_000_000;
const TARGETS: u32 = 1_000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let candidates = endpoints();
    let with = stickiness(&candidates);
    let keys = Keyring::new(&[CookieKey::new(std::array::from_fn(|index| index as u8))]);
    let setting = Setting {
        keys: &keys,
        now: NOW,
        expires: b"Thu, 27 Nov 2025 12:00:00 GMT",
        secure: false,
    };
    let at = candidates[500].identity;
    let respond = |fields: &[Field<'_>], out: &mut Vec<u8>| {
        let found = of_group(&keys, &with, fields, NOW);
        let sticky = Sticky::new(GroupId(0), None, Some(found), fields).expect("sticky");
        let place = sticky.target().and_then(|target| with.place(target));
        out.clear();
        sticky.set_cookies(out, Some(&with), at, &[], &setting, || [7; 12]);
        place
    };

    let mut out = Vec::new();
    assert_eq!(respond(&[], &mut out), None);
    let text = String::from_utf8(out.clone()).expect("text");
    let value = text
        .split(['=', ';'])
        .nth(1)
        .expect("the value of the first cookie")
        .to_owned();
    // As a browser sends it, with the twin for other sites.
    let both =
        format!("session=0f1e2d3c4b5a69788796a5b4c3d2e1f0; AWSALB={value}; AWSALBCORS={value}");
    let garbage = both.replace(&value[..40], &"A".repeat(40));
    let mut group = criterion.benchmark_group("sticky");
    for (case, cookie, place) in [
        ("stays", both.as_str(), Some(500)),
        (
            "new_client",
            "session=0f1e2d3c4b5a69788796a5b4c3d2e1f0",
            None,
        ),
        ("garbage", garbage.as_str(), None),
    ] {
        let fields = [Field {
            name: "cookie",
            value: cookie.as_bytes(),
        }];
        assert_eq!(respond(&fields, &mut out), place, "{case}");
        group.bench_function(case, |bencher| {
            bencher.iter(|| respond(black_box(&fields), &mut out));
        });
    }
    let fields = [Field {
        name: "cookie",
        value: both.as_bytes(),
    }];
    group.bench_function("open", |bencher| {
        bencher.iter(|| of_group(&keys, &with, black_box(&fields), NOW));
    });
    let none: Option<Stickiness> = None;
    group.bench_function("off", |bencher| {
        bencher.iter(|| {
            let with = black_box(&none).as_ref();
            let target = with.map(|with| of_group(&keys, with, &fields, NOW));
            Sticky::new(GroupId(0), None, target, &fields).is_none()
        });
    });
    group.finish();
    criterion.final_summary();
}

fn stickiness(candidates: &[Arc<Endpoint>]) -> Stickiness {
    let file = "listeners: [{name: web, port: 80, default_action: [{type: forward, target_group: app}]}]\n\
         target_groups: [{name: app, stickiness: {enabled: true}}]";
    let config = longshore_config::parse("bench", file, &|_| None).expect("valid");
    Stickiness::new(&config.target_groups[0], candidates).expect("enabled")
}

fn endpoints() -> Vec<Arc<Endpoint>> {
    let name: Arc<str> = "app".into();
    let now = clock::now();
    (0..TARGETS)
        .map(|number| {
            let target = Target {
                key: TargetKey {
                    task: format!("arn:aws:ecs:eu-central-1:111122223333:task/prod/{number:032x}")
                        .into(),
                    container: "app".into(),
                    port: 8080,
                },
                address: ([10, 0, (number >> 8) as u8, number as u8], 32_768).into(),
                zone: None,
                instance: None,
                weight: 1,
                shared_port: true,
                started_at: None,
                protocol_version: None,
                claim: None,
                confirmed_at: now,
            };
            Endpoint::new(Arc::clone(&name), &target, 2)
        })
        .collect()
}
