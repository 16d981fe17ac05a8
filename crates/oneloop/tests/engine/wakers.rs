//! Wakers of the host's own: their wake-ups are entries, in the one order of the queue and of their tick.

use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use oneloop::engine::{Direction, Reactor};

use crate::support::{KINDS, call, real, rig, say, says};

#[test]
fn a_wake_up_takes_its_turn_among_what_is_pushed() {
    let rig = rig();
    let waker = rig.event_loop.waker(|| say("woken"));
    rig.push(&["before"]);
    waker.wake_by_ref();
    rig.push(&["after"]);
    assert_eq!(rig.tick(), ["before", "woken", "after"]);
    waker.wake_by_ref();
    waker.wake();
    assert_eq!(rig.tick(), ["woken", "woken"]);
}

#[test]
fn what_readiness_wakes_runs_in_the_tick_that_found_it() {
    let rig = rig();
    let reactor: &dyn Reactor = &*rig.event_loop;
    let token = reactor.register(5).expect("a registration");
    let waker = rig.event_loop.waker(|| say("woken by 5"));
    let waits = reactor.poll_ready(token, Direction::Read, &mut Context::from_waker(&waker));
    assert!(waits.is_pending());
    assert!(
        rig.event_loop
            .watch(6, Direction::Read, says("watched 6"))
            .is_ok()
    );
    rig.script.deliver([rig.readable(5), rig.readable(6)]);
    rig.push(&["ready"]);
    assert_eq!(rig.tick(), ["ready", "woken by 5", "watched 6"]);

    reactor.clear(token, Direction::Read);
    let waits = reactor.poll_ready(token, Direction::Read, &mut Context::from_waker(&waker));
    assert!(matches!(waits, Poll::Pending));
    // With nothing pushed after it, too.
    rig.script.deliver([rig.readable(5)]);
    assert_eq!(rig.tick(), ["woken by 5"]);
}

#[test]
fn what_a_timer_wakes_runs_in_the_tick_in_which_it_is_due() {
    let rig = rig();
    rig.arm(0, "first");
    let reactor: &dyn Reactor = &*rig.event_loop;
    reactor.arm(rig.clock.now(), rig.event_loop.waker(|| say("second")));
    assert_eq!(rig.tick(), ["first", "second"]);
}

#[test]
fn a_wake_up_from_another_thread_ends_the_wait() {
    for &kind in KINDS {
        let event_loop = real(kind);
        let waker = event_loop.waker(|| call(|event_loop| event_loop.stop()));
        let waking = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            waker.wake();
        });
        event_loop.run().expect("the wake-up stops the run");
        waking.join().expect("the thread ends");
    }
}

#[test]
fn on_a_closed_loop_a_wake_up_does_nothing() {
    let rig = rig();
    let waker = rig.event_loop.waker(|| say("woken"));
    rig.event_loop.close().expect("the loop is stopped");
    waker.wake_by_ref();
    drop(rig);
    waker.wake();
}
