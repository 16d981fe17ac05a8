//! Flow control: when a protocol is asked to write no more, and when it may again.

use super::actions::Actions;

/// The water marks of a write queue, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The protocol may write again once no more than this waits.
    pub low: usize,
    /// The protocol is to write no more once more than this waits.
    pub high: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let high = 64 * 1024;
        Self {
            low: high / 4,
            high,
        }
    }
}

/// Who was told what.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    pub(crate) limits: Limits,
    paused: bool,
}

impl Flow {
    /// The queue has grown to `size`, or its limits were changed.
    pub(crate) fn grown(&mut self, size: usize) -> Actions {
        if self.paused || size <= self.limits.high {
            return Actions::NONE;
        }
        self.paused = true;
        Actions::PAUSE_WRITING
    }

    /// The queue has shrunk to `size`.
    pub(crate) fn shrunk(&mut self, size: usize) -> Actions {
        if !self.paused || size > self.limits.low {
            return Actions::NONE;
        }
        self.paused = false;
        Actions::RESUME_WRITING
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }
}
