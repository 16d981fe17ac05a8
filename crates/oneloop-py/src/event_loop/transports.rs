//! `_core.Loop`: making transports, and what they need of the loop.

use std::os::fd::RawFd;
use std::rc::{Rc, Weak};

use oneloop::engine::stream::Dispatch;
use oneloop::engine::{Direction, Place};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::Loop;
use crate::entry::{Entry, Watch};
use crate::ffi::attached::Attached;
use crate::host::Engine;
use crate::socket::Socket;
use crate::transport::{self, Descriptor, Parts, Port, WriteTurn};
use crate::{debug, errors, watch};

/// How much a transport reads at once, as asyncio's.
const READ_SIZE: usize = 256 * 1024;

#[pymethods]
impl Loop {
    /// Make a transport over a connected, non-blocking stream socket. The protocol is told of it by a later entry.
    #[pyo3(signature = (sock, protocol, waiter=None, *, extra=None, server=None, context=None, is_ours=false))]
    #[expect(clippy::too_many_arguments, reason = "asyncio's, and one")]
    fn _make_socket_transport<'py>(
        slf: &Bound<'py, Self>,
        sock: Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        waiter: Option<Bound<'py, PyAny>>,
        extra: Option<Bound<'py, PyDict>>,
        server: Option<Bound<'py, PyAny>>,
        context: Option<Bound<'py, PyAny>>,
        is_ours: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.get().ensure_no_transport(&sock)?;
        let parts = Parts {
            protocol,
            waiter,
            extra,
            server,
            context,
            peer: None,
        };
        // A class that somebody has put in the place of Python's own is asked whatever it may answer.
        let descriptor = match is_ours && Socket::new(&sock).is_original() {
            true => Descriptor::Made(sock.unbind()),
            false => Descriptor::Python(sock.unbind()),
        };
        Loop::connect(slf, descriptor, parts)
    }

    /// Make a transport over a non-blocking datagram socket. The protocol is told of it by a later entry.
    #[pyo3(signature = (sock, protocol, address=None, waiter=None, extra=None))]
    fn _make_datagram_transport<'py>(
        slf: &Bound<'py, Self>,
        sock: Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        address: Option<Bound<'py, PyAny>>,
        waiter: Option<Bound<'py, PyAny>>,
        extra: Option<Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.get().ensure_no_transport(&sock)?;
        let parts = Parts::new(protocol, waiter, extra);
        transport::open_datagrams(slf.as_any(), &slf.get().port, sock, address, parts)
    }

    /// Make a transport that reads from a pipe, a socket or a character device. The protocol is told of it by a later entry.
    #[pyo3(signature = (pipe, protocol, waiter=None, extra=None))]
    fn _make_read_pipe_transport<'py>(
        slf: &Bound<'py, Self>,
        pipe: Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        waiter: Option<Bound<'py, PyAny>>,
        extra: Option<Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let parts = Parts::new(protocol, waiter, extra);
        transport::connect_read_pipe(slf.as_any(), &slf.get().port, pipe, parts)
    }

    /// Make a transport that writes to a pipe, a socket or a character device. The protocol is told of it by a later entry.
    #[pyo3(signature = (pipe, protocol, waiter=None, extra=None))]
    fn _make_write_pipe_transport<'py>(
        slf: &Bound<'py, Self>,
        pipe: Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        waiter: Option<Bound<'py, PyAny>>,
        extra: Option<Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let parts = Parts::new(protocol, waiter, extra);
        transport::connect_write_pipe(slf.as_any(), &slf.get().port, pipe, parts)
    }
}

impl Loop {
    /// A transport over a connected stream socket of either kind, for the loop's own connecting and accepting.
    ///
    /// # Errors
    /// As [`transport::connect`].
    pub(crate) fn connect<'py>(
        slf: &Bound<'py, Self>,
        descriptor: Descriptor,
        parts: Parts<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        transport::connect(slf.as_any(), &slf.get().port, descriptor, parts)
    }

    /// Refuses a descriptor, or an object with one, that a transport uses.
    ///
    /// # Errors
    /// `RuntimeError`, as asyncio's; `ValueError` for an object without a descriptor.
    pub(crate) fn ensure_no_transport(&self, file: &Bound<'_, PyAny>) -> PyResult<()> {
        self.ensure_number_free(&watch::number(file)?, file)
    }

    /// As [`Loop::ensure_no_transport`], for an object whose number is known.
    ///
    /// # Errors
    /// `RuntimeError`, as asyncio's.
    pub(super) fn ensure_number_free(
        &self,
        number: &Bound<'_, PyAny>,
        file: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = file.py();
        match number.extract::<RawFd>() {
            Ok(fd) => self.engine(py).host().claims.ensure_free(py, fd, file),
            // No descriptor has such a number, so no transport does.
            Err(_) => Ok(()),
        }
    }
}

/// A loop, as its transports reach it: they do not keep its engine alive.
pub(super) struct LoopPort(Attached<Weak<Engine>>);

impl LoopPort {
    pub(super) fn new(py: Python<'_>, engine: &Rc<Engine>) -> Self {
        Self(Attached::new(py, Rc::downgrade(engine)))
    }

    fn engine(&self, py: Python<'_>) -> Option<Rc<Engine>> {
        self.0
            .get(py)
            .upgrade()
            .filter(|engine| !engine.is_closed())
    }
}

impl Port for LoopPort {
    fn place(&self, py: Python<'_>) -> Option<Place> {
        Some(self.engine(py)?.place())
    }

    fn is_debug(&self, py: Python<'_>) -> bool {
        self.engine(py)
            .is_some_and(|engine| engine.host().debug.get())
    }

    fn check_thread(&self, py: Python<'_>) -> PyResult<()> {
        match self.engine(py) {
            Some(engine) => debug::check_thread(py, engine.host().thread_id.get()),
            None => Ok(()),
        }
    }

    fn push(&self, py: Python<'_>, entry: Entry) -> PyResult<()> {
        let Some(engine) = self.engine(py) else {
            return Err(errors::closed());
        };
        if engine.place() != Place::Outside {
            engine.push(entry);
            return Ok(());
        }
        engine.push_remote(entry).map_err(|refused| {
            drop(refused);
            errors::closed()
        })
    }

    fn watch(&self, py: Python<'_>, fd: RawFd, direction: Direction, watch: Watch) -> PyResult<()> {
        match self.engine(py) {
            Some(engine) => watch::replace(py, &engine, fd, direction, watch),
            None => Err(errors::closed()),
        }
    }

    fn unwatch(&self, transport: &Bound<'_, PyAny>, fd: RawFd, direction: Direction) {
        let Some(engine) = self.engine(transport.py()) else {
            return;
        };
        let ended = engine.unwatch_if(
            fd,
            direction,
            |watch| matches!(watch, Watch::Transport(other, ..) if other.is(transport)),
        );
        drop(ended);
    }

    fn note_readable(&self, py: Python<'_>, fd: RawFd) {
        if let Some(engine) = self.engine(py)
            && engine.place() == Place::Inside
        {
            engine.note_ready(fd, Direction::Read);
        }
    }

    fn end_waits(&self, py: Python<'_>, fd: RawFd) -> PyResult<()> {
        match self.engine(py) {
            Some(engine) if engine.place() != Place::Outside => watch::end_waits(py, &engine, fd),
            _ => Ok(()),
        }
    }

    fn note_io(&self, py: Python<'_>) {
        if let Some(engine) = self.engine(py)
            && engine.place() != Place::Outside
        {
            engine.note_io();
        }
    }

    fn write(&self, py: Python<'_>) -> Option<WriteTurn> {
        let engine = self.engine(py)?;
        match engine.place() {
            Place::Inside => engine.host().turns.write(|| engine.has_ready()),
            Place::Stopped | Place::Outside => None,
        }
    }

    #[cold]
    fn give_way(&self, transport: &Bound<'_, PyAny>, dispatch: Dispatch) {
        if let Some(engine) = self.engine(transport.py()) {
            engine.host().turns.give_way(transport, dispatch);
        }
    }

    fn wrote(&self, transport: &Bound<'_, PyAny>, dispatch: Dispatch) {
        let Some(engine) = self.engine(transport.py()) else {
            return;
        };
        match engine.place() {
            Place::Inside => engine.host().turns.wrote(transport, dispatch),
            Place::Stopped => {}
            Place::Outside => return,
        }
        engine.note_io();
    }

    fn claim(&self, fd: RawFd, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        match self.engine(transport.py()) {
            Some(engine) => engine.host().claims.claim(fd, transport),
            None => Ok(()),
        }
    }

    fn release(&self, fd: RawFd, transport: &Bound<'_, PyAny>) {
        if let Some(engine) = self.engine(transport.py()) {
            engine.host().claims.release(fd, transport);
        }
    }

    fn take_buffer(&self, py: Python<'_>) -> Vec<u8> {
        let mut buffer = match self.engine(py) {
            Some(engine) => engine.host().read_buffer.take(),
            None => Vec::new(),
        };
        // Taken only by a program that reads from within a read, or for the first time.
        buffer.reserve_exact(READ_SIZE);
        buffer
    }

    fn return_buffer(&self, py: Python<'_>, buffer: Vec<u8>) {
        if let Some(engine) = self.engine(py) {
            engine.host().read_buffer.set(buffer);
        }
    }
}
