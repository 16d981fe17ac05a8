//! Receiving: one datagram at a time.

use std::net::SocketAddr;

use oneloop::engine::stream::Machine;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketAddrAny};

use super::super::protocol;
use super::DatagramTransport;
use crate::names;
use crate::socket::{self, Method, Socket};

/// How much of a datagram is received, as by asyncio. The rest of it is lost, and nobody says so.
const LARGEST: usize = 256 * 1024;

/// A datagram and who sent it.
type Received<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>);

impl DatagramTransport {
    /// Receives a datagram and tells the protocol.
    pub(super) fn receive(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = object.py();
        if self.machine(|datagrams| datagrams.is_lost()) {
            return Ok(());
        }
        let Some(protocol) = self.protocol.get(py) else {
            return Ok(());
        };
        match self.next(py) {
            Ok(Some((data, sender))) => protocol::datagram_received(&protocol, &data, &sender),
            Ok(None) => {
                self.kind.guess.missed();
                Ok(())
            }
            // Closed by somebody else: of that the system would not have told.
            Err(error) if self.kind.guess.missed() && is_closed(py, &error) => Ok(()),
            Err(error) => self.tell(object, error, "Fatal read error on datagram transport"),
        }
    }

    /// Tells the protocol of an error of the system's, which ends nothing; every other one ends the transport.
    ///
    /// # Errors
    /// What the protocol raises, and what ends the run.
    #[cold]
    pub(super) fn tell(
        &self,
        object: &Bound<'_, PyAny>,
        error: PyErr,
        message: &str,
    ) -> PyResult<()> {
        let py = object.py();
        if !error.is_instance_of::<PyOSError>(py) {
            return self.fail(object, error, message);
        }
        match self.protocol.get(py) {
            Some(protocol) => {
                let exception = error.into_value(py).into_bound(py).into_any();
                protocol::error_received(&protocol, &exception)
            }
            None => Ok(()),
        }
    }

    /// `None` if there is none.
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Option<Received<'py>>> {
        let (socket, direct) = self.direct(py, Method::RecvFrom)?;
        let is_internet = matches!(self.kind.family, AddressFamily::INET | AddressFamily::INET6);
        let Some(fd) = direct.filter(|_| is_internet) else {
            let socket = Socket::new(&socket);
            let received = socket.ask(Method::RecvFrom.name(py), (LARGEST,))?;
            return received.map(|received| received.extract()).transpose();
        };
        let mut buffer = self.port.take_buffer(py);
        let received = socket::call(py, fd, |fd| {
            let memory = buffer.spare_capacity_mut();
            let room = memory.len().min(LARGEST);
            let ((filled, _), _, sender) =
                rustix::net::recvfrom(fd, &mut memory[..room], RecvFlags::DONTWAIT)?;
            Ok((PyBytes::new(py, filled), sender))
        });
        self.port.return_buffer(py, buffer);
        match received? {
            Some((data, sender)) => {
                // Before the protocol, which may have receiving end.
                if self.kind.guess.found() {
                    self.port.note_readable(py, fd);
                }
                Ok(Some((data.into_any(), self.sender(py, sender)?)))
            }
            None => Ok(None),
        }
    }

    fn sender<'py>(
        &self,
        py: Python<'py>,
        sender: Option<SocketAddrAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match sender.and_then(|sender| SocketAddr::try_from(sender).ok()) {
            Some(sender) => self.kind.peers.tuple_of(py, sender),
            None => Ok(py.None().into_bound(py)),
        }
    }
}

/// Whether an error says that there is no such descriptor.
#[cold]
fn is_closed(py: Python<'_>, error: &PyErr) -> bool {
    let errno = error.value(py).getattr(names::errno(py));
    errno
        .and_then(|errno| errno.extract::<i32>())
        .is_ok_and(|errno| errno == Errno::BADF.raw_os_error())
}
