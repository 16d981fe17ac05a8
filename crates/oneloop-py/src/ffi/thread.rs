//! The loop's thread and the interpreter: which it is, giving up the GIL, running signal handlers, and where Python was left.

use std::ffi::c_ulong;

use pyo3::ffi;
use pyo3::prelude::*;

use super::error;

/// Runs the Python-level signal handlers that are due; does nothing outside the main thread.
///
/// # Errors
/// What a handler raised, `KeyboardInterrupt` for one.
pub(crate) fn check_signals(py: Python<'_>) -> PyResult<()> {
    // SAFETY: `py` proves that the thread is attached.
    match unsafe { ffi::PyErr_CheckSignals() } {
        0 => Ok(()),
        _ => Err(error::fetch(py)),
    }
}

/// A number that the calling thread has to itself while it lives, never zero: as `threading.get_ident()`.
#[inline]
pub(crate) fn ident(_: Python<'_>) -> c_ulong {
    // SAFETY: asks nothing of its caller.
    unsafe { ffi::PyThread_get_thread_ident() }
}

/// Whether this is the interpreter that the process began with, and not one that was made inside it.
pub(crate) fn is_in_main_interpreter(_: Python<'_>) -> bool {
    // SAFETY: the token proves that the thread is attached, to the interpreter that the first call answers; the addresses are compared.
    unsafe { ffi::PyInterpreterState_Get() == ffi::PyInterpreterState_Main() }
}

/// Runs `f` with the GIL released and takes it back, also when `f` panics.
///
/// Unlike `Python::detach` it asks for no `Send`: a loop's state belongs to the thread that runs it,
/// is not `Send`, and stays on this very thread. What the compiler therefore does not check is left to
/// the caller: **`f` touches nothing of Python's**, no `Bound`, no token. A `Py` that is dropped inside is
/// fine; PyO3 keeps it until the GIL is back.
pub(crate) fn detach<R>(py: Python<'_>, f: impl FnOnce() -> R) -> R {
    struct SameThread<T>(T);
    // SAFETY: `Python::detach` runs the closure on the calling thread; `Send` stands in for "holds
    // nothing that needs the GIL", which this function's contract demands.
    unsafe impl<T> Send for SameThread<T> {}
    impl<F: FnOnce() -> R, R> SameThread<F> {
        // A method, so that the closure captures the wrapper and not the field inside it.
        fn run(self) -> SameThread<R> {
            SameThread((self.0)())
        }
    }

    let task = SameThread(f);
    py.detach(move || task.run()).0
}

/// The Python frame that called into this code, or `None`.
pub(crate) fn current_frame(py: Python<'_>) -> Bound<'_, PyAny> {
    // SAFETY: `py` proves that the thread is attached; the frame is borrowed from the thread's stack.
    let frame = unsafe { Bound::from_borrowed_ptr_or_opt(py, ffi::PyEval_GetFrame().cast()) };
    frame.unwrap_or_else(|| py.None().into_bound(py))
}
