//! What an operation costs in system calls of the driver's: a table, counted on the scripted driver, where it is exact.
//!
//! Reads and writes are the sockets' own and are counted with the Python loop (benches/gates). `polling` says when the driver is asked.

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use oneloop::engine::{Call, Direction, Event, Reactor, Token};

use crate::support::{Loop, Rig, call, rig, say, says};

const OPERATIONS: usize = 100;

/// The system calls of a run, without the poll that every run begins with.
fn cost(rig: &Rig) -> Vec<Call> {
    rig.event_loop.run().expect("a run");
    let made = rig.script.syscalls();
    let calls = rig.script.take_calls();
    assert_eq!(made, calls.len(), "none of these is two calls or none");
    assert_eq!(calls.first(), Some(&Call::Wait(Some(Duration::ZERO))));
    calls[1..].to_vec()
}

/// As [`cost`], of an entry that does this and then stops the loop, which has run a tick already.
fn cost_of(f: impl FnOnce(&Rc<Loop>) + Send + 'static) -> Vec<Call> {
    let rig = rig();
    rig.event_loop.push(call(move |event_loop| {
        f(event_loop);
        event_loop.push(call(|event_loop| event_loop.stop()));
    }));
    cost(&rig)
}

#[test]
fn timers_that_are_armed_and_cancelled_cost_nothing() {
    let calls = cost_of(|event_loop| {
        for number in 0..OPERATIONS {
            let deadline = event_loop
                .host()
                .monotonic_after(Duration::from_secs(number as u64 + 1));
            let timer = event_loop.arm(deadline, say("never"));
            assert!(event_loop.cancel(timer).is_some());
        }
    });
    assert_eq!(calls, []);
}

#[test]
fn timers_that_are_due_together_cost_one_wait() {
    let rig = rig();
    for _ in 0..OPERATIONS {
        rig.arm(10, "fired");
    }
    assert_eq!(rig.run_dry().len(), OPERATIONS);
    let waits = [Some(Duration::from_millis(10)), None];
    assert_eq!(rig.script.calls(), waits.map(Call::Wait));
}

#[test]
fn timers_that_follow_one_another_cost_a_wait_each() {
    let rig = rig();
    for number in 1..=OPERATIONS {
        rig.arm(number as u64, "fired");
    }
    assert_eq!(rig.run_dry().len(), OPERATIONS);
    assert_eq!(rig.script.syscalls(), OPERATIONS + 1);
}

#[test]
fn posts_by_the_loops_own_thread_cost_nothing() {
    let calls = cost_of(|event_loop| {
        for _ in 0..OPERATIONS {
            assert!(event_loop.push_remote(call(|_| {})).is_ok());
        }
    });
    assert_eq!(calls, []);
}

/// A user's descriptor: one call for a watch, one for its end, and a poll before anything else runs.
#[test]
fn a_watch_costs_a_call_and_so_does_its_end() {
    let calls = cost_of(|event_loop| {
        assert!(event_loop.watch(5, Direction::Read, says("io")).is_ok());
        assert!(event_loop.unwatch(5, Direction::Read).is_some());
    });
    assert!(
        matches!(
            calls[..],
            [
                Call::Add(5, ..),
                Call::Remove(5),
                Call::Wait(Some(Duration::ZERO))
            ]
        ),
        "{calls:?}"
    );
}

#[test]
fn the_second_direction_of_a_watch_is_a_change_and_not_a_new_one() {
    let calls = cost_of(|event_loop| {
        assert!(event_loop.watch(5, Direction::Read, says("io")).is_ok());
        assert!(event_loop.watch(5, Direction::Write, says("io")).is_ok());
        assert!(event_loop.unwatch(5, Direction::Write).is_some());
        assert!(event_loop.unwatch(5, Direction::Read).is_some());
    });
    assert!(
        matches!(
            calls[..4],
            [
                Call::Add(5, ..),
                Call::Modify(5, ..),
                Call::Modify(5, ..),
                Call::Remove(5)
            ]
        ),
        "{calls:?}"
    );
}

/// A socket of the loop's own: registered once, it costs nothing but the waits by which its events come.
#[test]
fn a_registered_socket_that_is_waited_for_again_and_again_costs_only_the_waits() {
    let rig = rig();
    let (ours, _theirs) = UnixStream::pair().expect("a pair");
    let token = rig
        .event_loop
        .register(ours.as_raw_fd())
        .expect("a registration");
    let registration = rig.script.take_calls();
    assert!(
        matches!(registration[..], [Call::Add(..)]),
        "{registration:?}"
    );
    for _ in 0..OPERATIONS {
        assert!(poll(&rig, token).is_pending());
        rig.script.deliver([readable(token)]);
        rig.event_loop.stop();
        rig.event_loop.run().expect("a tick");
        assert!(poll(&rig, token).is_ready());
        rig.event_loop.clear(token, Direction::Read);
    }
    let calls = rig.script.take_calls();
    assert_eq!(calls, vec![Call::Wait(Some(Duration::ZERO)); OPERATIONS]);
    rig.event_loop.release(token, ours.into());
    assert!(matches!(rig.script.calls()[..], [Call::Release(_)]));
}

fn poll(rig: &Rig, token: Token) -> Poll<std::io::Result<()>> {
    let mut context = Context::from_waker(Waker::noop());
    rig.event_loop
        .poll_ready(token, Direction::Read, &mut context)
}

fn readable(token: Token) -> Event {
    Event {
        token,
        readable: true,
        writable: false,
    }
}
