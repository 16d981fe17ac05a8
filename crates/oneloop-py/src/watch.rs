//! Watched descriptors of the user's: `add_reader`, `add_writer` and their removal, and the waiting of native coroutines.
//!
//! In one direction asyncio has one watch for both: a coroutine that waits ends the callback that was added before, and a callback that is
//! added later stays. Here coroutines that wait go on waiting beside it (`waiters`).
//!
//! A coroutine's watch lasts from when it begins to wait until the descriptor is ready, once. What stays behind in the driver says nothing
//! any more: the descriptor's owner may close it at any time, without telling us, and the engine looks again with the next wait.

use std::os::fd::RawFd;

use oneloop::engine::{Direction, EventLoop};
use pyo3::exceptions::{PyAttributeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyInt;

use crate::entry::{RunsEntries, Watch};
use crate::errors;
use crate::handle::Handle;
use crate::names;
use crate::sleepers::Sleeper;
use crate::waiters::Waiters;

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
    let watch = Watch::Callback(handle.clone_ref(py));
    let replaced = put(py, engine, fd, direction, watch)?;
    if let Some(Watch::Waiters(waiters)) = &replaced {
        let sleepers = waiters.take(py);
        if !sleepers.is_empty() {
            let both = Waiters::new(py, fd, direction, sleepers, Some(handle));
            if let Err(error) = put(py, engine, fd, direction, Watch::Waiters(both.clone())) {
                wake(py, engine, &both)?;
                return Err(error);
            }
        }
    }
    end(py, engine, replaced).map(drop)
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
    let replaced = put(py, engine, fd, direction, watch)?;
    end(py, engine, replaced).map(drop)
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
    end(py, engine, engine.unwatch(fd, direction))
}

/// Ends a watch whose descriptor was closed without a word, and whose number another descriptor of the loop has.
///
/// # Errors
/// Those of scheduling the tasks of coroutines that waited, and in debug mode what the `repr` of the callback raises.
pub(crate) fn superseded(
    py: Python<'_>,
    engine: &EventLoop<impl RunsEntries>,
    watch: Watch,
) -> PyResult<()> {
    end(py, engine, Some(watch)).map(drop)
}

/// Has a coroutine woken, once, when a descriptor is ready. For the loop's owner.
///
/// # Errors
/// `OSError` for a descriptor that is closed or cannot be polled.
pub(crate) fn wait(
    py: Python<'_>,
    engine: &EventLoop<impl RunsEntries>,
    fd: RawFd,
    direction: Direction,
    sleeper: Sleeper,
) -> PyResult<()> {
    let waiters = match engine.watched(fd, direction) {
        Some(Watch::Waiters(present)) => {
            present.add(py, sleeper);
            present
        }
        _ => Waiters::new(py, fd, direction, vec![sleeper], None),
    };
    let watch = Watch::Waiters(waiters.clone());
    // Also if there is one already: the number may have been closed and reused since, which the engine finds out.
    let put = match waiters.handle() {
        Some(_) => engine.watch(fd, direction, watch),
        None => engine.watch_once(fd, direction, watch),
    };
    match put.map_err(|error| errors::from_io(py, error)) {
        Ok(Some(Watch::Waiters(_)) | None) => Ok(()),
        Ok(replaced) => end(py, engine, replaced).map(drop),
        Err(error) => {
            let _ = waiters.remove(py, sleeper);
            Err(error)
        }
    }
}

/// Ends a coroutine's wait before its time. For the loop's owner.
pub(crate) fn leave(
    py: Python<'_>,
    engine: &EventLoop<impl RunsEntries>,
    fd: RawFd,
    direction: Direction,
    sleeper: Sleeper,
) {
    // Whoever else may have the number by now keeps it.
    if let Some(Watch::Waiters(waiters)) = engine.watched(fd, direction)
        && waiters.remove(py, sleeper)
    {
        drop(engine.unwatch(fd, direction));
    }
}

/// Wakes the coroutines that wait for a descriptor, which is about to be closed: they will find that out. For the loop's owner.
///
/// # Errors
/// Those of scheduling their tasks.
pub(crate) fn end_waits(
    py: Python<'_>,
    engine: &EventLoop<impl RunsEntries>,
    fd: RawFd,
) -> PyResult<()> {
    for direction in [Direction::Read, Direction::Write] {
        if let Some(Watch::Waiters(_)) = engine.watched(fd, direction) {
            remove(py, engine, fd, direction)?;
        }
    }
    Ok(())
}

/// Wakes the coroutines that wait for a descriptor, which is ready. For the loop's owner.
///
/// # Errors
/// Those of scheduling their tasks.
pub(crate) fn ready(
    py: Python<'_>,
    engine: &EventLoop<impl RunsEntries>,
    waiters: &Waiters,
) -> PyResult<()> {
    if waiters.handle().is_none() {
        let (fd, direction) = waiters.place(py);
        let is_mine =
            |watch: &Watch| matches!(watch, Watch::Waiters(present) if present.is(waiters));
        drop(engine.park_if(fd, direction, is_mine));
    }
    wake(py, engine, waiters)
}

fn wake(py: Python<'_>, engine: &EventLoop<impl RunsEntries>, waiters: &Waiters) -> PyResult<()> {
    let mut result = Ok(());
    // The latest first: with asyncio it is the one that is served.
    for sleeper in waiters.take(py).into_iter().rev() {
        // Every one, whatever becomes of another.
        let woken = engine.host().sleepers().wake(py, sleeper);
        result = result.and(woken);
    }
    result
}

fn put(
    py: Python<'_>,
    engine: &EventLoop<impl RunsEntries>,
    fd: RawFd,
    direction: Direction,
    watch: Watch,
) -> PyResult<Option<Watch>> {
    engine
        .watch(fd, direction, watch)
        .map_err(|error| errors::from_io(py, error))
}

/// Tells whoever had a watch that it has ended, and answers whether there was one.
fn end(
    py: Python<'_>,
    engine: &EventLoop<impl RunsEntries>,
    watch: Option<Watch>,
) -> PyResult<bool> {
    match watch {
        // It may be ready already and must not run.
        Some(Watch::Callback(handle)) => handle.cancel(py).map(|()| true),
        Some(Watch::Waiters(waiters)) => {
            // asyncio would leave the coroutines waiting for ever. They look once more, and wait again if they have to.
            wake(py, engine, &waiters)?;
            match waiters.handle() {
                Some(handle) => handle.cancel(py).map(|()| true),
                None => Ok(true),
            }
        }
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
