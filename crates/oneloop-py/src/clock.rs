//! The loop's clock: `time.monotonic()`, unless a subclass or an instance says otherwise.
//!
//! A program may override `time()` on a subclass, on an instance, or on the class of a living loop (freezegun does). Its timers must move
//! with it, so the attribute is looked at wherever time matters; only where our own method is found there, the clock is read directly.

use oneloop::Instant;
use oneloop::engine::monotonic;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt};

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

/// A time of the loop's, in seconds.
pub(crate) enum When<'py> {
    /// Computed by our own clock: nobody has it as an object yet.
    Seconds(f64),
    /// What the program gave, or made of its own clock.
    Object(Bound<'py, PyAny>),
}

impl<'py> When<'py> {
    /// The same instant on the engine's clock.
    ///
    /// # Errors
    /// `TypeError` if it is no number.
    #[inline]
    pub(crate) fn instant(&self) -> PyResult<Instant> {
        match self {
            Self::Seconds(seconds) => Ok(instant_of(*seconds)),
            Self::Object(seconds) => instant(seconds),
        }
    }

    /// The same as a Python object.
    pub(crate) fn into_object(self, py: Python<'py>) -> Bound<'py, PyAny> {
        match self {
            Self::Seconds(seconds) => PyFloat::new(py, seconds).into_any(),
            Self::Object(object) => object,
        }
    }
}

/// The time `delay` seconds from now, as Python code would compute it: `time() + delay`.
///
/// # Errors
/// What an overridden `time()` raised, `TypeError` if the two cannot be added, and `OverflowError` if an integer is no float.
#[inline]
pub(crate) fn after<'py>(
    event_loop: &Bound<'py, PyAny>,
    delay: &Bound<'py, PyAny>,
) -> PyResult<When<'py>> {
    if let Some(time) = overridden(event_loop)? {
        return time.call0()?.add(delay).map(When::Object);
    }
    if let Some(when) = plainly_after(delay)? {
        return Ok(when);
    }
    let now = PyFloat::new(event_loop.py(), seconds(monotonic()));
    now.add(delay).map(When::Object)
}

/// [`after`] on our own clock, if the delay is a number of the usual kinds.
///
/// # Errors
/// `OverflowError` if an integer is no float.
#[inline]
pub(crate) fn plainly_after<'py>(delay: &Bound<'py, PyAny>) -> PyResult<Option<When<'py>>> {
    let delay = match (delay.cast_exact::<PyFloat>(), delay.cast_exact::<PyInt>()) {
        (Ok(delay), _) => delay.value(),
        // As adding it to a float converts it. By way of a machine's integer it is a fifth of the work, and rounded the same.
        (_, Ok(delay)) => match delay.extract::<i64>() {
            Ok(delay) => delay as f64,
            Err(_) => delay.extract()?,
        },
        _ => return Ok(None),
    };
    Ok(Some(When::Seconds(seconds(monotonic()) + delay)))
}

/// The instant that a Python number of seconds stands for. What lies beyond the clock's range saturates; NaN is in the past, so that a
/// timer with such a deadline runs at once instead of never.
///
/// # Errors
/// `TypeError` if the object is no number.
pub(crate) fn instant(seconds: &Bound<'_, PyAny>) -> PyResult<Instant> {
    let py = seconds.py();
    if let Ok(seconds) = seconds.cast_exact::<PyFloat>() {
        return Ok(instant_of(seconds.value()));
    }
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
    Ok(instant_of(number))
}

#[inline]
fn instant_of(seconds: f64) -> Instant {
    if seconds.is_nan() {
        return Instant::from_nanos(i64::MIN);
    }
    // To the nearest by cutting off, as `f64::round` is a call into the C library. `as` saturates.
    let nanos = seconds * NANOS_PER_SECOND;
    Instant::from_nanos((nanos + 0.5_f64.copysign(nanos)) as i64)
}
