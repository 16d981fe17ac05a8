//! `_core.Loop`: the loop's methods, each of which parses, calls and converts.
//!
//! `python/oneloop` adds what is cold and about coroutines or text, and makes it an `asyncio.AbstractEventLoop`. The state is the
//! engine's; here lie only what Python objects the loop refers to, running, closing and debug mode. Each part of the API has a file.

mod children;
mod names;
mod scheduling;
mod servers;
mod sockets;
mod transports;
mod watching;

pub(crate) use self::scheduling::add_methods;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use oneloop::engine::{Direction, Held, Kind, Place, TimerKey};
use pyo3::exceptions::PyOverflowError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::debug;
use crate::entry::{Entry, Request};
use crate::errors;
use crate::ffi::arguments::Rest;
use crate::ffi::{self, attached::Attached};
use crate::handle::{Callback, Handle};
use crate::host::{Engine, PyHost};
use crate::transport::Port;
use crate::{handle, run, watch};

/// An event loop that runs for Python.
///
/// Instances have a dictionary of their own kind, not the one that CPython gives to Python's classes: see `ffi::builtin::has_own_attribute`.
#[pyclass(frozen, subclass, dict, name = "Loop", module = "oneloop._core")]
pub(crate) struct Loop {
    state: Attached<State>,
    port: Arc<dyn Port>,
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

/// Has a loop forget a timer whose handle was cancelled.
pub(crate) fn disarm(event_loop: &Bound<'_, PyAny>, timer: TimerKey) {
    // The handles of our loops have nothing else for a loop.
    let Ok(event_loop) = event_loop.cast::<Loop>() else {
        return;
    };
    let engine = event_loop.get().engine_as_it_is(event_loop.py());
    // On another thread than the running loop's, the entry stays until its time has come: a cancelled handle does nothing.
    if engine.place() != Place::Outside {
        drop(engine.cancel(timer));
    }
}

impl Loop {
    fn engine<'a>(&'a self, py: Python<'a>) -> &'a Rc<Engine> {
        // Every method comes this way, and any of them may run Python code, in which the interpreter's exit may find the thread.
        ffi::exit::protect_thread();
        &self.state.get(py).engine
    }

    /// [`Loop::engine`] for the methods of `ffi::native_method`.
    #[inline]
    fn engine_as_it_is<'a>(&'a self, py: Python<'a>) -> &'a Rc<Engine> {
        &self.state.get(py).engine
    }

    fn task_factory<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let factory = self.state.get(py).task_factory.borrow();
        factory.as_ref().map(|factory| factory.bind(py).clone())
    }

    /// The engine, unless the loop is closed.
    fn open_engine<'a>(&'a self, py: Python<'a>) -> PyResult<&'a Rc<Engine>> {
        ffi::exit::protect_thread();
        self.prepared_engine(py)
    }

    /// [`Loop::open_engine`] for the methods of `ffi::native_method`, which has prepared the thread: they run for every callback.
    #[inline]
    fn prepared_engine<'a>(&'a self, py: Python<'a>) -> PyResult<&'a Rc<Engine>> {
        let engine = &self.state.get(py).engine;
        if engine.is_closed() {
            return Err(errors::closed());
        }
        Ok(engine)
    }

    /// Has a request performed: at once, or in the loop if another thread runs it, with no answer then. What it raises there goes to the
    /// exception handler.
    fn request(py: Python<'_>, engine: &Engine, request: Request) -> PyResult<Option<bool>> {
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

    /// What a handle is made of.
    fn callback<'a, 'py>(
        event_loop: &'a Bound<'py, Self>,
        engine: &Engine,
        callback: Bound<'py, PyAny>,
        args: &'a Bound<'py, PyTuple>,
        context: Option<Bound<'py, PyAny>>,
    ) -> Callback<'a, 'py> {
        Callback {
            event_loop: event_loop.as_any(),
            callback,
            args: Rest::of_tuple(args),
            context,
            debug: engine.host().debug.get(),
        }
    }

    fn watch<'py>(
        event_loop: &Bound<'py, Self>,
        direction: Direction,
        fd: &Bound<'py, PyAny>,
        callback: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
    ) -> PyResult<()> {
        let py = event_loop.py();
        let number = watch::number(fd)?;
        event_loop.get().ensure_number_free(&number, fd)?;
        let engine = event_loop.get().open_engine(py)?;
        let fd = watch::descriptor(&number)?;
        let handle = Handle::new(Self::callback(event_loop, engine, callback, &args, None))?;
        let request = Request::Watch(fd, direction, handle);
        Self::request(py, engine, request).map(drop)
    }

    /// From another thread than the running loop's, the removal is queued, and the answer is that it was.
    fn unwatch(
        event_loop: &Bound<'_, Self>,
        direction: Direction,
        fd: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let py = event_loop.py();
        let number = watch::number(fd)?;
        event_loop.get().ensure_number_free(&number, fd)?;
        let engine = event_loop.get().engine(py);
        if engine.is_closed() {
            return Ok(false);
        }
        let fd = match watch::descriptor(&number) {
            // Nothing has a number as large as that, so nothing watches it.
            Err(error) if error.is_instance_of::<PyOverflowError>(py) => return Ok(false),
            result => result?,
        };
        let removed = Self::request(py, engine, Request::Unwatch(fd, direction))?;
        Ok(removed.unwrap_or(true))
    }

    /// Appends an entry to the ready queue, through the inbox if the loop runs on another thread.
    #[inline(always)]
    fn queue(engine: &Engine, entry: Entry) -> PyResult<()> {
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
        handle::note_debug_mode(debug);
        let engine = Engine::new_cyclic(kind, |engine| PyHost::new(engine, debug))
            .map_err(|error| errors::from_io(py, error))?;
        let port = transports::LoopPort::new(py, &engine);
        Ok(Self {
            state: Attached::new(
                py,
                State {
                    engine,
                    task_factory: RefCell::new(None),
                },
            ),
            port: Arc::new(port),
        })
    }

    /// Accepts what a subclass passes on, as `__new__` does.
    #[pyo3(signature = (*_args, **_kwargs))]
    fn __init__(
        slf: &Bound<'_, Self>,
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) {
        // 3.12 makes one with the object, and calls the methods of an object without by a shorter way. 3.11 makes one too, and needs it.
        if cfg!(all(Py_3_12, not(Py_3_13))) {
            ffi::builtin::shed_empty_dict(slf.as_any());
        }
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
        self.open_engine(py).map(drop)
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

    /// Turn debug mode on or off.
    fn set_debug(slf: &Bound<'_, Self>, enabled: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let enabled = enabled.is_truthy()?;
        let engine = slf.get().engine(py);
        engine.host().debug.set(enabled);
        handle::note_debug_mode(enabled);
        if engine.host().is_running() {
            // The interpreter's setting belongs to the thread that runs the loop, and there to the next callback.
            let request = Entry::Request(Request::TrackOrigins(enabled));
            Self::queue(engine, request)?;
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
        let mut see = |object: &Py<PyAny>| {
            if result.is_ok() {
                result = visit.call(object);
            }
        };
        state.engine.visit(|held| match held {
            Held::Entry(entry) => entry.visit(&mut see),
            Held::Watch(watch) => watch.visit(&mut see),
        });
        state.engine.host().sleepers.visit(&mut see);
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
            state.engine.host().sleepers.clear();
        });
    }
}
