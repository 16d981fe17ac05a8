//! State that belongs to a loop and is reached only by threads that hold the GIL.

use pyo3::prelude::*;

/// A value that is neither `Send` nor `Sync` inside a Python object that has to be both.
///
/// Python may call, and drop, any object from any thread; the GIL makes these threads take turns. So the value is
/// handed out to whoever proves to be attached. What Rust's own types may assume of a single thread (a `Cell`, an `Rc`) holds under
/// such turns, for the GIL also orders memory between them.
pub(crate) struct Attached<T>(T);

// SAFETY: `get` is the only way to the value and asks for an attached thread; a `#[pyclass]` that owns one is dropped by CPython's
// deallocator, attached too. Under `gil_used = true` (`lib.rs`), which has a free-threaded interpreter take its GIL back, no two threads
// are attached at once.
unsafe impl<T> Send for Attached<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Attached<T> {}

impl<T> Attached<T> {
    pub(crate) fn new(_py: Python<'_>, value: T) -> Self {
        Self(value)
    }

    #[inline]
    pub(crate) fn get<'a>(&'a self, _py: Python<'a>) -> &'a T {
        &self.0
    }

    /// The value, for a garbage collector's visit: the collector holds the GIL, but PyO3 gives a visit no token to prove it.
    pub(crate) fn for_collector(&self) -> &T {
        &self.0
    }
}
