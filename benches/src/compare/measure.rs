//! The rounds of a row.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::backend::Backend;
use crate::check;
use crate::failure::{Context as _, Result, fail};
use crate::idle;
use crate::latency::{self, Latency};
use crate::load::{Load, Report};
use crate::procfs;
use crate::proxies::{Contestant, Place, Role, Started};
use crate::rows::{Feature, Row};
use crate::scratch::Scratch;
use crate::stats::Spread;
use crate::syscalls;

/// How to measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) seconds: u64,
    pub(crate) warmup: u64,
    /// In place of what each row says.
    pub(crate) connections: Option<usize>,
    pub(crate) strace: bool,
    /// Per cents of saturation at which latency is measured, after the rounds.
    pub(crate) latency: Vec<usize>,
    /// Of what the slowest reached, in place of each its own.
    pub(crate) same_rates: bool,
    /// Idle connections to measure the memory of; 0 for none.
    pub(crate) idle: usize,
    /// Cores of each proxy, from its first on, and as many workers. Each proxy is there once for each.
    pub(crate) proxy_cores: Vec<usize>,
    pub(crate) proxy_core: usize,
    pub(crate) load_core: usize,
}

/// Connections that a proxy must have room for, beyond those that are idle.
const ROOM: usize = 4096;

/// The same beside idle ones. Each may take two descriptors, which are few on some machines.
const SPARE: usize = 256;

impl Plan {
    /// So many cores of the proxies, as taskset takes them.
    fn cores(&self, count: usize) -> String {
        format!("{}-{}", self.proxy_core, self.proxy_core + count - 1)
    }
}

/// One timed interval of one contestant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) load: Report,
    /// What only a proxy has, and the origin asked directly has not.
    pub(crate) proxy: Option<ProxySample>,
}

/// What the kernel accounted to the proxy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ProxySample {
    pub(crate) cpu_us: f64,
    pub(crate) resident_mib: f64,
    /// Per cent of the proxy's first core that went to anyone else. None where it has more cores:
    /// the load is on one of them.
    pub(crate) others_percent: Option<f64>,
}

/// All samples of one contestant in a row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) label: String,
    /// The sort of proxy, of which there may be more builds and variants. None for the origin.
    pub(crate) kind: Option<&'static str>,
    /// How many cores it has.
    pub(crate) cores: usize,
    /// Whether it is one that ours is compared with.
    pub(crate) peer: bool,
    pub(crate) samples: Vec<Sample>,
    pub(crate) syscalls: Option<f64>,
    pub(crate) latencies: Vec<Latency>,
    /// Memory for each idle connection.
    pub(crate) idle_bytes: Option<f64>,
    /// From its start to the first right answer.
    pub(crate) started_ms: Option<f64>,
}

/// Who answers: the origin itself or a proxy before it.
enum Entrant<'run> {
    Direct {
        address: SocketAddr,
        directory: PathBuf,
    },
    Proxy {
        contestant: &'run Contestant,
        /// Its name in this row.
        label: String,
        cores: usize,
        started: Box<Started>,
        started_ms: Option<f64>,
        cookie: Option<String>,
    },
}

/// Measures one row for everyone. All proxies are started first and stay; a
/// round asks each in turn, and each round begins with another one, so that
/// a change of the machine's speed meets all of them.
pub(crate) fn row(
    row: &Row,
    plan: &Plan,
    contestants: &[Contestant],
    direct: bool,
    backend: &mut Backend,
    scratch: &Scratch,
) -> Result<Vec<Outcome>> {
    let ports = backend.ports(row.target).to_vec();
    let mut entrants = Vec::new();
    for contestant in contestants {
        if let Some(why) = contestant.cannot(row) {
            eprintln!("{}: without {}: {why}", row.name, contestant.label);
            continue;
        }
        for (label, feature) in features(contestant, row) {
            for &cores in &plan.proxy_cores {
                if cores > 1 && contestant.kind.role == Role::Floor {
                    continue;
                }
                let label = match cores {
                    1 => label.clone(),
                    _ => format!("{label}, {cores} cores"),
                };
                let directory = scratch.directory(&format!("{}-{label}", row.name))?;
                let place = Place {
                    cores: &plan.cores(cores),
                    workers: cores,
                    connections: ROOM,
                };
                let mut started = contestant.start(row, feature, &ports, place, directory)?;
                let started_ms = check::started_in(&mut started, row)?;
                check::proxy(&mut started, row, ports.len(), plan.load_core)?;
                eprintln!("{}: {label} answers correctly", row.name);
                let cookie = match feature {
                    Feature::Sticky => check::cookie(&started, row)?,
                    _ => None,
                };
                entrants.push(Entrant::Proxy {
                    contestant,
                    label,
                    cores,
                    started: Box::new(started),
                    started_ms,
                    cookie,
                });
            }
        }
    }
    if direct && row.suits_the_origin() {
        entrants.push(Entrant::Direct {
            address: backend.address(row.target),
            directory: scratch.directory(&format!("{}-direct", row.name))?,
        });
    }

    let mut outcomes: Vec<Outcome> = entrants.iter().map(Entrant::outcome).collect();
    for round in 0..plan.rounds {
        for step in 0..entrants.len() {
            let index = (round + step) % entrants.len();
            let (entrant, outcome) = (&mut entrants[index], &mut outcomes[index]);
            backend.expect_alive()?;
            let sample = entrant.sample(row, plan)?;
            eprintln!(
                "{}: round {} of {}: {}: {:.0} requests/s",
                row.name,
                round + 1,
                plan.rounds,
                outcome.label,
                sample.load.requests_per_second,
            );
            outcome.samples.push(sample);
        }
    }
    if !plan.latency.is_empty() && row.suits_a_constant_rate() {
        let origin = backend.address(row.target);
        latencies(row, plan, &mut entrants, &mut outcomes, origin)?;
    }
    if plan.strace {
        for (entrant, outcome) in entrants.iter().zip(&mut outcomes) {
            if let Entrant::Proxy { started, .. } = entrant {
                let load = entrant.load(row, plan, plan.seconds);
                outcome.syscalls = Some(syscalls::per_request(started.process.id(), &load)?);
            }
        }
    }
    // Not beside the others, as their memory would not be that of a fresh start either.
    drop(entrants);
    if plan.idle > 0 && row.suits_idle() {
        for contestant in contestants.iter().filter(|one| one.cannot(row).is_none()) {
            let directory =
                scratch.directory(&format!("{}-{}-idle", row.name, contestant.label))?;
            let place = Place {
                cores: &plan.cores(1),
                workers: 1,
                connections: plan.idle + idle::BEFORE + SPARE,
            };
            let mut started = contestant.start(row, row.feature, &ports, place, directory)?;
            check::proxy(&mut started, row, ports.len(), plan.load_core)?;
            let load = Load {
                row,
                connections: plan.idle,
                target: started.address,
                seconds: 0,
                core: plan.load_core,
                directory: &started.directory,
                cookie: None,
            };
            let bytes = idle::bytes(started.process.id(), &load, plan.idle)?;
            eprintln!(
                "{}: {}: {bytes:.0} bytes for an idle connection",
                row.name, contestant.label
            );
            let mut outcomes = outcomes.iter_mut();
            if let Some(outcome) = outcomes.find(|outcome| outcome.label == contestant.label) {
                outcome.idle_bytes = Some(bytes);
            }
        }
    }
    Ok(outcomes)
}

/// What a contestant is to do in a row, and its label: ours may be there more than once.
fn features(contestant: &Contestant, row: &Row) -> Vec<(String, Feature)> {
    let label = contestant.label.clone();
    let first = if row.is_ours_alone() {
        format!("{label} {}", row.own_label())
    } else {
        label.clone()
    };
    let mut features = vec![(first, row.feature)];
    if contestant.kind.role == Role::Ours {
        let variants = row.variants.iter();
        features.extend(variants.map(|one| (format!("{label} {}", one.label), one.feature)));
    }
    features
}

/// Latency at shares of what each has reached: in each round one share after the other, and in each
/// all in turn.
fn latencies(
    row: &Row,
    plan: &Plan,
    entrants: &mut [Entrant<'_>],
    outcomes: &mut [Outcome],
    origin: SocketAddr,
) -> Result<()> {
    let reached = |outcome: &Outcome| {
        let samples = outcome.samples.iter();
        if samples.clone().any(|one| !one.load.errors.is_empty()) {
            return None;
        }
        Spread::of(samples.map(|one| one.load.requests_per_second)).map(|reached| reached.median)
    };
    let least = outcomes.iter().filter_map(reached).min_by(f64::total_cmp);
    for outcome in outcomes.iter_mut() {
        let own = if plan.same_rates {
            least
        } else {
            reached(outcome)
        };
        let Some(saturation) = own else {
            continue;
        };
        let latency = |&share: &usize| Latency {
            share,
            rate: (saturation * share as f64 / 100.0).max(1.0),
            turns: Vec::new(),
        };
        outcome.latencies = plan.latency.iter().map(latency).collect();
    }
    for round in 0..plan.rounds {
        for share in 0..plan.latency.len() {
            for step in 0..entrants.len() {
                let index = (round + step) % entrants.len();
                let (entrant, outcome) = (&mut entrants[index], &mut outcomes[index]);
                let Some(latency) = outcome.latencies.get_mut(share) else {
                    continue;
                };
                let load = entrant.load(row, plan, plan.seconds);
                let turn = latency::turn(&load, origin, latency.rate)
                    .context(|| format!("{}: {}", row.name, outcome.label))?;
                eprintln!(
                    "{}: round {} of {}: {} at {} %: p99 {:.0} µs, {:.0} without it",
                    row.name,
                    round + 1,
                    plan.rounds,
                    outcome.label,
                    latency.share,
                    turn.times.p99,
                    turn.direct.p99
                );
                latency.turns.push(turn);
                if let Entrant::Proxy { started, .. } = entrant {
                    started.process.expect_alive()?;
                    empty_logs(started)?;
                }
            }
        }
    }
    Ok(())
}

impl Entrant<'_> {
    fn outcome(&self) -> Outcome {
        let none = Outcome {
            label: "direct (no proxy)".into(),
            kind: None,
            cores: 1,
            peer: false,
            samples: Vec::new(),
            syscalls: None,
            latencies: Vec::new(),
            idle_bytes: None,
            started_ms: None,
        };
        match self {
            Self::Direct { .. } => none,
            Self::Proxy {
                contestant,
                label,
                cores,
                started_ms,
                ..
            } => Outcome {
                label: label.clone(),
                kind: Some(contestant.kind.name),
                cores: *cores,
                peer: contestant.kind.role == Role::Peer,
                started_ms: *started_ms,
                ..none
            },
        }
    }

    fn load<'run>(&'run self, row: &'run Row, plan: &Plan, seconds: u64) -> Load<'run> {
        let (target, directory, cookie) = match self {
            Self::Direct { address, directory } => (*address, directory, None),
            Self::Proxy {
                started, cookie, ..
            } => (started.address, &started.directory, cookie.as_deref()),
        };
        Load {
            row,
            connections: plan.connections.unwrap_or(row.connections),
            target,
            seconds,
            core: plan.load_core,
            directory,
            cookie,
        }
    }

    /// One warm-up and one timed interval.
    fn sample(&mut self, row: &Row, plan: &Plan) -> Result<Sample> {
        let mut errors = Vec::new();
        if plan.warmup > 0 {
            let warm = self.load(row, plan, plan.warmup).run(&mut |_| Ok(()))?;
            errors.extend(warm.errors.into_iter().map(|e| format!("warm-up: {e}")));
        }
        let (root, cores) = match self {
            Self::Direct { .. } => (None, 1),
            Self::Proxy { started, cores, .. } => (Some(started.process.id()), *cores),
        };
        let before = root.map(|root| Account::read(root, plan)).transpose()?;
        // Memory is read once, in the middle, when all connections are there.
        let middle = Duration::from_millis(plan.seconds * 500);
        let mut resident_kib = None;
        let report = self.load(row, plan, plan.seconds).run(&mut |passed| {
            if let (Some(root), None, true) = (root, resident_kib, passed >= middle) {
                resident_kib = Some(procfs::tree_resident_kib(root));
            }
            Ok(())
        });
        if let Self::Proxy { started, .. } = self {
            started.process.expect_alive()?;
            empty_logs(started)?;
        }
        let mut load = report?;
        errors.append(&mut load.errors);
        if load.requests == 0 {
            errors.push("no request was answered".into());
        }
        load.errors = errors;
        let after = root.map(|root| Account::read(root, plan)).transpose()?;
        let proxy = match (before, after) {
            (Some(before), Some(after)) => {
                let resident_kib = resident_kib.unwrap_or_default();
                let mut sample = used(before, after, load.requests, resident_kib);
                if cores > 1 {
                    sample.others_percent = None;
                }
                Some(sample)
            }
            _ => None,
        };
        Ok(Sample { load, proxy })
    }
}

/// Access logs grow by gigabytes otherwise. What was in them is checked in no row; that there was
/// something is.
fn empty_logs(started: &Started) -> Result<()> {
    if started.feature != Feature::Log {
        return Ok(());
    }
    let own = started.directory.join("access.log");
    let log = if own.exists() {
        own
    } else {
        // HAProxy's is what it prints.
        started.process.log().to_owned()
    };
    let file = std::fs::OpenOptions::new().write(true).open(&log);
    let lines = file.context(|| format!("no access log in {}", log.display()))?;
    let length = lines.metadata().map_or(0, |data| data.len());
    if length == 0 {
        return fail(format!("nothing was logged in {}", log.display()));
    }
    lines
        .set_len(0)
        .context(|| format!("cannot empty {}", log.display()))
}

/// Clock ticks at a moment.
#[derive(Clone, Copy)]
struct Account {
    proxy: u64,
    core: procfs::CoreTicks,
}

impl Account {
    fn read(root: u32, plan: &Plan) -> Result<Self> {
        Ok(Self {
            proxy: procfs::tree_ticks(root)?,
            core: procfs::core_ticks(plan.proxy_core)?,
        })
    }
}

/// What was used between two moments.
#[expect(
    clippy::cast_precision_loss,
    reason = "ticks, requests and KiB of one interval are far below 2^52"
)]
fn used(before: Account, after: Account, requests: u64, resident_kib: u64) -> ProxySample {
    let ticks = after.proxy.saturating_sub(before.proxy);
    let tick_us = 1e6 / rustix::param::clock_ticks_per_second() as f64;
    let busy = after.core.busy.saturating_sub(before.core.busy);
    let total = after.core.total.saturating_sub(before.core.total).max(1);
    ProxySample {
        // No request at all is reported as an error; the figure only must exist.
        cpu_us: ticks as f64 * tick_us / requests.max(1) as f64,
        resident_mib: resident_kib as f64 / 1024.0,
        others_percent: Some(100.0 * busy.saturating_sub(ticks) as f64 / total as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_is_the_difference_between_two_accounts() {
        let account = |proxy, busy, total| Account {
            proxy,
            core: procfs::CoreTicks { busy, total },
        };
        let sample = used(account(100, 0, 0), account(400, 350, 400), 100_000, 2048);
        let tick_us =
            1e6 / f64::from(u32::try_from(rustix::param::clock_ticks_per_second()).unwrap());
        assert!((sample.cpu_us - 300.0 * tick_us / 1e5).abs() < 1e-9);
        assert!((sample.resident_mib - 2.0).abs() < 1e-9);
        assert!((sample.others_percent.unwrap() - 12.5).abs() < 1e-9);
    }
}
