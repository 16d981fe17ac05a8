//! Timers: a 4-ary heap on (deadline, sequence) over a slab.
//!
//! Timers of one deadline come out in the order in which they were armed. Cancelling takes the payload out of the slab at once and
//! leaves a tombstone in the heap, which costs O(1); when tombstones pass one half, one pass removes them all, so a server that arms and
//! cancels a time-out per request holds no memory for it. The sequence number doubles as the slot's generation: a key that outlived
//! its timer finds another sequence in its slot and does nothing.
//!
//! Four children instead of two halve the depth, and the four lie in at most two cache lines.
//! No method drops a payload, as `OwnerCell` asks.

use std::num::NonZeroU64;

use crate::instant::Instant;
use slab::Slab;

const ARITY: usize = 4;
/// Below this many heap nodes a compaction is not worth its pass.
const COMPACTION_FLOOR: usize = 64;
/// A slab of at most this capacity is kept when the last timer is gone.
const KEPT_CAPACITY: usize = 4 * 1024;
/// From this many timers on, room for more is made in steps of an eighth instead of doubling: what is empty is memory too. Large blocks are
/// moved by the kernel, page by page, and not copied.
const LARGE: usize = 4 * 1024;

/// Names one armed timer. It stays harmless after the timer has fired or was cancelled. Having none takes no more room.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TimerKey {
    slot: u32,
    sequence: NonZeroU64,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    deadline: Instant,
    sequence: NonZeroU64,
    slot: u32,
}

impl Node {
    #[inline]
    fn comes_before(&self, other: &Node) -> bool {
        (self.deadline, self.sequence) < (other.deadline, other.sequence)
    }
}

#[derive(Debug)]
struct Slot<T> {
    sequence: NonZeroU64,
    payload: T,
}

/// The timers of one loop; `T` is what a timer becomes when it is due.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    heap: Vec<Node>,
    slots: Slab<Slot<T>>,
    next_sequence: NonZeroU64,
}

impl<T> Timers<T> {
    pub(crate) fn new() -> Self {
        Self {
            heap: Vec::new(),
            slots: Slab::new(),
            next_sequence: NonZeroU64::MIN,
        }
    }

    /// Whether no timer is armed.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Arms a timer.
    ///
    /// # Panics
    ///
    /// If more than `u32::MAX` timers are armed at once, for which no machine has the memory.
    pub(crate) fn arm(&mut self, deadline: Instant, payload: T) -> TimerKey {
        let sequence = self.next_sequence;
        self.next_sequence = sequence.saturating_add(1); // 600 years of a timer each nanosecond
        if self.heap.len() >= LARGE {
            self.make_room();
        }
        let index = self.slots.insert(Slot { sequence, payload });
        let Ok(slot) = u32::try_from(index) else {
            panic!("more than u32::MAX timers are armed");
        };
        self.heap.push(Node {
            deadline,
            sequence,
            slot,
        });
        self.sift_up(self.heap.len() - 1);
        TimerKey { slot, sequence }
    }

    /// Cancels a timer and returns what it held, or `None` if it has fired or was cancelled before.
    pub(crate) fn cancel(&mut self, key: TimerKey) -> Option<T> {
        let index = key.slot as usize;
        if self.slots.get(index)?.sequence != key.sequence {
            return None;
        }
        let payload = self.slots.remove(index).payload;
        let tombstones = self.heap.len() - self.slots.len();
        if self.heap.len() > COMPACTION_FLOOR && tombstones > self.heap.len() / 2 {
            self.compact();
        }
        Some(payload)
    }

    /// The earliest deadline of a timer that still stands.
    pub(crate) fn next_deadline(&mut self) -> Option<Instant> {
        self.bury_tombstones();
        self.heap.first().map(|node| node.deadline)
    }

    /// Whether a timer's deadline is `now` or earlier; possibly one that was cancelled since.
    #[inline]
    pub(crate) fn has_due(&self, now: Instant) -> bool {
        self.heap.first().is_some_and(|root| root.deadline <= now)
    }

    /// Takes the next timer whose deadline is `now` or earlier.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<T> {
        self.bury_tombstones();
        if self.heap.first()?.deadline > now {
            return None;
        }
        let node = self.pop_root()?;
        let payload = self.slots.remove(node.slot as usize).payload;
        self.release_memory_if_empty();
        Some(payload)
    }

    /// Takes all timers, in no particular order.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        self.heap = Vec::new();
        std::mem::take(&mut self.slots)
            .into_iter()
            .map(|(_, slot)| slot.payload)
            .collect()
    }

    /// What the armed timers hold, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().map(|(_, slot)| &slot.payload)
    }

    #[inline]
    fn make_room(&mut self) {
        if self.heap.len() == self.heap.capacity() {
            self.heap.reserve_exact(self.heap.len() / 8);
        }
        if self.slots.len() == self.slots.capacity() {
            self.slots.reserve_exact(self.slots.len() / 8);
        }
    }

    fn stands(&self, node: &Node) -> bool {
        self.slots
            .get(node.slot as usize)
            .is_some_and(|slot| slot.sequence == node.sequence)
    }

    #[inline]
    fn bury_tombstones(&mut self) {
        while self.heap.first().is_some_and(|root| !self.stands(root)) {
            self.pop_root();
        }
    }

    #[cold]
    fn compact(&mut self) {
        let mut heap = std::mem::take(&mut self.heap);
        heap.retain(|node| self.stands(node));
        heap.shrink_to(heap.len() * 2);
        self.heap = heap;
        for index in (0..self.heap.len().div_ceil(ARITY)).rev() {
            self.sift_down(index);
        }
        self.release_memory_if_empty();
    }

    #[inline]
    fn release_memory_if_empty(&mut self) {
        if self.slots.is_empty() && self.slots.capacity() > KEPT_CAPACITY {
            self.slots = Slab::new();
            self.heap = Vec::new();
        }
    }

    fn pop_root(&mut self) -> Option<Node> {
        let last = self.heap.pop()?;
        let Some(root) = self.heap.first_mut() else {
            return Some(last);
        };
        let popped = std::mem::replace(root, last);
        self.sift_down(0);
        Some(popped)
    }

    fn sift_up(&mut self, mut index: usize) {
        let node = self.heap[index];
        while index > 0 {
            let parent = (index - 1) / ARITY;
            if !node.comes_before(&self.heap[parent]) {
                break;
            }
            self.heap[index] = self.heap[parent];
            index = parent;
        }
        self.heap[index] = node;
    }

    fn sift_down(&mut self, mut index: usize) {
        let len = self.heap.len();
        if index >= len {
            return;
        }
        let node = self.heap[index];
        loop {
            let first = index * ARITY + 1;
            if first >= len {
                break;
            }
            let mut child = first;
            for sibling in first + 1..(first + ARITY).min(len) {
                if self.heap[sibling].comes_before(&self.heap[child]) {
                    child = sibling;
                }
            }
            if !self.heap[child].comes_before(&node) {
                break;
            }
            self.heap[index] = self.heap[child];
            index = child;
        }
        self.heap[index] = node;
    }
}

#[cfg(test)]
mod tests {
    use super::{COMPACTION_FLOOR, KEPT_CAPACITY, TimerKey, Timers};
    use crate::instant::Instant;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Operation {
        Arm(i64),
        /// Cancels the key at this position modulo the number of keys ever handed out, fired and cancelled ones included.
        Cancel(usize),
        /// Moves the clock by this much and takes what is due.
        Advance(i64),
    }

    fn operation() -> impl Strategy<Value = Operation> {
        prop_oneof![
            4 => (-20_i64..200).prop_map(Operation::Arm),
            4 => any::<usize>().prop_map(Operation::Cancel),
            1 => (0_i64..40).prop_map(Operation::Advance),
        ]
    }

    /// The model: a list, sorted when it is asked.
    #[derive(Default)]
    struct Naive {
        timers: Vec<(i64, usize)>,
    }

    impl Naive {
        fn pop_due(&mut self, now: i64) -> Option<usize> {
            let earliest = *self.timers.iter().min()?;
            if earliest.0 > now {
                return None;
            }
            self.timers.retain(|timer| *timer != earliest);
            Some(earliest.1)
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_naive_model(operations in proptest::collection::vec(operation(), 0..1_500)) {
            let mut timers = Timers::new();
            let mut model = Naive::default();
            let mut keys: Vec<TimerKey> = Vec::new();
            let mut now = 0;
            for operation in operations {
                match operation {
                    Operation::Arm(delay) => {
                        let id = keys.len();
                        keys.push(timers.arm(Instant::from_nanos(now + delay), id));
                        model.timers.push((now + delay, id));
                    }
                    Operation::Cancel(position) if keys.is_empty() => { let _ = position; }
                    Operation::Cancel(position) => {
                        let id = position % keys.len();
                        let standing = model.timers.iter().any(|timer| timer.1 == id);
                        prop_assert_eq!(timers.cancel(keys[id]), standing.then_some(id));
                        model.timers.retain(|timer| timer.1 != id);
                    }
                    Operation::Advance(step) => {
                        now += step;
                        loop {
                            let due = timers.pop_due(Instant::from_nanos(now));
                            prop_assert_eq!(due, model.pop_due(now));
                            if due.is_none() { break; }
                        }
                    }
                }
                let earliest = model.timers.iter().min().map(|timer| Instant::from_nanos(timer.0));
                prop_assert_eq!(timers.next_deadline(), earliest);
                prop_assert_eq!(timers.is_empty(), model.timers.is_empty());
                prop_assert_eq!(timers.iter().count(), model.timers.len());
            }
            let mut left = timers.drain();
            left.sort_unstable();
            let mut expected: Vec<usize> = model.timers.iter().map(|timer| timer.1).collect();
            expected.sort_unstable();
            prop_assert_eq!(left, expected);
        }
    }

    #[test]
    fn a_hundred_thousand_timers_come_out_in_order() {
        let mut timers = Timers::new();
        // A multiplicative walk visits every residue once, so the deadlines are a permutation.
        for step in 0..100_003_i64 {
            let deadline = (step * 48_271) % 100_003;
            timers.arm(Instant::from_nanos(deadline), deadline);
        }
        for expected in 0..100_003 {
            assert_eq!(timers.pop_due(Instant::FAR_FUTURE), Some(expected));
        }
        assert!(timers.is_empty());
        assert!(timers.slots.capacity() <= KEPT_CAPACITY);
    }

    #[test]
    fn tombstones_never_outnumber_what_stands() {
        let mut timers = Timers::new();
        for round in 0..10_000 {
            let key = timers.arm(Instant::from_nanos(round), ());
            timers.cancel(key);
            assert!(timers.heap.len() <= COMPACTION_FLOOR + 1);
        }
    }
}
