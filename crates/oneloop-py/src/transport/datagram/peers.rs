//! `Peers`: the internet addresses that datagrams came from lately, in both of their forms.
//!
//! Servers mostly answer whoever asked, with the address that they were given, and are asked by the same few again: then nothing has to be
//! turned into text and back. An address that is not known takes the place of the one that came first.

use std::array;
use std::cell::{Cell, OnceCell};
use std::net::SocketAddr;

use pyo3::prelude::*;
use rustix::net::AddressFamily;

use crate::address;
use crate::ffi::raw_type::{Halt, Visit};
use crate::ffi::slot::Slot;

/// How many addresses are remembered: to look through more would cost what is won.
const PLACES: usize = 16;

/// Addresses, as the system and as Python knows them. Takes no memory before the first datagram comes.
#[derive(Default)]
pub(super) struct Peers(OnceCell<Box<Places>>);

struct Places {
    /// A digest of the address in each place, since numbers are compared faster than addresses.
    digests: [Cell<u64>; PLACES],
    known: [Known; PLACES],
    /// The place for who comes next.
    next: Cell<usize>,
    /// Where the last datagram's sender is, who is the likeliest to be answered.
    latest: Cell<usize>,
}

/// One address in its two forms.
#[derive(Default)]
struct Known {
    address: Cell<Option<SocketAddr>>,
    tuple: Slot,
}

impl Peers {
    /// The tuple for an address that a datagram came from.
    ///
    /// # Errors
    /// `MemoryError`.
    pub(super) fn tuple_of<'py>(
        &self,
        py: Python<'py>,
        address: SocketAddr,
    ) -> PyResult<Bound<'py, PyAny>> {
        let places = self.0.get_or_init(Box::default);
        let digest = digest(address);
        if let Some(place) = places.find(digest, address)
            && let Some(tuple) = places.known[place].tuple.get(py)
        {
            places.latest.set(place);
            return Ok(tuple);
        }
        let tuple = address::to_python(py, address)?;
        let place = places.next.replace((places.next.get() + 1) % PLACES);
        places.digests[place].set(digest);
        places.known[place].address.set(Some(address));
        places.latest.set(place);
        drop(places.known[place].tuple.replace(py, Some(tuple.clone())));
        Ok(tuple)
    }

    /// The address that an object of Python's stands for; see [`address::from_python`].
    pub(super) fn address_of(
        &self,
        tuple: &Bound<'_, PyAny>,
        family: AddressFamily,
    ) -> Option<SocketAddr> {
        self.0
            .get()
            .and_then(|places| places.remembered(tuple))
            .or_else(|| address::from_python(tuple, family))
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> Result<(), Halt> {
        match self.0.get() {
            Some(places) => places
                .known
                .iter()
                .try_for_each(|known| known.tuple.traverse(visit)),
            None => Ok(()),
        }
    }

    pub(super) fn clear(&self, py: Python<'_>) {
        for known in self.0.get().iter().flat_map(|places| &places.known) {
            known.address.set(None);
            drop(known.tuple.take(py));
        }
    }
}

impl Places {
    fn find(&self, digest: u64, address: SocketAddr) -> Option<usize> {
        (0..PLACES).find(|place| {
            self.digests[*place].get() == digest
                && self.known[*place].address.get() == Some(address)
        })
    }

    /// The address of a tuple that was handed out, by its identity.
    fn remembered(&self, tuple: &Bound<'_, PyAny>) -> Option<SocketAddr> {
        let latest = &self.known[self.latest.get()];
        if latest.tuple.holds(tuple) {
            return latest.address.get();
        }
        let known = self.known.iter().find(|known| known.tuple.holds(tuple))?;
        known.address.get()
    }
}

impl Default for Places {
    fn default() -> Self {
        Self {
            digests: array::from_fn(|_| Cell::default()),
            known: array::from_fn(|_| Known::default()),
            next: Cell::new(0),
            latest: Cell::new(0),
        }
    }
}

/// A number that few addresses have in common: of IPv4, only those with one.
fn digest(address: SocketAddr) -> u64 {
    match address {
        SocketAddr::V4(address) => {
            u64::from(address.ip().to_bits()) << 16 | u64::from(address.port())
        }
        SocketAddr::V6(address) => {
            let bits = address.ip().to_bits();
            // Hosts of one network differ at the end, and clients of one host in the port.
            (bits as u64)
                ^ ((bits >> 64) as u64).rotate_left(17)
                ^ u64::from(address.port()).rotate_left(48)
        }
    }
}
