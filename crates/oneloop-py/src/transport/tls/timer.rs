//! A limit of time for one phase of a connection: the handshake, the shutdown.

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::ffi::call;
use crate::ffi::raw_type::{Halt, Visit};
use crate::ffi::slot::Slot;
use crate::names;

/// A limit as the user gave it, and the loop's timer while it runs.
pub(super) struct Timer {
    limit: Slot,
    handle: Slot,
}

impl Timer {
    pub(super) fn new(limit: Bound<'_, PyAny>) -> Self {
        Self {
            limit: Slot::new(Some(limit)),
            handle: Slot::new(None),
        }
    }

    /// Has a method of `object` called when the limit is over, unless that is so already.
    ///
    /// # Errors
    /// What `call_later` raises.
    pub(super) fn start(
        &self,
        event_loop: &Bound<'_, PyAny>,
        object: &Bound<'_, PyAny>,
        method: &Bound<'_, PyString>,
    ) -> PyResult<()> {
        let py = object.py();
        let Some(limit) = self.limit.get(py) else {
            return Ok(());
        };
        if self.handle.get(py).is_some() {
            return Ok(());
        }
        let callback = object.getattr(method)?;
        let handle = call::method(names::call_later(py), [event_loop, &limit, &callback])?;
        drop(self.handle.replace(py, Some(handle)));
        Ok(())
    }

    /// Ends it.
    ///
    /// # Errors
    /// What `cancel` raises.
    pub(super) fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        match self.handle.take(py) {
            Some(handle) => call::method(names::cancel(py), [&handle]).map(drop),
            None => Ok(()),
        }
    }

    /// The limit in words.
    ///
    /// # Errors
    /// What `str()` of it raises.
    pub(super) fn describe(&self, py: Python<'_>) -> PyResult<String> {
        match self.limit.get(py) {
            Some(limit) => Ok(limit.str()?.to_string()),
            None => Ok(String::new()),
        }
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> Result<(), Halt> {
        self.limit.traverse(visit)?;
        self.handle.traverse(visit)
    }

    pub(super) fn clear(&self, py: Python<'_>) {
        drop(self.limit.take(py));
        drop(self.handle.take(py));
    }
}
