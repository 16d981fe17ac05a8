//! Methods that the loop itself calls, and that a subclass, an instance or a living class may override.
//!
//! asyncio calls them through `self`, so an override has to be honoured wherever they matter. The attribute is looked up each time; if what
//! is found is our own C function, the caller takes the short way instead of calling it.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyType};

use crate::ffi::builtin;
use crate::names;

/// A method that the loop calls through its Python object.
#[derive(Clone, Copy)]
pub(crate) enum Method {
    Time,
    CallAt,
}

#[derive(Clone, Copy)]
struct Own {
    time: Option<usize>,
    call_at: Option<usize>,
}

static OWN: PyOnceLock<Own> = PyOnceLock::new();

/// Remembers which methods are ours. Called once, by the module's initialization.
///
/// # Errors
/// `AttributeError` if `class` is not the loop's.
pub(crate) fn remember(class: &Bound<'_, PyType>) -> PyResult<()> {
    let py = class.py();
    let own = Own {
        time: builtin::c_function(&class.getattr(names::time(py))?),
        call_at: builtin::c_function(&class.getattr(names::call_at(py))?),
    };
    OWN.get_or_init(py, || own);
    Ok(())
}

/// The method to call if it is overridden, `None` if it is our own.
///
/// # Errors
/// What looking up the attribute raises.
pub(crate) fn find<'py>(
    event_loop: &Bound<'py, PyAny>,
    method: Method,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = event_loop.py();
    let name = method.name(py);
    // The class and the instance apart: asking the instance at once would make a bound method each time, only to be thrown away.
    let of_class = event_loop.get_type().getattr(name)?;
    let own = OWN.get(py).and_then(|own| method.own(own));
    if own.is_some()
        && builtin::c_function(&of_class) == own
        && !builtin::has_own_attribute(event_loop, name)?
    {
        return Ok(None);
    }
    event_loop.getattr(name).map(Some)
}

impl Method {
    fn name(self, py: Python<'_>) -> &Bound<'_, PyString> {
        match self {
            Self::Time => names::time(py),
            Self::CallAt => names::call_at(py),
        }
    }

    fn own(self, own: &Own) -> Option<usize> {
        match self {
            Self::Time => own.time,
            Self::CallAt => own.call_at,
        }
    }
}
