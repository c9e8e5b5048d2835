//! Requests that wait because every target of their group works at as many as it may. First come,
//! first served, in each worker. Nothing here is touched while nobody waits but one number.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Who waits at one group. It outlives snapshots.
#[derive(Debug)]
pub struct Admission {
    queues: Box<[Queue]>,
    /// The worker whose turn is next when a target has room.
    turn: AtomicUsize,
}

/// Those of one worker.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Queue {
    waiting: AtomicUsize,
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    entries: VecDeque<Entry>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    /// It waits for some targets alone, and others need not stand behind it.
    pinned: bool,
    woken: bool,
    waker: Option<Waker>,
}

impl List {
    /// They come with growing numbers, and nobody overtakes in the list itself.
    fn place(&self, id: u64) -> Option<usize> {
        let found = self.entries.binary_search_by_key(&id, |entry| entry.id);
        found.ok()
    }

    fn entry(&mut self, id: u64) -> Option<&mut Entry> {
        let at = self.place(id)?;
        self.entries.get_mut(at)
    }
}

impl Admission {
    /// For that many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            queues: (0..workers.max(1)).map(|_| Queue::default()).collect(),
            turn: AtomicUsize::new(0),
        }
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let queues = self.queues.iter();
        queues.map(|one| one.waiting.load(Ordering::Relaxed)).sum()
    }

    /// Whether a newcomer of a worker has to stand behind others. Those that wait for one target
    /// alone are in nobody's way.
    pub(crate) fn is_behind(&self, worker: usize) -> bool {
        let queue = self.queue(worker);
        queue.waiting.load(Ordering::Relaxed) > 0
            && queue.lock().entries.iter().any(|entry| !entry.pinned)
    }

    /// A place at the end of a worker's queue. None if it is full.
    pub(crate) fn join(
        self: &Arc<Self>,
        worker: usize,
        pinned: bool,
        most: usize,
    ) -> Option<Place> {
        let queue = self.queue(worker);
        let mut list = queue.lock();
        if list.entries.len() >= most {
            return None;
        }
        let id = list.next;
        list.next += 1;
        list.entries.push_back(Entry {
            id,
            pinned,
            woken: false,
            waker: None,
        });
        queue.waiting.store(list.entries.len(), Ordering::Relaxed);
        drop(list);
        // Who gives a target back looks for who waits after that, and who waits looks for a target
        // after this: one of the two sees the other.
        fence(Ordering::SeqCst);
        Some(Place {
            admission: Arc::clone(self),
            worker,
            id,
        })
    }

    /// A target has room for one more: wakes the first of the next worker that has any. Those who
    /// wait for some targets alone are woken on the way, because the room may be theirs.
    pub(crate) fn release(&self) {
        fence(Ordering::SeqCst);
        if self.waiting() > 0 {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        let count = self.queues.len();
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        for step in 0..count {
            if self.queues[first.wrapping_add(step) % count].wake() {
                return;
            }
        }
    }

    fn queue(&self, worker: usize) -> &Queue {
        &self.queues[worker % self.queues.len()]
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the first that takes any target, and those before it. False if there is none.
    fn wake(&self) -> bool {
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let mut list = self.lock();
        for entry in list.entries.iter_mut().filter(|entry| !entry.woken) {
            entry.woken = true;
            if let Some(waker) = entry.waker.take() {
                waker.wake();
            }
            if !entry.pinned {
                return true;
            }
        }
        false
    }
}

/// A place in a queue; given up when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Arc<Admission>,
    worker: usize,
    id: u64,
}

impl Place {
    /// Ready when a target may have room; once for each time that one has.
    pub(crate) fn poll_turn(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut list = self.admission.queue(self.worker).lock();
        let Some(entry) = list.entry(self.id) else {
            return Poll::Ready(());
        };
        if std::mem::take(&mut entry.woken) {
            return Poll::Ready(());
        }
        entry.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Whether it stands behind nobody but those that wait for some targets alone, and of these in
    /// front of all.
    pub(crate) fn is_first(&self) -> bool {
        let list = self.admission.queue(self.worker).lock();
        let Some(at) = list.place(self.id) else {
            return true;
        };
        // From its own place on: the one before it mostly says no.
        let mut before = list.entries.range(..at).rev();
        at == 0 || (!list.entries[at].pinned && before.all(|entry| entry.pinned))
    }

    /// There was no target for it at its turn. If it has turned out to wait for some targets alone
    /// (`pinned`), the room is for somebody behind it.
    pub(crate) fn pass_on(&self, pinned: bool) {
        let mut list = self.admission.queue(self.worker).lock();
        let entry = list.entry(self.id);
        let was_pinned = entry.is_none_or(|entry| std::mem::replace(&mut entry.pinned, pinned));
        drop(list);
        // Once, or two of them would pass it to and fro.
        if pinned && !was_pinned {
            self.admission.release();
        }
    }

    fn leave(&self) -> bool {
        let queue = self.admission.queue(self.worker);
        let mut list = queue.lock();
        let at = list.place(self.id);
        let left = at.and_then(|at| list.entries.remove(at));
        queue.waiting.store(list.entries.len(), Ordering::Relaxed);
        left.is_some_and(|entry| entry.woken)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.leave() {
            // It was woken and does not look: somebody else should.
            self.admission.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};

    use super::{Admission, Place};

    fn has_turn(place: &Place) -> bool {
        place.poll_turn(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    #[test]
    fn the_first_that_came_is_the_first_that_is_woken() {
        let admission = Arc::new(Admission::new(1));
        let first = admission.join(0, false, 2).expect("room");
        let second = admission.join(0, false, 2).expect("room");
        assert!(admission.join(0, false, 2).is_none(), "full");
        assert!(admission.is_behind(0) && first.is_first() && !second.is_first());
        admission.release();
        assert!(!has_turn(&second) && has_turn(&first));
        // Somebody else was faster: it keeps its place.
        first.pass_on(false);
        assert!(!has_turn(&first) && !has_turn(&second));
        admission.release();
        assert!(!has_turn(&second) && has_turn(&first));
        drop(first);
        assert!(!has_turn(&second), "the room is taken");
        assert_eq!(admission.waiting(), 1);
    }

    #[test]
    fn workers_take_turns() {
        let admission = Arc::new(Admission::new(3));
        let places: Vec<Place> = [0, 0, 2, 2]
            .map(|worker| admission.join(worker, false, 9).expect("room"))
            .into();
        admission.release();
        admission.release();
        let turns: Vec<bool> = places.iter().map(has_turn).collect();
        assert_eq!(turns, [true, false, true, false]);
    }

    #[test]
    fn who_leaves_after_being_woken_passes_it_on() {
        let admission = Arc::new(Admission::new(2));
        let first = admission.join(0, false, 9).expect("room");
        let second = admission.join(1, false, 9).expect("room");
        admission.release();
        assert!(!has_turn(&second));
        drop(first);
        assert!(has_turn(&second));
    }

    #[test]
    fn who_waits_for_one_target_alone_is_in_nobodys_way() {
        let admission = Arc::new(Admission::new(1));
        let pinned = admission.join(0, true, 9).expect("room");
        assert!(!admission.is_behind(0));
        let other = admission.join(0, false, 9).expect("room");
        admission.release();
        assert!(
            has_turn(&pinned) && has_turn(&other),
            "it may be for either"
        );
        pinned.pass_on(true);
        assert!(!has_turn(&pinned) && !has_turn(&other), "nothing is new");
    }

    #[test]
    fn behind_those_that_wait_for_one_target_alone_the_first_looks_for_itself() {
        let admission = Arc::new(Admission::new(1));
        let pinned = [(); 2].map(|()| admission.join(0, true, 9).expect("room"));
        let others = [(); 2].map(|()| admission.join(0, false, 9).expect("room"));
        assert_eq!(pinned.each_ref().map(Place::is_first), [true, false]);
        assert_eq!(others.each_ref().map(Place::is_first), [true, false]);
    }

    #[test]
    fn who_turns_out_to_wait_for_one_target_alone_lets_others_pass() {
        let admission = Arc::new(Admission::new(1));
        let sticky = admission.join(0, false, 9).expect("room");
        let other = admission.join(0, false, 9).expect("room");
        admission.release();
        assert!(has_turn(&sticky) && !has_turn(&other));
        sticky.pass_on(true);
        assert!(has_turn(&other), "it was for it");
        assert!(has_turn(&sticky), "it looks once more");
        sticky.pass_on(true);
        assert!(!has_turn(&sticky) && !has_turn(&other));
        drop(other);
        assert!(!admission.is_behind(0));
    }
}
