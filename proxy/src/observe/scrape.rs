//! The text that Prometheus reads, made of what all workers and the control half counted.

mod groups;
mod listeners;
mod process;
mod targets;

use std::fmt;
use std::sync::Arc;

use longshore_discovery::ecs::QueueFigures;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use self::targets::Lines;
use super::counters::{Sides, Times};
use super::ledger::{GroupSide, ListenerLedger};
use super::metrics::WorkerMetrics;
use crate::control::figures::CheckCounts;
use crate::control::outlier::Cause;
use crate::control::secure::CertificateFigures;
use crate::upstream::endpoint::Endpoint;

/// Targets that have series of their own, at the most: some twenty lines each. Those beyond are in
/// the figures of their groups.
pub(crate) const TARGETS_MAX: usize = 10_000;

/// Rules of one listener that have series of their own, at the most, by priority. Those beyond are
/// one series, `others`.
pub(crate) const RULES_MAX: usize = 1_000;

/// A view of all counters for one scrape.
#[derive(Debug)]
pub(crate) struct Scrape {
    pub(crate) workers: Vec<Arc<WorkerMetrics>>,
    /// Open client connections of each worker.
    pub(crate) connections: Vec<u64>,
    pub(crate) figures: Figures,
    /// What became of lines of the access log, the log of connections and that of health checks.
    pub(crate) logs: [[(&'static str, u64); 3]; 3],
    /// What became of connections of the admin server.
    pub(crate) admin_connections: [(&'static str, u64); 3],
}

/// What the control half knows for a scrape.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) generation: u64,
    pub(crate) listeners: Vec<(Arc<str>, Arc<ListenerLedger>)>,
    pub(crate) groups: Vec<GroupFigures>,
    pub(crate) targets: Vec<TargetFigures>,
    /// AWS calls of discovery, and those that AWS refused as too many.
    pub(crate) api_calls: (u64, u64),
    /// Health checks that run.
    pub(crate) checks: u64,
    /// The queues of events.
    pub(crate) queues: Vec<QueueFigures>,
    /// The certificates of listeners.
    pub(crate) certificates: Vec<CertificateFigures>,
}

/// The figures of one group.
#[derive(Debug)]
pub(crate) struct GroupFigures {
    pub(crate) name: String,
    pub(crate) initial: u64,
    pub(crate) healthy: u64,
    pub(crate) unhealthy: u64,
    pub(crate) draining: u64,
    pub(crate) unused: u64,
    /// Requests go to unhealthy targets, too.
    pub(crate) fail_open: bool,
    pub(crate) checks: CheckCounts,
    pub(crate) unhealthy_routing: u64,
    /// Taken out because of their requests, or on trial after that.
    pub(crate) ejected: u64,
    /// Requests that wait for a target with room.
    pub(crate) waiting: u64,
    /// Requests at its targets.
    pub(crate) in_flight: u64,
    /// How often targets were taken out, by cause.
    pub(crate) ejections: [u64; Cause::ALL.len()],
    pub(crate) discovery_failures: u64,
    /// Seconds since the last answer of the source.
    pub(crate) discovery_age: f64,
    /// What is counted of its requests.
    pub(crate) ledger: Arc<Sides<GroupSide>>,
}

/// A target with series of its own.
#[derive(Debug)]
pub(crate) struct TargetFigures {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) zone: Option<Arc<str>>,
}

impl Scrape {
    /// The text up to the figures of targets, and what makes the rest of it.
    ///
    /// # Errors
    /// Only if the text cannot be written into memory.
    pub(crate) fn render(mut self) -> Result<(String, Lines), fmt::Error> {
        let targets = std::mem::take(&mut self.figures.targets);
        let mut registry = Registry::with_prefix("longshore");
        registry.register_collector(Box::new(self));
        let mut out = String::new();
        text::encode_registry(&mut out, &registry)?;
        Ok((out, Lines::new(targets)))
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        process::encode(self, &mut out)?;
        listeners::encode(&self.figures.listeners, &mut out)?;
        groups::encode(&self.figures.groups, &mut out)?;
        process::encode_certificates(&self.figures.certificates, &mut out)?;
        process::encode_queues(&self.figures.queues, &mut out)
    }
}

/// Series of one name, each by its labels.
struct Out<'e>(DescriptorEncoder<'e>);

type Labels<'l, const N: usize> = [(&'l str, &'l str); N];

impl Out<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter);
        ConstCounter::new(value).encode(encoder?)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge);
        gauge(value).encode(encoder?)
    }

    fn counters<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        all: impl IntoIterator<Item = (Labels<'l, N>, u64)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Counter, all, ConstCounter::new)
    }

    fn gauges<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        all: impl IntoIterator<Item = (Labels<'l, N>, u64)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, all, gauge)
    }

    fn seconds<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        all: impl IntoIterator<Item = (Labels<'l, N>, f64)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, all, ConstGauge::new)
    }

    fn family<'l, const N: usize, T, M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        all: impl IntoIterator<Item = (Labels<'l, N>, T)>,
        make: impl Fn(T) -> M,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in all {
            make(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// Times by bounds in microseconds. What never happened has no series.
    fn times<'l, const N: usize, const B: usize>(
        &mut self,
        name: &str,
        help: &str,
        bounds: &[u64; B],
        all: impl IntoIterator<Item = (Labels<'l, N>, Times<B>)>,
    ) -> fmt::Result {
        let encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Histogram);
        let mut family = encoder?;
        for (labels, times) in all {
            let count = times.count();
            if count > 0 {
                let sum = super::counters::in_seconds(times.micros);
                let buckets = times.seconds(bounds);
                let mut one = family.encode_family(&labels)?;
                one.encode_histogram::<Labels<'_, 0>>(sum, count, &buckets, None)?;
            }
        }
        Ok(())
    }
}

fn gauge(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}

/// Each name with its count, without those that never came.
fn named<'n, const N: usize>(
    names: impl Iterator<Item = &'n str>,
    counts: [u64; N],
) -> impl Iterator<Item = (&'n str, u64)> {
    names.zip(counts).filter(|(_, count)| *count > 0)
}

#[cfg(test)]
#[path = "scrape_tests.rs"]
mod tests;
