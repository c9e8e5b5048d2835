//! What is believed after each answer: pure, with time as an argument.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::api::{Answer, LookupError, Service};
use crate::first::First;
use crate::target::{Problem, Target, TargetKey};

/// How many answers in a row must say that there is nothing before it is believed. One such answer
/// may be a zone that is just being written, or a server that lost its zone.
const NEGATIVES_NEEDED: u32 = 2;

/// A cache on the way may repeat such an answer for so long after its TTL: it has come there later
/// than the look began.
const CACHE_SLACK: Duration = Duration::from_secs(1);

/// The longest TTL of such an answer that is waited for. Zones have a day at times, and caches
/// seldom keep it for as long.
const NEGATIVE_TTL_MAX: Duration = Duration::from_secs(900);

/// When to look again, in place of the TTL, while a host's name does not resolve.
const UNRESOLVED_TTL: Duration = Duration::from_secs(5);

/// The same in the first looks, which are not taken without that host.
const FIRST_TTL: Duration = Duration::from_secs(1);

/// What one look has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All targets.
    Set {
        /// Sorted, one for each address and port.
        targets: Vec<Target>,
        /// What is no target, or one only from memory.
        problems: Vec<Problem>,
        /// How long this may be believed.
        ttl: Duration,
    },
    /// Nothing that is believed yet: the zone says that there is nothing, but not often enough, or
    /// one of the first looks did not see everything.
    Unconfirmed {
        /// What was said.
        reason: String,
        /// How long others may repeat that answer without a new look.
        ttl: Duration,
    },
    /// Nothing was learnt.
    Failed(String),
}

/// The memory of one source.
#[derive(Debug)]
pub struct Book {
    /// `dns:` and the name, which is the task of each target's key.
    source: Arc<str>,
    negatives: Negatives,
    /// The hosts that SRV records name. An entry lives as long as a record names it.
    hosts: BTreeMap<String, Host>,
    first: First,
}

/// Answers in a row that said that there is nothing.
#[derive(Debug, Default)]
struct Negatives {
    count: u32,
    /// From when on another one is another answer, and not the same out of a cache.
    next: Option<Instant>,
}

impl Negatives {
    /// Takes one, which others may repeat for `ttl`.
    fn take(&mut self, ttl: Duration, began: Instant) {
        if self.next.is_none_or(|next| began >= next) {
            self.count = self.count.saturating_add(1);
            self.next = Some(began + ttl.min(NEGATIVE_TTL_MAX) + CACHE_SLACK);
        }
    }

    fn are_believed(&self) -> bool {
        self.count >= NEGATIVES_NEEDED
    }

    /// They are not in a row any more.
    fn end(&mut self) {
        *self = Self::default();
    }
}

/// What is known of an SRV record's host.
#[derive(Debug, Default)]
struct Host {
    addresses: Vec<IpAddr>,
    /// The start of the latest look that showed those addresses.
    confirmed_at: Option<Instant>,
    negatives: Negatives,
    /// Why the latest look did not show an address.
    problem: Option<String>,
}

impl Book {
    /// An empty one for the source of that name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            source: format!("dns:{name}").into(),
            negatives: Negatives::default(),
            hosts: BTreeMap::new(),
            first: First::default(),
        }
    }

    /// Judges an answer with addresses, whose port is known from elsewhere.
    pub fn addresses(
        &mut self,
        answer: Result<Answer<IpAddr>, LookupError>,
        port: u16,
        began: Instant,
    ) -> Verdict {
        let (records, ttl) = match self.records(answer, began) {
            Ok(found) => found,
            Err(verdict) => return verdict,
        };
        let mut set = Targets::new(&self.source);
        for address in records {
            set.add(address, port, 1, began);
        }
        set.verdict(ttl)
    }

    /// Judges SRV records and what was found out about their hosts. A host without an answer here
    /// is at the addresses that came with its record.
    pub fn services(
        &mut self,
        services: &[Service],
        ttl: Duration,
        mut answers: BTreeMap<String, Result<Answer<IpAddr>, LookupError>>,
        began: Instant,
    ) -> Verdict {
        let mut ttl = ttl;
        self.hosts
            .retain(|name, _| services.iter().any(|service| service.host == *name));
        for service in services {
            let answer = answers.remove(&service.host);
            let host = self.hosts.entry(service.host.clone()).or_default();
            match answer {
                Some(answer) => ttl = ttl.min(host.told(answer, began)),
                None if !service.addresses.is_empty() => {
                    host.found(service.addresses.clone(), began);
                }
                // Another record of this answer named the same host.
                None => {}
            }
        }
        let unseen = self.hosts.iter().find_map(|(name, host)| {
            let unseen = host.addresses.is_empty() && !host.negatives.are_believed();
            Some(format!(
                "{name}: {}",
                host.problem.as_ref().filter(|_| unseen)?
            ))
        });
        if !self.first.takes(unseen.is_none())
            && let Some(reason) = unseen
        {
            let ttl = FIRST_TTL;
            return Verdict::Unconfirmed { reason, ttl };
        }
        let mut priorities: Vec<u16> = services.iter().map(|service| service.priority).collect();
        priorities.sort_unstable();
        priorities.dedup();
        let mut set = Targets::new(&self.source);
        // The next priority counts only where the one before it has nobody (RFC 2782).
        for priority in priorities {
            for service in services.iter().filter(|s| s.priority == priority) {
                self.place(service, &mut set);
            }
            if !set.targets.is_empty() {
                break;
            }
        }
        set.verdict(ttl)
    }

    /// The records of an answer about the source's own name; a verdict if there are none.
    pub fn records<T>(
        &mut self,
        answer: Result<Answer<T>, LookupError>,
        began: Instant,
    ) -> Result<(Vec<T>, Duration), Verdict> {
        match answer {
            Ok(Answer::Found { records, ttl }) => {
                self.negatives.end();
                Ok((records, ttl))
            }
            Ok(Answer::Nothing { reason, ttl }) => {
                self.negatives.take(ttl, began);
                if !self.negatives.are_believed() {
                    return Err(Verdict::Unconfirmed { reason, ttl });
                }
                self.hosts.clear();
                Err(Verdict::Set {
                    targets: Vec::new(),
                    problems: vec![Problem {
                        subject: self.source.to_string(),
                        reason,
                    }],
                    ttl,
                })
            }
            Err(error) => {
                self.negatives.end();
                Err(Verdict::Failed(error.to_string()))
            }
        }
    }

    /// The targets of one SRV record.
    fn place(&self, service: &Service, set: &mut Targets<'_>) {
        let Some(host) = self.hosts.get(&service.host) else {
            return;
        };
        let subject = format!("{}:{}", service.host, service.port);
        if service.port == 0 {
            set.unusable(subject, "its SRV record has port 0; expected 1 to 65535");
            return;
        }
        match &host.problem {
            None => {}
            Some(problem) if host.negatives.are_believed() => set.problem(subject, problem),
            Some(problem) if host.addresses.is_empty() => set.unusable(subject, problem),
            Some(problem) => {
                set.problem(subject, &format!("its last addresses are kept: {problem}"));
            }
        }
        if let Some(confirmed_at) = host.confirmed_at {
            for address in &host.addresses {
                // RFC 2782: 0 where nothing is to be chosen, and next to others "a very small
                // chance". 1 is both.
                let weight = service.weight.max(1);
                set.add(*address, service.port, weight, confirmed_at);
            }
        }
    }
}

impl Host {
    fn found(&mut self, addresses: Vec<IpAddr>, began: Instant) {
        *self = Self {
            addresses,
            confirmed_at: Some(began),
            negatives: Negatives::default(),
            problem: None,
        };
    }

    /// Takes an answer, and says how long it may be believed.
    fn told(&mut self, answer: Result<Answer<IpAddr>, LookupError>, began: Instant) -> Duration {
        match answer {
            Ok(Answer::Found { records, ttl }) => {
                self.found(records, began);
                ttl
            }
            Ok(Answer::Nothing { reason, ttl }) => {
                self.negatives.take(ttl, began);
                if self.negatives.are_believed() {
                    self.addresses.clear();
                }
                self.problem = Some(reason);
                ttl
            }
            Err(error) => {
                // If the zone has said often enough that there is nothing, a failure after it does
                // not bring anything back.
                if !self.negatives.are_believed() {
                    self.negatives.end();
                }
                self.problem = Some(error.to_string());
                UNRESOLVED_TTL
            }
        }
    }
}

/// Targets on their way into a set.
struct Targets<'a> {
    source: &'a Arc<str>,
    targets: BTreeMap<TargetKey, Target>,
    problems: Vec<Problem>,
    /// The first element that should be a target, and could not become one.
    unusable: Option<String>,
}

impl<'a> Targets<'a> {
    fn new(source: &'a Arc<str>) -> Self {
        Self {
            source,
            targets: BTreeMap::new(),
            problems: Vec::new(),
            unusable: None,
        }
    }

    /// Names an element that is no target, or one from memory.
    fn problem(&mut self, subject: String, reason: &str) {
        self.problems.push(Problem {
            subject,
            reason: reason.to_owned(),
        });
    }

    /// The same, where it should be a target: a set that is empty for this is no set.
    fn unusable(&mut self, subject: String, reason: &str) {
        self.unusable
            .get_or_insert_with(|| format!("{subject}: {reason}"));
        self.problem(subject, reason);
    }

    fn add(&mut self, address: IpAddr, port: u16, weight: u16, confirmed_at: Instant) {
        // Filters of names answer with 0.0.0.0, and a connection to it reaches this very machine.
        if address.is_unspecified() || address.is_multicast() || is_broadcast(address) {
            self.unusable(address.to_string(), "it is no address of a host");
            return;
        }
        let key = TargetKey {
            task: Arc::clone(self.source),
            container: address.to_string().into(),
            port,
        };
        let target = Target {
            key: key.clone(),
            address: SocketAddr::new(address, port),
            zone: None,
            weight,
            instance: None,
            // Who writes a port into a zone or a file means it to stay.
            shared_port: false,
            started_at: None,
            protocol_version: None,
            claim: None,
            confirmed_at,
        };
        let known = self.targets.entry(key).or_insert(target);
        known.confirmed_at = known.confirmed_at.max(confirmed_at);
    }

    /// A set; a failure if it is empty only because something could not be seen or used.
    fn verdict(self, ttl: Duration) -> Verdict {
        if let (true, Some(why)) = (self.targets.is_empty(), self.unusable) {
            return Verdict::Failed(format!("the answer has no usable target: {why}"));
        }
        let mut targets: Vec<Target> = self.targets.into_values().collect();
        targets.sort_by_key(|target| target.address);
        Verdict::Set {
            targets,
            problems: self.problems,
            ttl,
        }
    }
}

/// Whether an address means everybody.
fn is_broadcast(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.is_broadcast())
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
