//! What a read takes from a reader's buffer, or why it cannot yet: asyncio's rules, without its frames.
//!
//! Nothing here waits. Errors are raised as asyncio's methods raise them, with what they leave in the buffer.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyInt};

use super::class::Attributes;
use crate::ffi::{bytearray, call};
use crate::names;

/// What is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// `read(n)`, with at least one byte asked for.
    Some(usize),
    /// `readexactly(n)`, the same.
    Exactly(usize),
    /// `readuntil(separator)`, with one that is not empty.
    Until,
    /// `readline()`.
    Line,
}

impl What {
    /// The method.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Some(_) => "read",
            Self::Exactly(_) => "readexactly",
            Self::Until => "readuntil",
            Self::Line => "readline",
        }
    }

    /// The method that waits, in asyncio's message.
    pub(super) fn waits_in(self) -> &'static str {
        match self {
            Self::Line => "readuntil",
            _ => self.name(),
        }
    }
}

/// What came of an attempt.
pub(super) enum Attempted<'py> {
    Taken(Bound<'py, PyAny>),
    /// There is not enough, and more may come.
    TooEarly,
    /// The reader keeps something else than asyncio does.
    Unknown,
}

/// Where `readuntil` goes on to search.
pub(super) struct Search<'a, 'py> {
    pub(super) separator: &'a Bound<'py, PyBytes>,
    pub(super) from: &'a mut usize,
}

/// `read`. Once it was woken it takes what there is, be it nothing.
pub(super) fn some<'py>(
    reader: &Attributes<'py>,
    n: usize,
    was_woken: bool,
) -> PyResult<Attempted<'py>> {
    let Some(buffer) = buffer(reader)? else {
        return Ok(Attempted::Unknown);
    };
    if !was_woken && buffer.is_empty() && !is_at_end(reader)? {
        return Ok(Attempted::TooEarly);
    }
    taken(reader, &buffer, n)
}

/// `readexactly`.
pub(super) fn exactly<'py>(reader: &Attributes<'py>, n: usize) -> PyResult<Attempted<'py>> {
    let py = reader.py();
    let Some(buffer) = buffer(reader)? else {
        return Ok(Attempted::Unknown);
    };
    if buffer.len() >= n {
        return taken(reader, &buffer, n);
    }
    if is_at_end(reader)? {
        let partial = bytearray::take(&buffer, buffer.len())?;
        return Err(incomplete(partial, n.into_pyobject(py)?.as_any()));
    }
    Ok(Attempted::TooEarly)
}

/// `readuntil`, or `readline`, which answers in its own way.
pub(super) fn until<'py>(
    reader: &Attributes<'py>,
    search: Search<'_, 'py>,
    is_line: bool,
) -> PyResult<Attempted<'py>> {
    let py = reader.py();
    let (Some(buffer), Some(limit)) = (buffer(reader)?, limit(reader)?) else {
        return Ok(Attempted::Unknown);
    };
    let (size, length) = (buffer.len(), search.separator.as_bytes().len());
    if size >= search.from.saturating_add(length) {
        if let Some(found) = bytearray::find(&buffer, search.separator, *search.from) {
            if found <= limit {
                return taken(reader, &buffer, found + length);
            }
            let message = "Separator is found, but chunk is longer than limit";
            return Err(match is_line {
                true => line_too_long(reader, &buffer, found + length, found, message)?,
                false => overrun(py, message, found),
            });
        }
        *search.from = size + 1 - length;
        if *search.from > limit {
            let message = "Separator is not found, and chunk exceed the limit";
            return Err(match is_line {
                true => line_too_long(reader, &buffer, size, *search.from, message)?,
                false => overrun(py, message, *search.from),
            });
        }
    }
    if !is_at_end(reader)? {
        return Ok(Attempted::TooEarly);
    }
    let partial = bytearray::take(&buffer, size)?;
    match is_line {
        true => Ok(Attempted::Taken(partial.into_any())),
        false => Err(incomplete(partial, py.None().bind(py))),
    }
}

fn taken<'py>(
    reader: &Attributes<'py>,
    buffer: &Bound<'py, PyByteArray>,
    count: usize,
) -> PyResult<Attempted<'py>> {
    let taken = bytearray::take(buffer, count)?;
    resume(reader)?;
    Ok(Attempted::Taken(taken.into_any()))
}

/// Has the transport go on, if it was paused and there is room again.
fn resume(reader: &Attributes<'_>) -> PyResult<()> {
    let py = reader.py();
    if is(reader, names::_paused(py), false)? {
        return Ok(());
    }
    call::method(names::_maybe_resume_transport(py), [reader.object()]).map(drop)
}

/// The buffer, if it is one of asyncio's.
fn buffer<'py>(reader: &Attributes<'py>) -> PyResult<Option<Bound<'py, PyByteArray>>> {
    let buffer = reader.get(names::_buffer(reader.py()))?;
    Ok(buffer.cast_into_exact().ok())
}

/// The limit, if it is a number of bytes.
fn limit(reader: &Attributes<'_>) -> PyResult<Option<usize>> {
    let limit = reader.get(names::_limit(reader.py()))?;
    let limit = limit.cast_exact::<PyInt>().ok();
    Ok(limit.and_then(|limit| limit.extract().ok()))
}

fn is_at_end(reader: &Attributes<'_>) -> PyResult<bool> {
    let py = reader.py();
    Ok(!is(reader, names::_eof(py), false)? && reader.get(names::_eof(py))?.is_truthy()?)
}

fn is(
    reader: &Attributes<'_>,
    name: &Bound<'_, pyo3::types::PyString>,
    value: bool,
) -> PyResult<bool> {
    Ok(reader.get(name)?.is(PyBool::new(reader.py(), value)))
}

#[cold]
fn incomplete(partial: Bound<'_, PyBytes>, expected: &Bound<'_, PyAny>) -> PyErr {
    let made = names::incomplete_read_error(partial.py())
        .and_then(|class| class.call1((partial, expected)));
    made.map_or_else(|error| error, PyErr::from_value)
}

#[cold]
fn overrun(py: Python<'_>, message: &str, consumed: usize) -> PyErr {
    let made = names::limit_overrun_error(py).and_then(|class| class.call1((message, consumed)));
    made.map_or_else(|error| error, PyErr::from_value)
}

/// `readline` drops the line, or what there is of it, and says it with another exception.
#[cold]
fn line_too_long(
    reader: &Attributes<'_>,
    buffer: &Bound<'_, PyByteArray>,
    dropped: usize,
    consumed: usize,
    message: &'static str,
) -> PyResult<PyErr> {
    let py = reader.py();
    bytearray::remove(buffer, dropped)?;
    resume(reader)?;
    let error = PyValueError::new_err(message);
    let cause = overrun(py, message, consumed);
    error
        .value(py)
        .setattr(names::__context__(py), cause.value(py))?;
    Ok(error)
}
