//! `Host`: who an event loop runs for.
//!
//! The engine queues, orders and waits; what an entry *is*, what time it is and what may interrupt the loop is the host's business.
//! The Rust face has one host, the Python crate another, tests and simulation a third with a clock that they move by hand.

use std::io;

use crate::instant::{self, Instant};

/// Who an event loop runs for. Every method may call back into the loop: the engine holds no borrow across any of them.
pub trait Host: 'static {
    /// What the host has run: a callback, a task's step. Entries cross threads through the loop's inbox.
    type Entry: Send + 'static;

    /// What the host gets back when a descriptor that it watches is ready. Cloned for each event; `clone` must be no more than
    /// counting a reference.
    type Watch: Clone + 'static;

    /// What ends a run before `stop`: for Python an exception such as `KeyboardInterrupt`.
    type Error: From<io::Error>;

    /// The time on the loop's clock, by which its timers go.
    ///
    /// # Errors
    ///
    /// The host's clock may fail (an overridden `time()` that raises); the run then ends with this error and loses no entry.
    fn now(&self) -> Result<Instant, Self::Error>;

    /// Whether [`Host::now`] is another clock than [`Host::monotonic`]. It is then asked on every tick, as its owner may count on, and
    /// no poll is skipped: how long real time says the last one was ago means nothing to such a clock's timers.
    fn keeps_own_time(&self) -> bool {
        false
    }

    /// A clock that never fails and never goes back, for the engine's own budgets.
    fn monotonic(&self) -> Instant {
        instant::monotonic()
    }

    /// Runs one entry.
    ///
    /// # Errors
    ///
    /// Only what must end the run; what is left of the batch stays at the head of the ready ring.
    fn run(&self, entry: Self::Entry) -> Result<(), Self::Error>;

    /// Whether the loop asks its driver on every tick while this is watched, as asyncio's does, so that what the program itself makes
    /// readable is seen as soon as there. A watch that can wait for [`POLL_INTERVAL`](crate::engine::POLL_INTERVAL) says no.
    fn wants_polls(watch: &Self::Watch) -> bool {
        let _ = watch;
        true
    }

    /// Whether a timer that is due waits until the driver was asked for this watch, as asyncio's does, so that it never overtakes an event
    /// that was there before. A watch whose event makes nothing happen before the next tick says no.
    fn precedes_timers(watch: &Self::Watch) -> bool {
        let _ = watch;
        true
    }

    /// Turns a watch whose descriptor is ready into an entry.
    fn readiness(&self, watch: Self::Watch) -> Self::Entry;

    /// The descriptor of this watch was closed without a word, and its number is now that of a descriptor of ours. It is ready no more; an
    /// entry that was made of it may still be queued.
    fn superseded(&self, watch: Self::Watch) {
        drop(watch);
    }

    /// Calls `wait`, which blocks; a host with a global lock releases it meanwhile.
    fn block<R>(&self, wait: impl FnOnce() -> R) -> R {
        wait()
    }

    /// Runs the handlers of signals that have arrived.
    ///
    /// # Errors
    ///
    /// What a handler raised.
    fn check_signals(&self) -> Result<(), Self::Error> {
        Ok(())
    }

    /// The process is a forked child that goes on with a loop of its parent: renew what the two would share.
    fn after_fork(&self) {}
}

/// Who attends a run: stands in for the host in what every tick asks, with at hand what the host would have to fetch anew each time. What
/// it borrows need only outlive the run.
pub trait Attendant<H: Host> {
    /// The host of the loop that runs.
    fn host(&self) -> &H;

    /// As [`Host::run`].
    ///
    /// # Errors
    ///
    /// As there.
    fn run(&mut self, entry: H::Entry) -> Result<(), H::Error>;

    /// As [`Host::now`], for a caller who has read [`Host::monotonic`] this moment: a host whose clock that is need not read it again.
    ///
    /// # Errors
    ///
    /// As there.
    fn now_at(&mut self, monotonic: Instant) -> Result<Instant, H::Error> {
        let _ = monotonic;
        self.host().now()
    }

    /// As [`Host::check_signals`].
    ///
    /// # Errors
    ///
    /// As there.
    fn check_signals(&mut self) -> Result<(), H::Error> {
        self.host().check_signals()
    }
}
