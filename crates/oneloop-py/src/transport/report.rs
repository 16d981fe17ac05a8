//! What is told of a transport: to the exception handler, and to the log.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::base::Transport;
use super::kind::Kind;
use crate::errors;
use crate::names;

impl<K: Kind> Transport<K> {
    /// Ends the connection for an error, after telling the exception handler, or the log in debug mode.
    ///
    /// # Errors
    /// The error itself if it ends the run, and what the exception handler raises.
    #[cold]
    pub(super) fn fail(
        &self,
        object: &Bound<'_, PyAny>,
        error: PyErr,
        message: &str,
    ) -> PyResult<()> {
        let py = object.py();
        if errors::ends_run(py, &error) {
            return Err(error);
        }
        let exception = error.clone_ref(py).into_value(py).into_bound(py).into_any();
        if self.kind.is_quiet(py, &error)? {
            self.log_failure(object, &exception, message)?;
        } else {
            self.report(object, error, message)?;
        }
        self.abort(object, Some(exception))
    }

    /// Tells the exception handler of an error.
    ///
    /// # Errors
    /// The error itself if it ends the run, and what the handler raises.
    #[cold]
    pub(super) fn report(
        &self,
        object: &Bound<'_, PyAny>,
        error: PyErr,
        message: &str,
    ) -> PyResult<()> {
        let py = object.py();
        if errors::ends_run(py, &error) {
            return Err(error);
        }
        let Some(event_loop) = self.event_loop.get(py) else {
            return Ok(());
        };
        let details = [
            ("transport", Some(object.clone())),
            ("protocol", self.protocol.get(py)),
        ];
        errors::call_exception_handler(&event_loop, message, error, &details)
    }

    fn log_failure(
        &self,
        object: &Bound<'_, PyAny>,
        exception: &Bound<'_, PyAny>,
        message: &str,
    ) -> PyResult<()> {
        let py = object.py();
        if self.port.is_debug(py) {
            let keywords = PyDict::new(py);
            keywords.set_item(names::exc_info(py), exception)?;
            let args = ("%r: %s", object, message);
            names::current_logger(py)?.call_method(names::debug(py), args, Some(&keywords))?;
        }
        Ok(())
    }

    /// Logs that a program goes on writing to a lost connection, in the kind's words.
    #[cold]
    pub(super) fn warn_of_writes(&self, py: Python<'_>, text: &str) -> PyResult<()> {
        names::current_logger(py)?.call_method1(names::warning(py), (text,))?;
        Ok(())
    }

    /// Logs something about the transport, in debug mode only.
    pub(super) fn log_debug(&self, object: &Bound<'_, PyAny>, format: &str) -> PyResult<()> {
        self.log(object, names::debug(object.py()), format)
    }

    /// The same, at a higher level.
    pub(super) fn log_info(&self, object: &Bound<'_, PyAny>, format: &str) -> PyResult<()> {
        self.log(object, names::info(object.py()), format)
    }

    fn log(
        &self,
        object: &Bound<'_, PyAny>,
        level: &Bound<'_, PyString>,
        format: &str,
    ) -> PyResult<()> {
        let py = object.py();
        if self.port.is_debug(py) {
            names::current_logger(py)?.call_method1(level, (format, object))?;
        }
        Ok(())
    }
}
