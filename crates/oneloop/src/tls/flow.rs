//! Flow control on one side of a session: when a buffer is full, and when it is empty enough again.

/// The water marks of one buffer, and whether whoever fills it was asked to stop.
///
/// asyncio's TLS is full *at* its high-water mark, its plain transports above it. An empty buffer is never full, even if both marks are
/// zero: nothing would ever make it emptier.
#[derive(Debug)]
pub struct Flow {
    low: usize,
    high: usize,
    stopped: bool,
}

/// What to tell whoever fills a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Signal {
    /// Stop: the buffer is full.
    Stop,
    /// Go on.
    Go,
    /// Nothing that it does not know.
    Nothing,
}

impl Flow {
    /// A buffer with these marks, `low` not above `high`.
    pub const fn new(low: usize, high: usize) -> Self {
        Self {
            low,
            high,
            stopped: false,
        }
    }

    /// Changes the marks.
    pub fn set(&mut self, low: usize, high: usize) {
        (self.low, self.high) = (low, high);
    }

    /// The buffer holds `size` bytes now.
    pub fn measure(&mut self, size: usize) -> Signal {
        if !self.stopped && size >= self.high && size > 0 {
            self.stopped = true;
            return Signal::Stop;
        }
        if self.stopped && size <= self.low {
            self.stopped = false;
            return Signal::Go;
        }
        Signal::Nothing
    }

    /// Whether whoever fills the buffer was asked to stop.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }
}

#[cfg(test)]
mod tests {
    use super::{Flow, Signal};

    #[test]
    fn a_buffer_is_full_at_its_high_mark_and_empty_enough_at_its_low_one() {
        let mut flow = Flow::new(2, 8);
        assert_eq!(flow.measure(7), Signal::Nothing);
        assert_eq!(flow.measure(8), Signal::Stop);
        assert_eq!(flow.measure(9), Signal::Nothing);
        assert_eq!(flow.measure(3), Signal::Nothing);
        assert_eq!(flow.measure(2), Signal::Go);
        assert_eq!(flow.measure(0), Signal::Nothing);
    }

    #[test]
    fn an_empty_buffer_is_never_full() {
        let mut flow = Flow::new(0, 0);
        assert_eq!(flow.measure(0), Signal::Nothing);
        assert_eq!(flow.measure(1), Signal::Stop);
        assert_eq!(flow.measure(0), Signal::Go);
    }

    #[test]
    fn new_marks_count_from_the_next_measure_on() {
        let mut flow = Flow::new(2, 8);
        assert_eq!(flow.measure(8), Signal::Stop);
        flow.set(8, 32);
        assert!(flow.is_stopped());
        assert_eq!(flow.measure(8), Signal::Go);
    }
}
