//! What a transport tells of itself: `get_extra_info` and `repr`.

use oneloop::engine::stream::Machine;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::base::Transport;
use super::kind::Kind;
use crate::names;

impl<K: Kind> Transport<K> {
    /// Puts what asyncio tells of a socket into the extra info.
    ///
    /// # Errors
    /// What the socket raises that is no `OSError`.
    pub(super) fn describe_socket(&self, py: Python<'_>) -> PyResult<()> {
        let extra = self.extra(py)?;
        let Some(socket) = self.endpoint.object(py)? else {
            return Ok(());
        };
        let shown = names::transport_socket_class(py)?.call1((&socket,))?;
        extra.set_item(names::socket(py), shown)?;
        let name = unless_os_error(&socket, names::getsockname(py))?;
        extra.set_item(names::sockname(py), name)?;
        if !extra.contains(names::peername(py))? {
            let name = unless_os_error(&socket, names::getpeername(py))?;
            extra.set_item(names::peername(py), name)?;
        }
        Ok(())
    }

    /// The dictionary of the extra info.
    pub(super) fn extra<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        match self.extra.get(py) {
            Some(extra) => Ok(extra.cast_into::<PyDict>()?),
            None => Ok(PyDict::new(py)),
        }
    }

    /// Follows `asyncio.BaseTransport.get_extra_info`.
    pub(super) fn extra_info<'py>(
        &self,
        py: Python<'py>,
        name: &Bound<'py, PyAny>,
        default: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Ok(match (self.extra(py)?.get_item(name)?, default) {
            (Some(value), _) => value,
            (None, Some(default)) => default.clone(),
            (None, None) => py.None().into_bound(py),
        })
    }

    /// What `repr` shows, as asyncio's.
    pub(super) fn describe<'py>(&self, object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = object.py();
        let mut parts = vec![object.get_type().name()?.to_string()];
        if self.endpoint.is_closed(py) {
            parts.push("closed".to_owned());
        } else if self.machine(|machine| machine.is_closing()) {
            parts.push("closing".to_owned());
        }
        parts.push(format!("fd={}", self.endpoint.number()));
        parts.extend(K::describe(self, py));
        Ok(PyString::new(py, &format!("<{}>", parts.join(" "))).into_any())
    }

    /// What asyncio shows of a socket as long as its loop is open.
    pub(super) fn describe_directions(&self, py: Python<'_>) -> Vec<String> {
        if self.event_loop.get(py).is_none() || self.port.place(py).is_none() {
            return Vec::new();
        }
        let size = self.machine(|machine| machine.size());
        vec![
            format!("read={}", self.reader.state()),
            format!("write=<{}, bufsize={size}>", self.writer.state()),
        ]
    }
}

/// `socket.name()`, or None if the system does not tell.
fn unless_os_error<'py>(
    socket: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    match socket.call_method0(name) {
        Ok(name) => Ok(Some(name)),
        Err(error) if error.is_instance_of::<PyOSError>(socket.py()) => Ok(None),
        Err(error) => Err(error),
    }
}
