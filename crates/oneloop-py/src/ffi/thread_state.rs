//! The current task of a thread, by its place in the thread's state, from 3.14 on.
//!
//! The place is private to CPython: [`Place::find`] finds it by experiment, by what asyncio's own functions change there, and looks no
//! further than where a version that is known has it. What is written is what those functions write, with the same ownership.

use std::ptr::null_mut;

use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;

/// How many words of a thread's state are looked at: it is a little longer than that on the versions that are known, which have the place
/// among the last of these. On others nothing is looked at.
fn count(py: Python<'_>) -> usize {
    let version = py.version_info();
    match (version.major, version.minor) {
        (3, 14) => 110,
        (3, 15) => 130,
        _ => 0,
    }
}

/// Which words they are.
pub(crate) struct Place {
    event_loop: usize,
    task: usize,
}

impl Place {
    /// Finds it, if it is there; `event_loop` is the running loop, and `while_in` calls what it is given while `task` is the current one.
    ///
    /// # Errors
    /// Those of `while_in`.
    pub(crate) fn find(
        event_loop: &Bound<'_, PyAny>,
        task: &Bound<'_, PyAny>,
        while_in: impl FnOnce(&mut dyn FnMut()) -> PyResult<()>,
    ) -> PyResult<Option<Self>> {
        let py = event_loop.py();
        let before = words(py);
        let mut during = before.clone();
        while_in(&mut || during = words(py))?;
        let after = words(py);
        let all = || 0..before.len();
        let loops = all().filter(|index| before[*index] == event_loop.as_ptr() as usize);
        let tasks = all().filter(|index| {
            [before[*index], during[*index], after[*index]] == [0, task.as_ptr() as usize, 0]
        });
        let (loops, tasks): (Vec<_>, Vec<_>) = (loops.collect(), tasks.collect());
        Ok(match (&loops[..], &tasks[..]) {
            ([event_loop], [task]) => Some(Self {
                event_loop: *event_loop,
                task: *task,
            }),
            _ => None,
        })
    }

    /// `task` becomes the current one, if the loop is the running one and has none: whether it has.
    #[inline(always)]
    pub(crate) fn enter(&self, event_loop: &Bound<'_, PyAny>, task: &Bound<'_, PyAny>) -> bool {
        // SAFETY: this thread is attached, and so has a state with these two words, as was found. The second was NULL and owns what is put
        // there.
        unsafe {
            let state = state();
            let place = state.add(self.task);
            let is_free = *state.add(self.event_loop) == event_loop.as_ptr() && (*place).is_null();
            if is_free {
                *place = task.clone().into_ptr();
            }
            is_free
        }
    }

    /// There is none any more, if it was that task: whether it was.
    #[inline(always)]
    pub(crate) fn leave(&self, event_loop: &Bound<'_, PyAny>, task: &Bound<'_, PyAny>) -> bool {
        // SAFETY: as in `enter`; the reference that the word owned is given back, and the caller has one of his own.
        unsafe {
            let state = state();
            let place = state.add(self.task);
            let is_it =
                *state.add(self.event_loop) == event_loop.as_ptr() && *place == task.as_ptr();
            if is_it {
                *place = null_mut();
                ffi::Py_DECREF(task.as_ptr());
            }
            is_it
        }
    }
}

fn words(py: Python<'_>) -> Vec<usize> {
    // SAFETY: the state of an attached thread is at least that long on the versions that are looked at.
    unsafe {
        (0..count(py))
            .map(|index| state().add(index).cast::<usize>().read())
            .collect()
    }
}

/// # Safety
/// This thread is attached.
#[inline]
unsafe fn state() -> *mut *mut PyObject {
    // SAFETY: by contract.
    unsafe { ffi::PyThreadState_Get().cast() }
}
