//! Sleeping and time limits, by a manual clock; the real one only where its precision is the question.

use std::future::{Future, pending};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use oneloop::{
    Builder, Elapsed, Instant, join_all, now, sleep, sleep_until, spawn, timeout, yield_now,
};

use crate::support::{KINDS, Log, Rig, call, rig};

const MS: Duration = Duration::from_millis(1);

/// Runs a task on a rig until nothing is left to do; what it said.
pub(crate) fn simulate<F>(rig: &Rig, make: impl FnOnce(Log) -> F + Send + 'static) -> Vec<String>
where
    F: Future<Output = ()> + 'static,
{
    let log = rig.log.clone();
    let (send, receive) = mpsc::channel();
    rig.event_loop.push(call(move |_| {
        send.send(spawn(make(log))).expect("a test that waits");
    }));
    let said = rig.run_dry();
    let task = receive.recv().expect("a task");
    assert!(task.is_finished(), "the task is stuck");
    // What it asserted in vain is told here.
    oneloop::run(task).expect("a run");
    said
}

#[test]
fn a_sleep_ends_at_its_time() {
    let rig = rig();
    simulate(&rig, |_| async {
        let start = now();
        sleep(5 * MS).await;
        assert_eq!(now() - start, 5 * MS);
        sleep_until(start + 12 * MS).await;
        assert_eq!(now() - start, 12 * MS);
        // In the past, or no time at all: no time passes.
        sleep_until(start).await;
        sleep(Duration::ZERO).await;
        assert_eq!(now() - start, 12 * MS);
    });
    assert_eq!(rig.clock.now().as_nanos(), 12_000_000);
}

#[test]
fn a_sleep_counts_from_its_first_poll() {
    let rig = rig();
    simulate(&rig, |_| async {
        let (first, second) = (sleep(5 * MS), sleep(5 * MS));
        first.await;
        second.await;
        assert_eq!(now().as_nanos(), 10_000_000);
    });
}

#[test]
fn even_the_shortest_sleep_lets_others_run() {
    let rig = rig();
    let said = simulate(&rig, |log| async move {
        let theirs = log.clone();
        let task = spawn(async move { theirs.say("the other") });
        sleep(Duration::ZERO).await;
        log.say("the sleeper");
        task.await;
    });
    assert_eq!(said, ["the other", "the sleeper"]);
}

#[test]
fn sleepers_wake_in_the_order_of_their_deadlines() {
    let rig = rig();
    let said = simulate(&rig, |log| async move {
        let tasks = [30, 10, 20, 10].map(|millis| {
            let log = log.clone();
            spawn(async move {
                sleep(millis * MS).await;
                log.say(format!("{millis} at {}", now().as_nanos() / 1_000_000));
            })
        });
        join_all(tasks).await;
    });
    assert_eq!(said, ["10 at 10", "10 at 10", "20 at 20", "30 at 30"]);
}

#[test]
fn a_dropped_sleep_leaves_no_timer() {
    let rig = rig();
    simulate(&rig, |_| async {
        drop(spawn(sleep(50 * MS)));
        let task = spawn(sleep(70 * MS));
        sleep(MS).await;
        task.cancel().await;
    });
    // Only the last millisecond was waited for.
    assert_eq!(rig.clock.now().as_nanos(), 1_000_000);
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_sleep_wakes_whoever_polled_it_last() {
    let rig = rig();
    simulate(&rig, |_| async {
        let counts = [Arc::new(Count::default()), Arc::new(Count::default())];
        let mut sleep = pin!(sleep(5 * MS));
        for count in [&counts[0], &counts[0], &counts[1]] {
            let waker = Waker::from(Arc::clone(count));
            assert!(
                sleep
                    .as_mut()
                    .poll(&mut Context::from_waker(&waker))
                    .is_pending()
            );
        }
        oneloop::sleep(10 * MS).await;
        assert_eq!(counts.map(|count| count.0.load(Ordering::Relaxed)), [0, 1]);
        let ready = sleep.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(ready, Poll::Ready(()));
    });
}

#[test]
fn a_sleep_carried_to_another_loop_goes_on_there() -> io::Result<()> {
    for &kind in KINDS {
        let builder = Builder::new().driver(kind);
        let mut carried = Box::pin(sleep(3 * MS));
        // One waker for both, so that nothing else gives the sleep a reason to arm a timer again.
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut poll = || carried.as_mut().poll(&mut Context::from_waker(&waker));
        let start = builder.run(async {
            assert!(poll().is_pending());
            now()
        })?;
        builder.run(async {
            assert!(poll().is_pending());
            while count.0.load(Ordering::Relaxed) == 0 {
                sleep(MS).await;
                assert!(now() - start < 20_000 * MS, "its timer was left behind");
            }
            assert!(now() - start >= 3 * MS);
            assert!(poll().is_ready());
        })?;
    }
    Ok(())
}

#[test]
fn a_time_limit_cancels_what_is_too_slow() {
    let rig = rig();
    let said = simulate(&rig, |log| async move {
        let theirs = log.clone();
        let slow = timeout(5 * MS, async move {
            let _guard = SaysOnDrop(theirs);
            sleep(6 * MS).await;
        });
        log.say(format!("{:?}", slow.await));
        assert_eq!(now().as_nanos(), 5_000_000);
        assert_eq!(timeout(5 * MS, sleep(4 * MS)).await, Ok(()));
        // Both at once: done is done.
        assert_eq!(timeout(5 * MS, sleep(5 * MS)).await, Ok(()));
        assert_eq!(timeout(Duration::ZERO, async { 7 }).await, Ok(7));
        assert_eq!(timeout(Duration::ZERO, pending::<()>()).await, Err(Elapsed));
        assert_eq!(timeout(Duration::MAX, yield_now()).await, Ok(()));
    });
    assert_eq!(said, ["dropped", "Err(Elapsed)"]);
    // The limits that were not needed are gone: 5 + 4 + 5 ms, and not one more was waited for.
    assert_eq!(rig.clock.now().as_nanos(), 14_000_000);
}

struct SaysOnDrop(Log);

impl Drop for SaysOnDrop {
    fn drop(&mut self) {
        self.0.say("dropped");
    }
}

#[test]
fn elapsed_is_an_error_like_any_other() {
    let error = io::Error::from(Elapsed);
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(error.to_string(), "the time given for this is over");
}

#[test]
fn a_hundred_thousand_sleepers_wake_in_order() {
    const SLEEPERS: i64 = 100_000;
    let rig = rig();
    simulate(&rig, |_| async {
        let woken = Rc::new(std::cell::RefCell::new(Vec::new()));
        // A walk that meets every residue once: the deadlines are a permutation.
        let tasks: Vec<_> = (0..SLEEPERS)
            .map(|step| {
                let (deadline, woken) = ((step * 48_271) % SLEEPERS, Rc::clone(&woken));
                spawn(async move {
                    sleep_until(Instant::from_nanos(deadline)).await;
                    woken.borrow_mut().push(deadline);
                })
            })
            .collect();
        join_all(tasks).await;
        assert!(woken.borrow().iter().copied().eq(0..SLEEPERS));
    });
    assert_eq!(rig.clock.now().as_nanos(), SLEEPERS - 1);
}

#[test]
fn a_hundred_thousand_real_sleepers_all_wake() -> io::Result<()> {
    for &kind in KINDS {
        Builder::new().driver(kind).run(async {
            let start = now();
            let tasks: Vec<_> = (0..100_000_u64)
                .map(|number| {
                    spawn(async move {
                        let deadline = start + Duration::from_nanos(number * 100);
                        sleep_until(deadline).await;
                        assert!(now() >= deadline);
                    })
                })
                .collect();
            join_all(tasks).await;
        })?;
    }
    Ok(())
}

#[test]
fn a_real_sleep_is_never_short_and_not_rounded_to_milliseconds() -> io::Result<()> {
    for &kind in KINDS {
        Builder::new().driver(kind).run(async {
            let nap = Duration::from_micros(150);
            let mut shortest = Duration::MAX;
            for _ in 0..20 {
                let start = std::time::Instant::now();
                sleep(nap).await;
                shortest = shortest.min(start.elapsed());
            }
            assert!(shortest >= nap, "{kind:?}: {shortest:?}");
            if cfg!(target_os = "linux") {
                assert!(shortest < MS, "{kind:?}: {shortest:?}");
            }
        })?;
    }
    Ok(())
}
