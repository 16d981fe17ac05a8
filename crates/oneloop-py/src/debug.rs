//! What asyncio checks and measures in debug mode only.

use std::cell::Cell;

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::clock;
use crate::ffi::thread;
use crate::handle::Handle;
use crate::names;

/// Whether a new loop starts in debug mode, by asyncio's own rule: `-X dev`, or `PYTHONASYNCIODEBUG` unless the environment is ignored.
///
/// # Errors
/// Those of the imports.
pub(crate) fn is_default(py: Python<'_>) -> PyResult<bool> {
    names::coroutines(py)?
        .call_method0(names::_is_debug_mode(py))?
        .is_truthy()
}

/// The calling thread's identifier, as `threading.get_ident()`.
///
/// # Errors
/// Those of the import.
pub(crate) fn thread_id(py: Python<'_>) -> PyResult<u64> {
    names::get_ident(py)?.call0()?.extract()
}

/// Refuses a call from another thread than the one that runs the loop.
///
/// # Errors
/// `RuntimeError`, as asyncio's.
pub(crate) fn check_thread(py: Python<'_>, runs_on: Option<u64>) -> PyResult<()> {
    match runs_on {
        Some(owner) if owner != thread_id(py)? => Err(PyRuntimeError::new_err(
            "Non-thread-safe operation invoked on an event loop other than the current one",
        )),
        _ => Ok(()),
    }
}

/// Refuses what cannot be a callback.
///
/// # Errors
/// `TypeError` for a coroutine, a coroutine function, or anything that cannot be called.
pub(crate) fn check_callback(callback: &Bound<'_, PyAny>, method: &str) -> PyResult<()> {
    refuse_coroutine(callback, method)?;
    if !callback.is_callable() {
        return Err(PyTypeError::new_err(format!(
            "a callable object was expected by {method}(), got {}",
            callback.repr()?
        )));
    }
    Ok(())
}

/// Refuses a coroutine or a coroutine function.
///
/// # Errors
/// `TypeError` that names the method.
pub(crate) fn refuse_coroutine(callback: &Bound<'_, PyAny>, method: &str) -> PyResult<()> {
    let py = callback.py();
    if names::iscoroutine(py)?.call1((callback,))?.is_truthy()?
        || names::iscoroutinefunction(py)?
            .call1((callback,))?
            .is_truthy()?
    {
        return Err(PyTypeError::new_err(format!(
            "coroutines cannot be used with {method}()"
        )));
    }
    Ok(())
}

/// Calls `run` and logs a warning if that took the loop's `slow_callback_duration` or longer (`slow`, in seconds), naming the handle that
/// `handle` answers.
///
/// # Errors
/// As `run`, and what an overridden `time()` raised.
pub(crate) fn run_timed(
    event_loop: &Bound<'_, PyAny>,
    slow: f64,
    run: impl FnOnce() -> PyResult<()>,
    handle: impl FnOnce() -> PyResult<Handle>,
) -> PyResult<()> {
    let py = event_loop.py();
    let start: f64 = clock::now_in_seconds(event_loop)?.extract()?;
    run()?;
    let elapsed = clock::now_in_seconds(event_loop)?.extract::<f64>()? - start;
    if elapsed >= slow {
        let format = "Executing %s took %.3f seconds";
        let name = describe(handle()?.as_any().bind(py))?;
        names::current_logger(py)?.call_method1(names::warning(py), (format, name, elapsed))?;
    }
    Ok(())
}

/// What a slow handle is called in the log: the task if it was a task's step, else the handle itself.
fn describe<'py>(handle: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = handle.py();
    let callback = handle.getattr(names::_callback(py))?;
    let task = names::task_class(py)?;
    match callback.getattr_opt(names::__self__(py))? {
        Some(owner) if owner.is_instance(task)? => Ok(owner.repr()?.into_any()),
        _ => Ok(handle.str()?.into_any()),
    }
}

/// Where the Python code that creates a coroutine now stands, as deep as the interpreter is told to remember it: `cr_origin`.
///
/// # Errors
/// `MemoryError`.
pub(crate) fn origin(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    let depth: usize = names::get_origin_depth(py)?.call0()?.extract()?;
    if depth == 0 {
        return Ok(None);
    }
    let mut callers = Vec::new();
    let mut frame = thread::current_frame(py);
    while !frame.is_none() && callers.len() < depth {
        let code = frame.getattr(names::f_code(py))?;
        callers.push((
            code.getattr(names::co_filename(py))?,
            frame.getattr(names::f_lineno(py))?,
            code.getattr(names::co_name(py))?,
        ));
        frame = frame.getattr(names::f_back(py))?;
    }
    PyTuple::new(py, callers).map(|origin| Some(origin.into_any()))
}

/// Records where coroutines are created while a loop in debug mode runs, and puts the interpreter's setting back.
#[derive(Default)]
pub(crate) struct OriginTracking {
    /// The depth to go back to, while tracking is on.
    saved: Cell<Option<i32>>,
}

impl OriginTracking {
    /// Turns tracking on or off.
    ///
    /// # Errors
    /// Those of the imports.
    pub(crate) fn set(&self, py: Python<'_>, enabled: bool) -> PyResult<()> {
        match (enabled, self.saved.get()) {
            (true, None) => {
                let depth = names::get_origin_depth(py)?.call0()?.extract()?;
                names::set_origin_depth(py)?.call1((names::debug_stack_depth(py)?,))?;
                self.saved.set(Some(depth));
            }
            (false, Some(depth)) => {
                names::set_origin_depth(py)?.call1((depth,))?;
                self.saved.set(None);
            }
            _ => {}
        }
        Ok(())
    }
}
