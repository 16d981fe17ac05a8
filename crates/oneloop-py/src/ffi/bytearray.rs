//! `bytearray` objects that grow at their end, and are taken from at their beginning.

use std::ptr::copy_nonoverlapping;
use std::slice;

use memchr::memmem;
use pyo3::exceptions::PyMemoryError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes};

#[cfg(not(Py_3_15))]
use super::bytes;
#[cfg(Py_3_15)]
use super::call;
use super::error;
#[cfg(Py_3_15)]
use crate::names;

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

/// The first `count` bytes, or all if there are fewer, which are removed.
///
/// # Errors
/// As [`remove`].
#[cfg(Py_3_15)]
pub(crate) fn take<'py>(
    source: &Bound<'py, PyByteArray>,
    count: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    // As asyncio does: all of them are handed over without a copy, and an empty one with a view is refused.
    let count = count.min(source.len()).into_pyobject(source.py())?;
    let taken = call::method(
        names::take_bytes(source.py()),
        [source.as_any(), count.as_any()],
    )?;
    Ok(taken.cast_into()?)
}

/// The first `count` bytes, or all if there are fewer, which are removed.
///
/// # Errors
/// As [`remove`].
#[cfg(not(Py_3_15))]
pub(crate) fn take<'py>(
    source: &Bound<'py, PyByteArray>,
    count: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    let count = count.min(source.len());
    // SAFETY: making `bytes` runs no Python code, so nobody resizes it meanwhile.
    let taken = unsafe { bytes::copied(source.py(), &contents(source)[..count])? };
    remove(source, count)?;
    Ok(taken)
}

/// Removes the first `count` bytes, or all if there are fewer.
///
/// # Errors
/// `BufferError` while somebody has a view of it, `MemoryError`.
pub(crate) fn remove(target: &Bound<'_, PyByteArray>, count: usize) -> PyResult<()> {
    let result = match target.len().checked_sub(count) {
        // SAFETY: the object is a live `bytearray`, borrowed for the call.
        None | Some(0) => unsafe { ffi::PyByteArray_Resize(target.as_ptr(), 0) },
        // SAFETY: as above. A `bytearray` forgets its beginning without moving the rest.
        Some(_) => unsafe { ffi::PySequence_DelSlice(target.as_ptr(), 0, count.cast_signed()) },
    };
    match result {
        0 => Ok(()),
        _ => Err(error::fetch(target.py())),
    }
}

/// Where `part` begins first, at `from` or after it.
pub(crate) fn find(
    source: &Bound<'_, PyByteArray>,
    part: &Bound<'_, PyBytes>,
    from: usize,
) -> Option<usize> {
    // SAFETY: searching runs no Python code, so nobody resizes it meanwhile.
    let rest = unsafe { contents(source) }.get(from..)?;
    let found = match *part.as_bytes() {
        [byte] => memchr::memchr(byte, rest),
        ref part => memmem::find(rest, part),
    };
    found.map(|at| from + at)
}

/// # Safety
/// No Python code runs while the slice is used.
unsafe fn contents<'a>(source: &'a Bound<'_, PyByteArray>) -> &'a [u8] {
    // SAFETY: the object is live and has that many bytes there, which only code with the GIL changes.
    unsafe {
        let start = ffi::PyByteArray_AsString(source.as_ptr()).cast::<u8>();
        slice::from_raw_parts(start, source.len())
    }
}
