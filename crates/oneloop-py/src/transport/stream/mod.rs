//! Transports over streams of bytes: what sockets and both ends of a pipe have in common, and in which words they differ.

mod pipes;
mod reading;
mod sendfile;
mod table;
mod writing;

pub(crate) use self::pipes::{connect_read_pipe, connect_write_pipe};

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use oneloop::engine::stream::{Machine, Shape, Stream};
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;
use rustix::io::Errno;

use super::base::{Parts, Reads, Transport};
use super::chunk::Chunk;
use super::endpoint::{Descriptor, Endpoint};
use super::gathering;
use super::kind::Kind;
use super::port::Port;
use super::protocol;
use crate::clients;
use crate::ffi::raw_type::{Halt, RawType, Visit};
use crate::ffi::slot::Slot;
use crate::names;

static SOCKET: PyOnceLock<RawType<StreamTransport>> = PyOnceLock::new();
static READ_PIPE: PyOnceLock<RawType<StreamTransport>> = PyOnceLock::new();
static WRITE_PIPE: PyOnceLock<RawType<StreamTransport>> = PyOnceLock::new();

/// A transport over a socket or a pipe.
pub(super) type StreamTransport = Transport<Streaming>;

/// A transport that moves a stream of bytes.
pub(super) struct Streaming {
    shape: Shape,
    stream: RefCell<Stream<Chunk>>,
    /// Whether the system can hold back what is sent until more comes; `None` before anybody has wanted that.
    gathers: Cell<Option<bool>>,
    /// How much the last read brought.
    last_read: Cell<usize>,
    /// Whether the protocol is an `asyncio.BufferedProtocol`.
    is_buffered: Cell<bool>,
    /// While the socket is lent to `sendfile`: the future of its being empty.
    all_sent: Slot,
}

/// Builds the types and adds them to the module.
///
/// # Errors
/// What building a type or importing asyncio raises.
pub(super) fn add_types(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let socket = SOCKET.get_or_try_init(py, || {
        RawType::build(names::transport_class(py)?, table::socket())
    })?;
    let read_pipe = READ_PIPE.get_or_try_init(py, || {
        RawType::build(names::read_transport_class(py)?, table::read_pipe())
    })?;
    let write_pipe = WRITE_PIPE.get_or_try_init(py, || {
        RawType::build(names::write_transport_class(py)?, table::write_pipe())
    })?;
    module.add("SocketTransport", socket.class(py))?;
    module.add("ReadPipeTransport", read_pipe.class(py))?;
    module.add("WritePipeTransport", write_pipe.class(py))
}

/// The payload of such a transport; `None` for any other object.
#[inline]
pub(super) fn payload<'a>(object: &'a Bound<'_, PyAny>) -> Option<&'a StreamTransport> {
    let py = object.py();
    [&SOCKET, &READ_PIPE, &WRITE_PIPE]
        .into_iter()
        .find_map(|class| class.get(py)?.payload(object))
}

/// A transport over a connected stream socket. The protocol's `connection_made` is called by the loop's next entries, then reading
/// begins, then the waiter is woken.
///
/// # Errors
/// What the protocol or the server raises, and `RuntimeError` if the loop is closed. The descriptor is closed then if it was ours.
pub(crate) fn connect<'py>(
    event_loop: &Bound<'py, PyAny>,
    port: &Arc<dyn Port>,
    descriptor: Descriptor,
    parts: Parts<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    let endpoint = Endpoint::new(py, descriptor)?;
    let kind = Streaming::new(Shape::Duplex);
    let transport = StreamTransport::new(event_loop, port, endpoint, kind, &parts);
    transport.describe_socket(py, parts.peer)?;
    transport.set_protocol(parts.protocol)?;
    let server = parts.server.clone();
    transport.introduce(parts, |object, transport| {
        if let Some(server) = server {
            clients::attach(&server, object)?;
            drop(transport.server.replace(py, Some(server)));
        }
        transport.port.claim(transport.endpoint.number(), object)?;
        transport.endpoint.send_small_writes_at_once(py)?;
        Ok(Reads::Yes)
    })
}

/// Has the system send what it holds back of a transport's.
pub(super) fn send_held(object: &Bound<'_, PyAny>) {
    if let Some(transport) = payload(object) {
        // A descriptor that is closed by now was sent on by that.
        let _ = transport.system_call(object.py(), |fd| {
            gathering::send_on(fd);
            Ok(())
        });
    }
}

impl Streaming {
    pub(super) fn new(shape: Shape) -> Self {
        Self {
            shape,
            stream: RefCell::new(Stream::new(shape)),
            gathers: Cell::new(None),
            last_read: Cell::new(0),
            is_buffered: Cell::new(false),
            all_sent: Slot::new(None),
        }
    }

    /// What kind of stream it is.
    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// Whether incoming bytes are written into the protocol's own buffer.
    pub(super) fn is_buffered(&self) -> bool {
        self.is_buffered.get()
    }

    pub(super) fn read_failed(&self) -> &'static str {
        match self.shape {
            Shape::Duplex => "Fatal read error on socket transport",
            Shape::Source | Shape::Sink => "Fatal read error on pipe transport",
        }
    }

    pub(super) fn write_failed(&self) -> &'static str {
        match self.shape {
            Shape::Duplex => "Fatal write error on socket transport",
            Shape::Source | Shape::Sink => "Fatal write error on pipe transport",
        }
    }

    /// What is logged when a program goes on writing to a lost connection.
    pub(super) fn lost_write(&self) -> &'static str {
        match self.shape {
            Shape::Duplex => "socket.send() raised exception.",
            Shape::Source | Shape::Sink => {
                "pipe closed by peer or os.write(pipe, data) raised exception."
            }
        }
    }
}

impl Kind for Streaming {
    type Machine = Stream<Chunk>;

    #[inline]
    fn machine<R>(&self, enter: impl FnOnce(&mut Stream<Chunk>) -> R) -> R {
        enter(&mut self.stream.borrow_mut())
    }

    fn class(&self) -> &'static PyOnceLock<RawType<StreamTransport>> {
        match self.shape {
            Shape::Duplex => &SOCKET,
            Shape::Source => &READ_PIPE,
            Shape::Sink => &WRITE_PIPE,
        }
    }

    fn adopt(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        // asyncio's pipes know one kind of protocol only.
        if self.shape == Shape::Duplex {
            self.is_buffered.set(protocol::is_buffered(protocol)?);
        }
        Ok(())
    }

    fn read(transport: &StreamTransport, object: &Bound<'_, PyAny>) -> PyResult<()> {
        transport.read_available(object)
    }

    fn flush(transport: &StreamTransport, object: &Bound<'_, PyAny>) -> PyResult<()> {
        transport.flush(object)
    }

    fn shut_down(transport: &StreamTransport, py: Python<'_>) -> PyResult<()> {
        transport.shut_down(py)
    }

    fn write_ready(py: Python<'_>) -> &Bound<'_, PyString> {
        names::_write_ready(py)
    }

    /// Of a pipe that is read from, only EIO is: it is how a terminal ends.
    fn is_quiet(&self, py: Python<'_>, error: &PyErr) -> PyResult<bool> {
        if !error.is_instance_of::<PyOSError>(py) {
            return Ok(false);
        }
        match self.shape {
            Shape::Duplex | Shape::Sink => Ok(true),
            Shape::Source => {
                let errno = error.value(py).getattr(names::errno(py))?;
                errno.eq(Errno::IO.raw_os_error())
            }
        }
    }

    fn describe(transport: &StreamTransport, py: Python<'_>) -> Vec<String> {
        let (reading, writing) = (transport.reader.state(), transport.writer.state());
        match transport.kind.shape {
            Shape::Duplex => transport.describe_directions(py),
            _ if transport.endpoint.is_closed(py) => vec!["closed".to_owned()],
            // Of a closed loop asyncio's cannot tell whether it polls.
            _ if transport.port.place(py).is_none() => vec!["open".to_owned()],
            Shape::Source => vec![reading.to_owned()],
            Shape::Sink => {
                let size = transport.machine(|stream| stream.size());
                vec![format!("{writing} bufsize={size}")]
            }
        }
    }

    fn let_go(_: Python<'_>, (): ()) {}

    fn ending(transport: &StreamTransport, py: Python<'_>) -> PyResult<()> {
        transport.end_loan(py)
    }

    fn traverse(&self, visit: &Visit<'_>) -> Result<(), Halt> {
        // Chunks hold bytes, which refer to nothing.
        self.all_sent.traverse(visit)
    }

    fn clear(&self, py: Python<'_>) {
        drop(self.all_sent.take(py));
        let chunks = self.machine(|stream| stream.take_chunks());
        chunks.for_each(|chunk| chunk.release(py));
    }
}
