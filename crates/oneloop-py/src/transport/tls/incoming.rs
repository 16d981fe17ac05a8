//! From the transport below to the protocol above: received bytes are decrypted and handed over.

use oneloop::engine::tls::{News, Session, Signal, Step};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};

use super::super::protocol;
use super::cipher::Outcome;
use super::failing::BROKEN;
use super::layer::Layer;
use crate::errors;
use crate::ffi::buffer::{self, View};
use crate::ffi::call;
use crate::names;
use crate::streams::{self, Fed};

/// How much is handed over at once, about. What a transport below receives in one go comes out of it in one piece.
const MOST: usize = 256 * 1024;

/// What is left after something was handed over.
#[derive(PartialEq, Eq)]
enum Rest {
    /// Maybe more.
    More,
    /// Nothing that could be decrypted.
    Nothing,
    /// Somebody is in the middle of a call, so it shows later.
    Unknown,
    /// Nothing will come any more: the peer's `close_notify` was read.
    End,
}

impl Layer {
    /// Follows `asyncio.BufferedProtocol.buffer_updated`.
    pub(super) fn buffer_updated(&self, object: &Bound<'_, PyAny>, size: isize) -> PyResult<()> {
        let py = object.py();
        if let Some(memory) = self.loan.filled(py, size)? {
            self.cipher.feed(&memory)?;
            drop(memory);
            self.loan.give_back(py);
        }
        self.proceed(object)
    }

    /// Does what is to be done next, with what has come.
    pub(super) fn proceed(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let step = self.session(|session| session.next());
        if step == Step::Wait {
            return Ok(());
        }
        if self.cipher.is_used() {
            // It cannot be decrypted now and goes on coming: somebody on another thread may never be done with what arrives faster.
            if matches!(step, Step::Read | Step::Flush) {
                self.control_reading(object)?;
            }
            return self.postpone(object);
        }
        match step {
            Step::Handshake => self.go_on_with_handshake(object),
            Step::Read => self.read(object),
            Step::Flush => self.flush(object),
            Step::ShutDown => self.shut_down(object),
            Step::Wait => Ok(()),
        }
    }

    /// Hands over what can be decrypted, sends what that brought about, and stops or starts the transport below.
    pub(super) fn read(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let result = self
            .deliver(object)
            .and_then(|()| self.control_reading(object));
        self.blame(object, result, BROKEN)
    }

    fn deliver(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = object.py();
        let mut rest = Rest::More;
        while rest == Rest::More && self.session(|session| session.may_deliver()) {
            let waiting = self.cipher.incoming(py)?;
            if waiting == 0 && !self.has_unread.get() {
                break;
            }
            let Some(protocol) = self.protocol.get(py) else {
                break;
            };
            rest = match self.is_buffered.get() {
                true => self.fill(object, &protocol, waiting)?,
                false => self.hand_over(object, &protocol, waiting)?,
            };
        }
        if rest == Rest::End {
            self.tell_end_of_input(object)?;
            self.close(object)?;
        }
        // Also if the user has paused reading: the handshake's last message may wait to be sent.
        self.encrypt(object)?;
        self.send(object)
    }

    /// Decrypts what is there and gives it to the protocol in one piece.
    fn hand_over<'py>(
        &self,
        object: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        mut waiting: usize,
    ) -> PyResult<Rest> {
        let py = object.py();
        let mut pieces: Vec<Bound<'py, PyBytes>> = Vec::new();
        let mut size = 0;
        let result = loop {
            match self.cipher.read(py, waiting) {
                Ok(Outcome::Done(plain)) if plain.data.as_bytes().is_empty() => {
                    break Ok(Rest::End);
                }
                Ok(Outcome::Done(plain)) => {
                    size += plain.data.as_bytes().len();
                    pieces.push(plain.data);
                    waiting = self.cipher.incoming(py)?;
                    if waiting == 0 && !plain.is_partial {
                        break Ok(Rest::Nothing);
                    }
                    if size >= MOST {
                        break Ok(Rest::More);
                    }
                }
                Ok(Outcome::Again) => break Ok(Rest::Nothing),
                Ok(Outcome::Busy) => break self.postpone(object).map(|()| Rest::Unknown),
                Err(error) => break Err(error),
            }
        };
        self.note_unread(&result);
        // What was decrypted before an error is the peer's word, too.
        match &pieces[..] {
            [] => {}
            [one] => receive(protocol, one)?,
            several => {
                let joined = join(py, several, size)?;
                receive(protocol, &joined)?;
            }
        }
        result
    }

    /// Decrypts into the protocol's own memory.
    fn fill<'py>(
        &self,
        object: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        mut waiting: usize,
    ) -> PyResult<Rest> {
        let py = object.py();
        let hint = waiting.into_pyobject(py)?.into_any();
        let memory = call::method(names::get_buffer(py), [protocol, &hint])?;
        let room = View::writable(&memory)?.len();
        if room == 0 {
            return Err(PyRuntimeError::new_err(
                "get_buffer() returned an empty buffer",
            ));
        }
        let mut size = 0;
        let result = loop {
            let outcome = match size {
                0 => self.cipher.read_into(&memory, room),
                _ => rest_of(&memory, size)
                    .and_then(|memory| self.cipher.read_into(&memory, room - size)),
            };
            match outcome {
                Ok(Outcome::Done(0)) => break Ok(Rest::End),
                Ok(Outcome::Done(read)) => {
                    size += read;
                    if size >= room {
                        break Ok(Rest::More);
                    }
                    waiting = self.cipher.incoming(py)?;
                    if waiting == 0 {
                        break Ok(Rest::Nothing);
                    }
                }
                Ok(Outcome::Again) => break Ok(Rest::Nothing),
                Ok(Outcome::Busy) => break self.postpone(object).map(|()| Rest::Unknown),
                Err(error) => break Err(error),
            }
        };
        self.note_unread(&result);
        if size > 0 {
            protocol::buffer_updated(protocol, size)?;
        }
        result
    }

    /// Decrypted bytes that wait in the TLS object do not show in its memory: so it is remembered that there may be some.
    fn note_unread(&self, result: &PyResult<Rest>) {
        let may_be = matches!(result, Ok(Rest::More | Rest::Unknown));
        self.has_unread.set(may_be);
    }

    /// Tells the protocol, once, that no more will come.
    pub(super) fn tell_end_of_input(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = object.py();
        if self.session(Session::input_ended) == News::Stale {
            return Ok(());
        }
        let Some(protocol) = self.protocol.get(py) else {
            return Ok(());
        };
        let told = protocol::eof_received(&protocol).and_then(|keep_open| {
            if keep_open {
                let text = "returning true from eof_received() has no effect when using ssl";
                names::current_logger(py)?.call_method1(names::warning(py), (text,))?;
            }
            Ok(())
        });
        match told {
            Err(error) if errors::ends_run(py, &error) => Err(error),
            Err(error) => self.fail(object, &error, "Error calling eof_received()"),
            Ok(()) => Ok(()),
        }
    }

    /// Stops the transport below while too much waits to be decrypted, which is so while the user pauses reading.
    pub(super) fn control_reading(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = object.py();
        let size = self.cipher.incoming(py)?;
        let signal = self.reading.flow(|flow| flow.measure(size));
        let method = match signal {
            Signal::Stop => names::pause_reading(py),
            Signal::Go => names::resume_reading(py),
            Signal::Nothing => return Ok(()),
        };
        match self.below.get(py) {
            Some(below) => call::method(method, [&below]).map(drop),
            None => Ok(()),
        }
    }

    /// Follows `asyncio.ReadTransport.pause_reading`.
    pub(super) fn pause_reading(&self) {
        self.session(Session::pause_reading);
    }

    /// Follows `asyncio.ReadTransport.resume_reading`: what waits is handed over by an entry of its own.
    pub(super) fn resume_reading(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        if !self.session(Session::resume_reading) {
            return Ok(());
        }
        let proceed = object.getattr(names::_proceed(object.py()))?;
        self.call_soon(object.py(), &proceed, None)
    }
}

/// Gives what was decrypted to the protocol, or to the reader behind it.
fn receive(protocol: &Bound<'_, PyAny>, data: &Bound<'_, PyBytes>) -> PyResult<()> {
    match streams::feed(protocol, data.as_bytes()) {
        Some(fed) => fed.and_then(Fed::tell),
        None => protocol::data_received(protocol, data.as_any()),
    }
}

fn join<'py>(
    py: Python<'py>,
    pieces: &[Bound<'py, PyBytes>],
    size: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, size, |mut memory| {
        for piece in pieces {
            let (place, rest) = memory.split_at_mut(piece.as_bytes().len());
            place.copy_from_slice(piece.as_bytes());
            memory = rest;
        }
        Ok(())
    })
}

/// What follows the first `size` bytes of some memory.
fn rest_of<'py>(memory: &Bound<'py, PyAny>, size: usize) -> PyResult<Bound<'py, PyAny>> {
    let bytes = PyMemoryView::from(memory)?.call_method1(names::cast(memory.py()), ("B",))?;
    buffer::part(&bytes, size.cast_signed(), isize::MAX)
}
