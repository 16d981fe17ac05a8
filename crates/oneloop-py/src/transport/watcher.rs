//! `Watcher`: whether a transport watches one direction of its descriptor, and in which context it then runs.
//!
//! A watch has a number. An event that was queued for a watch that has ended since, as when reading was paused by a callback before it in
//! the same tick, carries an old number and is dropped, as asyncio drops the handle that it has cancelled.
//!
//! The watch itself belongs to the loop's thread. On another one only what is wanted changes here, and the loop is asked to see to it
//! ([`Request::Settle`]).

use std::cell::Cell;
use std::os::fd::RawFd;

use oneloop::engine::{Direction, Place};
use pyo3::prelude::*;

use super::port::Port;
use crate::entry::{Entry, Request, Watch};
use crate::errors;
use crate::ffi::raw_type::{Halt, Visit};
use crate::ffi::slot::Slot;

/// One direction of a transport.
pub(super) struct Watcher {
    direction: Direction,
    /// The number of the watch that is wanted.
    wanted: Cell<Option<u32>>,
    last: Cell<u32>,
    /// What its events run in: one context from the watch's beginning to its end.
    context: Slot,
}

impl Watcher {
    pub(super) fn new(direction: Direction) -> Self {
        Self {
            direction,
            wanted: Cell::new(None),
            last: Cell::new(0),
            context: Slot::new(None),
        }
    }

    /// asyncio's word for whether the direction is watched.
    pub(super) fn state(&self) -> &'static str {
        match self.wanted.get() {
            Some(_) => "polling",
            None => "idle",
        }
    }

    /// The context of an event of that watch, or `None` if the watch has ended.
    pub(super) fn context_of<'py>(
        &self,
        py: Python<'py>,
        number: u32,
    ) -> Option<Bound<'py, PyAny>> {
        if self.wanted.get() != Some(number) {
            return None;
        }
        self.context.get(py)
    }

    /// Begins a new watch, whose events run in `context`.
    ///
    /// # Errors
    /// `OSError` for a descriptor that cannot be watched; `RuntimeError` if the loop is closed.
    pub(super) fn start<'py>(
        &self,
        transport: &Bound<'py, PyAny>,
        port: &dyn Port,
        fd: RawFd,
        context: Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let py = transport.py();
        let number = self.last.get().wrapping_add(1);
        self.last.set(number);
        self.wanted.set(Some(number));
        drop(self.context.replace(py, Some(context)));
        let result = match port.place(py) {
            None => Err(errors::closed()),
            Some(Place::Outside) => settle_later(transport, port),
            Some(Place::Inside | Place::Stopped) => self.settle(transport, port, fd),
        };
        if result.is_err() {
            self.wanted.set(None);
            drop(self.context.take(py));
        }
        result
    }

    /// Ends the watch, if there is one.
    pub(super) fn stop(&self, transport: &Bound<'_, PyAny>, port: &dyn Port, fd: RawFd) {
        let py = transport.py();
        if self.wanted.take().is_none() {
            return;
        }
        drop(self.context.take(py));
        match port.place(py) {
            None => {}
            // Refused by a closed loop only, which watches nothing.
            Some(Place::Outside) => drop(settle_later(transport, port)),
            Some(Place::Inside | Place::Stopped) => port.unwatch(transport, fd, self.direction),
        }
    }

    /// Brings the loop's watch in line with what is wanted. For the loop's owner.
    ///
    /// # Errors
    /// As [`Watcher::start`].
    pub(super) fn settle(
        &self,
        transport: &Bound<'_, PyAny>,
        port: &dyn Port,
        fd: RawFd,
    ) -> PyResult<()> {
        let py = transport.py();
        match self.wanted.get() {
            Some(number) => {
                let watch = Watch::Transport(transport.clone().unbind(), self.direction, number);
                port.watch(py, fd, self.direction, watch)
            }
            None => {
                port.unwatch(transport, fd, self.direction);
                Ok(())
            }
        }
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> Result<(), Halt> {
        self.context.traverse(visit)
    }

    pub(super) fn clear(&self, py: Python<'_>) {
        self.wanted.set(None);
        drop(self.context.take(py));
    }
}

fn settle_later(transport: &Bound<'_, PyAny>, port: &dyn Port) -> PyResult<()> {
    let request = Request::Settle(transport.clone().unbind());
    port.push(transport.py(), Entry::Request(request))
}
