//! The hosts of a region, on disk: what a task's address is when a restart meets the task while
//! nobody can be asked where its host is. Without it the first set would leave out such tasks, and
//! the targets that are remembered for them would drain.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use longshore_discovery::ecs::Region;
use longshore_discovery::ecs::api::Host;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::record;

/// The form of the files. Others are ignored.
const FORM: u64 = 1;

/// The shortest time between two records of a region: hosts come one after the other.
const SPACING: Duration = Duration::from_secs(1);

/// How soon a record that could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(60);

/// A region with the record of its hosts.
#[derive(Debug)]
pub(crate) struct RegionHosts {
    region: Arc<Region>,
    /// None: nothing is kept.
    path: Option<PathBuf>,
    recalled: OnceCell<()>,
}

impl RegionHosts {
    /// `name`: that of the region. None: that of the environment.
    pub(crate) fn new(region: Region, directory: Option<&Path>, name: Option<&str>) -> Self {
        Self {
            region: Arc::new(region),
            path: directory.map(|it| record::path(it, "hosts", name.unwrap_or_default())),
            recalled: OnceCell::new(),
        }
    }

    /// Calls so far, and how many of them AWS refused as too many.
    pub(crate) fn counts(&self) -> (u64, u64) {
        self.region.counts()
    }

    /// The region, once it knows the hosts that were kept.
    pub(crate) async fn recalled(&self) -> Arc<Region> {
        self.recalled.get_or_init(|| self.recall()).await;
        Arc::clone(&self.region)
    }

    /// Writes the hosts to disk whenever some have been learnt.
    pub(crate) async fn keep(&self) {
        let Some(path) = &self.path else {
            return;
        };
        self.recalled().await;
        let mut kept = true;
        loop {
            if kept {
                self.region.learnt().await;
            }
            let (path, hosts) = (path.clone(), self.region.hosts());
            let write = move || record::write(&path, &written(&hosts));
            let written = tokio::task::spawn_blocking(write).await;
            kept = !matches!(written, Ok(Err(_)));
            if let Ok(Err(error)) = written {
                tracing::warn!(%error, "the addresses of hosts are not kept for a restart");
            }
            tokio::time::sleep(if kept { SPACING } else { AGAIN }).await;
        }
    }

    async fn recall(&self) {
        let Some(path) = self.path.clone() else {
            return;
        };
        let read = move || {
            let record = record::read(&path)?;
            record.map_or(Ok(Vec::new()), |record| {
                let path = path.display();
                hosts(&record).ok_or_else(|| format!("{path}: not a record of hosts"))
            })
        };
        match record::apart(read).await {
            Ok(hosts) => self.region.recall(&hosts),
            Err(error) => tracing::warn!(%error, "the hosts from before the restart are lost"),
        }
    }
}

fn written(hosts: &[Host]) -> Value {
    let one = |host: &Host| {
        json!({
            "arn": &*host.arn,
            "instance": &*host.instance,
            "address": host.address,
            "zone": host.zone.as_deref(),
        })
    };
    // The primary IPv4 address of an instance is its own for life. An IPv6 address can be given to
    // another one, and would be believed for as long as the file is there.
    let lasting = hosts.iter().filter(|host| host.address.is_ipv4());
    json!({ "form": FORM, "hosts": lasting.map(one).collect::<Vec<_>>() })
}

/// None if it is not what we write.
fn hosts(record: &Value) -> Option<Vec<Host>> {
    if record["form"].as_u64()? != FORM {
        return Some(Vec::new());
    }
    let one = |one: &Value| {
        let text = |key: &str| one[key].as_str().map(Arc::from);
        Some(Host {
            arn: text("arn")?,
            instance: text("instance")?,
            address: one["address"].as_str()?.parse().ok()?,
            zone: text("zone"),
        })
    };
    record["hosts"].as_array()?.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_as_they_were_written() {
        let host = |number: u8, zone: Option<&str>| Host {
            arn: format!("arn:{number}").into(),
            instance: "i-0".into(),
            address: [10, 0, 0, number].into(),
            zone: zone.map(Arc::from),
        };
        let mut all = vec![host(1, Some("a")), host(2, None), host(3, None)];
        all[2].address = "2001:db8::3".parse().expect("an address");
        let mut record = written(&all);
        all.pop();
        assert_eq!(hosts(&record), Some(all), "without the one that may change");
        record["hosts"][1]["address"] = "10.0.0".into();
        assert_eq!(hosts(&record), None);
        record["form"] = 2.into();
        assert_eq!(hosts(&record), Some(Vec::new()), "of another version");
        assert_eq!(hosts(&Value::Null), None);
    }
}
