//! Whether events are trusted, or changes come without any. Pure: time is an argument.
//!
//! A rule of EventBridge that was switched off, or a policy that keeps events out of the queue,
//! looks like a quiet service. Only a look that finds changes which nobody told shows it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an event may take after a look has shown what it tells. EventBridge promises nothing;
/// half a second is usual.
const GRACE: Duration = Duration::from_secs(5);

/// So many looks in a row with changes that were not told, and events are not relied on.
const STRIKES: u32 = 2;

/// How long they are not relied on then.
const DISTRUST: Duration = Duration::from_secs(600);

/// ARNs.
type Tasks = BTreeSet<Arc<str>>;

/// What looks and events say about each other.
#[derive(Debug, Default)]
pub(super) struct Trust {
    /// While a look is under way: what was known before, and what events told since.
    look: Option<(Tasks, Tasks)>,
    /// Changes that a look found and no event has told, and when the first look found some.
    untold: Option<(Instant, Tasks)>,
    strikes: u32,
    distrusted_until: Option<Instant>,
}

impl Trust {
    /// A look begins. `known` is what was known before, if events are relied on.
    pub(super) fn begin(&mut self, known: Option<Tasks>) {
        self.look = known.map(|known| (known, Tasks::new()));
    }

    /// The look ended, and found this.
    pub(super) fn end(&mut self, found: &Tasks, now: Instant) {
        self.settle(now);
        let Some((known, told)) = self.look.take() else {
            return;
        };
        let mut changes = known
            .symmetric_difference(found)
            .filter(|task| !told.contains(*task))
            .cloned()
            .peekable();
        if changes.peek().is_some() {
            let (_, untold) = self.untold.get_or_insert((now, Tasks::new()));
            untold.extend(changes);
        } else if self.untold.is_none() {
            self.strikes = 0;
        }
    }

    /// An event came about this task.
    pub(super) fn told(&mut self, task: &Arc<str>) {
        if let Some((_, told)) = &mut self.look {
            told.insert(Arc::clone(task));
        }
        if let Some((_, untold)) = &mut self.untold {
            untold.remove(task);
            if untold.is_empty() {
                self.untold = None;
                self.strikes = 0;
            }
        }
    }

    /// The queue did not work: what was not told meanwhile proves nothing.
    pub(super) fn excuse(&mut self) {
        self.look = None;
        self.untold = None;
        self.strikes = 0;
    }

    /// Whether events may be relied on now.
    pub(super) fn holds(&mut self, now: Instant) -> bool {
        self.settle(now);
        if self.distrusted_until.is_some_and(|until| until <= now) {
            self.distrusted_until = None;
        }
        self.distrusted_until.is_none()
    }

    /// When [`Self::holds`] may change by itself.
    pub(super) fn due(&self) -> Option<Instant> {
        let untold = self.untold.as_ref().map(|(since, _)| *since + GRACE);
        [untold, self.distrusted_until].into_iter().flatten().min()
    }

    fn settle(&mut self, now: Instant) {
        if self
            .untold
            .as_ref()
            .is_some_and(|(since, _)| now >= *since + GRACE)
        {
            self.untold = None;
            self.strikes += 1;
            if self.strikes >= STRIKES {
                self.strikes = 0;
                self.distrusted_until = Some(now + DISTRUST);
            }
        }
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests stand outside: they choose the times that they hand in"
)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::{DISTRUST, GRACE, Trust};

    fn look(trust: &mut Trust, known: &[&str], found: &[&str], now: Instant) {
        trust.begin(Some(set(known)));
        trust.end(&set(found), now);
    }

    fn set(tasks: &[&str]) -> BTreeSet<Arc<str>> {
        tasks.iter().map(|task| Arc::from(*task)).collect()
    }

    #[test]
    fn two_looks_in_a_row_with_untold_changes_end_the_trust_for_ten_minutes() {
        let (mut trust, start) = (Trust::default(), Instant::now());
        look(&mut trust, &["a"], &["a", "b"], start);
        assert!(trust.holds(start + GRACE), "one is not enough");
        let later = start + Duration::from_secs(300);
        look(&mut trust, &["a", "b"], &["a"], later);
        assert!(trust.holds(later), "the event may be on its way");
        let settled = later + GRACE;
        assert_eq!(trust.due(), Some(settled));
        assert!(!trust.holds(settled));
        assert!(!trust.holds(settled + DISTRUST - Duration::from_secs(1)));
        assert!(trust.holds(settled + DISTRUST));
    }

    #[test]
    fn a_look_without_changes_or_an_event_that_came_late_starts_the_count_anew() {
        let (mut trust, start) = (Trust::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for round in 0..10 {
            let begin = round * 1000;
            look(&mut trust, &[], &["a"], at(begin));
            assert!(trust.holds(at(begin + 100)));
            if round % 2 == 0 {
                look(&mut trust, &["a"], &["a"], at(begin + 300));
            } else {
                look(&mut trust, &["a"], &[], at(begin + 300));
                trust.told(&"a".into());
            }
        }
        assert!(trust.holds(at(20_000)));
        assert_eq!(trust.due(), None);
    }

    #[test]
    fn what_an_event_told_while_the_look_was_under_way_is_no_strike() {
        let (mut trust, start) = (Trust::default(), Instant::now());
        for round in 0..5 {
            let now = start + Duration::from_secs(round * 300);
            trust.begin(Some(set(&["a"])));
            trust.told(&"b".into());
            trust.end(&set(&["a", "b"]), now);
            assert!(trust.holds(now + GRACE));
        }
    }

    #[test]
    fn an_outage_of_the_queue_is_no_strike() {
        let (mut trust, start) = (Trust::default(), Instant::now());
        for round in 0..5 {
            let now = start + Duration::from_secs(round * 300);
            look(&mut trust, &["a"], &["b"], now);
            trust.excuse();
            assert!(trust.holds(now + Duration::from_secs(200)));
        }
    }
}
