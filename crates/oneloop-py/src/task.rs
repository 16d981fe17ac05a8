//! `create_task` and task factories, with the keywords and the calling convention of the running interpreter.
//!
//! asyncio changed both in patch releases, so the convention is read off its own method's signature when the module is imported, not off a
//! version number.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};

use crate::ffi::call;
use crate::making;
use crate::names;

/// How the running interpreter's `create_task` treats its keywords.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Convention {
    /// `name` and `context` only; a factory is given the context, and names the task afterwards.
    Named,
    /// The same with further keywords, which the task or the factory is given.
    NamedAndMore,
    /// All keywords go to the task or the factory as they are.
    Forwarded,
}

impl Convention {
    fn of_interpreter(py: Python<'_>) -> PyResult<Self> {
        static CONVENTION: PyOnceLock<Convention> = PyOnceLock::new();
        CONVENTION.get_or_try_init(py, || Self::detect(py)).copied()
    }

    fn detect(py: Python<'_>) -> PyResult<Self> {
        let method = py
            .import("asyncio")?
            .getattr("BaseEventLoop")?
            .getattr("create_task")?;
        let code = method.getattr("__code__")?;
        let takes_more = code.getattr("co_flags")?.extract::<u32>()? & CO_VARKEYWORDS != 0;
        let named = code.getattr("co_kwonlyargcount")?.extract::<u32>()? > 0;
        Ok(match (named, takes_more) {
            (true, false) => Self::Named,
            (true, true) => Self::NamedAndMore,
            (false, _) => Self::Forwarded,
        })
    }
}

/// Reads the convention while asyncio's method is surely asyncio's. Called once, by the module's initialization.
///
/// # Errors
/// Those of the imports.
pub(crate) fn detect_convention(py: Python<'_>) -> PyResult<()> {
    Convention::of_interpreter(py).map(drop)
}

/// `inspect.CO_VARKEYWORDS`: the function takes `**kwargs`.
const CO_VARKEYWORDS: u32 = 0x08;

/// Schedules a coroutine; follows `asyncio.loop.create_task`. `factory` checks that the loop is open and answers its task factory.
///
/// # Errors
/// `RuntimeError` if the loop is closed, `TypeError` for what is no coroutine or an unknown keyword, and the factory's.
pub(crate) fn create<'py>(
    event_loop: &Bound<'py, PyAny>,
    coroutine: &Bound<'py, PyAny>,
    keywords: Option<&Bound<'py, PyDict>>,
    factory: impl FnOnce() -> PyResult<Option<Bound<'py, PyAny>>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    let convention = Convention::of_interpreter(py)?;
    if convention == Convention::Named {
        refuse_unknown(keywords)?;
    }
    match factory()? {
        None => default_task(event_loop, coroutine, keywords),
        Some(factory) if convention == Convention::Forwarded => {
            let args = PyTuple::new(py, [event_loop, coroutine])?;
            call::with_keywords(&factory, &args, keywords)
        }
        Some(factory) => named_by_us(&factory, event_loop, coroutine, keywords),
    }
}

fn default_task<'py>(
    event_loop: &Bound<'py, PyAny>,
    coroutine: &Bound<'py, PyAny>,
    keywords: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    let class = &current_class(py)?;
    // No frame of ours is on the Python stack, so the task's source traceback ends at the caller, as asyncio trims it to.
    let Some(keywords) = keywords else {
        return making::task(class, coroutine, event_loop);
    };
    if keywords.contains(names::r#loop(py))? {
        return Err(PyTypeError::new_err(
            "create_task() got multiple values for keyword argument 'loop'",
        ));
    }
    let keywords = keywords.copy()?;
    keywords.set_item(names::r#loop(py), event_loop)?;
    call::with_keywords(class, &PyTuple::new(py, [coroutine])?, Some(&keywords))
}

/// `asyncio.tasks.Task`, which people replace.
fn current_class(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let tasks = names::tasks(py)?;
    // In the module's dictionary, which is where a module looks first.
    if let Ok(module) = tasks.cast::<PyModule>()
        && let Some(class) = module.dict().get_item(names::task(py))?
    {
        return Ok(class);
    }
    tasks.getattr(names::task(py))
}

/// The older convention: the factory is given the context only if there is one, and the name is set on what it made.
fn named_by_us<'py>(
    factory: &Bound<'py, PyAny>,
    event_loop: &Bound<'py, PyAny>,
    coroutine: &Bound<'py, PyAny>,
    keywords: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    let keywords = match keywords {
        Some(keywords) => keywords.copy()?,
        None => PyDict::new(py),
    };
    let name = keywords.get_item(names::name(py))?;
    if name.is_some() {
        keywords.del_item(names::name(py))?;
    }
    if let Some(context) = keywords.get_item(names::context(py))?
        && context.is_none()
    {
        keywords.del_item(names::context(py))?;
    }
    let args = PyTuple::new(py, [event_loop, coroutine])?;
    let task = call::with_keywords(factory, &args, Some(&keywords))?;
    set_name(&task, name.filter(|name| !name.is_none()))?;
    Ok(task)
}

/// Names a task that a factory made. Before 3.13 there may be no name, and no `set_name` but for a warning.
#[cfg(not(Py_3_13))]
fn set_name(task: &Bound<'_, PyAny>, name: Option<Bound<'_, PyAny>>) -> PyResult<()> {
    let py = task.py();
    let Some(name) = name else {
        return Ok(());
    };
    match task.getattr_opt(names::set_name(py))? {
        Some(set_name) => set_name.call1((name,)).map(drop),
        None => PyErr::warn(
            py,
            &py.get_type::<pyo3::exceptions::PyDeprecationWarning>(),
            c"Task.set_name() was added in Python 3.8, the method support will be mandatory for third-party task implementations since 3.13.",
            1,
        ),
    }
}

/// Names a task that a factory made; `None` gives it the name `"None"`, as it does in asyncio.
#[cfg(Py_3_13)]
fn set_name(task: &Bound<'_, PyAny>, name: Option<Bound<'_, PyAny>>) -> PyResult<()> {
    let py = task.py();
    task.call_method1(names::set_name(py), (name,)).map(drop)
}

fn refuse_unknown(keywords: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
    for key in keywords.iter().flat_map(|keywords| keywords.keys()) {
        let py = key.py();
        if !key.eq(names::name(py))? && !key.eq(names::context(py))? {
            return Err(PyTypeError::new_err(format!(
                "create_task() got an unexpected keyword argument {}",
                key.repr()?
            )));
        }
    }
    Ok(())
}
