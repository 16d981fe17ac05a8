//! The memory into which a transport below receives: lent to one connection at a time, as long as it waits for the bytes.
//!
//! asyncio gives every TLS connection a buffer of 256 KiB of its own. A transport asks for memory, fills it and says so in one go, so a few
//! pieces serve all connections. One that somebody still refers to when it comes back is not lent again.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyMemoryView, PySlice};

use crate::ffi::buffer;
use crate::ffi::slot::Slot;

/// How much is received at once, as asyncio's `SSLProtocol.max_size`.
const SIZE: usize = 256 * 1024;

/// How many pieces are kept: one per thread that runs a loop, and one more for TLS in TLS.
const KEPT: usize = 4;

/// Entered to move a pointer only, so its holder never waits for the GIL.
static POOL: Mutex<Vec<Py<PyAny>>> = Mutex::new(Vec::new());

/// Memory that is lent to a transport, or none.
pub(super) struct Loan(pub(super) Slot);

impl Loan {
    pub(super) fn none() -> Self {
        Self(Slot::new(None))
    }

    /// The memory to receive into.
    ///
    /// # Errors
    /// `MemoryError`.
    pub(super) fn take<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if let Some(memory) = self.0.get(py) {
            return Ok(memory);
        }
        let pooled = POOL.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let memory = match pooled {
            Some(memory) => memory.into_bound(py),
            None => {
                let memory = PyByteArray::new_with(py, SIZE, |_| Ok(()))?;
                PyMemoryView::from(&memory)?.into_any()
            }
        };
        drop(self.0.replace(py, Some(memory.clone())));
        Ok(memory)
    }

    /// The first `size` bytes of the memory, if any was lent.
    ///
    /// # Errors
    /// `MemoryError`.
    pub(super) fn filled<'py>(
        &self,
        py: Python<'py>,
        size: isize,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.0.get(py) {
            Some(memory) => memory.get_item(PySlice::new(py, 0, size, 1)).map(Some),
            None => Ok(None),
        }
    }

    /// Gives the memory back.
    pub(super) fn give_back(&self, py: Python<'_>) {
        let Some(memory) = self.0.take(py) else {
            return;
        };
        if buffer::is_sole_reference(&memory) {
            let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
            if pool.len() < KEPT {
                pool.push(memory.unbind());
            }
        }
    }
}
