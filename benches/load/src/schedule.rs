//! When requests are due at a fixed offered load.
//!
//! The schedule knows nothing of answers. A request is due when it is due, however far behind the server is, and its latency counts
//! from then: to wait with the next request until the last is answered would leave out of the figures just the
//! requests that suffer most ("coordinated omission").

use std::time::{Duration, Instant};

/// Evenly spaced moments.
#[derive(Debug)]
pub(crate) struct Schedule {
    start: Instant,
    rate: f64,
    next: u64,
}

impl Schedule {
    pub(crate) fn new(start: Instant, rate: f64) -> Self {
        Self {
            start,
            rate,
            next: 0,
        }
    }

    /// When the next request is due.
    pub(crate) fn next(&self) -> Instant {
        // From the start each time: a step that is added again and again would add up its rounding.
        self.start + Duration::from_secs_f64(self.next as f64 / self.rate)
    }

    /// The next request if it is due by now: its number, and when it was due.
    pub(crate) fn due(&mut self, now: Instant) -> Option<(u64, Instant)> {
        let (number, due) = (self.next, self.next());
        if due > now {
            return None;
        }
        self.next += 1;
        Some((number, due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_evenly_spaced_and_each_is_due_once() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 1000.0);
        assert_eq!(schedule.due(start), Some((0, start)));
        assert_eq!(schedule.due(start + Duration::from_micros(999)), None);
        assert_eq!(
            schedule.due(start + Duration::from_millis(1)),
            Some((1, start + Duration::from_millis(1)))
        );
        assert_eq!(schedule.next(), start + Duration::from_millis(2));
    }

    #[test]
    fn who_comes_late_finds_every_request_with_its_own_time() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 100.0);
        let late = start + Duration::from_millis(50);
        let due: Vec<_> = std::iter::from_fn(|| schedule.due(late)).collect();
        let expected: Vec<_> = (0..=5)
            .map(|n| (n, start + Duration::from_millis(10 * n)))
            .collect();
        assert_eq!(due, expected);
    }

    #[test]
    fn a_long_run_does_not_drift() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 30_000.0);
        schedule.next = 30_000 * 3600;
        let drift = (schedule.next() - start).as_secs_f64() - 3600.0;
        assert!(drift.abs() < 1e-6);
    }
}
