//! A native coroutine: what becomes of its work when it is stepped, thrown at, closed and given up.
//!
//! The work is out of its place while it is polled, so whatever Python does meanwhile finds a coroutine that runs, and no borrow.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::Poll;

use oneloop::engine::Place;
use pyo3::exceptions::{
    PyRuntimeError, PyRuntimeWarning, PyStopIteration, PyTypeError, PyValueError,
};
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::{Home, Turn, Work};
use crate::debug;
use crate::errors;
use crate::ffi::attached::Attached;
use crate::ffi::call;
use crate::ffi::coroutine::{Coroutine, Guise, Step};
use crate::ffi::raw_type::{Halt, Payload, Visit};
use crate::ffi::slot::Slot;
use crate::names;
use crate::sleepers::Sleeper;

/// Where a coroutine is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Nobody has awaited it.
    Created,
    /// Its work is being polled.
    Running,
    /// It waits.
    Suspended,
    /// It has returned, raised, or was closed.
    Finished,
}

impl State {
    /// By the names of `inspect.getcoroutinestate`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Created => "CORO_CREATED",
            Self::Running => "CORO_RUNNING",
            Self::Suspended => "CORO_SUSPENDED",
            Self::Finished => "CORO_CLOSED",
        }
    }
}

/// The payload of a coroutine.
#[repr(C)]
pub(super) struct Native {
    guise: Guise,
    pub(super) name: &'static str,
    pub(super) state: Cell<State>,
    /// Where it was created, in debug mode: `cr_origin`.
    pub(super) origin: Slot,
    event_loop: Slot,
    home: Attached<Weak<dyn Home>>,
    work: Attached<RefCell<Option<Box<dyn Work>>>>,
    sleeper: Cell<Option<Sleeper>>,
}

impl Native {
    pub(super) fn new(
        event_loop: &Bound<'_, PyAny>,
        home: Weak<dyn Home>,
        name: &'static str,
        work: Box<dyn Work>,
        is_debugging: bool,
    ) -> PyResult<Self> {
        let py = event_loop.py();
        let origin = match is_debugging {
            true => debug::origin(py)?,
            false => None,
        };
        Ok(Self {
            guise: Guise::new(),
            name,
            state: Cell::new(State::Created),
            origin: Slot::new(origin),
            event_loop: Slot::new(Some(event_loop.clone())),
            home: Attached::new(py, home),
            work: Attached::new(py, RefCell::new(Some(work))),
            sleeper: Cell::new(None),
        })
    }

    pub(super) fn qualified_name(&self) -> String {
        format!("Loop.{}", self.name)
    }

    /// Drops the work, and answers with the error to raise.
    pub(super) fn throw(&self, py: Python<'_>, error: PyErr) -> PyErr {
        match self.state.get() {
            State::Running => return already_executing(),
            State::Finished => return reused(),
            State::Created | State::Suspended => {}
        }
        self.end(py);
        error
    }

    /// Drops the work.
    ///
    /// # Errors
    /// `ValueError` if it is being polled.
    pub(super) fn close(&self, py: Python<'_>) -> PyResult<()> {
        if self.state.get() == State::Running {
            return Err(already_executing());
        }
        self.end(py);
        Ok(())
    }

    /// `<coroutine object …>`, as CPython's own.
    pub(super) fn repr<'py>(&self, object: &Bound<'py, PyAny>) -> Bound<'py, PyAny> {
        let text = format!(
            "<coroutine object {} at {:#x}>",
            self.qualified_name(),
            object.as_ptr() as usize
        );
        PyString::new(object.py(), &text).into_any()
    }

    /// Warns of a coroutine that nobody awaited, as CPython does for its own.
    pub(super) fn finalize(&self, object: &Bound<'_, PyAny>) {
        if self.state.get() != State::Created {
            return;
        }
        let py = object.py();
        let warned = names::warnings(py)
            .and_then(|warnings| warnings.getattr(names::_warn_unawaited_coroutine(py)))
            .and_then(|warn| warn.call1((object,)))
            .map(drop)
            .or_else(|error| {
                if error.is_instance_of::<PyRuntimeWarning>(py) {
                    return Err(error); // a filter made it an error
                }
                // The interpreter is going down, and with it that function.
                let message = format!("coroutine '{}' was never awaited", self.qualified_name());
                let message = std::ffi::CString::new(message).unwrap_or_default();
                PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), &message, 1)
            });
        if let Err(error) = warned {
            error.write_unraisable(py, Some(object));
        }
    }

    /// Polls the work once. What its task is to wait for, or the result.
    fn poll<'py>(&self, py: Python<'py>, work: &mut dyn Work) -> PyResult<Step<'py>> {
        let Some(home) = self.home(py) else {
            return Err(errors::closed());
        };
        if home.place() == Place::Outside {
            return Err(PyRuntimeError::new_err(format!(
                "coroutine '{}' belongs to an event loop that runs in another thread",
                self.qualified_name()
            )));
        }
        let turn = Turn {
            py,
            home: &*home,
            sleeper: &self.sleeper,
        };
        match work.poll(&turn) {
            Poll::Ready(result) => result.map(|value| Step::Returned(value.into_bound(py))),
            Poll::Pending => self.wait(&turn).map(Step::Yielded),
        }
    }

    /// The future that the task is to wait for, in the way in which asyncio's tasks expect to be given one.
    fn wait<'py>(&self, turn: &Turn<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let py = turn.py();
        let (sleeper, sleepers) = (turn.sleeper(), turn.home.sleepers());
        // Polled again though nothing woke it: then whoever waits already is to be woken with whoever polls.
        let present = match sleepers.future(py, sleeper) {
            Some(future) if !future.call_method0(names::done(py))?.is_truthy()? => Some(future),
            _ => None,
        };
        let future = match present {
            Some(future) => future,
            None => {
                let future = self.new_future(py)?;
                sleepers.sleep(sleeper, &future);
                future
            }
        };
        future.setattr(names::_asyncio_future_blocking(py), true)?;
        Ok(future)
    }

    fn new_future<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let Some(event_loop) = self.event_loop.get(py) else {
            return Err(errors::closed());
        };
        call::with_names(
            names::future_class(py)?,
            [&event_loop],
            names::loop_keyword(py)?,
        )
    }

    fn home(&self, py: Python<'_>) -> Option<Rc<dyn Home>> {
        self.home.get(py).upgrade()
    }

    /// Ends the coroutine, wherever it was.
    fn end(&self, py: Python<'_>) {
        self.state.set(State::Finished);
        let work = self.work.get(py).take();
        self.give_up(py, work);
    }

    /// Drops work where it belongs, and leaves the loop's table.
    fn give_up(&self, py: Python<'_>, work: Option<Box<dyn Work>>) {
        let sleeper = self.sleeper.take();
        match self.home(py) {
            Some(home) => {
                // The work first: it may be among those who wait, by its sleeper.
                if let Some(work) = work {
                    home.abandon(py, work);
                }
                if let Some(sleeper) = sleeper {
                    home.sleepers().leave(sleeper);
                }
            }
            None => drop(work),
        }
    }
}

impl Coroutine for Native {
    fn step<'py>(
        &self,
        object: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Step<'py>> {
        let py = object.py();
        match self.state.get() {
            State::Running => return Err(already_executing()),
            State::Finished => return Err(reused()),
            State::Created if !value.is_none() => {
                return Err(PyTypeError::new_err(
                    "can't send non-None value to a just-started coroutine",
                ));
            }
            State::Created | State::Suspended => {}
        }
        let Some(mut work) = self.work.get(py).take() else {
            return Err(reused());
        };
        let running = Running::begin(self);
        match self.poll(py, &mut *work) {
            Ok(Step::Yielded(future)) => {
                let before = self.work.get(py).replace(Some(work));
                running.suspend();
                drop(before);
                Ok(Step::Yielded(future))
            }
            result => {
                drop(running);
                self.give_up(py, Some(work));
                result.map_err(|error| not_a_result(py, error))
            }
        }
    }

    fn check_awaitable(&self) -> PyResult<()> {
        match self.state.get() {
            State::Suspended | State::Running => Err(PyRuntimeError::new_err(
                "coroutine is being awaited already",
            )),
            // A finished one says so when it is stepped, as CPython's own do.
            State::Created | State::Finished => Ok(()),
        }
    }
}

impl Payload for Native {
    fn traverse(&self, visit: &Visit<'_>) -> Result<(), Halt> {
        self.event_loop.traverse(visit)?;
        self.origin.traverse(visit)?;
        let Ok(work) = self.work.for_collector().try_borrow() else {
            return Ok(());
        };
        let mut result = Ok(());
        if let Some(work) = &*work {
            work.visit(&mut |object| {
                if result.is_ok() {
                    result = visit.object(object);
                }
            });
        }
        result
    }

    fn clear(&self, py: Python<'_>) {
        self.end(py);
        drop(self.event_loop.take(py));
        drop(self.origin.take(py));
    }
}

/// The duration of a poll. However it ends, the coroutine is over unless it was suspended.
struct Running<'a>(&'a Native);

impl<'a> Running<'a> {
    fn begin(native: &'a Native) -> Self {
        native.state.set(State::Running);
        Self(native)
    }

    fn suspend(self) {
        self.0.state.set(State::Suspended);
        std::mem::forget(self);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.state.set(State::Finished);
    }
}

/// A `StopIteration` that the work raised would be taken for its result.
pub(crate) fn not_a_result(py: Python<'_>, error: PyErr) -> PyErr {
    if !error.is_instance_of::<PyStopIteration>(py) {
        return error;
    }
    let refused = PyRuntimeError::new_err("coroutine raised StopIteration");
    refused.set_cause(py, Some(error));
    refused
}

#[cold]
pub(crate) fn already_executing() -> PyErr {
    PyValueError::new_err("coroutine already executing")
}

#[cold]
pub(crate) fn reused() -> PyErr {
    PyRuntimeError::new_err("cannot reuse already awaited coroutine")
}
