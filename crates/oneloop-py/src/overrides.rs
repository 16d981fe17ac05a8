//! Methods that the loop itself calls, and that a subclass, an instance or a living class may override.
//!
//! asyncio calls them through `self`, so an override has to be honoured wherever they matter. What a class has is looked up whenever the
//! class, or one above it, has changed since the last look; what an instance has, each time. If what is found is our own C function, the
//! caller takes the short way instead of calling it.

use std::cell::Cell;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyType};

use crate::ffi::attached::Attached;
use crate::ffi::builtin::{self, ClassState};
use crate::names;

/// A method that the loop calls through its Python object.
#[derive(Clone, Copy)]
pub(crate) enum Method {
    Time,
    CallAt,
    CallSoon,
    GetDebug,
}

const METHODS: [Method; 4] = [
    Method::Time,
    Method::CallAt,
    Method::CallSoon,
    Method::GetDebug,
];

/// For each of [`METHODS`], by the number of the enum's variant, its C function.
type Functions = [Option<usize>; METHODS.len()];

/// For each of [`METHODS`], whether it is ours.
type Answers = [bool; METHODS.len()];

struct Own {
    functions: Functions,
    /// The class that was looked at last, and which methods it does not override. Programs have one class of loop, as a rule.
    known: Attached<Cell<Option<(ClassState, Answers)>>>,
}

static OWN: PyOnceLock<Own> = PyOnceLock::new();

/// Remembers which methods are ours. Called once, by the module's initialization.
///
/// # Errors
/// `AttributeError` if `class` is not the loop's.
pub(crate) fn remember(class: &Bound<'_, PyType>) -> PyResult<()> {
    let py = class.py();
    let own = Own {
        functions: functions_of(class)?,
        known: Attached::new(py, Cell::new(None)),
    };
    OWN.get_or_init(py, || own);
    Ok(())
}

/// Whether no method is overridden, by a look at two fields: an answer for nearly every loop. `false` means that [`find`] has to look closer.
#[inline]
pub(crate) fn none_for_sure(event_loop: &Bound<'_, PyAny>) -> bool {
    let py = event_loop.py();
    let Some(own) = OWN.get(py) else {
        return false;
    };
    let is_known = match own.known.get(py).get() {
        Some((known, answers)) => {
            answers == [true; METHODS.len()] && ClassState::of(event_loop) == Some(known)
        }
        None => false,
    };
    is_known && builtin::has_no_dict(event_loop)
}

/// The method to call if it is overridden, `None` if it is our own.
///
/// # Errors
/// What looking up the attribute raises.
#[inline]
pub(crate) fn find<'py>(
    event_loop: &Bound<'py, PyAny>,
    method: Method,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    if none_for_sure(event_loop) {
        return Ok(None);
    }
    look_closer(event_loop, method)
}

fn look_closer<'py>(
    event_loop: &Bound<'py, PyAny>,
    method: Method,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = event_loop.py();
    let name = method.name(py);
    if is_own_by_class(event_loop, method)? && !builtin::has_own_attribute(event_loop, name)? {
        return Ok(None);
    }
    let found = event_loop.getattr(name)?;
    let own = OWN.get(py).and_then(|own| own.functions[method as usize]);
    let is_own = own.is_some() && builtin::c_function_bound_to(&found, event_loop) == own;
    Ok((!is_own).then_some(found))
}

fn is_own_by_class(event_loop: &Bound<'_, PyAny>, method: Method) -> PyResult<bool> {
    let py = event_loop.py();
    let Some(own) = OWN.get(py) else {
        return Ok(false);
    };
    match (ClassState::of(event_loop), own.known.get(py).get()) {
        (Some(now), Some((known, answers))) if now == known => Ok(answers[method as usize]),
        _ => look(event_loop, own).map(|answers| answers[method as usize]),
    }
}

#[cold]
fn look(event_loop: &Bound<'_, PyAny>, own: &Own) -> PyResult<Answers> {
    let found = functions_of(&event_loop.get_type())?;
    let is_plain = builtin::looks_up_plainly(&event_loop.get_type());
    let mut answers = [false; METHODS.len()];
    for (answer, (found, ours)) in answers.iter_mut().zip(found.iter().zip(&own.functions)) {
        *answer = is_plain && ours.is_some() && found == ours;
    }
    // Only after a look does the class have a state for certain; and a descriptor of the program's may have changed it meanwhile.
    let py = event_loop.py();
    let state = ClassState::of(event_loop);
    let is_settled = functions_of(&event_loop.get_type())? == found
        && ClassState::of(event_loop) == state
        // Another metaclass may answer as it likes, without a change of the class.
        && event_loop.get_type().get_type().is(py.get_type::<PyType>());
    let known = state.filter(|_| is_settled).map(|state| (state, answers));
    own.known.get(py).set(known);
    Ok(answers)
}

fn functions_of(class: &Bound<'_, PyType>) -> PyResult<Functions> {
    let mut functions = [None; METHODS.len()];
    for method in METHODS {
        let attribute = class.getattr(method.name(class.py()))?;
        functions[method as usize] = builtin::c_function(&attribute);
    }
    Ok(functions)
}

impl Method {
    fn name(self, py: Python<'_>) -> &Bound<'_, PyString> {
        match self {
            Self::Time => names::time(py),
            Self::CallAt => names::call_at(py),
            Self::CallSoon => names::call_soon(py),
            Self::GetDebug => names::get_debug(py),
        }
    }
}
