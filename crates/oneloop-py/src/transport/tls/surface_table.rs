//! The methods and attributes of the transport for the protocol above: each parses, calls and converts.

use pyo3::exceptions::PyNotImplementedError;
use pyo3::prelude::*;

use super::super::table::{none, truth};
use super::surface::Surface;
use crate::ffi::arguments::Arguments;
use crate::ffi::method::{self, Attribute, Method};
use crate::ffi::raw_type::Definition;
use crate::names;

/// What the transport for the protocol above is called and can do.
pub(super) fn surface() -> Definition<Surface> {
    let mut methods = base();
    methods.extend(reading());
    methods.extend(writing());
    methods.extend(limits());
    Definition {
        name: c"oneloop._core.SSLTransport",
        doc: c"A stream transport over TLS.\n\nMade by the loop; follows asyncio.Transport.",
        methods,
        attributes: attributes(),
        special: vec![method::finalizer(|object, surface: &Surface| {
            surface.warn_of_abandoned(object);
        })],
        is_open: true,
    }
}

fn base() -> Vec<Method<Surface>> {
    vec![
        method::with_arguments(
            c"get_extra_info",
            c"get_extra_info($self, /, name, default=None)\n--\n\nReturn optional information about the transport.",
            |object, surface: &Surface, arguments: Arguments<'_, '_>| {
                let py = object.py();
                let [name, default] = arguments.bind("get_extra_info", ["name", "default"], 1)?;
                let default = match default {
                    Some(default) => default.to_owned(),
                    None => py.None().into_bound(py),
                };
                let Some(name) = name else { return Ok(default) };
                let absent = default.clone();
                surface.with_layer(
                    py,
                    || absent,
                    |_, layer| layer.extra_info(py, &name, default),
                )
            },
        ),
        method::with_arguments(
            c"set_protocol",
            c"set_protocol($self, /, protocol)\n--\n\nChange the protocol.",
            |object, surface: &Surface, arguments: Arguments<'_, '_>| {
                let py = object.py();
                let [protocol] = arguments.bind("set_protocol", ["protocol"], 1)?;
                if let Some(protocol) = protocol {
                    surface.with_layer(py, || (), |_, layer| layer.set_protocol(&protocol))?;
                }
                none(py)
            },
        ),
        method::noargs(
            c"get_protocol",
            c"get_protocol($self, /)\n--\n\nReturn the protocol.",
            |object, surface: &Surface| {
                let py = object.py();
                let protocol = surface.with_layer(py, || None, |_, layer| {
                    Ok(layer.protocol.get(py))
                })?;
                Ok(protocol.unwrap_or_else(|| py.None().into_bound(py)))
            },
        ),
        method::noargs(
            c"is_closing",
            c"is_closing($self, /)\n--\n\nReturn True if the transport is closing or closed.",
            |object, surface: &Surface| truth(object.py(), surface.is_closing(object.py())?),
        ),
        method::noargs(
            c"close",
            c"close($self, /)\n--\n\nClose the transport after what was written is sent and the peer was told.",
            |object, surface: &Surface| {
                surface.close(object.py())?;
                none(object.py())
            },
        ),
        method::noargs(
            c"abort",
            c"abort($self, /)\n--\n\nClose the transport at once; what was not sent is lost.",
            |object, surface: &Surface| {
                surface.abort(object.py(), None)?;
                none(object.py())
            },
        ),
        method::with_arguments(
            c"_force_close",
            c"_force_close($self, /, exc)\n--\n\nClose the transport at once, for an error.",
            |object, surface: &Surface, arguments: Arguments<'_, '_>| {
                let [exception] = arguments.bind("_force_close", ["exc"], 1)?;
                let exception = exception.filter(|exception| !exception.is_none());
                surface.abort(object.py(), exception.as_deref())?;
                none(object.py())
            },
        ),
    ]
}

fn reading() -> Vec<Method<Surface>> {
    vec![
        method::noargs(
            c"is_reading",
            c"is_reading($self, /)\n--\n\nReturn True if the transport is receiving.",
            |object, surface: &Surface| {
                let py = object.py();
                let is_reading = surface.with_layer(py, || false, |_, layer| {
                    Ok(layer.session(|session| session.is_reading()))
                })?;
                truth(py, is_reading)
            },
        ),
        method::noargs(
            c"pause_reading",
            c"pause_reading($self, /)\n--\n\nHand nothing to the protocol until resume_reading() is called.",
            |object, surface: &Surface| {
                let py = object.py();
                surface.with_layer(py, || (), |_, layer| {
                    layer.pause_reading();
                    Ok(())
                })?;
                none(py)
            },
        ),
        method::noargs(
            c"resume_reading",
            c"resume_reading($self, /)\n--\n\nHand over what comes again, and what waits.",
            |object, surface: &Surface| {
                let py = object.py();
                surface.with_layer(py, || (), |object, layer| layer.resume_reading(object))?;
                none(py)
            },
        ),
    ]
}

fn writing() -> Vec<Method<Surface>> {
    vec![
        method::with_arguments(
            c"write",
            c"write($self, /, data)\n--\n\nWrite bytes; what cannot be sent at once is sent later.",
            |object, surface: &Surface, arguments: Arguments<'_, '_>| {
                let py = object.py();
                let [data] = arguments.bind("write", ["data"], 1)?;
                if let Some(data) = data {
                    surface.with_layer(py, || (), |object, layer| layer.write(object, &data))?;
                }
                none(py)
            },
        ),
        method::with_arguments(
            c"writelines",
            c"writelines($self, /, list_of_data)\n--\n\nWrite several pieces of bytes at once.",
            |object, surface: &Surface, arguments: Arguments<'_, '_>| {
                let py = object.py();
                let [lines] = arguments.bind("writelines", ["list_of_data"], 1)?;
                if let Some(lines) = lines {
                    surface.with_layer(py, || (), |object, layer| {
                        layer.writelines(object, &lines)
                    })?;
                }
                none(py)
            },
        ),
        // CPython's own test of bytes that are written last uses it.
        method::with_arguments(
            c"_test__append_write_backlog",
            c"_test__append_write_backlog($self, /, data)\n--\n\nKeep bytes to be sent without sending any.",
            |object, surface: &Surface, arguments: Arguments<'_, '_>| {
                let py = object.py();
                let [data] = arguments.bind("_test__append_write_backlog", ["data"], 1)?;
                if let Some(data) = data {
                    surface.with_layer(py, || (), |_, layer| layer.keep(&data, 0))?;
                }
                none(py)
            },
        ),
        method::noargs(
            c"write_eof",
            c"write_eof($self, /)\n--\n\nRaise NotImplementedError: closing the write end alone is not supported.",
            |_, _: &Surface| Err(PyNotImplementedError::new_err(())),
        ),
        method::noargs(
            c"can_write_eof",
            c"can_write_eof($self, /)\n--\n\nReturn False: write_eof() does not work.",
            |object, _: &Surface| truth(object.py(), false),
        ),
    ]
}

fn limits() -> Vec<Method<Surface>> {
    vec![
        method::with_arguments(
            c"set_write_buffer_limits",
            c"set_write_buffer_limits($self, /, high=None, low=None)\n--\n\nSet when the protocol is told to pause and to resume writing.",
            |object, surface: &Surface, arguments: Arguments<'_, '_>| {
                let py = object.py();
                let [high, low] = marks(arguments, "set_write_buffer_limits")?;
                surface.with_layer(py, || (), |object, layer| {
                    layer.writing.set(py, high.as_ref(), low.as_ref())?;
                    layer.control_writing(object)
                })?;
                none(py)
            },
        ),
        method::noargs(
            c"get_write_buffer_limits",
            c"get_write_buffer_limits($self, /)\n--\n\nReturn the (low, high) limits of the write buffer.",
            |object, surface: &Surface| {
                let py = object.py();
                surface.with_layer(py, || py.None().into_bound(py), |_, layer| {
                    layer.writing.show(py)
                })
            },
        ),
        method::noargs(
            c"get_write_buffer_size",
            c"get_write_buffer_size($self, /)\n--\n\nReturn how many bytes wait here to be sent.",
            |object, surface: &Surface| {
                let py = object.py();
                let size = surface.with_layer(py, || 0, |_, layer| layer.write_buffer_size(py))?;
                Ok(size.into_pyobject(py)?.into_any())
            },
        ),
        method::with_arguments(
            c"set_read_buffer_limits",
            c"set_read_buffer_limits($self, /, high=None, low=None)\n--\n\nSet when the transport below is told to pause and to resume reading.",
            |object, surface: &Surface, arguments: Arguments<'_, '_>| {
                let py = object.py();
                let [high, low] = marks(arguments, "set_read_buffer_limits")?;
                surface.with_layer(py, || (), |object, layer| {
                    layer.reading.set(py, high.as_ref(), low.as_ref())?;
                    layer.control_reading(object)
                })?;
                none(py)
            },
        ),
        method::noargs(
            c"get_read_buffer_limits",
            c"get_read_buffer_limits($self, /)\n--\n\nReturn the (low, high) limits of the read buffer.",
            |object, surface: &Surface| {
                let py = object.py();
                surface.with_layer(py, || py.None().into_bound(py), |_, layer| {
                    layer.reading.show(py)
                })
            },
        ),
        method::noargs(
            c"get_read_buffer_size",
            c"get_read_buffer_size($self, /)\n--\n\nReturn how many bytes wait to be decrypted.",
            |object, surface: &Surface| {
                let py = object.py();
                let size = surface.with_layer(py, || 0, |_, layer| layer.cipher.incoming(py))?;
                Ok(size.into_pyobject(py)?.into_any())
            },
        ),
    ]
}

fn attributes() -> Vec<Attribute<Surface>> {
    vec![
        method::getter(c"_start_tls_compatible", |py, _: &Surface| truth(py, true)),
        method::getter(c"_sendfile_compatible", |py, _: &Surface| {
            names::sendfile_fallback(py).cloned()
        }),
        // asyncio's sendfile by fallback asks for it.
        method::getter(c"_protocol_paused", |py, surface: &Surface| {
            let is_paused = surface.with_layer(
                py,
                || false,
                |_, layer| Ok(layer.writing.flow(|flow| flow.is_stopped())),
            )?;
            truth(py, is_paused)
        }),
        method::getter(c"_ssl_protocol", |py, surface: &Surface| {
            Ok(surface
                .layer
                .get(py)
                .unwrap_or_else(|| py.None().into_bound(py)))
        }),
        method::getter(c"_loop", |py, surface: &Surface| {
            Ok(surface
                .event_loop
                .get(py)
                .unwrap_or_else(|| py.None().into_bound(py)))
        }),
    ]
}

/// The arguments of a method that sets water marks; `None` is one that was not given.
fn marks<'py>(
    arguments: Arguments<'_, 'py>,
    name: &str,
) -> PyResult<[Option<Bound<'py, PyAny>>; 2]> {
    let marks = arguments.bind(name, ["high", "low"], 0)?;
    Ok(marks.map(|mark| {
        mark.filter(|mark| !mark.is_none())
            .map(|mark| mark.to_owned())
    }))
}
