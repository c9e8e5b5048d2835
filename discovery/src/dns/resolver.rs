//! [`DnsApi`] over hickory-resolver; the only file that uses it.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::system_conf::read_system_conf;

use super::api::{Answer, DnsApi, Family, LookupError, Service};
use crate::clock::now;

/// The longest that one server may take for one question, with a second try over TCP if the answer
/// did not fit, and with the CNAMEs of the name.
const SERVER_LIMIT: Duration = Duration::from_millis(2_500);

/// How long the library waits for one message. It repeats a datagram within that time.
const MESSAGE_LIMIT: Duration = Duration::from_secs(2);

/// The most servers that are asked. The C library uses three of `/etc/resolv.conf`.
const SERVERS_MAX: usize = 4;

/// How long another server than the first one is asked before it. One that stands in for it may have
/// other records of the same name: those that are meant for the world outside.
const STAND_IN_LIFE: Duration = Duration::from_secs(30);

/// Asks servers one after the other until one has records. That there are none is believed if the
/// first one says so and no other has any.
///
/// Each server has a resolver of its own. In one resolver over all of them, a server that is quick
/// to refuse would be preferred to one that answers.
pub struct Resolver {
    /// Empty: those of `/etc/resolv.conf`.
    written: Vec<SocketAddr>,
    /// None before the first question, and after one that nobody answered: the file may have
    /// changed.
    known: Mutex<Option<Known>>,
}

struct Known {
    servers: Arc<[Server]>,
    order: Order,
}

/// With which server to begin.
#[derive(Debug, Default)]
struct Order {
    /// Another one than the first, as it had records when those before it had none; and since when
    /// the first one is not the one to begin with.
    stand_in: Option<(usize, Instant)>,
}

impl Order {
    fn first(&mut self, now: Instant) -> usize {
        let lives = |since| now.saturating_duration_since(since) < STAND_IN_LIFE;
        self.stand_in = self.stand_in.filter(|(_, since)| lives(*since));
        self.stand_in.map_or(0, |(index, _)| index)
    }

    /// A server had records.
    fn answered(&mut self, by: usize, now: Instant) {
        // What counts is when the first one was last tried.
        let since = self.stand_in.map_or(now, |(_, since)| since);
        self.stand_in = (by > 0).then_some((by, since));
    }
}

struct Server {
    address: SocketAddr,
    resolver: TokioResolver,
}

impl Resolver {
    /// One that asks these servers, or those of `/etc/resolv.conf` if there are none. Does not ask
    /// anything yet.
    #[must_use]
    pub fn new(servers: &[SocketAddr]) -> Self {
        Self {
            written: servers.to_vec(),
            known: Mutex::new(None),
        }
    }

    fn servers(&self) -> Result<(Arc<[Server]>, usize), LookupError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &mut *known {
            return Ok((Arc::clone(&known.servers), known.order.first(now())));
        }
        let addresses = if self.written.is_empty() {
            system_servers()?
        } else {
            self.written.clone()
        };
        let servers: Arc<[Server]> = addresses
            .into_iter()
            .take(SERVERS_MAX)
            .map(Server::new)
            .collect::<Result<_, _>>()?;
        *known = Some(Known {
            servers: Arc::clone(&servers),
            order: Order::default(),
        });
        Ok((servers, 0))
    }

    /// Notes which server answered, or that none did.
    fn answered(&self, by: Option<usize>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match (by, &mut *known) {
            (Some(index), Some(known)) => known.order.answered(index, now()),
            (Some(_), None) => {}
            (None, known) => *known = None,
        }
    }

    async fn ask<T>(
        &self,
        name: &str,
        record_type: RecordType,
        pick: impl Fn(&Lookup) -> Picked<T>,
    ) -> Result<Answer<T>, LookupError> {
        let absolute = absolute(name)?;
        let (servers, first) = self.servers()?;
        let mut errors = Vec::new();
        let mut nothing = None;
        for step in 0..servers.len() {
            let index = (first + step) % servers.len();
            let Some(server) = servers.get(index) else {
                continue;
            };
            let lookup = server.resolver.lookup(absolute.clone(), record_type);
            let result = match tokio::time::timeout(SERVER_LIMIT, lookup).await {
                Ok(result) => judge(result, record_type, &pick),
                Err(_) => Err(format!("no answer within {} ms", SERVER_LIMIT.as_millis())),
            };
            match result {
                Ok(answer @ Answer::Found { .. }) => {
                    self.answered(Some(index));
                    return Ok(answer);
                }
                // A server that stands in for another may not know its zones, and says the same.
                // So the others are asked, and only the one that is written first is believed.
                Ok(answer) => {
                    if index == 0 {
                        nothing = Some(answer);
                    } else {
                        errors.push(format!("{}: it knows no such records", server.address));
                    }
                }
                Err(error) => errors.push(format!("{}: {error}", server.address)),
            }
        }
        if let Some(nothing) = nothing {
            return Ok(nothing);
        }
        self.answered(None);
        Err(LookupError(format!(
            "{record_type} {absolute}: {}",
            errors.join("; ")
        )))
    }
}

impl DnsApi for Resolver {
    async fn addresses(&self, name: &str, family: Family) -> Result<Answer<IpAddr>, LookupError> {
        let record_type = match family {
            Family::V4 => RecordType::A,
            Family::V6 => RecordType::AAAA,
        };
        self.ask(name, record_type, |lookup| {
            Picked::Records(
                lookup
                    .answers()
                    .iter()
                    .filter_map(|record| address(record, family))
                    .collect(),
            )
        })
        .await
    }

    async fn services(&self, name: &str) -> Result<Answer<Service>, LookupError> {
        self.ask(name, RecordType::SRV, services).await
    }
}

impl Server {
    fn new(address: SocketAddr) -> Result<Self, LookupError> {
        let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
        for connection in &mut connections {
            connection.port = address.port();
        }
        let server = NameServerConfig::new(address.ip(), true, connections);
        let config = ResolverConfig::from_name_servers(vec![server]);
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        options.timeout = MESSAGE_LIMIT;
        // The source itself asks again, with more patience.
        options.attempts = 0;
        // Each look must reach a server: see `DnsApi`.
        options.cache_size = 0;
        // The source is DNS. A name of this machine's own file would never change.
        options.use_hosts_file = ResolveHosts::Never;
        let resolver = builder
            .build()
            .map_err(|error| LookupError(error.to_string()))?;
        Ok(Self { address, resolver })
    }
}

/// The servers of `/etc/resolv.conf`. A small local file, read once and after failures: not worth
/// a thread.
fn system_servers() -> Result<Vec<SocketAddr>, LookupError> {
    let (config, _) =
        read_system_conf().map_err(|error| LookupError(format!("/etc/resolv.conf: {error}")))?;
    let servers = config.name_servers().iter();
    Ok(servers
        .map(|server| SocketAddr::new(server.ip, 53))
        .collect())
}

/// The name as an absolute one, so that no search domain is tried.
fn absolute(name: &str) -> Result<Name, LookupError> {
    let mut name =
        Name::from_ascii(name).map_err(|error| LookupError(format!("{name:?}: {error}")))?;
    name.set_fqdn(true);
    Ok(name)
}

/// What was found in an answer.
enum Picked<T> {
    Records(Vec<T>),
    /// The records say that there is nothing.
    Nothing(&'static str),
}

/// What an answer means, or why it cannot be believed.
fn judge<T>(
    result: Result<Lookup, NetError>,
    record_type: RecordType,
    pick: impl Fn(&Lookup) -> Picked<T>,
) -> Result<Answer<T>, String> {
    match result {
        Ok(lookup) => {
            let code = lookup.message().response_code;
            if code != ResponseCode::NoError {
                return Err(format!("records in an answer with the code {code}"));
            }
            let ttl = smallest_ttl(&lookup);
            match pick(&lookup) {
                Picked::Records(records) if records.is_empty() => {
                    Err(format!("an answer without {record_type} records"))
                }
                Picked::Records(records) => Ok(Answer::Found { records, ttl }),
                Picked::Nothing(reason) => Ok(Answer::Nothing {
                    reason: reason.to_owned(),
                    ttl,
                }),
            }
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => negative(&none, record_type),
        Err(error) => Err(error.to_string()),
    }
}

/// RFC 2308, section 2: a negative answer of the zone has its SOA record. Without it, it may be
/// that of a server that does not know the zone.
fn negative<T>(none: &NoRecords, record_type: RecordType) -> Result<Answer<T>, String> {
    let name = none.query.name();
    let reason = match none.response_code {
        ResponseCode::NXDomain => format!("NXDOMAIN: there is no name {name}"),
        ResponseCode::NoError => format!("NODATA: {name} has no {record_type} records"),
        code => return Err(format!("an answer with the code {code}")),
    };
    if none.soa.is_none() {
        return Err(format!("{reason}; not believed without an SOA record"));
    }
    Ok(Answer::Nothing {
        reason,
        ttl: Duration::from_secs(none.negative_ttl.unwrap_or(0).into()),
    })
}

/// Of all records of the answer, CNAMEs among them, and of the addresses that came along.
fn smallest_ttl(lookup: &Lookup) -> Duration {
    let along = lookup.additionals().iter();
    let along = along.filter(|record| address(record, Family::V4).is_some());
    let ttl = lookup
        .answers()
        .iter()
        .chain(along)
        .map(|record| record.ttl)
        .min();
    Duration::from_secs(ttl.unwrap_or(0).into())
}

fn address(record: &Record, family: Family) -> Option<IpAddr> {
    match (&record.data, family) {
        (RData::A(address), Family::V4) => Some(IpAddr::V4(address.0)),
        (RData::AAAA(address), Family::V6) => Some(IpAddr::V6(address.0)),
        _ => None,
    }
}

fn services(lookup: &Lookup) -> Picked<Service> {
    let records: Vec<_> = lookup
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            RData::SRV(srv) => Some(srv),
            _ => None,
        })
        .collect();
    // RFC 2782: a target of "." means that the service is decidedly not available there.
    if !records.is_empty() && records.iter().all(|srv| srv.target.is_root()) {
        return Picked::Nothing("the SRV record's target is `.`: there is no such service");
    }
    let records = records.into_iter().filter(|srv| !srv.target.is_root());
    Picked::Records(
        records
            .map(|srv| Service {
                host: srv.target.to_lowercase().to_ascii(),
                port: srv.port,
                priority: srv.priority,
                weight: srv.weight,
                addresses: lookup
                    .additionals()
                    .iter()
                    .filter(|record| record.name == srv.target)
                    .filter_map(|record| address(record, Family::V4))
                    .collect(),
            })
            .collect(),
    )
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests stand outside: they choose the times that they hand in"
)]
mod tests {
    use super::{Duration, Instant, Order, STAND_IN_LIFE};

    #[test]
    fn a_server_that_stands_in_is_asked_first_for_30_seconds_however_often_it_answers() {
        let start = Instant::now();
        let mut order = Order::default();
        assert_eq!(order.first(start), 0);
        order.answered(2, start);
        for second in 1..30 {
            let now = start + Duration::from_secs(second);
            assert_eq!(order.first(now), 2, "{second}");
            order.answered(3, now);
            assert_eq!(order.first(now), 3, "{second}");
            order.answered(2, now);
        }
        let now = start + STAND_IN_LIFE;
        assert_eq!(order.first(now), 0);
        // The first one still fails.
        order.answered(2, now);
        assert_eq!(order.first(now + Duration::from_secs(29)), 2);
        // It works again.
        order.answered(0, now + STAND_IN_LIFE);
        assert_eq!(order.first(now + STAND_IN_LIFE), 0);
    }
}
