//! Weak references.

use pyo3::ffi;
use pyo3::prelude::*;

/// What a weak reference refers to; `None` if that is gone, or `reference` is none.
#[inline]
pub(crate) fn target<'py>(reference: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    let py = reference.py();
    let mut target = std::ptr::null_mut();
    // SAFETY: the object is live and borrowed for the call, its kind is checked first; the target is NULL or a new reference.
    unsafe {
        if ffi::PyWeakref_Check(reference.as_ptr()) == 0
            || ffi::compat::PyWeakref_GetRef(reference.as_ptr(), &raw mut target) != 1
        {
            return None;
        }
        Bound::from_owned_ptr_or_opt(py, target)
    }
}
