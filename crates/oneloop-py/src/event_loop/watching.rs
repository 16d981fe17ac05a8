//! `_core.Loop`: watched descriptors and signals.

use oneloop::engine::Direction;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::Loop;
use crate::debug;
use crate::handle::Handle;

#[pymethods]
impl Loop {
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
            let engine = slf.get().open_engine(py)?;
            Handle::new(Self::callback(slf, engine, callback, &args, None))
        })
    }

    /// Remove a signal's handler and restore its default; return whether there was one.
    fn remove_signal_handler(&self, py: Python<'_>, sig: &Bound<'_, PyAny>) -> PyResult<bool> {
        let engine = self.engine(py);
        engine.host().signals.remove(py, engine, sig)
    }
}
