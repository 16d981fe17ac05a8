//! Audit events, for calls that the system does in the place of a Python method that would raise one.

use std::ffi::{CStr, c_char, c_int};

use pyo3::prelude::*;

use super::error;

/// Raises the event with two arguments. Without a hook that costs next to nothing.
///
/// # Errors
/// What a hook raises.
#[inline]
pub(crate) fn raise(
    event: &CStr,
    first: &Bound<'_, PyAny>,
    second: &Bound<'_, PyAny>,
) -> PyResult<()> {
    // SAFETY: the format names two objects, which the caller holds for the call; `first` proves that the thread is attached.
    let code = unsafe {
        PySys_Audit(
            event.as_ptr(),
            c"OO".as_ptr(),
            first.as_ptr(),
            second.as_ptr(),
        )
    };
    match code {
        0 => Ok(()),
        _ => Err(error::fetch(first.py())),
    }
}

/// Raises `socket.getaddrinfo`, as the function of that name does: with host, port, family, type and protocol.
///
/// # Errors
/// What a hook raises.
#[inline]
pub(crate) fn getaddrinfo(
    host: &Bound<'_, PyAny>,
    port: &Bound<'_, PyAny>,
    [family, kind, protocol]: [c_int; 3],
) -> PyResult<()> {
    // SAFETY: the format names two objects, which the caller holds for the call, and three ints; `host` proves that the thread is attached.
    let code = unsafe {
        PySys_Audit(
            c"socket.getaddrinfo".as_ptr(),
            c"OOiii".as_ptr(),
            host.as_ptr(),
            port.as_ptr(),
            family,
            kind,
            protocol,
        )
    };
    match code {
        0 => Ok(()),
        _ => Err(error::fetch(host.py())),
    }
}

unsafe extern "C" {
    // Documented since Python 3.8; PyO3 does not declare it.
    fn PySys_Audit(event: *const c_char, format: *const c_char, ...) -> c_int;
}
