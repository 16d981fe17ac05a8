//! Transports that send and receive datagrams: UDP, Unix sockets, and whatever else a Python socket can be.
//!
//! One datagram is received for each turn of the loop, as by asyncio, so that what a protocol schedules runs before the next one comes; but
//! the loop need not be told each time that there is one.

mod guess;
mod peers;
mod receiving;
mod sending;
mod table;

use std::cell::RefCell;
use std::os::fd::RawFd;
use std::sync::Arc;

use oneloop::engine::datagram::{Aim, Datagrams, Dropped};
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};
use rustix::io::Errno;
use rustix::net::AddressFamily;

use self::guess::Guess;
use self::peers::Peers;
use super::base::{Parts, Reads, Transport};
use super::chunk::Chunk;
use super::endpoint::{Descriptor, Endpoint};
use super::kind::Kind;
use super::port::Port;
use crate::errors;
use crate::ffi::raw_type::{Halt, RawType, Visit};
use crate::ffi::slot::Slot;
use crate::names;
use crate::socket::{Method, Socket};

/// What a datagram that waits counts beside its bytes, as in asyncio.
const HEADER: usize = if cfg!(Py_3_13) { 8 } else { 0 };

static DATAGRAM: PyOnceLock<RawType<DatagramTransport>> = PyOnceLock::new();

/// A transport over a datagram socket.
pub(super) type DatagramTransport = Transport<Datagramming>;

/// Where a datagram goes; `None` is wherever the socket is connected to.
type Address = Option<Py<PyAny>>;

/// A transport that sends and receives datagrams.
pub(super) struct Datagramming {
    datagrams: RefCell<Datagrams<Chunk, Address>>,
    /// The one address that everything goes to, if it was made with one.
    address: Slot,
    /// Whether the system knows where to send to.
    is_connected: bool,
    family: AddressFamily,
    /// Who sent datagrams lately.
    peers: Peers,
    guess: Guess,
}

/// Builds the type and adds it to the module.
///
/// # Errors
/// What building a type or importing asyncio raises.
pub(super) fn add_types(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let class = DATAGRAM.get_or_try_init(py, || RawType::build(&base(py)?, table::datagram()))?;
    module.add("DatagramTransport", class.class(py))
}

/// asyncio's own are stream transports as well, and `isinstance` says so.
fn base(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
    let bases = (
        names::transport_class(py)?,
        names::datagram_transport_class(py)?,
    );
    let namespace = PyDict::new(py);
    namespace.set_item("__slots__", PyTuple::empty(py))?;
    namespace.set_item("__module__", "oneloop._core")?;
    let class = py.get_type::<PyType>();
    let base = class.call1(("_DatagramTransportBase", bases, namespace))?;
    Ok(base.cast_into()?)
}

/// The payload of such a transport; `None` for any other object.
#[inline]
pub(super) fn payload<'a>(object: &'a Bound<'_, PyAny>) -> Option<&'a DatagramTransport> {
    DATAGRAM.get(object.py())?.payload(object)
}

/// A transport over a non-blocking datagram socket. The protocol's `connection_made` is called by the loop's next entries, then
/// receiving begins, then the waiter is woken.
///
/// # Errors
/// What the protocol or the socket raises, and `RuntimeError` if the loop is closed.
pub(crate) fn open<'py>(
    event_loop: &Bound<'py, PyAny>,
    port: &Arc<dyn Port>,
    sock: Bound<'py, PyAny>,
    address: Option<Bound<'py, PyAny>>,
    parts: Parts<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    let endpoint = Endpoint::new(py, Descriptor::Python(sock.unbind()))?;
    let family = endpoint.with(py, |fd| Ok(rustix::net::getsockname(fd)?.address_family()));
    let address = match address {
        Some(address) if address.is_truthy()? => Some(address),
        _ => None,
    };
    let kind = Datagramming {
        datagrams: RefCell::new(Datagrams::new(
            match address {
                Some(_) => Aim::Fixed,
                None => Aim::Free,
            },
            HEADER,
        )),
        address: Slot::new(address),
        is_connected: false,
        family: family.unwrap_or(AddressFamily::UNSPEC),
        peers: Peers::default(),
        guess: Guess::default(),
    };
    let mut transport = DatagramTransport::new(event_loop, port, endpoint, kind, &parts);
    transport.describe_socket(py, parts.peer)?;
    let peer = transport.extra(py)?.get_item(names::peername(py))?;
    transport.kind.is_connected = match peer {
        Some(peer) => peer.is_truthy()?,
        None => false,
    };
    transport.introduce(parts, |object, transport| {
        let fd = transport.endpoint.number();
        transport.port.claim(fd, object)?;
        Ok(Reads::Yes)
    })
}

impl DatagramTransport {
    /// The socket and, if a system call may stand in for its method, the descriptor.
    ///
    /// # Errors
    /// `EBADF` if the socket is closed, or has another descriptor by now; what asking it raises.
    fn direct<'py>(
        &self,
        py: Python<'py>,
        method: Method,
    ) -> PyResult<(Bound<'py, PyAny>, Option<RawFd>)> {
        let bad = || errors::from_io(py, Errno::BADF.into());
        let socket = self.endpoint.object(py)?.ok_or_else(bad)?;
        match Socket::new(&socket).direct(method)? {
            Some(fd) if fd != self.endpoint.number() => Err(bad()),
            fd => Ok((socket, fd)),
        }
    }
}

impl Kind for Datagramming {
    type Machine = Datagrams<Chunk, Address>;

    #[inline]
    fn machine<R>(&self, enter: impl FnOnce(&mut Datagrams<Chunk, Address>) -> R) -> R {
        enter(&mut self.datagrams.borrow_mut())
    }

    fn class(&self) -> &'static PyOnceLock<RawType<DatagramTransport>> {
        &DATAGRAM
    }

    fn adopt(&self, _: &Bound<'_, PyAny>) -> PyResult<()> {
        Ok(())
    }

    fn read(transport: &DatagramTransport, object: &Bound<'_, PyAny>) -> PyResult<()> {
        transport.receive(object)
    }

    fn flush(transport: &DatagramTransport, object: &Bound<'_, PyAny>) -> PyResult<()> {
        transport.flush(object)
    }

    fn shut_down(_: &DatagramTransport, _: Python<'_>) -> PyResult<()> {
        // No such socket's machine asks for it.
        Ok(())
    }

    fn write_ready(py: Python<'_>) -> &Bound<'_, PyString> {
        names::_sendto_ready(py)
    }

    fn is_quiet(&self, py: Python<'_>, error: &PyErr) -> PyResult<bool> {
        Ok(error.is_instance_of::<PyOSError>(py))
    }

    fn describe(transport: &DatagramTransport, py: Python<'_>) -> Vec<String> {
        transport.describe_directions(py)
    }

    fn let_go(py: Python<'_>, dropped: Dropped<Chunk, Address>) {
        for (chunk, address) in dropped {
            release(py, chunk, address);
        }
    }

    fn ending(_: &DatagramTransport, _: Python<'_>) -> PyResult<()> {
        Ok(())
    }

    fn traverse(&self, visit: &Visit<'_>) -> Result<(), Halt> {
        self.address.traverse(visit)?;
        self.peers.traverse(visit)?;
        let Ok(datagrams) = self.datagrams.try_borrow() else {
            return Ok(());
        };
        datagrams
            .waiting()
            .filter_map(|(_, address)| address.as_ref())
            .try_for_each(|address| visit.object(address))
    }

    fn clear(&self, py: Python<'_>) {
        drop(self.address.take(py));
        self.peers.clear(py);
        Self::let_go(py, self.machine(Datagrams::take_all));
    }
}

/// Lets go of a datagram with the GIL in hand.
fn release(py: Python<'_>, chunk: Chunk, address: Address) {
    chunk.release(py);
    if let Some(address) = address {
        drop(address.into_bound(py));
    }
}
