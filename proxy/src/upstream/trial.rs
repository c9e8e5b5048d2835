//! A target that was taken out may show with a few requests that it is well again: so many and no
//! more, whatever the algorithm.

use std::sync::atomic::{AtomicU32, Ordering};

/// Set in `permits`: the target is on trial.
const ON: u32 = 1 << 31;

/// Set in `permits`: also with requests that cannot be tried at another target if they fail.
const ANY: u32 = 1 << 30;

/// The trial of one endpoint. Written only while there is one.
#[derive(Debug, Default)]
pub(crate) struct Trial {
    /// How many requests may still go there, with [`ON`] and [`ANY`]. 0: no trial.
    permits: AtomicU32,
    ended: [AtomicU32; 3],
}

/// How a request of a trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The target answered well.
    Well,
    /// It did not.
    Badly,
    /// It tells nothing, because the client left or did not send its body.
    Untold,
}

/// What a trial has shown so far, counted up for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Shown {
    pub(crate) well: u32,
    pub(crate) badly: u32,
    pub(crate) untold: u32,
}

impl Trial {
    /// Lets so many more requests through; `any`: also those that cannot be repeated.
    pub(crate) fn grant(&self, count: u32, any: bool) {
        let any = if any { ANY } else { 0 };
        self.permits.store(ON | any | count, Ordering::Release);
    }

    /// It is over.
    pub(crate) fn end(&self) {
        self.permits.store(0, Ordering::Release);
    }

    /// How many requests may still go there.
    pub(crate) fn left(&self) -> u32 {
        self.permits.load(Ordering::Acquire) & (ANY - 1)
    }

    /// Whether a request may go there, be it because there is no trial.
    pub(crate) fn allows(&self, replayable: bool) -> bool {
        let permits = self.permits.load(Ordering::Relaxed);
        permits == 0 || (permits & (ANY - 1) > 0 && (replayable || permits & ANY != 0))
    }

    /// There is none.
    pub(crate) fn is_over(&self) -> bool {
        self.permits.load(Ordering::Acquire) == 0
    }

    /// Takes a permit: whether the request is one of the trial. None if there is none left.
    pub(crate) fn take(&self, replayable: bool) -> Option<bool> {
        let taken = self
            .permits
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |permits| {
                let allowed = permits & (ANY - 1) > 0 && (replayable || permits & ANY != 0);
                allowed.then(|| permits - 1)
            });
        match taken {
            Ok(_) => Some(true),
            Err(0) => Some(false),
            Err(_) => None,
        }
    }

    pub(crate) fn ended(&self, how: Ended) {
        self.ended[how as usize].fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn shown(&self) -> Shown {
        let [well, badly, untold] = self.ended.each_ref().map(|one| one.load(Ordering::Acquire));
        Shown {
            well,
            badly,
            untold,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Trial;

    #[test]
    fn a_trial_lets_so_many_through_and_no_more() {
        let trial = Trial::default();
        assert_eq!(trial.take(false), Some(false), "no trial, no limit");
        trial.grant(2, false);
        assert!(!trial.allows(false) && trial.take(false).is_none());
        assert_eq!([trial.take(true), trial.take(true)], [Some(true); 2]);
        assert!(!trial.allows(true) && trial.take(true).is_none());
        trial.grant(1, true);
        assert_eq!(trial.take(false), Some(true));
        trial.end();
        assert!(trial.allows(false));
    }
}
