//! Push transports: TCP, UDP, Unix sockets and pipes.
//!
//! One payload serves all kinds, around the engine's state machines (`oneloop::engine::stream`, `oneloop::engine::datagram`), below asyncio's base classes. What
//! a program sees is what asyncio's selector transports of the running interpreter show it: which callback is its own ready entry, which
//! context it runs in, what an error becomes and in which words.
//!
//! The state changes under the GIL on whatever thread a method is called; what belongs to the loop's thread (its watches) is asked of it.
//! No cell is entered while Python runs.

mod base;
mod chunk;
mod closing;
mod datagram;
mod endpoint;
mod extra;
mod flow;
mod gathering;
mod heap;
mod kind;
mod limits;
mod name;
mod port;
mod protocol;
mod report;
mod stream;
mod table;
pub(crate) mod tls;
mod turn;
mod watcher;

pub(crate) use self::base::Parts;
pub(crate) use self::datagram::open as open_datagrams;
pub(crate) use self::endpoint::Descriptor;
pub(crate) use self::gathering::{Turns, WriteTurn};
pub(crate) use self::port::Port;
pub(crate) use self::stream::{connect, connect_read_pipe, connect_write_pipe};
pub(crate) use self::turn::{handle, run, settle};

use pyo3::prelude::*;

use self::turn::Turn;
use crate::names;

/// Builds the types and adds them to the module. Called by the module's initialization, before any transport can be asked for.
///
/// # Errors
/// What building a type or importing asyncio raises.
pub(crate) fn add_types(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // For finalizers, which may run when nothing can be imported any more.
    names::warn(module.py())?;
    stream::add_types(module)?;
    datagram::add_types(module)?;
    tls::add_types(module)
}

/// The transport behind an object, whatever its kind; `None` if it is none.
#[inline]
fn transport_of<'a>(object: &'a Bound<'_, PyAny>) -> Option<&'a dyn Turn> {
    if let Some(transport) = stream::payload(object) {
        return Some(transport);
    }
    Some(datagram::payload(object)?)
}
