//! Running: one iteration of the loop, as a short list of named steps.
//!
//! Compute the time-out; poll, or block if nothing is ready, or leave the poll for later; move the inbox to the ring; append the I/O events; read the clock once and
//! append the timers that are due; run what was in the ring at that point, and no more; check signals. So entries run in asyncio's order:
//! what was ready, then I/O, then timers. A tick that does without the poll delivers in its place what is known to be ready.

use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::current;
use crate::event_loop::{Due, EventLoop, Item, Place};
use crate::host::{Attendant, Host};
use crate::inbox::Parking;
use crate::instant::Instant;
use crate::ready::Ring;
use crate::registry::{Delivery, Ready};

/// With work ready, a poll may wait this long: it bounds how late I/O is seen while callbacks follow one another.
pub const POLL_INTERVAL: Duration = Duration::from_micros(100);

/// CPython's default switch interval: after this long without, the host's lock is released once so that other threads do not starve.
const BLOCK_INTERVAL: Duration = Duration::from_millis(5);

/// Why a run could not start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The loop is running, here or on another thread.
    Running,
    /// The loop is closed.
    Closed,
}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> Self {
        io::Error::other(match refusal {
            Refusal::Running => "the event loop is already running",
            Refusal::Closed => "the event loop is closed",
        })
    }
}

/// Whether this tick has asked the driver.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Polled {
    Yes,
    /// No, and it moves no timer either.
    No,
    /// No, but timers are due at this time, and nothing that they could overtake.
    TimersOnly(Instant),
}

impl<H: Host> EventLoop<H> {
    /// Runs until [`EventLoop::stop`], on this thread, which owns the loop until this returns.
    ///
    /// # Errors
    ///
    /// What an entry, the clock, a signal handler or the driver ended the run with. Nothing is lost: the rest of the batch is at the
    /// head of the ring, and the loop can run again. A [`Refusal`], as an `io::Error`, if the loop is running or closed.
    pub fn run(self: &Rc<Self>) -> Result<(), H::Error> {
        self.run_with(|entry| self.host.run(entry))
    }

    /// As [`EventLoop::run`], with `run_entry` in the place of [`Host::run`]: what it borrows need only outlive the run.
    ///
    /// # Errors
    ///
    /// As [`EventLoop::run`].
    pub fn run_with(
        self: &Rc<Self>,
        run_entry: impl FnMut(H::Entry) -> Result<(), H::Error>,
    ) -> Result<(), H::Error> {
        self.run_attended(Alone {
            host: &self.host,
            run_entry,
        })
    }

    /// As [`EventLoop::run`], with somebody who stands in for the host in what every tick asks.
    ///
    /// # Errors
    ///
    /// As [`EventLoop::run`].
    pub fn run_attended(self: &Rc<Self>, mut attendant: impl Attendant<H>) -> Result<(), H::Error> {
        if self.is_closed() {
            return Err(io::Error::from(Refusal::Closed).into());
        }
        self.renew_after_fork()?;
        if !self.claim() {
            return Err(io::Error::from(Refusal::Running).into());
        }
        let _run = Run::start(self);
        self.pacing.blocked_at.set(self.host.monotonic());
        // The first tick of a run polls whatever happens: nobody knows for how long the loop stood still.
        self.pacing.dirty.set(true);
        self.known.forget();
        // A signal that came before the host was ready to be woken by one would otherwise sleep through the first wait.
        self.host.check_signals()?;
        loop {
            self.tick(&mut attendant)?;
            if self.stopping.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
    }

    fn tick(&self, attendant: &mut impl Attendant<H>) -> Result<(), H::Error> {
        let polled = self.poll()?;
        if self.inbox.has_items() {
            self.drain_inbox();
        }
        match polled {
            Polled::Yes => {
                self.deliver_events();
                if !self.timers.with(|timers| timers.is_empty()) || self.host.keeps_own_time() {
                    self.expire_timers(self.host.now()?);
                }
            }
            Polled::TimersOnly(now) => self.expire_timers(attendant.now_at(now)?),
            Polled::No => self.deliver_known(),
        }
        // What the events and timers woke through the inbox: an entry's waker, that is.
        if polled != Polled::No && self.inbox.has_items() {
            self.drain_inbox();
        }
        self.run_snapshot(attendant)?;
        attendant.check_signals()
    }

    /// Asks the driver what is ready, and waits if nothing else is to be done.
    fn poll(&self) -> Result<Polled, H::Error> {
        // What other threads pushed is work like any other: with it at hand there is no need to park, nor always to poll.
        if self.inbox.has_items() {
            self.drain_inbox();
        }
        let now = self.host.monotonic();
        if let Some(skipped) = self.skip_poll(now) {
            return Ok(skipped);
        }
        self.renew_after_fork()?;
        let timeout = self.timeout(now)?;
        self.pacing.dirty.set(false);
        self.known.forget();
        if timeout == Some(Duration::ZERO) {
            let starving = now - self.pacing.blocked_at.get() >= BLOCK_INTERVAL;
            self.wait(timeout, starving)?;
            self.pacing.polled_at.set(now);
        } else {
            // Between this and the wait no other thread can push without waking the driver.
            let timeout = match self.inbox.park() {
                Parking::Parked => timeout,
                Parking::HasItems => Some(Duration::ZERO),
            };
            let result = self.wait(timeout, true);
            self.inbox.unpark();
            result?;
            self.pacing.polled_at.set(self.host.monotonic());
        }
        Ok(Polled::Yes)
    }

    /// How this tick does without a poll, if it can wait. A timer never overtakes I/O: one that is due asks for a poll, unless nothing is
    /// watched that it could overtake.
    #[inline]
    fn skip_poll(&self, now: Instant) -> Option<Polled> {
        let may_wait = (!self.pacing.dirty.get() || self.knows_all())
            && now - self.pacing.polled_at.get() < POLL_INTERVAL
            && !self.stopping.load(Ordering::Relaxed)
            && self.pacing.prompt_watches.get() == 0
            && !self.host.keeps_own_time();
        if !may_wait {
            return None;
        }
        if self.timers.with(|timers| timers.has_due(now)) {
            let is_free = self.pacing.ahead_of_timers.get() == 0;
            return is_free.then_some(Polled::TimersOnly(now));
        }
        let has_work = self.known.count() > 0 || !self.ready.with(|ready| ready.is_empty());
        has_work.then_some(Polled::No)
    }

    /// Whether every watch is known to be ready: then a poll could tell of nothing else, whatever was written.
    fn knows_all(&self) -> bool {
        let known = self.known.count();
        known > 0 && known == self.pacing.ahead_of_timers.get()
    }

    /// How long the driver may wait; `None` is for ever.
    fn timeout(&self, now: Instant) -> Result<Option<Duration>, H::Error> {
        let timeout = if self.has_work() {
            Some(Duration::ZERO)
        } else if let Some(deadline) = self.timers.with(|timers| timers.next_deadline()) {
            // What is due needs no second reading: the host is asked for its time before a timer fires.
            if deadline <= now && !self.host.keeps_own_time() {
                return Ok(Some(Duration::ZERO));
            }
            let timeout = deadline - self.host.now()?;
            // The clock may be Python code, which may have queued something.
            Some(if self.has_work() {
                Duration::ZERO
            } else {
                timeout
            })
        } else {
            None
        };
        Ok(timeout)
    }

    fn has_work(&self) -> bool {
        self.stopping.load(Ordering::Relaxed) || !self.ready.with(|ready| ready.is_empty())
    }

    /// Calls the driver, which is out of its cell meanwhile: other threads may come at the loop while the host's lock is released.
    fn wait(&self, timeout: Option<Duration>, release_host: bool) -> io::Result<()> {
        let Some(mut driver) = self.io.with(|io| io.driver.take()) else {
            return Err(io::Error::other("the event loop has lost its driver"));
        };
        let mut events = self.scratch.events.take();
        let result = if release_host {
            let result = self.host.block(|| driver.wait(&mut events, timeout));
            self.pacing.blocked_at.set(self.host.monotonic());
            result
        } else {
            driver.wait(&mut events, timeout)
        };
        self.io.with(|io| io.driver = Some(driver));
        self.scratch.events.with(|scratch| *scratch = events);
        result
    }

    /// Turns what is ready without a poll into entries, as [`deliver_events`](Self::deliver_events) does what a poll tells of.
    #[inline]
    fn deliver_known(&self) {
        while let Some((fd, direction)) = self.known.take() {
            if let Some(watch) = self.watched(fd, direction) {
                self.push_item(Item::Entry(self.host.readiness(watch)));
            }
        }
    }

    /// Turns the driver's events into entries.
    fn deliver_events(&self) {
        let mut events = self.scratch.events.take();
        if events.is_empty() {
            self.scratch.events.with(|scratch| *scratch = events);
            return;
        }
        let mut deliveries = self.scratch.deliveries.take();
        let stale = self.io.with(|io| {
            let mut stale = false;
            for event in events.drain(..) {
                stale |= io.registry.deliver(event, &mut deliveries) == Delivery::Stale;
            }
            stale
        });
        self.scratch.events.with(|scratch| *scratch = events);
        for ready in deliveries.drain(..) {
            match ready {
                Ready::Watch(watch) => self.push_item(Item::Entry(self.host.readiness(watch))),
                Ready::Wake(waker) => waker.wake(),
            }
        }
        self.scratch
            .deliveries
            .with(|scratch| *scratch = deliveries);
        if stale {
            // Events are delivered right after the wait that brought them, so a stale one is never a race inside a batch: the set
            // holds a file whose number was closed while a duplicate of it lives on, and a level-triggered set would spin on it.
            // Where a new set is refused (no descriptor left) the old one goes on, and the next such event tries again: to serve
            // everybody else while spinning is better than to end the run.
            let _ = self.rebuild_driver();
        }
    }

    /// Moves the timers that are due to the ring, in the order of their deadlines.
    fn expire_timers(&self, now: Instant) {
        while let Some(due) = self.timers.with(|timers| timers.pop_due(now)) {
            match due {
                Due::Entry(entry) => self.push_item(Item::Entry(entry)),
                Due::Wake(waker) => waker.wake(),
            }
        }
    }

    /// Runs the entries that are in the ring now. Those that they add wait for the next tick. An error leaves the rest in place.
    fn run_snapshot(&self, attendant: &mut impl Attendant<H>) -> Result<(), H::Error> {
        let count = self.ready.with(|ready| ready.len());
        for _ in 0..count {
            match self.ready.with(Ring::pop) {
                Some(Item::Entry(entry)) => attendant.run(entry)?,
                Some(Item::Step(step)) => {
                    // Whether the task woke itself during the poll: it is in the ring already then.
                    let _: bool = step.run();
                }
                Some(Item::Call(call)) => call(),
                None => break,
            }
        }
        Ok(())
    }
}

/// A host that runs alone but for how it runs an entry.
struct Alone<'a, H, F> {
    host: &'a H,
    run_entry: F,
}

impl<H: Host, F: FnMut(H::Entry) -> Result<(), H::Error>> Attendant<H> for Alone<'_, H, F> {
    fn host(&self) -> &H {
        self.host
    }

    #[inline]
    fn run(&mut self, entry: H::Entry) -> Result<(), H::Error> {
        (self.run_entry)(entry)
    }
}

/// The duration of a run: the loop is this thread's current one, and is given up however the run ends.
struct Run<'a, H: Host> {
    event_loop: &'a EventLoop<H>,
    _entered: current::Entered,
}

impl<'a, H: Host> Run<'a, H> {
    fn start(event_loop: &'a Rc<EventLoop<H>>) -> Self {
        debug_assert_eq!(event_loop.place(), Place::Inside);
        Self {
            event_loop,
            _entered: current::enter(Rc::clone(event_loop) as _),
        }
    }
}

impl<H: Host> Drop for Run<'_, H> {
    fn drop(&mut self) {
        // A stopped loop holds everything where a garbage collector can see it.
        self.event_loop.drain_inbox();
        self.event_loop.stopping.store(false, Ordering::Relaxed);
        self.event_loop.disclaim();
    }
}
