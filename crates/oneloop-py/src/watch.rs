//! `add_reader`, `add_writer` and their removal.

use std::os::fd::RawFd;

use oneloop::engine::{Direction, EventLoop};
use pyo3::exceptions::{PyAttributeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyInt;

use crate::entry::{RunsEntries, Watch};
use crate::errors;
use crate::handle::Handle;
use crate::names;

/// Watches one direction of a descriptor; follows `asyncio.loop.add_reader` and `add_writer`. For the loop's owner.
///
/// # Errors
/// `OSError` for a descriptor that is closed or cannot be polled.
pub(crate) fn add(
    py: Python<'_>,
    engine: &EventLoop<impl RunsEntries>,
    fd: RawFd,
    direction: Direction,
    handle: Handle,
) -> PyResult<()> {
    replace(py, engine, fd, direction, Watch::Callback(handle))
}

/// Watches one direction of a descriptor for whomever, in the place of whoever watched it before. For the loop's owner.
///
/// # Errors
/// As [`add`].
pub(crate) fn replace(
    py: Python<'_>,
    engine: &EventLoop<impl RunsEntries>,
    fd: RawFd,
    direction: Direction,
    watch: Watch,
) -> PyResult<()> {
    let replaced = engine
        .watch(fd, direction, watch)
        .map_err(|error| errors::from_io(py, error))?;
    cancel(py, replaced).map(drop)
}

/// Ends the watch on one direction of a descriptor and answers whether there was one; follows `asyncio.loop.remove_reader` and
/// `remove_writer`. For the loop's owner.
///
/// # Errors
/// In debug mode what the `repr` of the callback raises.
pub(crate) fn remove(
    py: Python<'_>,
    engine: &EventLoop<impl RunsEntries>,
    fd: RawFd,
    direction: Direction,
) -> PyResult<bool> {
    cancel(py, engine.unwatch(fd, direction))
}

/// Cancels the handle of a watch that has ended: it may be ready already and must not run. Answers whether there was a watch.
fn cancel(py: Python<'_>, watch: Option<Watch>) -> PyResult<bool> {
    match watch {
        Some(Watch::Callback(handle)) => handle.cancel(py).map(|()| true),
        Some(Watch::Listener(_) | Watch::Signals | Watch::Transport(..)) => Ok(true),
        None => Ok(false),
    }
}

/// The number behind an int or an object with `fileno()`.
///
/// # Errors
/// `ValueError` for an object without a descriptor, and what its `fileno()` raises.
pub(crate) fn number<'py>(fd: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    if fd.is_instance_of::<PyInt>() {
        Ok(fd.clone())
    } else {
        fileno(fd)
    }
}

/// The descriptor of that number.
///
/// # Errors
/// `ValueError` for a negative number, `OverflowError` for one that no descriptor has.
pub(crate) fn descriptor(number: &Bound<'_, PyAny>) -> PyResult<RawFd> {
    if number.lt(0)? {
        return Err(PyValueError::new_err(format!(
            "Invalid file descriptor: {}",
            number.str()?
        )));
    }
    number.extract()
}

fn fileno<'py>(file: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = file.py();
    let number = file
        .call_method0(names::fileno(py))
        .and_then(|number| py.get_type::<PyInt>().call1((number,)));
    number.map_err(|error| {
        if error.is_instance_of::<PyAttributeError>(py)
            || error.is_instance_of::<PyTypeError>(py)
            || error.is_instance_of::<PyValueError>(py)
        {
            match file.repr() {
                Ok(repr) => PyValueError::new_err(format!("Invalid file object: {repr}")),
                Err(error) => error,
            }
        } else {
            error
        }
    })
}
