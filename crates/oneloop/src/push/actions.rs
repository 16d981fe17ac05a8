//! What the state machine of a push transport asks of whoever owns its descriptor.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

/// A set of things to do, in the order of the constants below: descriptors first, then the protocol, the end last.
#[must_use = "the state assumes that what it asked for is done"]
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Actions(u16);

impl Actions {
    /// Nothing to do.
    pub const NONE: Self = Self(0);
    /// End the watch for readability.
    pub const STOP_READING: Self = Self(1);
    /// End the watch for writability.
    pub const STOP_WRITING: Self = Self(1 << 1);
    /// Watch for readability.
    pub const START_READING: Self = Self(1 << 2);
    /// Watch for writability.
    pub const START_WRITING: Self = Self(1 << 3);
    /// Shut down the sending side of the connection.
    pub const SHUT_DOWN: Self = Self(1 << 4);
    /// Tell the protocol to write no more: the queue is over its high-water mark.
    pub const PAUSE_WRITING: Self = Self(1 << 5);
    /// Tell the protocol that it may write again: the queue is down to its low-water mark.
    pub const RESUME_WRITING: Self = Self(1 << 6);
    /// Have the protocol told of the connection's end by a later entry of the loop.
    pub const LOSE_SOON: Self = Self(1 << 7);
    /// Tell the protocol of the connection's end at once.
    pub const LOSE_NOW: Self = Self(1 << 8);

    const NAMES: [(Self, &'static str); 9] = [
        (Self::STOP_READING, "stop reading"),
        (Self::STOP_WRITING, "stop writing"),
        (Self::START_READING, "start reading"),
        (Self::START_WRITING, "start writing"),
        (Self::SHUT_DOWN, "shut down"),
        (Self::PAUSE_WRITING, "pause writing"),
        (Self::RESUME_WRITING, "resume writing"),
        (Self::LOSE_SOON, "lose soon"),
        (Self::LOSE_NOW, "lose now"),
    ];

    /// Whether all of `others` are in the set.
    #[inline]
    pub const fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// Whether there is nothing to do.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The set if `condition` holds, else the empty one.
    pub(crate) const fn only_if(self, condition: bool) -> Self {
        if condition { self } else { Self::NONE }
    }
}

impl BitOr for Actions {
    type Output = Self;

    fn bitor(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }
}

impl BitOrAssign for Actions {
    fn bitor_assign(&mut self, others: Self) {
        self.0 |= others.0;
    }
}

impl fmt::Debug for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Self::NAMES
            .iter()
            .filter(|(action, _)| self.contains(*action));
        f.debug_set().entries(names.map(|(_, name)| name)).finish()
    }
}
