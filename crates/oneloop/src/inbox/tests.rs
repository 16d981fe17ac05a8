//! The inbox on real threads: order, who is notified and how often, what close and fork leave behind. The interleavings are loom's.

use super::*;

use std::sync::Barrier;
use std::sync::atomic::AtomicUsize;
use std::thread;
use std::time::Duration;

use crate::driver::{Driver, Events, Kind};

/// Counts what a descriptor would have cost.
#[derive(Clone, Default)]
struct Counter {
    notified: Arc<AtomicUsize>,
    fails: Arc<AtomicBool>,
}

impl Notify for Counter {
    fn notify(&self) -> io::Result<()> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.notified.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

fn inbox<T>() -> (Inbox<T, Counter>, Counter) {
    let counter = Counter::default();
    (Inbox::new(counter.clone()), counter)
}

fn drained<T>(inbox: &Inbox<T, Counter>) -> Vec<T> {
    let mut items = Vec::new();
    inbox.drain(&mut items);
    items
}

impl Counter {
    fn notified(&self) -> usize {
        self.notified.load(Ordering::SeqCst)
    }
}

#[test]
fn items_come_out_in_order_and_the_flag_says_whether() {
    let (inbox, _) = inbox();
    assert!(!inbox.has_items());
    for item in 0..5 {
        assert!(inbox.push(item).is_ok());
        assert!(inbox.has_items());
    }
    assert_eq!(drained(&inbox), [0, 1, 2, 3, 4]);
    assert!(!inbox.has_items());
    assert_eq!(drained(&inbox), []);
}

#[test]
fn a_drain_appends_to_what_is_there_and_swaps_with_what_is_empty() {
    let (inbox, _) = inbox();
    let mut items = Vec::with_capacity(100);
    assert!(inbox.push(1).is_ok());
    inbox.drain(&mut items);
    assert!(inbox.push(2).is_ok());
    assert!(
        inbox
            .state
            .lock()
            .is_ok_and(|state| state.items.capacity() == 100)
    );
    inbox.drain(&mut items);
    assert_eq!(items, [1, 2]);
}

#[test]
fn a_busy_loop_is_never_notified() {
    let (inbox, counter) = inbox();
    for item in 0..100 {
        assert!(inbox.push(item).is_ok());
    }
    inbox.wake();
    assert_eq!(counter.notified(), 0);
}

#[test]
fn a_parked_loop_is_notified_once() {
    let (inbox, counter) = inbox();
    for round in 1..4 {
        assert_eq!(inbox.park(), Parking::Parked);
        for item in 0..10 {
            assert!(inbox.push(item).is_ok());
        }
        inbox.wake();
        inbox.unpark();
        assert_eq!(counter.notified(), round);
        // That wake came after the park had ended already, so it is the next one's.
        assert_eq!(drained(&inbox).len(), 10);
        assert_eq!(inbox.park(), Parking::HasItems);
    }
}

#[test]
fn an_unparked_loop_is_not_notified() {
    let (inbox, counter) = inbox();
    assert_eq!(inbox.park(), Parking::Parked);
    inbox.unpark();
    assert!(inbox.push(()).is_ok());
    assert_eq!(counter.notified(), 0);
}

#[test]
fn items_or_a_wake_forbid_to_park() {
    let (inbox, counter) = inbox();
    assert!(inbox.push(()).is_ok());
    assert_eq!(inbox.park(), Parking::HasItems);
    assert_eq!(inbox.park(), Parking::HasItems);
    drained(&inbox);
    inbox.wake();
    inbox.wake();
    assert_eq!(inbox.park(), Parking::HasItems);
    assert_eq!(inbox.park(), Parking::Parked);
    inbox.wake();
    assert_eq!(counter.notified(), 1);
    inbox.unpark();
    assert_eq!(inbox.park(), Parking::Parked);
}

#[test]
fn a_failed_notification_is_tried_again_by_the_next_push() {
    let (inbox, counter) = inbox();
    assert_eq!(inbox.park(), Parking::Parked);
    counter.fails.store(true, Ordering::SeqCst);
    assert!(inbox.push(1).is_ok());
    counter.fails.store(false, Ordering::SeqCst);
    assert!(inbox.push(2).is_ok());
    assert_eq!(counter.notified(), 1);
    assert_eq!(drained(&inbox), [1, 2]);
}

#[test]
fn a_closed_inbox_gives_items_back_and_holds_no_notifier() {
    let (inbox, counter) = inbox();
    assert!(inbox.push(1).is_ok());
    assert_eq!(Arc::strong_count(&counter.notified), 2);
    assert_eq!(inbox.close(), [1]);
    assert_eq!(Arc::strong_count(&counter.notified), 1);
    assert!(inbox.push(2).is_err_and(|Rejected(item)| item == 2));
    inbox.wake();
    inbox.unpark();
    assert!(!inbox.has_items());
    assert_eq!(drained(&inbox), []);
    assert_eq!(inbox.close(), []);
}

/// An item whose drop comes at the inbox again, as a `__del__` may.
struct Reenters(Arc<Inbox<Reenters, Counter>>);

impl Drop for Reenters {
    fn drop(&mut self) {
        let inbox = &self.0;
        assert!(inbox.state.try_lock().is_ok(), "dropped under the lock");
        inbox.wake();
        inbox.drain(&mut Vec::new());
    }
}

#[test]
fn no_item_is_dropped_under_the_lock() {
    let (inbox, _) = inbox();
    let inbox = Arc::new(inbox);
    let item = || Reenters(inbox.clone());
    let mut items = Vec::new();
    assert!(inbox.push(item()).is_ok());
    inbox.drain(&mut items);
    assert!(inbox.push(item()).is_ok());
    inbox.drain(&mut items);
    drop(items);
    assert!(inbox.push(item()).is_ok());
    drop(inbox.close());
    drop(inbox.push(item()));
}

#[test]
fn a_panic_elsewhere_does_not_close_the_inbox() {
    let (inbox, _) = inbox();
    thread::scope(|scope| {
        let poison = scope.spawn(|| {
            let _state = inbox.state.lock();
            panic!("on purpose");
        });
        assert!(poison.join().is_err());
    });
    assert!(inbox.state.is_poisoned());
    assert!(inbox.push(1).is_ok());
    assert_eq!(drained(&inbox), [1]);
    assert_eq!(inbox.replace_after_fork(Counter::default()), Ok(()));
}

#[test]
fn a_replaced_notifier_is_the_one_that_is_used() {
    let (inbox, counter) = inbox();
    let fresh = Counter::default();
    assert_eq!(inbox.park(), Parking::Parked);
    assert!(inbox.push(1).is_ok());
    assert_eq!(inbox.replace_after_fork(fresh.clone()), Ok(()));
    assert_eq!(drained(&inbox), [1]);
    assert_eq!(inbox.park(), Parking::Parked);
    inbox.wake();
    assert_eq!((counter.notified(), fresh.notified()), (1, 1));
    assert_eq!(Arc::strong_count(&counter.notified), 1);
}

/// In a child the loop that was parked is the parent's.
#[test]
fn a_replaced_notifier_is_not_used_for_a_park_that_was_inherited() {
    let (inbox, counter) = inbox();
    let fresh = Counter::default();
    assert_eq!(inbox.park(), Parking::Parked);
    assert_eq!(inbox.replace_after_fork(fresh.clone()), Ok(()));
    assert!(inbox.push(1).is_ok());
    assert_eq!((counter.notified(), fresh.notified()), (0, 0));
}

#[test]
fn a_replaced_notifier_does_not_open_a_closed_inbox() {
    let (inbox, _) = inbox();
    inbox.close();
    assert_eq!(inbox.replace_after_fork(Counter::default()), Ok(()));
    assert!(inbox.push(1).is_err());
}

/// A set may be replaced in the parent too, while other threads push: then the lock is merely waited for.
/// Also in a forked child, whose other threads push while its loop finds out that it was forked.
#[test]
fn a_lock_held_by_a_living_thread_is_waited_for() {
    for forks in [0, 1] {
        let (inbox, _) = inbox::<()>();
        inbox.generation.fetch_add(forks, Ordering::SeqCst);
        replace_while_held(&inbox);
        assert!(inbox.push(()).is_ok());
    }
}

fn replace_while_held(inbox: &Inbox<(), Counter>) {
    let (locked, release) = (Barrier::new(2), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            let state = inbox.state.lock();
            locked.wait();
            while !release.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            drop(state);
        });
        locked.wait();
        let replaced = scope.spawn(|| inbox.replace_after_fork(Counter::default()));
        // Long enough for one that does not wait to be done.
        for _ in 0..10_000 {
            if replaced.is_finished() {
                break;
            }
            thread::yield_now();
        }
        release.store(true, Ordering::SeqCst);
        assert!(replaced.join().is_ok_and(|result| result.is_ok()));
    });
}

/// As in a forked child: the generation is another one, and whoever has the lock will never give it back.
#[test]
fn a_lock_held_by_a_lost_thread_gives_the_inbox_up_without_a_hang() {
    let (inbox, _) = inbox();
    assert!(inbox.push(1).is_ok());
    inbox.generation.fetch_add(1, Ordering::SeqCst);
    let state = inbox.state.lock();
    let result = inbox.replace_after_fork(Counter::default());
    assert_eq!(result, Err(LockedByLostThread));
    assert!(inbox.push(2).is_err());
    assert_eq!(drained(&inbox), []);
    assert_eq!(inbox.park(), Parking::Parked);
    inbox.unpark();
    inbox.wake();
    assert_eq!(inbox.close(), []);
    drop(state);
}

/// The whole of it with a real driver: eight threads push while the loop parks, waits and unparks.
#[test]
fn nothing_is_lost_between_eight_threads_and_a_real_driver() -> io::Result<()> {
    const THREADS: usize = 8;
    const EACH: usize = 2_000;
    for kind in [Kind::Best, Kind::Portable] {
        let mut driver = Driver::new(kind)?;
        let inbox = Inbox::new(driver.notifier());
        let mut seen = [0; THREADS];
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let inbox = &inbox;
                scope.spawn(move || {
                    for count in 0..EACH {
                        assert!(inbox.push((thread, count)).is_ok());
                    }
                });
            }
            let (mut items, mut events) = (Vec::new(), Events::new());
            while seen.iter().sum::<usize>() < THREADS * EACH {
                if inbox.park() == Parking::Parked {
                    driver.wait(&mut events, Some(Duration::from_secs(20)))?;
                    inbox.unpark();
                    assert!(inbox.has_items(), "a wake-up was lost, or came for nothing");
                }
                inbox.drain(&mut items);
                for (thread, count) in items.drain(..) {
                    assert_eq!(seen[thread], count);
                    seen[thread] += 1;
                }
            }
            io::Result::Ok(())
        })?;
        assert_eq!(inbox.park(), Parking::Parked);
    }
    Ok(())
}
