//! `sock_sendall`, `sock_sendto`.

use oneloop::engine::Direction;
use pyo3::prelude::*;
use pyo3::types::PyMemoryView;
use rustix::net::SendFlags;

use super::Attempt;
use crate::entry::Holds;
use crate::ffi::buffer::{self, View};
use crate::ffi::bytes::Spare;
use crate::names;
use crate::socket::{Method, Socket, call};

/// `send(data)` until all of it is sent.
pub(crate) struct SendAll {
    data: Py<PyAny>,
    /// Once it waits: a view of the data, which keeps its owner from resizing it.
    view: Option<Py<PyAny>>,
    sent: usize,
}

impl SendAll {
    pub(crate) fn new(data: Py<PyAny>) -> Self {
        Self {
            data,
            view: None,
            sent: 0,
        }
    }

    /// By the system call. Whether all is sent; `None` if that is not possible.
    fn send_directly(&mut self, socket: &Socket<'_, '_>) -> PyResult<Option<bool>> {
        let py = socket.py();
        let Some(fd) = socket.direct(Method::Send)? else {
            return Ok(None);
        };
        // Of what has no bytes the socket's own method says so.
        let Ok(view) = View::readable(self.source().bind(py)) else {
            return Ok(None);
        };
        let rest = view.bytes().get(self.sent..).unwrap_or_default();
        let sent = call(py, fd, |fd| {
            rustix::net::send(fd, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
        })?;
        // A datagram without contents is sent as well, once.
        let is_all = sent.is_some_and(|sent| sent == rest.len());
        self.sent += sent.unwrap_or(0);
        Ok(Some(is_all))
    }

    /// By the socket's own method. Whether all is sent.
    fn ask_to_send(&mut self, socket: &Socket<'_, '_>) -> PyResult<bool> {
        let py = socket.py();
        let source = self.source().bind(py).clone();
        let rest = match self.sent {
            0 => source.clone(),
            sent => buffer::part(&source, sent.cast_signed(), isize::MAX)?,
        };
        let sent = socket.ask(Method::Send.name(py), (rest,))?;
        let sent: usize = sent.map_or(Ok(0), |sent| sent.extract())?;
        self.sent += sent;
        Ok(self.sent >= source.len()?)
    }

    fn source(&self) -> &Py<PyAny> {
        self.view.as_ref().unwrap_or(&self.data)
    }
}

impl Attempt for SendAll {
    const DIRECTION: Direction = Direction::Write;

    fn attempt<'py>(
        &mut self,
        socket: &Socket<'_, 'py>,
        _: &Spare,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = socket.py();
        let is_all = match self.send_directly(socket)? {
            Some(is_all) => is_all,
            None => self.ask_to_send(socket)?,
        };
        if is_all {
            return Ok(Some(py.None().into_bound(py)));
        }
        if self.view.is_none() {
            let view = PyMemoryView::from(self.data.bind(py))?.into_any();
            // By bytes, whatever its items are. A few formats cannot be cast, and are sent as they are.
            let by_bytes = view.call_method1(names::cast(py), ("B",));
            self.view = Some(by_bytes.unwrap_or(view).unbind());
        }
        Ok(None)
    }
}

impl Holds for SendAll {
    fn visit(&self, visit: &mut dyn FnMut(&Py<PyAny>)) {
        visit(&self.data);
        if let Some(view) = &self.view {
            visit(view);
        }
    }
}

/// `sendto(data, address)`: always by the socket's own method, which knows every family's addresses and raises the audit event.
pub(crate) struct SendTo {
    pub(crate) data: Py<PyAny>,
    pub(crate) address: Py<PyAny>,
}

impl Attempt for SendTo {
    const DIRECTION: Direction = Direction::Write;

    fn attempt<'py>(
        &mut self,
        socket: &Socket<'_, 'py>,
        _: &Spare,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = socket.py();
        let (data, address) = (self.data.bind(py), self.address.bind(py));
        socket.ask(names::sendto(py), (data, address))
    }
}

impl Holds for SendTo {
    fn visit(&self, visit: &mut dyn FnMut(&Py<PyAny>)) {
        visit(&self.data);
        visit(&self.address);
    }
}
