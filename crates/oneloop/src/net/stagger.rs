//! Staggered attempts, of which the first to succeed wins: the heart of "happy eyeballs" (RFC 8305).
//!
//! Attempt i+1 begins a delay after attempt i did, or as soon as attempt i has failed. Only the latest to have begun hurries the next;
//! an older one that fails later changes nothing. Without a delay each waits for the one before. [`Stagger`] is the rule alone: it is
//! told the time, and what an attempt is it does not know. [`staggered_race`] is the rule with futures and the loop's clock.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::instant::Instant;
use crate::time::{self, Sleep};

/// What is to be done next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
enum Step {
    /// This attempt begins now.
    Begin(usize),
    /// The next attempt begins at this time, unless one ends before.
    WaitUntil(Instant),
    /// Nothing begins before an attempt ends.
    Wait,
    /// Every attempt has failed.
    Lost,
}

/// Which attempt begins when.
#[derive(Debug)]
struct Stagger {
    delay: Option<Duration>,
    attempts: usize,
    begun: usize,
    failed: usize,
    due: Due,
}

/// When the next attempt may begin.
#[derive(Clone, Copy, Debug)]
enum Due {
    Now,
    At(Instant),
    WhenTheLatestFails,
}

impl Stagger {
    fn new(attempts: usize, delay: Option<Duration>) -> Self {
        Self {
            delay,
            attempts,
            begun: 0,
            failed: 0,
            due: Due::Now,
        }
    }

    fn next(&mut self, now: Instant) -> Step {
        if self.failed == self.attempts {
            return Step::Lost;
        }
        if self.begun == self.attempts {
            return Step::Wait;
        }
        match self.due {
            Due::WhenTheLatestFails => Step::Wait,
            Due::At(due) if now < due => Step::WaitUntil(due),
            Due::Now | Due::At(_) => {
                self.due = match self.delay {
                    Some(delay) => Due::At(now + delay),
                    None => Due::WhenTheLatestFails,
                };
                self.begun += 1;
                Step::Begin(self.begun - 1)
            }
        }
    }

    fn failed(&mut self, attempt: usize) {
        self.failed += 1;
        if attempt + 1 == self.begun {
            self.due = Due::Now;
        }
    }
}

/// An attempt that has begun.
pub type Attempt<T, E> = Pin<Box<dyn Future<Output = Result<T, E>>>>;

/// Begins as many attempts as it has to, one after the other by the rule of the module, until one succeeds; the others are dropped then.
/// Gives what won, and its number.
///
/// `begin` makes an attempt, and is called when its turn comes. Dropping the race drops every attempt.
///
/// # Errors
///
/// Every attempt's, in the order in which they began.
///
/// # Panics
///
/// When polled outside of a running loop.
pub async fn staggered_race<T, E>(
    attempts: usize,
    delay: Option<Duration>,
    begin: impl FnMut(usize) -> Attempt<T, E>,
) -> Result<(usize, T), Vec<E>> {
    let mut race = Race {
        stagger: Stagger::new(attempts, delay),
        begin,
        running: Vec::new(),
        errors: Vec::new(),
        sleep: None,
    };
    poll_fn(|context| race.poll(context)).await
}

struct Race<T, E, B> {
    stagger: Stagger,
    begin: B,
    running: Vec<(usize, Attempt<T, E>)>,
    errors: Vec<(usize, E)>,
    sleep: Option<(Instant, Sleep)>,
}

impl<T, E, B> Race<T, E, B>
where
    B: FnMut(usize) -> Attempt<T, E>,
{
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(usize, T), Vec<E>>> {
        loop {
            if let Some(won) = self.poll_attempts(context) {
                return Poll::Ready(Ok(won));
            }
            match self.stagger.next(time::now()) {
                Step::Begin(number) => {
                    let attempt = (self.begin)(number);
                    self.running.push((number, attempt));
                }
                Step::WaitUntil(due) => match self.poll_sleep(due, context) {
                    Poll::Ready(()) => {}
                    Poll::Pending => return Poll::Pending,
                },
                Step::Wait => return Poll::Pending,
                Step::Lost => return Poll::Ready(Err(self.take_errors())),
            }
        }
    }

    /// Polls every attempt that has begun, in the order in which they did, and keeps those that go on. One that has won.
    fn poll_attempts(&mut self, context: &mut Context<'_>) -> Option<(usize, T)> {
        let mut index = 0;
        while let Some((number, attempt)) = self.running.get_mut(index) {
            let number = *number;
            match attempt.as_mut().poll(context) {
                Poll::Pending => index += 1,
                Poll::Ready(Ok(won)) => return Some((number, won)),
                Poll::Ready(Err(error)) => {
                    drop(self.running.remove(index));
                    self.errors.push((number, error));
                    self.stagger.failed(number);
                }
            }
        }
        None
    }

    fn poll_sleep(&mut self, due: Instant, context: &mut Context<'_>) -> Poll<()> {
        let (_, sleep) = match &mut self.sleep {
            Some(sleep) if sleep.0 == due => sleep,
            sleep => sleep.insert((due, time::sleep_until(due))),
        };
        Pin::new(sleep).poll(context)
    }

    fn take_errors(&mut self) -> Vec<E> {
        self.errors.sort_by_key(|(number, _)| *number);
        self.errors.drain(..).map(|(_, error)| error).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    const DELAY: Duration = Duration::from_nanos(100);

    fn at(nanos: i64) -> Instant {
        Instant::from_nanos(nanos)
    }

    #[test]
    fn attempts_begin_a_delay_apart() {
        let mut stagger = Stagger::new(3, Some(DELAY));
        assert_eq!(stagger.next(at(7)), Step::Begin(0));
        assert_eq!(stagger.next(at(7)), Step::WaitUntil(at(107)));
        assert_eq!(stagger.next(at(106)), Step::WaitUntil(at(107)));
        // Late: the delay counts from when it really began.
        assert_eq!(stagger.next(at(110)), Step::Begin(1));
        assert_eq!(stagger.next(at(110)), Step::WaitUntil(at(210)));
        assert_eq!(stagger.next(at(210)), Step::Begin(2));
        assert_eq!(stagger.next(at(999)), Step::Wait);
    }

    #[test]
    fn a_failure_of_the_latest_hurries_the_next_and_an_older_one_does_not() {
        let mut stagger = Stagger::new(4, Some(DELAY));
        assert_eq!(stagger.next(at(0)), Step::Begin(0));
        stagger.failed(0);
        assert_eq!(stagger.next(at(5)), Step::Begin(1));
        assert_eq!(stagger.next(at(105)), Step::Begin(2));
        stagger.failed(1);
        assert_eq!(stagger.next(at(110)), Step::WaitUntil(at(205)));
        stagger.failed(2);
        assert_eq!(stagger.next(at(111)), Step::Begin(3));
        assert_eq!(stagger.next(at(111)), Step::Wait);
        stagger.failed(3);
        assert_eq!(stagger.next(at(112)), Step::Lost);
    }

    #[test]
    fn without_a_delay_each_waits_for_the_one_before() {
        let mut stagger = Stagger::new(2, None);
        assert_eq!(stagger.next(at(0)), Step::Begin(0));
        assert_eq!(stagger.next(Instant::FAR_FUTURE), Step::Wait);
        stagger.failed(0);
        assert_eq!(stagger.next(at(1)), Step::Begin(1));
        stagger.failed(1);
        assert_eq!(stagger.next(at(2)), Step::Lost);
        assert_eq!(Stagger::new(0, None).next(at(0)), Step::Lost);
    }

    proptest! {
        /// Whatever fails and whenever: the attempts begin once each, in order, no earlier than the rule allows and no later.
        #[test]
        fn keeps_the_rule(
            attempts in 0usize..6,
            delayed: bool,
            events in proptest::collection::vec((1i64..150, 0usize..6), 0..40),
        ) {
            let mut stagger = Stagger::new(attempts, delayed.then_some(DELAY));
            let mut begun: Vec<(Instant, bool)> = Vec::new(); // when, and whether it has failed
            let mut now = 0;
            for (time, which) in events {
                loop {
                    let may = match begun.last() {
                        None => true,
                        Some((start, failed)) => *failed || delayed && at(now) >= *start + DELAY,
                    };
                    match stagger.next(at(now)) {
                        Step::Begin(number) => {
                            prop_assert!(may && number == begun.len() && number < attempts);
                            begun.push((at(now), false));
                            continue;
                        }
                        Step::WaitUntil(due) => {
                            prop_assert!(!may && begun.len() < attempts);
                            prop_assert_eq!(begun.last().map(|it| it.0 + DELAY), Some(due));
                        }
                        Step::Wait => {
                            prop_assert!(begun.len() == attempts || !may && !delayed);
                            prop_assert!(begun.iter().any(|it| !it.1));
                        }
                        Step::Lost => {
                            prop_assert!(begun.len() == attempts && begun.iter().all(|it| it.1));
                        }
                    }
                    break;
                }
                now += time;
                if let Some(attempt) = begun.get_mut(which).filter(|it| !it.1) {
                    attempt.1 = true;
                    stagger.failed(which);
                }
            }
        }
    }
}
