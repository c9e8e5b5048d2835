//! Coarse time limits of one worker.
//!
//! Setting a tokio timer for each request costs more than all our header work: it takes a lock,
//! sorts into a wheel, and is taken out again before it ever fires. Here a time limit is one
//! number in a slab, and a task of the worker looks through the slab every [`TICK`]. Limits
//! therefore fire up to two ticks late, never early.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use slab::Slab;

use crate::clock;
use crate::upstream::pool::Local;

/// From one look to the next.
pub(crate) const TICK: Duration = Duration::from_millis(50);

fn millis() -> u64 {
    clock::micros(clock::now()) / 1_000
}

/// A limit that is not set.
const NEVER: u64 = u64::MAX;

impl Entry {
    fn is_due(&self, now: u64) -> bool {
        self.limit <= now || self.is_expired() || (self.hears_of_retiring && self.is_retired())
    }

    fn is_retired(&self) -> bool {
        self.local
            .as_ref()
            .is_some_and(|local| local.endpoint().is_retired())
    }

    fn is_expired(&self) -> bool {
        self.local
            .as_ref()
            .is_some_and(|local| local.endpoint().is_expired())
    }
}

/// The time limits of a worker.
pub(crate) struct Timers {
    /// Milliseconds since the process started, as of the latest tick.
    now: Cell<u64>,
    entries: RefCell<Slab<Entry>>,
}

struct Entry {
    limit: u64,
    waker: Option<Waker>,
    /// Whose end (deregistration delay over) also wakes the task.
    local: Option<Rc<Local>>,
    /// That it left its group wakes the task as well.
    hears_of_retiring: bool,
}

impl Timers {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self {
            now: Cell::new(millis()),
            entries: RefCell::new(Slab::new()),
        })
    }

    /// Milliseconds since the process started, the same for all workers, at most one tick old. Costs
    /// no clock read.
    pub(crate) fn now(&self) -> u64 {
        self.now.get()
    }

    /// A place for one time limit, with none set.
    pub(crate) fn slot(self: &Rc<Self>) -> Slot {
        let key = self.entries.borrow_mut().insert(Entry {
            limit: NEVER,
            waker: None,
            local: None,
            hears_of_retiring: false,
        });
        Slot {
            timers: Rc::clone(self),
            key,
        }
    }

    /// Takes the time and wakes every task whose limit has passed.
    pub(crate) fn tick(&self) {
        self.now.set(millis());
        self.wake(Entry::is_due);
    }

    /// Wakes every task, so that each sees a change of the worker's state.
    pub(crate) fn wake_all(&self) {
        self.wake(|_, _| true);
    }

    fn wake(&self, due: impl Fn(&Entry, u64) -> bool) {
        let now = self.now.get();
        // Waking runs no task here, so nothing borrows the slab meanwhile.
        for (_, entry) in self.entries.borrow_mut().iter_mut() {
            if due(entry, now)
                && let Some(waker) = entry.waker.take()
            {
                waker.wake();
            }
        }
    }
}

/// One time limit; gone when dropped.
pub(crate) struct Slot {
    timers: Rc<Timers>,
    key: usize,
}

impl Slot {
    /// Sets the limit to that long after now.
    pub(crate) fn set(&self, after: Duration) {
        let after = u64::try_from(after.as_millis()).unwrap_or(NEVER / 2);
        let limit = self.timers.now().saturating_add(after);
        self.timers.entries.borrow_mut()[self.key].limit = limit;
    }

    /// Also wake when this endpoint's deregistration delay is over.
    pub(crate) fn watch(&self, local: &Rc<Local>) {
        self.timers.entries.borrow_mut()[self.key].local = Some(Rc::clone(local));
    }

    /// Also wake when the endpoint that is watched leaves its group, or not any more.
    pub(crate) fn hear_of_retiring(&self, hear: bool) {
        self.timers.entries.borrow_mut()[self.key].hears_of_retiring = hear;
    }

    /// Wake for the limit alone.
    pub(crate) fn unwatch(&self) {
        let entry = &mut self.timers.entries.borrow_mut()[self.key];
        entry.local = None;
        entry.hears_of_retiring = false;
    }

    /// Ready if the limit has passed or the endpoint expired; else the task is woken when it does.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut entries = self.timers.entries.borrow_mut();
        let entry = &mut entries[self.key];
        if entry.limit <= self.timers.now() || entry.is_expired() {
            return Poll::Ready(());
        }
        match &mut entry.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.timers.entries.borrow_mut().remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use super::Timers;

    #[test]
    fn a_limit_fires_once_its_time_has_passed_and_not_before() {
        let timers = Timers::new();
        timers.now.set(0);
        let slot = timers.slot();
        let cx = Context::from_waker(Waker::noop());
        assert_eq!(slot.poll(&cx), Poll::Pending);
        slot.set(Duration::from_millis(100));
        assert_eq!(slot.poll(&cx), Poll::Pending);
        timers.now.set(99);
        assert_eq!(slot.poll(&cx), Poll::Pending);
        timers.now.set(100);
        assert_eq!(slot.poll(&cx), Poll::Ready(()));
        slot.set(Duration::from_millis(1));
        assert_eq!(slot.poll(&cx), Poll::Pending);
    }

    #[test]
    fn a_dropped_limit_leaves_nothing_behind() {
        let timers = Timers::new();
        drop((timers.slot(), timers.slot()));
        assert!(timers.entries.borrow().is_empty());
    }
}
