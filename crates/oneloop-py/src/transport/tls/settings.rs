//! What TLS on a connection is to be like, as the user said: one for all connections of a server.

use pyo3::exceptions::{PyImportError, PyRuntimeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::names;

/// A TLS context with its side, host name and limits of time. They are checked for each connection, as asyncio does.
#[pyclass(frozen, name = "_TLSSettings", module = "oneloop._core")]
pub(crate) struct Settings {
    context: Option<Py<PyAny>>,
    server_side: bool,
    server_hostname: Option<Py<PyAny>>,
    handshake_timeout: Option<Py<PyAny>>,
    shutdown_timeout: Option<Py<PyAny>>,
}

/// The limits of time of one connection: numbers of seconds, as the user gave them.
pub(super) struct Limits<'py> {
    pub(super) handshake: Bound<'py, PyAny>,
    pub(super) shutdown: Bound<'py, PyAny>,
}

#[pymethods]
impl Settings {
    #[new]
    #[pyo3(signature = (context, *, server_side=false, server_hostname=None, handshake_timeout=None, shutdown_timeout=None))]
    fn new(
        context: Option<Bound<'_, PyAny>>,
        server_side: bool,
        server_hostname: Option<Bound<'_, PyAny>>,
        handshake_timeout: Option<Bound<'_, PyAny>>,
        shutdown_timeout: Option<Bound<'_, PyAny>>,
    ) -> Self {
        Self {
            context: context.map(Bound::unbind),
            server_side,
            server_hostname: server_hostname.map(Bound::unbind),
            handshake_timeout: handshake_timeout.map(Bound::unbind),
            shutdown_timeout: shutdown_timeout.map(Bound::unbind),
        }
    }

    // No `__clear__`: every cycle through it goes through its listener's loop, which can be cleared.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.context)?;
        visit.call(&self.server_hostname)?;
        visit.call(&self.handshake_timeout)?;
        visit.call(&self.shutdown_timeout)
    }
}

impl Settings {
    /// The limits of time, which must be positive; asyncio's own where the user gave none.
    ///
    /// # Errors
    /// `ValueError` for one that is not positive, `RuntimeError` where Python was built without `ssl`.
    pub(super) fn limits<'py>(&self, py: Python<'py>) -> PyResult<Limits<'py>> {
        if let Err(error) = py.import("ssl") {
            return Err(match error.is_instance_of::<PyImportError>(py) {
                true => PyRuntimeError::new_err("stdlib ssl module not available"),
                false => error,
            });
        }
        let constants = names::constants(py)?;
        let limit = |given: &Option<Py<PyAny>>, name, default| match given {
            Some(given) => positive(given.bind(py), name),
            None => constants.getattr(default),
        };
        Ok(Limits {
            handshake: limit(
                &self.handshake_timeout,
                "ssl_handshake_timeout",
                names::ssl_handshake_timeout(py),
            )?,
            shutdown: limit(
                &self.shutdown_timeout,
                "ssl_shutdown_timeout",
                names::ssl_shutdown_timeout(py),
            )?,
        })
    }

    /// The context: asyncio's default for a client that gave none.
    ///
    /// # Errors
    /// `ValueError` for a server without one.
    pub(super) fn context<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if let Some(context) = &self.context
            && context.bind(py).is_truthy()?
        {
            return Ok(context.bind(py).clone());
        }
        if self.server_side {
            return Err(PyValueError::new_err(
                "Server side SSL needs a valid SSLContext",
            ));
        }
        let context = py
            .import("ssl")?
            .call_method0(names::create_default_context(py))?;
        if self.hostname(py)?.is_none() {
            context.setattr(names::check_hostname(py), false)?;
        }
        Ok(context)
    }

    /// A TLS object between two memory buffers.
    ///
    /// # Errors
    /// What `ssl` raises.
    pub(super) fn wrap<'py>(
        &self,
        context: &Bound<'py, PyAny>,
        incoming: &Bound<'py, PyAny>,
        outgoing: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = context.py();
        let keywords = PyDict::new(py);
        keywords.set_item(names::server_side(py), self.server_side)?;
        keywords.set_item(names::server_hostname(py), self.hostname(py)?)?;
        context.call_method(names::wrap_bio(py), (incoming, outgoing), Some(&keywords))
    }

    /// The name that the peer is to show a certificate for: a client's matter.
    fn hostname<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match &self.server_hostname {
            Some(name) if !self.server_side && name.bind(py).is_truthy()? => {
                Ok(Some(name.bind(py).clone()))
            }
            _ => Ok(None),
        }
    }
}

fn positive<'py>(seconds: &Bound<'py, PyAny>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    if seconds.le(0)? {
        return Err(PyValueError::new_err(format!(
            "{name} should be a positive number, got {}",
            seconds.str()?
        )));
    }
    Ok(seconds.clone())
}
