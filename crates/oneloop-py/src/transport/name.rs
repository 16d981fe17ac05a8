//! `Name`: the address of one end of a connection, in the system's form until somebody asks for it.

use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use socket2::{Domain, SockAddr, SockRef};

use crate::address;

/// The address of a connected stream socket of ours.
#[derive(Clone, Debug)]
pub(super) enum Name {
    Internet(SocketAddr),
    /// A path, nothing, or a name that begins with a zero.
    Unix(Box<[u8]>),
    /// What the system did not tell.
    Unknown,
}

impl Name {
    /// The near end's.
    pub(super) fn local(fd: BorrowedFd<'_>) -> Self {
        Self::new(SockRef::from(&fd).local_addr())
    }

    /// The far end's; unknown if it has gone away already.
    pub(super) fn peer(fd: BorrowedFd<'_>) -> Self {
        Self::new(SockRef::from(&fd).peer_addr())
    }

    fn new(address: io::Result<SockAddr>) -> Self {
        let Ok(address) = address else {
            return Self::Unknown;
        };
        if let Some(address) = address.as_socket() {
            return Self::Internet(address);
        }
        if !address.is_unix() {
            return Self::Unknown;
        }
        if let Some(path) = address.as_pathname() {
            return Self::Unix(path.as_os_str().as_bytes().into());
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(name) = address.as_abstract_namespace() {
            return Self::Unix([&[0], name].concat().into());
        }
        Self::Unix(Box::default())
    }

    /// The family of the socket that has it, if it is known.
    pub(super) fn family(&self) -> Option<i32> {
        let domain = match self {
            Self::Internet(SocketAddr::V4(_)) => Domain::IPV4,
            Self::Internet(SocketAddr::V6(_)) => Domain::IPV6,
            Self::Unix(_) => Domain::UNIX,
            Self::Unknown => return None,
        };
        Some(domain.into())
    }

    /// The name as Python's sockets show it; `None` if it is unknown.
    ///
    /// # Errors
    /// `MemoryError`.
    pub(super) fn to_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Self::Internet(address) => address::to_python(py, *address),
            Self::Unix(name) if name.first() == Some(&0) => Ok(PyBytes::new(py, name).into_any()),
            Self::Unix(path) => {
                let path: Bound<'py, PyString> = OsStr::from_bytes(path).into_pyobject(py)?;
                Ok(path.into_any())
            }
            Self::Unknown => Ok(py.None().into_bound(py)),
        }
    }
}
