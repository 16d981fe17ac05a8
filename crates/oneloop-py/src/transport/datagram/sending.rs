//! Sending: at once while nothing waits, else when the descriptor is writable.

use oneloop::engine::datagram::{Admission, Datagrams};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::super::chunk::{self, Chunk, Data};
use super::super::endpoint::SEND;
use super::{DatagramTransport, release};
use crate::ffi::audit;
use crate::names;
use crate::socket::{self, Method, Socket};

const WRITE_FAILED: &str = "Fatal write error on datagram transport";

/// What a datagram consists of.
#[derive(Clone, Copy)]
enum Content<'a, 'py> {
    /// What was passed to `sendto`.
    Given(&'a Bound<'py, PyAny>),
    /// What was kept of it.
    Kept(&'a Chunk),
}

impl<'py> Content<'_, 'py> {
    /// Lends the bytes to a system call.
    ///
    /// # Errors
    /// `BufferError` for memory that is not contiguous.
    fn lend<R>(self, call: impl FnOnce(&[u8]) -> PyResult<R>) -> PyResult<R> {
        match self {
            Self::Given(object) => call(Data::new(object)?.bytes()),
            Self::Kept(chunk) => call(chunk.as_ref()),
        }
    }

    /// An object with these bytes.
    fn object(self, py: Python<'py>) -> Bound<'py, PyAny> {
        match self {
            Self::Given(object) => object.clone(),
            Self::Kept(chunk) => PyBytes::new(py, chunk.as_ref()).into_any(),
        }
    }
}

impl DatagramTransport {
    /// Follows `asyncio.DatagramTransport.sendto`.
    pub(super) fn send_to<'py>(
        &self,
        object: &Bound<'py, PyAny>,
        data: &Bound<'py, PyAny>,
        address: Option<Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let py = object.py();
        if !chunk::is_writable(data) {
            let name = data.get_type().name()?.repr()?.to_string();
            return Err(PyTypeError::new_err(format!(
                "data argument must be a bytes-like object, not {name}"
            )));
        }
        if cfg!(not(Py_3_13)) && data.len()? == 0 {
            return Ok(());
        }
        let address = self.destination(py, address)?;
        match self.machine(Datagrams::admit) {
            Admission::Discard { warn: false } => return Ok(()),
            Admission::Discard { warn: true } => {
                return self.warn_of_writes(py, "socket.send() raised exception.");
            }
            Admission::Queue => {}
            Admission::Send => match self.transmit(py, Content::Given(data), address.as_ref()) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => return self.tell(object, error, WRITE_FAILED),
            },
        }
        let (chunk, _) = Data::of_any_layout(data)?.into_chunk(0);
        let address = address.map(Bound::unbind);
        match self.machine(|datagrams| datagrams.push(chunk, address)) {
            Ok(actions) => self.perform(object, actions),
            Err((chunk, address)) => {
                release(py, chunk, address);
                Ok(())
            }
        }
    }

    /// Sends what waits, as much as there is room for. An error of the system's ends this turn, as in asyncio: the rest has the next one.
    pub(super) fn flush(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = object.py();
        while let Some((chunk, address)) = self.machine(Datagrams::take) {
            let to = address.as_ref().map(|address| address.bind(py));
            let sent = self.transmit(py, Content::Kept(&chunk), to);
            if let Ok(false) = sent {
                let refused = self.machine(|datagrams| datagrams.put_back(chunk, address));
                if let Err((chunk, address)) = refused {
                    release(py, chunk, address);
                }
                break;
            }
            release(py, chunk, address);
            if let Err(error) = sent {
                return self.tell(object, error, WRITE_FAILED);
            }
        }
        let actions = self.machine(Datagrams::sent);
        self.perform(object, actions)?;
        let actions = self.machine(Datagrams::settle);
        self.perform(object, actions)
    }

    /// Where a datagram goes.
    ///
    /// # Errors
    /// `ValueError` for another address than the one that the transport was made with, and what comparing them raises.
    fn destination<'py>(
        &self,
        py: Python<'py>,
        address: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(only) = self.kind.address.get(py) else {
            return Ok(address);
        };
        if let Some(address) = address
            && !address.is(&only)
            && !address.eq(&only)?
        {
            let text = format!("Invalid address: must be None or {}", only.str()?);
            return Err(PyValueError::new_err(text));
        }
        Ok(Some(only))
    }

    /// Sends a datagram; whether there was room for it.
    ///
    /// # Errors
    /// The system's, and what Python's own method raises.
    fn transmit<'py>(
        &self,
        py: Python<'py>,
        content: Content<'_, 'py>,
        address: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<bool> {
        let sent = match self.kind.is_connected {
            true => self.transmit_to_peer(py, content),
            false => self.transmit_to(py, content, address),
        }?;
        if sent {
            self.port.note_io(py);
        }
        Ok(sent)
    }

    /// Sends to whoever the socket is connected to.
    fn transmit_to_peer<'py>(&self, py: Python<'py>, content: Content<'_, 'py>) -> PyResult<bool> {
        let (socket, direct) = self.direct(py, Method::Send)?;
        let Some(fd) = direct else {
            let method = Method::Send.name(py);
            let sent = Socket::new(&socket).ask(method, (content.object(py),))?;
            return Ok(sent.is_some());
        };
        content.lend(|bytes| {
            let sent = socket::call(py, fd, |fd| rustix::net::send(fd, bytes, SEND))?;
            Ok(sent.is_some())
        })
    }

    fn transmit_to<'py>(
        &self,
        py: Python<'py>,
        content: Content<'_, 'py>,
        address: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<bool> {
        let (socket, direct) = self.direct(py, Method::SendTo)?;
        if let (Some(fd), Some(tuple)) = (direct, address)
            && let Some(to) = self.kind.peers.address_of(tuple, self.kind.family)
        {
            audit::raise(c"socket.sendto", &socket, tuple)?;
            return content.lend(|bytes| {
                let sent = socket::call(py, fd, |fd| rustix::net::sendto(fd, bytes, SEND, &to))?;
                Ok(sent.is_some())
            });
        }
        let args = (content.object(py), address);
        let sent = Socket::new(&socket).ask(names::sendto(py), args)?;
        Ok(sent.is_some())
    }
}
