//! Push transports over streams of bytes: TCP, Unix sockets and pipes.
//!
//! One payload serves all three, around the engine's state machine (`oneloop::engine::stream`), below three of asyncio's base classes. What
//! a program sees is what asyncio's selector transports of the running interpreter show it: which callback is its own ready entry, which
//! context it runs in, what an error becomes and in which words.
//!
//! The state changes under the GIL on whatever thread a method is called; what belongs to the loop's thread (its watches) is asked of it.
//! No cell is entered while Python runs.

mod chunk;
mod closing;
mod endpoint;
mod extra;
mod kind;
mod limits;
mod pipes;
mod port;
mod protocol;
mod reading;
mod stream;
mod table;
mod turn;
mod watcher;
mod writing;

pub(crate) use self::endpoint::Descriptor;
pub(crate) use self::pipes::{connect_read_pipe, connect_write_pipe};
pub(crate) use self::port::Port;
pub(crate) use self::stream::{Parts, connect};
pub(crate) use self::turn::{handle, run, settle};

use oneloop::engine::stream::Shape;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use self::stream::StreamTransport;
use crate::ffi::raw_type::RawType;
use crate::names;

static SOCKET: PyOnceLock<RawType<StreamTransport>> = PyOnceLock::new();
static READ_PIPE: PyOnceLock<RawType<StreamTransport>> = PyOnceLock::new();
static WRITE_PIPE: PyOnceLock<RawType<StreamTransport>> = PyOnceLock::new();

/// Builds the types and adds them to the module. Called by the module's initialization, before any transport can be asked for.
///
/// # Errors
/// What building a type or importing asyncio raises.
pub(crate) fn add_types(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    // For finalizers, which may run when nothing can be imported any more.
    names::warn(py)?;
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

/// A new object around a payload.
fn make<'py>(py: Python<'py>, transport: StreamTransport) -> PyResult<Bound<'py, PyAny>> {
    let class = match transport.shape() {
        Shape::Duplex => &SOCKET,
        Shape::Source => &READ_PIPE,
        Shape::Sink => &WRITE_PIPE,
    };
    class
        .get(py)
        .expect("the module's initialization built the types before it offered a loop")
        .make(py, transport)
}

/// The payload of a transport, whatever its kind; `None` for any other object.
#[inline]
fn payload<'a>(object: &'a Bound<'_, PyAny>) -> Option<&'a StreamTransport> {
    let py = object.py();
    [&SOCKET, &READ_PIPE, &WRITE_PIPE]
        .into_iter()
        .find_map(|class| class.get(py)?.payload(object))
}
