//! An event for a descriptor that is no longer watched is recognised, never delivered, and makes the loop get rid of its source.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use oneloop::engine::{Call, Direction, Interest, Mode, Reactor};

use crate::support::{KINDS, call, real, rig, says};

#[test]
fn an_event_of_an_earlier_watch_of_the_number_is_dropped_and_the_set_is_made_anew() {
    let rig = rig();
    let watch = |fd, name| {
        assert!(
            rig.event_loop
                .watch(fd, Direction::Read, says(name))
                .is_ok()
        )
    };
    watch(5, "old");
    watch(6, "bystander");
    let stale = rig.readable(5);
    assert!(rig.event_loop.unwatch(5, Direction::Read).is_some());
    watch(5, "new");
    assert_ne!(rig.readable(5).token, stale.token);

    rig.script.take_calls();
    rig.script.deliver([stale, rig.readable(6)]);
    assert_eq!(rig.tick(), ["bystander"]);
    let add = |fd| {
        let token = rig.readable(fd).token;
        Call::Add(fd, token, Interest::READABLE, Mode::Level)
    };
    assert_eq!(
        rig.script.take_calls(),
        [
            Call::Wait(Some(Duration::ZERO)),
            Call::Abandon,
            add(5),
            add(6)
        ]
    );
    rig.script.deliver([rig.readable(5), rig.readable(6)]);
    assert_eq!(rig.tick(), ["new", "bystander"]);
}

#[test]
fn an_event_of_a_number_that_was_never_watched_is_dropped() {
    let rig = rig();
    assert!(rig.event_loop.watch(5, Direction::Read, says("io")).is_ok());
    let mut stranger = rig.readable(5);
    stranger.token.0 += 100;
    rig.script.deliver([stranger]);
    assert_eq!(rig.tick(), Vec::<String>::new());
    assert!(rig.script.calls().contains(&Call::Abandon));
}

#[test]
fn a_released_token_reaches_nobody() {
    let rig = rig();
    let reactor: &dyn Reactor = &*rig.event_loop;
    let (first, _peer) = UnixStream::pair().expect("a pair");
    let fd = first.as_raw_fd();
    let old = reactor.register(fd).expect("registered");
    reactor.release(old, first.into());
    // The number belongs to somebody else now: on the scripted driver it needs no file behind it.
    let new = reactor.register(fd).expect("registered again");
    assert_ne!(old, new);
    rig.script.feed(fd, b"secret");

    let gone = std::io::ErrorKind::NotConnected;
    let mut buffer = [0; 16];
    let read = reactor.read(old, &mut buffer).map_err(|error| error.kind());
    assert_eq!(read, Err(gone));
    let detached = reactor.detach(old).map_err(|error| error.kind());
    assert_eq!(detached, Err(gone));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let ready = reactor.poll_ready(old, Direction::Read, &mut context);
    assert!(matches!(ready, std::task::Poll::Ready(Err(error)) if error.kind() == gone));

    assert_eq!(reactor.read(new, &mut buffer).expect("bytes"), 6);
    assert_eq!(&buffer[..6], b"secret");
    assert_eq!(reactor.detach(new).expect("detached"), b"");
}

/// The descriptor is closed behind the loop's back while a duplicate keeps its file in the set. A level-triggered set reports it for ever,
/// under a token that means nothing any more.
#[test]
fn a_file_that_outlives_its_number_does_not_make_the_loop_spin() {
    for &kind in KINDS {
        let event_loop = real(kind);
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let duplicate = ours.try_clone().expect("a duplicate");
        let number = ours.as_raw_fd();
        let watched = event_loop.watch(number, Direction::Read, says("closed behind our back"));
        assert!(watched.is_ok());
        drop(ours);
        assert!(event_loop.unwatch(number, Direction::Read).is_some());
        theirs.write_all(b"x").expect("a byte");

        // The number is taken by another pair (the lowest free one is given out), which is silent.
        let (next, mut next_peer) = UnixStream::pair().expect("a pair");
        let reused = [next.as_raw_fd(), next_peer.as_raw_fd()].contains(&number);
        let watched = event_loop.watch(next.as_raw_fd(), Direction::Read, says("next"));
        assert!(watched.is_ok());

        let nap = event_loop.host().monotonic_after(Duration::from_millis(20));
        event_loop.arm(nap, call(|event_loop| event_loop.stop()));
        event_loop.run().expect("a run");
        assert_eq!(event_loop.host().log.take(), Vec::<String>::new());
        let ticks = event_loop.host().ticks.load(Ordering::Relaxed);
        assert!(ticks < 10, "{kind:?} went round {ticks} times in one nap");

        next_peer.write_all(b"y").expect("a byte");
        event_loop.stop();
        event_loop.run().expect("a tick");
        assert_eq!(event_loop.host().log.take(), ["next"], "reused: {reused}");
        drop(duplicate);
        assert_eq!(Rc::strong_count(&event_loop), 1);
    }
}
