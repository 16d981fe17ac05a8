//! What ends a run before its time loses nothing: the rest of the batch stays at the head, in order, and the next run goes on.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use oneloop::engine::{Call, Direction, Place};

use crate::support::{Failure, KINDS, call, fail, real, rig, say, says};

#[test]
fn an_entry_that_fails_leaves_the_rest_of_the_batch_at_the_head() {
    let rig = rig();
    rig.event_loop.push(call(|event_loop| {
        event_loop.host().log.say("a");
        event_loop.push(say("pushed by a"));
    }));
    rig.event_loop.push(fail("b"));
    rig.push(&["c"]);
    rig.event_loop.push(fail("d"));
    rig.push(&["e"]);

    let failure = rig.event_loop.run().expect_err("b fails");
    assert!(matches!(failure, Failure::Entry(name) if name == "b"));
    assert_eq!(rig.log.take(), ["a", "b"]);
    assert_eq!(rig.event_loop.place(), Place::Stopped);

    rig.push(&["pushed meanwhile"]);
    let failure = rig.event_loop.run().expect_err("d fails");
    assert!(matches!(failure, Failure::Entry(name) if name == "d"));
    assert_eq!(rig.log.take(), ["c", "d"]);
    assert_eq!(rig.run_dry(), ["e", "pushed by a", "pushed meanwhile"]);
}

#[test]
fn an_entry_that_panics_leaves_the_rest_as_well() {
    let rig = rig();
    rig.push(&["a"]);
    rig.event_loop.push(call(|_| panic!("on purpose")));
    rig.push(&["b"]);
    assert!(catch_unwind(AssertUnwindSafe(|| rig.event_loop.run())).is_err());
    assert_eq!(rig.log.take(), ["a"]);
    assert_eq!(rig.event_loop.place(), Place::Stopped);
    assert_eq!(rig.run_dry(), ["b"]);
}

#[test]
fn a_signal_ends_the_run_after_its_batch() {
    let rig = rig();
    rig.push(&["a"]);
    rig.event_loop.push(call(|event_loop| {
        event_loop.host().signal.set(true);
        event_loop.push(say("c"));
    }));
    rig.push(&["b"]);
    let failure = rig.event_loop.run().expect_err("the signal");
    assert!(matches!(failure, Failure::Signal));
    assert_eq!(rig.log.take(), ["a", "b"]);
    assert_eq!(rig.run_dry(), ["c"]);
}

#[test]
fn a_signal_that_came_before_the_run_ends_it_at_once() {
    let rig = rig();
    rig.push(&["a"]);
    rig.event_loop.host().signal.set(true);
    let failure = rig.event_loop.run().expect_err("the signal");
    assert!(matches!(failure, Failure::Signal));
    assert_eq!(rig.log.take(), Vec::<String>::new());
    assert_eq!(rig.run_dry(), ["a"]);
}

#[test]
fn a_clock_that_fails_before_the_wait_loses_no_timer() {
    let rig = rig();
    rig.arm(5, "timer");
    rig.event_loop.host().clock_fails_after.set(Some(0));
    let failure = rig.event_loop.run().expect_err("the clock");
    assert!(matches!(failure, Failure::Clock));
    assert_eq!(rig.script.waits(), []);
    assert_eq!(rig.run_dry(), ["timer"]);
}

#[test]
fn a_clock_that_fails_after_the_wait_loses_no_event_and_no_timer() {
    let rig = rig();
    let watched = rig.event_loop.watch(5, Direction::Read, says("io"));
    assert!(watched.is_ok());
    rig.arm(0, "timer");
    rig.push(&["ready"]);
    rig.script.deliver([rig.readable(5)]);
    // With work ready the timeout needs no clock: the first look at it is for the timers that are due.
    rig.event_loop.host().clock_fails_after.set(Some(0));
    let failure = rig.event_loop.run().expect_err("the clock");
    assert!(matches!(failure, Failure::Clock));
    assert_eq!(rig.log.take(), Vec::<String>::new());
    assert_eq!(rig.run_dry(), ["ready", "io", "timer"]);
}

#[test]
fn a_clock_that_queues_something_is_not_waited_on() {
    let rig = rig();
    rig.arm(5, "timer");
    let event_loop = std::rc::Rc::clone(&rig.event_loop);
    rig.event_loop
        .host()
        .on_clock(move || event_loop.push(say("by the clock")));
    assert_eq!(rig.run_dry(), ["by the clock", "timer"]);
    let first = rig.script.waits().first().copied().flatten();
    assert_eq!(first, Some(std::time::Duration::ZERO));
}

#[test]
fn a_wait_that_fails_loses_nothing_and_is_over() {
    let rig = rig();
    rig.arm(5, "timer");
    rig.script.fail(io::ErrorKind::OutOfMemory.into());
    let failure = rig.event_loop.run().expect_err("the wait");
    assert_eq!(failure.kind(), Some(io::ErrorKind::OutOfMemory));
    // Nobody waits any more, so nobody is to be notified.
    assert!(rig.event_loop.push_remote(say("remote")).is_ok());
    assert!(!rig.script.take_calls().contains(&Call::Notify));
    assert_eq!(rig.run_dry(), ["remote", "timer"]);
}

#[test]
fn a_loop_that_runs_refuses_to_run_again_and_to_close() {
    for &kind in KINDS {
        let event_loop = real(kind);
        event_loop.push(call(|event_loop| {
            let failure = event_loop.run().expect_err("it runs already");
            let Failure::Io(error) = failure else {
                panic!("{failure:?}");
            };
            assert_eq!(error.to_string(), "the event loop is already running");
            let refused = event_loop.close().map_err(|error| error.kind());
            assert_eq!(refused, Err(io::ErrorKind::ResourceBusy));
            assert_eq!(event_loop.place(), Place::Inside);
            event_loop.stop();
        }));
        event_loop.run().expect("a run");
        assert_eq!(event_loop.place(), Place::Stopped);
    }
}

#[test]
fn a_closed_loop_refuses_to_run() {
    for &kind in KINDS {
        let event_loop = real(kind);
        event_loop.close().expect("closing");
        event_loop.close().expect("closing again");
        let failure = event_loop.run().expect_err("it is closed");
        let Failure::Io(error) = failure else {
            panic!("{failure:?}");
        };
        assert_eq!(error.to_string(), "the event loop is closed");
        assert!(event_loop.push_remote(say("late")).is_err());
    }
}

#[test]
fn stop_before_a_run_lets_it_go_round_once() {
    let rig = rig();
    rig.push(&["a"]);
    rig.event_loop
        .push(call(|event_loop| event_loop.push(say("b"))));
    assert_eq!(rig.tick(), ["a"]);
    // The flag is spent: the next run goes on until it is stopped or fails.
    assert_eq!(rig.run_dry(), ["b"]);
}
