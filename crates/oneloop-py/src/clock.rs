//! The loop's clock: `time.monotonic()`, unless a subclass or an instance says otherwise.
//!
//! A program may override `time()` on a subclass, on an instance, or on the class of a living loop (freezegun does). Its timers must move
//! with it, so the attribute is looked at wherever time matters; only where our own method is found there, the clock is read directly.

use oneloop::Instant;
use oneloop::engine::monotonic;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyFloat;

use crate::overrides::{self, Method};

const NANOS_PER_SECOND: f64 = 1e9;

/// The method that overrides the loop's `time()`, if one does.
///
/// # Errors
/// What looking it up raises.
pub(crate) fn overridden<'py>(
    event_loop: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    overrides::find(event_loop, Method::Time)
}

/// The loop's time in seconds, as Python code sees it.
///
/// # Errors
/// What an overridden `time()` raised.
pub(crate) fn now_in_seconds<'py>(event_loop: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    match overridden(event_loop)? {
        None => Ok(seconds(monotonic())
            .into_pyobject(event_loop.py())?
            .into_any()),
        Some(method) => method.call0(),
    }
}

/// Seconds, as `time.monotonic()` returns them.
pub(crate) fn seconds(instant: Instant) -> f64 {
    instant.as_nanos() as f64 / NANOS_PER_SECOND
}

/// The time `delay` seconds from now, as Python code sees it.
///
/// # Errors
/// What an overridden `time()` raised, and `TypeError` if the two cannot be added.
pub(crate) fn after<'py>(
    event_loop: &Bound<'py, PyAny>,
    delay: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    match (overridden(event_loop)?, delay.cast_exact::<PyFloat>()) {
        (None, Ok(delay)) => {
            let when = seconds(monotonic()) + delay.value();
            Ok(PyFloat::new(event_loop.py(), when).into_any())
        }
        (None, Err(_)) => PyFloat::new(event_loop.py(), seconds(monotonic())).add(delay),
        (Some(time), _) => time.call0()?.add(delay),
    }
}

/// The instant that a Python number of seconds stands for. What lies beyond the clock's range saturates; NaN is in the past, so that a
/// timer with such a deadline runs at once instead of never.
///
/// # Errors
/// `TypeError` if the object is no number.
pub(crate) fn instant(seconds: &Bound<'_, PyAny>) -> PyResult<Instant> {
    let py = seconds.py();
    let number: f64 = seconds.extract().map_err(|error: PyErr| {
        if !error.is_instance_of::<PyTypeError>(py) {
            return error;
        }
        match seconds.repr() {
            Ok(repr) => {
                PyTypeError::new_err(format!("a time must be a number of seconds, not {repr}"))
            }
            Err(error) => error,
        }
    })?;
    if number.is_nan() {
        return Ok(Instant::from_nanos(i64::MIN));
    }
    // `as` saturates.
    Ok(Instant::from_nanos(
        (number * NANOS_PER_SECOND).round() as i64
    ))
}
