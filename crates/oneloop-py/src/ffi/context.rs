//! `contextvars.Context`: entering, leaving, copying the current one.

use pyo3::ffi;
use pyo3::prelude::*;

use super::error;

/// A copy of the thread's current context, as `contextvars.copy_context()`.
///
/// # Errors
/// `MemoryError`.
pub(crate) fn copy_current(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: `py` proves that the thread is attached; the result is NULL or a new reference.
    match unsafe { Bound::from_owned_ptr_or_opt(py, ffi::PyContext_CopyCurrent()) } {
        Some(context) => Ok(context),
        None => Err(error::fetch(py)),
    }
}

/// A copy of `context`, as its `copy()`.
///
/// # Errors
/// `TypeError` if it is no `Context`, `MemoryError`.
pub(crate) fn copy<'py>(context: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = context.py();
    // SAFETY: the object is live and borrowed for the call; its type is checked there; the result is NULL or a new reference.
    match unsafe { Bound::from_owned_ptr_or_opt(py, ffi::PyContext_Copy(context.as_ptr())) } {
        Some(context) => Ok(context),
        None => Err(error::fetch(py)),
    }
}

/// Whether `object` is a real `Context`, which cannot be subclassed.
#[inline]
pub(crate) fn is_context(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: only the type of a live object is read.
    unsafe { ffi::PyContext_CheckExact(object.as_ptr()) != 0 }
}

/// A context that the thread is in; leaves it when dropped, whatever ends the scope.
pub(crate) struct Entered<'a, 'py>(&'a Bound<'py, PyAny>);

impl<'a, 'py> Entered<'a, 'py> {
    /// Enters `context`.
    ///
    /// # Errors
    /// `RuntimeError` if it is entered already, `TypeError` if it is no `Context`.
    #[inline]
    pub(crate) fn new(context: &'a Bound<'py, PyAny>) -> PyResult<Self> {
        // SAFETY: the object is live and borrowed for as long as the guard lives; the type is checked there.
        match unsafe { ffi::PyContext_Enter(context.as_ptr()) } {
            0 => Ok(Self(context)),
            _ => Err(error::fetch(context.py())),
        }
    }
}

impl Drop for Entered<'_, '_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the context was entered by `new` on this thread and is borrowed until here.
        if unsafe { ffi::PyContext_Exit(self.0.as_ptr()) } != 0 {
            // Only code that unbalanced enter and exit through the C API gets here. The callback's own
            // result matters more than that, so this one is reported and not raised.
            error::fetch(self.0.py()).write_unraisable(self.0.py(), Some(self.0));
        }
    }
}
