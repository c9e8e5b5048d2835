//! Targets from DNS: one asking task for each name.
//!
//! A look asks for the records of one name (for SRV, then for the hosts that they name), and the
//! next one comes when the smallest TTL is over. What is believed is decided by [`book`], without
//! IO; the resolver library is in one file.

pub mod api;
pub mod book;
mod resolver;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use longshore_config::{DnsDiscovery, DnsRecordType};
use rand::Rng;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use crate::backoff;
use crate::clock::now;
use crate::target::Update;
use api::{Answer, DnsApi, Family, LookupError, Service};
use book::{Book, Verdict};
pub use resolver::Resolver;

/// The longest that one look may take. The resolver has limits of its own for each question; this
/// one bounds their sum.
const LOOK_LIMIT: Duration = Duration::from_secs(30);

/// The shortest time between two looks, however often a fresh one is asked for.
const LOOK_SPACING: Duration = Duration::from_millis(500);

/// The longest wait after failures.
const FAILURE_CAP: Duration = Duration::from_secs(30);

/// The most hosts of one name's SRV records. More is taken for a mistake: each may cost questions
/// of its own in each look.
const HOSTS_MAX: usize = 512;

/// How many hosts are asked about at a time.
const HOSTS_AT_A_TIME: usize = 16;

/// How long all hosts of one look may take together. Those without an answer by then are taken for
/// unresolved, so that one dead zone does not stop the rest.
const HOSTS_LIMIT: Duration = Duration::from_secs(10);

/// Asks for a name until the receiver is gone.
///
/// `look_now` asks for a look before its time: somebody lost connections to a target and wants to
/// know whether it is still there.
pub async fn run(
    api: impl DnsApi,
    spec: DnsDiscovery,
    out: mpsc::Sender<Update>,
    look_now: Arc<Notify>,
    mut rng: impl Rng,
) {
    let api = Arc::new(api);
    let mut book = Book::new(&spec.name);
    let mut failures: u32 = 0;
    loop {
        let looked = tokio::time::timeout(LOOK_LIMIT, look(&api, &spec, &mut book)).await;
        let at = now();
        let verdict = looked.unwrap_or_else(|_| {
            let limit = LOOK_LIMIT.as_secs();
            Verdict::Failed(format!("no answer within {limit} s"))
        });
        failures = match &verdict {
            Verdict::Failed(_) => failures.saturating_add(1),
            _ => 0,
        };
        let wait = wait(&verdict, &spec, failures, &mut rng);
        let (update, may_hurry) = match verdict {
            Verdict::Set {
                targets, problems, ..
            } => {
                let update = Update::Set {
                    targets,
                    problems,
                    at,
                };
                (update, true)
            }
            // A look before its time would read the same answer from a cache on the way, and take
            // it for a second one.
            Verdict::Unconfirmed { reason, .. } => (Update::Failed { error: reason, at }, false),
            // After failures the servers are given their rest, whoever asks.
            Verdict::Failed(error) => (Update::Failed { error, at }, false),
        };
        if out.send(update).await.is_err() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = async { tokio::time::sleep(LOOK_SPACING).await; look_now.notified().await }, if may_hurry => {}
        }
    }
}

/// From the end of a look to the next one.
fn wait(verdict: &Verdict, spec: &DnsDiscovery, failures: u32, rng: &mut impl Rng) -> Duration {
    let shortest = spec.min_interval.get();
    // The configuration says so already; a clamp with crossed bounds would panic.
    let longest = spec.max_interval.get().max(shortest);
    match verdict {
        Verdict::Set { ttl, .. } | Verdict::Unconfirmed { ttl, .. } => {
            backoff::jittered((*ttl).clamp(shortest, longest), rng).clamp(shortest, longest)
        }
        Verdict::Failed(_) => backoff::delay(shortest, FAILURE_CAP.max(shortest), failures, rng),
    }
}

/// One look at the name.
async fn look(api: &Arc<impl DnsApi>, spec: &DnsDiscovery, book: &mut Book) -> Verdict {
    let began = now();
    let family = match spec.record_type {
        DnsRecordType::A => Family::V4,
        DnsRecordType::Aaaa => Family::V6,
        DnsRecordType::Srv => {
            let (services, ttl) = match book.records(api.services(&spec.name).await, began) {
                Ok(found) => found,
                Err(verdict) => return verdict,
            };
            let open = unresolved(&services);
            if open.len() > HOSTS_MAX {
                return Verdict::Failed(format!(
                    "the answer names {} hosts; at most {HOSTS_MAX} are looked up",
                    open.len()
                ));
            }
            let answers = hosts(api, open).await;
            return book.services(&services, ttl, answers, began);
        }
    };
    let Some(port) = spec.port else {
        // Refused when the file is read, so nobody sees it.
        return Verdict::Failed("the key `port` is missing".to_owned());
    };
    let answer = api.addresses(&spec.name, family).await;
    book.addresses(answer, port.number(), began)
}

/// The hosts whose addresses did not come with their records.
fn unresolved(services: &[Service]) -> BTreeSet<String> {
    services
        .iter()
        .filter(|service| service.addresses.is_empty())
        .map(|service| service.host.clone())
        .collect()
}

/// Asks about hosts, some at a time. Each gets an answer.
async fn hosts(
    api: &Arc<impl DnsApi>,
    names: BTreeSet<String>,
) -> BTreeMap<String, Result<Answer<std::net::IpAddr>, LookupError>> {
    let end = tokio::time::Instant::now() + HOSTS_LIMIT;
    let late = || LookupError(format!("no answer within {} s", HOSTS_LIMIT.as_secs()));
    let mut answers: BTreeMap<_, _> = names
        .iter()
        .map(|name| (name.clone(), Err(late())))
        .collect();
    let mut waiting = names.into_iter();
    let mut asked = JoinSet::new();
    loop {
        for name in waiting.by_ref().take(HOSTS_AT_A_TIME - asked.len()) {
            let api = Arc::clone(api);
            asked.spawn(async move {
                let answer = host(&*api, &name).await;
                (name, answer)
            });
        }
        match tokio::time::timeout_at(end, asked.join_next()).await {
            Ok(Some(Ok((name, answer)))) => drop(answers.insert(name, answer)),
            // A task that panicked has no answer. The others still count.
            Ok(Some(Err(_))) => {}
            // All have answered, or time is up: what is still asked ends with the set.
            Ok(None) | Err(_) => return answers,
        }
    }
}

/// The addresses of an SRV record's host: the IPv4 ones, and if it has none, the IPv6 ones. Both
/// would make one server two targets, and a failure must not change one kind for the other.
async fn host(api: &impl DnsApi, name: &str) -> Result<Answer<std::net::IpAddr>, LookupError> {
    match api.addresses(name, Family::V4).await? {
        found @ Answer::Found { .. } => Ok(found),
        Answer::Nothing { .. } => api.addresses(name, Family::V6).await,
    }
}

#[cfg(test)]
#[path = "dns/look_tests.rs"]
mod tests;
