//! `bytes` objects that are filled by a system call.

use std::io;
use std::mem::MaybeUninit;
use std::ptr::null;

use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::error;

/// Up to here what was read is copied from the stack: that costs less than memory that is mostly given back.
const SMALL: usize = 32 * 1024;

/// What `fill` put at the beginning of the memory that it was given, `capacity` bytes, and returned. The inner result is its own.
///
/// # Errors
/// `MemoryError`.
pub(crate) fn filled<'py, F>(
    py: Python<'py>,
    capacity: usize,
    fill: F,
) -> PyResult<io::Result<Bound<'py, PyBytes>>>
where
    F: for<'a> FnOnce(&'a mut [MaybeUninit<u8>]) -> io::Result<&'a mut [u8]>,
{
    if capacity <= SMALL {
        let mut memory = [MaybeUninit::uninit(); SMALL];
        return match fill(&mut memory[..capacity]) {
            Ok(filled) => copied(py, filled).map(Ok),
            Err(refusal) => Ok(Err(refusal)),
        };
    }
    in_place(py, capacity, fill)
}

/// A copy of `bytes`.
///
/// # Errors
/// `MemoryError`, where `PyBytes::new` would panic.
#[inline]
pub(crate) fn copied<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    // No slice is longer than `isize::MAX`.
    let size = bytes.len().cast_signed();
    // SAFETY: `py` proves that the thread is attached; pointer and length are a slice's. The result is a new `bytes`, or NULL with an
    // exception set.
    unsafe {
        let object = ffi::PyBytes_FromStringAndSize(bytes.as_ptr().cast(), size);
        match Bound::from_owned_ptr_or_opt(py, object) {
            Some(object) => Ok(object.cast_into_unchecked()),
            None => Err(error::fetch(py)),
        }
    }
}

fn in_place<'py, F>(
    py: Python<'py>,
    capacity: usize,
    fill: F,
) -> PyResult<io::Result<Bound<'py, PyBytes>>>
where
    F: for<'a> FnOnce(&'a mut [MaybeUninit<u8>]) -> io::Result<&'a mut [u8]>,
{
    let Ok(size) = ffi::Py_ssize_t::try_from(capacity) else {
        return Err(pyo3::exceptions::PyMemoryError::new_err(()));
    };
    // SAFETY: `py` proves that the thread is attached. With no contents given the object's memory is uninitialized, and it is ours
    // alone, so it may be written and resized. `size` bytes of it follow `PyBytes_AsString`'s pointer.
    unsafe {
        let mut object = ffi::PyBytes_FromStringAndSize(null(), size);
        if object.is_null() {
            return Err(error::fetch(py));
        }
        let start = ffi::PyBytes_AsString(object).cast::<MaybeUninit<u8>>();
        let memory = std::slice::from_raw_parts_mut(start, capacity);
        let length = match fill(memory) {
            Ok(filled) => {
                assert!(
                    filled.is_empty() || filled.as_ptr() == start.cast_const().cast(),
                    "what was filled is the beginning of the memory"
                );
                filled.len()
            }
            Err(refusal) => {
                ffi::Py_DECREF(object);
                return Ok(Err(refusal));
            }
        };
        // At most the capacity, as it is a part of the memory.
        if resize(&raw mut object, length as ffi::Py_ssize_t) != 0 {
            return Err(error::fetch(py));
        }
        Ok(Ok(Bound::from_owned_ptr(py, object).cast_into_unchecked()))
    }
}

unsafe extern "C" {
    // Documented, and stable since Python 2; PyO3 declares it for itself only.
    #[link_name = "_PyBytes_Resize"]
    fn resize(bytes: *mut *mut PyObject, size: ffi::Py_ssize_t) -> std::ffi::c_int;
}
