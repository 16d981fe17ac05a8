//! Tasks: awaiting, cancelling, detaching, panicking.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use oneloop::{Task, run, spawn, yield_now};

use crate::{in_thread, panic_message};

/// Tells when it is dropped.
#[derive(Clone, Default)]
struct Flag(Rc<Cell<u32>>);

impl Flag {
    fn guard(&self) -> impl Drop + use<> {
        struct Guard(Rc<Cell<u32>>);
        impl Drop for Guard {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        Guard(Rc::clone(&self.0))
    }

    fn drops(&self) -> u32 {
        self.0.get()
    }
}

fn stuck(flag: &Flag) -> Task<()> {
    let guard = flag.guard();
    spawn(async move {
        let _guard = guard;
        pending().await
    })
}

#[test]
fn a_task_starts_at_the_next_turn_and_in_the_order_of_spawning() -> io::Result<()> {
    run(async {
        let log = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = (0..5)
            .map(|number| {
                let log = Rc::clone(&log);
                spawn(async move { log.borrow_mut().push(number) })
            })
            .collect();
        assert!(log.borrow().is_empty());
        yield_now().await;
        assert_eq!(*log.borrow(), [0, 1, 2, 3, 4]);
        assert!(tasks.iter().all(Task::is_finished));
        for task in tasks {
            task.await;
        }
    })
}

#[test]
fn a_dropped_task_is_cancelled_at_the_next_turn() -> io::Result<()> {
    run(async {
        let flag = Flag::default();
        let begun = stuck(&flag);
        yield_now().await;
        let fresh = stuck(&flag);
        drop((begun, fresh));
        assert_eq!(flag.drops(), 0, "not in the middle of somebody else's step");
        yield_now().await;
        assert_eq!(flag.drops(), 2);
    })
}

#[test]
fn cancel_waits_until_the_future_is_gone() -> io::Result<()> {
    run(async {
        let flag = Flag::default();
        let task = stuck(&flag);
        yield_now().await;
        assert_eq!(task.cancel().await, None);
        assert_eq!(flag.drops(), 1);
        let done = spawn(async { 7 });
        yield_now().await;
        assert_eq!(done.cancel().await, Some(7));
    })
}

#[test]
fn a_task_may_cancel_itself() -> io::Result<()> {
    run(async {
        let flag = Flag::default();
        let own: Rc<RefCell<Option<Task<()>>>> = Rc::default();
        let (guard, theirs) = (flag.guard(), Rc::clone(&own));
        *own.borrow_mut() = Some(spawn(async move {
            let _guard = guard;
            drop(theirs.take());
            yield_now().await;
            unreachable!("it is cancelled at its next await");
        }));
        yield_now().await;
        yield_now().await;
        assert_eq!(flag.drops(), 1);
    })
}

#[test]
fn a_detached_task_goes_on() -> io::Result<()> {
    run(async {
        let flag = Flag::default();
        let guard = flag.guard();
        spawn(async move {
            yield_now().await;
            drop(guard);
        })
        .detach();
        yield_now().await;
        assert_eq!(flag.drops(), 0);
        yield_now().await;
        assert_eq!(flag.drops(), 1);
    })
}

#[test]
fn a_panic_is_resumed_in_whoever_awaits() -> io::Result<()> {
    let message = panic_message(|| {
        run(async {
            let task = spawn(async { panic!("in the task") });
            let () = task.await;
        })
    });
    assert_eq!(message, "in the task");
    let message = panic_message(|| {
        run(async {
            let task: Task<()> = spawn(async { panic!("before it was cancelled") });
            yield_now().await;
            task.cancel().await
        })
    });
    assert_eq!(message, "before it was cancelled");
    Ok(())
}

#[test]
fn a_panic_that_nobody_awaits_ends_with_its_task() -> io::Result<()> {
    run(async {
        spawn(async { panic!("nobody hears this") }).detach();
        yield_now().await;
        let forgotten: Task<()> = spawn(async { panic!("nor this") });
        yield_now().await;
        assert!(forgotten.is_finished());
        drop(forgotten);
        assert_eq!(spawn(async { 1 }).await, 1);
    })
}

#[test]
fn a_panic_in_the_drop_of_a_cancelled_future_ends_there() -> io::Result<()> {
    struct PanicsOnDrop;

    impl Drop for PanicsOnDrop {
        fn drop(&mut self) {
            panic!("in a drop");
        }
    }

    let stuck = || {
        spawn(async {
            let _panics = PanicsOnDrop;
            pending::<()>().await;
        })
    };
    let [left] = run(async {
        let (cancelled, dropped, left) = (stuck(), stuck(), stuck());
        yield_now().await;
        assert_eq!(cancelled.cancel().await, None);
        drop(dropped);
        yield_now().await;
        [left]
    })?;
    assert!(left.is_finished());
    Ok(())
}

#[test]
fn a_task_carried_out_of_its_run_says_what_happened() -> io::Result<()> {
    let mut carried: Option<Task<()>> = run(async { Some(spawn(pending())) })?;
    let carried = carried.as_mut().expect("a task");
    assert!(carried.is_finished());
    let message = panic_message(|| run(carried));
    assert_eq!(
        message,
        "the task was dropped unfinished, because its event loop is closed"
    );
    // One that was done keeps its value.
    let [done] = run(async {
        let task = spawn(async { 7 });
        yield_now().await;
        [task]
    })?;
    assert_eq!(run(done)?, 7);
    Ok(())
}

#[test]
fn a_task_may_be_awaited_on_another_thread() -> io::Result<()> {
    run(async {
        let task = spawn(async {
            yield_now().await;
            7
        });
        let outcome = in_thread(move || run(task).expect("a run"));
        assert_eq!(outcome.await, 7);
    })
}

#[test]
fn a_task_that_a_loop_elsewhere_wakes_stays_at_home() -> io::Result<()> {
    run(async {
        let awaited = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&awaited);
        let mut task = spawn(async move {
            while !seen.load(Ordering::Relaxed) {
                yield_now().await;
            }
            7
        });
        // Awaited by a task over there, which this loop wakes when the output is there.
        let outcome = in_thread(move || {
            run(async {
                let home = std::thread::current().id();
                let awaiting = spawn(async move {
                    let output = poll_fn(|context| {
                        let polled = Pin::new(&mut task).poll(context);
                        awaited.store(true, Ordering::Relaxed);
                        polled
                    });
                    (output.await, std::thread::current().id() == home)
                });
                awaiting.await
            })
            .expect("a run")
        });
        assert_eq!(outcome.await, (7, true));
    })
}

#[test]
fn a_task_dropped_on_another_thread_is_dropped_on_its_own() -> io::Result<()> {
    run(async {
        // `Flag` is an `Rc`: only the handle crosses.
        let flag = Flag::default();
        let task = stuck(&flag);
        yield_now().await;
        std::thread::spawn(move || drop(task))
            .join()
            .expect("a thread");
        assert_eq!(flag.drops(), 0);
        yield_now().await;
        assert_eq!(flag.drops(), 1);
    })
}

#[test]
fn yielding_lets_everybody_ready_run_once() -> io::Result<()> {
    run(async {
        let rounds = Rc::new(Cell::new(0));
        let theirs = Rc::clone(&rounds);
        let task = spawn(async move {
            loop {
                theirs.set(theirs.get() + 1);
                yield_now().await;
            }
        });
        for round in 0..10 {
            assert_eq!(rounds.get(), round);
            yield_now().await;
        }
        task.cancel().await;
    })
}
