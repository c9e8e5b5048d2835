//! The last good set of each discovered group, on disk: what a restart serves from while discovery
//! does not answer.
//!
//! What cannot be read is as good as nothing; it never keeps the process from starting.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_config::{Discovery, LabelDiscovery, Labels, ProtocolVersion};
use longshore_discovery::{Claim, Target, TargetKey};
use serde_json::{Value, json};

use super::record;

/// The form of the files. Others are ignored.
const FORM: u64 = 1;

/// What is older says too little about where targets are.
const AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// The place of one group's record.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    path: PathBuf,
    /// The source, as far as it decides which targets there are: the record of another one is
    /// nobody's.
    source: String,
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Remembered {
    pub(crate) targets: Vec<Target>,
    pub(crate) age: Duration,
}

impl Place {
    pub(crate) fn new(directory: &Path, group: &str, discovery: &Discovery) -> Self {
        let source = format!("{:?}", discovery.identity());
        Self::named(directory, group, source)
    }

    /// The place of a source of labelled targets. No group has such a name.
    pub(crate) fn of_labels(directory: &Path, block: &LabelDiscovery) -> Self {
        let source = format!("{:?}", block.identity());
        Self::named(directory, &format!("labels/{}", block.name), source)
    }

    fn named(directory: &Path, group: &str, source: String) -> Self {
        Self {
            path: record::path(directory, "targets", group),
            source,
        }
    }

    /// Writes a record. `wall`: the time since 1970.
    ///
    /// # Errors
    /// If the directory cannot be made or the file not be written; then the old record stays.
    pub(crate) fn save(&self, targets: &[Target], wall: Duration) -> io::Result<()> {
        record::write(&self.path, &self.record(targets, wall))
    }

    /// Reads the record. None if there is none for this source, or an old one.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(crate) fn load(&self, wall: Duration, now: Instant) -> Result<Option<Remembered>, String> {
        let Some(record) = record::read(&self.path)? else {
            return Ok(None);
        };
        self.read(&record, wall, now).ok_or_else(|| {
            let path = self.path.display();
            format!("{path}: not a record of targets; it is ignored")
        })
    }

    fn record(&self, targets: &[Target], wall: Duration) -> Value {
        let targets: Vec<Value> = targets
            .iter()
            .map(|target| {
                json!({
                    "task": &*target.key.task,
                    "container": &*target.key.container,
                    "port": target.key.port,
                    "address": target.address,
                    "zone": target.zone.as_deref(),
                    "weight": target.weight,
                    "instance": target.instance.as_deref(),
                    "shared_port": target.shared_port,
                    "started_at": target.started_at,
                    "protocol_version": target.protocol_version.map(ProtocolVersion::name),
                    "claim": target.claim.as_deref().map(|claim| json!({
                        "owner": &*claim.owner,
                        "name": &*claim.name,
                        "labels": &*claim.labels,
                    })),
                })
            })
            .collect();
        json!({
            "form": FORM,
            "written_at": wall.as_secs(),
            "source": self.source,
            "targets": targets,
        })
    }

    /// None if it is not what we write. `Some(None)` if it is not for us.
    fn read(&self, record: &Value, wall: Duration, now: Instant) -> Option<Option<Remembered>> {
        if record["form"].as_u64()? != FORM || record["source"].as_str()? != self.source {
            return Some(None);
        }
        let written_at = Duration::from_secs(record["written_at"].as_u64()?);
        // A clock that went back makes no record young again, only of unknown age.
        let age = wall.checked_sub(written_at).unwrap_or(Duration::ZERO);
        if age > AGE_MAX {
            return Some(None);
        }
        let targets = record["targets"].as_array()?.iter().map(|one| {
            let text = |key: &str| one[key].as_str().map(Arc::from);
            Some(Target {
                key: TargetKey {
                    task: text("task")?,
                    container: text("container")?,
                    port: u16::try_from(one["port"].as_u64()?).ok()?,
                },
                address: one["address"].as_str()?.parse::<SocketAddr>().ok()?,
                zone: text("zone"),
                // Records of older versions have none.
                weight: one["weight"]
                    .as_u64()
                    .and_then(|weight| u16::try_from(weight).ok())
                    .unwrap_or(1),
                instance: text("instance"),
                shared_port: one["shared_port"].as_bool()?,
                started_at: one["started_at"].as_i64(),
                protocol_version: one["protocol_version"].as_str().and_then(|name| {
                    let mut known = ProtocolVersion::ALL.into_iter();
                    known.find(|version| version.name() == name)
                }),
                claim: match &one["claim"] {
                    Value::Null => None,
                    claim => Some(Arc::new(read_claim(claim)?)),
                },
                confirmed_at: now,
            })
        });
        let targets = targets.collect::<Option<Vec<Target>>>()?;
        Some(Some(Remembered { targets, age }))
    }
}

fn read_claim(claim: &Value) -> Option<Claim> {
    let labels = claim["labels"].as_object()?.iter();
    let labels = labels.map(|(label, value)| Some((label.clone(), value.as_str()?.to_owned())));
    Some(Claim {
        owner: claim["owner"].as_str()?.into(),
        name: claim["name"].as_str()?.into(),
        labels: Arc::new(labels.collect::<Option<Labels>>()?),
    })
}

#[cfg(test)]
#[path = "remembered_tests.rs"]
pub(super) mod tests;
