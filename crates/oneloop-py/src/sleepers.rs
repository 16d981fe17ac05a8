//! The native coroutines of a loop that wait for something, each with the future that its task waits for.
//!
//! A wake-up is a [`Sleeper`]: a number, and nothing of Python's. So whatever wakes (another thread, a timer, a descriptor) may keep one
//! for ever; one that comes too late finds nobody. The futures are here, where the garbage collector finds them through the loop: as
//! with asyncio, what a loop is to wake lives as long as the loop does.

use std::cell::RefCell;

use pyo3::prelude::*;
use slab::Slab;

use crate::ffi::call;
use crate::names;

/// One coroutine that waits, or has waited: its place, and the generation of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sleeper {
    place: usize,
    generation: u64,
}

/// All of one loop.
#[derive(Default)]
pub(crate) struct Sleepers {
    beds: RefCell<Beds>,
}

#[derive(Default)]
struct Beds {
    taken: Slab<Bed>,
    generation: u64,
}

struct Bed {
    generation: u64,
    /// `None` while the coroutine runs, or is woken already.
    future: Option<Py<PyAny>>,
}

impl Sleepers {
    /// A place for a coroutine that is about to wait.
    pub(crate) fn enter(&self) -> Sleeper {
        let mut beds = self.beds.borrow_mut();
        beds.generation += 1;
        let generation = beds.generation;
        let place = beds.taken.insert(Bed {
            generation,
            future: None,
        });
        Sleeper { place, generation }
    }

    /// What the sleeper's task waits for, unless it was woken.
    pub(crate) fn future<'py>(
        &self,
        py: Python<'py>,
        sleeper: Sleeper,
    ) -> Option<Bound<'py, PyAny>> {
        self.with(sleeper, |bed| {
            bed.future.as_ref().map(|future| future.bind(py).clone())
        })?
    }

    /// Has the sleeper's task wait for `future`. What it waited for before is dropped.
    pub(crate) fn sleep(&self, sleeper: Sleeper, future: &Bound<'_, PyAny>) {
        let future = future.clone().unbind();
        let before = self.with(sleeper, |bed| bed.future.replace(future));
        drop(before);
    }

    /// Wakes a sleeper, if it sleeps: its task goes on in the next iteration.
    ///
    /// # Errors
    /// Those of scheduling the task: the loop was closed.
    pub(crate) fn wake(&self, py: Python<'_>, sleeper: Sleeper) -> PyResult<()> {
        let Some(future) = self.with(sleeper, |bed| bed.future.take()).flatten() else {
            return Ok(());
        };
        let future = future.bind(py);
        match call::method(names::set_result(py), [future, py.None().bind(py)]) {
            Ok(_) => Ok(()),
            // It is done if it was cancelled: the task knows already.
            Err(error) => match call::method(names::done(py), [future])?.is_truthy()? {
                true => Ok(()),
                false => Err(error),
            },
        }
    }

    /// Gives a place back: the coroutine is over.
    pub(crate) fn leave(&self, sleeper: Sleeper) {
        let mut beds = self.beds.borrow_mut();
        let is_current = beds
            .taken
            .get(sleeper.place)
            .is_some_and(|bed| bed.generation == sleeper.generation);
        let bed = is_current.then(|| beds.taken.remove(sleeper.place));
        drop(beds);
        drop(bed);
    }

    /// Forgets all of them, for a loop that is closed: nobody wakes them any more.
    pub(crate) fn clear(&self) {
        let beds = std::mem::take(&mut self.beds.borrow_mut().taken);
        drop(beds);
    }

    /// Shows every future to a garbage collector.
    pub(crate) fn visit(&self, mut visit: impl FnMut(&Py<PyAny>)) {
        if let Ok(beds) = self.beds.try_borrow() {
            for (_, bed) in &beds.taken {
                if let Some(future) = &bed.future {
                    visit(future);
                }
            }
        }
    }

    /// Enters the sleeper's bed, which `f` must leave without calling or dropping anything of Python's.
    fn with<R>(&self, sleeper: Sleeper, f: impl FnOnce(&mut Bed) -> R) -> Option<R> {
        let mut beds = self.beds.borrow_mut();
        let bed = beds.taken.get_mut(sleeper.place)?;
        (bed.generation == sleeper.generation).then(|| f(bed))
    }
}
