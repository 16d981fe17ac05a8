//! `Peer`: the internet address that a datagram came from last, in both of its forms.
//!
//! Servers mostly answer whoever asked, with the address that they were given: then nothing has to be turned into text and back.

use std::cell::Cell;
use std::net::SocketAddr;

use pyo3::prelude::*;
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

    /// The address that an object of Python's stands for; see [`address::from_python`].
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
        address::from_python(tuple, family)
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> Result<(), Halt> {
        self.tuple.traverse(visit)
    }

    pub(super) fn clear(&self, py: Python<'_>) {
        self.address.set(None);
        drop(self.tuple.take(py));
    }
}
