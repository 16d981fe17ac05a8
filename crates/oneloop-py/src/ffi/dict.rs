//! Two steps on a dictionary's item in one call each.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::error;

#[cfg(Py_3_13)]
unsafe extern "C" {
    fn PyDict_Pop(
        dict: *mut ffi::PyObject,
        key: *mut ffi::PyObject,
        result: *mut *mut ffi::PyObject,
    ) -> std::ffi::c_int;
}

/// Adds an item if there is none of this key: whether it has.
///
/// # Errors
/// What hashing and comparing raises, `MemoryError`.
#[inline]
pub(crate) fn add<'py>(
    dict: &Bound<'py, PyDict>,
    key: &Bound<'py, PyAny>,
    value: &Bound<'py, PyAny>,
) -> PyResult<bool> {
    // SAFETY: all three are held by the caller; the answer is borrowed, and only compared with NULL. Adding makes the dictionary longer.
    unsafe {
        let before = ffi::PyDict_Size(dict.as_ptr());
        let item = ffi::PyDict_SetDefault(dict.as_ptr(), key.as_ptr(), value.as_ptr());
        match item.is_null() {
            true => Err(error::fetch(dict.py())),
            false => Ok(ffi::PyDict_Size(dict.as_ptr()) > before),
        }
    }
}

/// Takes an item out, if there is one of this key.
///
/// # Errors
/// What hashing and comparing raises.
#[cfg(Py_3_13)]
#[inline]
pub(crate) fn take<'py>(
    dict: &Bound<'py, PyDict>,
    key: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let mut item = std::ptr::null_mut();
    // SAFETY: both are held by the caller; what is found is a new reference.
    unsafe {
        match PyDict_Pop(dict.as_ptr(), key.as_ptr(), &raw mut item) {
            -1 => Err(error::fetch(dict.py())),
            _ => Ok(Bound::from_owned_ptr_or_opt(dict.py(), item)),
        }
    }
}

/// Takes an item out, if there is one of this key.
///
/// # Errors
/// What hashing and comparing raises.
#[cfg(not(Py_3_13))]
#[inline]
pub(crate) fn take<'py>(
    dict: &Bound<'py, PyDict>,
    key: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let item = dict.get_item(key)?;
    if item.is_some() {
        dict.del_item(key)?;
    }
    Ok(item)
}
