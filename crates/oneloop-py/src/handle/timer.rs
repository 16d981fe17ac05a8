//! A callback that waits for its time: a handle that knows when, and which of the engine's timers it is.

use std::cell::Cell;

use oneloop::engine::TimerKey;
use pyo3::prelude::*;
use pyo3::types::PyFloat;

use super::plain::Plain;
use super::table::{attributes, methods, shown, truth};
use super::{DISARM, Kind};
use crate::ffi::method;
use crate::ffi::raw_type::{Definition, FreeList, Halt, Payload, Visit};
use crate::ffi::slot::Slot;

/// The payload of a `TimerHandle`.
pub(super) struct Timer {
    /// What `when()` returns: the number that the caller computed, whatever its type. Empty until somebody asks, if it is `seconds`, which
    /// else is no number.
    pub(super) when: Slot,
    pub(super) seconds: f64,
    /// The engine's timer, while it is armed.
    pub(super) key: Cell<Option<TimerKey>>,
    pub(super) plain: Plain,
}

impl Kind for Timer {
    fn plain(&self) -> &Plain {
        &self.plain
    }

    fn cancel(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        if !self.plain.cancelled.get()
            && let Some(key) = self.key.take()
            && let Some(event_loop) = self.plain.event_loop.get(object.py())
            && let Some(disarm) = DISARM.get()
        {
            disarm(&event_loop, key);
        }
        self.plain.cancel(object)
    }

    fn cancelled(&self, py: Python<'_>) -> PyResult<bool> {
        self.plain.cancelled(py)
    }

    fn run(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        // Its time has come, so the engine's timer is gone.
        self.key.set(None);
        self.plain.run(object)
    }
}

static FREED: FreeList = FreeList::new();

impl Payload for Timer {
    fn freed() -> Option<&'static FreeList> {
        Some(&FREED)
    }

    fn traverse(&self, visit: &Visit<'_>) -> Result<(), Halt> {
        self.when.traverse(visit)?;
        self.plain.traverse(visit)
    }

    fn clear(&self, py: Python<'_>) {
        self.plain.clear(py);
        drop(self.when.take(py));
    }

    #[inline]
    fn release(self, py: Python<'_>) {
        self.plain.release(py);
        self.when.release(py);
    }
}

pub(super) fn definition() -> Definition<Timer> {
    let mut attributes = attributes();
    attributes.push(method::getter(c"_when", |py, timer: &Timer| {
        // After `clear` it may be empty without seconds.
        if timer.when.is_empty() && !timer.seconds.is_nan() {
            // Kept, since an attribute is the same object each time. Nothing was there to be dropped.
            drop(
                timer
                    .when
                    .replace(py, Some(PyFloat::new(py, timer.seconds).into_any())),
            );
        }
        shown(py, &timer.when)
    }));
    attributes.push(method::getter(c"_scheduled", |py, timer: &Timer| {
        Ok(truth(py, timer.key.get().is_some()))
    }));
    Definition {
        name: c"oneloop._core.TimerHandle",
        doc: c"A callback that waits for its time on a oneloop loop.\n\nReturned by call_later() and call_at(); follows asyncio.TimerHandle.",
        methods: methods(),
        attributes,
        special: Vec::new(),
        is_open: false,
    }
}
