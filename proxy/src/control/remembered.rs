//! The last good set of each discovered group, on disk: what a restart serves from while discovery
//! does not answer.
//!
//! A file is written beside its place and renamed into it, so that it is whole or the one before.
//! What cannot be read is as good as nothing; it never keeps the process from starting.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_config::{Discovery, LabelDiscovery, Labels, ProtocolVersion};
use longshore_discovery::{Claim, Target, TargetKey};
use serde_json::{Value, json};

/// The form of the files. Others are ignored.
const FORM: u64 = 1;

/// What is older says too little about where targets are.
const AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// The longest file that is read, in bytes; 10,000 targets take 3 MB.
const SIZE_MAX: u64 = 64 << 20;

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
        // A name may hold what a file's name may not.
        let name: String = group
            .bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).into(),
                byte => format!("%{byte:02x}"),
            })
            .collect();
        Self {
            path: directory.join(format!("targets-{name}.json")),
            source,
        }
    }

    /// Writes a record. `wall`: the time since 1970.
    ///
    /// # Errors
    /// If the directory cannot be made or the file not be written; then the old record stays.
    pub(crate) fn save(&self, targets: &[Target], wall: Duration) -> io::Result<()> {
        if let Some(directory) = self.path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let beside = self.path.with_extension("json.new");
        let mut file = std::fs::File::create(&beside)?;
        file.write_all(self.record(targets, wall).to_string().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, &self.path)
    }

    /// Reads the record. None if there is none for this source, or an old one.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(crate) fn load(&self, wall: Duration, now: Instant) -> Result<Option<Remembered>, String> {
        let about = |error: &dyn std::fmt::Display| format!("{}: {error}", self.path.display());
        let size = match std::fs::metadata(&self.path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(about(&error)),
        };
        if size > SIZE_MAX {
            return Err(about(&format!("larger than {} MiB", SIZE_MAX >> 20)));
        }
        let text = std::fs::read_to_string(&self.path).map_err(|error| about(&error))?;
        let record: Value = serde_json::from_str(&text).map_err(|error| about(&error))?;
        self.read(&record, wall, now)
            .ok_or_else(|| about(&"not a record of targets; it is ignored"))
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
