//! A watch for one event: the driver goes on knowing the descriptor, so waiting again is one system call; and whatever its owner does to
//! the number meanwhile, the next watch is of the file that has it then.

use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use oneloop::engine::{Call, Direction, Interest, Mode, Reactor};

use crate::support::{KINDS, Loop, call, real, rig, says};

const READ: Direction = Direction::Read;
const WRITE: Direction = Direction::Write;

#[test]
fn waiting_again_is_one_system_call() {
    let rig = rig();
    let mut calls = Vec::new();
    for _ in 0..2 {
        assert!(rig.event_loop.watch_once(5, READ, says("io")).is_ok());
        rig.script.deliver([rig.readable(5)]);
        assert_eq!(rig.tick(), ["io"]);
        assert!(rig.event_loop.park_if(5, READ, |_| true).is_some());
        assert!(rig.event_loop.watched(5, READ).is_none());
        calls.extend(rig.script.take_calls());
    }
    calls.retain(|call| !matches!(call, Call::Wait(_)));
    let token = rig.script.registered(5).expect("the driver knows it");
    assert_eq!(
        calls,
        [
            Call::Add(5, token, Interest::READABLE, Mode::OneShot),
            Call::Modify(5, token, Interest::READABLE, Mode::OneShot)
        ]
    );
}

#[test]
fn one_that_is_given_up_is_removed() {
    let rig = rig();
    assert!(rig.event_loop.watch_once(5, READ, says("io")).is_ok());
    assert!(rig.event_loop.unwatch(5, READ).is_some());
    assert_eq!(rig.script.calls().last(), Some(&Call::Remove(5)));
}

#[test]
fn the_other_direction_is_armed_again_after_an_event_of_one() {
    let rig = rig();
    assert!(rig.event_loop.watch_once(5, READ, says("read")).is_ok());
    assert!(rig.event_loop.watch_once(5, WRITE, says("write")).is_ok());
    rig.script.deliver([rig.readable(5)]);
    assert_eq!(rig.tick(), ["read"]);
    rig.script.take_calls();
    assert!(rig.event_loop.park_if(5, READ, |_| true).is_some());
    let token = rig.script.registered(5).expect("the driver knows it");
    let armed = Call::Modify(5, token, Interest::WRITABLE, Mode::OneShot);
    assert_eq!(rig.script.take_calls(), [armed]);
}

#[test]
fn beside_a_lasting_watch_both_are_level_triggered() {
    let rig = rig();
    assert!(rig.event_loop.watch(5, WRITE, says("write")).is_ok());
    assert!(rig.event_loop.watch_once(5, READ, says("read")).is_ok());
    assert!(rig.event_loop.park_if(5, READ, |_| true).is_some());
    let token = rig.script.registered(5).expect("the driver knows it");
    let calls = rig.script.take_calls();
    assert_eq!(
        calls[1..],
        [
            Call::Modify(5, token, Interest::BOTH, Mode::Level),
            Call::Modify(5, token, Interest::WRITABLE, Mode::Level)
        ]
    );
}

/// Runs for a moment, and answers what was said.
fn run(event_loop: &std::rc::Rc<Loop>) -> Vec<String> {
    let nap = event_loop.host().monotonic_after(Duration::from_millis(5));
    event_loop.arm(nap, call(|event_loop| event_loop.stop()));
    event_loop.run().expect("a run");
    event_loop.host().log.take()
}

/// A pair whose first descriptor was ready once and is parked, and has nothing to read any more.
fn parked(event_loop: &std::rc::Rc<Loop>) -> (UnixStream, UnixStream) {
    let (mut ours, mut theirs) = UnixStream::pair().expect("a pair");
    let fd = ours.as_raw_fd();
    assert!(event_loop.watch_once(fd, READ, says("first")).is_ok());
    theirs.write_all(b"x").expect("a byte");
    assert_eq!(run(event_loop), ["first"]);
    assert!(event_loop.park_if(fd, READ, |_| true).is_some());
    std::io::Read::read_exact(&mut ours, &mut [0]).expect("the byte");
    (ours, theirs)
}

/// Puts `file` under the number.
fn take_number(number: OwnedFd, file: &UnixStream) -> OwnedFd {
    let mut number = number;
    rustix::io::dup2(file, &mut number).expect("the number");
    number
}

fn wait_at(event_loop: &std::rc::Rc<Loop>, fd: RawFd) {
    assert!(event_loop.watch_once(fd, READ, says("ready")).is_ok());
}

#[test]
fn a_number_that_is_another_files_by_now_is_watched_as_that() {
    for &kind in KINDS {
        let event_loop = real(kind);
        let (ours, _theirs) = parked(&event_loop);
        let (other, mut its_peer) = UnixStream::pair().expect("a pair");
        let number = take_number(ours.into(), &other);
        wait_at(&event_loop, number.as_raw_fd());
        assert_eq!(run(&event_loop), Vec::<String>::new());
        its_peer.write_all(b"y").expect("a byte");
        assert_eq!(run(&event_loop), ["ready"]);
    }
}

#[test]
fn a_file_that_was_parked_and_comes_back_to_its_number_is_watched_again() {
    for &kind in KINDS {
        let event_loop = real(kind);
        let (ours, mut theirs) = parked(&event_loop);
        let duplicate = ours.try_clone().expect("a duplicate");
        let (other, _its_peer) = UnixStream::pair().expect("a pair");
        let number = take_number(ours.into(), &other);
        wait_at(&event_loop, number.as_raw_fd());
        assert!(event_loop.unwatch(number.as_raw_fd(), READ).is_some());
        let number = take_number(number, &duplicate);
        wait_at(&event_loop, number.as_raw_fd());
        theirs.write_all(b"y").expect("a byte");
        assert_eq!(run(&event_loop), ["ready"]);
    }
}

#[test]
fn a_file_that_outlives_its_parked_number_does_not_make_the_loop_spin() {
    for &kind in KINDS {
        let event_loop = real(kind);
        let (ours, mut theirs) = parked(&event_loop);
        let duplicate = ours.try_clone().expect("a duplicate");
        wait_at(&event_loop, ours.as_raw_fd());
        drop(ours);
        theirs.write_all(b"y").expect("a byte");
        // Whoever waited may be told, once: it looks for itself.
        run(&event_loop);
        let before = event_loop
            .host()
            .ticks
            .load(std::sync::atomic::Ordering::Relaxed);
        run(&event_loop);
        let after = event_loop
            .host()
            .ticks
            .load(std::sync::atomic::Ordering::Relaxed);
        assert!(
            after - before < 10,
            "{kind:?} went round {} times",
            after - before
        );
        drop(duplicate);
    }
}

#[test]
fn a_parked_descriptor_can_become_a_streams() {
    for &kind in KINDS {
        let event_loop = real(kind);
        let (ours, mut theirs) = parked(&event_loop);
        let reactor: &dyn Reactor = &*event_loop;
        let token = reactor.register(ours.as_raw_fd()).expect("registered");
        theirs.write_all(b"y").expect("a byte");
        assert_eq!(run(&event_loop), Vec::<String>::new());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let ready = reactor.poll_ready(token, READ, &mut context);
        assert!(ready.is_ready());
        reactor.release(token, ours.into());
    }
}
