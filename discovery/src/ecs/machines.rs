//! The addresses of container instances that do not change, for all groups of a region and as long
//! as the process lives. A source that begins anew, as after a reload, knows them at once, also while
//! AWS does not answer, and ten services on the same hosts ask for them once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::api::Host;

/// The most that are kept. With more, all are forgotten and asked for again: those of hosts that are
/// gone stay otherwise.
const MOST: usize = 20_000;

#[derive(Debug, Default)]
pub(super) struct Machines {
    known: Mutex<BTreeMap<Arc<str>, Host>>,
    learnt: Notify,
}

impl Machines {
    /// Those that are known of these.
    pub(super) fn of(&self, arns: &[Arc<str>]) -> Vec<Host> {
        let known = self.known();
        let found = arns.iter().filter_map(|arn| known.get(arn));
        found.cloned().collect()
    }

    /// All that are known.
    pub(super) fn all(&self) -> Vec<Host> {
        self.known().values().cloned().collect()
    }

    /// Takes what was learnt.
    pub(super) fn note(&self, found: &[Host]) {
        let mut known = self.known();
        for host in found.iter().filter(|host| host.life().is_none()) {
            if known.len() >= MOST {
                known.clear();
            }
            let before = known.insert(Arc::clone(&host.arn), host.clone());
            if before.as_ref() != Some(host) {
                self.learnt.notify_one();
            }
        }
    }

    /// Waits until something has been learnt that was not known, also if that was before this.
    pub(super) async fn learnt(&self) {
        self.learnt.notified().await;
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Host>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{Host, MOST, Machines};

    fn host(number: usize, instance: &str) -> Host {
        Host {
            arn: format!("h{number}").into(),
            instance: instance.into(),
            address: [10, 0, 0, 1].into(),
            zone: None,
        }
    }

    #[test]
    fn what_may_change_is_asked_for_again_and_the_rest_is_bounded() {
        let machines = Machines::default();
        machines.note(&[host(0, "i-0"), host(1, "mi-1")]);
        let arns = ["h0".into(), "h1".into(), "h2".into()];
        assert_eq!(machines.of(&arns), [host(0, "i-0")]);
        let many: Vec<Host> = (0..MOST + 5).map(|number| host(number, "i-0")).collect();
        machines.note(&many);
        assert!(machines.of(&arns).is_empty(), "forgotten");
        assert_eq!(machines.of(&[many[MOST].arn.clone()]).len(), 1);
    }
}
