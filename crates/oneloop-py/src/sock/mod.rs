//! The `sock_*` methods: one attempt after another on a socket that belongs to the user, and waiting in between.
//!
//! Follows asyncio's selector loop: the system call comes first, and only what would block waits. An attempt is made by the poll that
//! returns what it brought, so a cancelled call has taken nothing from the socket.
//!
//! The socket stays the user's at every moment. Its descriptor is asked for before each attempt, so that one that was closed meanwhile is
//! `EBADF`, whoever has the number by then. As with asyncio nothing tells a coroutine that waits of the closing; it goes on waiting until
//! it is cancelled, or until another descriptor of that number is waited for.
//!
//! An exact `socket.socket` whose method nobody has replaced is served by the system call itself, which never blocks, whatever the socket's
//! timeout is. Every other object is asked by its own method.

mod connection;
mod receive;
mod send;

pub(crate) use self::connection::{Accept, Connect, Writable};
pub(crate) use self::receive::{Receive, ReceiveFrom, ReceiveFromInto, ReceiveInto};
pub(crate) use self::send::{SendAll, SendTo};

use std::cell::Cell;
use std::os::fd::RawFd;
use std::rc::{Rc, Weak};
use std::task::Poll;

use oneloop::engine::{Direction, EventLoop};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyInt;

use crate::awaitable::{self, Turn, Work};
use crate::entry::{Holds, RunsEntries};
use crate::errors;
use crate::ffi::bytes::Spare;
use crate::names;
use crate::sleepers::Sleeper;
use crate::socket::{self, Socket};
use crate::watch;

/// What a call does with its socket.
pub(crate) trait Attempt: Holds {
    /// What the socket has to be ready for.
    const DIRECTION: Direction;

    /// Tries; `None` if that would block. `spare` is the loop's memory to receive into.
    ///
    /// # Errors
    /// What the attempt failed with, for the caller of the method.
    fn attempt<'py>(
        &mut self,
        socket: &Socket<'_, 'py>,
        spare: &Spare,
    ) -> PyResult<Option<Bound<'py, PyAny>>>;
}

/// The coroutine of a `sock_*` method of this name.
///
/// # Errors
/// `MemoryError`.
pub(crate) fn call<'py, H: RunsEntries>(
    event_loop: &Bound<'py, PyAny>,
    engine: &Rc<EventLoop<H>>,
    name: &'static str,
    sock: Bound<'py, PyAny>,
    attempt: impl Attempt + 'static,
) -> PyResult<Bound<'py, PyAny>> {
    let call = Call {
        engine: Rc::downgrade(engine),
        sock: sock.unbind(),
        attempt,
        begun: false,
        wait: None,
    };
    awaitable::new(event_loop, engine, name, call)
}

/// A call under way.
struct Call<H: RunsEntries, A> {
    engine: Weak<EventLoop<H>>,
    sock: Py<PyAny>,
    attempt: A,
    begun: bool,
    wait: Option<Wait<H>>,
}

impl<H: RunsEntries, A: Attempt> Call<H, A> {
    /// `None` if it has to wait, and does.
    fn go_on<'py>(&mut self, turn: &Turn<'_, 'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = turn.py();
        let Some(engine) = self.engine.upgrade() else {
            return Err(errors::closed());
        };
        let sock = self.sock.bind(py);
        if !self.begun {
            self.begun = true;
            check(sock, engine.host().is_debugging())?;
        }
        // Over when its coroutine was woken; should anybody else poll, it ends here.
        if let Some(wait) = self.wait.take() {
            wait.end(py, &engine);
        }
        let socket = Socket::new(sock);
        if let Some(result) = self.attempt.attempt(&socket, engine.host().spare())? {
            return Ok(Some(result));
        }
        let number = socket.fileno()?;
        let fd = match number.cast_exact::<PyInt>().map(|number| number.extract()) {
            Ok(Ok(fd @ 0..)) => fd,
            _ => watch::descriptor(&number)?,
        };
        engine.host().claims().ensure_free(py, fd, &number)?;
        if engine.is_closed() {
            return Err(errors::closed());
        }
        let sleeper = turn.sleeper();
        watch::wait(py, &engine, fd, A::DIRECTION, sleeper)?;
        self.wait = Some(Wait {
            engine: Rc::downgrade(&engine),
            fd,
            direction: A::DIRECTION,
            sleeper,
            is_over: Cell::new(false),
        });
        Ok(None)
    }
}

impl<H: RunsEntries, A: Attempt> Work for Call<H, A> {
    fn poll(&mut self, turn: &Turn<'_, '_>) -> Poll<PyResult<Py<PyAny>>> {
        match self.go_on(turn) {
            Ok(Some(result)) => Poll::Ready(Ok(result.unbind())),
            Ok(None) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl<H: RunsEntries, A: Attempt> Holds for Call<H, A> {
    fn visit(&self, visit: &mut dyn FnMut(&Py<PyAny>)) {
        visit(&self.sock);
        self.attempt.visit(visit);
    }
}

/// What asyncio checks before it touches a socket.
///
/// # Errors
/// `TypeError` for a TLS socket, in debug mode `ValueError` for one that blocks.
fn check(sock: &Bound<'_, PyAny>, debug: bool) -> PyResult<()> {
    let py = sock.py();
    socket::refuse_tls(sock)?;
    if debug && sock.call_method0(names::gettimeout(py))?.ne(0)? {
        return Err(PyValueError::new_err("the socket must be non-blocking"));
    }
    Ok(())
}

/// A coroutine's place among those who wait for a descriptor.
struct Wait<H: RunsEntries> {
    engine: Weak<EventLoop<H>>,
    fd: RawFd,
    direction: Direction,
    sleeper: Sleeper,
    is_over: Cell<bool>,
}

impl<H: RunsEntries> Wait<H> {
    /// What dropping it does, for who has at hand what that has to ask for.
    fn end(self, py: Python<'_>, engine: &EventLoop<H>) {
        self.is_over.set(true);
        watch::leave(py, engine, self.fd, self.direction, self.sleeper);
    }
}

impl<H: RunsEntries> Drop for Wait<H> {
    fn drop(&mut self) {
        if self.is_over.get() {
            return;
        }
        if let Some(engine) = self.engine.upgrade() {
            // While the interpreter exits PyO3 lets nobody in; then the loop goes, too, and nobody waits any more.
            let _ = Python::try_attach(|py| {
                watch::leave(py, &engine, self.fd, self.direction, self.sleeper);
            });
        }
    }
}
