//! Recognising a method of our own behind an attribute.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

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

unsafe extern "C" {
    /// Where an object keeps its `__dict__`, or NULL if objects of its type have none. CPython's own C extensions use it.
    fn _PyObject_GetDictPtr(object: *mut ffi::PyObject) -> *mut *mut ffi::PyObject;
}

/// Whether `object` itself has an attribute of this name, as opposed to its class. Makes no dictionary where there is
/// none yet, since CPython calls the methods of an object without one by a shorter way; but where instances keep their attributes inline
/// (before 3.13, and from 3.14 on), CPython itself makes one when asked for its place.
///
/// # Errors
/// What comparing the names raises.
#[inline]
pub(crate) fn has_own_attribute(
    object: &Bound<'_, PyAny>,
    name: &Bound<'_, PyString>,
) -> PyResult<bool> {
    // SAFETY: the object is live, and the place belongs to it; what is there is NULL or a dictionary, held before anything else runs.
    let dict = unsafe {
        let place = _PyObject_GetDictPtr(object.as_ptr());
        if place.is_null() || (*place).is_null() {
            return Ok(false);
        }
        Bound::from_borrowed_ptr(object.py(), *place)
    };
    dict.cast::<PyDict>()?.contains(name)
}

/// A state of a class, all its bases' included: as long as it is the same, so are the attributes that the class has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClassState {
    class: usize,
    version: u32,
}

impl ClassState {
    /// The current one; `None` if CPython does not keep one at the moment.
    #[inline]
    pub(crate) fn of(object: &Bound<'_, PyAny>) -> Option<Self> {
        // SAFETY: a live object's type, whose fields are read; CPython gives no number out twice, and takes it from a class that changes.
        unsafe {
            let class = ffi::Py_TYPE(object.as_ptr());
            let version = (*class).tp_version_tag;
            (version != 0).then_some(Self {
                class: class as usize,
                version,
            })
        }
    }
}
