use std::sync::Arc;

use rustls::sign::CertifiedKey;

use super::Certificates;
use crate::tls::certificate::{Certificate, Facts};

const NOW: u64 = 1_000;

/// A certificate that is told apart by its end.
fn certificate(names: &[&str], is_ecdsa: bool, change: impl Fn(&mut Facts)) -> Arc<Certificate> {
    let mut facts = Facts {
        names: names.iter().map(|name| (*name).into()).collect(),
        is_ecdsa,
        hash: 256,
        key_bytes: if is_ecdsa { 65 } else { 270 },
        not_before: 0,
        not_after: 2_000,
    };
    change(&mut facts);
    Arc::new(Certificate {
        key: Arc::new(CertifiedKey::new(Vec::new(), key())),
        facts,
    })
}

/// No key: what it would sign does not matter for a choice.
fn key() -> Arc<dyn rustls::sign::SigningKey> {
    #[derive(Debug)]
    struct None;
    impl rustls::sign::SigningKey for None {
        fn choose_scheme(
            &self,
            _: &[rustls::SignatureScheme],
        ) -> Option<Box<dyn rustls::sign::Signer>> {
            Option::None
        }

        fn algorithm(&self) -> rustls::SignatureAlgorithm {
            rustls::SignatureAlgorithm::ECDSA
        }
    }
    Arc::new(None)
}

fn plain(names: &[&str]) -> Arc<Certificate> {
    certificate(names, true, |_| {})
}

/// The place of the choice in the list.
fn chosen(all: &[Arc<Certificate>], name: Option<&str>, can_ecdsa: bool) -> usize {
    let certificates = Certificates::new(all.to_vec());
    let can = |one: &Certificate| can_ecdsa || !one.facts.is_ecdsa;
    let chosen = certificates.choose(name, NOW, can).expect("a default");
    let is_it = |one: &Arc<Certificate>| Arc::ptr_eq(one, chosen);
    all.iter().position(is_it).expect("one of them")
}

#[test]
fn an_exact_name_comes_before_a_wildcard_and_the_default_is_for_the_rest() {
    let all = [
        plain(&["default.example"]),
        plain(&["*.example.com"]),
        plain(&["a.example.com", "example.com"]),
    ];
    for (name, wanted) in [
        (Some("a.example.com"), 2),
        (Some("example.com"), 2),
        (Some("b.example.com"), 1),
        // RFC 9525 §6.3: a wildcard is for one level.
        (Some("x.b.example.com"), 0),
        (Some("com"), 0),
        (Some("elsewhere.test"), 0),
        (None, 0),
    ] {
        assert_eq!(chosen(&all, name, true), wanted, "{name:?}");
    }
}

#[test]
fn ecdsa_comes_before_rsa_if_the_client_can() {
    let all = [
        certificate(&["a.test"], false, |_| {}),
        certificate(&["a.test"], true, |_| {}),
    ];
    assert_eq!(chosen(&all, Some("a.test"), true), 1);
    assert_eq!(chosen(&all, Some("a.test"), false), 0);
}

#[test]
fn a_wildcard_that_the_client_can_use_is_better_than_an_exact_name_that_it_cannot() {
    let all = [
        certificate(&["other.test"], true, |_| {}),
        certificate(&["a.b.test"], true, |_| {}),
        certificate(&["*.b.test"], false, |_| {}),
    ];
    assert_eq!(chosen(&all, Some("a.b.test"), false), 2);
}

#[test]
fn then_validity_the_hash_the_key_and_the_end_decide_in_this_order() {
    let base = || certificate(&["a.test"], true, |_| {});
    let order: [fn(&mut Facts); 5] = [
        |facts| facts.not_after = 3_000,
        |facts| facts.key_bytes = 97,
        |facts| facts.hash = 384,
        // Valid with the worst of all else beats one that has expired.
        |facts| (facts.hash, facts.key_bytes, facts.not_after) = (0, 0, NOW),
        |facts| facts.not_before = 0,
    ];
    // Each of the first three is better than the base, and the later ones better than the earlier.
    for (index, better) in order.iter().take(3).enumerate() {
        let all = [base(), certificate(&["a.test"], true, better)];
        assert_eq!(chosen(&all, Some("a.test"), true), 1, "{index}");
        if index > 0 {
            let all = [
                certificate(&["a.test"], true, order[index - 1]),
                certificate(&["a.test"], true, better),
            ];
            assert_eq!(
                chosen(&all, Some("a.test"), true),
                1,
                "{index} after {}",
                index - 1
            );
        }
    }
    for expired in [
        |facts: &mut Facts| facts.not_after = NOW - 1,
        |facts: &mut Facts| {
            facts.not_before = NOW + 1;
        },
    ] {
        let all = [
            certificate(&["a.test"], true, |facts| {
                facts.hash = 512;
                expired(facts);
            }),
            certificate(&["a.test"], true, order[3]),
        ];
        assert_eq!(chosen(&all, Some("a.test"), true), 1);
    }
    assert_eq!(
        chosen(&[base(), base()], Some("a.test"), true),
        0,
        "the first of two alike"
    );
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a figure is printed, and nothing hangs on it"
)]
fn a_name_is_found_among_ten_thousand_as_among_ten() {
    const LOOKS: usize = 100_000;
    for count in [10, 10_000] {
        let all: Vec<_> = (0..count)
            .map(|at| plain(&[&format!("s{at}.test"), &format!("*.s{at}.test")]))
            .collect();
        let names: Vec<_> = (0..count)
            .flat_map(|at| [(at, format!("s{at}.test")), (at, format!("a.s{at}.test"))])
            .collect();
        let certificates = Certificates::new(all.clone());
        let looked_at = std::cell::Cell::new(0);
        let can = |_: &Certificate| {
            looked_at.set(looked_at.get() + 1);
            true
        };
        let began = std::time::Instant::now();
        for (at, name) in names.iter().cycle().step_by(7).take(LOOKS) {
            let found = certificates.choose(Some(name), NOW, can);
            assert!(found.is_some_and(|found| Arc::ptr_eq(found, &all[*at])));
        }
        let each = began.elapsed() / u32::try_from(LOOKS).expect("few");
        println!("{each:?} for a name of {count} certificates");
        assert_eq!(
            looked_at.get(),
            LOOKS,
            "each time at the one that is for it"
        );
    }
}
