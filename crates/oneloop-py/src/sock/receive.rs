//! `sock_recv`, `sock_recv_into`, `sock_recvfrom`, `sock_recvfrom_into`.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, RawFd};

use oneloop::engine::Direction;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt};
use rustix::net::{RecvFlags, SocketAddrAny};

use super::Attempt;
use crate::address;
use crate::entry::Holds;
use crate::ffi::buffer::View;
use crate::ffi::bytes::Spare;
use crate::ffi::descriptor;
use crate::socket::{Method, Socket, call, pair, settled};

/// `recv(n)`.
pub(crate) struct Receive {
    pub(crate) n: Py<PyAny>,
}

impl Attempt for Receive {
    const DIRECTION: Direction = Direction::Read;

    fn attempt<'py>(
        &mut self,
        socket: &Socket<'_, 'py>,
        spare: &Spare,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = socket.py();
        let n = self.n.bind(py);
        if let (Some(size), Some(fd)) = (size(n), socket.direct(Method::Recv)?) {
            let received = received(spare, py, fd, size, |fd, memory| {
                let ((filled, _), _) = rustix::net::recv(fd, memory, RecvFlags::DONTWAIT)?;
                Ok(filled)
            })?;
            return Ok(received.map(Bound::into_any));
        }
        socket.ask(Method::Recv.name(py), (n,))
    }
}

impl Holds for Receive {
    fn visit(&self, visit: &mut dyn FnMut(&Py<PyAny>)) {
        visit(&self.n);
    }
}

/// `recvfrom(bufsize)`.
pub(crate) struct ReceiveFrom {
    pub(crate) bufsize: Py<PyAny>,
}

impl Attempt for ReceiveFrom {
    const DIRECTION: Direction = Direction::Read;

    fn attempt<'py>(
        &mut self,
        socket: &Socket<'_, 'py>,
        spare: &Spare,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = socket.py();
        let bufsize = self.bufsize.bind(py);
        if let Some(size) = size(bufsize)
            && let Some(fd) = socket.direct_with_address(Method::RecvFrom)?
        {
            let mut sender = None;
            let received = filled(spare, py, fd, size, |fd, memory| {
                let ((filled, _), _, from) =
                    rustix::net::recvfrom(fd, memory, RecvFlags::DONTWAIT)?;
                sender = from;
                Ok(filled)
            })?;
            let Some(received) = received else {
                return Ok(None);
            };
            return pair(received.into_any(), sender_address(py, sender)?).map(Some);
        }
        socket.ask(Method::RecvFrom.name(py), (bufsize,))
    }
}

impl Holds for ReceiveFrom {
    fn visit(&self, visit: &mut dyn FnMut(&Py<PyAny>)) {
        visit(&self.bufsize);
    }
}

/// `recv_into(buffer)`.
pub(crate) struct ReceiveInto {
    pub(crate) buffer: Py<PyAny>,
}

impl Attempt for ReceiveInto {
    const DIRECTION: Direction = Direction::Read;

    fn attempt<'py>(
        &mut self,
        socket: &Socket<'_, 'py>,
        _: &Spare,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = socket.py();
        let buffer = self.buffer.bind(py);
        if let Some(fd) = socket.direct(Method::RecvInto)?
            && let Some(mut view) = writable(buffer)
        {
            let memory = view.bytes_mut()?;
            if memory.is_empty() {
                return Ok(Some(PyInt::new(py, 0).into_any()));
            }
            let count = call(py, fd, |fd| {
                let (count, _) = rustix::net::recv(fd, &mut *memory, RecvFlags::DONTWAIT)?;
                Ok(count)
            })?;
            return Ok(count.map(|count| PyInt::new(py, count).into_any()));
        }
        socket.ask(Method::RecvInto.name(py), (buffer,))
    }
}

impl Holds for ReceiveInto {
    fn visit(&self, visit: &mut dyn FnMut(&Py<PyAny>)) {
        visit(&self.buffer);
    }
}

/// `recvfrom_into(buffer, nbytes)`.
pub(crate) struct ReceiveFromInto {
    pub(crate) buffer: Py<PyAny>,
    /// `None` or zero is the buffer's length.
    pub(crate) nbytes: Option<Py<PyAny>>,
}

impl Attempt for ReceiveFromInto {
    const DIRECTION: Direction = Direction::Read;

    fn attempt<'py>(
        &mut self,
        socket: &Socket<'_, 'py>,
        _: &Spare,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = socket.py();
        let buffer = self.buffer.bind(py);
        // asyncio's own way to say so: for memory of larger items than bytes it is their number.
        let nbytes = match &self.nbytes {
            Some(nbytes) if nbytes.is_truthy(py)? => nbytes.bind(py).clone(),
            _ => PyInt::new(py, buffer.len()?).into_any(),
        };
        if let Some(size) = size(&nbytes)
            && let Some(fd) = socket.direct_with_address(Method::RecvFromInto)?
            && let Some(mut view) = writable(buffer).filter(|view| size <= view.len())
        {
            // With no room asked for, Python's method takes all there is.
            let size = if size == 0 { view.len() } else { size };
            let memory = &mut view.bytes_mut()?[..size];
            let answer = call(py, fd, |fd| {
                let (count, _, from) =
                    rustix::net::recvfrom(fd, &mut *memory, RecvFlags::DONTWAIT)?;
                Ok((count, from))
            })?;
            let Some((count, sender)) = answer else {
                return Ok(None);
            };
            drop(view);
            let count = PyInt::new(py, count).into_any();
            return pair(count, sender_address(py, sender)?).map(Some);
        }
        socket.ask(Method::RecvFromInto.name(py), (buffer, nbytes))
    }
}

impl Holds for ReceiveFromInto {
    fn visit(&self, visit: &mut dyn FnMut(&Py<PyAny>)) {
        visit(&self.buffer);
        if let Some(nbytes) = &self.nbytes {
            visit(nbytes);
        }
    }
}

/// A number of bytes that can be asked for; of everything else the socket's own method says what is wrong with it.
fn size(n: &Bound<'_, PyAny>) -> Option<usize> {
    let n: isize = n.cast_exact::<PyInt>().ok()?.extract().ok()?;
    usize::try_from(n).ok()
}

/// The memory of a buffer; of what is none, or is read-only, the socket's own method says so.
fn writable<'py>(buffer: &Bound<'py, PyAny>) -> Option<View<'py>> {
    View::writable(buffer).ok()
}

/// At most `size` bytes from a stream; none at all if none are asked for, as with Python's method.
fn received<'py, F>(
    spare: &Spare,
    py: Python<'py>,
    fd: RawFd,
    size: usize,
    receive: F,
) -> PyResult<Option<Bound<'py, PyBytes>>>
where
    F: for<'a> FnMut(BorrowedFd<'_>, &'a mut [MaybeUninit<u8>]) -> rustix::io::Result<&'a mut [u8]>,
{
    if size == 0 {
        return Ok(Some(PyBytes::new(py, b"")));
    }
    filled(spare, py, fd, size, receive)
}

fn filled<'py, F>(
    spare: &Spare,
    py: Python<'py>,
    fd: RawFd,
    size: usize,
    mut receive: F,
) -> PyResult<Option<Bound<'py, PyBytes>>>
where
    F: for<'a> FnMut(BorrowedFd<'_>, &'a mut [MaybeUninit<u8>]) -> rustix::io::Result<&'a mut [u8]>,
{
    let result = spare.filled(py, size, |memory| {
        // Interrupted it never is: it does not block.
        descriptor::with(fd, |fd| receive(fd, memory).map_err(io::Error::from))
    })?;
    settled(py, result)
}

/// Whom a datagram is from; `None` where the system does not say, as for a connection.
fn sender_address<'py>(
    py: Python<'py>,
    sender: Option<SocketAddrAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let sender = sender.and_then(|sender| SocketAddr::try_from(sender).ok());
    match sender {
        Some(sender) => address::to_python(py, sender),
        None => Ok(py.None().into_bound(py)),
    }
}
