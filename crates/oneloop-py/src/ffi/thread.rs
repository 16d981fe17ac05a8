//! The loop's thread and the GIL: giving it up, checking signals, and surviving the interpreter's exit.
//!
//! Before 3.14 CPython ends a daemon thread that wants the GIL while the interpreter exits by
//! `pthread_exit` inside `take_gil`. On glibc that unwinds the stack by force, and a forced unwind
//! that reaches a Rust frame which may not unwind, or a `catch_unwind`, aborts the whole process. 3.14
//! hangs such a thread for ever instead. [`survive_exit`] gives every version that behaviour: its
//! drop guard is the first Rust frame on the unwinder's way, and parks the thread there. The process
//! is about to end, and ends it.
//!
//! It only works around a function that is *declared* `extern "C-unwind"`: around a plain `extern "C"`
//! one the compiler leaves the landing pad out. `pyo3::ffi` declares everything `extern "C"` except
//! what takes the GIL itself (`PyGILState_Ensure`, `PyEval_RestoreThread`: guarded there), so the
//! functions that may run Python code for long are declared again, here and in `call`.

use std::ffi::c_int;
use std::mem;
use std::thread;

use pyo3::ffi;
use pyo3::prelude::*;

use super::error;

unsafe extern "C-unwind" {
    fn PyErr_CheckSignals() -> c_int;
}

/// Parks the thread for ever when it is dropped, which only an unwinding stack does.
struct Park;

impl Drop for Park {
    fn drop(&mut self) {
        loop {
            thread::park();
        }
    }
}

/// Runs one C call during which the interpreter may end this thread.
///
/// `call` is a bare call of a function declared `extern "C-unwind"`: a Rust panic in it would hang.
#[inline(always)]
pub(super) fn survive_exit<R>(call: impl FnOnce() -> R) -> R {
    let park = Park;
    let result = call();
    mem::forget(park);
    result
}

/// Runs the Python-level signal handlers that are due; does nothing outside the main thread.
///
/// # Errors
/// What a handler raised, `KeyboardInterrupt` for one.
pub(crate) fn check_signals(py: Python<'_>) -> PyResult<()> {
    // SAFETY: `py` proves that the thread is attached.
    match survive_exit(|| unsafe { PyErr_CheckSignals() }) {
        0 => Ok(()),
        _ => Err(error::fetch(py)),
    }
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
