//! `Peer`: the internet address that a datagram came from last, in both of its forms.
//!
//! Servers mostly answer whoever asked, with the address that they were given: then nothing has to be turned into text and back.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use pyo3::prelude::*;
use pyo3::types::{PyInt, PyString, PyTuple};
use rustix::net::AddressFamily;

use crate::address;
use crate::ffi::raw_type::{Halt, Visit};
use crate::ffi::slot::Slot;

/// An address, as the system and as Python knows it.
pub(super) struct Peer {
    tuple: Slot,
    address: Cell<Option<SocketAddr>>,
}

impl Default for Peer {
    fn default() -> Self {
        Self {
            tuple: Slot::new(None),
            address: Cell::new(None),
        }
    }
}

impl Peer {
    /// The tuple for an address that a datagram came from.
    ///
    /// # Errors
    /// `MemoryError`.
    pub(super) fn tuple_of<'py>(
        &self,
        py: Python<'py>,
        address: SocketAddr,
    ) -> PyResult<Bound<'py, PyAny>> {
        if self.address.get() == Some(address)
            && let Some(tuple) = self.tuple.get(py)
        {
            return Ok(tuple);
        }
        let tuple = address::to_python(py, address)?;
        self.address.set(Some(address));
        drop(self.tuple.replace(py, Some(tuple.clone())));
        Ok(tuple)
    }

    /// The address that a tuple of Python's stands for, if that is plain: a literal of the socket's own family. Everything else is the
    /// business of Python's own method, names and mistakes included.
    pub(super) fn address_of(
        &self,
        tuple: &Bound<'_, PyAny>,
        family: AddressFamily,
    ) -> Option<SocketAddr> {
        if let Some(address) = self.address.get()
            && self.tuple.get(tuple.py())?.is(tuple)
        {
            return Some(address);
        }
        let tuple = tuple.cast_exact::<PyTuple>().ok()?;
        let host = tuple.get_borrowed_item(0).ok()?;
        let host = host.cast_exact::<PyString>().ok()?;
        let host = host.to_str().ok()?;
        match family {
            AddressFamily::INET if tuple.len() == 2 => {
                let host: Ipv4Addr = host.parse().ok()?;
                Some((IpAddr::V4(host), number(tuple, 1)?).into())
            }
            AddressFamily::INET6 if (2..=4).contains(&tuple.len()) => {
                let host: Ipv6Addr = host.parse().ok()?;
                let scope = match tuple.len() {
                    4 => number(tuple, 3)?,
                    _ => 0,
                };
                let has_flow = tuple.len() > 2 && number::<u32>(tuple, 2)? != 0;
                let port = number(tuple, 1)?;
                (!has_flow).then(|| SocketAddrV6::new(host, port, 0, scope).into())
            }
            _ => None,
        }
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> Result<(), Halt> {
        self.tuple.traverse(visit)
    }

    pub(super) fn clear(&self, py: Python<'_>) {
        self.address.set(None);
        drop(self.tuple.take(py));
    }
}

fn number<N>(tuple: &Bound<'_, PyTuple>, index: usize) -> Option<N>
where
    N: for<'a, 'py> FromPyObject<'a, 'py>,
{
    let item = tuple.get_borrowed_item(index).ok()?;
    item.cast_exact::<PyInt>().ok()?.extract().ok()
}
