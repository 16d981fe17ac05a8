//! Water marks of one buffer of a layer.

use std::cell::RefCell;

use oneloop::engine::tls::Flow;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::super::limits;
use crate::ffi::raw_type::{Halt, Visit};
use crate::ffi::slot::Slot;

/// The marks as the user gave them, and what follows from them.
pub(super) struct Marks {
    flow: RefCell<Flow>,
    default: usize,
    low: Slot,
    high: Slot,
}

impl Marks {
    /// asyncio's default for a buffer whose high-water mark is `high`.
    pub(super) fn new(high: usize) -> Self {
        Self {
            flow: RefCell::new(Flow::new(high / 4, high)),
            default: high,
            low: Slot::new(None),
            high: Slot::new(None),
        }
    }

    /// Enters the flow control, which calls nobody.
    pub(super) fn flow<R>(&self, enter: impl FnOnce(&mut Flow) -> R) -> R {
        enter(&mut self.flow.borrow_mut())
    }

    /// Sets them, by asyncio's rules.
    ///
    /// # Errors
    /// `ValueError` unless high >= low >= 0.
    pub(super) fn set<'py>(
        &self,
        py: Python<'py>,
        high: Option<&Bound<'py, PyAny>>,
        low: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let marks = limits::complete(py, high, low, self.default)?;
        let (low, high) = (limits::whole(&marks.low)?, limits::whole(&marks.high)?);
        self.flow(|flow| flow.set(low, high));
        drop(self.low.replace(py, Some(marks.low)));
        drop(self.high.replace(py, Some(marks.high)));
        Ok(())
    }

    /// Both, the low one first.
    ///
    /// # Errors
    /// `MemoryError`.
    pub(super) fn show<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (low, high) = match (self.low.get(py), self.high.get(py)) {
            (Some(low), Some(high)) => (low, high),
            _ => (
                (self.default / 4).into_pyobject(py)?.into_any(),
                self.default.into_pyobject(py)?.into_any(),
            ),
        };
        PyTuple::new(py, [low, high]).map(Bound::into_any)
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> Result<(), Halt> {
        self.low.traverse(visit)?;
        self.high.traverse(visit)
    }

    pub(super) fn clear(&self, py: Python<'_>) {
        drop(self.low.take(py));
        drop(self.high.take(py));
    }
}
