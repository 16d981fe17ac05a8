//! Calling a protocol.
//!
//! asyncio looks a protocol's method up whenever it calls it, so a program may assign `protocol.data_received` while the connection lives.
//! A method call by vectorcall does the same without making a bound method, at about the price of calling one that was kept: the
//! look-up goes through the type's method cache. So nothing is kept but what asyncio keeps: which of the two kinds it is.

use pyo3::prelude::*;

use crate::ffi::call;
use crate::names;

/// Whether incoming bytes are written into the protocol's own buffer.
///
/// # Errors
/// What an overridden `__instancecheck__` raises.
pub(super) fn is_buffered(protocol: &Bound<'_, PyAny>) -> PyResult<bool> {
    protocol.is_instance(names::buffered_protocol(protocol.py())?)
}

/// `protocol.data_received(data)`.
pub(super) fn data_received<'py>(
    protocol: &Bound<'py, PyAny>,
    data: &Bound<'py, PyAny>,
) -> PyResult<()> {
    call::method(names::data_received(protocol.py()), [protocol, data]).map(drop)
}

/// `protocol.get_buffer(-1)`, which is not empty.
pub(super) fn get_buffer<'py>(protocol: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = protocol.py();
    let any_size = (-1_i32).into_pyobject(py)?.into_any();
    let buffer = call::method(names::get_buffer(py), [protocol, &any_size])?;
    if buffer.len()? == 0 {
        return Err(pyo3::exceptions::PyRuntimeError::new_err(
            "get_buffer() returned an empty buffer",
        ));
    }
    Ok(buffer)
}

/// `protocol.buffer_updated(count)`.
pub(super) fn buffer_updated(protocol: &Bound<'_, PyAny>, count: usize) -> PyResult<()> {
    let py = protocol.py();
    let count = count.into_pyobject(py)?.into_any();
    call::method(names::buffer_updated(py), [protocol, &count]).map(drop)
}

/// `protocol.eof_received()`: whether the protocol wants to go on writing.
pub(super) fn eof_received(protocol: &Bound<'_, PyAny>) -> PyResult<bool> {
    call::method(names::eof_received(protocol.py()), [protocol])?.is_truthy()
}

/// `protocol.datagram_received(data, addr)`.
pub(super) fn datagram_received<'py>(
    protocol: &Bound<'py, PyAny>,
    data: &Bound<'py, PyAny>,
    sender: &Bound<'py, PyAny>,
) -> PyResult<()> {
    let name = names::datagram_received(protocol.py());
    call::method(name, [protocol, data, sender]).map(drop)
}

/// `protocol.error_received(exc)`.
pub(super) fn error_received<'py>(
    protocol: &Bound<'py, PyAny>,
    exception: &Bound<'py, PyAny>,
) -> PyResult<()> {
    call::method(names::error_received(protocol.py()), [protocol, exception]).map(drop)
}

/// `protocol.pause_writing()`.
pub(super) fn pause_writing(protocol: &Bound<'_, PyAny>) -> PyResult<()> {
    call::method(names::pause_writing(protocol.py()), [protocol]).map(drop)
}

/// `protocol.resume_writing()`.
pub(super) fn resume_writing(protocol: &Bound<'_, PyAny>) -> PyResult<()> {
    call::method(names::resume_writing(protocol.py()), [protocol]).map(drop)
}

/// `protocol.connection_lost(exc)`.
pub(super) fn connection_lost<'py>(
    protocol: &Bound<'py, PyAny>,
    exception: &Bound<'py, PyAny>,
) -> PyResult<()> {
    call::method(names::connection_lost(protocol.py()), [protocol, exception]).map(drop)
}
