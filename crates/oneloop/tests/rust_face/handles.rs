//! `Handle`: spawning from other threads, waiting for it there, and what is left of it when the loop is closed.

use std::cell::Cell;
use std::future::pending;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use oneloop::{Builder, Handle, JoinHandle, LoopClosed, run, yield_now};

use crate::support::KINDS;
use crate::{in_thread, panic_message};

fn is_send_and_sync<T: Clone + Send + Sync>(_: &T) {}
fn is_send<T: Send>(_: &T) {}

#[test]
fn the_future_is_made_and_run_on_the_loops_thread() -> io::Result<()> {
    for &kind in KINDS {
        Builder::new().driver(kind).run(async {
            let handle = Handle::current();
            is_send_and_sync(&handle);
            let home = thread::current().id();
            let outcome = in_thread(move || {
                let task = handle.spawn(move || {
                    assert_eq!(thread::current().id(), home);
                    let counter = Rc::new(Cell::new(0)); // not Send
                    async move {
                        for _ in 0..3 {
                            counter.set(counter.get() + 1);
                            yield_now().await;
                        }
                        (counter.get(), thread::current().id() == home)
                    }
                })?;
                is_send(&task);
                task.join()
            });
            assert_eq!(outcome.await, Ok((3, true)));
        })?;
    }
    Ok(())
}

#[test]
fn a_handle_may_be_awaited_by_another_loop() -> io::Result<()> {
    run(async {
        let handle = Handle::current();
        let outcome = in_thread(move || {
            run(async move {
                let task = handle.spawn(|| async {
                    yield_now().await;
                    7
                })?;
                task.await
            })
            .expect("a run")
        });
        assert_eq!(outcome.await, Ok(7));
    })
}

#[test]
fn a_handle_works_on_the_loops_own_thread_but_does_not_block_it() -> io::Result<()> {
    run(async {
        let handle = Handle::current();
        let task = handle.spawn(|| async { 7 }).expect("the loop is open");
        assert_eq!(task.await, Ok(7));
        let task = handle.spawn(|| async {}).expect("the loop is open");
        let text = panic_message(|| task.join());
        assert_eq!(
            text,
            "a loop's thread cannot block on a task of its own; await the handle instead"
        );
    })
}

#[test]
fn dropping_the_handle_of_a_task_detaches_it() -> io::Result<()> {
    run(async {
        let (send, receive) = mpsc::channel();
        drop(Handle::current().spawn(move || async move {
            yield_now().await;
            send.send(7).expect("a receiver");
        }));
        while receive.try_recv() != Ok(7) {
            yield_now().await;
        }
    })
}

#[test]
fn cancelling_drops_the_future_first() -> io::Result<()> {
    run(async {
        let (send, receive) = mpsc::channel::<()>();
        let task = Handle::current()
            .spawn(move || async move {
                let _send = send;
                pending::<()>().await;
            })
            .expect("the loop is open");
        yield_now().await;
        assert!(!task.is_finished());
        assert_eq!(task.cancel().await, None);
        assert_eq!(receive.try_recv(), Err(mpsc::TryRecvError::Disconnected));
        let done = Handle::current().spawn(|| async { 7 }).expect("open");
        yield_now().await;
        assert_eq!(done.cancel().await, Some(7));
    })
}

#[test]
fn a_panic_is_resumed_in_whoever_joins() -> io::Result<()> {
    run(async {
        let handle = Handle::current();
        let messages = in_thread(move || {
            let in_future = handle.spawn(|| async { panic!("in the future") });
            let in_making = handle.spawn(|| -> std::future::Ready<()> { panic!("in the making") });
            let join = |task: Result<JoinHandle<()>, LoopClosed>| {
                let task = task.expect("the loop is open");
                panic_message(|| task.join())
            };
            [join(in_future), join(in_making)]
        });
        assert_eq!(messages.await, ["in the future", "in the making"]);
    })
}

#[test]
fn a_closed_loop_refuses_and_releases_who_waits() -> io::Result<()> {
    for &kind in KINDS {
        let (send, waiting) = mpsc::channel();
        let (handle, joining) = Builder::new().driver(kind).run(async {
            let handle = Handle::current();
            let theirs = handle.clone();
            let joining = thread::spawn(move || {
                let stuck = theirs.spawn(pending::<()>).expect("the loop is open");
                send.send(()).expect("a receiver");
                stuck.join()
            });
            while waiting.try_recv().is_err() {
                yield_now().await;
            }
            (handle, joining)
        })?;
        assert_eq!(joining.join().expect("a thread"), Err(LoopClosed));
        let made = Arc::new(Mutex::new(()));
        let held = Arc::clone(&made);
        let refused = handle.spawn(move || async move { drop(held) });
        assert_eq!(refused.map(drop), Err(LoopClosed));
        assert_eq!(Arc::strong_count(&made), 1, "what was refused is dropped");
        handle.wake();
        let error = io::Error::from(LoopClosed);
        assert_eq!(error.to_string(), "the event loop is closed");
    }
    Ok(())
}

#[test]
fn what_was_queued_but_never_begun_is_dropped_with_the_loop() -> io::Result<()> {
    let held = Arc::new(());
    let theirs = Arc::clone(&held);
    let task = run(async {
        // The main future ends in the same step, so the task does not get to run.
        Handle::current().spawn(move || {
            drop(theirs);
            pending::<()>()
        })
    })?;
    assert_eq!(Arc::strong_count(&held), 1);
    assert_eq!(task.map(JoinHandle::join), Ok(Err(LoopClosed)));
    Ok(())
}
