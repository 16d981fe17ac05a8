//! `bytearray` objects that grow.

use std::ptr::copy_nonoverlapping;

use pyo3::exceptions::PyMemoryError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyByteArray;

use super::error;

/// Appends a copy of `bytes`, as `extend` does.
///
/// # Errors
/// `BufferError` while somebody has a view of it, `MemoryError`.
pub(crate) fn append(target: &Bound<'_, PyByteArray>, bytes: &[u8]) -> PyResult<()> {
    let old = target.len();
    let Some(size) = old
        .checked_add(bytes.len())
        .and_then(|size| ffi::Py_ssize_t::try_from(size).ok())
    else {
        return Err(PyMemoryError::new_err(()));
    };
    // SAFETY: the object is a live `bytearray`, borrowed for the call. Once resized it has `size` bytes, and `bytes`, which is no part of
    // it (nobody can hold a slice of one that may grow), fits behind the old ones. Nothing runs in between.
    unsafe {
        if ffi::PyByteArray_Resize(target.as_ptr(), size) != 0 {
            return Err(error::fetch(target.py()));
        }
        let start = ffi::PyByteArray_AsString(target.as_ptr()).cast::<u8>();
        copy_nonoverlapping(bytes.as_ptr(), start.add(old), bytes.len());
    }
    Ok(())
}
