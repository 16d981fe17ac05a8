//! Recognising a method of our own behind an attribute.

use std::ptr::null_mut;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::error;

/// The address of the C function behind a built-in method, bound or not; `None` for any other object.
///
/// Only compared, never called. Two bound methods of one definition have the same.
pub(crate) fn c_function(method: &Bound<'_, PyAny>) -> Option<usize> {
    let object = method.as_ptr();
    // SAFETY: the object is live, and is read as what its exact type says it is; a descriptor's definition is static.
    unsafe {
        if ffi::PyCFunction_CheckExact(object) != 0 {
            return ffi::PyCFunction_GetFunction(object).map(|function| function as usize);
        }
        if ffi::Py_TYPE(object) == &raw mut ffi::PyMethodDescr_Type {
            let definition = (*object.cast::<ffi::PyMethodDescrObject>()).d_method;
            // The union's members are all function pointers of one size; a method's is never null.
            return Some((*definition).ml_meth.PyCFunction as usize);
        }
        None
    }
}

/// Whether `object` itself has an attribute of this name, as opposed to its class.
///
/// # Errors
/// `MemoryError`.
pub(crate) fn has_own_attribute(
    object: &Bound<'_, PyAny>,
    name: &Bound<'_, PyString>,
) -> PyResult<bool> {
    let py = object.py();
    // SAFETY: the object is live; the result is a new reference to its dictionary, or NULL with an exception set.
    let dict = unsafe {
        let dict = ffi::PyObject_GenericGetDict(object.as_ptr(), null_mut());
        Bound::from_owned_ptr_or_opt(py, dict)
    };
    match dict {
        Some(dict) => dict.cast::<PyDict>()?.contains(name),
        None => Err(error::fetch(py)),
    }
}
