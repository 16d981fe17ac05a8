//! What a stream's transport does when its descriptor is readable.

use std::io;

use oneloop::engine::stream::{Machine, Shape};
use pyo3::exceptions::PyBrokenPipeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use rustix::buffer::spare_capacity;
use rustix::net::{RecvFlags, recv};

use super::super::{heap, protocol};
use super::StreamTransport;
use crate::errors;
use crate::ffi::buffer::View;
use crate::ffi::bytes;
use crate::names;
use crate::streams::{self, Fed};

/// From here on memory that is mostly filled costs less than a copy.
const LARGE: usize = 32 * 1024;

/// How much is read at most, as asyncio's.
const MOST: usize = 256 * 1024;

/// What a read has brought.
enum News<'py> {
    /// Bytes for the protocol; none is the end.
    Data(Bound<'py, PyBytes>),
    /// Bytes that its reader has by now.
    Fed(PyResult<Fed<'py>>),
}

impl StreamTransport {
    /// Reads once and tells the protocol.
    pub(super) fn read_available(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.machine(|stream| stream.is_lost()) {
            return Ok(());
        }
        let Some(protocol) = self.protocol.get(object.py()) else {
            return Ok(());
        };
        match self.kind.shape() {
            Shape::Duplex if self.kind.is_buffered() => self.receive_into(object, &protocol),
            Shape::Duplex => self.receive(object, &protocol),
            Shape::Source => self.receive_from_pipe(object, &protocol),
            Shape::Sink => self.reader_went_away(object),
        }
    }

    fn receive<'py>(
        &self,
        object: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let news = match self.kind.last_read.get() {
            size if size >= LARGE && !streams::may_feed(protocol) => self.read_much(object.py()),
            _ => self.read(object.py(), Some(protocol)),
        };
        let told = match news {
            Ok(Some(News::Data(data))) if data.as_bytes().is_empty() => {
                return self.peer_ended(object, protocol);
            }
            Ok(Some(News::Data(data))) => protocol::data_received(protocol, data.as_any()),
            Ok(Some(News::Fed(fed))) => fed.and_then(Fed::tell),
            Ok(None) => return Ok(()),
            Err(error) => return self.fail(object, error, self.kind.read_failed()),
        };
        self.blame_protocol(
            object,
            told,
            "Fatal error: protocol.data_received() call failed.",
        )
    }

    /// What has come, in one call; no data is the end. `None` if there is nothing yet. `reader` may be fed directly.
    fn read<'py>(
        &self,
        py: Python<'py>,
        reader: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<News<'py>>> {
        let mut buffer = self.port.take_buffer(py);
        let result = self.system_call(py, |fd| {
            let room = spare_capacity(&mut buffer);
            Ok(match self.kind.shape() {
                Shape::Duplex => recv(fd, room, RecvFlags::DONTWAIT)?.0,
                Shape::Source | Shape::Sink => rustix::io::read(fd, room)?,
            })
        });
        let news = match result {
            Ok(Ok(_)) => {
                self.note_size(buffer.len());
                let reader = reader.filter(|_| !buffer.is_empty());
                match reader.and_then(|reader| streams::feed(reader, &buffer)) {
                    Some(fed) => Ok(Some(News::Fed(fed))),
                    None => bytes::copied(py, &buffer).map(|data| Some(News::Data(data))),
                }
            }
            Ok(Err(error)) if is_momentary(&error) => Ok(None),
            Ok(Err(error)) => Err(errors::from_io(py, error)),
            Err(error) => Err(error),
        };
        buffer.clear();
        self.port.return_buffer(py, buffer);
        news
    }

    /// As [`read`](Self::read) where much came the last time, and so again, probably: it is not copied.
    fn read_much<'py>(&self, py: Python<'py>) -> PyResult<Option<News<'py>>> {
        let size = self.kind.last_read.get().saturating_mul(2).min(MOST);
        self.endpoint.check(py)?;
        let result = bytes::filled(py, size, |memory| {
            self.endpoint
                .with(py, |fd| Ok(recv(fd, memory, RecvFlags::DONTWAIT)?.0.0))
        })?;
        match result {
            Ok(data) => {
                self.note_size(data.as_bytes().len());
                Ok(Some(News::Data(data)))
            }
            Err(error) if is_momentary(&error) => Ok(None),
            Err(error) => Err(errors::from_io(py, error)),
        }
    }

    fn receive_into<'py>(
        &self,
        object: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let buffer = match protocol::get_buffer(protocol) {
            Ok(buffer) => buffer,
            error => {
                let message = "Fatal error: protocol.get_buffer() call failed.";
                return self.blame_protocol(object, error.map(drop), message);
            }
        };
        match self.read_into(&buffer) {
            Ok(None) => Ok(()),
            Ok(Some(0)) => self.peer_ended(object, protocol),
            Ok(Some(count)) => {
                let told = protocol::buffer_updated(protocol, count);
                let message = "Fatal error: protocol.buffer_updated() call failed.";
                self.blame_protocol(object, told, message)
            }
            Err(error) => self.fail(object, error, self.kind.read_failed()),
        }
    }

    /// Reads into the protocol's buffer, which is held for the call only.
    fn read_into(&self, buffer: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
        let py = buffer.py();
        let mut view = View::writable(buffer)?;
        let memory = view.bytes_mut()?;
        let result = self.system_call(py, |fd| Ok(recv(fd, memory, RecvFlags::DONTWAIT)?))?;
        match result {
            Ok((_, count)) => {
                self.note_size(count);
                Ok(Some(count))
            }
            Err(error) if is_momentary(&error) => Ok(None),
            Err(error) => Err(errors::from_io(py, error)),
        }
    }

    /// A read has brought so much.
    #[inline]
    fn note_size(&self, size: usize) {
        self.kind.last_read.set(size);
        if size >= LARGE {
            heap::keep();
        }
    }

    /// The peer sends no more.
    fn peer_ended<'py>(
        &self,
        object: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        self.log_debug(object, "%r received EOF")?;
        match protocol::eof_received(protocol) {
            Ok(keep_open) => {
                let actions = self.machine(|stream| stream.peer_ended(keep_open));
                self.perform(object, actions)
            }
            error => {
                let message = "Fatal error: protocol.eof_received() call failed.";
                self.blame_protocol(object, error.map(drop), message)
            }
        }
    }

    /// A pipe's protocol has no say in whether to go on: at the end it is told so, and of the connection's end after that. What it raises is
    /// its callback's error and no reason to close the pipe.
    fn receive_from_pipe<'py>(
        &self,
        object: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let py = object.py();
        let data = match self.read(py, None) {
            Ok(Some(News::Data(data))) => data,
            Ok(Some(News::Fed(_)) | None) => return Ok(()),
            Err(error) => return self.fail(object, error, self.kind.read_failed()),
        };
        if !data.as_bytes().is_empty() {
            return protocol::data_received(protocol, data.as_any());
        }
        self.log_info(object, "%r was closed by peer")?;
        let actions = self.machine(Machine::close);
        let eof_received = protocol.getattr(names::eof_received(py))?;
        self.call_soon(eof_received, PyTuple::empty(py))?;
        self.perform(object, actions)
    }

    /// Whoever read what is written here has closed the other end.
    fn reader_went_away(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = object.py();
        self.log_info(object, "%r was closed by peer")?;
        let exception = match self.machine(|stream| stream.size()) {
            0 => None,
            _ => Some(PyBrokenPipeError::new_err(()).into_value(py)),
        };
        let exception = exception.map(|exception| exception.into_bound(py).into_any());
        self.abort(object, exception)
    }

    /// Ends the connection if a method of the protocol's failed.
    fn blame_protocol(
        &self,
        object: &Bound<'_, PyAny>,
        result: PyResult<()>,
        message: &str,
    ) -> PyResult<()> {
        match result {
            Ok(()) => Ok(()),
            Err(error) => self.fail(object, error, message),
        }
    }
}

/// Whether a system call would have had to wait, or was interrupted: the descriptor is watched, and it will be tried again.
pub(super) fn is_momentary(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
