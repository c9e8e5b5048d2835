//! The rounds of a row.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::backend::Backend;
use crate::check;
use crate::failure::Result;
use crate::load::{Load, Report};
use crate::procfs;
use crate::proxies::{Contestant, Started};
use crate::rows::Row;
use crate::scratch::Scratch;
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
    pub(crate) proxy_core: usize,
    pub(crate) load_core: usize,
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
    /// Per cent of the proxy's core that went to anyone else.
    pub(crate) others_percent: f64,
}

/// All samples of one contestant in a row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) label: String,
    /// Whether it is one that ours is compared with.
    pub(crate) peer: bool,
    pub(crate) samples: Vec<Sample>,
    pub(crate) syscalls: Option<f64>,
}

/// Who answers: the origin itself or a proxy before it.
enum Entrant<'run> {
    Direct {
        address: SocketAddr,
        directory: PathBuf,
    },
    Proxy {
        contestant: &'run Contestant,
        started: Started,
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
    let mut entrants = Vec::new();
    for contestant in contestants {
        let directory = scratch.directory(&format!("{}-{}", row.name, contestant.label))?;
        let ports = backend.ports(row.target);
        let mut started = contestant.start(row, ports, plan.proxy_core, directory)?;
        check::proxy(&mut started, row, ports.len(), plan.load_core)?;
        eprintln!("{}: {} answers correctly", row.name, contestant.label);
        entrants.push(Entrant::Proxy {
            contestant,
            started,
        });
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
    if plan.strace {
        for (entrant, outcome) in entrants.iter().zip(&mut outcomes) {
            if let Entrant::Proxy { started, .. } = entrant {
                let load = entrant.load(row, plan, plan.seconds);
                outcome.syscalls = Some(syscalls::per_request(started.process.id(), &load)?);
            }
        }
    }
    Ok(outcomes)
}

impl Entrant<'_> {
    fn outcome(&self) -> Outcome {
        let (label, peer) = match self {
            Self::Direct { .. } => ("direct (no proxy)".into(), false),
            Self::Proxy { contestant, .. } => (
                contestant.label.clone(),
                contestant.kind.name != crate::proxies::OURS,
            ),
        };
        Outcome {
            label,
            peer,
            samples: Vec::new(),
            syscalls: None,
        }
    }

    fn load<'run>(&'run self, row: &'run Row, plan: &Plan, seconds: u64) -> Load<'run> {
        let (target, directory) = match self {
            Self::Direct { address, directory } => (*address, directory),
            Self::Proxy { started, .. } => (started.address, &started.directory),
        };
        Load {
            row,
            connections: plan.connections.unwrap_or(row.connections),
            target,
            seconds,
            core: plan.load_core,
            directory,
        }
    }

    /// One warm-up and one timed interval.
    fn sample(&mut self, row: &Row, plan: &Plan) -> Result<Sample> {
        let mut errors = Vec::new();
        if plan.warmup > 0 {
            let warm = self.load(row, plan, plan.warmup).run(&mut |_| Ok(()))?;
            errors.extend(warm.errors.into_iter().map(|e| format!("warm-up: {e}")));
        }
        let root = match self {
            Self::Direct { .. } => None,
            Self::Proxy { started, .. } => Some(started.process.id()),
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
                Some(used(before, after, load.requests, resident_kib))
            }
            _ => None,
        };
        Ok(Sample { load, proxy })
    }
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
        others_percent: 100.0 * busy.saturating_sub(ticks) as f64 / total as f64,
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
        assert!((sample.others_percent - 12.5).abs() < 1e-9);
    }
}
