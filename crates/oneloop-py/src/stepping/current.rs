//! Which task is the current one: what the C code does around a step.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::ffi::thread_state::Place;
use crate::ffi::{call, dict};

pub(super) struct CurrentTask {
    /// `_enter_task` and `_leave_task`, by which the C code says what is wrong, too.
    enter: Py<PyAny>,
    leave: Py<PyAny>,
    /// Where they keep it, up to 3.13: for each loop its current task.
    tasks: Option<Py<PyDict>>,
    /// Where they keep it from 3.14 on: in the thread's state.
    place: Option<Place>,
}

impl CurrentTask {
    /// Finds them, and tries them with any two objects; `event_loop` is the running loop.
    ///
    /// # Errors
    /// Whatever is otherwise than expected.
    pub(super) fn find(event_loop: &Bound<'_, PyAny>, task: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = event_loop.py();
        let module = py.import("_asyncio")?;
        let tasks = module.getattr_opt("_current_tasks")?;
        let mut this = Self {
            enter: module.getattr("_enter_task")?.unbind(),
            leave: module.getattr("_leave_task")?.unbind(),
            tasks: None,
            place: None,
        };
        let Some(tasks) = tasks.and_then(|tasks| tasks.cast_into_exact::<PyDict>().ok()) else {
            this.place = Place::find(event_loop, task, |look| {
                this.enter(event_loop, task)?;
                look();
                this.leave(event_loop, task)
            })?;
            return Ok(this);
        };
        this.enter(event_loop, task)?;
        let is_there = tasks
            .get_item(event_loop)?
            .is_some_and(|there| there.is(task));
        this.leave(event_loop, task)?;
        if !is_there || tasks.contains(event_loop)? {
            return Err(PyTypeError::new_err("the current task is elsewhere"));
        }
        Ok(Self {
            tasks: Some(tasks.unbind()),
            ..this
        })
    }

    /// `task` becomes its loop's current one.
    ///
    /// # Errors
    /// `RuntimeError` if there is one.
    #[inline]
    pub(super) fn enter<'py>(
        &self,
        event_loop: &Bound<'py, PyAny>,
        task: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let py = task.py();
        if let Some(place) = &self.place
            && place.enter(event_loop, task)
        {
            return Ok(());
        }
        if let Some(tasks) = &self.tasks
            && dict::add(tasks.bind(py), event_loop, task)?
        {
            return Ok(());
        }
        call::with(self.enter.bind(py), [event_loop, task]).map(drop)
    }

    /// There is none any more.
    ///
    /// # Errors
    /// `RuntimeError` if it is another one.
    #[inline]
    pub(super) fn leave<'py>(
        &self,
        event_loop: &Bound<'py, PyAny>,
        task: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let py = task.py();
        if let Some(place) = &self.place
            && place.leave(event_loop, task)
        {
            return Ok(());
        }
        if let Some(tasks) = &self.tasks {
            match dict::take(tasks.bind(py), event_loop)? {
                Some(current) if current.is(task) => return Ok(()),
                Some(current) => tasks.bind(py).set_item(event_loop, current)?,
                None => {}
            }
        }
        call::with(self.leave.bind(py), [event_loop, task]).map(drop)
    }
}
