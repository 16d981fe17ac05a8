//! `sock_accept`, `sock_connect`, and waiting until a socket can be written to.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};

use oneloop::engine::Direction;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyInt;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrAny};

use super::Attempt;
use crate::address;
use crate::entry::Holds;
use crate::errors;
use crate::ffi::bytes::Spare;
use crate::ffi::{audit, descriptor};
use crate::names;
use crate::socket::{Method, Socket, accept, call, pair, unless_blocked};

/// `accept()`.
pub(crate) struct Accept;

impl Attempt for Accept {
    const DIRECTION: Direction = Direction::Read;

    fn attempt<'py>(
        &mut self,
        socket: &Socket<'_, 'py>,
        _: &Spare,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = socket.py();
        if let Some(fd) = acceptable(socket)? {
            let accepted = call(py, fd, accept)?;
            return match accepted {
                Some((connection, peer)) => hand_over(socket, connection, peer).map(Some),
                None => Ok(None),
            };
        }
        let Some(accepted) = socket.ask(Method::Accept.name(py), ())? else {
            return Ok(None);
        };
        let (connection, peer): (Bound<'py, PyAny>, Bound<'py, PyAny>) = accepted.extract()?;
        connection.call_method1(names::setblocking(py), (false,))?;
        pair(connection, peer).map(Some)
    }
}

impl Holds for Accept {
    fn visit(&self, _: &mut dyn FnMut(&Py<PyAny>)) {}
}

/// The descriptor to accept from by the system call, which has no flag that keeps it from blocking.
fn acceptable(socket: &Socket<'_, '_>) -> PyResult<Option<RawFd>> {
    let timeout = socket.object().call_method0(names::gettimeout(socket.py()));
    match socket.direct_with_address(Method::Accept)? {
        Some(fd) if timeout?.eq(0)? => Ok(Some(fd)),
        _ => Ok(None),
    }
}

/// A Python socket for a connection, and its peer's address.
fn hand_over<'py>(
    socket: &Socket<'_, 'py>,
    connection: OwnedFd,
    peer: Option<SocketAddrAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, listener) = (socket.py(), socket.object());
    let peer = match peer.and_then(|peer| SocketAddr::try_from(peer).ok()) {
        Some(peer) => address::to_python(py, peer)?,
        None => py.None().into_bound(py),
    };
    let like = (
        listener.getattr(names::family(py))?,
        listener.getattr(names::r#type(py))?,
        listener.getattr(names::proto(py))?,
    );
    // In two steps, so that after a failure (Python code may be interrupted anywhere) the object says whether it owns the descriptor.
    let class = listener.get_type();
    let object = class.call_method1(names::__new__(py), (&class,))?;
    let fd = connection.as_raw_fd();
    let made = object.call_method1(names::__init__(py), (like.0, like.1, like.2, fd));
    if made.is_ok()
        || Socket::new(&object)
            .number()
            .is_ok_and(|number| number == fd)
    {
        // Its own from here on.
        let _ = connection.into_raw_fd();
    }
    made?;
    object.call_method1(names::setblocking(py), (false,))?;
    pair(object, peer)
}

/// `connect(address)`: by the system call for a literal's address, and else by the socket's own method, which knows every family's.
pub(crate) struct Connect {
    pub(crate) address: Py<PyAny>,
    /// The socket's, if that is known.
    family: Option<u16>,
    progress: Progress,
}

/// How far a connection is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    NotBegun,
    /// It goes on in the background, begun by the system call.
    Begun,
    /// As well, begun by the socket's own method.
    BegunByMethod,
}

impl Connect {
    pub(crate) fn new(address: Py<PyAny>, family: Option<u16>) -> Self {
        Self {
            address,
            family,
            progress: Progress::NotBegun,
        }
    }

    /// The descriptor and the address, if the system call may be made, which has no flag that keeps it from blocking.
    fn direct(&self, socket: &Socket<'_, '_>) -> PyResult<Option<(RawFd, SocketAddr)>> {
        let py = socket.py();
        let Some(family) = self.family.map(AddressFamily::from_raw) else {
            return Ok(None);
        };
        let Some(to) = address::from_python(self.address.bind(py), family) else {
            return Ok(None);
        };
        let Some(fd) = socket.direct(Method::Connect)? else {
            return Ok(None);
        };
        let timeout = socket.object().call_method0(names::gettimeout(py))?;
        Ok(timeout.eq(0)?.then_some((fd, to)))
    }

    fn begin<'py>(&mut self, socket: &Socket<'_, 'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = socket.py();
        let Some((fd, to)) = self.direct(socket)? else {
            return self.begin_by_method(socket);
        };
        audit::raise(c"socket.connect", socket.object(), self.address.bind(py))?;
        let begun = descriptor::with(fd, |fd| Ok(rustix::net::connect(fd, &to)?));
        match begun.as_ref().map_err(Errno::from_io_error) {
            Ok(()) => return Ok(Some(py.None().into_bound(py))),
            Err(Some(Errno::INPROGRESS | Errno::INTR)) => {}
            Err(_) => {
                return begun
                    .map_err(|error| errors::from_io(py, error))
                    .map(|()| None);
            }
        }
        self.progress = Progress::Begun;
        match IS_DONE_WHEN_ASKED_AGAIN && to.ip().is_loopback() {
            true => self.ask_again(py, fd, &to),
            false => Ok(None),
        }
    }

    /// This machine has answered itself before the first call returned, though that could not say so: a second one does.
    fn ask_again<'py>(
        &self,
        py: Python<'py>,
        fd: RawFd,
        to: &SocketAddr,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let asked = descriptor::with(fd, |fd| Ok(rustix::net::connect(fd, to)?));
        match asked.as_ref().map_err(Errno::from_io_error) {
            Ok(()) | Err(Some(Errno::ISCONN)) => Ok(Some(py.None().into_bound(py))),
            Err(Some(Errno::ALREADY | Errno::INPROGRESS | Errno::INTR) | None) => Ok(None),
            Err(Some(errno)) => {
                let errno = PyInt::new(py, errno.raw_os_error()).into_any();
                Err(self.failed(&errno))
            }
        }
    }

    fn begin_by_method<'py>(
        &mut self,
        socket: &Socket<'_, 'py>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = socket.py();
        let connected = socket
            .object()
            .call_method1(names::connect(py), (&self.address,));
        if let Err(error) = &connected
            && has_no_room(error.value(py))
        {
            // A Unix server's backlog is full. Nothing goes on in the background, so there is nothing to wait for: asyncio waits, and
            // takes the unconnected socket for a connected one.
            return connected.map(Some);
        }
        let connected = unless_blocked(py, connected)?;
        if connected.is_none() {
            self.progress = Progress::BegunByMethod;
        }
        Ok(connected)
    }

    /// What became of it, once the socket can be written to.
    fn finish<'py>(&self, socket: &Socket<'_, 'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = socket.py();
        let fd = socket.number()?;
        // A wake-up may come too early, and until it is connected the socket has no error either.
        if call(py, fd, |fd| Ok(is_writable(fd)))? == Some(false) {
            return Ok(None);
        }
        let errno = match self.progress {
            Progress::Begun => {
                let error = call(py, fd, |fd| rustix::net::sockopt::socket_error(fd))?;
                let errno = error.and_then(Result::err).map_or(0, Errno::raw_os_error);
                PyInt::new(py, errno).into_any()
            }
            Progress::NotBegun | Progress::BegunByMethod => {
                let option = (names::sol_socket(py)?, names::so_error(py)?);
                let method = names::getsockopt(py);
                socket.object().call_method1(method, option)?
            }
        };
        match errno.eq(0)? {
            true => Ok(Some(py.None().into_bound(py))),
            false => Err(self.failed(&errno)),
        }
    }

    fn failed(&self, errno: &Bound<'_, PyAny>) -> PyErr {
        match self.address.bind(errno.py()).str() {
            Ok(address) => {
                let message = format!("Connect call failed {address}");
                PyOSError::new_err((errno.clone().unbind(), message))
            }
            Err(error) => error,
        }
    }
}

/// Whether a second `connect()` says what became of the first one, and does nothing else.
const IS_DONE_WHEN_ASKED_AGAIN: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// Whether an exception is `EAGAIN`.
fn has_no_room(error: &Bound<'_, PyAny>) -> bool {
    let errno = error.getattr(names::errno(error.py()));
    errno.is_ok_and(|errno| errno.eq(Errno::AGAIN.raw_os_error()).unwrap_or(false))
}

impl Attempt for Connect {
    const DIRECTION: Direction = Direction::Write;

    fn attempt<'py>(
        &mut self,
        socket: &Socket<'_, 'py>,
        _: &Spare,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.progress {
            Progress::NotBegun => self.begin(socket),
            Progress::Begun | Progress::BegunByMethod => self.finish(socket),
        }
    }
}

impl Holds for Connect {
    fn visit(&self, visit: &mut dyn FnMut(&Py<PyAny>)) {
        visit(&self.address);
    }
}

/// Nothing but waiting until a socket can be written to.
#[derive(Default)]
pub(crate) struct Writable {
    waited: bool,
}

impl Attempt for Writable {
    const DIRECTION: Direction = Direction::Write;

    fn attempt<'py>(
        &mut self,
        socket: &Socket<'_, 'py>,
        _: &Spare,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = socket.py();
        let is_over = std::mem::replace(&mut self.waited, true);
        Ok(is_over.then(|| py.None().into_bound(py)))
    }
}

impl Holds for Writable {
    fn visit(&self, _: &mut dyn FnMut(&Py<PyAny>)) {}
}

fn is_writable(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
    // Should the system refuse to say, what follows finds out.
    rustix::event::poll(&mut fds, Some(&Timespec::default())).map_or(true, |count| count > 0)
}
