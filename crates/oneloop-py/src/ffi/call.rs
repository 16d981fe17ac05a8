//! Calling Python by vectorcall, without building tuples.

use std::ptr::null_mut;

use pyo3::ffi::{
    PyObject, PyObject_Call, PyObject_Vectorcall, PyObject_VectorcallMethod, PyTupleObject,
};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::error;

/// `callable(*args)`, without copying the arguments.
///
/// # Errors
/// What the callable raised.
#[inline]
pub(crate) fn with_tuple<'py>(
    callable: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: both objects are borrowed for the call, so the tuple and the items it owns outlive it;
    // `ob_item` is the tuple's own array of `len` pointers.
    let result = unsafe {
        let items = (&raw const (*args.as_ptr().cast::<PyTupleObject>()).ob_item).cast();
        PyObject_Vectorcall(callable.as_ptr(), items, args.len(), null_mut())
    };
    owned(callable.py(), result)
}

/// `callable(*args)`.
///
/// # Errors
/// What the callable raised.
#[inline]
pub(crate) fn with<'py, const N: usize>(
    callable: &Bound<'py, PyAny>,
    args: [&Bound<'py, PyAny>; N],
) -> PyResult<Bound<'py, PyAny>> {
    let items = args.map(Bound::as_ptr);
    // SAFETY: callable and arguments are borrowed for the call, so every pointer outlives it.
    let result = unsafe { PyObject_Vectorcall(callable.as_ptr(), items.as_ptr(), N, null_mut()) };
    owned(callable.py(), result)
}

/// `callable(*args)` whose last arguments are keywords of these names.
///
/// # Errors
/// What the callable raised.
#[inline]
pub(crate) fn with_names<'py, const N: usize>(
    callable: &Bound<'py, PyAny>,
    args: [&Bound<'py, PyAny>; N],
    names: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    debug_assert!(names.len() <= N, "a name for each keyword");
    let positional = N - names.len();
    let items = args.map(Bound::as_ptr);
    // SAFETY: callable, arguments and names are borrowed for the call, so every pointer outlives it; there are as many values after
    // the positional ones as there are names.
    let result = unsafe {
        PyObject_Vectorcall(
            callable.as_ptr(),
            items.as_ptr(),
            positional,
            names.as_ptr(),
        )
    };
    owned(callable.py(), result)
}

/// `callable(*args, **kwargs)`.
///
/// # Errors
/// What the callable raised.
pub(crate) fn with_keywords<'py>(
    callable: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let kwargs = kwargs.map_or(null_mut(), Bound::as_ptr);
    // SAFETY: callable, tuple and dict are borrowed for the call; a missing dict is NULL, as documented.
    let result = unsafe { PyObject_Call(callable.as_ptr(), args.as_ptr(), kwargs) };
    owned(callable.py(), result)
}

/// `object.name(*args)` without making a bound method; the object is the first of `object_and_args`.
///
/// # Errors
/// `AttributeError` if there is no such attribute, and what the method raised.
#[inline]
pub(crate) fn method<'py, const N: usize>(
    name: &Bound<'py, PyString>,
    object_and_args: [&Bound<'py, PyAny>; N],
) -> PyResult<Bound<'py, PyAny>> {
    const { assert!(N >= 1, "a method needs its object") };
    let items = object_and_args.map(Bound::as_ptr);
    // SAFETY: name, object and arguments are borrowed for the call, so every pointer outlives it; there is
    // at least the object.
    let result = unsafe { PyObject_VectorcallMethod(name.as_ptr(), items.as_ptr(), N, null_mut()) };
    owned(name.py(), result)
}

/// Takes over the reference that a C function returned, or the exception that it set.
#[inline]
fn owned(py: Python<'_>, result: *mut PyObject) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: the functions above return a new reference, or NULL with an exception set.
    match unsafe { Bound::from_owned_ptr_or_opt(py, result) } {
        Some(object) => Ok(object),
        None => Err(error::fetch(py)),
    }
}
