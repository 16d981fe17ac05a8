//! What becomes of errors: they end the connection, and somebody is told where it is of interest.

use oneloop::engine::tls::Session;
use pyo3::exceptions::{PyException, PyOSError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::layer::Layer;
use crate::errors;
use crate::ffi::call;
use crate::names;

/// What asyncio says of an error in the middle of a connection.
pub(super) const BROKEN: &str = "Fatal error on SSL protocol";

impl Layer {
    /// Ends the connection for an error that a program may catch; others go on to the caller.
    ///
    /// # Errors
    /// `SystemExit`, `KeyboardInterrupt`, `CancelledError` and their like, and what the exception handler raises.
    pub(super) fn blame(
        &self,
        object: &Bound<'_, PyAny>,
        result: PyResult<()>,
        message: &str,
    ) -> PyResult<()> {
        match result {
            Err(error) if error.is_instance_of::<PyException>(object.py()) => {
                self.fail(object, &error, message)
            }
            result => result,
        }
    }

    /// Ends the connection for an error. Those of the system, and TLS's are among them, are what networks are like, and of interest in
    /// debug mode only.
    ///
    /// # Errors
    /// What the exception handler raises.
    #[cold]
    pub(super) fn fail(
        &self,
        object: &Bound<'_, PyAny>,
        error: &PyErr,
        message: &str,
    ) -> PyResult<()> {
        let py = object.py();
        self.session(Session::end);
        let exception = error.value(py).clone().into_any();
        let below = self.below.get(py);
        let forced = match &below {
            Some(below) => call::method(names::_force_close(py), [below, &exception]).map(drop),
            None => Ok(()),
        };
        forced.and(self.tell_failure(object, &exception, below, message))
    }

    fn tell_failure<'py>(
        &self,
        object: &Bound<'py, PyAny>,
        exception: &Bound<'py, PyAny>,
        below: Option<Bound<'py, PyAny>>,
        message: &str,
    ) -> PyResult<()> {
        let py = object.py();
        if exception.is_instance_of::<PyOSError>() {
            if self.is_debug(py)? {
                let keywords = PyDict::new(py);
                keywords.set_item(names::exc_info(py), exception)?;
                let arguments = ("%r: %s", object, message);
                names::current_logger(py)?.call_method(
                    names::debug(py),
                    arguments,
                    Some(&keywords),
                )?;
            }
            return Ok(());
        }
        if exception.is_instance(names::cancelled_error(py)?)? {
            return Ok(());
        }
        let Some(event_loop) = self.event_loop.get(py) else {
            return Ok(());
        };
        let known = [("transport", below), ("protocol", Some(object.clone()))];
        let error = PyErr::from_value(exception.clone());
        errors::call_exception_handler(&event_loop, message, error, &known)
    }

    /// In debug mode the handler hears of an accepted connection that came to nothing.
    #[cold]
    pub(super) fn report_unaccepted<'py>(
        &self,
        py: Python<'py>,
        failure: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let Some(event_loop) = self.event_loop.get(py) else {
            return Ok(());
        };
        if !self.is_debug(py)? {
            return Ok(());
        }
        let known = [
            ("protocol", self.protocol.get(py)),
            ("transport", self.surface.get(py)),
        ];
        errors::call_exception_handler(
            &event_loop,
            "Error on transport creation for incoming connection",
            PyErr::from_value(failure.clone()),
            &known,
        )
    }
}
