//! Futures and tasks, made with fewer calls: a program makes more of these than of anything else.
//!
//! asyncio's classes take the loop by keyword. The dictionary for that is kept, and the class's `__new__` and `__init__` are called with it
//! directly. What comes of it is what calling the class gives: exact futures and tasks of asyncio's own.

use std::cell::RefCell;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};

use crate::ffi::attached::Attached;
use crate::ffi::c_type::Class;
use crate::ffi::call;
use crate::names;

/// The dictionary, while nobody uses it. Who comes meanwhile (a loop's overridden `get_debug` may make futures) makes one.
static SPARE: PyOnceLock<Attached<RefCell<Option<Py<PyDict>>>>> = PyOnceLock::new();

static FUTURE: PyOnceLock<Option<Class>> = PyOnceLock::new();
static TASK: PyOnceLock<Option<Class>> = PyOnceLock::new();

/// `asyncio.Future(loop=event_loop)`.
///
/// # Errors
/// Those of the import, and of the loop's `get_debug`.
#[inline]
pub(crate) fn future<'py>(event_loop: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    let class = names::future_class(py)?;
    match FUTURE.get_or_init(py, || own(class)) {
        Some(class) => with_loop(event_loop, |keywords| {
            class.make(&PyTuple::empty(py), keywords)
        }),
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
        Some(own_class) if own_class.is(class) => with_loop(event_loop, |keywords| {
            own_class.make(&PyTuple::new(py, [coroutine])?, keywords)
        }),
        _ => call::with_names(class, [coroutine, event_loop], names::loop_keyword(py)?),
    }
}

/// A class that is asyncio's C code: one in Python may be changed by anybody, and is called as Python calls it.
fn own(class: &Bound<'_, PyType>) -> Option<Class> {
    let module = class.getattr(names::__module__(class.py())).ok()?;
    let is_own = module.eq("_asyncio").is_ok_and(|is_own| is_own);
    is_own.then(|| Class::of(class)).flatten()
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
