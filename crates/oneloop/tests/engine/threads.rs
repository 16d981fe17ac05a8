//! Other threads hand work in while the loop parks and unparks: nothing is lost, and each thread's work stays in order.
#![allow(
    unsafe_code,
    reason = "a loop is not Sync, and says itself which of its methods any thread may call"
)]

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use oneloop::engine::{Kind, Reactor};

use crate::support::{Entry, KINDS, Loop, call, fail, real, this_loop};

const THREADS: usize = 8;
const EACH: usize = 2_000;
/// Longer than any of this takes: a lost wake-up fails the test instead of hanging it.
const PATIENCE: Duration = Duration::from_secs(60);

/// How threads follow their work.
#[derive(Clone, Copy, PartialEq)]
enum Rhythm {
    /// As fast as they can: the loop is busy.
    Flood,
    /// Each waits until what it did has arrived, so that the loop parks again and again.
    Lockstep,
}

impl Rhythm {
    fn pause(self, arrived: impl Fn() -> bool) {
        while self == Rhythm::Lockstep && !arrived() {
            thread::yield_now();
        }
    }
}

/// A loop as other threads hold it.
#[derive(Clone, Copy)]
struct Elsewhere<'a>(&'a Loop);

// SAFETY: only `push_remote` is called through it, which touches the inbox alone.
unsafe impl Send for Elsewhere<'_> {}

impl Elsewhere<'_> {
    fn push(self, entry: Entry) -> bool {
        self.0.push_remote(entry).is_ok()
    }
}

/// Runs `event_loop` until it is stopped.
fn run(event_loop: &Rc<Loop>) {
    let deadline = event_loop.host().monotonic_after(PATIENCE);
    let watchdog = event_loop.arm(deadline, fail("nothing came any more"));
    event_loop.run().expect("a run that is stopped");
    event_loop.cancel(watchdog);
}

/// What has arrived on the loop's thread.
#[derive(Default)]
struct Arrivals {
    /// The thread and its running number, in order.
    seen: Mutex<Vec<(usize, usize)>>,
    counts: [AtomicUsize; THREADS],
}

impl Arrivals {
    /// Stops the loop when this was the last.
    fn arrive(&self, thread: usize, number: usize) {
        self.counts[thread].fetch_add(1, Ordering::Relaxed);
        let mut seen = self.seen.lock().expect("a lock");
        seen.push((thread, number));
        if seen.len() == THREADS * EACH {
            this_loop().expect("the loop that runs").stop();
        }
    }

    fn has(&self, thread: usize, number: usize) -> bool {
        self.counts[thread].load(Ordering::Relaxed) > number
    }

    fn assert_complete(&self) {
        let seen = self.seen.lock().expect("a lock");
        assert_eq!(seen.len(), THREADS * EACH);
        for thread in 0..THREADS {
            let numbers = seen.iter().filter(|(of, _)| *of == thread);
            assert!(numbers.map(|(_, number)| *number).eq(0..EACH));
        }
    }
}

fn on_every_driver_in_every_rhythm(test: impl Fn(Kind, Rhythm)) {
    for &kind in KINDS {
        for rhythm in [Rhythm::Flood, Rhythm::Lockstep] {
            test(kind, rhythm);
        }
    }
}

#[test]
fn entries_of_eight_threads_all_arrive_in_order() {
    on_every_driver_in_every_rhythm(|kind, rhythm| {
        let event_loop = real(kind);
        let arrivals = Arc::new(Arrivals::default());
        let start = Barrier::new(THREADS + 1);
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (arrivals, start) = (Arc::clone(&arrivals), &start);
                let event_loop = Elsewhere(&event_loop);
                scope.spawn(move || {
                    let event_loop = event_loop;
                    start.wait();
                    for number in 0..EACH {
                        let arrived = Arc::clone(&arrivals);
                        let entry = call(move |_| arrived.arrive(thread, number));
                        assert!(event_loop.push(entry));
                        rhythm.pause(|| arrivals.has(thread, number));
                    }
                });
            }
            start.wait();
            run(&event_loop);
        });
        arrivals.assert_complete();
    });
}

#[test]
fn calls_of_eight_threads_all_arrive_in_order() {
    on_every_driver_in_every_rhythm(|kind, rhythm| {
        let event_loop = real(kind);
        let arrivals = Arc::new(Arrivals::default());
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (arrivals, remote) = (Arc::clone(&arrivals), Arc::clone(event_loop.remote()));
                scope.spawn(move || {
                    for number in 0..EACH {
                        let arrived = Arc::clone(&arrivals);
                        let call = remote.call(Box::new(move || arrived.arrive(thread, number)));
                        assert!(call.is_ok());
                        rhythm.pause(|| arrivals.has(thread, number));
                    }
                });
            }
            run(&event_loop);
        });
        arrivals.assert_complete();
    });
}

/// A number that threads raise and a task waits for.
#[derive(Default)]
struct Level {
    reached: AtomicUsize,
    seen: AtomicUsize,
    waiter: Mutex<Option<Waker>>,
}

impl Level {
    /// Raises it by one and returns what it is then, at least.
    fn raise(&self) -> usize {
        let reached = self.reached.fetch_add(1, Ordering::Release) + 1;
        let waiter = self.waiter.lock().expect("a lock").take();
        if let Some(waiter) = waiter {
            waiter.wake();
        }
        reached
    }

    async fn reaches(&self, target: usize) {
        poll_fn(|context| {
            *self.waiter.lock().expect("a lock") = Some(context.waker().clone());
            match self.reached.load(Ordering::Acquire) {
                reached if reached >= target => Poll::Ready(()),
                _ => Poll::Pending,
            }
        })
        .await;
        self.seen.store(target, Ordering::Relaxed);
    }
}

#[test]
fn a_task_woken_by_eight_threads_misses_nothing() {
    on_every_driver_in_every_rhythm(|kind, rhythm| {
        let event_loop = real(kind);
        let level = Arc::new(Level::default());
        let awaited = Arc::clone(&level);
        event_loop.push(call(move |event_loop| {
            let event_loop = Rc::downgrade(event_loop);
            oneloop::spawn(async move {
                // Waiting for each single one would hide that a wake-up was lost behind the next.
                for target in 1..=THREADS * EACH {
                    awaited.reaches(target).await;
                }
                event_loop.upgrade().expect("the loop that runs").stop();
            })
            .detach();
        }));
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        let reached = level.raise();
                        rhythm.pause(|| level.seen.load(Ordering::Relaxed) >= reached);
                    }
                });
            }
            run(&event_loop);
        });
        assert_eq!(level.reached.load(Ordering::Relaxed), THREADS * EACH);
    });
}

#[test]
fn a_task_is_polled_and_dropped_on_the_loops_thread_whoever_wakes_it() {
    static ELSEWHERE: AtomicUsize = AtomicUsize::new(0);

    /// Not an assertion: a panic of a detached task is heard by nobody.
    struct Here(thread::ThreadId);

    impl Here {
        fn check(&self) {
            if self.0 != thread::current().id() {
                ELSEWHERE.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    impl Drop for Here {
        fn drop(&mut self) {
            self.check();
        }
    }

    for &kind in KINDS {
        let event_loop = real(kind);
        let wakers: Arc<Mutex<Vec<Waker>>> = Arc::default();
        let kept = Arc::clone(&wakers);
        event_loop.push(call(move |_| {
            for _ in 0..100 {
                let (here, wakers) = (Here(thread::current().id()), Arc::clone(&kept));
                // Half of the tasks end; the others are dropped with the loop, while threads hold their wakers.
                let mut left = 20;
                let task = oneloop::spawn(poll_fn(move |context| {
                    here.check();
                    left -= 1;
                    wakers.lock().expect("a lock").push(context.waker().clone());
                    if left == 0 {
                        Poll::Ready(())
                    } else {
                        Poll::Pending
                    }
                }));
                task.detach();
            }
        }));
        thread::scope(|scope| {
            let stop = Arc::clone(event_loop.remote());
            let workers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..1_000 {
                            let woken = wakers.lock().expect("a lock").pop();
                            match woken {
                                Some(waker) => waker.wake(),
                                None => thread::yield_now(),
                            }
                        }
                    })
                })
                .collect();
            scope.spawn(move || {
                for worker in workers {
                    worker.join().expect("a worker");
                }
                let stopped = stop.call(Box::new(|| this_loop().expect("the loop").stop()));
                assert!(stopped.is_ok());
            });
            run(&event_loop);
        });
        event_loop.close().expect("closing");
        // What threads still hold of it does nothing any more, on whatever thread.
        let left = std::mem::take(&mut *wakers.lock().expect("a lock"));
        let other = thread::spawn(move || left.into_iter().for_each(Waker::wake));
        other.join().expect("a thread");
    }
    assert_eq!(ELSEWHERE.load(Ordering::Relaxed), 0);
}
