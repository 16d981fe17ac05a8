//! Writing to a stream: at once while nothing waits, else when the descriptor is writable.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

use oneloop::engine::stream::{Admission, Dispatch, Shape, Stream};
use pyo3::exceptions::{PyAssertionError, PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, Shutdown, send, sendmsg, shutdown};

use super::super::chunk::{self, Data};
use super::super::gathering;
use super::StreamTransport;
use super::reading::is_momentary;
use crate::errors;

/// How many pieces go into one system call: the kernel's own limit.
const MOST_PIECES: usize = 1024;

/// From this size on a piece goes out at once: sending it with the next one saves nothing.
const LARGE: usize = 32 * 1024;

impl StreamTransport {
    /// Follows `asyncio.WriteTransport.write`.
    pub(super) fn write<'py>(
        &self,
        object: &Bound<'py, PyAny>,
        data: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        if !chunk::is_writable(data) {
            return Err(not_writable(self.kind.shape(), data));
        }
        self.refuse_half_closed("write")?;
        self.refuse_lent(object.py(), "write")?;
        if data.len()? == 0 {
            return Ok(());
        }
        let data = match Data::new(data) {
            Ok(data) => data,
            Err(error) => return self.fail(object, error, self.kind.write_failed()),
        };
        match self.machine(Stream::admit) {
            Admission::Discard { warn } => self.discarded(object.py(), warn),
            Admission::Queue => self.queue(object, data, 0),
            Admission::Send => match self.send(object, data.bytes()) {
                Ok(sent) if sent == data.bytes().len() => Ok(()),
                Ok(sent) => self.queue(object, data, sent),
                Err(error) => {
                    // Whoever is told may change what was written.
                    drop(data);
                    self.fail_to_write(object, error)
                }
            },
        }
    }

    /// Follows `asyncio.WriteTransport.writelines` of 3.12 and later, which sends the pieces together.
    #[cfg(Py_3_12)]
    pub(super) fn writelines<'py>(
        &self,
        object: &Bound<'py, PyAny>,
        lines: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        self.refuse_half_closed("writelines")?;
        self.refuse_lent(object.py(), "writelines")?;
        if !lines.is_truthy()? {
            return Ok(());
        }
        let mut chunks = Vec::new();
        for line in lines.try_iter()? {
            let line = line?;
            // From 3.14 on asyncio leaves out what is false before it asks whether that can be written.
            if cfg!(not(Py_3_14)) || line.is_truthy()? {
                chunks.push(Data::of_any_layout(&line)?.into_chunk(0).0);
            }
        }
        chunks.retain(|chunk| !chunk.as_ref().is_empty());
        if chunks.is_empty() {
            return Ok(());
        }
        let admission = self.machine(Stream::admit);
        if let Admission::Discard { warn } = admission {
            return self.discarded(object.py(), warn);
        }
        let dispatch = match admission {
            Admission::Send => self.dispatch(
                object,
                chunks.iter().map(|chunk| chunk.as_ref().len()).sum(),
            ),
            _ => Dispatch::Now,
        };
        self.machine(|stream| chunks.into_iter().for_each(|chunk| stream.append(chunk, 0)));
        self.flush_so(object, dispatch)?;
        let actions = self.machine(Stream::gathered);
        self.perform(object, actions)
    }

    /// Follows `asyncio.WriteTransport.write_eof`.
    pub(super) fn write_eof(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let actions = self.machine(Stream::write_eof);
        self.perform(object, actions)
    }

    /// Sends what waits, as much of it as the kernel takes in one call, and finishes what waited for that.
    pub(super) fn flush(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        self.flush_so(object, Dispatch::Now)
    }

    fn flush_so(&self, object: &Bound<'_, PyAny>, dispatch: Dispatch) -> PyResult<()> {
        let py = object.py();
        let shape = self.kind.shape();
        let flags = gathering::flags(dispatch);
        let result = self.system_call(py, |fd| {
            self.machine(|stream| send_pieces(fd, shape, stream.pieces(), flags))
        });
        let error = match result {
            Ok(Ok(sent)) => {
                self.port.wrote(object, dispatch);
                let actions = self.machine(|stream| stream.sent(sent));
                self.perform(object, actions)?;
                self.tell_if_empty(py)?;
                let actions = self.machine(Stream::settle);
                return self.perform(object, actions);
            }
            Ok(Err(error)) if is_momentary(&error) => return Ok(()),
            Ok(Err(error)) if dispatch == Dispatch::Held && is_refused(&error) => {
                self.kind.gathers.set(Some(false));
                return self.flush_so(object, Dispatch::Now);
            }
            Ok(Err(error)) => errors::from_io(py, error),
            Err(error) => error,
        };
        self.fail_to_write(object, error)
    }

    /// Ends the connection: nothing can be sent any more.
    #[cold]
    fn fail_to_write(&self, object: &Bound<'_, PyAny>, error: PyErr) -> PyResult<()> {
        let actions = self.machine(Stream::write_failed);
        self.perform(object, actions)?;
        let exception = error.clone_ref(object.py()).into_value(object.py());
        self.fail(object, error, self.kind.write_failed())?;
        self.tell_failed(exception.bind(object.py()))
    }

    /// Sends at once what can be; how much that was.
    fn send(&self, object: &Bound<'_, PyAny>, bytes: &[u8]) -> PyResult<usize> {
        let py = object.py();
        let dispatch = self.dispatch(object, bytes.len());
        let shape = self.kind.shape();
        let flags = gathering::flags(dispatch);
        match self.system_call(py, |fd| send_piece(fd, shape, bytes, flags))? {
            Ok(sent) => {
                self.port.wrote(object, dispatch);
                Ok(sent)
            }
            Err(error) if is_momentary(&error) => Ok(0),
            Err(error) if dispatch == Dispatch::Held && is_refused(&error) => {
                self.kind.gathers.set(Some(false));
                self.send(object, bytes)
            }
            Err(error) => Err(errors::from_io(py, error)),
        }
    }

    /// How to send a piece of that size: held back if more is expected before the loop's entry ends, and the system can do so.
    #[inline]
    fn dispatch(&self, object: &Bound<'_, PyAny>, size: usize) -> Dispatch {
        let Some(turn) = self.port.write(object.py()) else {
            return Dispatch::Now;
        };
        let expected = self.machine(|stream| stream.dispatch(turn.number));
        let is_held = turn.is_shared || expected == Dispatch::Held;
        let dispatch = match is_held && size < LARGE && self.gathers(object.py()) {
            true => Dispatch::Held,
            false => Dispatch::Now,
        };
        if turn.has_held {
            self.port.give_way(object, dispatch);
        }
        dispatch
    }

    fn gathers(&self, py: Python<'_>) -> bool {
        let ask = || self.endpoint.with(py, |fd| Ok(gathering::is_possible(fd)));
        let gathers = self.kind.gathers.get();
        let gathers = gathers.unwrap_or_else(|| ask().unwrap_or(false));
        self.kind.gathers.set(Some(gathers));
        gathers
    }

    fn queue(&self, object: &Bound<'_, PyAny>, data: Data<'_>, sent: usize) -> PyResult<()> {
        let (chunk, sent) = data.into_chunk(sent);
        let actions = self.machine(|stream| stream.push(chunk, sent));
        self.perform(object, actions)
    }

    pub(super) fn shut_down(&self, py: Python<'_>) -> PyResult<()> {
        self.port.note_io(py);
        self.system_call(py, |fd| Ok(shutdown(fd, Shutdown::Write)?))?
            .map_err(|error| errors::from_io(py, error))
    }

    /// A write came too late.
    fn discarded(&self, py: Python<'_>, warn: bool) -> PyResult<()> {
        match warn {
            true => self.warn_of_writes(py, self.kind.lost_write()),
            false => Ok(()),
        }
    }

    fn refuse_half_closed(&self, method: &str) -> PyResult<()> {
        match self.machine(|stream| stream.is_half_closed()) {
            true => Err(PyRuntimeError::new_err(format!(
                "Cannot call {method}() after write_eof()"
            ))),
            false => Ok(()),
        }
    }
}

/// Sends the first pieces of what waits. Nothing waiting is nothing sent.
fn send_pieces<'a>(
    fd: BorrowedFd<'_>,
    shape: Shape,
    mut pieces: impl Iterator<Item = &'a [u8]>,
    flags: SendFlags,
) -> io::Result<usize> {
    let Some(first) = pieces.next() else {
        return Ok(0);
    };
    let Some(second) = pieces.next() else {
        return send_piece(fd, shape, first, flags);
    };
    let mut slices = vec![IoSlice::new(first), IoSlice::new(second)];
    slices.extend(pieces.take(MOST_PIECES - 2).map(IoSlice::new));
    Ok(match shape {
        Shape::Duplex => sendmsg(fd, &slices, &mut SendAncillaryBuffer::default(), flags)?,
        Shape::Source | Shape::Sink => rustix::io::writev(fd, &slices)?,
    })
}

fn send_piece(
    fd: BorrowedFd<'_>,
    shape: Shape,
    piece: &[u8],
    flags: SendFlags,
) -> io::Result<usize> {
    Ok(match shape {
        Shape::Duplex => send(fd, piece, flags)?,
        Shape::Source | Shape::Sink => rustix::io::write(fd, piece)?,
    })
}

/// Whether a system that claims to know everything about TCP (a sandbox's) does not know that bytes can be held back.
#[cold]
fn is_refused(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::INVAL | Errno::OPNOTSUPP)
    )
}

/// asyncio's words for what cannot be written.
#[cold]
fn not_writable(shape: Shape, data: &Bound<'_, PyAny>) -> PyErr {
    let error = || {
        if shape == Shape::Sink {
            return Ok(PyAssertionError::new_err(data.repr()?.to_string()));
        }
        let kinds = match cfg!(Py_3_14) {
            true => "a bytes, bytearray, or memoryview object",
            false => "a bytes-like object",
        };
        let name = data.get_type().name()?.repr()?.to_string();
        Ok(PyTypeError::new_err(format!(
            "data argument must be {kinds}, not {name}"
        )))
    };
    error().unwrap_or_else(|error: PyErr| error)
}
