//! `_core.Loop`: the loop's methods, each of which parses, calls and converts.
//!
//! `python/oneloop` adds what is cold and about coroutines or text, and makes it an `asyncio.AbstractEventLoop`. The state is the
//! engine's; here lie only what Python objects the loop refers to.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use oneloop::engine::{Direction, Held, Kind, Place, TimerKey, monotonic};
use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::clock;
use crate::debug;
use crate::entry::{Entry, Request};
use crate::errors;
use crate::ffi::call;
use crate::ffi::{self, attached::Attached};
use crate::handle::{Callback, Disarm, Handle, TimerHandle};
use crate::host::{Engine, PyHost};
use crate::names;
use crate::overrides::{self, Method};
use crate::{run, task, watch};

/// An event loop that runs for Python.
#[pyclass(frozen, subclass, name = "Loop", module = "oneloop._core")]
pub(crate) struct Loop {
    state: Attached<State>,
    disarm: Arc<dyn Disarm>,
}

struct State {
    engine: Rc<Engine>,
    task_factory: RefCell<Option<Py<PyAny>>>,
}

impl Drop for Loop {
    fn drop(&mut self) {
        // What goes with the state may run Python code: see `engine`.
        ffi::exit::protect_thread();
    }
}

/// Cancels timers for handles, which must not keep the loop's engine alive.
struct TimerCancellation(Attached<Weak<Engine>>);

impl Disarm for TimerCancellation {
    fn disarm(&self, py: Python<'_>, timer: TimerKey) {
        let Some(engine) = self.0.get(py).upgrade() else {
            return;
        };
        // On another thread than the running loop's, the entry stays until its time has come: a cancelled handle does nothing.
        if engine.place() != Place::Outside {
            drop(engine.cancel(timer));
        }
    }
}

impl Loop {
    fn engine<'a>(&'a self, py: Python<'a>) -> &'a Rc<Engine> {
        // Every method comes this way, and any of them may run Python code, in which the interpreter's exit may find the thread.
        ffi::exit::protect_thread();
        &self.state.get(py).engine
    }

    fn task_factory<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let factory = self.state.get(py).task_factory.borrow();
        factory.as_ref().map(|factory| factory.bind(py).clone())
    }

    /// Refuses a call on a closed loop.
    fn check_open(&self, py: Python<'_>) -> PyResult<()> {
        if self.engine(py).is_closed() {
            return Err(errors::closed());
        }
        Ok(())
    }

    /// Has a request performed: at once, or in the loop if another thread runs it, with no answer then. What it raises there goes to the
    /// exception handler.
    fn request(&self, py: Python<'_>, request: Request) -> PyResult<Option<bool>> {
        let engine = self.engine(py);
        if engine.place() != Place::Outside {
            return engine.host().perform(py, request).map(Some);
        }
        match engine.push_remote(Entry::Request(request)) {
            Ok(()) => Ok(None),
            Err(refused) => {
                drop(refused);
                Err(errors::closed())
            }
        }
    }

    fn callback<'a, 'py>(
        &self,
        event_loop: &'a Bound<'py, Self>,
        callback: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
        context: Option<Bound<'py, PyAny>>,
    ) -> Callback<'a, 'py> {
        Callback {
            event_loop: event_loop.as_any(),
            callback,
            args,
            context,
            debug: self.engine(event_loop.py()).host().debug.get(),
        }
    }

    fn watch<'py>(
        event_loop: &Bound<'py, Self>,
        direction: Direction,
        fd: &Bound<'py, PyAny>,
        callback: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
    ) -> PyResult<()> {
        let this = event_loop.get();
        let number = watch::number(fd)?;
        this.check_open(event_loop.py())?;
        let fd = watch::descriptor(&number)?;
        let handle = Handle::new(this.callback(event_loop, callback, args, None))?;
        this.request(event_loop.py(), Request::Watch(fd, direction, handle))
            .map(drop)
    }

    /// From another thread than the running loop's, the removal is queued, and the answer is that it was.
    fn unwatch(
        event_loop: &Bound<'_, Self>,
        direction: Direction,
        fd: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let py = event_loop.py();
        let number = watch::number(fd)?;
        if event_loop.get().engine(py).is_closed() {
            return Ok(false);
        }
        let fd = match watch::descriptor(&number) {
            // Nothing has a number as large as that, so nothing watches it.
            Err(error) if error.is_instance_of::<PyOverflowError>(py) => return Ok(false),
            result => result?,
        };
        let removed = event_loop
            .get()
            .request(py, Request::Unwatch(fd, direction))?;
        Ok(removed.unwrap_or(true))
    }

    /// Appends an entry to the ready queue, through the inbox if the loop runs on another thread.
    #[inline]
    fn queue(&self, py: Python<'_>, entry: Entry) -> PyResult<()> {
        let engine = self.engine(py);
        if engine.place() == Place::Outside {
            return engine.push_remote(entry).map_err(|refused| {
                drop(refused);
                errors::closed()
            });
        }
        engine.push(entry);
        Ok(())
    }
}

#[pymethods]
impl Loop {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(
        py: Python<'_>,
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        ffi::exit::protect_thread();
        let kind = Kind::from_env().map_err(|error| errors::from_io(py, error))?;
        let debug = debug::is_default(py)?;
        let engine = Engine::new_cyclic(kind, |engine| PyHost::new(engine, debug))
            .map_err(|error| errors::from_io(py, error))?;
        let cancellation = TimerCancellation(Attached::new(py, Rc::downgrade(&engine)));
        Ok(Self {
            state: Attached::new(
                py,
                State {
                    engine,
                    task_factory: RefCell::new(None),
                },
            ),
            disarm: Arc::new(cancellation),
        })
    }

    /// Run until stop() is called.
    fn run_forever(slf: &Bound<'_, Self>) -> PyResult<()> {
        run::run_forever(slf.as_any(), slf.get().engine(slf.py()))
    }

    /// Run until the future, or the task made of the coroutine, is done; return its result or raise its exception.
    fn run_until_complete<'py>(
        slf: &Bound<'py, Self>,
        future: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        run::run_until_complete(slf.as_any(), slf.get().engine(slf.py()), future)
    }

    /// Have the current run, or the next one, return at the end of its iteration.
    fn stop(&self, py: Python<'_>) {
        self.engine(py).stop();
    }

    /// Close the loop, which must not be running: drop what is scheduled and release every descriptor. Idempotent.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        run::close(py, self.engine(py))
    }

    /// Whether the loop is running.
    fn is_running(&self, py: Python<'_>) -> bool {
        self.engine(py).host().is_running()
    }

    /// Whether the loop was closed.
    fn is_closed(&self, py: Python<'_>) -> bool {
        self.engine(py).is_closed()
    }

    /// Raise RuntimeError if the loop was closed.
    fn _check_closed(&self, py: Python<'_>) -> PyResult<()> {
        self.check_open(py)
    }

    /// The identifier of the thread that runs the loop, or None.
    #[getter]
    fn _thread_id(&self, py: Python<'_>) -> Option<u64> {
        self.engine(py).host().thread_id.get()
    }

    /// The name of the driver: "epoll" or "portable".
    #[getter]
    fn backend(&self, py: Python<'_>) -> &'static str {
        self.engine(py).backend()
    }

    /// Schedule callback(*args) for the next iteration; return its Handle.
    #[pyo3(signature = (callback, *args, context=None))]
    fn call_soon<'py>(
        slf: &Bound<'py, Self>,
        callback: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
        context: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let this = slf.get();
        this.check_open(py)?;
        let host = this.engine(py).host();
        if host.debug.get() {
            debug::check_thread(py, host.thread_id.get())?;
            debug::check_callback(&callback, "call_soon")?;
        }
        let handle = Handle::new(this.callback(slf, callback, args, context))?;
        this.queue(py, Entry::Callback(handle.clone_ref(py)))?;
        Ok(handle.into())
    }

    /// Schedule callback(*args) from any thread; return its Handle.
    #[pyo3(signature = (callback, *args, context=None))]
    fn call_soon_threadsafe<'py>(
        slf: &Bound<'py, Self>,
        callback: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
        context: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let this = slf.get();
        this.check_open(py)?;
        if this.engine(py).host().debug.get() {
            debug::check_callback(&callback, "call_soon_threadsafe")?;
        }
        let handle = Handle::new_thread_safe(this.callback(slf, callback, args, context))?;
        this.queue(py, Entry::Callback(handle.clone_ref(py)))?;
        Ok(handle.into())
    }

    /// Schedule callback(*args) to be called after delay seconds; return its TimerHandle.
    #[pyo3(signature = (delay, callback, *args, context=None))]
    fn call_later<'py>(
        slf: &Bound<'py, Self>,
        delay: &Bound<'py, PyAny>,
        callback: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
        context: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        if delay.is_none() {
            return Err(PyTypeError::new_err("delay must not be None"));
        }
        let when = clock::after(slf.as_any(), delay)?;
        let Some(call_at) = overrides::find(slf.as_any(), Method::CallAt)? else {
            return Self::call_at(slf, when, callback, args, context)
                .map(|handle| handle.into_bound(py));
        };
        let mut all_args = vec![when, callback];
        all_args.extend(args.iter());
        let keywords = PyDict::new(py);
        keywords.set_item(names::context(py), context)?;
        call_at.call(PyTuple::new(py, all_args)?, Some(&keywords))
    }

    /// Schedule callback(*args) to be called when the loop's time reaches when, in seconds; return its TimerHandle.
    #[pyo3(signature = (when, callback, *args, context=None))]
    fn call_at<'py>(
        slf: &Bound<'py, Self>,
        when: Bound<'py, PyAny>,
        callback: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
        context: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        if when.is_none() {
            return Err(PyTypeError::new_err("when cannot be None"));
        }
        let this = slf.get();
        this.check_open(py)?;
        let host = this.engine(py).host();
        if host.debug.get() {
            debug::check_thread(py, host.thread_id.get())?;
            debug::check_callback(&callback, "call_at")?;
        }
        let deadline = clock::instant(&when)?;
        let what = this.callback(slf, callback, args, context);
        let timer = TimerHandle::new(when, what, Arc::clone(&this.disarm))?;
        this.request(py, Request::Arm(deadline, timer.clone_ref(py)))?;
        Ok(timer.into())
    }

    /// The loop's time in seconds: time.monotonic().
    fn time(&self) -> f64 {
        clock::seconds(monotonic())
    }

    /// Create a Future that belongs to the loop.
    fn create_future<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        call::with_names(
            names::future_class(py)?,
            [slf.as_any()],
            names::loop_keyword(py)?,
        )
    }

    /// Schedule a coroutine and return its Task. The keywords are those of the running interpreter's asyncio.
    #[pyo3(signature = (coro, **kwargs))]
    fn create_task<'py>(
        slf: &Bound<'py, Self>,
        coro: &Bound<'py, PyAny>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        task::create(slf.as_any(), coro, kwargs, || {
            let this = slf.get();
            this.check_open(slf.py())?;
            Ok(this.task_factory(slf.py()))
        })
    }

    /// Set the factory that create_task() uses: a callable (loop, coro, **kwargs) that returns a Future, or None for the default.
    fn set_task_factory(&self, py: Python<'_>, factory: Bound<'_, PyAny>) -> PyResult<()> {
        if !factory.is_none() && !factory.is_callable() {
            return Err(PyTypeError::new_err(
                "task factory must be a callable or None",
            ));
        }
        let factory = (!factory.is_none()).then(|| factory.unbind());
        let replaced = self.state.get(py).task_factory.replace(factory);
        drop(replaced);
        Ok(())
    }

    /// The task factory, or None.
    fn get_task_factory<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.task_factory(py)
    }

    /// Whether the loop is in debug mode.
    fn get_debug(&self, py: Python<'_>) -> bool {
        self.engine(py).host().debug.get()
    }

    /// Turn debug mode on or off.
    fn set_debug(slf: &Bound<'_, Self>, enabled: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let enabled = enabled.is_truthy()?;
        let host = slf.get().engine(py).host();
        host.debug.set(enabled);
        if host.is_running() {
            // The interpreter's setting belongs to the thread that runs the loop, and there to the next callback.
            let request = Entry::Request(Request::TrackOrigins(enabled));
            slf.get().queue(py, request)?;
        }
        Ok(())
    }

    /// In debug mode, a callback that takes this long, in seconds, or longer is logged.
    #[getter]
    fn slow_callback_duration(&self, py: Python<'_>) -> f64 {
        self.engine(py).host().slow_callback_duration.get()
    }

    #[setter]
    fn set_slow_callback_duration(&self, py: Python<'_>, seconds: f64) {
        self.engine(py).host().slow_callback_duration.set(seconds);
    }

    /// Call callback(*args) whenever fd, an int or an object with fileno(), is ready for reading.
    #[pyo3(signature = (fd, callback, *args))]
    fn add_reader<'py>(
        slf: &Bound<'py, Self>,
        fd: &Bound<'py, PyAny>,
        callback: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
    ) -> PyResult<()> {
        Self::watch(slf, Direction::Read, fd, callback, args)
    }

    /// Stop watching fd for reading; return whether it was watched.
    fn remove_reader(slf: &Bound<'_, Self>, fd: &Bound<'_, PyAny>) -> PyResult<bool> {
        Self::unwatch(slf, Direction::Read, fd)
    }

    /// Call callback(*args) whenever fd, an int or an object with fileno(), is ready for writing.
    #[pyo3(signature = (fd, callback, *args))]
    fn add_writer<'py>(
        slf: &Bound<'py, Self>,
        fd: &Bound<'py, PyAny>,
        callback: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
    ) -> PyResult<()> {
        Self::watch(slf, Direction::Write, fd, callback, args)
    }

    /// Stop watching fd for writing; return whether it was watched.
    fn remove_writer(slf: &Bound<'_, Self>, fd: &Bound<'_, PyAny>) -> PyResult<bool> {
        Self::unwatch(slf, Direction::Write, fd)
    }

    /// Call callback(*args) in the loop when the process receives the signal. Main thread only.
    #[pyo3(signature = (sig, callback, *args))]
    fn add_signal_handler<'py>(
        slf: &Bound<'py, Self>,
        sig: &Bound<'py, PyAny>,
        callback: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
    ) -> PyResult<()> {
        let py = slf.py();
        debug::refuse_coroutine(&callback, "add_signal_handler")?;
        let engine = slf.get().engine(py);
        let signals = &engine.host().signals;
        signals.add(engine, sig, || {
            slf.get().check_open(py)?;
            Handle::new(slf.get().callback(slf, callback, args, None))
        })
    }

    /// Remove a signal's handler and restore its default; return whether there was one.
    fn remove_signal_handler(&self, py: Python<'_>, sig: &Bound<'_, PyAny>) -> PyResult<bool> {
        let engine = self.engine(py);
        engine.host().signals.remove(py, engine, sig)
    }

    /// In debug mode, the handle whose callback runs.
    #[getter]
    fn _current_handle(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let handle = self.engine(py).host().current_handle(py);
        handle.map(Py::from)
    }

    /// The numbers of the signals that have a handler, for close().
    fn _handled_signals(&self, py: Python<'_>) -> Vec<i32> {
        self.engine(py).host().signals.handled()
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let state = self.state.for_collector();
        if let Ok(factory) = state.task_factory.try_borrow() {
            visit.call(&*factory)?;
        }
        let mut result = Ok(());
        state.engine.visit(|held| {
            let handle = match held {
                Held::Entry(entry) => entry.handle(),
                Held::Watch(watch) => watch.handle(),
            };
            if let Some(handle) = handle
                && result.is_ok()
            {
                result = visit.call(handle);
            }
        });
        result?;
        let signals = &state.engine.host().signals;
        signals.visit(|handle| visit.call(handle.as_any()))
    }

    fn __clear__(&self) {
        ffi::exit::protect_thread();
        Python::attach(|py| {
            let state = self.state.get(py);
            drop(state.task_factory.take());
            state.engine.host().signals.clear(py);
            // Only a loop that nobody can reach is cleared, so it does not run.
            let _ = state.engine.close();
        });
    }
}
