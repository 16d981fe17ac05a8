//! Fetching the interpreter's current exception.
//!
//! `PyErr::fetch` resumes a Rust panic when it meets a `PanicException`. A loop must not: a callback
//! that called into panicking code has raised an exception like any other, and the callbacks after it
//! still want to run. What is fetched here is always a value.

use pyo3::exceptions::PySystemError;
use pyo3::ffi;
use pyo3::prelude::*;

/// Takes the exception that a C function reported by its return value.
///
/// A function that fails without setting one is answered with `SystemError`, as CPython does.
#[cold]
pub(crate) fn fetch(py: Python<'_>) -> PyErr {
    match take(py) {
        Some(exception) => PyErr::from_value(exception),
        None => PySystemError::new_err("a C function failed without setting an exception"),
    }
}

/// The later of two exceptions, with the earlier one as its context: what is left of both after a clean-up that failed, too.
#[cold]
pub(crate) fn chained(py: Python<'_>, earlier: PyErr, later: PyErr) -> PyErr {
    let later = later.into_value(py);
    // SAFETY: both are live exceptions; the reference to the context is handed over.
    unsafe { ffi::PyException_SetContext(later.as_ptr(), earlier.into_value(py).into_ptr()) };
    PyErr::from_value(later.into_bound(py).into_any())
}

/// Runs `f`, which may call Python and must report its own failures, and puts back the exception that was set before, if one was: a
/// finalizer runs wherever the last reference goes.
pub(crate) fn kept<R>(py: Python<'_>, f: impl FnOnce() -> R) -> R {
    let before = take(py);
    let result = f();
    if let Some(before) = before {
        PyErr::from_value(before).restore(py);
    }
    result
}

#[cfg(Py_3_12)]
fn take(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    // SAFETY: `py` proves that the thread is attached; the result is NULL or a new reference.
    unsafe { Bound::from_owned_ptr_or_opt(py, ffi::PyErr_GetRaisedException()) }
}

#[cfg(not(Py_3_12))]
fn take(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    use std::ptr::null_mut;
    let (mut class, mut value, mut traceback) = (null_mut(), null_mut(), null_mut());
    // SAFETY: `py` proves that the thread is attached. Fetch hands over three references (or NULLs);
    // after normalizing, `value` is an exception instance, and each reference is owned exactly once.
    unsafe {
        ffi::PyErr_Fetch(&mut class, &mut value, &mut traceback);
        if class.is_null() {
            return None;
        }
        ffi::PyErr_NormalizeException(&mut class, &mut value, &mut traceback);
        if !traceback.is_null() && !value.is_null() {
            ffi::PyException_SetTraceback(value, traceback);
        }
        ffi::Py_XDECREF(traceback);
        ffi::Py_XDECREF(class);
        Bound::from_owned_ptr_or_opt(py, value)
    }
}
