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
mod limits;
mod port;
mod protocol;
mod reading;
mod stream;
mod table;
mod watcher;
mod writing;

pub(crate) use self::endpoint::Descriptor;
pub(crate) use self::port::Port;
pub(crate) use self::stream::{Parts, connect, run, settle};

use oneloop::engine::stream::Shape;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use self::stream::StreamTransport;
use crate::ffi::raw_type::RawType;
use crate::names;

static SOCKET: PyOnceLock<RawType<StreamTransport>> = PyOnceLock::new();

/// Builds the types and adds them to the module. Called by the module's initialization, before any transport can be asked for.
///
/// # Errors
/// What building a type or importing asyncio raises.
pub(crate) fn add_types(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let socket = SOCKET.get_or_try_init(py, || {
        RawType::build(names::transport_class(py)?, table::socket())
    })?;
    module.add("SocketTransport", socket.class(py))
}

/// The type of transports of a shape.
fn class_of(py: Python<'_>, _shape: Shape) -> &RawType<StreamTransport> {
    SOCKET
        .get(py)
        .expect("the module's initialization built the types before it offered a loop")
}

/// The payload of a transport, whatever its kind; `None` for any other object.
fn payload<'a>(object: &'a Bound<'_, PyAny>) -> Option<&'a StreamTransport> {
    let py = object.py();
    [&SOCKET]
        .into_iter()
        .find_map(|class| class.get(py)?.payload(object))
}
