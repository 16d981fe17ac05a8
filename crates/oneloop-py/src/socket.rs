//! A socket of the user's: which system calls may be made on it without asking it, and asking it.

use std::io;
use std::num::NonZeroU32;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};

use pyo3::exceptions::{PyBlockingIOError, PyInterruptedError, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyTuple, PyType};
use rustix::io::{Errno, FdFlags};
use rustix::net::{AddressFamily, SocketAddrAny, SocketFlags, acceptfrom, acceptfrom_with};

use crate::errors;
use crate::ffi::{self, descriptor, instance};
use crate::names;

/// A method of sockets that a system call can stand in for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Method {
    Recv,
    RecvInto,
    RecvFrom,
    RecvFromInto,
    Send,
    SendTo,
    Accept,
    Connect,
}

impl Method {
    const ALL: [Self; 8] = [
        Self::Recv,
        Self::RecvInto,
        Self::RecvFrom,
        Self::RecvFromInto,
        Self::Send,
        Self::SendTo,
        Self::Accept,
        Self::Connect,
    ];

    pub(crate) fn name(self, py: Python<'_>) -> &Bound<'_, PyString> {
        match self {
            Self::Recv => names::recv(py),
            Self::RecvInto => names::recv_into(py),
            Self::RecvFrom => names::recvfrom(py),
            Self::RecvFromInto => names::recvfrom_into(py),
            Self::Send => names::send(py),
            Self::SendTo => names::sendto(py),
            Self::Accept => names::accept(py),
            Self::Connect => names::connect(py),
        }
    }
}

/// `socket.socket`, and its methods as they were when this module was imported: who has replaced one wants it called.
struct Original {
    class: Py<PyType>,
    methods: Vec<Py<PyAny>>,
    /// The [version](instance::version) of the class that was found to have all of them; 0 is none. Read and written with the GIL held,
    /// which orders it.
    version: AtomicU32,
}

impl Original {
    /// Whether the class has the method still.
    ///
    /// # Errors
    /// What asking for it raises.
    fn has(&self, py: Python<'_>, method: Method) -> PyResult<bool> {
        let class = self.class.bind(py);
        if let Some(version) = instance::version(class)
            && version.get() == self.version.load(Ordering::Relaxed)
        {
            return Ok(true);
        }
        for other in Method::ALL {
            if !self.has_now(py, other)? {
                return self.has_now(py, method);
            }
        }
        // To be asked gave it a number.
        let version = instance::version(class).map_or(0, NonZeroU32::get);
        self.version.store(version, Ordering::Relaxed);
        Ok(true)
    }

    fn has_now(&self, py: Python<'_>, method: Method) -> PyResult<bool> {
        let present = self.class.bind(py).getattr(method.name(py))?;
        Ok(present.is(&self.methods[method as usize]))
    }
}

static ORIGINAL: PyOnceLock<Original> = PyOnceLock::new();

/// Remembers the interpreter's own sockets. Called once, by the module's initialization.
///
/// # Errors
/// Those of the import.
pub(crate) fn remember(py: Python<'_>) -> PyResult<()> {
    ORIGINAL.get_or_try_init(py, || {
        let class = names::socket_class(py)?.cast::<PyType>()?.clone();
        let methods = Method::ALL
            .iter()
            .map(|method| class.getattr(method.name(py)).map(Bound::unbind))
            .collect::<PyResult<_>>()?;
        PyResult::Ok(Original {
            class: class.unbind(),
            methods,
            version: AtomicU32::new(0),
        })
    })?;
    Ok(())
}

/// Refuses a socket that does TLS by itself.
///
/// # Errors
/// `TypeError`, as asyncio's.
pub(crate) fn refuse_tls(sock: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = sock.py();
    if Socket::new(sock).is_original() {
        return Ok(());
    }
    // By asyncio's own import of it, which is `None` where Python was built without.
    let ssl = names::base_events(py)?.getattr(names::ssl(py))?;
    if !ssl.is_none() && sock.is_instance(&ssl.getattr(names::ssl_socket(py))?)? {
        return Err(PyTypeError::new_err("Socket cannot be of type SSLSocket"));
    }
    Ok(())
}

/// A socket for one attempt.
pub(crate) struct Socket<'a, 'py>(&'a Bound<'py, PyAny>);

impl<'a, 'py> Socket<'a, 'py> {
    pub(crate) fn new(sock: &'a Bound<'py, PyAny>) -> Self {
        Self(sock)
    }

    pub(crate) fn py(&self) -> Python<'py> {
        self.0.py()
    }

    /// The Python object.
    pub(crate) fn object(&self) -> &'a Bound<'py, PyAny> {
        self.0
    }

    /// The descriptor, if a system call may stand in for the method.
    ///
    /// # Errors
    /// What asking for it raises.
    pub(crate) fn direct(&self, method: Method) -> PyResult<Option<RawFd>> {
        let py = self.py();
        let Some(original) = ORIGINAL.get(py).filter(|_| self.is_original()) else {
            return Ok(None);
        };
        if !original.has(py, method)? {
            return Ok(None);
        }
        self.number().map(Some)
    }

    /// As [`Socket::direct`], where the call's answer has an address: those of IP only, of which Rust knows the form.
    ///
    /// # Errors
    /// As [`Socket::direct`].
    pub(crate) fn direct_with_address(&self, method: Method) -> PyResult<Option<RawFd>> {
        let Some(fd) = self.direct(method)? else {
            return Ok(None);
        };
        let family = descriptor::with(fd, |fd| Ok(rustix::net::getsockname(fd)?.address_family()));
        Ok(match family {
            Ok(AddressFamily::INET | AddressFamily::INET6) => Some(fd),
            _ => None,
        })
    }

    /// Calls the object's own method; `None` if it would block.
    ///
    /// # Errors
    /// What it raises.
    pub(crate) fn ask(
        &self,
        name: &Bound<'py, PyString>,
        args: impl pyo3::call::PyCallArgs<'py>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        unless_blocked(self.py(), self.0.call_method1(name, args))
    }

    /// The descriptor's number; -1 if the socket is closed.
    ///
    /// # Errors
    /// What asking for it raises.
    pub(crate) fn number(&self) -> PyResult<RawFd> {
        self.fileno()?.extract()
    }

    /// What the object says that its descriptor is.
    ///
    /// # Errors
    /// What asking for it raises.
    pub(crate) fn fileno(&self) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py();
        match self.is_original() {
            // Its instances have no dictionary that could hold another method.
            true => ffi::call::with(names::socket_fileno(py)?, [self.0]),
            false => self.0.call_method0(names::fileno(py)),
        }
    }

    /// Whether it is an exact `socket.socket`.
    pub(crate) fn is_original(&self) -> bool {
        let py = self.py();
        ORIGINAL
            .get(py)
            .is_some_and(|original| self.0.get_type().is(&original.class))
    }
}

/// Makes a system call on a descriptor; `None` if it would block.
///
/// # Errors
/// `OSError`.
pub(crate) fn call<R>(
    py: Python<'_>,
    fd: RawFd,
    call: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<R>,
) -> PyResult<Option<R>> {
    let mut call = call;
    let result = descriptor::with(fd, |fd| Ok(rustix::io::retry_on_intr(|| call(fd))?));
    settled(py, result)
}

/// Accepts a connection, which neither blocks nor is inherited, and says whose it is.
pub(crate) fn accept(
    listener: BorrowedFd<'_>,
) -> rustix::io::Result<(OwnedFd, Option<SocketAddrAny>)> {
    match acceptfrom_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
        // A sandbox, or a kernel that is older than the call: the interpreter does the same.
        Err(Errno::NOSYS) => {
            let (connection, peer) = acceptfrom(listener)?;
            rustix::io::fcntl_setfd(&connection, FdFlags::CLOEXEC)?;
            rustix::io::ioctl_fionbio(&connection, true)?;
            Ok((connection, peer))
        }
        accepted => accepted,
    }
}

/// What a system call came to; `None` if it would block.
///
/// # Errors
/// `OSError`.
pub(crate) fn settled<R>(py: Python<'_>, result: io::Result<R>) -> PyResult<Option<R>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(errors::from_io(py, error)),
    }
}

/// What a method came to; `None` if it would block, or was interrupted, which asyncio treats alike.
///
/// # Errors
/// What it raised.
pub(crate) fn unless_blocked<'py>(
    py: Python<'py>,
    result: PyResult<Bound<'py, PyAny>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if error.is_instance_of::<PyBlockingIOError>(py)
                || error.is_instance_of::<PyInterruptedError>(py) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// `(first, second)`.
///
/// # Errors
/// `MemoryError`.
pub(crate) fn pair<'py>(
    first: Bound<'py, PyAny>,
    second: Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = first.py();
    Ok(PyTuple::new(py, [first, second])?.into_any())
}
