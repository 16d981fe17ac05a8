//! TLS over any transport that can carry it, with the user's own `ssl.SSLContext`.
//!
//! Two objects, as in asyncio: a protocol for the transport below ([`layer`]), and a transport for the protocol above ([`surface`]).
//! What lies below is only spoken to by the methods that asyncio's transports have, so it may be ours, asyncio's or another TLS. The
//! cryptography is `ssl`'s, between two memory buffers ([`cipher`]); what happens when is the engine's state machine
//! (`oneloop::engine::tls`). `asyncio.sslproto` is the specification, its messages included; nothing of it is called.

mod cipher;
mod closing;
mod failing;
mod handshake;
mod incoming;
mod layer;
mod layer_table;
mod loan;
mod marks;
mod outgoing;
mod settings;
mod surface;
mod surface_table;
mod timer;

pub(crate) use self::layer::{accept, forget};
pub(crate) use self::settings::Settings;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use self::layer::Layer;
use self::surface::Surface;
use crate::ffi::raw_type::RawType;
use crate::names;

static LAYER: PyOnceLock<RawType<Layer>> = PyOnceLock::new();
static SURFACE: PyOnceLock<RawType<Surface>> = PyOnceLock::new();

/// Builds the types and adds them to the module. Called by the module's initialization.
///
/// # Errors
/// What building a type or importing asyncio raises.
pub(super) fn add_types(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let layer = LAYER.get_or_try_init(py, || {
        RawType::build(names::buffered_protocol(py)?, layer_table::layer())
    })?;
    let surface = SURFACE.get_or_try_init(py, || {
        RawType::build(names::transport_class(py)?, surface_table::surface())
    })?;
    module.add("_SSLProtocol", layer.class(py))?;
    module.add("SSLTransport", surface.class(py))?;
    module.add_class::<Settings>()?;
    module.add_function(wrap_pyfunction!(layer::_wrap_tls, module)?)
}

fn layer_type(py: Python<'_>) -> &RawType<Layer> {
    LAYER
        .get(py)
        .expect("the module's initialization built the types before it offered a loop")
}

fn surface_type(py: Python<'_>) -> &RawType<Surface> {
    SURFACE
        .get(py)
        .expect("the module's initialization built the types before it offered a loop")
}
