//! The engine's errors as Python exceptions, in the one place where they are turned.

use std::io;

use pyo3::exceptions::{
    PyBlockingIOError, PyBrokenPipeError, PyConnectionAbortedError, PyConnectionRefusedError,
    PyConnectionResetError, PyFileExistsError, PyFileNotFoundError, PyInterruptedError,
    PyKeyboardInterrupt, PyMemoryError, PyOSError, PyPermissionError, PyRuntimeError, PySystemExit,
    PyTimeoutError, PyValueError,
};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::names;

/// The exception for an I/O error: `OSError(errno, strerror)`, which Python makes the right subclass of, if
/// the system reported it; the Python exception itself, if one was wrapped (`io::Error::other`);
/// otherwise the class that fits the kind, with the message.
pub(crate) fn from_io(py: Python<'_>, error: io::Error) -> PyErr {
    if let Some(errno) = error.raw_os_error() {
        let message = names::strerror(py).and_then(|strerror| strerror.call1((errno,)));
        return match message {
            Ok(message) => PyOSError::new_err((errno, message.unbind())),
            Err(error) => error,
        };
    }
    match error.downcast::<PyErr>() {
        Ok(error) => error,
        Err(error) => from_kind(&error),
    }
}

fn from_kind(error: &io::Error) -> PyErr {
    use io::ErrorKind;
    let message = error.to_string();
    match error.kind() {
        ErrorKind::AlreadyExists => PyFileExistsError::new_err(message),
        ErrorKind::BrokenPipe => PyBrokenPipeError::new_err(message),
        ErrorKind::ConnectionAborted => PyConnectionAbortedError::new_err(message),
        ErrorKind::ConnectionRefused => PyConnectionRefusedError::new_err(message),
        ErrorKind::ConnectionReset => PyConnectionResetError::new_err(message),
        ErrorKind::Interrupted => PyInterruptedError::new_err(message),
        ErrorKind::InvalidInput => PyValueError::new_err(message),
        ErrorKind::NotFound => PyFileNotFoundError::new_err(message),
        ErrorKind::OutOfMemory => PyMemoryError::new_err(message),
        ErrorKind::PermissionDenied => PyPermissionError::new_err(message),
        ErrorKind::TimedOut => PyTimeoutError::new_err(message),
        ErrorKind::WouldBlock => PyBlockingIOError::new_err(message),
        _ => PyOSError::new_err(message),
    }
}

/// What every method of a closed loop answers.
pub(crate) fn closed() -> PyErr {
    PyRuntimeError::new_err("Event loop is closed")
}

/// Whether an error ends the run that it is raised in, instead of being reported: `SystemExit`, `KeyboardInterrupt`.
pub(crate) fn ends_run(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PySystemExit>(py) || error.is_instance_of::<PyKeyboardInterrupt>(py)
}

/// Tells the loop's exception handler of an error that no caller can be given.
///
/// # Errors
/// The error itself if it is one that ends a run (`SystemExit`, `KeyboardInterrupt`), and what the handler raises.
pub(crate) fn report(event_loop: &Bound<'_, PyAny>, message: &str, error: PyErr) -> PyResult<()> {
    if ends_run(event_loop.py(), &error) {
        return Err(error);
    }
    call_exception_handler(event_loop, message, error, &[])
}

/// Calls the loop's exception handler with a message, the exception and what else is known.
///
/// # Errors
/// What the handler raises.
pub(crate) fn call_exception_handler<'py>(
    event_loop: &Bound<'py, PyAny>,
    message: &str,
    error: PyErr,
    known: &[(&str, Option<Bound<'py, PyAny>>)],
) -> PyResult<()> {
    let py = event_loop.py();
    let details = PyDict::new(py);
    details.set_item(names::message(py), message)?;
    details.set_item(names::exception(py), error.into_value(py))?;
    for (key, value) in known {
        details.set_item(key, value)?;
    }
    event_loop
        .call_method1(names::call_exception_handler(py), (details,))
        .map(drop)
}
