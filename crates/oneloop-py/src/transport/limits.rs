//! Water marks as a program gives them: any numbers that asyncio can compare, kept as they are and shown again.

use oneloop::engine::stream::{Limits, Machine};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::base::Transport;
use super::kind::Kind;

impl<K: Kind> Transport<K> {
    /// Follows `asyncio.WriteTransport.set_write_buffer_limits`.
    pub(super) fn set_limits<'py>(
        &self,
        object: &Bound<'py, PyAny>,
        high: Option<&Bound<'py, PyAny>>,
        low: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let py = object.py();
        let marks = complete(py, high, low, Limits::default().high)?;
        let limits = Limits {
            low: whole(&marks.low)?,
            high: whole(&marks.high)?,
        };
        drop(self.low.replace(py, Some(marks.low)));
        drop(self.high.replace(py, Some(marks.high)));
        let actions = self.machine(|machine| machine.set_limits(limits));
        self.perform(object, actions)
    }

    /// Follows `asyncio.WriteTransport.get_write_buffer_limits`: low, then high.
    pub(super) fn limits<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let limits = self.machine(|machine| machine.limits());
        let (low, high) = match (self.low.get(py), self.high.get(py)) {
            (Some(low), Some(high)) => (low, high),
            _ => (
                limits.low.into_pyobject(py)?.into_any(),
                limits.high.into_pyobject(py)?.into_any(),
            ),
        };
        PyTuple::new(py, [low, high]).map(Bound::into_any)
    }
}

/// Both water marks.
pub(super) struct Marks<'py> {
    pub(super) low: Bound<'py, PyAny>,
    pub(super) high: Bound<'py, PyAny>,
}

/// Completes the marks that were given by asyncio's rules.
///
/// # Errors
/// `ValueError` unless high >= low >= 0, and what comparing them raises.
pub(super) fn complete<'py>(
    py: Python<'py>,
    high: Option<&Bound<'py, PyAny>>,
    low: Option<&Bound<'py, PyAny>>,
    default_high: usize,
) -> PyResult<Marks<'py>> {
    let high = match (high, low) {
        (Some(high), _) => high.clone(),
        (None, Some(low)) => low.mul(4)?,
        (None, None) => default_high.into_pyobject(py)?.into_any(),
    };
    let low = match low {
        Some(low) => low.clone(),
        None => high.floor_div(4)?,
    };
    if !(high.ge(&low)? && low.ge(0)?) {
        return Err(PyValueError::new_err(format!(
            "high ({}) must be >= low ({}) must be >= 0",
            high.repr()?,
            low.repr()?
        )));
    }
    Ok(Marks { low, high })
}

/// The whole bytes of a number that is not negative: what is beyond all sizes is as good as the largest.
pub(super) fn whole(number: &Bound<'_, PyAny>) -> PyResult<usize> {
    if let Ok(number) = number.extract::<usize>() {
        return Ok(number);
    }
    // Sizes are whole, so to be above 1.5 is to be above 1. `as` saturates.
    match number.extract::<f64>() {
        Ok(number) => Ok(number as usize),
        // An int that no float can hold.
        Err(error) if error.is_instance_of::<pyo3::exceptions::PyOverflowError>(number.py()) => {
            Ok(usize::MAX)
        }
        Err(error) => Err(error),
    }
}
