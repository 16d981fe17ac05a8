//! `sock_accept`, `sock_connect`, and waiting until a socket can be written to.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};

use oneloop::engine::Direction;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::SocketAddrAny;

use super::Attempt;
use crate::address;
use crate::entry::Holds;
use crate::ffi::bytes::Spare;
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

/// `connect(address)`: always by the socket's own method, which knows every family's addresses and raises the audit event.
pub(crate) struct Connect {
    pub(crate) address: Py<PyAny>,
    /// It goes on in the background.
    begun: bool,
}

impl Connect {
    pub(crate) fn new(address: Py<PyAny>) -> Self {
        Self {
            address,
            begun: false,
        }
    }

    fn begin<'py>(&mut self, socket: &Socket<'_, 'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
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
        self.begun = connected.is_none();
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
        let option = (names::sol_socket(py)?, names::so_error(py)?);
        let errno = socket
            .object()
            .call_method1(names::getsockopt(py), option)?;
        if errno.eq(0)? {
            return Ok(Some(py.None().into_bound(py)));
        }
        let message = format!("Connect call failed {}", self.address.bind(py).str()?);
        Err(PyOSError::new_err((errno.unbind(), message)))
    }
}

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
        match self.begun {
            false => self.begin(socket),
            true => self.finish(socket),
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
