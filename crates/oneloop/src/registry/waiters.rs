//! `Waiters`: the wakers of those who wait for one direction of a registered descriptor.
//!
//! Two ways to wait, since a waiter may give up, or come back with another waker, any number of times before anything happens:
//!
//! - **seated**: a future takes a seat, which holds its latest waker and no other, and gives it back when it is dropped;
//! - **passing**: a poll function has nothing to keep a seat in (`AsyncRead for &TcpStream`) and leaves its waker. The latest few are
//!   kept. One that has to go is woken: whoever still waits with it asks again, and of a task that is over nothing is heard.
//!
//! So the memory is bounded by the futures that exist. As `OwnerCell` asks, no waker is cloned, woken or dropped here.

use std::task::Waker;

use slab::Slab;

/// How many passing waiters are kept. More than a reader and a writer or two of the same direction are not met in practice, and if they
/// are they take turns.
const MOST_PASSING: usize = 8;

/// A place that a future has taken among those who wait for a descriptor: see `Reactor::poll_seated`. It means nothing to another
/// registration or direction than its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Seat(usize);

/// How somebody waits.
#[derive(Debug)]
pub(crate) enum Manner<'a> {
    Passing,
    /// In this seat; in a new one, which is written here, if there is none yet.
    Seated(&'a mut Option<Seat>),
}

/// What became of a waker that was handed in.
#[derive(Debug)]
#[must_use]
pub(crate) enum Admission {
    Kept,
    /// It is not needed, or this one is not any more: to be dropped.
    Spare(Waker),
    /// This one had to make room: to be woken.
    Displaced(Waker),
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    passing: Vec<Waker>,
    /// A seat is empty from the wake-up until its owner waits again.
    seats: Slab<Option<Waker>>,
}

impl Waiters {
    pub(crate) fn admit(&mut self, manner: Manner<'_>, waker: Waker) -> Admission {
        match manner {
            Manner::Passing => self.pass(waker),
            Manner::Seated(seat) => self.sit(seat, waker),
        }
    }

    /// Takes a seat back, with the waker in it.
    pub(crate) fn leave(&mut self, seat: Seat) -> Option<Waker> {
        self.seats.try_remove(seat.0).flatten()
    }

    /// Takes every waker; the seats stay their owners'.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = Waker> {
        let seated = self.seats.iter_mut().filter_map(|(_, seat)| seat.take());
        self.passing.drain(..).chain(seated)
    }

    fn pass(&mut self, waker: Waker) -> Admission {
        if self.passing.iter().any(|waiter| waiter.will_wake(&waker)) {
            return Admission::Spare(waker);
        }
        self.passing.push(waker);
        if self.passing.len() > MOST_PASSING {
            return Admission::Displaced(self.passing.remove(0));
        }
        Admission::Kept
    }

    fn sit(&mut self, seat: &mut Option<Seat>, waker: Waker) -> Admission {
        match seat.and_then(|seat| self.seats.get_mut(seat.0)) {
            Some(Some(present)) if present.will_wake(&waker) => Admission::Spare(waker),
            Some(place) => match place.replace(waker) {
                Some(previous) => Admission::Spare(previous),
                None => Admission::Kept,
            },
            None => {
                *seat = Some(Seat(self.seats.insert(Some(waker))));
                Admission::Kept
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Count {
        fn woken(self: &Arc<Self>) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn waker() -> (Waker, Arc<Count>) {
        let count = Arc::new(Count::default());
        (Waker::from(Arc::clone(&count)), count)
    }

    fn wake_all(waiters: &mut Waiters) -> usize {
        waiters.take_all().map(Waker::wake).count()
    }

    #[test]
    fn a_seat_holds_the_latest_waker_however_often_it_changes() {
        let mut waiters = Waiters::default();
        let mut seat = None;
        let mut spare = 0;
        let counts = Vec::from_iter((0..1000).map(|_| {
            let (waker, count) = waker();
            match waiters.admit(Manner::Seated(&mut seat), waker) {
                Admission::Kept => {}
                Admission::Spare(_) => spare += 1,
                Admission::Displaced(_) => panic!("a seat displaces nobody"),
            }
            count
        }));
        assert_eq!(spare, 999);
        assert_eq!(
            (waiters.seats.len(), waiters.seats.capacity() < 8),
            (1, true)
        );
        assert_eq!(wake_all(&mut waiters), 1);
        let woken = Vec::from_iter(counts.iter().map(Count::woken));
        assert_eq!((woken[999], woken.iter().sum::<usize>()), (1, 1));
        // Woken once; the seat is still the future's, and gone with it.
        assert_eq!(wake_all(&mut waiters), 0);
        let (waker, count) = waker();
        assert!(matches!(
            waiters.admit(Manner::Seated(&mut seat), waker),
            Admission::Kept
        ));
        assert!(waiters.leave(seat.expect("a seat")).is_some());
        assert_eq!(
            wake_all(&mut waiters) + count.woken() + waiters.seats.len(),
            0
        );
    }

    #[test]
    fn two_futures_of_one_task_have_a_seat_each() {
        let mut waiters = Waiters::default();
        let (waker, count) = waker();
        let (mut one, mut other) = (None, None);
        let _ = waiters.admit(Manner::Seated(&mut one), waker.clone());
        let _ = waiters.admit(Manner::Seated(&mut other), waker);
        assert!(waiters.leave(one.expect("a seat")).is_some());
        assert!(waiters.leave(one.expect("a seat")).is_none());
        assert_eq!(wake_all(&mut waiters), 1);
        assert_eq!(count.woken(), 1);
    }

    #[test]
    fn passing_wakers_are_few_and_nobody_is_forgotten() {
        let mut waiters = Waiters::default();
        let mut displaced = Vec::new();
        let counts = Vec::from_iter((0..1000).map(|_| {
            let (waker, count) = waker();
            for waker in [waker.clone(), waker] {
                match waiters.admit(Manner::Passing, waker) {
                    Admission::Kept | Admission::Spare(_) => {}
                    Admission::Displaced(waker) => displaced.push(waker),
                }
            }
            count
        }));
        assert!(waiters.passing.len() <= MOST_PASSING && waiters.passing.capacity() <= 16);
        displaced.into_iter().for_each(Waker::wake);
        wake_all(&mut waiters);
        for count in counts {
            assert_eq!(count.woken(), 1);
        }
    }
}
