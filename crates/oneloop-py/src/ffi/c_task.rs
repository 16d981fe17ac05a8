//! Futures and tasks of asyncio's C code, by the places of their fields.
//!
//! The places are private to CPython: `learn` finds them by experiment, by what the objects' own public attributes say, and nothing here is
//! used where it did not find every one of them, once each. What is written is what the C code writes at the same point of a step, with the
//! same ownership. Only objects whose class is known get this far: [`Layout::future`] looks at the class, and [`Layout::step`] at callables
//! that nobody but the C code makes.

mod learn;

use std::ptr::null_mut;

use pyo3::ffi::{self, PyMethodDef, PyObject};
use pyo3::prelude::*;
use pyo3::types::PyType;

pub(crate) use self::learn::{Laboratory, learn};
use super::error;

/// Where the fields are, in bytes from the object's beginning.
pub(crate) struct Layout {
    future: Py<PyType>,
    task: Py<PyType>,
    /// Of futures, tasks included.
    event_loop: usize,
    callback: usize,
    callback_context: usize,
    more_callbacks: usize,
    result: usize,
    exception: usize,
    state: usize,
    is_blocking: Bit,
    /// From 3.14 on: who awaits it, or a set of them.
    awaited_by: Option<usize>,
    /// Of tasks.
    coroutine: usize,
    context: usize,
    waits_for: usize,
    must_cancel: Bit,
    /// Of what a task passes to `call_soon` for its next step.
    step_class: Py<PyType>,
    step_task: usize,
    step_exception: usize,
    /// Of what a task adds to the future that it waits for: a built-in function bound to the task.
    wakeup: *mut PyMethodDef,
}

// SAFETY: the definition is static data of `_asyncio`, which is never unloaded; it is compared and passed on, with the GIL held.
unsafe impl Send for Layout {}
// SAFETY: as above.
unsafe impl Sync for Layout {}

/// One bit of an object.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Bit {
    byte: usize,
    mask: u8,
}

/// The value of a future's state that its result has.
const PENDING: u32 = 0;
const CANCELLED: u32 = 1;
const FINISHED: u32 = 2;

/// A future or task of exactly asyncio's own classes.
pub(crate) struct Future<'a, 'py>(&'a Layout, &'a Bound<'py, PyAny>);

/// A task that asyncio's C code has scheduled a step of, of whatever class below its own.
pub(crate) struct Task<'a, 'py>(&'a Layout, &'a Bound<'py, PyAny>);

/// What a task that has ended asks its loop for.
pub(crate) enum Ended<'py> {
    /// Nothing: nobody waits for it.
    Alone,
    /// To call this with the task, in this context.
    Then {
        callback: Bound<'py, PyAny>,
        context: Bound<'py, PyAny>,
    },
}

/// What such a callable does.
pub(crate) enum Known<'py> {
    /// A step without an exception.
    Step(Bound<'py, PyAny>),
    /// A step by the result of the future that it is called with.
    Wakeup(Bound<'py, PyAny>),
}

impl Layout {
    /// What `callable` does if it is a step of a task.
    #[inline]
    pub(crate) fn step<'py>(&self, callable: &Bound<'py, PyAny>) -> Option<Known<'py>> {
        let py = callable.py();
        let object = callable.as_ptr();
        // SAFETY: the object is live and read as what its exact type says: a built-in function by its public structure, a step by the
        // places that were learned for this very class. What is found is held before anything else runs.
        unsafe {
            if ffi::Py_TYPE(object) == &raw mut ffi::PyCFunction_Type {
                let function = object.cast::<ffi::PyCFunctionObject>();
                if (*function).m_ml != self.wakeup {
                    return None;
                }
                let task = Bound::from_borrowed_ptr_or_opt(py, (*function).m_self)?;
                return Some(Known::Wakeup(task));
            }
            if ffi::Py_TYPE(object) != self.step_class.as_ptr().cast()
                || !(*place::<*mut PyObject>(object, self.step_exception)).is_null()
            {
                return None;
            }
            let task = Bound::from_borrowed_ptr_or_opt(py, *place(object, self.step_task))?;
            Some(Known::Step(task))
        }
    }

    /// That object, if it is a future or task of asyncio's own.
    #[inline]
    pub(crate) fn future<'a, 'py>(
        &'a self,
        object: &'a Bound<'py, PyAny>,
    ) -> Option<Future<'a, 'py>> {
        let py = object.py();
        let is_own = object.is_exact_instance(self.future.bind(py))
            || object.is_exact_instance(self.task.bind(py));
        is_own.then_some(Future(self, object))
    }

    /// A task that [`Layout::step`] has answered.
    #[inline]
    pub(crate) fn task<'a, 'py>(&'a self, task: &'a Bound<'py, PyAny>) -> Option<Task<'a, 'py>> {
        // SAFETY: both are live types or objects.
        let is_task = task.is_exact_instance(self.task.bind(task.py()))
            || unsafe { ffi::PyObject_TypeCheck(task.as_ptr(), self.task.as_ptr().cast()) != 0 };
        is_task.then_some(Task(self, task))
    }

    /// What a task adds to the future that it waits for, made as the C code makes it.
    ///
    /// # Errors
    /// `MemoryError`.
    #[inline]
    pub(crate) fn wakeup<'py>(&self, task: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        // SAFETY: the definition is that of a function that takes a task as its `self`; the result is a new reference, or NULL with an
        // exception set.
        unsafe {
            let made = ffi::PyCFunction_NewEx(self.wakeup, task.as_ptr(), null_mut());
            Bound::from_owned_ptr_or_opt(task.py(), made).ok_or_else(|| error::fetch(task.py()))
        }
    }
}

impl<'py> Future<'_, 'py> {
    /// Whether it has a result, and no exception.
    #[inline]
    pub(crate) fn has_result(&self) -> bool {
        // SAFETY: an object of a class whose layout was learned, held by the caller.
        unsafe {
            *place::<u32>(self.1.as_ptr(), self.0.state) == FINISHED
                && (*place::<*mut PyObject>(self.1.as_ptr(), self.0.exception)).is_null()
        }
    }

    /// Says that the task awaits it, where nobody else does: whether it has.
    #[inline]
    pub(crate) fn add_awaited_by(&self, task: &Bound<'py, PyAny>) -> bool {
        let Some(awaited_by) = self.0.awaited_by else {
            return false;
        };
        // SAFETY: an object of a class whose layout was learned, held by the caller. The field was NULL and owns what is put there.
        unsafe {
            let place = place::<*mut PyObject>(self.1.as_ptr(), awaited_by);
            let is_free = (*place).is_null();
            if is_free {
                *place = task.clone().into_ptr();
            }
            is_free
        }
    }

    /// Says that the task does not any more, where nobody else does: whether it has.
    #[inline]
    pub(crate) fn discard_awaited_by(&self, task: &Bound<'py, PyAny>) -> bool {
        let Some(awaited_by) = self.0.awaited_by else {
            return false;
        };
        // SAFETY: as above; the field's reference to the task, which the caller holds, too, is given back.
        unsafe {
            let place = place::<*mut PyObject>(self.1.as_ptr(), awaited_by);
            let is_it = *place == task.as_ptr();
            if is_it {
                *place = null_mut();
                ffi::Py_DECREF(task.as_ptr());
            }
            is_it
        }
    }

    /// Has `task` wait for it, if this is all that its C code would do: whether it is.
    ///
    /// # Errors
    /// `MemoryError`, of `wakeup`.
    #[inline]
    pub(crate) fn is_waited_for_by(
        &self,
        task: &Task<'_, 'py>,
        wakeup: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<bool> {
        let Self(layout, future) = self;
        let (own, other) = (task.1.as_ptr(), future.as_ptr());
        // SAFETY: objects of classes whose layout was learned, held by the caller.
        let is_simple = unsafe {
            let context = *place::<*mut PyObject>(own, layout.context);
            *place::<u32>(other, layout.state) == PENDING
                && (*place::<*mut PyObject>(other, layout.callback)).is_null()
                && (*place::<*mut PyObject>(other, layout.more_callbacks)).is_null()
                && (*place::<*mut PyObject>(other, layout.callback_context)).is_null()
                && *place::<*mut PyObject>(other, layout.event_loop)
                    == *place::<*mut PyObject>(own, layout.event_loop)
                && layout.is_blocking.is_set(other)
                && !layout.must_cancel.is_set(own)
                && (*place::<*mut PyObject>(own, layout.waits_for)).is_null()
                && !context.is_null()
                && own != other
        };
        if !is_simple {
            return Ok(false);
        }
        // Allocating may collect garbage, and so run anything: what was looked at is looked at again.
        let wakeup = wakeup()?;
        // SAFETY: as above. Each field that is written was NULL and becomes a new reference, as the C code would have it; nothing runs in
        // between.
        unsafe {
            let callback = place::<*mut PyObject>(other, layout.callback);
            let callback_context = place::<*mut PyObject>(other, layout.callback_context);
            let waits_for = place::<*mut PyObject>(own, layout.waits_for);
            let context = *place::<*mut PyObject>(own, layout.context);
            let is_still_so = *place::<u32>(other, layout.state) == PENDING
                && (*callback).is_null()
                && (*place::<*mut PyObject>(other, layout.more_callbacks)).is_null()
                && (*callback_context).is_null()
                && (*waits_for).is_null()
                && !context.is_null()
                && layout.is_blocking.is_set(other)
                && !layout.must_cancel.is_set(own);
            if !is_still_so {
                return Ok(false);
            }
            layout.is_blocking.set(other, false);
            *callback = wakeup.into_ptr();
            ffi::Py_INCREF(context);
            *callback_context = context;
            ffi::Py_INCREF(other);
            *waits_for = other;
        }
        Ok(true)
    }
}

impl<'py> Task<'_, 'py> {
    /// Whether its next step is nothing but going on with its coroutine.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        let object = self.1.as_ptr();
        // SAFETY: a task, whose layout was learned, held by the caller.
        unsafe {
            *place::<u32>(object, self.0.state) == PENDING
                && !self.0.must_cancel.is_set(object)
                && !(*place::<*mut PyObject>(object, self.0.coroutine)).is_null()
                && !(*place::<*mut PyObject>(object, self.0.event_loop)).is_null()
        }
    }

    /// Whether it is to be cancelled at its next step.
    #[inline]
    pub(crate) fn must_cancel(&self) -> bool {
        // SAFETY: as in `is_plain`.
        unsafe { self.0.must_cancel.is_set(self.1.as_ptr()) }
    }

    /// Says whether it is.
    pub(crate) fn set_must_cancel(&self, must_cancel: bool) {
        // SAFETY: as in `is_plain`; the bit is the field's, as was found.
        unsafe { self.0.must_cancel.set(self.1.as_ptr(), must_cancel) }
    }

    /// It ends with that result, if no more than one callback is to be told, and if there is one `can_ask` says that what is answered is
    /// done.
    #[inline]
    pub(crate) fn end(&self, result: &Bound<'py, PyAny>, can_ask: bool) -> Option<Ended<'py>> {
        let (layout, object, py) = (self.0, self.1.as_ptr(), self.1.py());
        // SAFETY: as in `is_plain`. The result's field was NULL and becomes a new reference; what the other two own goes to the caller.
        // Nothing runs in between.
        unsafe {
            let state = place::<u32>(object, layout.state);
            let own = place::<*mut PyObject>(object, layout.result);
            let callback = place::<*mut PyObject>(object, layout.callback);
            let context = place::<*mut PyObject>(object, layout.callback_context);
            let is_simple = *state == PENDING
                && (*own).is_null()
                && (*place::<*mut PyObject>(object, layout.exception)).is_null()
                && (*place::<*mut PyObject>(object, layout.more_callbacks)).is_null()
                && match (*callback).is_null() {
                    true => (*context).is_null(),
                    false => {
                        can_ask && !(*context).is_null() && ffi::PyContext_CheckExact(*context) != 0
                    }
                };
            if !is_simple {
                return None;
            }
            *own = result.clone().into_ptr();
            *state = FINISHED;
            if (*callback).is_null() {
                return Some(Ended::Alone);
            }
            Some(Ended::Then {
                callback: Bound::from_owned_ptr(py, callback.replace(null_mut())),
                context: Bound::from_owned_ptr(py, context.replace(null_mut())),
            })
        }
    }

    #[inline]
    pub(crate) fn event_loop(&self) -> Option<Bound<'py, PyAny>> {
        self.field(self.0.event_loop)
    }

    #[inline]
    pub(crate) fn coroutine(&self) -> Option<Bound<'py, PyAny>> {
        self.field(self.0.coroutine)
    }

    /// Puts another coroutine into its place, and answers what was there.
    pub(crate) fn replace_coroutine(
        &self,
        coroutine: Bound<'py, PyAny>,
    ) -> Option<Bound<'py, PyAny>> {
        // SAFETY: as in `is_plain`; the field owns what is in it, and the caller gets what it owned.
        unsafe {
            let place = place::<*mut PyObject>(self.1.as_ptr(), self.0.coroutine);
            let old = place.replace(coroutine.into_ptr());
            Bound::from_owned_ptr_or_opt(self.1.py(), old)
        }
    }

    /// It waits for nothing any more: answers what it has waited for.
    #[inline]
    pub(crate) fn take_waited_for(&self) -> Option<Bound<'py, PyAny>> {
        // SAFETY: as in `replace_coroutine`.
        unsafe {
            let place = place::<*mut PyObject>(self.1.as_ptr(), self.0.waits_for);
            Bound::from_owned_ptr_or_opt(self.1.py(), place.replace(null_mut()))
        }
    }

    #[inline]
    fn field(&self, offset: usize) -> Option<Bound<'py, PyAny>> {
        // SAFETY: as in `is_plain`; the reference is taken before anything else runs.
        unsafe { Bound::from_borrowed_ptr_or_opt(self.1.py(), *place(self.1.as_ptr(), offset)) }
    }
}

impl Bit {
    /// # Safety
    /// The object is live, and has that byte.
    #[inline]
    unsafe fn is_set(self, object: *mut PyObject) -> bool {
        // SAFETY: by contract.
        unsafe { *place::<u8>(object, self.byte) & self.mask != 0 }
    }

    /// # Safety
    /// The object is live, and the bit is a field of its own.
    #[inline]
    unsafe fn set(self, object: *mut PyObject, value: bool) {
        // SAFETY: by contract.
        unsafe {
            let byte = place::<u8>(object, self.byte);
            *byte = match value {
                true => *byte | self.mask,
                false => *byte & !self.mask,
            };
        }
    }
}

/// # Safety
/// The object has a field of that type there.
#[inline]
unsafe fn place<T>(object: *mut PyObject, offset: usize) -> *mut T {
    // SAFETY: by contract, within the object.
    unsafe { object.byte_add(offset).cast() }
}
