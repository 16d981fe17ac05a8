//! Bytes of Python objects: what is written to a descriptor, and what is read into.
//!
//! A view is held for one system call only, with the GIL: nobody can resize or free the memory meanwhile. Views are simple ones, without
//! shape or strides: of others the exporter may point into the `Py_buffer` itself, which could then not be moved.

use std::mem::MaybeUninit;
use std::slice;

use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::error;

/// Contiguous memory of an object.
pub(crate) struct View<'py> {
    raw: ffi::Py_buffer,
    py: Python<'py>,
}

impl<'py> View<'py> {
    /// What can be read of an object.
    ///
    /// # Errors
    /// `TypeError` if it has no bytes, `BufferError` if they are not contiguous.
    pub(crate) fn readable(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        Self::new(object, ffi::PyBUF_SIMPLE)
    }

    /// What can be written into an object.
    ///
    /// # Errors
    /// `TypeError` if it is read-only or not contiguous, as what `socket.recv_into` raises.
    pub(crate) fn writable(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        Self::new(object, ffi::PyBUF_WRITABLE).map_err(|error| {
            let py = object.py();
            match (
                error.is_instance_of::<PyBufferError>(py),
                object.get_type().name(),
            ) {
                (true, Ok(name)) => PyTypeError::new_err(format!(
                    "a read-write bytes-like object is required, not '{name}'"
                )),
                _ => error,
            }
        })
    }

    fn new(object: &Bound<'py, PyAny>, flags: i32) -> PyResult<Self> {
        let mut raw = MaybeUninit::<ffi::Py_buffer>::zeroed();
        // SAFETY: a live object and memory for the view, which is filled in if the call succeeds.
        match unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), raw.as_mut_ptr(), flags) } {
            0 => Ok(Self {
                // SAFETY: as said; all zeroes are a valid value, too.
                raw: unsafe { raw.assume_init() },
                py: object.py(),
            }),
            _ => Err(error::fetch(object.py())),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.raw.len.unsigned_abs()
    }

    /// The bytes. They do not change while this is held, since what could change them needs the GIL.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self.len() {
            0 => &[],
            // SAFETY: the view was asked to be contiguous, and its memory stays until it is released.
            length => unsafe { slice::from_raw_parts(self.raw.buf.cast(), length) },
        }
    }

    /// The memory to fill.
    ///
    /// # Errors
    /// `BufferError` if it was not asked to be writable.
    pub(crate) fn bytes_mut(&mut self) -> PyResult<&mut [u8]> {
        if self.raw.readonly != 0 {
            return Err(PyBufferError::new_err("the memory is read-only"));
        }
        Ok(match self.len() {
            0 => &mut [],
            // SAFETY: as in `bytes`, and writable; nobody else has a reference while the GIL is held.
            length => unsafe { slice::from_raw_parts_mut(self.raw.buf.cast(), length) },
        })
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        // Whoever has a `View` is attached.
        let _: Python<'_> = self.py;
        // SAFETY: filled in by `PyObject_GetBuffer` and released once, by an attached thread.
        unsafe { ffi::PyBuffer_Release(&raw mut self.raw) };
    }
}

/// `object[start:end]`. PyO3's `PySlice::new` is not for a loop that runs for long: it leaks the integers that it makes (0.30).
///
/// # Errors
/// What the object's `__getitem__` raises.
pub(crate) fn part<'py>(
    object: &Bound<'py, PyAny>,
    start: isize,
    end: isize,
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: a live object; the call returns a new reference, or NULL with an exception set.
    let part = unsafe {
        Bound::from_owned_ptr_or_opt(
            object.py(),
            ffi::PySequence_GetSlice(object.as_ptr(), start, end),
        )
    };
    part.ok_or_else(|| error::fetch(object.py()))
}

/// Whether nobody else refers to an object.
pub(crate) fn is_sole_reference(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: the object is live, and the GIL is held.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) == 1 }
}

/// A `bytes` object that is kept for its contents. They never change, so they can be read without the GIL.
pub(crate) struct SharedBytes {
    object: Py<PyBytes>,
    start: *const u8,
    length: usize,
}

// SAFETY: the memory belongs to an immutable object that is owned here; the pointer is only read through.
unsafe impl Send for SharedBytes {}

impl SharedBytes {
    /// Shares an object that is exactly `bytes`.
    pub(crate) fn new(object: Bound<'_, PyBytes>) -> Self {
        let bytes = object.as_bytes();
        Self {
            start: bytes.as_ptr(),
            length: bytes.len(),
            object: object.unbind(),
        }
    }

    /// A new reference to the object.
    pub(crate) fn object<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        self.object.bind(py).clone()
    }

    /// The object.
    pub(crate) fn into_object(self) -> Py<PyBytes> {
        self.object
    }
}

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the object's own memory, immutable and alive as long as `object` is.
        unsafe { slice::from_raw_parts(self.start, self.length) }
    }
}
