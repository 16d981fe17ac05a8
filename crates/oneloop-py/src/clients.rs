//! `Clients`: the connections of a server, and how they come to it and leave it.
//!
//! asyncio's servers know their transports by a `WeakSet` from 3.13 on, and count them before. A connection that comes and goes would cost a
//! few Python calls for that, which is a good part of what it costs at all. Here it is an item of a table, and a server's own `_attach()` and
//! `_detach()` are called only where they have more to do than that: once the server is closed.
//!
//! The table knows transports weakly, so that one that is abandoned is found to be. To hold one more weak reference costs nothing: without
//! a callback an object has only one, which the loop's `Claims` have already.

use std::cell::RefCell;
use std::collections::BTreeMap;

use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyList, PyWeakrefMethods, PyWeakrefReference};

use crate::ffi::attached::Attached;
use crate::ffi::call;
use crate::names;

/// By address, which an object keeps; that of one that is gone may be another one's, who then takes the place.
type Table = BTreeMap<usize, Py<PyWeakrefReference>>;

/// The transports of a server that are not closed; a set, as far as `asyncio.Server` uses one.
#[pyclass(frozen, name = "_Clients", module = "oneloop._core")]
pub(crate) struct Clients(Attached<RefCell<Table>>);

#[pymethods]
impl Clients {
    #[new]
    fn new(py: Python<'_>) -> Self {
        Self(Attached::new(py, RefCell::default()))
    }

    /// Add a transport.
    fn add(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = transport.py();
        let reference = PyWeakrefReference::new(transport)?.unbind();
        let mut table = self.0.get(py).borrow_mut();
        let replaced = table.insert(key(transport), reference);
        drop(table);
        drop(replaced);
        Ok(())
    }

    /// Remove a transport, if it is there.
    fn discard(&self, transport: &Bound<'_, PyAny>) {
        let mut table = self.0.get(transport.py()).borrow_mut();
        let removed = table.remove(&key(transport));
        drop(table);
        drop(removed);
    }

    /// Return the transports as a list.
    fn copy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.living(py))
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        self.copy(py)?.try_iter()
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        self.living(py).len()
    }

    fn __contains__(&self, transport: &Bound<'_, PyAny>) -> bool {
        let py = transport.py();
        let table = self.0.get(py).borrow();
        let known = table.get(&key(transport));
        known.is_some_and(|reference| {
            let known = reference.bind(py).upgrade();
            known.is_some_and(|known| known.is(transport))
        })
    }
}

impl Clients {
    /// Those that nobody has let go of without a word.
    fn living<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyAny>> {
        let table = self.0.get(py).borrow();
        table
            .values()
            .filter_map(|reference| reference.bind(py).upgrade())
            .collect()
    }
}

fn key(transport: &Bound<'_, PyAny>) -> usize {
    transport.as_ptr().addr()
}

/// Tells a server of a connection.
///
/// # Errors
/// What its `_attach()` raises: it refuses one that comes after it was closed.
pub(crate) fn attach(server: &Bound<'_, PyAny>, transport: &Bound<'_, PyAny>) -> PyResult<()> {
    match of_open(server)? {
        Some(clients) => clients.get().add(transport),
        None => call::method(names::_attach(server.py()), [server, transport]).map(drop),
    }
}

/// Tells a server that a connection has ended.
///
/// # Errors
/// What its `_detach()` raises.
pub(crate) fn detach(server: &Bound<'_, PyAny>, transport: &Bound<'_, PyAny>) -> PyResult<()> {
    match of_open(server)? {
        Some(clients) => {
            clients.get().discard(transport);
            Ok(())
        }
        // Somebody may wait for the last one.
        None => call::method(names::_detach(server.py()), [server, transport]).map(drop),
    }
}

/// The table of a server of ours, as long as it has sockets.
fn of_open<'py>(server: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, Clients>>> {
    let py = server.py();
    let Some(clients) = server.getattr_opt(names::_clients(py))? else {
        return Ok(None);
    };
    let Ok(clients) = clients.cast_into::<Clients>() else {
        return Ok(None);
    };
    let is_open = !server.getattr(names::_sockets(py))?.is_none();
    Ok(is_open.then_some(clients))
}
