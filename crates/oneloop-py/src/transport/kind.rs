//! Where asyncio's three stream transports differ in what they say and in which errors they keep to themselves.

use oneloop::engine::stream::Shape;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use rustix::io::Errno;

use crate::names;

pub(super) fn read_failed(shape: Shape) -> &'static str {
    match shape {
        Shape::Duplex => "Fatal read error on socket transport",
        Shape::Source | Shape::Sink => "Fatal read error on pipe transport",
    }
}

pub(super) fn write_failed(shape: Shape) -> &'static str {
    match shape {
        Shape::Duplex => "Fatal write error on socket transport",
        Shape::Source | Shape::Sink => "Fatal write error on pipe transport",
    }
}

/// What is logged when a program goes on writing to a lost connection.
pub(super) fn lost_write(shape: Shape) -> &'static str {
    match shape {
        Shape::Duplex => "socket.send() raised exception.",
        Shape::Source | Shape::Sink => {
            "pipe closed by peer or os.write(pipe, data) raised exception."
        }
    }
}

/// Whether an error that ends a transport is of interest in debug mode only: those of the system are what networks are like. Of a pipe
/// that is read from, only EIO is: it is how a terminal ends.
///
/// # Errors
/// What the exception's `errno` raises.
pub(super) fn is_quiet(py: Python<'_>, shape: Shape, error: &PyErr) -> PyResult<bool> {
    if !error.is_instance_of::<PyOSError>(py) {
        return Ok(false);
    }
    match shape {
        Shape::Duplex | Shape::Sink => Ok(true),
        Shape::Source => {
            let errno = error.value(py).getattr(names::errno(py))?;
            errno.eq(Errno::IO.raw_os_error())
        }
    }
}
