//! Who waits for a descriptor of the user's in one direction: native coroutines, and perhaps a callback beside them.
//!
//! asyncio has room for one: of two calls that wait for the same socket the older one never ends. Here all of them are woken, the latest
//! first, each tries again, and who finds nothing waits again. A callback that is added while coroutines wait is called as well.
//!
//! The table of these is the engine's registry; `watch` says how one gets in and out.

use std::cell::RefCell;
use std::os::fd::RawFd;
use std::sync::Arc;

use oneloop::engine::Direction;
use pyo3::prelude::*;

use crate::ffi::attached::Attached;
use crate::handle::Handle;
use crate::sleepers::Sleeper;

/// A reference to those who wait for one direction of a descriptor.
#[derive(Clone)]
pub(crate) struct Waiters(Arc<Attached<Waiting>>);

struct Waiting {
    fd: RawFd,
    direction: Direction,
    sleepers: RefCell<Vec<Sleeper>>,
    /// The callback of `add_reader` or `add_writer`. Owned through the registry, where the garbage collector sees it.
    handle: Option<Handle>,
}

impl Waiters {
    /// Those who wait for `direction` of `fd`.
    pub(crate) fn new(
        py: Python<'_>,
        fd: RawFd,
        direction: Direction,
        sleepers: Vec<Sleeper>,
        handle: Option<Handle>,
    ) -> Self {
        let waiting = Waiting {
            fd,
            direction,
            sleepers: RefCell::new(sleepers),
            handle,
        };
        Self(Arc::new(Attached::new(py, waiting)))
    }

    /// Whether both are the same.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// What they wait for.
    pub(crate) fn place(&self, py: Python<'_>) -> (RawFd, Direction) {
        let waiting = self.0.get(py);
        (waiting.fd, waiting.direction)
    }

    /// One more, unless it is there.
    pub(crate) fn add(&self, py: Python<'_>, sleeper: Sleeper) {
        let mut sleepers = self.0.get(py).sleepers.borrow_mut();
        if !sleepers.contains(&sleeper) {
            sleepers.push(sleeper);
        }
    }

    /// One less. Whether nobody is left.
    #[must_use]
    pub(crate) fn remove(&self, py: Python<'_>, sleeper: Sleeper) -> bool {
        let waiting = self.0.get(py);
        let mut sleepers = waiting.sleepers.borrow_mut();
        sleepers.retain(|present| *present != sleeper);
        sleepers.is_empty() && waiting.handle.is_none()
    }

    /// All coroutines, in the order in which they came; they wait no more.
    pub(crate) fn take(&self, py: Python<'_>) -> Vec<Sleeper> {
        self.0.get(py).sleepers.take()
    }

    /// The callback.
    pub(crate) fn handle(&self) -> Option<&Handle> {
        // Never changed, so that it can be read wherever the collector comes from.
        self.0.for_collector().handle.as_ref()
    }
}
