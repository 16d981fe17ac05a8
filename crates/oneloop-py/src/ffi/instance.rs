//! Objects of plain Python classes: what they keep of their own, and whether their class has changed.

use std::num::NonZeroU32;
use std::ptr::null_mut;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};

/// The number of a class's present state. Any change of it or of one of its bases takes the number away, and none is used twice. `None` if it
/// has none now; a look-up gives it one, as long as there are any left.
#[inline]
pub(crate) fn version(class: &Bound<'_, PyType>) -> Option<NonZeroU32> {
    // SAFETY: a field of a live type is read, which CPython's headers have for who caches by it. It is only written with the GIL held.
    NonZeroU32::new(unsafe { (*class.as_type_ptr()).tp_version_tag })
}

/// Whether the objects of a class read and set their attributes as `object` does.
pub(crate) fn is_plain(class: &Bound<'_, PyType>) -> bool {
    let class = class.as_type_ptr();
    // SAFETY: two fields of a live type are read, and compared as addresses.
    let (get, set) = unsafe { ((*class).tp_getattro, (*class).tp_setattro) };
    get.is_some_and(|get| get as usize == ffi::PyObject_GenericGetAttr as *const () as usize)
        && set.is_some_and(|set| set as usize == ffi::PyObject_GenericSetAttr as *const () as usize)
}

/// The dictionary of an object, made if there is none yet; `None` if the object cannot have one.
#[inline]
pub(crate) fn dictionary<'py>(object: &Bound<'py, PyAny>) -> Option<Bound<'py, PyDict>> {
    let py = object.py();
    // SAFETY: the object is live and borrowed for the call. The result is a new reference, or NULL with an exception set, which is fetched.
    let dictionary = unsafe {
        let dictionary = ffi::PyObject_GenericGetDict(object.as_ptr(), null_mut());
        Bound::from_owned_ptr_or_opt(py, dictionary)
    };
    match dictionary {
        Some(dictionary) => dictionary.cast_into_exact().ok(),
        None => {
            drop(super::error::fetch(py));
            None
        }
    }
}
