//! A drop may call any method of the loop, whenever it happens: that is what Python's `__del__` does.
//!
//! `Nasty` calls all of them when it is dropped, and leaves more of its kind behind in every place where the loop keeps something. If the
//! engine dropped one inside a cell, the second entry of the cell would panic; if it forgot one, the count would not come out even.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use oneloop::engine::{Direction, Held, Kind, Place, Reactor};
use oneloop::{Instant, Task};

use crate::support::{Entry, KINDS, Loop, Watch, call, real, rig, say, this_loop};

/// How many `Nasty` there are.
type Census = Arc<AtomicI64>;

struct Nasty {
    census: Census,
    /// How many generations of offspring it may leave: without a bound the loop would never be done with them.
    generations: u32,
    /// A descriptor to watch and unwatch.
    fd: i32,
}

impl Nasty {
    fn new(census: &Census, generations: u32, fd: i32) -> Self {
        census.fetch_add(1, Ordering::Relaxed);
        Self {
            census: Arc::clone(census),
            generations,
            fd,
        }
    }

    fn child(&self) -> Nasty {
        Nasty::new(&self.census, self.generations - 1, self.fd)
    }

    /// An entry that holds it, and drops it when it is run or dropped.
    fn entry(self) -> Entry {
        call(move |_| drop(self))
    }

    /// A watch that holds it, and drops it with its last clone.
    fn watch(self) -> Watch {
        let shared = Rc::new(self);
        Watch::new(move || {
            let _ = &shared;
            say("ready")
        })
    }

    /// A waker that holds it.
    fn waker(self) -> Waker {
        struct Holds(#[expect(dead_code, reason = "held to be dropped")] Nasty);
        impl Wake for Holds {
            fn wake(self: Arc<Self>) {}
        }
        Waker::from(Arc::new(Holds(self)))
    }
}

impl Drop for Nasty {
    fn drop(&mut self) {
        self.census.fetch_sub(1, Ordering::Relaxed);
        let Some(event_loop) = this_loop() else {
            return; // the loop itself is being dropped
        };
        call_everything(&event_loop, self);
    }
}

fn call_everything(event_loop: &Rc<Loop>, nasty: &Nasty) {
    let (fd, reactor): (i32, &dyn Reactor) = (nasty.fd, &**event_loop);
    let far = Instant::FAR_FUTURE;
    let _ = (
        event_loop.backend(),
        event_loop.host(),
        event_loop.is_closed(),
    );
    let _: Instant = reactor.now();
    let _ = (reactor.executor().live(), reactor.remote());
    reactor.remote().wake();
    let mut seen = 0;
    event_loop.visit(|held| match held {
        Held::Entry(_) | Held::Watch(_) => seen += 1,
    });
    let (place, closed) = (event_loop.place(), event_loop.is_closed());
    event_loop.stop();
    let ran = event_loop.run();
    assert_eq!(ran.is_ok(), place == Place::Stopped && !closed, "{ran:?}");
    if place == Place::Inside {
        assert!(event_loop.close().is_err());
    } else if closed {
        assert!(event_loop.close().is_ok());
    }
    let timer = event_loop.arm(far, say("never"));
    assert!(event_loop.cancel(timer).is_some());
    let timer = reactor.arm(far, Waker::noop().clone());
    reactor.cancel(timer);
    drop(event_loop.watched(fd, Direction::Read));
    drop(event_loop.unwatch(fd, Direction::Read));
    if let Ok((ours, _theirs)) = UnixStream::pair()
        && ours.set_nonblocking(true).is_ok()
        && let Ok(token) = reactor.register(ours.as_raw_fd())
    {
        let mut context = std::task::Context::from_waker(Waker::noop());
        let _ = reactor.poll_ready(token, Direction::Read, &mut context);
        let mut seat = None;
        let _ = reactor.poll_seated(token, Direction::Read, &mut seat, &mut context);
        if let Some(seat) = seat {
            reactor.leave(token, Direction::Read, seat);
        }
        drop(reactor.pool().run(|| {}));
        reactor.clear(token, Direction::Read);
        let _ = reactor.read(token, &mut [0; 8]);
        assert!(reactor.detach(token).is_ok());
        if let Ok(token) = reactor.register(ours.as_raw_fd()) {
            reactor.release(token, ours.into());
        }
    }
    if nasty.generations == 0 {
        return;
    }
    event_loop.push(nasty.child().entry());
    drop(event_loop.push_remote(nasty.child().entry()));
    event_loop.arm(Instant::from_nanos(0), nasty.child().entry());
    event_loop.arm(far, nasty.child().entry());
    // One that replaces another, which is dropped here, and one that stays.
    drop(event_loop.watch(fd, Direction::Read, nasty.child().watch()));
    drop(event_loop.watch(fd, Direction::Read, nasty.child().watch()));
    drop(event_loop.watch(-1, Direction::Read, nasty.child().watch()));
    reactor.arm(far, nasty.child().waker());
    let timer = reactor.arm(far, nasty.child().waker());
    reactor.cancel(timer);
    // Tasks need a running loop.
    if event_loop.place() == Place::Inside {
        let child = nasty.child();
        oneloop::spawn(async move { drop(child) }).detach();
        let child = nasty.child();
        let cancelled: Task<()> = oneloop::spawn(async move {
            let _child = child;
            std::future::pending().await
        });
        drop(cancelled);
    }
}

/// A loop, a census and a descriptor that can be watched.
fn places() -> impl Iterator<Item = (Rc<Loop>, Census, UnixStream, UnixStream)> {
    KINDS.iter().map(|&kind: &Kind| {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        (real(kind), Census::default(), ours, theirs)
    })
}

fn run_for_a_while(event_loop: &Rc<Loop>) {
    // Whatever offspring the nasty ones leave is ready at once or never, so a while is a number of ticks.
    for _ in 0..20 {
        event_loop.stop();
        event_loop.run().expect("a tick");
    }
}

fn close_and_count(event_loop: Rc<Loop>, census: &Census) {
    event_loop.close().expect("closing");
    drop(event_loop);
    assert_eq!(census.load(Ordering::Relaxed), 0, "each is dropped once");
}

#[test]
fn in_a_run() {
    for (event_loop, census, ours, _theirs) in places() {
        event_loop.push(Nasty::new(&census, 2, ours.as_raw_fd()).entry());
        event_loop.arm(
            Instant::from_nanos(0),
            Nasty::new(&census, 2, ours.as_raw_fd()).entry(),
        );
        run_for_a_while(&event_loop);
        close_and_count(event_loop, &census);
    }
}

#[test]
fn in_cancel() {
    for (event_loop, census, ours, _theirs) in places() {
        let nasty = || Nasty::new(&census, 2, ours.as_raw_fd());
        let timer = event_loop.arm(Instant::FAR_FUTURE, nasty().entry());
        drop(event_loop.cancel(timer));
        let reactor: &dyn Reactor = &*event_loop;
        let timer = reactor.arm(Instant::FAR_FUTURE, nasty().waker());
        reactor.cancel(timer);
        // A waker's timer that the host cancels, which its key does not forbid.
        let timer = reactor.arm(Instant::FAR_FUTURE, nasty().waker());
        assert!(event_loop.cancel(timer).is_none());
        close_and_count(event_loop, &census);
    }
}

#[test]
fn in_watch_and_unwatch() {
    for (event_loop, census, ours, _theirs) in places() {
        let fd = ours.as_raw_fd();
        let nasty = || Nasty::new(&census, 2, fd).watch();
        assert!(event_loop.watch(fd, Direction::Write, nasty()).is_ok());
        // Replaced, refused because it is closed, refused because Rust code has it.
        assert!(event_loop.watch(fd, Direction::Write, nasty()).is_ok());
        assert!(event_loop.watch(1 << 20, Direction::Read, nasty()).is_err());
        let (other, _peer) = UnixStream::pair().expect("a pair");
        let reactor: &dyn Reactor = &*event_loop;
        let token = reactor.register(other.as_raw_fd()).expect("registered");
        let refused = event_loop.watch(other.as_raw_fd(), Direction::Read, nasty());
        let kind = refused.map(drop).map_err(|error| error.kind());
        assert_eq!(kind, Err(io::ErrorKind::AlreadyExists));
        reactor.release(token, other.into());
        drop(event_loop.unwatch(fd, Direction::Write));
        close_and_count(event_loop, &census);
    }
}

#[test]
fn in_waiting_for_a_registered_descriptor() {
    for (event_loop, census, ours, _theirs) in places() {
        let reactor: &dyn Reactor = &*event_loop;
        let (other, _peer) = UnixStream::pair().expect("a pair");
        let token = reactor.register(other.as_raw_fd()).expect("registered");
        let mut seat = None;
        // More than are kept, and one after the other in the same seat.
        for _ in 0..20 {
            let waker = Nasty::new(&census, 1, ours.as_raw_fd()).waker();
            let mut context = std::task::Context::from_waker(&waker);
            let passing = reactor.poll_ready(token, Direction::Read, &mut context);
            let seated = reactor.poll_seated(token, Direction::Read, &mut seat, &mut context);
            assert!(passing.is_pending() && seated.is_pending());
        }
        reactor.leave(token, Direction::Read, seat.expect("a seat"));
        reactor.release(token, other.into());
        close_and_count(event_loop, &census);
    }
}

#[test]
fn while_the_loop_is_closed() {
    for (event_loop, census, ours, theirs) in places() {
        let nasty = || Nasty::new(&census, 2, ours.as_raw_fd());
        event_loop.push(nasty().entry());
        assert!(event_loop.push_remote(nasty().entry()).is_ok());
        event_loop.arm(Instant::FAR_FUTURE, nasty().entry());
        let fd = theirs.as_raw_fd();
        assert!(
            event_loop
                .watch(fd, Direction::Read, nasty().watch())
                .is_ok()
        );
        let reactor: &dyn Reactor = &*event_loop;
        reactor.arm(Instant::FAR_FUTURE, nasty().waker());
        // Futures: one that has begun and waits, one that has not begun, one whose drop spawns.
        let (begun, fresh) = (nasty(), nasty());
        event_loop.push(call(move |event_loop| {
            oneloop::spawn(async move {
                let _begun = begun;
                std::future::pending::<()>().await;
            })
            .detach();
            event_loop.push(call(move |_| {
                oneloop::spawn(async move { drop(fresh) }).detach();
            }));
        }));
        for _ in 0..2 {
            event_loop.stop();
            event_loop.run().expect("a tick");
        }
        event_loop.push(nasty().entry());
        close_and_count(event_loop, &census);
    }
}

#[test]
fn while_the_loop_is_dropped_unclosed() {
    for (event_loop, census, ours, _theirs) in places() {
        event_loop.push(Nasty::new(&census, 2, ours.as_raw_fd()).entry());
        event_loop.arm(
            Instant::FAR_FUTURE,
            Nasty::new(&census, 2, ours.as_raw_fd()).entry(),
        );
        drop(event_loop);
        assert_eq!(census.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn while_a_failed_run_leaves_the_rest() {
    for (event_loop, census, ours, _theirs) in places() {
        let nasty = || Nasty::new(&census, 2, ours.as_raw_fd());
        event_loop.push(nasty().entry());
        event_loop.push(crate::support::fail("between"));
        event_loop.push(nasty().entry());
        assert!(event_loop.run().is_err());
        run_for_a_while(&event_loop);
        close_and_count(event_loop, &census);
    }
}

#[test]
fn while_the_clock_is_read() {
    let rig = rig();
    let census = Census::default();
    let nasty = Nasty::new(&census, 2, 7);
    rig.event_loop.host().on_clock(move || drop(nasty));
    rig.event_loop
        .arm(rig.clock.now() + Duration::from_millis(1), say("timer"));
    rig.clock.advance(Duration::from_millis(1));
    run_for_a_while(&rig.event_loop);
    assert!(rig.log.take().contains(&"timer".to_owned()));
    close_and_count(rig.event_loop, &census);
}
