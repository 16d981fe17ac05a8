//! Finding the fields of asyncio's C futures and tasks, by experiment.
//!
//! Each experiment does by public means what changes one field, and looks which word, or which bit, of the object has changed. A field that
//! is not found exactly once is not found; and an interpreter where any is not found keeps its own ways.

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};

use super::{Bit, CANCELLED, FINISHED, Layout, PENDING};
use crate::ffi::call;
use crate::names;

const WORD: usize = size_of::<usize>();

/// What runs the experiments: makes futures and tasks, and runs the C code's own steps.
pub(crate) trait Laboratory<'py> {
    /// The loop of all futures and tasks.
    fn event_loop(&self) -> &Bound<'py, PyAny>;
    /// What was last given to its `call_soon`.
    fn scheduled(&self) -> Option<Bound<'py, PyAny>>;
    /// A coroutine that awaits that.
    ///
    /// # Errors
    /// What is raised.
    fn awaiting(&self, awaitable: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>;
    /// A coroutine that yields that to its task.
    ///
    /// # Errors
    /// What is raised.
    fn yielding(&self, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>;
}

/// Finds all fields.
///
/// # Errors
/// Whatever is otherwise than expected.
pub(crate) fn learn<'py>(laboratory: &impl Laboratory<'py>) -> PyResult<Layout> {
    let py = laboratory.event_loop().py();
    if cfg!(Py_GIL_DISABLED) || cfg!(target_endian = "big") || WORD != 8 {
        return Err(unlike("the platform"));
    }
    let module = py.import("_asyncio")?;
    let future = module.getattr("Future")?.cast_into::<PyType>()?;
    let task = module.getattr("Task")?.cast_into::<PyType>()?;
    let is_own = names::task_class(py)?.is(&task) && names::future_class(py)?.is(&future);
    if !is_own || !task.is_subclass(&future)? {
        return Err(unlike("asyncio.Task"));
    }
    let of_future = Futures {
        laboratory,
        class: &future,
    }
    .learn()?;
    let of_task = Tasks {
        laboratory,
        class: &task,
        of_future: &of_future,
    }
    .learn()?;
    Ok(Layout {
        future: future.unbind(),
        task: task.unbind(),
        event_loop: of_future.event_loop,
        callback: of_future.callback,
        callback_context: of_future.context,
        more_callbacks: of_future.more,
        result: of_future.result,
        exception: of_future.exception,
        state: of_future.state,
        is_blocking: of_future.blocking,
        awaited_by: of_future.awaited_by,
        coroutine: of_task.coroutine,
        context: of_task.context,
        waits_for: of_task.waits_for,
        must_cancel: of_task.must_cancel,
        step_class: of_task.step_class,
        step_task: of_task.step_task,
        step_exception: of_task.step_exception,
        wakeup: of_task.wakeup,
    })
}

struct Futures<'a, 'py, L> {
    laboratory: &'a L,
    class: &'a Bound<'py, PyType>,
}

struct OfFuture {
    event_loop: usize,
    callback: usize,
    context: usize,
    more: usize,
    result: usize,
    exception: usize,
    state: usize,
    blocking: Bit,
    awaited_by: Option<usize>,
}

impl<'py, L: Laboratory<'py>> Futures<'_, 'py, L> {
    fn learn(&self) -> PyResult<OfFuture> {
        let py = self.class.py();
        let future = self.make()?;
        let fresh = words(&future);
        let event_loop = only(
            fresh
                .iter()
                .map(|word| *word == address(self.laboratory.event_loop())),
        )?;

        let callback = py.get_type::<PyAny>().call0()?;
        let context = crate::ffi::context::copy_current(py)?;
        self.add(&future, &callback, &context)?;
        let with_one = words(&future);
        let changed = |index: usize, value: usize| fresh[index] == 0 && with_one[index] == value;
        let callback_at = only((0..fresh.len()).map(|index| changed(index, address(&callback))))?;
        let context_at = only((0..fresh.len()).map(|index| changed(index, address(&context))))?;
        if count_changed(&fresh, &with_one) != 2 {
            return Err(unlike("a future's callback"));
        }
        self.add(&future, &callback, &context)?;
        let with_two = words(&future);
        let more =
            only((0..fresh.len()).map(|index| with_one[index] == 0 && with_two[index] != 0))?;
        if count_changed(&with_one, &with_two) != 1 {
            return Err(unlike("a future's callbacks"));
        }

        let failed = self.make()?;
        let before = words(&failed);
        let exception = py.get_type::<PyTypeError>().call0()?;
        failed.call_method1("set_exception", (&exception,))?;
        failed.call_method0("exception")?;
        let after = words(&failed);
        let exception = only(
            (0..after.len()).map(|index| before[index] == 0 && after[index] == address(&exception)),
        )?;

        Ok(OfFuture {
            event_loop: offset(event_loop),
            callback: offset(callback_at),
            context: offset(context_at),
            more: offset(more),
            result: self.result()?,
            exception: offset(exception),
            state: self.state()?,
            blocking: self.blocking()?,
            awaited_by: self.awaited_by()?,
        })
    }

    fn result(&self) -> PyResult<usize> {
        let future = self.make()?;
        let before = words(&future);
        let result = self.class.py().get_type::<PyAny>().call0()?;
        future.call_method1(names::set_result(self.class.py()), (&result,))?;
        let after = words(&future);
        let at = only(
            (0..after.len()).map(|index| before[index] == 0 && after[index] == address(&result)),
        )?;
        // The state is the only other thing that has changed: in a word that it may share with flags.
        match count_changed(&before, &after) == 2 {
            true => Ok(offset(at)),
            false => Err(unlike("a future's result")),
        }
    }

    fn state(&self) -> PyResult<usize> {
        let py = self.class.py();
        let (pending, cancelled, finished) = (self.make()?, self.make()?, self.make()?);
        cancelled.call_method0("cancel")?;
        finished.call_method1("set_result", (py.None(),))?;
        let [pending, cancelled, finished] = [&pending, &cancelled, &finished].map(halves);
        let index = only((0..pending.len()).map(|index| {
            [pending[index], cancelled[index], finished[index]] == [PENDING, CANCELLED, FINISHED]
        }))?;
        Ok(size_of::<ffi::PyObject>() + index * size_of::<u32>())
    }

    fn blocking(&self) -> PyResult<Bit> {
        let future = self.make()?;
        let before = bytes(&future);
        future.setattr(names::_asyncio_future_blocking(self.class.py()), true)?;
        let during = bytes(&future);
        future.setattr(names::_asyncio_future_blocking(self.class.py()), false)?;
        let bit = only_bit(|byte| during[byte] & !before[byte], before.len())?;
        match bytes(&future) == before && count_changed(&before, &during) == 1 {
            true => Ok(bit),
            false => Err(unlike("a future's flag")),
        }
    }

    fn awaited_by(&self) -> PyResult<Option<usize>> {
        let module = self.class.py().import("_asyncio")?;
        let Some(add) = module.getattr_opt("future_add_to_awaited_by")? else {
            return Ok(None);
        };
        let discard = module.getattr("future_discard_from_awaited_by")?;
        let (awaited, first, second) = (self.make()?, self.make()?, self.make()?);
        let before = words(&awaited);
        add.call1((&awaited, &first))?;
        let with_one = words(&awaited);
        let at = only(
            (0..before.len()).map(|index| before[index] == 0 && with_one[index] == address(&first)),
        )?;
        let is_alone = count_changed(&before, &with_one) == 1;
        // With another it is a set of both, which is none of them.
        add.call1((&awaited, &second))?;
        let with_both = words(&awaited)[at];
        let is_set = ![0, address(&first), address(&second)].contains(&with_both);
        discard.call1((&awaited, &second))?;
        discard.call1((&awaited, &first))?;
        let other = self.make()?;
        add.call1((&other, &first))?;
        discard.call1((&other, &first))?;
        match is_alone && is_set && words(&other)[at] == 0 {
            true => Ok(Some(offset(at))),
            false => Err(unlike("who awaits a future")),
        }
    }

    fn make(&self) -> PyResult<Bound<'py, PyAny>> {
        let event_loop = self.laboratory.event_loop();
        call::with_names(
            self.class,
            [event_loop],
            names::loop_keyword(self.class.py())?,
        )
    }

    fn add(
        &self,
        future: &Bound<'py, PyAny>,
        callback: &Bound<'py, PyAny>,
        context: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let keywords = PyDict::new(future.py());
        keywords.set_item("context", context)?;
        future
            .call_method("add_done_callback", (callback,), Some(&keywords))
            .map(drop)
    }
}

struct Tasks<'a, 'py, L> {
    laboratory: &'a L,
    class: &'a Bound<'py, PyType>,
    of_future: &'a OfFuture,
}

struct OfTask {
    coroutine: usize,
    context: usize,
    waits_for: usize,
    must_cancel: Bit,
    step_class: Py<PyType>,
    step_task: usize,
    step_exception: usize,
    wakeup: *mut ffi::PyMethodDef,
}

impl<'py, L: Laboratory<'py>> Tasks<'_, 'py, L> {
    fn learn(&self) -> PyResult<OfTask> {
        let py = self.class.py();
        let laboratory = self.laboratory;
        let awaited = Futures {
            laboratory,
            class: names::future_class(py)?,
        }
        .make()?;
        let coroutine = laboratory.awaiting(&awaited)?;
        let context = crate::ffi::context::copy_current(py)?;
        let task = self.make(&coroutine, &context)?;
        let step = laboratory
            .scheduled()
            .ok_or_else(|| unlike("a task's first step"))?;
        let fresh = words(&task);
        let holds =
            |object: &Bound<'py, PyAny>| only(fresh.iter().map(|word| *word == address(object)));
        let (coroutine_at, context_at) = (holds(&coroutine)?, holds(&context)?);
        if offset(holds(laboratory.event_loop())?) != self.of_future.event_loop {
            return Err(unlike("a task's loop"));
        }
        let parts = words(&step);
        let step_task = only(parts.iter().map(|word| *word == address(&task)))?;
        let step_exception = only(parts.iter().map(|word| *word == 0))?;

        step.call0()?;
        let waiting = words(&task);
        let waits_for = only(
            (0..fresh.len()).map(|index| fresh[index] == 0 && waiting[index] == address(&awaited)),
        )?;
        let wakeup = self.wakeup(&task, &awaited, &context)?;
        // It ends, so that nothing is said of a task that was forgotten.
        awaited.call_method1("set_result", (py.None(),))?;
        let step_again = laboratory
            .scheduled()
            .ok_or_else(|| unlike("a task's wake-up"))?;
        step_again.call1((&awaited,))?;
        if !task.call_method0("done")?.is_truthy()? {
            return Err(unlike("a task"));
        }
        let step_class = step.get_type();
        self.check_exception(&step_class, step_exception)?;
        Ok(OfTask {
            coroutine: offset(coroutine_at),
            context: offset(context_at),
            waits_for: offset(waits_for),
            must_cancel: self.must_cancel()?,
            step_class: step_class.unbind(),
            step_task: offset(step_task),
            step_exception: offset(step_exception),
            wakeup,
        })
    }

    /// The definition of what a task has added to a future.
    fn wakeup(
        &self,
        task: &Bound<'py, PyAny>,
        awaited: &Bound<'py, PyAny>,
        context: &Bound<'py, PyAny>,
    ) -> PyResult<*mut ffi::PyMethodDef> {
        let shown = awaited.getattr("_callbacks")?.get_item(0)?;
        let (callback, shown_context) = (shown.get_item(0)?, shown.get_item(1)?);
        let held = words(awaited);
        let at = |field: usize| held[(field - size_of::<ffi::PyObject>()) / WORD];
        let is_held = at(self.of_future.callback) == address(&callback)
            && at(self.of_future.context) == address(context)
            && shown_context.is(context);
        // SAFETY: the object is live and read as what its exact type says.
        unsafe {
            if !is_held || ffi::PyCFunction_CheckExact(callback.as_ptr()) == 0 {
                return Err(unlike("a task's wake-up"));
            }
            let parts = callback.as_ptr().cast::<ffi::PyCFunctionObject>();
            let definition = (*parts).m_ml;
            let is_bare = (*parts).m_self == task.as_ptr()
                && (*parts).m_module.is_null()
                && (*definition).ml_flags == ffi::METH_O;
            match is_bare {
                true => Ok(definition),
                false => Err(unlike("a task's wake-up")),
            }
        }
    }

    /// A step with an exception is to have it where one without has nothing.
    fn check_exception(&self, step_class: &Bound<'py, PyType>, at: usize) -> PyResult<()> {
        let py = self.class.py();
        let coroutine = self.laboratory.yielding(step_class.as_any())?;
        let context = crate::ffi::context::copy_current(py)?;
        let task = self.make(&coroutine, &context)?;
        let first = self
            .laboratory
            .scheduled()
            .ok_or_else(|| unlike("a task's first step"))?;
        let is_empty = words(&first)[at] == 0;
        first.call0()?;
        let second = self
            .laboratory
            .scheduled()
            .ok_or_else(|| unlike("a task's step"))?;
        let is_as_expected = is_empty
            && second.get_type().is(step_class)
            && words(&second)[at] != 0
            && !second.is(&first);
        // The exception that is thrown ends the task.
        second.call0()?;
        let is_told = task
            .call_method0("exception")?
            .is_instance_of::<pyo3::exceptions::PyRuntimeError>();
        match is_as_expected && is_told {
            true => Ok(()),
            false => Err(unlike("a task's step")),
        }
    }

    fn must_cancel(&self) -> PyResult<Bit> {
        let py = self.class.py();
        let coroutine = self.laboratory.yielding(self.class.as_any())?;
        let context = crate::ffi::context::copy_current(py)?;
        let task = self.make(&coroutine, &context)?;
        let step = self
            .laboratory
            .scheduled()
            .ok_or_else(|| unlike("a task's first step"))?;
        task.setattr("_cancel_message", py.None())?;
        let before = bytes(&task);
        task.call_method0("cancel")?;
        let once = bytes(&task);
        // The number of requests changes its lowest bit back; what is left is the flag.
        task.call_method0("cancel")?;
        let twice = bytes(&task);
        let bit = only_bit(
            |byte| once[byte] & twice[byte] & !before[byte],
            before.len(),
        );
        let is_shown = task.getattr(names::_must_cancel(py))?.is_truthy()?;
        step.call0()?;
        let is_over = task.call_method0("cancelled")?.is_truthy()?;
        let after = bytes(&task);
        match (bit?, is_shown && is_over) {
            (bit, true) if after[bit.byte - size_of::<ffi::PyObject>()] & bit.mask == 0 => Ok(bit),
            _ => Err(unlike("a task's flag")),
        }
    }

    fn make(
        &self,
        coroutine: &Bound<'py, PyAny>,
        context: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = coroutine.py();
        let keywords = PyDict::new(py);
        keywords.set_item("loop", self.laboratory.event_loop())?;
        keywords.set_item("context", context)?;
        // A name of its own: the program's first task is to be the first that asyncio counts.
        keywords.set_item("name", "trial")?;
        let task =
            call::with_keywords(self.class, &PyTuple::new(py, [coroutine])?, Some(&keywords))?;
        // Should the experiment fail, nothing is to be said of it.
        task.setattr(names::_log_destroy_pending(py), false)?;
        Ok(task)
    }
}

/// The object's own words, without its head.
fn words(object: &Bound<'_, PyAny>) -> Vec<usize> {
    parts(object)
}

fn halves(object: &Bound<'_, PyAny>) -> Vec<u32> {
    parts(object)
}

fn bytes(object: &Bound<'_, PyAny>) -> Vec<u8> {
    parts(object)
}

fn parts<T: Copy>(object: &Bound<'_, PyAny>) -> Vec<T> {
    let head = size_of::<ffi::PyObject>();
    // SAFETY: the object is live and has the size that its type says. A future's or task's memory was set to zero when it was
    // made (`PyType_GenericAlloc`), so that there is no part of it that nobody has written; a step's is all fields.
    unsafe {
        let size = (*ffi::Py_TYPE(object.as_ptr()))
            .tp_basicsize
            .cast_unsigned();
        let count = (size - head) / size_of::<T>();
        let first = object.as_ptr().byte_add(head).cast::<T>();
        (0..count).map(|index| first.add(index).read()).collect()
    }
}

fn address(object: &Bound<'_, PyAny>) -> usize {
    object.as_ptr() as usize
}

fn offset(word: usize) -> usize {
    size_of::<ffi::PyObject>() + word * WORD
}

fn count_changed<T: PartialEq>(before: &[T], after: &[T]) -> usize {
    before
        .iter()
        .zip(after)
        .filter(|(before, after)| before != after)
        .count()
}

/// The place of the only `true`.
fn only(places: impl Iterator<Item = bool>) -> PyResult<usize> {
    let mut found = places
        .enumerate()
        .filter_map(|(index, is_it)| is_it.then_some(index));
    match (found.next(), found.next()) {
        (Some(index), None) => Ok(index),
        _ => Err(unlike("an object")),
    }
}

/// The only bit that is set.
fn only_bit(byte: impl Fn(usize) -> u8, count: usize) -> PyResult<Bit> {
    let index = only((0..count).map(|index| byte(index) != 0))?;
    let mask = byte(index);
    match mask.is_power_of_two() {
        true => Ok(Bit {
            byte: size_of::<ffi::PyObject>() + index,
            mask,
        }),
        false => Err(unlike("a flag")),
    }
}

#[cold]
fn unlike(what: &str) -> PyErr {
    PyTypeError::new_err(format!("{what} is not what it was when this was written"))
}
