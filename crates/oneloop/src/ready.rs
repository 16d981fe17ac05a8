//! The ready ring: everything that is about to run, in the order in which it became ready.
//!
//! A power-of-two ring, so that an index is a mask instead of a division. It knows nothing of what an entry is. Its methods return
//! entries by value and never drop one, as `OwnerCell` asks; only dropping the ring itself drops what is left.

/// Rings up to this capacity are kept when they run empty; a larger one, left by a burst, gives its memory back.
const KEPT_CAPACITY: usize = 16 * 1024;
const INITIAL_CAPACITY: usize = 64;

/// A FIFO of ready entries.
#[derive(Debug)]
pub(crate) struct Ring<T> {
    /// Always a power of two in length; `None` where nothing waits.
    slots: Box<[Option<T>]>,
    head: usize,
    len: usize,
}

impl<T> Ring<T> {
    pub(crate) fn new() -> Self {
        Self {
            slots: empty_slots(INITIAL_CAPACITY),
            head: 0,
            len: 0,
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends an entry.
    #[inline]
    pub(crate) fn push(&mut self, entry: T) {
        if self.len == self.slots.len() {
            self.grow();
        }
        let index = (self.head + self.len) & (self.slots.len() - 1);
        self.slots[index] = Some(entry);
        self.len += 1;
    }

    /// Removes the oldest entry.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<T> {
        let entry = self.slots[self.head].take()?;
        self.head = (self.head + 1) & (self.slots.len() - 1);
        self.len -= 1;
        if self.len == 0 && self.slots.len() > KEPT_CAPACITY {
            *self = Self::new();
        }
        Some(entry)
    }

    /// The entries, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        let mask = self.slots.len() - 1;
        (0..self.len).filter_map(move |offset| self.slots[(self.head + offset) & mask].as_ref())
    }

    #[cold]
    fn grow(&mut self) {
        let mut slots = empty_slots(self.slots.len() * 2);
        let mask = self.slots.len() - 1;
        for (offset, slot) in slots.iter_mut().enumerate().take(self.len) {
            *slot = self.slots[(self.head + offset) & mask].take();
        }
        self.slots = slots;
        self.head = 0;
    }
}

fn empty_slots<T>(capacity: usize) -> Box<[Option<T>]> {
    std::iter::repeat_with(|| None).take(capacity).collect()
}

#[cfg(test)]
mod tests {
    use super::{KEPT_CAPACITY, Ring};
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        /// True pushes, false pops: whatever the sequence, the ring behaves as the standard library's queue.
        #[test]
        fn behaves_as_a_queue(operations in proptest::collection::vec(any::<bool>(), 0..2_000)) {
            let mut ring = Ring::new();
            let mut model = VecDeque::new();
            for (number, push) in operations.into_iter().enumerate() {
                if push {
                    ring.push(number);
                    model.push_back(number);
                } else {
                    prop_assert_eq!(ring.pop(), model.pop_front());
                }
                prop_assert_eq!(ring.len(), model.len());
                prop_assert_eq!(ring.is_empty(), model.is_empty());
                prop_assert!(ring.iter().eq(model.iter()));
            }
        }
    }

    #[test]
    fn a_burst_gives_its_memory_back() {
        let mut ring = Ring::new();
        for number in 0..KEPT_CAPACITY * 4 {
            ring.push(number);
        }
        for number in 0..KEPT_CAPACITY * 4 {
            assert_eq!(ring.pop(), Some(number));
        }
        assert!(ring.slots.len() <= KEPT_CAPACITY);
        assert_eq!(ring.pop(), None);
    }
}
