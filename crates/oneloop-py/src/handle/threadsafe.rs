//! A callback from another thread, whose `cancel` and `cancelled` wait while it runs.
//!
//! asyncio has this kind from 3.14 on: whoever cancels from another thread learns for certain whether the callback
//! has run. There a handle holds a lock while it runs. Here a lock is made only when somebody really waits: the
//! first to find the handle running leaves a `threading.Event`, which the run's end sets. It is Python's event and
//! not a Rust one so that Ctrl-C interrupts the wait and the GIL is released meanwhile.

use std::cell::Cell;
use std::ffi::c_ulong;

use pyo3::prelude::*;

use super::Kind;
use super::plain::Plain;
use super::table::{attributes, methods};
use crate::ffi::raw_type::{Definition, FreeList, Halt, Payload, Visit};
use crate::ffi::slot::Slot;
use crate::ffi::{call, thread};
use crate::names;

/// The payload of a `_ThreadSafeHandle`.
pub(super) struct ThreadSafe {
    plain: Plain,
    /// The thread that runs the callback, while it runs; else zero.
    runner: Cell<c_ulong>,
    /// Left by a thread that waits for the run's end.
    ended: Slot,
}

impl ThreadSafe {
    pub(super) fn new(plain: Plain) -> Self {
        Self {
            plain,
            runner: Cell::new(0),
            ended: Slot::new(None),
        }
    }

    /// Waits until no other thread runs the callback.
    fn wait(&self, py: Python<'_>) -> PyResult<()> {
        loop {
            let runner = self.runner.get();
            if runner == 0 || runner == thread::ident(py) {
                return Ok(());
            }
            let event = match self.ended.get(py) {
                Some(event) => event,
                None => {
                    let event = call::with(names::event_class(py)?, [])?;
                    // Making it may have let the callback end, and another begin.
                    if self.runner.get() != runner || self.ended.get(py).is_some() {
                        continue;
                    }
                    drop(self.ended.replace(py, Some(event.clone())));
                    event
                }
            };
            call::method(names::wait(py), [&event])?;
        }
    }
}

impl Kind for ThreadSafe {
    fn plain(&self) -> &Plain {
        &self.plain
    }

    fn cancel(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        self.wait(object.py())?;
        self.plain.cancel(object)
    }

    fn cancelled(&self, py: Python<'_>) -> PyResult<bool> {
        self.wait(py)?;
        self.plain.cancelled(py)
    }

    fn run(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        self.wait(object.py())?;
        let _running = Running::start(self, object.py());
        self.plain.run(object)
    }
}

/// The time in which the callback runs, on this thread.
struct Running<'a, 'py> {
    handle: &'a ThreadSafe,
    /// This thread, if the callback runs its own handle; else zero.
    before: c_ulong,
    py: Python<'py>,
}

impl<'a, 'py> Running<'a, 'py> {
    fn start(handle: &'a ThreadSafe, py: Python<'py>) -> Self {
        let before = handle.runner.replace(thread::ident(py));
        Self { handle, before, py }
    }
}

impl Drop for Running<'_, '_> {
    fn drop(&mut self) {
        self.handle.runner.set(self.before);
        if self.before == 0
            && let Some(event) = self.handle.ended.take(self.py)
            && let Err(error) = call::method(names::set(self.py), [&event])
        {
            error.write_unraisable(self.py, Some(&event));
        }
    }
}

static FREED: FreeList = FreeList::new();

impl Payload for ThreadSafe {
    fn freed() -> Option<&'static FreeList> {
        Some(&FREED)
    }

    fn traverse(&self, visit: &Visit<'_>) -> Result<(), Halt> {
        self.ended.traverse(visit)?;
        self.plain.traverse(visit)
    }

    fn clear(&self, py: Python<'_>) {
        self.plain.clear(py);
        drop(self.ended.take(py));
    }

    #[inline]
    fn release(self, py: Python<'_>) {
        self.plain.release(py);
        self.ended.release(py);
    }
}

pub(super) fn definition() -> Definition<ThreadSafe> {
    Definition {
        name: c"oneloop._core._ThreadSafeHandle",
        doc: c"A callback from another thread.\n\nReturned by call_soon_threadsafe(); follows asyncio's handle of the same name.",
        methods: methods(),
        attributes: attributes(),
        special: Vec::new(),
        is_open: false,
    }
}
