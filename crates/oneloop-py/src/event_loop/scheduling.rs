//! `_core.Loop`: callbacks, timers, futures and tasks.

use std::sync::Arc;

use oneloop::engine::monotonic;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::Loop;
use crate::clock;
use crate::debug;
use crate::entry::{Entry, Request};
use crate::ffi::call;
use crate::handle::{Handle, TimerHandle};
use crate::names;
use crate::overrides::{self, Method};
use crate::task;

#[pymethods]
impl Loop {
    /// Schedule callback(*args) for the next iteration; return its Handle.
    #[pyo3(signature = (callback, *args, context=None))]
    fn call_soon<'py>(
        slf: &Bound<'py, Self>,
        callback: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
        context: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let engine = slf.get().open_engine(py)?;
        let host = engine.host();
        if host.debug.get() {
            debug::check_thread(py, host.thread_id.get())?;
            debug::check_callback(&callback, "call_soon")?;
        }
        let handle = Handle::new(Self::callback(slf, engine, callback, args, context))?;
        Self::queue(engine, Entry::Callback(handle.clone_ref(py)))?;
        Ok(handle.into())
    }

    /// Schedule callback(*args) from any thread; return its Handle.
    #[pyo3(signature = (callback, *args, context=None))]
    fn call_soon_threadsafe<'py>(
        slf: &Bound<'py, Self>,
        callback: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
        context: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let engine = slf.get().open_engine(py)?;
        if engine.host().debug.get() {
            debug::check_callback(&callback, "call_soon_threadsafe")?;
        }
        let what = Self::callback(slf, engine, callback, args, context);
        let handle = Handle::new_thread_safe(what)?;
        Self::queue(engine, Entry::Callback(handle.clone_ref(py)))?;
        Ok(handle.into())
    }

    /// Schedule callback(*args) to be called after delay seconds; return its TimerHandle.
    #[pyo3(signature = (delay, callback, *args, context=None))]
    fn call_later<'py>(
        slf: &Bound<'py, Self>,
        delay: &Bound<'py, PyAny>,
        callback: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
        context: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        if delay.is_none() {
            return Err(PyTypeError::new_err("delay must not be None"));
        }
        let when = clock::after(slf.as_any(), delay)?;
        let Some(call_at) = overrides::find(slf.as_any(), Method::CallAt)? else {
            return Self::call_at(slf, when, callback, args, context)
                .map(|handle| handle.into_bound(py));
        };
        let mut all_args = vec![when, callback];
        all_args.extend(args.iter());
        let keywords = PyDict::new(py);
        keywords.set_item(names::context(py), context)?;
        call_at.call(PyTuple::new(py, all_args)?, Some(&keywords))
    }

    /// Schedule callback(*args) to be called when the loop's time reaches when, in seconds; return its TimerHandle.
    #[pyo3(signature = (when, callback, *args, context=None))]
    fn call_at<'py>(
        slf: &Bound<'py, Self>,
        when: Bound<'py, PyAny>,
        callback: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
        context: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        if when.is_none() {
            return Err(PyTypeError::new_err("when cannot be None"));
        }
        let this = slf.get();
        let engine = this.open_engine(py)?;
        let host = engine.host();
        if host.debug.get() {
            debug::check_thread(py, host.thread_id.get())?;
            debug::check_callback(&callback, "call_at")?;
        }
        let deadline = clock::instant(&when)?;
        let what = Self::callback(slf, engine, callback, args, context);
        let timer = TimerHandle::new(when, what, Arc::clone(&this.disarm))?;
        let request = Request::Arm(deadline, timer.clone_ref(py));
        Self::request(py, engine, request)?;
        Ok(timer.into())
    }

    /// The loop's time in seconds: time.monotonic().
    fn time(&self) -> f64 {
        clock::seconds(monotonic())
    }

    /// Create a Future that belongs to the loop.
    fn create_future<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        call::with_names(
            names::future_class(py)?,
            [slf.as_any()],
            names::loop_keyword(py)?,
        )
    }

    /// Schedule a coroutine and return its Task. The keywords are those of the running interpreter's asyncio.
    #[pyo3(signature = (coro, **kwargs))]
    fn create_task<'py>(
        slf: &Bound<'py, Self>,
        coro: &Bound<'py, PyAny>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        task::create(slf.as_any(), coro, kwargs, || {
            let this = slf.get();
            this.open_engine(slf.py())?;
            Ok(this.task_factory(slf.py()))
        })
    }

    /// Set the factory that create_task() uses: a callable (loop, coro, **kwargs) that returns a Future, or None for the default.
    fn set_task_factory(&self, py: Python<'_>, factory: Bound<'_, PyAny>) -> PyResult<()> {
        if !factory.is_none() && !factory.is_callable() {
            return Err(PyTypeError::new_err(
                "task factory must be a callable or None",
            ));
        }
        let factory = (!factory.is_none()).then(|| factory.unbind());
        let replaced = self.state.get(py).task_factory.replace(factory);
        drop(replaced);
        Ok(())
    }

    /// The task factory, or None.
    fn get_task_factory<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.task_factory(py)
    }
}
