//! The methods and attributes of a native coroutine: those of CPython's own that do not speak of frames.
//!
//! `collections.abc.Coroutine` knows a coroutine by its methods, and so does asyncio. There is no `cr_await`: who follows it (asyncio's call
//! graphs) expects frames on the way. `cr_frame` and `cr_code` are `None`, which asyncio's `repr` and stacks of tasks take for what they
//! cannot see into.

use pyo3::exceptions::{PyBaseException, PyDeprecationWarning, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyString, PyTraceback, PyTuple, PyType};

use super::coroutine::{Native, State};
use crate::ffi::coroutine::{self, Coroutine, Step, stop_iteration};
use crate::ffi::method::{self, Attribute, Method, Special};
use crate::ffi::raw_type::Definition;

pub(super) fn definition() -> Definition<Native> {
    Definition {
        name: c"oneloop._core.NativeCoroutine",
        doc:
            c"A coroutine of the loop's own.\n\nReturned by the loop's native asynchronous methods.",
        methods: methods(),
        attributes: attributes(),
        special: special(),
        is_open: true,
    }
}

fn methods() -> Vec<Method<Native>> {
    vec![
        method::positional(
            c"send",
            c"send($self, arg, /)\n--\n\nGo on until the coroutine waits or is over.",
            |object, native: &Native, args| {
                let (value,): (Bound<'_, PyAny>,) = args.extract()?;
                match native.step(object, &value)? {
                    Step::Yielded(waits_for) => Ok(waits_for),
                    Step::Returned(result) => Err(stop_iteration(result)),
                }
            },
        ),
        method::positional(
            c"throw",
            c"throw($self, type, value=None, traceback=None, /)\n--\n\nEnd the coroutine with an exception.",
            |object, native: &Native, args| {
                let error = exception(args)?;
                Err(native.throw(object.py(), error))
            },
        ),
        method::noargs(
            c"close",
            c"close($self, /)\n--\n\nEnd the coroutine.",
            |object, native: &Native| {
                native.close(object.py())?;
                Ok(object.py().None().into_bound(object.py()))
            },
        ),
    ]
}

fn special() -> Vec<Special<Native>> {
    let mut special = coroutine::slots();
    special.push(method::repr(|object, native: &Native| {
        Ok(native.repr(object))
    }));
    special.push(method::finalizer(|object, native: &Native| {
        native.finalize(object);
    }));
    special
}

fn attributes() -> Vec<Attribute<Native>> {
    let mut attributes = vec![
        method::getter(c"__name__", |py, native: &Native| {
            Ok(PyString::new(py, native.name).into_any())
        }),
        method::getter(c"__qualname__", |py, native: &Native| {
            Ok(PyString::new(py, &native.qualified_name()).into_any())
        }),
        method::getter(c"cr_running", |py, native: &Native| {
            Ok(truth(py, native.state.get() == State::Running))
        }),
        method::getter(c"cr_suspended", |py, native: &Native| {
            Ok(truth(py, native.state.get() == State::Suspended))
        }),
        method::getter(c"cr_frame", |py, _: &Native| Ok(none(py))),
        method::getter(c"cr_code", |py, _: &Native| Ok(none(py))),
        method::getter(c"cr_origin", |py, native: &Native| {
            Ok(native.origin.get(py).unwrap_or_else(|| none(py)))
        }),
    ];
    if cfg!(Py_3_15) {
        // By the names of `inspect.getcoroutinestate`, which reads this one there.
        attributes.push(method::getter(c"cr_state", |py, native: &Native| {
            let state = native.state.get().name();
            Ok(PyString::new(py, state).into_any())
        }));
    }
    attributes
}

/// What `throw` was given: an exception, or a class with perhaps the value to make it of, and perhaps a traceback.
pub(crate) fn exception(args: &Bound<'_, PyTuple>) -> PyResult<PyErr> {
    let py = args.py();
    if args.is_empty() || args.len() > 3 {
        return Err(PyTypeError::new_err(format!(
            "throw expected between 1 and 3 arguments, got {}",
            args.len()
        )));
    }
    if cfg!(Py_3_12) && args.len() > 1 {
        PyErr::warn(
            py,
            &py.get_type::<PyDeprecationWarning>(),
            c"the (type, exc, tb) signature of throw() is deprecated, use the single-arg signature instead.",
            1,
        )?;
    }
    let given = |index: usize| args.get_item(index).ok().filter(|value| !value.is_none());
    let (class, value, traceback) = (args.get_item(0)?, given(1), given(2));
    let traceback = match traceback {
        Some(traceback) => Some(traceback.cast_into::<PyTraceback>().map_err(|_| {
            PyTypeError::new_err("throw() third argument must be a traceback object")
        })?),
        None => None,
    };
    let error = if let Ok(class) = class.cast::<PyType>()
        && class.is_subclass_of::<PyBaseException>()?
    {
        match value {
            Some(value) if value.is_instance(class)? => PyErr::from_value(value),
            Some(value) => match value.cast::<PyTuple>() {
                Ok(args) => PyErr::from_value(class.call1(args)?),
                Err(_) => PyErr::from_value(class.call1((value,))?),
            },
            None => PyErr::from_value(class.call0()?),
        }
    } else if class.is_instance_of::<PyBaseException>() {
        if value.is_some() {
            return Err(PyTypeError::new_err(
                "instance exception may not have a separate value",
            ));
        }
        PyErr::from_value(class)
    } else {
        return Err(PyTypeError::new_err(format!(
            "exceptions must be classes or instances deriving from BaseException, not {}",
            class.get_type().name()?
        )));
    };
    if traceback.is_some() {
        error.set_traceback(py, traceback);
    }
    Ok(error)
}

fn truth(py: Python<'_>, value: bool) -> Bound<'_, PyAny> {
    PyBool::new(py, value).to_owned().into_any()
}

fn none(py: Python<'_>) -> Bound<'_, PyAny> {
    py.None().into_bound(py)
}
