//! `PyHost`: the engine's host for a Python loop.
//!
//! It runs entries in their context, blocks with the GIL released, lets CPython run its signal handlers, and reads an overridden
//! `time()`. All its state is reached with the GIL held (`ffi::attached`).

use std::cell::{Cell, RefCell};
use std::rc::Weak;

use oneloop::Instant;
use oneloop::engine::{Attendant, EventLoop, Host, monotonic};
use pyo3::prelude::*;

use crate::claims::Claims;
use crate::clock;
use crate::debug::{self, OriginTracking};
use crate::entry::{Entry, Request, RunsEntries, Step, Watch};
use crate::errors;
use crate::ffi;
use crate::ffi::bytes::Spare;
use crate::handle::Handle;
use crate::signals::Signals;
use crate::sleepers::Sleepers;
use crate::transport::Turns;
use crate::{server, transport, watch};

/// A Python loop's engine.
pub(crate) type Engine = EventLoop<PyHost>;

/// What the engine needs of a Python loop.
pub(crate) struct PyHost {
    engine: Weak<Engine>,
    /// The Python object, for as long as it runs: held only then, so that the loop and its engine make no cycle.
    running: RefCell<Option<Py<PyAny>>>,
    /// The running thread's identifier, as `threading.get_ident()`.
    pub(crate) thread_id: Cell<Option<u64>>,
    pub(crate) debug: Cell<bool>,
    /// The handle whose callback runs, in debug mode only: reports name where it was made.
    current: RefCell<Option<Handle>>,
    /// Seconds; see `asyncio.loop.slow_callback_duration`.
    pub(crate) slow_callback_duration: Cell<f64>,
    time_is_overridden: Cell<bool>,
    pub(crate) signals: Signals,
    pub(crate) origin_tracking: OriginTracking,
    /// Which transport has which descriptor.
    pub(crate) claims: Claims,
    pub(crate) sleepers: Sleepers,
    pub(crate) turns: Turns,
    /// What transports read into: one for all of them, since no Python runs while it is in use.
    pub(crate) read_buffer: Cell<Vec<u8>>,
    spare: Spare,
}

impl PyHost {
    pub(crate) fn new(engine: Weak<Engine>, debug: bool) -> Self {
        Self {
            engine,
            running: RefCell::new(None),
            thread_id: Cell::new(None),
            debug: Cell::new(debug),
            current: RefCell::new(None),
            slow_callback_duration: Cell::new(0.1),
            time_is_overridden: Cell::new(false),
            signals: Signals::default(),
            origin_tracking: OriginTracking::default(),
            claims: Claims::default(),
            sleepers: Sleepers::default(),
            turns: Turns::new(),
            read_buffer: Cell::default(),
            spare: Spare::default(),
        }
    }

    /// Whether the loop runs, on any thread.
    pub(crate) fn is_running(&self) -> bool {
        self.thread_id.get().is_some()
    }

    /// Sets the object whose loop runs, and returns the one before.
    pub(crate) fn set_running(&self, event_loop: Option<Py<PyAny>>) -> Option<Py<PyAny>> {
        self.running.replace(event_loop)
    }

    /// The object whose loop runs.
    pub(crate) fn running<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.running
            .borrow()
            .as_ref()
            .map(|event_loop| event_loop.bind(py).clone())
    }

    /// Finds out whether the loop's `time()` is overridden: when a run starts, and whenever its timers are looked at.
    ///
    /// # Errors
    /// What looking it up raises.
    pub(crate) fn look_at_clock<'py>(
        &self,
        event_loop: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let time = clock::overridden(event_loop)?;
        self.time_is_overridden.set(time.is_some());
        Ok(time)
    }

    /// The loop's time, which is `monotonic` as long as nobody has overridden it.
    fn time(
        &self,
        event_loop: &Bound<'_, PyAny>,
        monotonic: impl FnOnce() -> Instant,
    ) -> PyResult<Instant> {
        match self.look_at_clock(event_loop)? {
            Some(time) => clock::instant(&time.call0()?),
            None => Ok(monotonic()),
        }
    }

    #[inline]
    fn run_attached(&self, py: Python<'_>, entry: Entry) -> PyResult<()> {
        self.turns.begin();
        let result = self.run_entry(py, entry);
        self.turns.end(py, || self.others_wait());
        result
    }

    /// Whether anything else is ready to run.
    fn others_wait(&self) -> bool {
        self.engine
            .upgrade()
            .is_some_and(|engine| engine.has_ready())
    }

    #[inline]
    fn run_entry(&self, py: Python<'_>, entry: Entry) -> PyResult<()> {
        match entry {
            Entry::Callback(handle) => {
                let result = self.run_callback(py, &handle);
                handle.release(py);
                result
            }
            Entry::Call(call) => match self.debug.get() {
                false => {
                    let next = call.run(py, || self.running(py), || self.debug.get())?;
                    if let (Some(call), Some(engine)) = (next, self.engine.upgrade()) {
                        engine.push(Entry::Call(call));
                    }
                    Ok(())
                }
                // Debug mode was turned on since: it measures handles.
                true => match self.running(py) {
                    Some(event_loop) => self.run_callback(py, &call.into_handle(&event_loop)?),
                    None => Ok(()),
                },
            },
            Entry::Request(request) => {
                let result = self.perform(py, request).map(drop);
                self.reported(py, result, "Exception in a call from another thread")
            }
            Entry::Transport(object, step) => self.run_step(py, &object, step),
            Entry::Wake(sleeper) => {
                let result = self.sleepers.wake(py, sleeper);
                self.reported(py, result, "Exception in waking a coroutine")
            }
            Entry::Ready(waiters) => {
                let result = match self.engine.upgrade() {
                    Some(engine) => watch::ready(py, &engine, &waiters),
                    None => Ok(()),
                };
                self.reported(py, result, "Exception in waking a coroutine")?;
                match waiters.handle() {
                    Some(handle) => self.run_callback(py, handle),
                    None => Ok(()),
                }
            }
            Entry::Signals => match self.engine.upgrade() {
                Some(engine) => self.signals.dispatch(py, &engine),
                None => Ok(()),
            },
            Entry::Accept(listener) => match (self.engine.upgrade(), self.running(py)) {
                (Some(engine), Some(event_loop)) => {
                    server::accept(listener.bind(py), &event_loop, &engine)
                }
                _ => Ok(()),
            },
            Entry::Connect(listener, connection) => match self.running(py) {
                Some(event_loop) => server::connect(listener.bind(py), *connection, &event_loop),
                None => Ok(()),
            },
        }
    }

    /// Does what was requested, for the loop's owner. Answers whether there was a watch, if one was to end.
    ///
    /// # Errors
    /// Those of watching a descriptor, and of recording origins.
    pub(crate) fn perform(&self, py: Python<'_>, request: Request) -> PyResult<bool> {
        let Some(engine) = self.engine.upgrade() else {
            return Ok(false);
        };
        match request {
            Request::Arm(deadline, timer) => {
                let key = engine.arm(deadline, Entry::Callback(timer.to_handle(py)));
                timer.set_timer(py, Some(key));
                Ok(true)
            }
            Request::Watch(fd, direction, handle) => {
                watch::add(py, &engine, fd, direction, handle).map(|()| true)
            }
            Request::Unwatch(fd, direction) => watch::remove(py, &engine, fd, direction),
            Request::Settle(transport) => transport::settle(py, &transport).map(|()| true),
            Request::Listen(listener) => server::start(listener.bind(py), &engine).map(|()| true),
            Request::StopListening(listener) => {
                server::unwatch(listener.bind(py), &engine);
                Ok(true)
            }
            Request::TrackOrigins(enabled) => self.origin_tracking.set(py, enabled).map(|()| true),
            Request::Abandon(work) => {
                drop(work);
                Ok(true)
            }
        }
    }

    /// Tells the exception handler of a failure that no caller can be given.
    fn reported(&self, py: Python<'_>, result: PyResult<()>, message: &str) -> PyResult<()> {
        result.or_else(|error| match self.running(py) {
            Some(event_loop) => errors::report(&event_loop, message, error),
            None => Err(error),
        })
    }

    /// The handle whose callback runs, in debug mode.
    pub(crate) fn current_handle(&self, py: Python<'_>) -> Option<Handle> {
        self.current
            .borrow()
            .as_ref()
            .map(|handle| handle.clone_ref(py))
    }

    fn run_step(&self, py: Python<'_>, object: &Py<PyAny>, step: Step) -> PyResult<()> {
        if !self.debug.get() {
            return transport::run(py, object, step);
        }
        match self.running(py) {
            Some(event_loop) => debug::run_timed(
                &event_loop,
                self.slow_callback_duration.get(),
                || transport::run(py, object, step),
                || transport::handle(&event_loop, object.bind(py), step),
            ),
            None => transport::run(py, object, step),
        }
    }

    #[inline]
    fn run_callback(&self, py: Python<'_>, handle: &Handle) -> PyResult<()> {
        if !self.debug.get() || handle.is_cancelled(py) {
            return handle.run(py);
        }
        match self.running(py) {
            Some(event_loop) => {
                let outer = self.current.replace(Some(handle.clone_ref(py)));
                let slow = self.slow_callback_duration.get();
                let run = || handle.run(py);
                let result = debug::run_timed(&event_loop, slow, run, || Ok(handle.clone_ref(py)));
                drop(self.current.replace(outer));
                result
            }
            None => handle.run(py),
        }
    }
}

/// The thread that runs the loop. Its proof of attachment is at hand: asking for a new one at each turn would cost more than queueing an
/// entry.
pub(crate) struct Runner<'a, 'py> {
    pub(crate) host: &'a PyHost,
    pub(crate) event_loop: &'a Bound<'py, PyAny>,
}

impl Attendant<PyHost> for Runner<'_, '_> {
    fn host(&self) -> &PyHost {
        self.host
    }

    #[inline]
    fn run(&mut self, entry: Entry) -> PyResult<()> {
        self.host.run_attached(self.event_loop.py(), entry)
    }

    #[inline]
    fn now_at(&mut self, read: Instant) -> PyResult<Instant> {
        self.host.time(self.event_loop, || read)
    }

    #[inline]
    fn check_signals(&mut self) -> PyResult<()> {
        let py = self.event_loop.py();
        self.host.turns.settle(py, || self.host.others_wait());
        ffi::thread::check_signals(py)
    }
}

impl RunsEntries for PyHost {
    fn sleepers(&self) -> &Sleepers {
        &self.sleepers
    }

    fn claims(&self) -> &Claims {
        &self.claims
    }

    fn spare(&self) -> &Spare {
        &self.spare
    }

    fn is_debugging(&self) -> bool {
        self.debug.get()
    }
}

impl Host for PyHost {
    type Entry = Entry;
    type Watch = Watch;
    type Error = PyErr;

    fn now(&self) -> PyResult<Instant> {
        Python::attach(|py| match self.running(py) {
            Some(event_loop) => self.time(&event_loop, monotonic),
            None => Ok(monotonic()),
        })
    }

    fn keeps_own_time(&self) -> bool {
        self.time_is_overridden.get()
    }

    fn run(&self, entry: Entry) -> PyResult<()> {
        Python::attach(|py| self.run_attached(py, entry))
    }

    fn wants_polls(watch: &Watch) -> bool {
        matches!(watch, Watch::Callback(_) | Watch::Waiters(_))
    }

    /// asyncio too runs a signal's handler one iteration after it saw the signal, behind the timers that were due then.
    fn precedes_timers(watch: &Watch) -> bool {
        !matches!(watch, Watch::Signals)
    }

    fn readiness(&self, watch: Watch) -> Entry {
        watch.into()
    }

    fn superseded(&self, watch: Watch) {
        let Some(engine) = self.engine.upgrade() else {
            return;
        };
        Python::attach(|py| {
            let result = watch::superseded(py, &engine, watch);
            // An exception that has to end the run comes at the wrong place here: it is shown and not kept.
            if let Err(error) = self.reported(py, result, "Exception in ending a watch") {
                error.write_unraisable(py, None);
            }
        });
    }

    fn block<R>(&self, wait: impl FnOnce() -> R) -> R {
        Python::attach(|py| ffi::thread::detach(py, wait))
    }

    fn check_signals(&self) -> PyResult<()> {
        Python::attach(ffi::thread::check_signals)
    }

    fn after_fork(&self) {
        if let Some(engine) = self.engine.upgrade() {
            Python::attach(|py| self.signals.renew_after_fork(py, &engine));
        }
    }
}
