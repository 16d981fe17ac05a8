//! One Python object that a native payload owns, behind a shared reference.
//!
//! Payloads are entered from Python at any time and any depth, so all their methods take `&self`.
//! A slot is entered only to move or copy the pointer: nothing that could call back, least of all a
//! drop, happens inside, and what is replaced is handed out to be dropped afterwards.

use std::cell::UnsafeCell;

use pyo3::ffi;
use pyo3::prelude::*;

use super::raw_type::{Halt, Visit};

/// How many references there are to that object.
pub(crate) fn references(object: &Bound<'_, PyAny>) -> isize {
    // SAFETY: the object is live; its count is read.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) }
}

/// An optional reference with interior mutability, at first none. `Send`, since Python may free its owner on any
/// thread; not `Sync`, since it is only ever reached with the GIL.
#[derive(Default)]
pub(crate) struct Slot(UnsafeCell<Option<Py<PyAny>>>);

impl Slot {
    /// A slot that owns `object`.
    pub(crate) fn new(object: Option<Bound<'_, PyAny>>) -> Self {
        Self(UnsafeCell::new(object.map(Bound::unbind)))
    }

    /// A new reference to what is in it.
    #[inline]
    pub(crate) fn get<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        // SAFETY: the slot is not `Sync`, and no reference into it leaves this module; incrementing a
        // count runs no foreign code, so nothing else can enter while this one lives.
        unsafe {
            (*self.0.get())
                .as_ref()
                .map(|object| object.bind(py).clone())
        }
    }

    /// Whether nothing is in it.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        // SAFETY: as in `get`; only looked at.
        unsafe { (*self.0.get()).is_none() }
    }

    /// Whether it is this object that is in it.
    #[inline]
    pub(crate) fn holds(&self, object: &Bound<'_, PyAny>) -> bool {
        // SAFETY: as in `get`; only looked at.
        unsafe { (*self.0.get()).as_ref().is_some_and(|own| own.is(object)) }
    }

    /// Puts `object` in and returns what was there.
    #[inline]
    #[must_use = "dropping the old object may run Python code; do it where that is harmless"]
    pub(crate) fn replace<'py>(
        &self,
        py: Python<'py>,
        object: Option<Bound<'py, PyAny>>,
    ) -> Option<Bound<'py, PyAny>> {
        let object = object.map(Bound::unbind);
        // SAFETY: as in `get`; `mem::replace` only moves.
        let old = unsafe { std::mem::replace(&mut *self.0.get(), object) };
        old.map(|object| object.into_bound(py))
    }

    /// Takes out what is in it.
    #[inline]
    #[must_use = "dropping the old object may run Python code; do it where that is harmless"]
    pub(crate) fn take<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.replace(py, None)
    }

    /// Lets go of the object with the slot. A plain drop would ask PyO3 first whether the thread is attached.
    #[inline]
    pub(crate) fn release(self, py: Python<'_>) {
        drop(self.0.into_inner().map(|object| object.into_bound(py)));
    }

    /// Shows the object to the garbage collector.
    ///
    /// # Errors
    /// The collector's wish to stop.
    pub(crate) fn traverse(&self, visit: &Visit<'_>) -> Result<(), Halt> {
        // SAFETY: as in `get`; a visitor neither runs Python code nor changes the object graph.
        match unsafe { (*self.0.get()).as_ref() } {
            Some(object) => visit.object(object),
            None => Ok(()),
        }
    }
}
