//! The methods and attributes of transports: each parses, calls and converts.

use pyo3::prelude::*;
use pyo3::types::PyBool;

use super::stream::StreamTransport;
use crate::ffi::arguments::Arguments;
use crate::ffi::method::{self, Attribute, Method, Special};
use crate::ffi::raw_type::Definition;

type Transport = StreamTransport;

/// What a socket's transport is called and can do.
pub(super) fn socket() -> Definition<Transport> {
    let mut methods = common();
    methods.extend(reading());
    methods.extend(read_ready());
    methods.extend(writing());
    methods.push(method::with_arguments(
        c"_force_close",
        c"_force_close($self, /, exc)\n--\n\nClose the transport at once, for an error.",
        |object, transport: &Transport, arguments: Arguments<'_, '_>| {
            let [exception] = arguments.bind("_force_close", ["exc"], 1)?;
            let exception = exception.filter(|exception| !exception.is_none());
            transport.abort(object, exception.map(|exception| exception.to_owned()))?;
            none(object.py())
        },
    ));
    #[cfg(Py_3_12)]
    methods.push(method::with_arguments(
        c"writelines",
        c"writelines($self, /, list_of_data)\n--\n\nWrite several pieces of bytes at once.",
        |object, transport: &Transport, arguments: Arguments<'_, '_>| {
            let [lines] = arguments.bind("writelines", ["list_of_data"], 1)?;
            if let Some(lines) = lines {
                transport.writelines(object, &lines)?;
            }
            none(object.py())
        },
    ));
    let mut attributes = attributes();
    attributes.push(method::getter(
        c"_start_tls_compatible",
        |py, _: &Transport| truth(py, true),
    ));
    Definition {
        name: c"oneloop._core.SocketTransport",
        doc: c"A stream transport over a TCP or Unix socket.\n\nMade by the loop; follows asyncio.Transport.",
        methods,
        attributes,
        special: special(),
        is_open: true,
    }
}

/// What the transport of a pipe's reading end is called and can do.
pub(super) fn read_pipe() -> Definition<Transport> {
    let mut methods = common();
    methods.extend(reading());
    methods.extend(read_ready());
    Definition {
        name: c"oneloop._core.ReadPipeTransport",
        doc: c"A transport that reads from a pipe.\n\nMade by the loop; follows asyncio.ReadTransport.",
        methods,
        attributes: attributes(),
        special: special(),
        is_open: true,
    }
}

/// What the transport of a pipe's writing end is called and can do.
pub(super) fn write_pipe() -> Definition<Transport> {
    let mut methods = common();
    methods.extend(read_ready());
    methods.extend(writing());
    Definition {
        name: c"oneloop._core.WritePipeTransport",
        doc: c"A transport that writes to a pipe.\n\nMade by the loop; follows asyncio.WriteTransport.",
        methods,
        attributes: attributes(),
        special: special(),
        is_open: true,
    }
}

/// Every transport's methods.
fn common() -> Vec<Method<Transport>> {
    vec![
        method::with_arguments(
            c"get_extra_info",
            c"get_extra_info($self, /, name, default=None)\n--\n\nReturn optional information about the transport.",
            |object, transport: &Transport, arguments: Arguments<'_, '_>| {
                let [name, default] = arguments.bind("get_extra_info", ["name", "default"], 1)?;
                match name {
                    Some(name) => transport.extra_info(object.py(), &name, default.as_deref()),
                    None => none(object.py()),
                }
            },
        ),
        method::with_arguments(
            c"set_protocol",
            c"set_protocol($self, /, protocol)\n--\n\nChange the protocol.",
            |object, transport: &Transport, arguments: Arguments<'_, '_>| {
                let [protocol] = arguments.bind("set_protocol", ["protocol"], 1)?;
                if let Some(protocol) = protocol {
                    transport.set_protocol(&protocol)?;
                }
                none(object.py())
            },
        ),
        method::noargs(
            c"get_protocol",
            c"get_protocol($self, /)\n--\n\nReturn the protocol.",
            |object, transport: &Transport| {
                let py = object.py();
                Ok(transport
                    .protocol
                    .get(py)
                    .unwrap_or_else(|| py.None().into_bound(py)))
            },
        ),
        method::noargs(
            c"is_closing",
            c"is_closing($self, /)\n--\n\nReturn True if the transport is closing or closed.",
            |object, transport: &Transport| {
                truth(object.py(), transport.stream(|stream| stream.is_closing()))
            },
        ),
        method::noargs(
            c"close",
            c"close($self, /)\n--\n\nClose the transport after what was written is sent.",
            |object, transport: &Transport| {
                transport.close(object)?;
                none(object.py())
            },
        ),
    ]
}

/// What the loop runs of a transport, by asyncio's names: reports and the log name these.
fn read_ready() -> Vec<Method<Transport>> {
    vec![
        method::noargs(
            c"_read_ready",
            c"_read_ready($self, /)\n--\n\nRead what has come.",
            |object, transport: &Transport| {
                transport.read_available(object)?;
                none(object.py())
            },
        ),
        method::noargs(
            c"_call_connection_lost",
            c"_call_connection_lost($self, /)\n--\n\nEnd a connection that was lost.",
            |object, transport: &Transport| {
                if transport.stream(|stream| stream.is_lost()) {
                    transport.lose_now(object)?;
                }
                none(object.py())
            },
        ),
    ]
}

fn reading() -> Vec<Method<Transport>> {
    vec![
        method::noargs(
            c"is_reading",
            c"is_reading($self, /)\n--\n\nReturn True if the transport is receiving.",
            |object, transport: &Transport| {
                truth(object.py(), transport.stream(|stream| stream.is_reading()))
            },
        ),
        method::noargs(
            c"pause_reading",
            c"pause_reading($self, /)\n--\n\nReceive nothing until resume_reading() is called.",
            |object, transport: &Transport| {
                transport.pause_reading(object)?;
                none(object.py())
            },
        ),
        method::noargs(
            c"resume_reading",
            c"resume_reading($self, /)\n--\n\nReceive again.",
            |object, transport: &Transport| {
                transport.resume_reading(object)?;
                none(object.py())
            },
        ),
    ]
}

fn writing() -> Vec<Method<Transport>> {
    vec![
        method::with_arguments(
            c"write",
            c"write($self, /, data)\n--\n\nWrite bytes; what cannot be sent at once is sent later.",
            |object, transport: &Transport, arguments: Arguments<'_, '_>| {
                let [data] = arguments.bind("write", ["data"], 1)?;
                if let Some(data) = data {
                    transport.write(object, &data)?;
                }
                none(object.py())
            },
        ),
        method::noargs(
            c"_write_ready",
            c"_write_ready($self, /)\n--\n\nSend what waits.",
            |object, transport: &Transport| {
                transport.flush(object)?;
                none(object.py())
            },
        ),
        method::noargs(
            c"write_eof",
            c"write_eof($self, /)\n--\n\nClose the write end after what was written is sent.",
            |object, transport: &Transport| {
                transport.write_eof(object)?;
                none(object.py())
            },
        ),
        method::noargs(
            c"can_write_eof",
            c"can_write_eof($self, /)\n--\n\nReturn True: write_eof() works.",
            |object, _: &Transport| truth(object.py(), true),
        ),
        method::with_arguments(
            c"set_write_buffer_limits",
            c"set_write_buffer_limits($self, /, high=None, low=None)\n--\n\nSet when the protocol is told to pause and to resume writing.",
            |object, transport: &Transport, arguments: Arguments<'_, '_>| {
                let limits = arguments.bind("set_write_buffer_limits", ["high", "low"], 0)?;
                let [high, low] = limits.map(|limit| limit.filter(|limit| !limit.is_none()));
                transport.set_limits(object, high.as_deref(), low.as_deref())?;
                none(object.py())
            },
        ),
        method::noargs(
            c"get_write_buffer_limits",
            c"get_write_buffer_limits($self, /)\n--\n\nReturn the (low, high) limits of the write buffer.",
            |object, transport: &Transport| transport.limits(object.py()),
        ),
        method::noargs(
            c"get_write_buffer_size",
            c"get_write_buffer_size($self, /)\n--\n\nReturn how many bytes wait to be sent.",
            |object, transport: &Transport| {
                let size = transport.stream(|stream| stream.size());
                Ok(size.into_pyobject(object.py())?.into_any())
            },
        ),
        method::noargs(
            c"abort",
            c"abort($self, /)\n--\n\nClose the transport at once; what was not sent is lost.",
            |object, transport: &Transport| {
                transport.abort(object, None)?;
                none(object.py())
            },
        ),
    ]
}

fn attributes() -> Vec<Attribute<Transport>> {
    vec![
        method::property(
            c"_extra",
            |py, transport: &Transport| {
                Ok(transport
                    .extra
                    .get(py)
                    .unwrap_or_else(|| py.None().into_bound(py)))
            },
            |transport: &Transport, value: Bound<'_, PyAny>| {
                drop(transport.extra.replace(value.py(), Some(value.clone())));
                Ok(())
            },
        ),
        method::getter(c"_loop", |py, transport: &Transport| {
            Ok(transport
                .event_loop
                .get(py)
                .unwrap_or_else(|| py.None().into_bound(py)))
        }),
    ]
}

fn special() -> Vec<Special<Transport>> {
    vec![
        method::repr(|object, transport: &Transport| transport.describe(object)),
        method::finalizer(|object, transport: &Transport| transport.close_abandoned(object)),
    ]
}

fn truth(py: Python<'_>, value: bool) -> PyResult<Bound<'_, PyAny>> {
    Ok(PyBool::new(py, value).to_owned().into_any())
}

fn none(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    Ok(py.None().into_bound(py))
}
