//! Futures and tasks, made with fewer calls: a program makes more of these than of anything else.
//!
//! asyncio's classes take the loop by keyword, and take the running one if they are told none. So the class's `__new__` and `__init__` are
//! called directly: without a keyword where the loop is the one that runs, else with a dictionary that is kept for that. What comes of it
//! is what calling the class gives: exact futures and tasks of asyncio's own.

use std::cell::RefCell;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};

use crate::ffi::attached::Attached;
use crate::ffi::c_type::Class;
use crate::ffi::call;
use crate::ffi::running::Running;
use crate::names;

/// The dictionary, while nobody uses it. Who comes meanwhile (a loop's overridden `get_debug` may make futures) makes one.
static SPARE: PyOnceLock<Attached<RefCell<Option<Py<PyDict>>>>> = PyOnceLock::new();

static FUTURE: PyOnceLock<Option<Class>> = PyOnceLock::new();
static TASK: PyOnceLock<Option<Class>> = PyOnceLock::new();

/// What the classes themselves ask.
static RUNNING: PyOnceLock<Option<Running>> = PyOnceLock::new();

/// `asyncio.Future(loop=event_loop)`.
///
/// # Errors
/// Those of the import, and of the loop's `get_debug`.
#[inline]
pub(crate) fn future<'py>(event_loop: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    let class = names::future_class(py)?;
    match FUTURE.get_or_init(py, || own(class)) {
        Some(class) => make(class, event_loop, &PyTuple::empty(py)),
        None => call::with_names(class, [event_loop], names::loop_keyword(py)?),
    }
}

/// `class(coroutine, loop=event_loop)`, where `class` is usually asyncio's own Task.
///
/// # Errors
/// Those of the class.
#[inline]
pub(crate) fn task<'py>(
    class: &Bound<'py, PyAny>,
    coroutine: &Bound<'py, PyAny>,
    event_loop: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    let own_class = names::task_class(py)?;
    match TASK.get_or_init(py, || own(own_class)) {
        Some(own_class) if own_class.is(class) => {
            make(own_class, event_loop, &PyTuple::new(py, [coroutine])?)
        }
        _ => call::with_names(class, [coroutine, event_loop], names::loop_keyword(py)?),
    }
}

/// A class that is asyncio's C code: one in Python may be changed by anybody, and is called as Python calls it.
fn own(class: &Bound<'_, PyType>) -> Option<Class> {
    let module = class.getattr(names::__module__(class.py())).ok()?;
    let is_own = module.eq("_asyncio").is_ok_and(|is_own| is_own);
    is_own.then(|| Class::of(class)).flatten()
}

/// `class(*args, loop=event_loop)`.
#[inline]
fn make<'py>(
    class: &Class,
    event_loop: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    if is_running(event_loop) {
        return class.make(args, None);
    }
    with_loop(event_loop, |keywords| class.make(args, Some(keywords)))
}

/// Whether a future that is told no loop takes that one. `false` where nobody knows, and where asking is dearer than a keyword: 3.11 asks
/// the kernel each time whether the process was forked.
#[inline]
fn is_running(event_loop: &Bound<'_, PyAny>) -> bool {
    if cfg!(not(Py_3_12)) {
        return false;
    }
    let running = RUNNING.get_or_init(event_loop.py(), || {
        let module = event_loop.py().import("_asyncio").ok()?;
        let function = module
            .getattr(names::_get_running_loop(event_loop.py()))
            .ok()?;
        Running::of(&function)
    });
    running
        .as_ref()
        .is_some_and(|running| running.is(event_loop))
}

/// Calls `f` with `{"loop": event_loop}`, which is to be read only and not to be kept.
#[inline]
fn with_loop<'py, R>(
    event_loop: &Bound<'py, PyAny>,
    f: impl FnOnce(&Bound<'py, PyDict>) -> PyResult<R>,
) -> PyResult<R> {
    let py = event_loop.py();
    let spare = SPARE.get_or_init(py, || Attached::new(py, RefCell::new(None)));
    let kept = spare.get(py).take();
    let keywords = match kept {
        Some(kept) => kept.into_bound(py),
        None => PyDict::new(py),
    };
    keywords.set_item(names::r#loop(py), event_loop)?;
    let result = f(&keywords);
    // It must not keep the loop.
    keywords.set_item(names::r#loop(py), py.None())?;
    let before = spare.get(py).replace(Some(keywords.unbind()));
    if let Some(before) = before {
        drop(before.into_bound(py));
    }
    result
}
