//! Which transport has a descriptor: for as long as it is not closing, nobody else may watch that descriptor or read from it.
//!
//! The table knows transports weakly, as asyncio's does. It asks them whether they are closing, so what it keeps may be out of date: the
//! next transport of the number simply takes the place.

use std::cell::RefCell;
use std::os::fd::RawFd;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyWeakrefMethods, PyWeakrefReference};

use crate::names;

/// The transports of one loop, by descriptor.
#[derive(Default)]
pub(crate) struct Claims {
    /// Indexed by descriptor: numbers are small and dense.
    transports: RefCell<Vec<Option<Py<PyWeakrefReference>>>>,
}

impl Claims {
    /// Remembers that a transport has a descriptor.
    ///
    /// # Errors
    /// `TypeError` if it cannot be weakly referenced, `MemoryError`.
    pub(crate) fn claim(&self, fd: RawFd, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let Ok(index) = usize::try_from(fd) else {
            return Ok(());
        };
        let reference = PyWeakrefReference::new(transport)?;
        let mut transports = self.transports.borrow_mut();
        if index >= transports.len() {
            transports.resize_with(index + 1, || None);
        }
        let replaced = transports[index].replace(reference.unbind());
        // A weak reference without a callback: to drop it calls nobody, but the rule is the rule.
        drop(transports);
        drop(replaced);
        Ok(())
    }

    /// Forgets a transport, unless another one has the number by now.
    pub(crate) fn release(&self, fd: RawFd, transport: &Bound<'_, PyAny>) {
        let Ok(index) = usize::try_from(fd) else {
            return;
        };
        let py = transport.py();
        let mut transports = self.transports.borrow_mut();
        let Some(place) = transports.get_mut(index) else {
            return;
        };
        let is_mine = place
            .as_ref()
            .is_some_and(|reference| match reference.bind(py).upgrade() {
                Some(other) => other.is(transport),
                None => true,
            });
        let released = if is_mine { place.take() } else { None };
        drop(transports);
        drop(released);
    }

    /// Refuses a descriptor that a transport uses; `shown` is what the caller named it by. Every method of the loop that watches, reads
    /// from or writes to a descriptor of the user's asks this first, as asyncio's do.
    ///
    /// # Errors
    /// `RuntimeError` that names both, and what asking the transport raises.
    pub(crate) fn ensure_free(
        &self,
        py: Python<'_>,
        fd: RawFd,
        shown: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let Some(transport) = self.find(py, fd) else {
            return Ok(());
        };
        if transport.call_method0(names::is_closing(py))?.is_truthy()? {
            return Ok(());
        }
        Err(PyRuntimeError::new_err(format!(
            "File descriptor {} is used by transport {}",
            shown.repr()?,
            transport.repr()?
        )))
    }

    fn find<'py>(&self, py: Python<'py>, fd: RawFd) -> Option<Bound<'py, PyAny>> {
        let index = usize::try_from(fd).ok()?;
        let transports = self.transports.borrow();
        transports.get(index)?.as_ref()?.bind(py).upgrade()
    }
}
