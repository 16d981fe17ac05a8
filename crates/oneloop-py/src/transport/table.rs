//! The methods and attributes that transports of several kinds have: each parses, calls and converts.

use oneloop::engine::stream::Machine;
use pyo3::prelude::*;
use pyo3::types::PyBool;

use super::base::Transport;
use super::kind::Kind;
use crate::ffi::arguments::Arguments;
use crate::ffi::method::{self, Attribute, Method, Special};

/// Every transport's methods.
pub(super) fn common<K: Kind>() -> Vec<Method<Transport<K>>> {
    vec![
        method::with_arguments(
            c"get_extra_info",
            c"get_extra_info($self, /, name, default=None)\n--\n\nReturn optional information about the transport.",
            |object, transport: &Transport<K>, arguments: Arguments<'_, '_>| {
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
            |object, transport: &Transport<K>, arguments: Arguments<'_, '_>| {
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
            |object, transport: &Transport<K>| {
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
            |object, transport: &Transport<K>| {
                truth(object.py(), transport.machine(|machine| machine.is_closing()))
            },
        ),
        method::noargs(
            c"close",
            c"close($self, /)\n--\n\nClose the transport after what was written is sent.",
            |object, transport: &Transport<K>| {
                transport.close(object)?;
                none(object.py())
            },
        ),
    ]
}

/// What the loop runs of a transport, by asyncio's names: reports and the log name these.
pub(super) fn read_ready<K: Kind>() -> Vec<Method<Transport<K>>> {
    vec![
        method::noargs(
            c"_read_ready",
            c"_read_ready($self, /)\n--\n\nRead what has come.",
            |object, transport: &Transport<K>| {
                K::read(transport, object)?;
                none(object.py())
            },
        ),
        method::noargs(
            c"_call_connection_lost",
            c"_call_connection_lost($self, /)\n--\n\nEnd a connection that was lost.",
            |object, transport: &Transport<K>| {
                if transport.machine(|machine| machine.is_lost()) {
                    transport.lose_now(object)?;
                }
                none(object.py())
            },
        ),
    ]
}

/// Receiving, and not for a while.
pub(super) fn reading<K: Kind>() -> Vec<Method<Transport<K>>> {
    vec![
        method::noargs(
            c"is_reading",
            c"is_reading($self, /)\n--\n\nReturn True if the transport is receiving.",
            |object, transport: &Transport<K>| {
                truth(
                    object.py(),
                    transport.machine(|machine| machine.is_reading()),
                )
            },
        ),
        method::noargs(
            c"pause_reading",
            c"pause_reading($self, /)\n--\n\nReceive nothing until resume_reading() is called.",
            |object, transport: &Transport<K>| {
                transport.pause_reading(object)?;
                none(object.py())
            },
        ),
        method::noargs(
            c"resume_reading",
            c"resume_reading($self, /)\n--\n\nReceive again.",
            |object, transport: &Transport<K>| {
                transport.resume_reading(object)?;
                none(object.py())
            },
        ),
    ]
}

/// What is written and waits, and giving that up.
pub(super) fn buffering<K: Kind>() -> Vec<Method<Transport<K>>> {
    vec![
        method::with_arguments(
            c"set_write_buffer_limits",
            c"set_write_buffer_limits($self, /, high=None, low=None)\n--\n\nSet when the protocol is told to pause and to resume writing.",
            |object, transport: &Transport<K>, arguments: Arguments<'_, '_>| {
                let limits = arguments.bind("set_write_buffer_limits", ["high", "low"], 0)?;
                let [high, low] = limits.map(|limit| limit.filter(|limit| !limit.is_none()));
                transport.set_limits(object, high.as_deref(), low.as_deref())?;
                none(object.py())
            },
        ),
        method::noargs(
            c"get_write_buffer_limits",
            c"get_write_buffer_limits($self, /)\n--\n\nReturn the (low, high) limits of the write buffer.",
            |object, transport: &Transport<K>| transport.limits(object.py()),
        ),
        method::noargs(
            c"get_write_buffer_size",
            c"get_write_buffer_size($self, /)\n--\n\nReturn how many bytes wait to be sent.",
            |object, transport: &Transport<K>| {
                let size = transport.machine(|machine| machine.size());
                Ok(size.into_pyobject(object.py())?.into_any())
            },
        ),
        method::noargs(
            c"abort",
            c"abort($self, /)\n--\n\nClose the transport at once; what was not sent is lost.",
            |object, transport: &Transport<K>| {
                transport.abort(object, None)?;
                none(object.py())
            },
        ),
    ]
}

/// Ending the connection for an error: for sockets only, as in asyncio.
pub(super) fn force_close<K: Kind>() -> Method<Transport<K>> {
    method::with_arguments(
        c"_force_close",
        c"_force_close($self, /, exc)\n--\n\nClose the transport at once, for an error.",
        |object, transport: &Transport<K>, arguments: Arguments<'_, '_>| {
            let [exception] = arguments.bind("_force_close", ["exc"], 1)?;
            let exception = exception.filter(|exception| !exception.is_none());
            transport.abort(object, exception.map(|exception| exception.to_owned()))?;
            none(object.py())
        },
    )
}

/// Every transport's attributes.
pub(super) fn attributes<K: Kind>() -> Vec<Attribute<Transport<K>>> {
    vec![
        method::property(
            c"_extra",
            |py, transport: &Transport<K>| transport.whole_extra(py),
            |transport: &Transport<K>, value: Bound<'_, PyAny>| {
                drop(transport.extra.replace(value.py(), Some(value.clone())));
                Ok(())
            },
        ),
        method::getter(c"_loop", |py, transport: &Transport<K>| {
            Ok(transport
                .event_loop
                .get(py)
                .unwrap_or_else(|| py.None().into_bound(py)))
        }),
    ]
}

/// The Python socket, as asyncio's transports have it; `None` once it is closed.
pub(super) fn sock<K: Kind>() -> Attribute<Transport<K>> {
    method::getter(c"_sock", |py, transport: &Transport<K>| {
        let socket = transport.endpoint.object(py)?;
        Ok(socket.unwrap_or_else(|| py.None().into_bound(py)))
    })
}

/// Every transport's methods that CPython calls by slots.
pub(super) fn special<K: Kind>() -> Vec<Special<Transport<K>>> {
    vec![
        method::repr(|object, transport: &Transport<K>| transport.describe(object)),
        method::finalizer(|object, transport: &Transport<K>| transport.close_abandoned(object)),
    ]
}

pub(super) fn truth(py: Python<'_>, value: bool) -> PyResult<Bound<'_, PyAny>> {
    Ok(PyBool::new(py, value).to_owned().into_any())
}

pub(super) fn none(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    Ok(py.None().into_bound(py))
}
