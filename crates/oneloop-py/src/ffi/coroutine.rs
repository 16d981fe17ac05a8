//! Native coroutines: the slots by which CPython drives one, over what a payload does.
//!
//! Three entries lead to the same step. `PyIter_Send`, which asyncio's C tasks use, takes `am_send`, where a result costs no exception;
//! `await` in Python code takes `tp_iternext` on most versions, and `send()` is for everybody else: both report a result as
//! `StopIteration`. `tp_iternext` may leave that out where the result is `None`.

use std::ffi::c_void;
use std::ptr::null_mut;

use pyo3::exceptions::PyStopIteration;
use pyo3::ffi::{self, PyObject, PySendResult};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::method::Special;
use super::raw_type::{Payload, payload_of};
use super::{entry, error};

/// What one step of a coroutine comes to.
pub(crate) enum Step<'py> {
    /// It waits, and says for what.
    Yielded(Bound<'py, PyAny>),
    /// It is over.
    Returned(Bound<'py, PyAny>),
}

/// What a coroutine does, on its payload. `object` is always the coroutine that the payload is in.
pub(crate) trait Coroutine: Payload {
    /// Goes on until it waits or is over.
    ///
    /// # Errors
    /// What it raises; it is over then.
    fn step<'py>(
        &self,
        object: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Step<'py>>;

    /// Refuses to be awaited, if it cannot be.
    ///
    /// # Errors
    /// `RuntimeError`.
    fn check_awaitable(&self) -> PyResult<()>;
}

/// What `python -m asyncio ps` reads of another process's memory where a task's coroutine should be: it takes every one for CPython's own,
/// and asks a byte whether there is a frame to follow. Wherever in here that byte is, it says that there is none.
///
/// A coroutine of Cython's, say, has nothing of the kind, and whether the table is shown is luck.
pub(crate) struct Guise {
    _frame_states: [u8; Self::SIZE],
}

impl Guise {
    /// From 3.14 on, up to behind the byte; see `_PyGenObject_HEAD`.
    const SIZE: usize = if cfg!(Py_3_14) { 56 } else { 0 };
    /// `FRAME_CLEARED`.
    const CLEARED: u8 = if cfg!(Py_3_15) { 5 } else { 4 };

    pub(crate) fn new() -> Self {
        Self {
            _frame_states: [Self::CLEARED; Self::SIZE],
        }
    }
}

/// `coroutine.send(value)`, of whatever can be stepped, in the way that costs no exception.
///
/// # Errors
/// What it raises.
pub(crate) fn step<'py>(
    coroutine: &Bound<'py, PyAny>,
    value: &Bound<'py, PyAny>,
) -> PyResult<Step<'py>> {
    let py = coroutine.py();
    let mut result = null_mut();
    // SAFETY: both objects are live and borrowed for the call. The result is a new reference unless it failed.
    unsafe {
        match ffi::PyIter_Send(coroutine.as_ptr(), value.as_ptr(), &raw mut result) {
            PySendResult::PYGEN_NEXT => Ok(Step::Yielded(Bound::from_owned_ptr(py, result))),
            PySendResult::PYGEN_RETURN => Ok(Step::Returned(Bound::from_owned_ptr(py, result))),
            PySendResult::PYGEN_ERROR => Err(error::fetch(py)),
        }
    }
}

/// The slots of a coroutine with that payload.
pub(crate) fn slots<P: Coroutine>() -> Vec<Special<P>> {
    vec![
        Special::new(
            ffi::Py_am_await,
            await_::<P> as ffi::unaryfunc as *mut c_void,
        ),
        Special::new(ffi::Py_am_send, send::<P> as ffi::sendfunc as *mut c_void),
        Special::new(
            ffi::Py_tp_iter,
            await_::<P> as ffi::unaryfunc as *mut c_void,
        ),
        Special::new(
            ffi::Py_tp_iternext,
            next::<P> as ffi::iternextfunc as *mut c_void,
        ),
    ]
}

/// The exception by which a coroutine that is not driven by `am_send` reports its result.
pub(crate) fn stop_iteration(result: Bound<'_, PyAny>) -> PyErr {
    // In a tuple of its own, so that a result that is a tuple or an exception is not taken for the arguments or the exception itself.
    PyStopIteration::new_err((result.unbind(),))
}

unsafe extern "C" fn await_<P: Coroutine>(object: *mut PyObject) -> *mut PyObject {
    let run = |py: Python<'_>| {
        // SAFETY: CPython calls the slot with a live object of this type and holds it; there are no subclasses.
        let owner = unsafe { Bound::from_borrowed_ptr(py, object) };
        // SAFETY: of that type, and held by `owner`.
        let payload = unsafe { payload_of::<P>(owner.as_ptr()) };
        payload.check_awaitable()?;
        Ok(owner.into_ptr())
    };
    // SAFETY: called by CPython, so the thread is attached.
    unsafe { entry::enter(run) }
}

unsafe extern "C" fn send<P: Coroutine>(
    object: *mut PyObject,
    value: *mut PyObject,
    result: *mut *mut PyObject,
) -> PySendResult {
    let run = |py: Python<'_>| {
        // SAFETY: as in `await_`; the value is a live object that the caller holds.
        let (owner, value) = unsafe {
            (
                Bound::from_borrowed_ptr(py, object),
                Bound::from_borrowed_ptr(py, value),
            )
        };
        // SAFETY: as in `await_`.
        let payload = unsafe { payload_of::<P>(owner.as_ptr()) };
        let (answer, code) = match payload.step(&owner, &value)? {
            Step::Yielded(waits_for) => (waits_for, PySendResult::PYGEN_NEXT),
            Step::Returned(value) => (value, PySendResult::PYGEN_RETURN),
        };
        // SAFETY: the caller's own place for the result, which takes over the reference.
        unsafe { result.write(answer.into_ptr()) };
        Ok(code)
    };
    // SAFETY: the caller's place; NULL is what goes with an error. Called by CPython, so the thread is attached.
    unsafe {
        result.write(null_mut());
        entry::enter(run)
    }
}

unsafe extern "C" fn next<P: Coroutine>(object: *mut PyObject) -> *mut PyObject {
    let run = |py: Python<'_>| {
        // SAFETY: as in `await_`.
        let owner = unsafe { Bound::from_borrowed_ptr(py, object) };
        // SAFETY: as in `await_`.
        let payload = unsafe { payload_of::<P>(owner.as_ptr()) };
        match payload.step(&owner, py.None().bind(py))? {
            Step::Yielded(waits_for) => Ok(waits_for.into_ptr()),
            Step::Returned(value) if value.is_none() => Ok(null_mut()),
            Step::Returned(value) if value.is_exact_instance_of::<PyBytes>() => {
                // By itself, which no tuple and no exception could be: at a fraction of the price.
                // SAFETY: both objects are live; this is how a C iterator returns a value.
                unsafe { ffi::PyErr_SetObject(ffi::PyExc_StopIteration, value.as_ptr()) };
                Ok(null_mut())
            }
            Step::Returned(value) => Err(stop_iteration(value)),
        }
    };
    // SAFETY: called by CPython, so the thread is attached.
    unsafe { entry::enter(run) }
}
