use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longshore_config::{DnsDiscovery, DnsRecordType, Port, Span};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use tokio::sync::{Notify, mpsc};

use super::api::{Answer, DnsApi, Family, LookupError, Service};
use super::book::{Book, Verdict};
use super::{HOSTS_AT_A_TIME, HOSTS_MAX, look, run, wait};
use crate::Update;
use crate::first::WHOLE_LOOKS;

fn spec(record_type: DnsRecordType) -> DnsDiscovery {
    DnsDiscovery {
        name: "app.internal".to_owned(),
        record_type,
        port: Port::new(80),
        servers: Vec::new(),
        min_interval: Span::from_millis(1_000).expect("in bounds"),
        max_interval: Span::from_millis(30_000).expect("in bounds"),
    }
}

fn set(ttl: u64) -> Verdict {
    Verdict::Set {
        targets: Vec::new(),
        problems: Vec::new(),
        ttl: Duration::from_secs(ttl),
    }
}

/// Answers by name: `v4.…` has an IPv4 address, `v6.…` an IPv6 one, `bad.…` fails.
#[derive(Default)]
struct Fake {
    services: Vec<Service>,
    asked: Mutex<Vec<(String, Family)>>,
    /// How many are asked about now, and the most that ever were.
    at_a_time: Mutex<(usize, usize)>,
}

impl DnsApi for Fake {
    async fn addresses(&self, name: &str, family: Family) -> Result<Answer<IpAddr>, LookupError> {
        {
            let mut at_a_time = self.at_a_time.lock().expect("not poisoned");
            at_a_time.0 += 1;
            at_a_time.1 = at_a_time.1.max(at_a_time.0);
        }
        tokio::task::yield_now().await;
        self.at_a_time.lock().expect("not poisoned").0 -= 1;
        self.asked
            .lock()
            .expect("not poisoned")
            .push((name.to_owned(), family));
        let ttl = Duration::from_secs(5);
        let found = |text: &str| Answer::Found {
            records: vec![text.parse().expect("an address")],
            ttl,
        };
        match (name.split('.').next(), family) {
            (Some("v4" | "app"), Family::V4) => Ok(found("10.0.0.4")),
            (Some("v6" | "v4" | "app"), Family::V6) => Ok(found("2001:db8::6")),
            (Some("bad"), Family::V4) => Err(LookupError("SERVFAIL".to_owned())),
            _ => Ok(Answer::Nothing {
                reason: "NODATA".to_owned(),
                ttl,
            }),
        }
    }

    async fn services(&self, _: &str) -> Result<Answer<Service>, LookupError> {
        Ok(Answer::Found {
            records: self.services.clone(),
            ttl: Duration::from_secs(60),
        })
    }
}

fn service(host: &str, addresses: &[&str]) -> Service {
    Service {
        host: host.to_owned(),
        port: 1,
        priority: 0,
        weight: 0,
        addresses: addresses
            .iter()
            .map(|text| text.parse().expect("an address"))
            .collect(),
    }
}

async fn look_at(fake: &Arc<Fake>, record_type: DnsRecordType) -> Verdict {
    look(fake, &spec(record_type), &mut Book::new("app.internal")).await
}

fn places(verdict: &Verdict) -> Vec<String> {
    match verdict {
        Verdict::Set { targets, .. } => targets.iter().map(|t| t.address.to_string()).collect(),
        other => panic!("no set: {other:?}"),
    }
}

#[test]
fn the_next_look_is_after_the_ttl_within_the_bounds() {
    let mut rng = SmallRng::seed_from_u64(1);
    let spec = spec(DnsRecordType::A);
    for (ttl, least, most) in [
        (0, 1.0, 1.0),
        (10, 9.0, 11.0),
        (30, 27.0, 30.0),
        (86_400, 27.0, 30.0),
    ] {
        for _ in 0..100 {
            let waited = wait(&set(ttl), &spec, 0, &mut rng).as_secs_f64();
            assert!(
                (least..=most + 0.1).contains(&waited),
                "TTL {ttl}: {waited} s"
            );
        }
    }
    let failed = Verdict::Failed(String::new());
    for (failures, least, most) in [(1, 0.5, 1.0), (3, 2.0, 4.0), (99, 15.0, 30.0)] {
        let waited = wait(&failed, &spec, failures, &mut rng).as_secs_f64();
        assert!(
            (least..=most).contains(&waited),
            "{failures} failures: {waited} s"
        );
    }
}

#[tokio::test]
async fn a_and_aaaa_ask_for_their_own_kind_of_address_only() {
    let fake = Arc::new(Fake::default());
    assert_eq!(
        places(&look_at(&fake, DnsRecordType::A).await),
        ["10.0.0.4:80"]
    );
    assert_eq!(
        places(&look_at(&fake, DnsRecordType::Aaaa).await),
        ["[2001:db8::6]:80"]
    );
    let asked = fake.asked.lock().expect("not poisoned").len();
    assert_eq!(asked, 2);
}

#[tokio::test]
async fn a_host_without_addresses_in_the_answer_is_asked_for_and_ipv6_only_if_it_has_no_ipv4() {
    let fake = Arc::new(Fake {
        services: vec![
            service("v4.", &[]),
            service("v6.", &[]),
            service("bad.", &[]),
            service("known.", &["10.0.0.9"]),
        ],
        ..Fake::default()
    });
    let (spec, mut book) = (spec(DnsRecordType::Srv), Book::new("app.internal"));
    for _ in 1..WHOLE_LOOKS {
        let verdict = look(&fake, &spec, &mut book).await;
        assert!(matches!(verdict, Verdict::Unconfirmed { .. }));
    }
    let verdict = look(&fake, &spec, &mut book).await;
    assert_eq!(
        places(&verdict),
        ["10.0.0.4:1", "10.0.0.9:1", "[2001:db8::6]:1"]
    );
    let asked: BTreeSet<String> = fake
        .asked
        .lock()
        .expect("not poisoned")
        .iter()
        .map(|(name, family)| format!("{name}{family:?}"))
        .collect();
    let expected = ["bad.V4", "v4.V4", "v6.V4", "v6.V6"];
    assert_eq!(asked, expected.map(str::to_owned).into());
}

#[tokio::test]
async fn many_hosts_are_asked_for_some_at_a_time_and_too_many_fail_the_look() {
    let many = |count: usize| {
        let services = (0..count).map(|i| service(&format!("v4.{i}."), &[]));
        Arc::new(Fake {
            services: services.collect(),
            ..Fake::default()
        })
    };
    let most = many(HOSTS_MAX);
    assert_eq!(
        places(&look_at(&most, DnsRecordType::Srv).await),
        ["10.0.0.4:1"]
    );
    assert_eq!(most.asked.lock().expect("not poisoned").len(), HOSTS_MAX);
    assert_eq!(
        most.at_a_time.lock().expect("not poisoned").1,
        HOSTS_AT_A_TIME
    );
    let too_many = look_at(&many(HOSTS_MAX + 1), DnsRecordType::Srv).await;
    assert!(matches!(too_many, Verdict::Failed(_)), "{too_many:?}");
}

#[tokio::test]
async fn a_look_can_be_asked_for_long_before_the_ttl_is_over_and_the_task_ends_with_its_receiver() {
    let mut spec = spec(DnsRecordType::A);
    spec.min_interval = Span::from_millis(300_000).expect("in bounds");
    spec.max_interval = Span::from_millis(300_000).expect("in bounds");
    let (out, mut updates) = mpsc::channel(1);
    let look_now = Arc::new(Notify::new());
    let task = tokio::spawn(run(
        Fake::default(),
        spec,
        out,
        Arc::clone(&look_now),
        SmallRng::seed_from_u64(1),
    ));
    for _ in 0..2 {
        let update = tokio::time::timeout(Duration::from_secs(20), updates.recv()).await;
        assert!(matches!(update, Ok(Some(Update::Set { .. }))), "{update:?}");
        look_now.notify_one();
    }
    drop(updates);
    task.await.expect("it ends");
}
