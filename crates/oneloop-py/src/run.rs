//! Running and closing a Python loop.

use std::rc::Rc;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyTuple};

use crate::debug;
use crate::errors;
use crate::host::{Engine, Runner};
use crate::names;

/// Runs until `stop()`; follows `asyncio.loop.run_forever`.
///
/// # Errors
/// `RuntimeError` if the loop is closed or running, or another one runs on this thread; what a callback or a signal handler raised that
/// is not an error to report: `KeyboardInterrupt`, `SystemExit`.
pub(crate) fn run_forever(event_loop: &Bound<'_, PyAny>, engine: &Rc<Engine>) -> PyResult<()> {
    check(event_loop.py(), engine)?;
    let session = Session::start(event_loop, engine)?;
    let host = engine.host();
    let result = engine.run_attended(Runner { host, event_loop });
    host.turns.release(event_loop.py());
    let undone = session.finish();
    // The run's own exception is the one to see.
    result.and(undone)
}

/// Runs until a future is done and returns its result; follows `asyncio.loop.run_until_complete`.
///
/// # Errors
/// As [`run_forever`], what the future raised, `TypeError` for what is not awaitable, and `RuntimeError` if the loop was stopped first.
pub(crate) fn run_until_complete<'py>(
    event_loop: &Bound<'py, PyAny>,
    engine: &Engine,
    future: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    check(py, engine)?;

    let is_ours = !names::isfuture(py)?.call1((future,))?.is_truthy()?;
    let keywords = [(names::r#loop(py), event_loop)];
    let keywords = keywords.into_py_dict(py)?;
    let future = names::ensure_future(py)?.call((future,), Some(&keywords))?;
    if is_ours {
        // If it is left pending, the exception raised here says so already.
        future.setattr(names::_log_destroy_pending(py), false)?;
    }
    // asyncio's own callback, which stops the loop: anyio finds the root task by it.
    let stop = names::run_until_complete_cb(py)?;
    future.call_method1(names::add_done_callback(py), (stop,))?;
    let result = event_loop.call_method0(names::run_forever(py)).map(drop);
    if result.is_err() && is_ours && is_done_with_result(&future)? {
        // A BaseException ended the run and is what the caller sees; nobody else can fetch the task's own.
        future.call_method0(names::exception(py))?;
    }
    future.call_method1(names::remove_done_callback(py), (stop,))?;
    result?;
    if !future.call_method0(names::done(py))?.is_truthy()? {
        return Err(PyRuntimeError::new_err(
            "Event loop stopped before Future completed.",
        ));
    }
    future.call_method0(names::result(py))
}

/// Closes a loop that does not run; a second call does nothing.
///
/// # Errors
/// `RuntimeError` if it runs.
pub(crate) fn close(py: Python<'_>, engine: &Engine) -> PyResult<()> {
    if engine.host().is_running() {
        return Err(PyRuntimeError::new_err("Cannot close a running event loop"));
    }
    engine.close().map_err(|error| errors::from_io(py, error))?;
    engine.host().signals.close(py);
    engine.host().sleepers.clear();
    engine.host().sleepers.clear();
    Ok(())
}

fn is_done_with_result(future: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = future.py();
    Ok(future.call_method0(names::done(py))?.is_truthy()?
        && !future.call_method0(names::cancelled(py))?.is_truthy()?)
}

fn check(py: Python<'_>, engine: &Engine) -> PyResult<()> {
    if engine.is_closed() {
        return Err(errors::closed());
    }
    if engine.host().is_running() {
        return Err(PyRuntimeError::new_err(
            "This event loop is already running",
        ));
    }
    let running = names::events(py)?.call_method0(names::_get_running_loop(py))?;
    if !running.is_none() {
        return Err(PyRuntimeError::new_err(
            "Cannot run the event loop while another loop is running",
        ));
    }
    Ok(())
}

fn set_running_loop(event_loop: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = event_loop.py();
    let set = names::_set_running_loop(py);
    names::events(py)?
        .call_method1(set, (event_loop,))
        .map(drop)
}

/// What a run changes in the interpreter, and changes back however it ends.
struct Session<'a, 'py> {
    event_loop: &'a Bound<'py, PyAny>,
    engine: &'a Engine,
    asyncgen_hooks: Option<Bound<'py, PyTuple>>,
}

impl<'a, 'py> Session<'a, 'py> {
    fn start(event_loop: &'a Bound<'py, PyAny>, engine: &'a Engine) -> PyResult<Self> {
        let py = event_loop.py();
        let host = engine.host();
        // From here on a failure undoes what was done: `drop` is `finish`.
        let mut session = Self {
            event_loop,
            engine,
            asyncgen_hooks: None,
        };
        host.thread_id.set(Some(debug::thread_id(py)?));
        host.origin_tracking.set(py, host.debug.get())?;
        drop(host.set_running(Some(event_loop.clone().unbind())));
        let hooks = names::get_asyncgen_hooks(py)?.call0()?;
        names::set_asyncgen_hooks(py)?.call1((
            event_loop.getattr(names::_asyncgen_firstiter_hook(py))?,
            event_loop.getattr(names::_asyncgen_finalizer_hook(py))?,
        ))?;
        session.asyncgen_hooks = Some(PyTuple::new(
            py,
            hooks.try_iter()?.collect::<PyResult<Vec<_>>>()?,
        )?);
        host.look_at_clock(event_loop)?;
        host.signals.enter_run(py, engine)?;
        set_running_loop(event_loop)?;
        Ok(session)
    }

    fn finish(mut self) -> PyResult<()> {
        self.undo()
    }

    /// Takes every step, whatever one of them raises, and answers the first failure.
    fn undo(&mut self) -> PyResult<()> {
        let py = self.event_loop.py();
        let host = self.engine.host();
        host.thread_id.set(None);
        let no_loop = set_running_loop(py.None().bind(py));
        let tracking = host.origin_tracking.set(py, false);
        host.signals.leave_run(py, self.engine);
        let hooks = match self.asyncgen_hooks.take() {
            Some(hooks) => names::set_asyncgen_hooks(py)
                .and_then(|set| set.call1(hooks))
                .map(drop),
            None => Ok(()),
        };
        drop(host.set_running(None));
        no_loop.and(tracking).and(hooks)
    }
}

impl Drop for Session<'_, '_> {
    fn drop(&mut self) {
        if self.engine.host().is_running()
            && let Err(error) = self.undo()
        {
            error.write_unraisable(self.event_loop.py(), Some(self.event_loop));
        }
    }
}
