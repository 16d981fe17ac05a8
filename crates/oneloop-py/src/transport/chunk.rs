//! What is written to a transport: how it is looked at while it is sent, and how it is kept until then.

use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView};

use crate::ffi::buffer::{SharedBytes, View};

/// Bytes that wait to be sent.
pub(super) enum Chunk {
    /// An immutable object, kept.
    Shared(SharedBytes),
    /// A copy of what may change, or of what anybody could hold a finalizer in.
    Copied(Box<[u8]>),
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Shared(bytes) => bytes.as_ref(),
            Self::Copied(bytes) => bytes,
        }
    }
}

impl Chunk {
    /// Lets go of it with the GIL in hand.
    pub(super) fn release(self, py: Python<'_>) {
        if let Self::Shared(bytes) = self {
            drop(bytes.into_object().into_bound(py));
        }
    }
}

/// The argument of a write, for the length of the call.
pub(super) enum Data<'py> {
    Bytes(Bound<'py, PyBytes>),
    View(View<'py>),
}

impl<'py> Data<'py> {
    /// Looks at an object's bytes.
    ///
    /// # Errors
    /// `TypeError` if it has none, `BufferError` if they are not contiguous.
    pub(super) fn new(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        match object.cast_exact::<PyBytes>() {
            Ok(bytes) => Ok(Self::Bytes(bytes.clone())),
            Err(_) => View::readable(object).map(Self::View),
        }
    }

    /// As [`Data::new`], of any layout: what is not contiguous is copied.
    ///
    /// # Errors
    /// `TypeError` if the object has no bytes.
    pub(super) fn of_any_layout(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        let py = object.py();
        match Self::new(object) {
            Err(error) if error.is_instance_of::<pyo3::exceptions::PyBufferError>(py) => {
                let bytes = PyMemoryView::from(object)?.call_method0(crate::names::tobytes(py))?;
                Self::new(&bytes)
            }
            result => result,
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes.as_bytes(),
            Self::View(view) => view.bytes(),
        }
    }

    /// Keeps what is left after the first `sent` bytes: the chunk, and how much of that is not wanted.
    pub(super) fn into_chunk(self, sent: usize) -> (Chunk, usize) {
        match self {
            Self::Bytes(bytes) => (Chunk::Shared(SharedBytes::new(bytes)), sent),
            Self::View(view) => (Chunk::Copied(view.bytes()[sent..].into()), 0),
        }
    }
}

/// Whether an object is of a type that can be written.
pub(super) fn is_writable(object: &Bound<'_, PyAny>) -> bool {
    object.is_instance_of::<PyBytes>()
        || object.is_instance_of::<PyByteArray>()
        || object.is_instance_of::<PyMemoryView>()
}
