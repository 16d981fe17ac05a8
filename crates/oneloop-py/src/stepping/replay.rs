//! A coroutine that does once what another has done: for the C code, which then does what follows.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::LAYOUT;
use crate::ffi::c_task::Task;
use crate::ffi::coroutine::{self, Coroutine, Step};
use crate::ffi::raw_type::{Definition, Halt, Payload, Visit};
use crate::ffi::slot::Slot;

/// What a coroutine has done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Yielded,
    Returned,
    Raised,
}

pub(super) struct Replay {
    deed: Deed,
    value: Slot,
    task: Slot,
    /// Whether the task has been asked to cancel meanwhile.
    must_cancel: bool,
    /// The task's own coroutine, while this is in its place.
    coroutine: Slot,
}

impl Replay {
    pub(super) fn new(
        deed: Deed,
        value: Bound<'_, PyAny>,
        task: &Bound<'_, PyAny>,
        must_cancel: bool,
    ) -> Self {
        Self {
            deed,
            value: Slot::new(Some(value)),
            task: Slot::new(Some(task.clone())),
            must_cancel,
            coroutine: Slot::new(None),
        }
    }

    /// Takes the place of the task's coroutine.
    pub(super) fn begin(&self, replay: &Bound<'_, PyAny>, task: &Task<'_, '_>) {
        let coroutine = task.replace_coroutine(replay.clone());
        drop(self.coroutine.replace(replay.py(), coroutine));
    }

    /// Puts the task's coroutine back, if nobody else has: somebody may initialize a task anew.
    pub(super) fn end(&self, replay: &Bound<'_, PyAny>, task: &Task<'_, '_>) {
        let is_there = task.coroutine().is_some_and(|there| there.is(replay));
        if let (Some(coroutine), true) = (self.coroutine.take(replay.py()), is_there) {
            drop(task.replace_coroutine(coroutine));
        }
    }
}

impl Coroutine for Replay {
    fn step<'py>(&self, object: &Bound<'py, PyAny>, _: &Bound<'py, PyAny>) -> PyResult<Step<'py>> {
        let py = object.py();
        if let (Some(task), Some(layout)) = (self.task.take(py), LAYOUT.get(py))
            && let Some(task) = layout.task(&task)
        {
            // Whatever comes now, a message for example, is to show the task as it is.
            self.end(object, &task);
            if self.must_cancel {
                task.set_must_cancel(true);
            }
        }
        match (self.deed, self.value.take(py)) {
            (_, None) => Err(PyRuntimeError::new_err(
                "cannot reuse already awaited coroutine",
            )),
            (Deed::Yielded, Some(value)) => Ok(Step::Yielded(value)),
            (Deed::Returned, Some(value)) => Ok(Step::Returned(value)),
            (Deed::Raised, Some(value)) => Err(PyErr::from_value(value)),
        }
    }

    fn check_awaitable(&self) -> PyResult<()> {
        Ok(())
    }
}

impl Payload for Replay {
    fn traverse(&self, visit: &Visit<'_>) -> Result<(), Halt> {
        self.value.traverse(visit)?;
        self.task.traverse(visit)?;
        self.coroutine.traverse(visit)
    }

    fn clear(&self, py: Python<'_>) {
        drop(self.value.take(py));
        drop(self.task.take(py));
        drop(self.coroutine.take(py));
    }
}

pub(super) fn definition() -> Definition<Replay> {
    Definition {
        name: c"oneloop._core.Replay",
        doc: c"",
        methods: Vec::new(),
        attributes: Vec::new(),
        special: coroutine::slots::<Replay>(),
        is_open: false,
    }
}
