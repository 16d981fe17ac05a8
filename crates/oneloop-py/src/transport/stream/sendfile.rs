//! Lending the socket to `loop.sendfile()`: from when what was written is sent until the file is, nothing can be written.

use oneloop::engine::stream::Machine;
use pyo3::exceptions::{PyBaseException, PyConnectionError, PyRuntimeError};
use pyo3::prelude::*;

use super::StreamTransport;
use crate::ffi::call;
use crate::names;

impl StreamTransport {
    /// Lends the socket; the future is done when all that was written is sent. Follows asyncio's `_make_empty_waiter`.
    ///
    /// # Errors
    /// `RuntimeError` if it is lent already, or the connection has ended.
    pub(super) fn lend<'py>(&self, object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = object.py();
        if self.kind.all_sent.get(py).is_some() {
            return Err(PyRuntimeError::new_err("Empty waiter is already set"));
        }
        let Some(event_loop) = self.event_loop.get(py) else {
            return Err(PyRuntimeError::new_err("Transport is closing"));
        };
        let all_sent = event_loop.call_method0(names::create_future(py))?;
        drop(self.kind.all_sent.replace(py, Some(all_sent.clone())));
        // Others of the loop's methods may use the descriptor now.
        self.port.release(self.endpoint.number(), object);
        self.tell_if_empty(py)?;
        Ok(all_sent)
    }

    /// Takes the socket back. Follows asyncio's `_reset_empty_waiter`.
    ///
    /// # Errors
    /// `MemoryError`.
    pub(super) fn take_back(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = object.py();
        drop(self.kind.all_sent.take(py));
        match self.endpoint.is_closed(py) {
            true => Ok(()),
            false => self.port.claim(self.endpoint.number(), object),
        }
    }

    /// Refuses to write meanwhile.
    ///
    /// # Errors
    /// `RuntimeError`, as asyncio's.
    pub(super) fn refuse_lent(&self, py: Python<'_>, method: &str) -> PyResult<()> {
        match self.kind.all_sent.get(py) {
            Some(_) => Err(PyRuntimeError::new_err(format!(
                "unable to {method}; sendfile is in progress"
            ))),
            None => Ok(()),
        }
    }

    /// Tells whoever waits for it that all is sent, if it is.
    ///
    /// # Errors
    /// What the future raises.
    pub(super) fn tell_if_empty(&self, py: Python<'_>) -> PyResult<()> {
        match self.pending(py)? {
            Some(all_sent) if self.machine(|stream| stream.size()) == 0 => {
                let none = py.None().into_bound(py);
                call::method(names::set_result(py), [&all_sent, &none]).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Tells whoever waits that not all will be sent.
    ///
    /// # Errors
    /// What the future raises.
    pub(super) fn tell_failed<'py>(&self, exception: &Bound<'py, PyBaseException>) -> PyResult<()> {
        let py = exception.py();
        match self.pending(py)? {
            Some(all_sent) => {
                let name = names::set_exception(py);
                call::method(name, [&all_sent, exception.as_any()]).map(drop)
            }
            None => Ok(()),
        }
    }

    /// The descriptor is about to be closed: whoever waits, for what was written or for the descriptor, is told.
    ///
    /// # Errors
    /// What the future raises.
    pub(super) fn end_loan(&self, py: Python<'_>) -> PyResult<()> {
        if self.kind.all_sent.get(py).is_none() {
            return Ok(());
        }
        self.port.end_waits(py, self.endpoint.number())?;
        let ended = PyConnectionError::new_err("Connection is closed by peer");
        self.tell_failed(ended.into_value(py).bind(py))
    }

    fn pending<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.kind.all_sent.get(py) {
            Some(all_sent) if !all_sent.call_method0(names::done(py))?.is_truthy()? => {
                Ok(Some(all_sent))
            }
            _ => Ok(None),
        }
    }
}
