//! Bound methods: which function one is of.

use pyo3::ffi::{self, PyObject, PyTypeObject};
use pyo3::prelude::*;

/// Whether `callable` is a bound method of `function`.
#[inline]
pub(crate) fn is_of(callable: &Bound<'_, PyAny>, function: &Py<PyAny>) -> bool {
    // SAFETY: only the type of a live object is read, and if it is a method, its function: a pointer that is compared and not followed.
    unsafe {
        ffi::Py_TYPE(callable.as_ptr()) == &raw mut METHOD
            && function_of(callable.as_ptr()) == function.as_ptr()
    }
}

unsafe extern "C" {
    // Both documented, and declared by PyO3 nowhere. The second returns a borrowed reference.
    #[link_name = "PyMethod_Type"]
    static mut METHOD: PyTypeObject;
    #[link_name = "PyMethod_Function"]
    fn function_of(method: *mut PyObject) -> *mut PyObject;
}
