//! A transport's turn: what the loop runs of it, and what becomes of the errors.

use oneloop::engine::Direction;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::payload;
use super::stream::StreamTransport;
use crate::entry::Step;
use crate::errors;
use crate::ffi::call;
use crate::handle::{Callback, Handle};
use crate::names;

/// Runs a step of a transport in an entry of the loop.
///
/// # Errors
/// `SystemExit` and `KeyboardInterrupt`, and what the exception handler raises; everything else is reported there.
#[inline]
pub(crate) fn run(py: Python<'_>, transport: &Py<PyAny>, step: Step) -> PyResult<()> {
    let object = transport.bind(py);
    let Some(transport) = payload(object) else {
        return Ok(());
    };
    // The last step lets go of the loop.
    let event_loop = transport.event_loop.get(py);
    let result = match step {
        Step::Ready(Direction::Read, number) => transport.read_ready(object, number),
        Step::Ready(Direction::Write, number) => transport.write_ready(object, number),
        Step::Start => transport.start_reading(object),
        Step::Wake => transport.wake(py),
        Step::Lose => transport.lose_in_context(object),
    };
    match (result, event_loop) {
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
    let Some(transport) = payload(object) else {
        return Ok(());
    };
    let (port, fd) = (&*transport.port, transport.endpoint.number());
    transport.reader.settle(object, port, fd)?;
    transport.writer.settle(object, port, fd)
}

/// The handle that asyncio would have for a step: how it is named in reports and in the log.
///
/// # Errors
/// `MemoryError`.
#[cold]
pub(crate) fn handle(
    event_loop: &Bound<'_, PyAny>,
    transport: &Bound<'_, PyAny>,
    step: Step,
) -> PyResult<Handle> {
    let py = transport.py();
    let waiter = payload(transport).and_then(|transport| transport.waiter.get(py));
    let callback = match (step, waiter) {
        (Step::Wake, Some(waiter)) => waiter.getattr(names::set_result(py))?,
        (Step::Ready(Direction::Write, _), _) => transport.getattr(names::_write_ready(py))?,
        (Step::Lose, _) => transport.getattr(names::_call_connection_lost(py))?,
        _ => transport.getattr(names::_read_ready(py))?,
    };
    Handle::new(Callback {
        event_loop,
        callback,
        args: PyTuple::empty(py),
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

impl StreamTransport {
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
