//! `Endpoint`: the descriptor of a transport, and who owns it.
//!
//! It is either ours, and becomes a Python socket only when somebody asks for one, or it belongs to a Python object that the user passed. That
//! one is closed by its own `close()`, and is asked for its number before each use: a user who closes it behind our back gets EBADF, as
//! from asyncio, and whoever has the number by then is not hurt.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rustix::io::Errno;
use rustix::net::SendFlags;
use rustix::net::sockopt::set_tcp_nodelay;

use crate::errors;
use crate::ffi::raw_type::{Halt, Visit};
use crate::ffi::slot::Slot;
use crate::ffi::{call, descriptor};
use crate::names;

/// How anything is sent: non-blocking whatever the socket says, and an error instead of a signal if the peer is gone.
pub(super) const SEND: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

/// The number of TCP among the protocols, the same on every system.
const IPPROTO_TCP: i32 = 6;

/// What a transport is made over.
pub(crate) enum Descriptor {
    /// A stream socket of ours, non-blocking.
    Owned(OwnedFd),
    /// A Python socket or pipe, non-blocking.
    Python(Py<PyAny>),
    /// A Python socket, non-blocking, that the loop has made and handed to nobody.
    Made(Py<PyAny>),
}

/// The descriptor of a transport, until it is closed.
pub(super) struct Endpoint {
    fd: RawFd,
    /// Ours.
    owned: RefCell<Option<OwnedFd>>,
    /// The Python object that owns the descriptor.
    object: Slot,
    /// Whether that object came from the user, who may close it.
    is_users: Cell<bool>,
}

impl Endpoint {
    /// # Errors
    /// What the object's `fileno()` raises.
    pub(super) fn new(py: Python<'_>, descriptor: Descriptor) -> PyResult<Self> {
        match descriptor {
            Descriptor::Owned(owned) => Ok(Self {
                fd: owned.as_raw_fd(),
                owned: RefCell::new(Some(owned)),
                object: Slot::new(None),
                is_users: Cell::new(false),
            }),
            Descriptor::Python(object) => Self::of_object(object.into_bound(py), true),
            Descriptor::Made(object) => Self::of_object(object.into_bound(py), false),
        }
    }

    fn of_object(object: Bound<'_, PyAny>, is_users: bool) -> PyResult<Self> {
        Ok(Self {
            fd: fileno(&object)?,
            owned: RefCell::new(None),
            object: Slot::new(Some(object)),
            is_users: Cell::new(is_users),
        })
    }

    /// The descriptor's number, which may be somebody else's once it is closed.
    pub(super) fn number(&self) -> RawFd {
        self.fd
    }

    pub(super) fn is_closed(&self, py: Python<'_>) -> bool {
        self.owned.borrow().is_none() && self.object.get(py).is_none()
    }

    /// The Python object that the user passed.
    pub(super) fn users_object<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.object.get(py).filter(|_| self.is_users.get())
    }

    /// Makes sure that the number is still that of the user's object. To be called before each [`Endpoint::with`].
    ///
    /// # Errors
    /// What the object's `fileno()` raises; `EBADF` if it has another one by now.
    #[inline]
    pub(super) fn check(&self, py: Python<'_>) -> PyResult<()> {
        if !self.is_users.get() {
            return Ok(());
        }
        let Some(object) = self.object.get(py) else {
            return Ok(());
        };
        match fileno(&object) {
            Ok(fd) if fd == self.fd => Ok(()),
            // A closed file raises, a closed socket answers -1.
            Err(error) if !error.is_instance_of::<PyValueError>(py) => Err(error),
            _ => Err(errors::from_io(py, Errno::BADF.into())),
        }
    }

    /// Lends the descriptor to system calls; `EBADF` if it is closed. `call` calls nobody.
    #[inline]
    pub(super) fn with<R>(
        &self,
        py: Python<'_>,
        call: impl FnOnce(BorrowedFd<'_>) -> io::Result<R>,
    ) -> io::Result<R> {
        if let Some(owned) = &*self.owned.borrow() {
            return call(owned.as_fd());
        }
        match self.object.get(py) {
            // Its number was checked, and the GIL held since.
            Some(_object) => descriptor::with(self.fd, call),
            None => Err(Errno::BADF.into()),
        }
    }

    /// Turns Nagle's algorithm off, by asyncio's rule: not for a user's socket that does not say that it is TCP's.
    ///
    /// # Errors
    /// What the object's `proto` raises.
    pub(super) fn send_small_writes_at_once(&self, py: Python<'_>) -> PyResult<()> {
        let claims_tcp = match self.users_object(py) {
            Some(object) => object.getattr(names::proto(py))?.eq(IPPROTO_TCP)?,
            None => true,
        };
        if claims_tcp {
            // What has no such option (a Unix socket of ours) says so, and that is all.
            let _ = self.with(py, |fd| Ok(set_tcp_nodelay(fd, true)?));
        }
        Ok(())
    }

    /// The Python object over the descriptor, which is made of ours if there is none yet; `None` if it is closed.
    ///
    /// # Errors
    /// What `socket.socket` raises.
    pub(super) fn object<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(fd) = self.owned.borrow().as_ref().map(OwnedFd::as_raw_fd) else {
            return Ok(self.object.get(py));
        };
        let keywords = PyDict::new(py);
        keywords.set_item(names::fileno(py), fd)?;
        let socket = names::socket_class(py)?.call((), Some(&keywords))?;
        let Some(owned) = self.owned.take() else {
            // Making the object let something else run that closed the descriptor, or made one as well.
            socket.call_method0(names::detach(py))?;
            return Ok(self.object.get(py));
        };
        // The object owns it now.
        let _ = owned.into_raw_fd();
        drop(self.object.replace(py, Some(socket.clone())));
        socket.call_method1(names::setblocking(py), (false,))?;
        Ok(Some(socket))
    }

    /// Closes the descriptor, by its owner, once.
    ///
    /// # Errors
    /// What the object's `close()` raises.
    pub(super) fn close(&self, py: Python<'_>) -> PyResult<()> {
        drop(self.owned.take());
        match self.object.take(py) {
            Some(object) => call::method(names::close(py), [&object]).map(drop),
            None => Ok(()),
        }
    }

    /// Lets go of a descriptor that shall not be the transport's after all: it is closed only if it was ours.
    ///
    /// # Errors
    /// As [`Endpoint::close`].
    pub(super) fn give_up(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_users.get() {
            self.forget(py);
        }
        // Not left to the collector, which would warn of a socket that nobody closed.
        self.close(py)
    }

    /// Lets go of the descriptor, for the garbage collector. One that is ours is closed.
    pub(super) fn forget(&self, py: Python<'_>) {
        drop(self.owned.take());
        drop(self.object.take(py));
    }

    /// Shows its object to the garbage collector.
    pub(super) fn traverse(&self, visit: &Visit<'_>) -> Result<(), Halt> {
        self.object.traverse(visit)
    }
}

/// The number that an object says it has.
///
/// Asked before every read and write, so a real socket's own method is called without looking it up. (Its instances have no dictionary
/// that could hold another.)
fn fileno(object: &Bound<'_, PyAny>) -> PyResult<RawFd> {
    let py = object.py();
    let number = match object.get_type().is(names::socket_class(py)?) {
        true => call::with(names::socket_fileno(py)?, [object]),
        false => call::method(names::fileno(py), [object]),
    };
    number?.extract()
}
