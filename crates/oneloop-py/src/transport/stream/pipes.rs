//! Transports over either end of a pipe.

use std::sync::Arc;

use oneloop::engine::stream::Shape;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rustix::fs::{FileType, fstat};
use rustix::io::ioctl_fionbio;

use super::super::base::{Parts, Reads};
use super::super::endpoint::{Descriptor, Endpoint};
use super::super::port::Port;
use super::{StreamTransport, Streaming};
use crate::errors;
use crate::names;

/// A transport that reads from a pipe, a socket or a character device. The descriptor becomes non-blocking and the transport's own.
///
/// # Errors
/// `ValueError` for another kind of file, `OSError` for a closed one, and as [`connect`](super::connect). The pipe stays open then.
pub(crate) fn connect_read_pipe<'py>(
    event_loop: &Bound<'py, PyAny>,
    port: &Arc<dyn Port>,
    pipe: Bound<'py, PyAny>,
    parts: Parts<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let (transport, kind) = open(event_loop, port, pipe, Shape::Source, &parts)?;
    if !matches!(
        kind,
        FileType::Fifo | FileType::Socket | FileType::CharacterDevice
    ) {
        return Err(PyValueError::new_err(
            "Pipe transport is for pipes/sockets only.",
        ));
    }
    unblock(event_loop.py(), &transport)?;
    transport.introduce(parts, |_, _| Ok(Reads::Yes))
}

/// A transport that writes to a pipe, a socket or a character device. The descriptor becomes non-blocking and the transport's own.
///
/// # Errors
/// As [`connect_read_pipe`].
pub(crate) fn connect_write_pipe<'py>(
    event_loop: &Bound<'py, PyAny>,
    port: &Arc<dyn Port>,
    pipe: Bound<'py, PyAny>,
    parts: Parts<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let (transport, kind) = open(event_loop, port, pipe, Shape::Sink, &parts)?;
    let reads = match kind {
        // Becomes readable when the other end goes away.
        FileType::Fifo | FileType::Socket => Reads::Yes,
        FileType::CharacterDevice => Reads::No,
        _ => {
            return Err(PyValueError::new_err(
                "Pipe transport is only for pipes, sockets and character devices",
            ));
        }
    };
    unblock(event_loop.py(), &transport)?;
    transport.introduce(parts, |_, _| Ok(reads))
}

/// The payload over a pipe, and what kind of file that is.
fn open<'py>(
    event_loop: &Bound<'py, PyAny>,
    port: &Arc<dyn Port>,
    pipe: Bound<'py, PyAny>,
    shape: Shape,
    parts: &Parts<'_, 'py>,
) -> PyResult<(StreamTransport, FileType)> {
    let py = event_loop.py();
    let descriptor = Descriptor::Python(pipe.clone().unbind());
    let endpoint = Endpoint::new(py, descriptor)?;
    let transport = StreamTransport::new(event_loop, port, endpoint, Streaming::new(shape), parts);
    transport.extra(py)?.set_item(names::pipe(py), pipe)?;
    let stat = transport.endpoint.with(py, |fd| Ok(fstat(fd)?));
    let stat = stat.map_err(|error| errors::from_io(py, error))?;
    Ok((transport, FileType::from_raw_mode(stat.st_mode)))
}

fn unblock(py: Python<'_>, transport: &StreamTransport) -> PyResult<()> {
    let result = transport
        .endpoint
        .with(py, |fd| Ok(ioctl_fionbio(fd, true)?));
    result.map_err(|error| errors::from_io(py, error))
}
