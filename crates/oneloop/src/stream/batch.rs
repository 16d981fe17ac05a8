//! `Batch`: when what several streams send is to leave together.
//!
//! Who sends to a peer on the same machine that sleeps pays for waking it. A server that answers sixty requests in sixty entries, each of
//! which takes longer than the peer needs to fall asleep again, pays sixty times; if the answers leave together at the end, it pays once.
//! Where entries are quick the peer stays awake by itself, and waiting would only cost.
//!
//! So this judges by the clock. While streams send [apart](Batch::is_shared), writes are counted and timed by the window; once they are
//! far enough from each other, streams send together, and what was held back says whether it was worth it.
//!
//! Promises:
//!
//! - what is held back is [over](Batch::is_over) as soon as nobody else waits for his turn, after `MOST` streams or after `LONGEST`,
//!   whichever comes first. Who runs for longer than that at one go is not interrupted;
//! - the first `WINDOW` writes of a loop are never held back.

use std::time::Duration;

use crate::instant::Instant;

/// So many streams wait for each other at most.
const MOST: u32 = 64;

/// For so long at most. A wake-up costs 5 to 10 µs: once in a millisecond it no longer counts.
const LONGEST: Duration = Duration::from_millis(1);

/// So many writes, or streams that were held back, make a judgement.
const WINDOW: u32 = 256;

/// From here on writes are far enough from each other: as long as a fast peer needs to take an answer, ask again and fall asleep.
const SLOW: Duration = Duration::from_micros(20);

/// And from here on no longer. Less than [`SLOW`], so that nobody goes to and fro.
const QUICK: Duration = Duration::from_micros(15);

/// What a loop's streams hold back, and whether they do.
#[derive(Debug, Default)]
pub struct Batch {
    is_shared: bool,
    /// Of this window: writes while they leave apart, streams that were held back while they leave together.
    count: u32,
    /// The time of this window so far, where they leave together.
    spent: Duration,
    /// The beginning of this window, or of what is held back.
    since: Option<Instant>,
    /// How many are held back.
    held: u32,
}

impl Batch {
    /// Whether streams send together now: a write is held back if others wait for their turn.
    #[inline]
    pub fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// A stream writes while others wait for their turn. `now` is asked once in a window.
    #[inline]
    pub fn write(&mut self, now: impl FnOnce() -> Instant) {
        if self.is_shared {
            return;
        }
        self.count += 1;
        if self.count >= WINDOW || self.since.is_none() {
            self.judge_apart(now());
        }
    }

    /// What one more stream has sent is held back.
    pub fn hold(&mut self, now: impl FnOnce() -> Instant) {
        if self.is_shared && self.held == 0 {
            self.since = Some(now());
        }
        self.held += 1;
    }

    /// Whether what is held back is to leave, at the end of an entry; `others_wait` is whether somebody else's turn is next.
    pub fn is_over(&self, others_wait: bool, now: impl FnOnce() -> Instant) -> bool {
        !self.is_shared || !others_wait || self.held >= MOST || self.is_late(now())
    }

    /// Everything that was held back has left.
    pub fn release(&mut self, now: impl FnOnce() -> Instant) {
        let held = std::mem::take(&mut self.held);
        if !self.is_shared || held == 0 {
            return;
        }
        let now = now();
        self.spent += self.since.map_or(Duration::ZERO, |since| now - since);
        self.count += held;
        if self.count >= WINDOW {
            let pace = self.spent / self.count;
            self.restart(now, pace >= QUICK);
        }
    }

    fn is_late(&self, now: Instant) -> bool {
        self.since.is_none_or(|since| now - since >= LONGEST)
    }

    #[cold]
    fn judge_apart(&mut self, now: Instant) {
        match self.since {
            Some(since) => self.restart(now, (now - since) / WINDOW >= SLOW),
            None => self.since = Some(now),
        }
    }

    fn restart(&mut self, now: Instant, is_shared: bool) {
        self.is_shared = is_shared;
        self.count = 0;
        self.spent = Duration::ZERO;
        self.since = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Batch, LONGEST, MOST, WINDOW};
    use crate::instant::Instant;

    const FAST: Duration = Duration::from_micros(5);
    const SLOW: Duration = Duration::from_micros(40);

    /// A batch on a clock of its own.
    #[derive(Default)]
    struct Stage {
        batch: Batch,
        now: Instant,
    }

    impl Stage {
        /// So many entries that take so long, in each of which a stream writes; how many were held back.
        fn entries(&mut self, count: u32, each: Duration) -> u32 {
            let mut held = 0;
            for _ in 0..count {
                self.now = self.now + each;
                self.batch.write(|| self.now);
                if self.batch.is_shared() {
                    self.batch.hold(|| self.now);
                    held += 1;
                }
                self.end(true);
            }
            held
        }

        fn end(&mut self, others_wait: bool) -> bool {
            let is_over = self.batch.is_over(others_wait, || self.now);
            if is_over {
                self.batch.release(|| self.now);
            }
            is_over
        }

        fn shared() -> Self {
            let mut stage = Self::default();
            let _ = stage.entries(WINDOW + 1, SLOW);
            assert!(stage.batch.is_shared());
            stage
        }
    }

    #[test]
    fn the_first_window_is_never_held_back() {
        assert_eq!(Stage::default().entries(WINDOW - 1, SLOW), 0);
    }

    #[test]
    fn slow_entries_send_together() {
        let mut stage = Stage::default();
        assert!(stage.entries(2 * WINDOW, SLOW) >= WINDOW - 1);
    }

    #[test]
    fn quick_entries_send_apart() {
        assert_eq!(Stage::default().entries(20 * WINDOW, FAST), 0);
    }

    #[test]
    fn who_becomes_quick_sends_apart_again() {
        let mut stage = Stage::shared();
        let held = stage.entries(10 * WINDOW, FAST);
        assert!((WINDOW / 2..2 * WINDOW).contains(&held), "{held}");
    }

    #[test]
    fn it_ends_when_nobody_waits() {
        let mut stage = Stage::shared();
        stage.end(false);
        stage.batch.hold(|| stage.now);
        assert!(!stage.end(true));
        assert!(stage.end(false));
    }

    #[test]
    fn it_ends_after_so_many() {
        let mut stage = Stage::shared();
        stage.end(false);
        for _ in 1..MOST {
            stage.batch.hold(|| stage.now);
            assert!(!stage.end(true));
        }
        stage.batch.hold(|| stage.now);
        assert!(stage.end(true));
    }

    #[test]
    fn it_ends_after_so_long() {
        let mut stage = Stage::shared();
        stage.end(false);
        stage.batch.hold(|| stage.now);
        stage.now = stage.now + (LONGEST - Duration::from_nanos(1));
        assert!(!stage.end(true));
        stage.now = stage.now + Duration::from_nanos(1);
        assert!(stage.end(true));
    }

    #[test]
    fn what_is_held_apart_is_over_with_its_entry() {
        let mut stage = Stage::default();
        stage.batch.hold(|| stage.now);
        assert!(stage.end(true));
    }
}
