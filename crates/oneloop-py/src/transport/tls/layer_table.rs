//! The methods and attributes of the protocol for the transport below: each parses, calls and converts.

use super::super::table::{none, truth};
use super::layer::Layer;
use crate::ffi::arguments::Arguments;
use crate::ffi::method::{self, Method};
use crate::ffi::raw_type::Definition;

/// What the protocol for the transport below is called and can do.
pub(super) fn layer() -> Definition<Layer> {
    let mut methods = protocol();
    methods.extend(entries());
    Definition {
        name: c"oneloop._core._SSLProtocol",
        doc: c"TLS over a transport, as the protocol of that transport.\n\nMade by the loop; follows asyncio.BufferedProtocol.",
        methods,
        attributes: vec![method::getter(c"_app_transport", |py, layer: &Layer| {
            Ok(layer
                .surface
                .get(py)
                .unwrap_or_else(|| py.None().into_bound(py)))
        })],
        special: Vec::new(),
        is_open: false,
    }
}

/// What a transport calls of its protocol.
fn protocol() -> Vec<Method<Layer>> {
    vec![
        method::with_arguments(
            c"connection_made",
            c"connection_made($self, /, transport)\n--\n\nBegin the handshake over the transport.",
            |object, layer: &Layer, arguments: Arguments<'_, '_>| {
                let [transport] = arguments.bind("connection_made", ["transport"], 1)?;
                if let Some(transport) = transport {
                    layer.connection_made(object, &transport)?;
                }
                none(object.py())
            },
        ),
        method::with_arguments(
            c"connection_lost",
            c"connection_lost($self, /, exc)\n--\n\nTell the protocol above that the connection is lost.",
            |object, layer: &Layer, arguments: Arguments<'_, '_>| {
                let [exception] = arguments.bind("connection_lost", ["exc"], 1)?;
                if let Some(exception) = exception {
                    layer.connection_lost(object, &exception)?;
                }
                none(object.py())
            },
        ),
        method::with_arguments(
            c"get_buffer",
            c"get_buffer($self, /, sizehint)\n--\n\nReturn memory to receive into.",
            |object, layer: &Layer, arguments: Arguments<'_, '_>| {
                let [_size] = arguments.bind("get_buffer", ["sizehint"], 1)?;
                layer.loan.take(object.py())
            },
        ),
        method::with_arguments(
            c"buffer_updated",
            c"buffer_updated($self, /, nbytes)\n--\n\nDecrypt what was received into that memory.",
            |object, layer: &Layer, arguments: Arguments<'_, '_>| {
                let [size] = arguments.bind("buffer_updated", ["nbytes"], 1)?;
                if let Some(size) = size {
                    layer.buffer_updated(object, size.extract()?)?;
                }
                none(object.py())
            },
        ),
        method::noargs(
            c"eof_received",
            c"eof_received($self, /)\n--\n\nEnd the connection: the peer sends no more.",
            |object, layer: &Layer| truth(object.py(), layer.eof_received(object)?),
        ),
        method::noargs(
            c"pause_writing",
            c"pause_writing($self, /)\n--\n\nGive the transport nothing more for now.",
            |object, layer: &Layer| {
                layer.pause_writing();
                none(object.py())
            },
        ),
        method::noargs(
            c"resume_writing",
            c"resume_writing($self, /)\n--\n\nGive the transport what waits.",
            |object, layer: &Layer| {
                layer.resume_writing(object)?;
                none(object.py())
            },
        ),
    ]
}

/// What the loop calls, and `start_tls`.
fn entries() -> Vec<Method<Layer>> {
    vec![
        method::noargs(
            c"_proceed",
            c"_proceed($self, /)\n--\n\nDo what is to be done next.",
            |object, layer: &Layer| {
                layer.resume(object)?;
                none(object.py())
            },
        ),
        method::noargs(
            c"_check_handshake_timeout",
            c"_check_handshake_timeout($self, /)\n--\n\nEnd a handshake that takes too long.",
            |object, layer: &Layer| {
                layer.check_handshake_timeout(object)?;
                none(object.py())
            },
        ),
        method::noargs(
            c"_check_shutdown_timeout",
            c"_check_shutdown_timeout($self, /)\n--\n\nEnd a shutdown that takes too long.",
            |object, layer: &Layer| {
                layer.check_shutdown_timeout(object)?;
                none(object.py())
            },
        ),
        method::with_arguments(
            c"_feed",
            c"_feed($self, /, data)\n--\n\nTake bytes of the peer's that came before TLS began.",
            |object, layer: &Layer, arguments: Arguments<'_, '_>| {
                let [data] = arguments.bind("_feed", ["data"], 1)?;
                if let Some(data) = data {
                    layer.cipher.feed(&data)?;
                }
                none(object.py())
            },
        ),
    ]
}
