//! `Known`: descriptors whose watchers have said that they are ready still, so that the next tick can do without a poll.
//!
//! A guess of theirs, and no more: it is forgotten as soon as a poll tells better, and whenever a watch ends, so that none is delivered to
//! somebody who has not made it. Each is noted once.

use std::cell::Cell;
use std::os::fd::RawFd;

use crate::cell::OwnerCell;
use crate::registry::Direction;

#[derive(Default)]
pub(crate) struct Known {
    descriptors: OwnerCell<Vec<(RawFd, Direction)>>,
    /// How many they are, which every tick asks.
    count: Cell<usize>,
}

impl Known {
    pub(crate) fn note(&self, fd: RawFd, direction: Direction) {
        let count = self.descriptors.with(|descriptors| {
            if !descriptors.contains(&(fd, direction)) {
                descriptors.push((fd, direction));
            }
            descriptors.len()
        });
        self.count.set(count);
    }

    #[inline]
    pub(crate) fn count(&self) -> usize {
        self.count.get()
    }

    /// Takes the one that was noted first.
    pub(crate) fn take(&self) -> Option<(RawFd, Direction)> {
        self.count.set(self.count.get().checked_sub(1)?);
        Some(self.descriptors.with(|descriptors| descriptors.remove(0)))
    }

    #[inline]
    pub(crate) fn forget(&self) {
        if self.count.replace(0) > 0 {
            self.descriptors.with(Vec::clear);
        }
    }
}
