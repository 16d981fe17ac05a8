//! The memory into which a transport below receives: lent to one connection at a time, as long as it waits for the bytes.
//!
//! asyncio gives every TLS connection a buffer of 256 KiB of its own. A transport asks for memory, fills it and says so in one go, so a few
//! pieces serve all connections. What it is given is a view, which is released when the memory comes back: a transport that kept it can no
//! longer write into what another connection receives. Memory that somebody can still reach is not lent again.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyMemoryView};

use crate::ffi::buffer;
use crate::ffi::call;
use crate::ffi::slot::Slot;
use crate::names;

/// How much is received at once, as asyncio's `SSLProtocol.max_size`.
const SIZE: usize = 256 * 1024;

/// How many pieces are kept: one per thread that runs a loop, and one more for TLS in TLS.
const KEPT: usize = 4;

/// Entered to move a pointer only, so its holder never waits for the GIL.
static POOL: Mutex<Vec<Py<PyAny>>> = Mutex::new(Vec::new());

/// Memory that is lent to a transport, or none.
pub(super) struct Loan {
    memory: Slot,
    view: Slot,
}

impl Loan {
    pub(super) fn none() -> Self {
        Self {
            memory: Slot::new(None),
            view: Slot::new(None),
        }
    }

    /// The memory to receive into.
    ///
    /// # Errors
    /// `MemoryError`.
    pub(super) fn take<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if let Some(view) = self.view.get(py) {
            return Ok(view);
        }
        let pooled = POOL.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let memory = match pooled {
            Some(memory) => memory.into_bound(py),
            None => PyByteArray::new_with(py, SIZE, |_| Ok(()))?.into_any(),
        };
        let view = PyMemoryView::from(&memory)?.into_any();
        drop(self.memory.replace(py, Some(memory)));
        drop(self.view.replace(py, Some(view.clone())));
        Ok(view)
    }

    /// The first `size` bytes of the memory, if any was lent.
    ///
    /// # Errors
    /// `ValueError` if somebody has released it.
    pub(super) fn filled<'py>(
        &self,
        py: Python<'py>,
        size: isize,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.view.get(py) {
            Some(view) => buffer::part(&view, 0, size).map(Some),
            None => Ok(None),
        }
    }

    /// Gives the memory back, unless somebody writes into it still.
    pub(super) fn give_back(&self, py: Python<'_>) {
        let (Some(view), Some(memory)) = (self.view.take(py), self.memory.take(py)) else {
            return;
        };
        // A view of the view would keep the memory, and so would whoever has asked the view for it.
        if call::method(names::release(py), [&view]).is_ok() && buffer::is_sole_reference(&memory) {
            let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
            if pool.len() < KEPT {
                pool.push(memory.unbind());
            }
        }
    }

    pub(super) fn slots(&self) -> [&Slot; 2] {
        [&self.memory, &self.view]
    }
}
