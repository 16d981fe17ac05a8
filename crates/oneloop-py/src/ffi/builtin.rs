//! Recognising a method of our own behind an attribute.

use pyo3::ffi;
use pyo3::prelude::*;

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
