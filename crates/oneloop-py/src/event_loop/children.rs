//! `_core.Loop`: seeing children exit.
//!
//! The engine's `ExitNotice` is watched like any other descriptor, by a handle whose callback is a `ChildExit`: so the exit runs in the
//! context of whoever asked for it, is timed in debug mode, and holds nothing that the garbage collector does not see. Whoever closes the
//! loop drops the watch, and with it the notice's descriptors.

use std::cell::RefCell;
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::rc::{Rc, Weak};

use oneloop::engine::{Direction, ExitNotice, Place};
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::Loop;
use crate::errors;
use crate::ffi::attached::Attached;
use crate::handle::Handle;
use crate::host::Engine;
use crate::watch;

#[pymethods]
impl Loop {
    /// Reap the child pid when it has exited and call callback(pid, returncode): None if somebody else has reaped it. Return whether a
    /// pidfd tells of the exit.
    fn _watch_child<'py>(
        slf: &Bound<'py, Self>,
        pid: u32,
        callback: Bound<'py, PyAny>,
    ) -> PyResult<bool> {
        let py = slf.py();
        let engine = slf.get().open_engine(py)?;
        if engine.place() == Place::Outside {
            return Err(PyRuntimeError::new_err(
                "Non-thread-safe operation invoked on an event loop other than the current one",
            ));
        }
        let notice = ExitNotice::new(pid).map_err(|error| errors::from_io(py, error))?;
        let (fd, is_pidfd) = (notice.as_raw_fd(), notice.is_pidfd());
        let awaited = Awaited {
            notice,
            callback: callback.unbind(),
        };
        let exit = ChildExit {
            pid,
            awaited: Attached::new(py, RefCell::new(Some(awaited))),
            engine: Attached::new(py, Rc::downgrade(engine)),
        };
        let exit = Bound::new(py, exit)?.into_any();
        let no_args = PyTuple::empty(py);
        let handle = Self::callback(slf, engine, exit, &no_args, None);
        let handle = Handle::new(handle)?;
        watch::add(py, engine, fd, Direction::Read, handle)?;
        Ok(is_pidfd)
    }
}

/// What is called when a child has exited.
#[pyclass(frozen, name = "_ChildExit", module = "oneloop._core")]
struct ChildExit {
    pid: u32,
    /// `None` once it was.
    awaited: Attached<RefCell<Option<Awaited>>>,
    engine: Attached<Weak<Engine>>,
}

struct Awaited {
    notice: ExitNotice,
    callback: Py<PyAny>,
}

#[pymethods]
impl ChildExit {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        let Some(awaited) = self.awaited.get(py).take() else {
            return Ok(());
        };
        let returncode = match awaited.notice.reap() {
            Ok(Some(status)) => returncode(status),
            // A debugger that traces the child has not looked at its exit yet: tried again in the next iteration.
            Ok(None) => {
                self.awaited.get(py).replace(Some(awaited));
                return Ok(());
            }
            // There is no other error: the child is not ours, or not any more.
            Err(_) => None,
        };
        let Awaited { notice, callback } = awaited;
        let watch = match self.engine.get(py).upgrade() {
            Some(engine) => engine.unwatch(notice.as_raw_fd(), Direction::Read),
            None => None,
        };
        drop(watch);
        drop(notice);
        callback.call1(py, (self.pid, returncode)).map(drop)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.awaited.for_collector().try_borrow() {
            Ok(awaited) => visit.call(awaited.as_ref().map(|awaited| &awaited.callback)),
            Err(_) => Ok(()),
        }
    }

    fn __clear__(&self, py: Python<'_>) {
        let awaited = self.awaited.get(py).take();
        drop(awaited);
    }

    fn __repr__(&self) -> String {
        format!("<exit of child {}>", self.pid)
    }
}

/// As `subprocess.Popen.returncode`.
fn returncode(status: ExitStatus) -> Option<i32> {
    status
        .code()
        .or_else(|| status.signal().map(std::ops::Neg::neg))
}
