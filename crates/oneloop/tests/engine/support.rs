//! What the engine's tests share: a host whose clock the test moves, and a loop over the scripted driver.
//!
//! Nothing waits and nothing depends on the machine: time passes only as far as a wait would have blocked, and a loop that has nothing
//! left to do ends its run with `WouldBlock` instead of hanging.
#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use oneloop::Instant;
use oneloop::engine::{Driver, EventLoop, Host, Kind, Script, Scripted};

pub(crate) type Loop = EventLoop<TestHost>;

/// The drivers that this platform has.
pub(crate) const KINDS: &[Kind] = if cfg!(target_os = "linux") {
    &[Kind::Epoll, Kind::Portable]
} else {
    &[Kind::Portable]
};

type Callback = Box<dyn FnOnce(&Rc<Loop>) + Send>;

/// What the tests' loops run.
pub(crate) enum Entry {
    /// Says its name.
    Say(String),
    /// Says its name and ends the run.
    Fail(String),
    /// Calls back, with the loop at hand.
    Do(Callback),
}

pub(crate) fn say(name: impl Into<String>) -> Entry {
    Entry::Say(name.into())
}

pub(crate) fn fail(name: impl Into<String>) -> Entry {
    Entry::Fail(name.into())
}

pub(crate) fn call(f: impl FnOnce(&Rc<Loop>) + Send + 'static) -> Entry {
    Entry::Do(Box::new(f))
}

/// What ended a run.
#[derive(Debug)]
pub(crate) enum Failure {
    Io(io::Error),
    Entry(String),
    Clock,
    Signal,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Failure {
    pub(crate) fn kind(&self) -> Option<io::ErrorKind> {
        match self {
            Failure::Io(error) => Some(error.kind()),
            _ => None,
        }
    }
}

/// A clock that stands still unless it is told.
#[derive(Clone, Default)]
pub(crate) struct Clock(Arc<AtomicI64>);

impl Clock {
    pub(crate) fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_nanos()).expect("a test's time span");
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// Everything that entries said, in order.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn say(&self, name: impl Into<String>) {
        self.lock().push(name.into());
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

thread_local! {
    static LOOP: RefCell<Weak<Loop>> = RefCell::default();
}

/// The loop that this thread's test made last, if it still exists.
pub(crate) fn this_loop() -> Option<Rc<Loop>> {
    LOOP.try_with(|event_loop| event_loop.borrow().upgrade())
        .ok()
        .flatten()
}

/// The host of the tests. With no clock of its own it goes by the system's.
pub(crate) struct TestHost {
    pub(crate) clock: Option<Clock>,
    pub(crate) log: Log,
    /// How many times the clock is still read before it fails once.
    pub(crate) clock_fails_after: Cell<Option<u32>>,
    /// Called once, when the clock is read next.
    pub(crate) on_clock: RefCell<Option<Box<dyn FnOnce()>>>,
    /// What the host says of its clock.
    pub(crate) keeps_own_time: Cell<bool>,
    pub(crate) clock_reads: Cell<u32>,
    /// Whether the next look at the signals finds one.
    pub(crate) signal: Cell<bool>,
    pub(crate) ticks: AtomicU64,
    pub(crate) after_fork: Cell<u32>,
}

impl TestHost {
    pub(crate) fn new(clock: Option<Clock>) -> Self {
        Self {
            clock,
            log: Log::default(),
            clock_fails_after: Cell::new(None),
            on_clock: RefCell::default(),
            keeps_own_time: Cell::new(false),
            clock_reads: Cell::new(0),
            signal: Cell::new(false),
            ticks: AtomicU64::new(0),
            after_fork: Cell::new(0),
        }
    }

    pub(crate) fn monotonic_after(&self, time: Duration) -> Instant {
        self.monotonic() + time
    }

    pub(crate) fn on_clock(&self, call: impl FnOnce() + 'static) {
        self.on_clock.replace(Some(Box::new(call)));
    }
}

/// A watch that becomes an entry by this function, each time its descriptor is ready.
#[derive(Clone)]
pub(crate) struct Watch {
    entry: Rc<dyn Fn() -> Entry>,
    wants_polls: bool,
}

impl Watch {
    pub(crate) fn new(entry: impl Fn() -> Entry + 'static) -> Self {
        Self {
            entry: Rc::new(entry),
            wants_polls: true,
        }
    }

    /// The same, in no hurry.
    pub(crate) fn patient(self) -> Self {
        Self {
            wants_polls: false,
            ..self
        }
    }
}

/// A watch that says its name.
pub(crate) fn says(name: &'static str) -> Watch {
    Watch::new(move || say(name))
}

impl Host for TestHost {
    type Entry = Entry;
    type Watch = Watch;
    type Error = Failure;

    fn now(&self) -> Result<Instant, Failure> {
        self.clock_reads.set(self.clock_reads.get() + 1);
        match self.clock_fails_after.get() {
            Some(0) => {
                self.clock_fails_after.set(None);
                return Err(Failure::Clock);
            }
            left => self.clock_fails_after.set(left.map(|left| left - 1)),
        }
        let call = self.on_clock.take();
        if let Some(call) = call {
            call();
        }
        Ok(self.monotonic())
    }

    fn keeps_own_time(&self) -> bool {
        self.keeps_own_time.get()
    }

    fn monotonic(&self) -> Instant {
        match &self.clock {
            Some(clock) => clock.now(),
            None => oneloop::engine::monotonic(),
        }
    }

    fn run(&self, entry: Entry) -> Result<(), Failure> {
        match entry {
            Entry::Say(name) => self.log.say(name),
            Entry::Fail(name) => {
                self.log.say(name.clone());
                return Err(Failure::Entry(name));
            }
            Entry::Do(call) => call(&this_loop().expect("the loop runs, so it exists")),
        }
        Ok(())
    }

    fn readiness(&self, watch: Watch) -> Entry {
        (watch.entry)()
    }

    fn wants_polls(watch: &Watch) -> bool {
        watch.wants_polls
    }

    fn check_signals(&self) -> Result<(), Failure> {
        self.ticks.fetch_add(1, Ordering::Relaxed);
        if self.signal.take() {
            return Err(Failure::Signal);
        }
        Ok(())
    }

    fn after_fork(&self) {
        self.after_fork.set(self.after_fork.get() + 1);
    }
}

/// A loop on a real driver, by the system's clock.
pub(crate) fn real(kind: Kind) -> Rc<Loop> {
    adopt(Loop::new(kind, TestHost::new(None)).expect("a loop"))
}

/// Makes a loop the one that entries and drops on this thread find.
pub(crate) fn adopt(event_loop: Loop) -> Rc<Loop> {
    let event_loop = Rc::new(event_loop);
    adopt_shared(&event_loop);
    event_loop
}

pub(crate) fn adopt_shared(event_loop: &Rc<Loop>) {
    LOOP.set(Rc::downgrade(event_loop));
}

/// A loop on the scripted driver, by a manual clock that the driver's waits move.
pub(crate) struct Rig {
    pub(crate) event_loop: Rc<Loop>,
    pub(crate) script: Script,
    pub(crate) clock: Clock,
    pub(crate) log: Log,
}

pub(crate) fn rig() -> Rig {
    let (driver, script) = Scripted::new();
    let clock = Clock::default();
    let host = TestHost::new(Some(clock.clone()));
    let log = host.log.clone();
    let moved = clock.clone();
    script.on_elapse(move |time| moved.advance(time));
    let event_loop = adopt(Loop::with_driver(
        Driver::Scripted(driver),
        Kind::Best,
        host,
    ));
    Rig {
        event_loop,
        script,
        clock,
        log,
    }
}

impl Rig {
    pub(crate) fn push(&self, names: &[&str]) {
        for name in names {
            self.event_loop.push(say(*name));
        }
    }

    /// Arms a timer that says its name after `millis`.
    pub(crate) fn arm(&self, millis: u64, name: &str) -> oneloop::engine::TimerKey {
        let deadline = self.clock.now() + Duration::from_millis(millis);
        self.event_loop.arm(deadline, say(name))
    }

    /// One tick, and what was said in it.
    pub(crate) fn tick(&self) -> Vec<String> {
        self.event_loop.stop();
        self.event_loop.run().expect("a tick");
        self.log.take()
    }

    /// Runs until nothing is left to do, and returns what was said.
    pub(crate) fn run_dry(&self) -> Vec<String> {
        let failure = self.event_loop.run().expect_err("a run ends by failing");
        assert_eq!(
            failure.kind(),
            Some(io::ErrorKind::WouldBlock),
            "ended by {failure:?}"
        );
        self.log.take()
    }

    pub(crate) fn readable(&self, fd: i32) -> oneloop::engine::Event {
        oneloop::engine::Event {
            token: self.script.registered(fd).expect("a watched number"),
            readable: true,
            writable: false,
        }
    }
}
