//! A transport's turn: what the loop runs of it, and what becomes of the errors.

use oneloop::engine::Direction;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::base::Transport;
use super::kind::Kind;
use super::transport_of;
use crate::entry::Step;
use crate::errors;
use crate::ffi::arguments::Rest;
use crate::ffi::call;
use crate::ffi::context::Entered;
use crate::handle::{Callback, Handle};
use crate::names;

/// A transport of whatever kind, as the loop knows it.
pub(super) trait Turn {
    /// Runs a step.
    ///
    /// # Errors
    /// What the protocol raises, and what ends the run.
    fn run(&self, object: &Bound<'_, PyAny>, step: Step) -> PyResult<()>;

    /// Has the loop's watches follow what the transport wants.
    ///
    /// # Errors
    /// `OSError` for a descriptor that cannot be watched.
    fn settle(&self, object: &Bound<'_, PyAny>) -> PyResult<()>;

    /// The loop, until the protocol was told of the end.
    fn event_loop<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>>;

    /// Who waits for the connection.
    fn waiter<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>>;

    /// As [`Kind::write_ready`].
    fn write_ready<'py>(&self, py: Python<'py>) -> &'py Bound<'py, PyString>;
}

/// Runs a step of a transport in an entry of the loop.
///
/// # Errors
/// `SystemExit` and `KeyboardInterrupt`, and what the exception handler raises; everything else is reported there.
#[inline]
pub(crate) fn run(py: Python<'_>, transport: &Py<PyAny>, step: Step) -> PyResult<()> {
    let object = transport.bind(py);
    let Some(transport) = transport_of(object) else {
        return Ok(());
    };
    // The last step lets go of the loop.
    let event_loop = transport.event_loop(py);
    match (transport.run(object, step), event_loop) {
        (Err(error), Some(event_loop)) => report(object, &event_loop, step, error),
        (result, _) => result,
    }
}

/// Has the loop's watches follow what a transport wants: asked for by another thread.
///
/// # Errors
/// `OSError` for a descriptor that cannot be watched.
pub(crate) fn settle(py: Python<'_>, transport: &Py<PyAny>) -> PyResult<()> {
    let object = transport.bind(py);
    match transport_of(object) {
        Some(transport) => transport.settle(object),
        None => Ok(()),
    }
}

/// The handle that asyncio would have for a step: how it is named in reports and in the log.
///
/// # Errors
/// `MemoryError`.
#[cold]
pub(crate) fn handle(
    event_loop: &Bound<'_, PyAny>,
    object: &Bound<'_, PyAny>,
    step: Step,
) -> PyResult<Handle> {
    let py = object.py();
    let transport = transport_of(object);
    let waiter = transport.and_then(|transport| transport.waiter(py));
    let callback = match (step, waiter) {
        (Step::Wake, Some(waiter)) => waiter.getattr(names::set_result(py))?,
        (Step::Ready(Direction::Write, _), _) => {
            let name = transport.map_or(names::_write_ready(py), |it| it.write_ready(py));
            object.getattr(name)?
        }
        (Step::Lose, _) => object.getattr(names::_call_connection_lost(py))?,
        _ => object.getattr(names::_read_ready(py))?,
    };
    Handle::new(Callback {
        event_loop,
        callback,
        args: Rest::none(py),
        context: None,
        debug: false,
    })
}

/// Hands an error of a step to the exception handler, as a handle does for its callback.
#[cold]
fn report(
    object: &Bound<'_, PyAny>,
    event_loop: &Bound<'_, PyAny>,
    step: Step,
    error: PyErr,
) -> PyResult<()> {
    if errors::ends_run(object.py(), &error) {
        return Err(error);
    }
    handle(event_loop, object, step)?.report(object.py(), error)
}

impl<K: Kind> Turn for Transport<K> {
    #[inline]
    fn run(&self, object: &Bound<'_, PyAny>, step: Step) -> PyResult<()> {
        match step {
            Step::Ready(direction, number) => self.ready(object, direction, number),
            Step::Start => self.start_reading(object),
            Step::Wake => self.wake(object.py()),
            Step::Lose => self.lose_in_context(object),
        }
    }

    fn settle(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let (port, fd) = (&*self.port, self.endpoint.number());
        self.reader.settle(object, port, fd)?;
        self.writer.settle(object, port, fd)
    }

    fn event_loop<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.event_loop.get(py)
    }

    fn waiter<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.waiter.get(py)
    }

    fn write_ready<'py>(&self, py: Python<'py>) -> &'py Bound<'py, PyString> {
        K::write_ready(py)
    }
}

impl<K: Kind> Transport<K> {
    /// The descriptor is ready, says the watch of that number.
    #[inline]
    fn ready(&self, object: &Bound<'_, PyAny>, direction: Direction, number: u32) -> PyResult<()> {
        let watcher = match direction {
            Direction::Read => &self.reader,
            Direction::Write => &self.writer,
        };
        let Some(context) = watcher.context_of(object.py(), number) else {
            return Ok(());
        };
        let _entered = Entered::new(&context)?;
        match direction {
            Direction::Read => K::read(self, object),
            Direction::Write => K::flush(self, object),
        }
    }

    /// Tells whoever waits for the connection that it is made.
    fn wake(&self, py: Python<'_>) -> PyResult<()> {
        let Some(waiter) = self.waiter.get(py) else {
            return Ok(());
        };
        if !call::method(names::cancelled(py), [&waiter])?.is_truthy()? {
            let none = py.None().into_bound(py);
            call::method(names::set_result(py), [&waiter, &none])?;
        }
        drop(self.waiter.take(py));
        Ok(())
    }
}
