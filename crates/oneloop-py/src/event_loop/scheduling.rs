//! `_core.Loop`: callbacks, timers, futures and tasks.

use oneloop::engine::{Place, monotonic};
use pyo3::Borrowed;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyTuple};

use super::Loop;
use crate::clock::{self, When};
use crate::debug;
use crate::direct::Call;
use crate::entry::{Entry, Request};
use crate::errors;
use crate::ffi::arguments::{Arguments, Variadic};
use crate::ffi::native_method;
use crate::handle::{Callback, Handle, TimerHandle};
use crate::host::Engine;
use crate::making;
use crate::names;
use crate::overrides::{self, Method};
use crate::task;

/// The methods that programs and asyncio call most, which have no wrapper of PyO3's. Called by the module's initialization.
///
/// # Errors
/// `MemoryError`.
pub(crate) fn add_methods(py: Python<'_>) -> PyResult<()> {
    native_method::add::<Loop, _>(
        py,
        c"call_soon",
        c"call_soon($self, callback, *args, context=None)\n--\n\nSchedule callback(*args) for the next iteration; return its Handle.",
        call_soon,
    )?;
    native_method::add_unannounced::<Loop, _>(
        py,
        c"call_soon_threadsafe",
        c"call_soon_threadsafe($self, callback, *args, context=None)\n--\n\nSchedule callback(*args) from any thread; return its Handle.",
        call_soon_threadsafe,
    )?;
    native_method::add::<Loop, _>(
        py,
        c"call_later",
        c"call_later($self, delay, callback, *args, context=None)\n--\n\nSchedule callback(*args) to be called after delay seconds; return its TimerHandle.",
        call_later,
    )?;
    native_method::add::<Loop, _>(
        py,
        c"call_at",
        c"call_at($self, when, callback, *args, context=None)\n--\n\nSchedule callback(*args) to be called when the loop's time reaches when, in seconds; return its TimerHandle.",
        call_at,
    )?;
    native_method::add_unannounced::<Loop, _>(
        py,
        c"get_debug",
        c"get_debug($self)\n--\n\nWhether the loop is in debug mode.",
        get_debug,
    )?;
    native_method::add_unannounced::<Loop, _>(
        py,
        c"create_future",
        c"create_future($self)\n--\n\nCreate a Future that belongs to the loop.",
        create_future,
    )?;
    native_method::add::<Loop, _>(
        py,
        c"create_task",
        c"create_task($self, coro, **kwargs)\n--\n\nSchedule a coroutine and return its Task. The keywords are those of the running interpreter's asyncio.",
        create_task,
    )
}

/// Every future and task asks for it when it is made.
fn get_debug<'py>(
    event_loop: &Bound<'py, Loop>,
    arguments: Arguments<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    let [] = arguments.bind("get_debug", [], 0)?;
    let debug = event_loop.get().engine_as_it_is(py).host().debug.get();
    Ok(PyBool::new(py, debug).to_owned().into_any())
}

fn create_future<'py>(
    event_loop: &Bound<'py, Loop>,
    arguments: Arguments<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let [] = arguments.bind("create_future", [], 0)?;
    making::future(event_loop.as_any())
}

fn create_task<'py>(
    event_loop: &Bound<'py, Loop>,
    arguments: Arguments<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    let (coroutine, keywords) = arguments.bind_one("create_task", names::coro(py))?;
    task::create(event_loop.as_any(), &coroutine, keywords.as_ref(), || {
        let this = event_loop.get();
        this.prepared_engine(py)?;
        Ok(this.task_factory(py))
    })
}

fn call_soon<'py>(
    event_loop: &Bound<'py, Loop>,
    arguments: Arguments<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    if let Some(call) = Call::of_asyncio(&arguments) {
        let engine = event_loop.get().prepared_engine(py)?;
        if !engine.host().debug.get() {
            Loop::queue(engine, Entry::Call(call))?;
            return Ok(py.None().into_bound(py));
        }
    }
    let bound = arguments.bind_variadic("call_soon", ["callback"], names::context(py))?;
    let [callback] = bound.leading();
    let engine = event_loop.get().prepared_engine(py)?;
    let host = engine.host();
    if host.debug.get() {
        debug::check_thread(py, host.thread_id.get())?;
        debug::check_callback(&callback, "call_soon")?;
    }
    let handle = Handle::new(callback_of(event_loop, engine, callback, &bound)?)?;
    Loop::queue(engine, Entry::Callback(handle.clone_ref(py)))?;
    Ok(Py::from(handle).into_bound(py))
}

fn call_soon_threadsafe<'py>(
    event_loop: &Bound<'py, Loop>,
    arguments: Arguments<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    let context = names::context(py);
    let bound = arguments.bind_variadic("call_soon_threadsafe", ["callback"], context)?;
    let [callback] = bound.leading();
    let engine = event_loop.get().prepared_engine(py)?;
    if engine.host().debug.get() {
        debug::check_callback(&callback, "call_soon_threadsafe")?;
    }
    let handle = Handle::new_thread_safe(callback_of(event_loop, engine, callback, &bound)?)?;
    let entry = Entry::Callback(handle.clone_ref(py));
    let handle = Py::from(handle).into_bound(py);
    if engine.place() != Place::Outside {
        engine.push(entry);
    } else if let Err(refused) = engine.push_remote(entry) {
        // This thread is not announced: a plain drop would keep the handle until somebody attaches.
        if let Entry::Callback(refused) = refused {
            refused.release(py);
        }
        return Err(errors::closed());
    }
    Ok(handle)
}

fn call_later<'py>(
    event_loop: &Bound<'py, Loop>,
    arguments: Arguments<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    let context = names::context(py);
    let bound = arguments.bind_variadic("call_later", ["delay", "callback"], context)?;
    let [delay, callback] = bound.leading();
    if delay.is_none() {
        return Err(PyTypeError::new_err("delay must not be None"));
    }
    if overrides::none_for_sure(event_loop.as_any())
        && let Some(when) = clock::plainly_after(&delay)?
    {
        return arm(event_loop, when, callback, &bound);
    }
    let when = clock::after(event_loop.as_any(), &delay)?;
    let Some(call_at) = overrides::find(event_loop.as_any(), Method::CallAt)? else {
        return arm(event_loop, when, callback, &bound);
    };
    let mut all_args = vec![when.into_object(py), callback.to_owned()];
    all_args.extend(bound.rest.tuple()?.iter());
    let keywords = PyDict::new(py);
    keywords.set_item(context, bound.keyword)?;
    call_at.call(PyTuple::new(py, all_args)?, Some(&keywords))
}

fn call_at<'py>(
    event_loop: &Bound<'py, Loop>,
    arguments: Arguments<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let context = names::context(event_loop.py());
    let bound = arguments.bind_variadic("call_at", ["when", "callback"], context)?;
    let [when, callback] = bound.leading();
    if when.is_none() {
        return Err(PyTypeError::new_err("when cannot be None"));
    }
    arm(event_loop, When::Object(when.to_owned()), callback, &bound)
}

/// Sets a timer for the callback that is among the arguments.
fn arm<'py>(
    event_loop: &Bound<'py, Loop>,
    when: When<'py>,
    callback: Borrowed<'_, 'py, PyAny>,
    arguments: &Variadic<'_, 'py, 2>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    let this = event_loop.get();
    let engine = this.prepared_engine(py)?;
    let host = engine.host();
    if host.debug.get() {
        debug::check_thread(py, host.thread_id.get())?;
        debug::check_callback(&callback, "call_at")?;
    }
    let deadline = when.instant()?;
    let what = callback_of(event_loop, engine, callback, arguments)?;
    let timer = TimerHandle::new(when, what)?;
    if engine.place() == Place::Outside {
        let request = Request::Arm(deadline, timer.clone_ref(py));
        Loop::request(py, engine, request)?;
    } else {
        let key = engine.arm(deadline, Entry::Callback(timer.to_handle(py)));
        timer.set_timer(py, Some(key));
    }
    Ok(Py::from(timer).into_bound(py))
}

/// What a handle is made of, from the arguments of any of these methods.
#[inline(always)]
fn callback_of<'a, 'py, const N: usize>(
    event_loop: &'a Bound<'py, Loop>,
    engine: &Engine,
    callback: Borrowed<'_, 'py, PyAny>,
    arguments: &Variadic<'a, 'py, N>,
) -> PyResult<Callback<'a, 'py>> {
    // A context of None is none.
    let context = arguments.keyword.filter(|context| !context.is_none());
    let context = context.map(|context| context.to_owned());
    Ok(Callback {
        event_loop: event_loop.as_any(),
        callback: callback.to_owned(),
        args: arguments.rest,
        context,
        debug: engine.host().debug.get(),
    })
}

#[pymethods]
impl Loop {
    /// The loop's time in seconds: time.monotonic().
    fn time(&self) -> f64 {
        clock::seconds(monotonic())
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
