//! `bytes` objects that are filled by a system call.
//!
//! How much there is to receive is not known before. [`Spare`] is memory of the size that was asked for, kept from one call to the next:
//! what is little is copied out of it, what is much goes out as it is. So neither a call that finds nothing nor a small message costs
//! an allocation of that size, and a large one is not copied.

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::ptr::null;

use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::error;

/// Up to here what was read is copied from the stack: that costs less than memory that is mostly given back.
const SMALL: usize = 32 * 1024;

/// How much memory is kept at most. Who asks for more expects much.
const LARGEST_SPARE: usize = 256 * 1024;

/// See the module.
#[derive(Default)]
pub(crate) struct Spare(Cell<Option<Py<PyBytes>>>);

impl Spare {
    /// As [`filled`], with memory that is kept if it can be.
    ///
    /// # Errors
    /// `MemoryError`.
    pub(crate) fn filled<'py, F>(
        &self,
        py: Python<'py>,
        capacity: usize,
        fill: F,
    ) -> PyResult<io::Result<Bound<'py, PyBytes>>>
    where
        F: for<'a> FnOnce(&'a mut [MaybeUninit<u8>]) -> io::Result<&'a mut [u8]>,
    {
        if capacity <= SMALL || capacity > LARGEST_SPARE {
            return filled(py, capacity, fill);
        }
        let kept = self.0.take().map(|kept| kept.into_bound(py));
        let kept =
            match kept.filter(|kept| kept.as_any().len().is_ok_and(|length| length == capacity)) {
                Some(kept) => kept,
                None => uninitialized(py, capacity)?,
            };
        // SAFETY: `bytes` that were made here without contents and were never given away: nobody else knows them.
        let filled = match unsafe { fill_in_place(&kept, fill) } {
            Ok(filled) if filled.len() > SMALL => {
                let length = filled.len();
                return shrunk(kept, length).map(Ok);
            }
            Ok(filled) => copied(py, filled).map(Ok),
            Err(refusal) => Ok(Err(refusal)),
        };
        self.0.set(Some(kept.unbind()));
        filled
    }
}

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
    let object = uninitialized(py, capacity)?;
    // SAFETY: made here just now.
    match unsafe { fill_in_place(&object, fill) } {
        Ok(filled) => {
            let length = filled.len();
            shrunk(object, length).map(Ok)
        }
        Err(refusal) => Ok(Err(refusal)),
    }
}

/// `bytes` of that length without contents, which nobody may see before they have some.
fn uninitialized(py: Python<'_>, capacity: usize) -> PyResult<Bound<'_, PyBytes>> {
    let Ok(size) = ffi::Py_ssize_t::try_from(capacity) else {
        return Err(pyo3::exceptions::PyMemoryError::new_err(()));
    };
    // SAFETY: `py` proves that the thread is attached. The result is a new `bytes`, or NULL with an exception set.
    unsafe {
        let object = ffi::PyBytes_FromStringAndSize(null(), size);
        match Bound::from_owned_ptr_or_opt(py, object) {
            Some(object) => Ok(object.cast_into_unchecked()),
            None => Err(error::fetch(py)),
        }
    }
}

/// What `fill` put at the beginning of the memory of `object`.
///
/// # Safety
/// The object is from [`uninitialized`] and nobody else has a reference to it.
unsafe fn fill_in_place<'a, F>(object: &'a Bound<'_, PyBytes>, fill: F) -> io::Result<&'a [u8]>
where
    F: for<'m> FnOnce(&'m mut [MaybeUninit<u8>]) -> io::Result<&'m mut [u8]>,
{
    // SAFETY: a live `bytes`, whose length's worth of memory follows the pointer; by this function's contract it may be written.
    let memory = unsafe {
        let start = ffi::PyBytes_AsString(object.as_ptr()).cast::<MaybeUninit<u8>>();
        let length = ffi::PyBytes_Size(object.as_ptr());
        std::slice::from_raw_parts_mut(start, length.cast_unsigned())
    };
    let start = memory.as_ptr();
    let filled = fill(memory)?;
    assert!(
        filled.is_empty() || filled.as_ptr() == start.cast(),
        "what was filled is the beginning of the memory"
    );
    Ok(filled)
}

/// The first `length` bytes, at most as many as there are, of an object that nobody else has a reference to.
fn shrunk(object: Bound<'_, PyBytes>, length: usize) -> PyResult<Bound<'_, PyBytes>> {
    let py = object.py();
    let mut object = object.into_ptr();
    // SAFETY: the only reference, given up to the call, which puts a new one or NULL in its place; on failure it has dropped the object.
    unsafe {
        if resize(&raw mut object, length.cast_signed()) != 0 {
            return Err(error::fetch(py));
        }
        Ok(Bound::from_owned_ptr(py, object).cast_into_unchecked())
    }
}

unsafe extern "C" {
    // Documented, and stable since Python 2; PyO3 declares it for itself only.
    #[link_name = "_PyBytes_Resize"]
    fn resize(bytes: *mut *mut PyObject, size: ffi::Py_ssize_t) -> std::ffi::c_int;
}
