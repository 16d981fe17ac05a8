//! Where Python enters Rust through a raw function pointer: the panic guard, written once.
//!
//! A panic becomes a `PanicException`, as in PyO3's own methods. The thread is also announced to PyO3
//! (`attach_unchecked`): its count of attachments decides whether a `Py` that is dropped is released
//! at once or kept for later, and CPython calls a raw slot without passing through PyO3.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;

use pyo3::ffi::{PyObject, PySendResult};
use pyo3::panic::PanicException;
use pyo3::prelude::*;

use super::exit;

/// What a C function returns to say that an exception is set.
pub(super) trait Failure {
    /// That value.
    const FAILED: Self;
}

impl Failure for *mut PyObject {
    const FAILED: Self = null_mut();
}

impl Failure for std::ffi::c_int {
    const FAILED: Self = -1;
}

impl Failure for PySendResult {
    const FAILED: Self = Self::PYGEN_ERROR;
}

/// Runs `body`, and turns an error or a panic into Python's current exception.
///
/// # Safety
/// The calling thread is attached, as it is wherever CPython calls a slot or a method.
pub(super) unsafe fn enter<R: Failure>(
    body: impl for<'py> FnOnce(Python<'py>) -> PyResult<R>,
) -> R {
    exit::protect_thread();
    // What `body` captures is owned by this call alone, and payloads change by whole moves only, so a
    // panic in the middle leaves nothing half done behind.
    let guarded = AssertUnwindSafe(|| {
        // SAFETY: attached, by this function's contract.
        unsafe { Python::attach_unchecked(body) }
    });
    let error = match catch_unwind(guarded) {
        Ok(Ok(value)) => return value,
        Ok(Err(error)) => error,
        Err(panic) => PanicException::new_err(message(panic)),
    };
    // SAFETY: attached, by this function's contract.
    error.restore(unsafe { Python::assume_attached() });
    R::FAILED
}

/// As [`enter`], without announcing the thread to PyO3: for a method that other threads than the loop's call often, where that costs as much
/// as to ask for the GIL.
///
/// Whatever `Py` `body` drops on a thread that PyO3 does not know is kept until somebody attaches, so it drops none but by `into_bound`.
///
/// # Safety
/// The calling thread is attached.
pub(super) unsafe fn enter_unannounced<R: Failure>(
    body: impl for<'py> FnOnce(Python<'py>) -> PyResult<R>,
) -> R {
    exit::protect_thread();
    // SAFETY: attached, by this function's contract.
    let py = unsafe { Python::assume_attached() };
    // As in `enter`.
    let error = match catch_unwind(AssertUnwindSafe(|| body(py))) {
        Ok(Ok(value)) => return value,
        Ok(Err(error)) => error,
        Err(panic) => PanicException::new_err(message(panic)),
    };
    error.restore(py);
    R::FAILED
}

/// Runs `body` where no error can be reported to a caller, a panic least of all.
///
/// # Safety
/// The calling thread is attached.
pub(super) unsafe fn enter_infallible(body: impl for<'py> FnOnce(Python<'py>)) {
    exit::protect_thread();
    // SAFETY: attached, by this function's contract. Unlike `enter` this takes no attachment of PyO3's:
    // CPython frees objects very late in its own shutdown, when asking for a thread state is not safe.
    let py = unsafe { Python::assume_attached() };
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(py))) {
        PanicException::new_err(message(panic)).write_unraisable(py, None);
    }
}

#[cold]
fn message(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => match panic.downcast::<&'static str>() {
            Ok(text) => (*text).to_owned(),
            Err(_) => "panic from Rust code".to_owned(),
        },
    }
}
