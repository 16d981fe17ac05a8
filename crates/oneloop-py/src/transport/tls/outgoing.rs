//! From the protocol above to the transport below: what is written is encrypted and sent.
//!
//! No more is encrypted than the transport below takes: while that is full, written bytes wait as they are. asyncio encrypts at once and
//! keeps the result.

use oneloop::engine::stream::Queue;
use oneloop::engine::tls::{Admission, Session, Signal};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};

use super::super::chunk;
use super::super::protocol;
use super::cipher::{Outcome, RECORD};
use super::failing::BROKEN;
use super::layer::Layer;
use crate::errors;
use crate::ffi::buffer::{self, SharedBytes, View};
use crate::ffi::call;
use crate::names;

/// How much is encrypted at once: so much then waits in the TLS object's memory, which never shrinks, and in the processor's caches.
const MOST: usize = 64 * 1024;

impl Layer {
    /// Follows `asyncio.WriteTransport.write`.
    pub(super) fn write(&self, object: &Bound<'_, PyAny>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        if !chunk::is_writable(data) {
            return Err(PyTypeError::new_err(format!(
                "data: expecting a bytes-like instance, got {}",
                data.get_type().name()?
            )));
        }
        if data.len()? == 0 {
            return Ok(());
        }
        let written = match self.session(Session::admit) {
            Admission::Discard { warn } => return discarded(object.py(), warn),
            Admission::Keep => self
                .keep(data, 0)
                .and_then(|()| self.control_writing(object)),
            Admission::Encrypt => self.encrypt_new(object, data),
        };
        self.blame(object, written, BROKEN)
    }

    /// Follows `asyncio.WriteTransport.writelines`: small pieces go into one record.
    pub(super) fn writelines(
        &self,
        object: &Bound<'_, PyAny>,
        lines: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        if let Admission::Discard { warn } = self.session(Session::admit) {
            return discarded(object.py(), warn);
        }
        let mut kept = Ok(());
        for line in lines.try_iter()? {
            let line = line?;
            // What has no length is refused, what has one and no bytes breaks the connection: asyncio's way.
            if line.len()? > 0 && kept.is_ok() {
                kept = self.keep(&line, 0);
            }
        }
        let written = kept.and_then(|()| self.encrypt(object).map(drop));
        self.blame(object, written, BROKEN)
    }

    /// Encrypts what is written now: at once if nothing waits before it.
    fn encrypt_new(&self, object: &Bound<'_, PyAny>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let size = match data.cast_exact::<PyBytes>() {
            Ok(bytes) => bytes.as_bytes().len(),
            Err(_) => View::readable(data)?.len(),
        };
        if size <= MOST && self.waiting() == 0 && self.session(|session| session.may_encrypt()) {
            match self.cipher.write(data)? {
                Outcome::Done(taken) => self.keep(data, taken)?,
                Outcome::Again => self.keep(data, 0)?,
                Outcome::Busy => {
                    self.keep(data, 0)?;
                    return self.postpone(object);
                }
            }
            self.send(object)?;
        } else {
            self.keep(data, 0)?;
        }
        self.encrypt(object).map(drop)
    }

    /// Keeps what is left of written bytes after the first `taken` of them: an exact `bytes` as it is, of anything else a copy.
    pub(super) fn keep(&self, data: &Bound<'_, PyAny>, taken: usize) -> PyResult<()> {
        let (chunk, taken) = match data.cast_exact::<PyBytes>() {
            Ok(bytes) => (SharedBytes::new(bytes.clone()), taken),
            Err(_) => {
                let view = View::readable(data)?;
                let rest = view.bytes().get(taken..).unwrap_or_default();
                (SharedBytes::new(PyBytes::new(data.py(), rest)), 0)
            }
        };
        // Nothing was waiting if some of it is taken already: only what comes first in the queue may be partial.
        self.backlog.borrow_mut().push(chunk, taken);
        Ok(())
    }

    /// Encrypts and sends what waits, as far as the transport below takes it; `false` if somebody is in the middle of a call.
    pub(super) fn encrypt(&self, object: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = object.py();
        while self.session(|session| session.may_encrypt())
            && let Some(piece) = self.next_piece(py)?
        {
            match self.cipher.write(&piece)? {
                // An abort in the middle of the call has left nothing to take away.
                Outcome::Done(taken) => {
                    let mut backlog = self.backlog.borrow_mut();
                    let taken = taken.min(backlog.size());
                    backlog.advance(taken);
                }
                Outcome::Again => break,
                Outcome::Busy => {
                    self.postpone(object)?;
                    return Ok(false);
                }
            }
            self.send(object)?;
        }
        self.control_writing(object)?;
        Ok(true)
    }

    /// What is to be encrypted next: small pieces joined to a record, large ones in parts. It stays in the queue until it is taken, since
    /// OpenSSL insists on being given the same bytes again.
    fn next_piece<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        // Nothing is made while the queue is entered: that might run a finalizer.
        let (bytes, offset, is_small) = {
            let backlog = self.backlog.borrow();
            let Some((first, offset)) = backlog.first() else {
                return Ok(None);
            };
            let rest = first.as_ref().len() - offset;
            let is_small = rest < RECORD && rest < backlog.size();
            (first.object(py), offset, is_small)
        };
        if is_small {
            let joined = self.join_small();
            return Ok(Some(PyBytes::new(py, &joined).into_any()));
        }
        let end = bytes.as_bytes().len().min(offset + MOST);
        if offset == 0 && end == bytes.as_bytes().len() {
            return Ok(Some(bytes.into_any()));
        }
        let whole = PyMemoryView::from(&bytes)?;
        buffer::part(&whole, offset.cast_signed(), end.cast_signed()).map(Some)
    }

    fn join_small(&self) -> Vec<u8> {
        let backlog = self.backlog.borrow();
        let mut joined = Vec::with_capacity(RECORD.min(backlog.size()));
        for piece in backlog.pieces() {
            let room = RECORD - joined.len();
            joined.extend_from_slice(&piece[..piece.len().min(room)]);
            if joined.len() == RECORD {
                break;
            }
        }
        joined
    }

    /// Gives the transport below what is encrypted, unless it is full.
    pub(super) fn send(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = object.py();
        if self.session(|session| session.may_send())
            && let Some(below) = self.below.get(py)
            && let Some(data) = self.cipher.drain(py)?
        {
            call::method(names::write(py), [&below, &data])?;
        }
        self.control_writing(object)
    }

    /// Tells the protocol above to write no more, or to go on.
    pub(super) fn control_writing(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = object.py();
        if self.session(|session| session.is_over()) {
            return Ok(());
        }
        // The usual case: nothing waits here, since the transport below has it.
        let is_clear = self.waiting() == 0 && self.session(|session| session.may_send());
        let size = if is_clear {
            0
        } else {
            self.write_buffer_size(py)?
        };
        let signal = self.writing.flow(|flow| flow.measure(size));
        let Some(protocol) = self.protocol.get(py) else {
            return Ok(());
        };
        let (told, message) = match signal {
            Signal::Nothing => return Ok(()),
            Signal::Stop => (
                protocol::pause_writing(&protocol),
                "protocol.pause_writing() failed",
            ),
            Signal::Go => (
                protocol::resume_writing(&protocol),
                "protocol.resume_writing() failed",
            ),
        };
        match told {
            Ok(()) => Ok(()),
            Err(error) if errors::ends_run(py, &error) => Err(error),
            Err(error) => self.report(object, error, message),
        }
    }

    /// An error of the protocol's that does not end the connection.
    #[cold]
    fn report(&self, object: &Bound<'_, PyAny>, error: PyErr, message: &str) -> PyResult<()> {
        let py = object.py();
        let Some(event_loop) = self.event_loop.get(py) else {
            return Ok(());
        };
        let known = [
            ("transport", self.surface.get(py)),
            ("protocol", Some(object.clone())),
        ];
        errors::call_exception_handler(&event_loop, message, error, &known)
    }

    /// How many bytes wait, as they were written or encrypted.
    pub(super) fn write_buffer_size(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.cipher.outgoing(py)? + self.waiting())
    }

    fn waiting(&self) -> usize {
        self.backlog.borrow().size()
    }

    /// Forgets what was written and is not encrypted.
    pub(super) fn drop_backlog(&self, py: Python<'_>) {
        let backlog = self.backlog.replace(Queue::new());
        for chunk in backlog.into_chunks() {
            drop(chunk.into_object().into_bound(py));
        }
    }

    /// Follows `asyncio.BaseProtocol.pause_writing`: the transport below is full.
    pub(super) fn pause_writing(&self) {
        self.session(Session::block_writing);
    }

    /// Follows `asyncio.BaseProtocol.resume_writing`.
    pub(super) fn resume_writing(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        self.session(Session::unblock_writing);
        let sent = self
            .send(object)
            .and_then(|()| self.encrypt(object).map(drop));
        self.blame(object, sent, BROKEN)
    }
}

/// A write came too late.
#[cold]
fn discarded(py: Python<'_>, warn: bool) -> PyResult<()> {
    if warn {
        names::current_logger(py)?
            .call_method1(names::warning(py), ("SSL connection is closed",))?;
    }
    Ok(())
}
