//! Recognising a method of our own behind an attribute.

use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyType};

/// The address of the C function behind a method that a class has; `None` for any other object.
///
/// Only compared, never called.
pub(crate) fn c_function(method: &Bound<'_, PyAny>) -> Option<usize> {
    let object = method.as_ptr();
    // SAFETY: the object is live, and is read as what its exact type says it is; a descriptor's definition is static.
    unsafe {
        if ffi::Py_TYPE(object) != &raw mut ffi::PyMethodDescr_Type {
            return None;
        }
        let definition = (*object.cast::<ffi::PyMethodDescrObject>()).d_method;
        // The union's members are all function pointers of one size; a method's is never null.
        Some((*definition).ml_meth.PyCFunction as usize)
    }
}

/// The same for a method that is bound to `object`, and to no other.
pub(crate) fn c_function_bound_to(
    method: &Bound<'_, PyAny>,
    object: &Bound<'_, PyAny>,
) -> Option<usize> {
    // SAFETY: the method is live, and read as what its exact type says it is; what it is bound to is only compared.
    unsafe {
        let is_bound = ffi::PyCFunction_CheckExact(method.as_ptr()) != 0
            && ffi::PyCFunction_GetSelf(method.as_ptr()) == object.as_ptr();
        let function = is_bound.then(|| ffi::PyCFunction_GetFunction(method.as_ptr()))??;
        Some(function as usize)
    }
}

unsafe extern "C" {
    /// Where an object keeps its `__dict__`, or NULL if objects of its type have none. CPython's own C extensions use it.
    fn _PyObject_GetDictPtr(object: *mut ffi::PyObject) -> *mut *mut ffi::PyObject;
}

/// Whether `object` has a place for a dictionary, and none there: then it has no attribute of its own outside of slots.
#[inline]
pub(crate) fn has_no_dict(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: a live object; at its type's `tp_dictoffset`, if that is positive, lies the place that CPython documents, a pointer.
    unsafe {
        let offset = (*ffi::Py_TYPE(object.as_ptr())).tp_dictoffset;
        offset > 0 && {
            let place: *const *mut ffi::PyObject = object.as_ptr().byte_offset(offset).cast();
            (*place).is_null()
        }
    }
}

/// Whether `object` itself has an attribute of this name, as opposed to its class. Makes no dictionary where there is
/// none yet, since CPython calls the methods of an object without one by a shorter way: for that the object's class needs a
/// dictionary of the kind that has a place of its own (PyO3's `dict`). Attributes that CPython keeps inline would become one when asked for their place.
///
/// # Errors
/// What comparing the names raises.
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
    let dict = dict.cast::<PyDict>()?;
    Ok(!dict.is_empty() && dict.contains(name)?)
}

/// Takes away the dictionary that CPython before 3.13 gives to an object with a place for one when it makes it, if nobody has used it.
pub(crate) fn shed_empty_dict(object: &Bound<'_, PyAny>) {
    // SAFETY: the object is live, and the place belongs to it. The dictionary there is empty and nobody else's, so that its end runs no
    // code; the place is empty before it goes.
    unsafe {
        let place = _PyObject_GetDictPtr(object.as_ptr());
        if place.is_null() || (*place).is_null() {
            return;
        }
        if ffi::PyDict_Size(*place) == 0 && ffi::Py_REFCNT(*place) == 1 {
            ffi::Py_DECREF(ptr::replace(place, ptr::null_mut()));
        }
    }
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

/// Whether the attributes of the class's instances are looked up as CPython does by itself: no `__getattribute__` and no `__getattr__` of a program's.
pub(crate) fn looks_up_plainly(class: &Bound<'_, PyType>) -> bool {
    let plain = ffi::PyObject_GenericGetAttr as ffi::getattrofunc;
    // SAFETY: the class is live, and its slot is read; both are functions of the interpreter's own binary.
    let getattro = unsafe { (*class.as_type_ptr()).tp_getattro };
    getattro.is_some_and(|getattro| getattro as usize == plain as usize)
}
