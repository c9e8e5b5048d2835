//! What is asked once and does not change: the addresses of hosts and the task definitions. Pure:
//! time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The longest wait before something that could not be learnt is asked for again. The calls spend
/// a budget that the whole account shares, and what is denied now is denied in a second, too.
const RETRY_CAP: Duration = Duration::from_secs(30);

/// So often something may be refused and still be on its way: a machine that is new is not known
/// everywhere at once.
const PATIENCE: u32 = 3;

/// Things of one kind, by ARN.
#[derive(Debug)]
pub struct Known<T> {
    things: BTreeMap<Arc<str>, (T, Instant)>,
    refused: BTreeMap<Arc<str>, Refused>,
}

#[derive(Debug)]
struct Refused {
    reason: String,
    times: u32,
    at: Instant,
}

/// What is known of one thing.
#[derive(Debug, PartialEq, Eq)]
pub enum State<'k, T> {
    /// All.
    Here(&'k T),
    /// It was not asked for, or not often enough to give up hope.
    Awaited(Option<&'k str>),
    /// It was asked for several times, and this is why it is not there.
    Refused(&'k str),
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self {
            things: BTreeMap::new(),
            refused: BTreeMap::new(),
        }
    }
}

impl<T> Known<T> {
    /// What is known of a thing. What has no ARN is awaited.
    #[must_use]
    pub fn state(&self, arn: Option<&str>) -> State<'_, T> {
        let Some(arn) = arn else {
            return State::Awaited(None);
        };
        match (self.things.get(arn), self.refused.get(arn)) {
            (Some((thing, _)), _) => State::Here(thing),
            (None, None) => State::Awaited(None),
            (None, Some(refused)) if refused.times < PATIENCE => {
                State::Awaited(Some(&refused.reason))
            }
            (None, Some(refused)) => State::Refused(&refused.reason),
        }
    }

    /// Whether to ask for a thing now. `life` says how long a thing is believed; None: for ever.
    #[must_use]
    pub fn is_due(&self, arn: &str, life: impl Fn(&T) -> Option<Duration>, now: Instant) -> bool {
        self.due_at(arn, life, now).is_some_and(|due| due <= now)
    }

    /// When to ask for a thing. None: it is known for ever.
    #[must_use]
    pub fn due_at(
        &self,
        arn: &str,
        life: impl Fn(&T) -> Option<Duration>,
        now: Instant,
    ) -> Option<Instant> {
        let old = match self.things.get(arn) {
            Some((thing, at)) => *at + life(thing)?,
            None => now,
        };
        let again = self.refused.get(arn).map(|refused| {
            let pause = Duration::from_secs(1 << refused.times.min(6)).min(RETRY_CAP);
            refused.at + pause
        });
        Some(again.map_or(old, |again| old.max(again)))
    }

    /// Takes a thing.
    pub fn found(&mut self, arn: Arc<str>, thing: T, now: Instant) {
        self.refused.remove(&arn);
        self.things.insert(arn, (thing, now));
    }

    /// Takes the reason why a thing could not be learnt. What is known already stays. Tells whether
    /// that is when patience ends.
    pub fn refused(&mut self, arn: Arc<str>, reason: String, now: Instant) -> bool {
        let times = self.refused.get(&arn).map_or(0, |refused| refused.times);
        let times = times.saturating_add(1);
        let refused = Refused {
            reason,
            times,
            at: now,
        };
        self.refused.insert(arn, refused);
        times == PATIENCE
    }

    /// Forgets all things that nothing uses, so that the table does not grow for ever.
    pub fn retain(&mut self, used: &BTreeSet<&Arc<str>>) {
        self.things.retain(|arn, _| used.contains(arn));
        self.refused.retain(|arn, _| used.contains(arn));
    }

    /// Whether nothing is known.
    #[must_use]
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.things.is_empty() && self.refused.is_empty()
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests stand outside: they choose the times that they hand in"
)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_asked_for_less_and_less_often() {
        let mut known = Known::<()>::default();
        let mut now = Instant::now();
        let (mut pauses, mut given_up) = (Vec::new(), Vec::new());
        for _ in 0..8 {
            assert!(known.is_due("a", |()| None, now));
            given_up.push(known.refused("a".into(), "denied".to_owned(), now));
            let since = now;
            while !known.is_due("a", |()| None, now) {
                now += Duration::from_secs(1);
            }
            pauses.push((now - since).as_secs());
        }
        assert_eq!(pauses, [2, 4, 8, 16, 30, 30, 30, 30]);
        let third = given_up.iter().position(|last| *last);
        assert_eq!(
            (third, given_up.iter().filter(|it| **it).count()),
            (Some(2), 1)
        );
        assert_eq!(known.state(Some("a")), State::Refused("denied"));
    }

    #[test]
    fn a_first_refusal_is_not_the_last_word() {
        let mut known = Known::default();
        let now = Instant::now();
        assert_eq!(known.state(Some("a")), State::Awaited(None));
        known.refused("a".into(), "denied".to_owned(), now);
        assert_eq!(known.state(Some("a")), State::Awaited(Some("denied")));
        known.found("a".into(), 7, now);
        assert_eq!(known.state(Some("a")), State::Here(&7));
        assert!(!known.is_due("a", |_| None, now + RETRY_CAP));
    }

    #[test]
    fn what_may_change_is_asked_for_again_and_stays_if_that_fails() {
        let mut known = Known::default();
        let now = Instant::now();
        let minute = Duration::from_secs(60);
        known.found("a".into(), 7, now);
        let due = |known: &Known<u8>, now| known.is_due("a", |_| Some(minute), now);
        assert!(!due(&known, now + Duration::from_secs(59)));
        assert!(due(&known, now + minute));
        known.refused("a".into(), "denied".to_owned(), now + minute);
        assert_eq!(known.state(Some("a")), State::Here(&7));
        assert!(!due(&known, now + minute));
        assert!(due(&known, now + 2 * minute));
    }

    #[test]
    fn what_nothing_uses_is_forgotten() {
        let mut known = Known::default();
        let used: Arc<str> = "used".into();
        known.found(Arc::clone(&used), 1, Instant::now());
        known.found("gone".into(), 2, Instant::now());
        known.refused("denied".into(), String::new(), Instant::now());
        known.retain(&BTreeSet::from([&used]));
        assert_eq!(known.state(Some("gone")), State::Awaited(None));
        assert_eq!(known.state(Some("denied")), State::Awaited(None));
        assert_eq!(known.state(Some("used")), State::Here(&1));
    }
}
