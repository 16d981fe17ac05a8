//! `run` and `Builder`: what a run borrows, refuses, returns and leaves behind.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::Poll;

use oneloop::{Builder, DriverKind, spawn, yield_now};

use crate::panic_message;
use crate::support::KINDS;

#[test]
fn the_future_may_borrow_and_its_output_come_back() -> io::Result<()> {
    let words = vec![String::from("a"), String::from("b")];
    let mut lengths = Vec::new();
    let first = oneloop::run(async {
        for word in &words {
            yield_now().await;
            lengths.push(word.len());
        }
        &words[0]
    })?;
    assert_eq!((first.as_str(), lengths), ("a", vec![1, 1]));
    Ok(())
}

#[test]
fn each_driver_runs() -> io::Result<()> {
    for &kind in KINDS {
        let output = Builder::new().driver(kind).run(async {
            yield_now().await;
            spawn(async { 7 }).await
        })?;
        assert_eq!(output, 7);
    }
    Ok(())
}

#[test]
fn a_builder_may_run_again() -> io::Result<()> {
    let builder = Builder::new().driver(DriverKind::Portable);
    for number in 0..3 {
        assert_eq!(builder.run(async { number })?, number);
    }
    Ok(())
}

#[test]
fn a_run_inside_a_run_is_refused() -> io::Result<()> {
    let refused = || oneloop::run(async { unreachable!() }).map_err(|error| error.to_string());
    let message = "Cannot run the event loop while another loop is running";
    oneloop::run(async {
        assert_eq!(refused(), Err::<(), _>(message.to_owned()));
        // In a task as well, and nothing is the worse for it.
        assert_eq!(
            spawn(async move { refused() }).await,
            Err(message.to_owned())
        );
    })?;
    assert_eq!(oneloop::run(async { 1 })?, 1);
    Ok(())
}

#[test]
fn runs_on_different_threads_do_not_know_each_other() -> io::Result<()> {
    let inner = || std::thread::spawn(|| oneloop::run(async { 2 }).expect("a run"));
    assert_eq!(
        oneloop::run(async { inner().join().expect("a thread") })?,
        2
    );
    Ok(())
}

#[test]
fn the_main_future_has_its_place_in_the_queue() -> io::Result<()> {
    let log = Rc::new(RefCell::new(Vec::new()));
    let say = |name: &'static str| log.borrow_mut().push(name);
    oneloop::run(async {
        let theirs = Rc::clone(&log);
        let task = spawn(async move {
            for name in ["task 1", "task 2", "task 3"] {
                theirs.borrow_mut().push(name);
                yield_now().await;
            }
        });
        for name in ["main 1", "main 2", "main 3"] {
            say(name);
            yield_now().await;
        }
        task.await;
    })?;
    assert_eq!(
        *log.borrow(),
        ["main 1", "task 1", "main 2", "task 2", "main 3", "task 3"]
    );
    Ok(())
}

#[test]
fn the_main_future_is_polled_once_however_often_it_is_woken() -> io::Result<()> {
    let polls = Cell::new(0);
    oneloop::run(std::future::poll_fn(|context| {
        polls.set(polls.get() + 1);
        match polls.get() {
            1 => {
                for _ in 0..10 {
                    context.waker().wake_by_ref();
                }
                let waker = context.waker().clone();
                spawn(async move {
                    for _ in 0..5 {
                        yield_now().await;
                    }
                    waker.wake();
                })
                .detach();
                Poll::Pending
            }
            // For the ten wakes together.
            2 => Poll::Pending,
            // For the task's.
            _ => Poll::Ready(()),
        }
    }))?;
    assert_eq!(polls.get(), 3);
    Ok(())
}

#[test]
fn a_wake_after_the_end_is_void() -> io::Result<()> {
    let mut wakers = Vec::new();
    for _ in 0..2 {
        oneloop::run(std::future::poll_fn(|context| {
            wakers.push(context.waker().clone());
            // A second turn of a future that is done would be the caller's undoing: async blocks panic on it.
            context.waker().wake_by_ref();
            Poll::Ready(())
        }))?;
    }
    for waker in wakers {
        waker.wake();
    }
    Ok(())
}

#[test]
fn a_panic_of_the_main_future_comes_out_after_the_loop_is_closed() -> io::Result<()> {
    let dropped = Rc::new(Cell::new(false));
    let flag = Rc::clone(&dropped);
    let message = panic_message(|| {
        oneloop::run(async {
            spawn(async move {
                let _guard = OnDrop(flag);
                std::future::pending::<()>().await;
            })
            .detach();
            yield_now().await;
            panic!("on purpose");
        })
    });
    assert_eq!(message, "on purpose");
    assert!(dropped.get());
    // The thread has no loop any more, and may have another one.
    assert_eq!(oneloop::run(async { 3 })?, 3);
    Ok(())
}

struct OnDrop(Rc<Cell<bool>>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

#[test]
fn what_needs_a_loop_says_so_outside_of_one() {
    let needs = "no event loop is running on this thread; call this inside `oneloop::run`";
    assert_eq!(panic_message(|| drop(spawn(async {}))), needs);
    assert_eq!(panic_message(oneloop::now), needs);
    assert_eq!(panic_message(oneloop::Handle::current), needs);
    assert_eq!(
        panic_message(|| poll_once(oneloop::sleep_until(oneloop::Instant::FAR_FUTURE))),
        needs
    );
    let limited = oneloop::timeout(std::time::Duration::ZERO, std::future::pending::<()>());
    assert_eq!(panic_message(|| poll_once(limited)), needs);
}

fn poll_once(future: impl Future) {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let _ = std::pin::pin!(future).poll(&mut context);
}
