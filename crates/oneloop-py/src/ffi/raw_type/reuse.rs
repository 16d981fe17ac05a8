//! Freed objects of one native type, kept for the next one that is made.
//!
//! A loop makes and frees a handle for nearly everything it does, and the way through CPython's allocator and collector costs more than
//! what the handle is for. So a type may keep some: an object in the list has its memory and its type's address and nothing else. It owns
//! no reference, not even to its type; the collector does not know it; its base's fields are zero, as a new object's are.
//!
//! The list is bounded, is emptied when the interpreter exits, and is off where somebody watches allocations: with `PYTHONMALLOC` or
//! `-X dev` (a use after free would hide in it), and with `ONELOOP_FREE_LISTS=0`.

use std::cell::Cell;
use std::env;
use std::ptr;

use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

/// The environment variable that turns the lists off.
const SWITCH: &str = "ONELOOP_FREE_LISTS";

/// The freed objects of one type. Reached with the GIL only.
pub(crate) struct FreeList {
    /// The object that was freed last; each has the address of the next in its payload's first word.
    head: Cell<*mut PyObject>,
    len: Cell<usize>,
    /// How many it may hold: zero until [`FreeList::open`], and again from the interpreter's exit on.
    limit: Cell<usize>,
}

// SAFETY: only code of this directory reaches it, from `RawType`'s methods and a type's deallocator, which hold the GIL (see `ffi`).
unsafe impl Sync for FreeList {}

impl FreeList {
    pub(crate) const fn new() -> Self {
        Self {
            head: Cell::new(ptr::null_mut()),
            len: Cell::new(0),
            limit: Cell::new(0),
        }
    }

    /// Lets it hold up to `limit` objects, unless lists are off; empties it when the interpreter exits.
    ///
    /// # Errors
    /// What registering with `atexit` raises.
    pub(super) fn open(&'static self, py: Python<'_>, limit: usize, offset: usize) -> PyResult<()> {
        if is_watched(py)? {
            return Ok(());
        }
        let close = move |_: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
            self.close(offset);
        };
        let close = PyCFunction::new_closure(py, None, None, close)?;
        py.import("atexit")?.call_method1("register", (close,))?;
        self.limit.set(limit);
        Ok(())
    }

    /// Gives every object's memory back, and keeps none from now on.
    fn close(&self, offset: usize) {
        self.limit.set(0);
        // SAFETY: `keep` was given these by deallocators of the type whose payload is at `offset`; nobody else knows them, and the
        // interpreter still runs.
        unsafe {
            while let Some(object) = self.take(offset) {
                ffi::PyObject_GC_Del(object.cast());
            }
        }
    }

    /// Keeps a freed object, and answers whether it did.
    ///
    /// # Safety
    /// The object is of the list's type, whose payload is at `offset`; it is untracked and owns nothing, its base's fields are zero, and
    /// nobody knows it any more.
    #[inline]
    pub(super) unsafe fn keep(&self, object: *mut PyObject, offset: usize) -> bool {
        let len = self.len.get();
        if len >= self.limit.get() {
            return false;
        }
        // SAFETY: the payload is gone, and is at least a word long and aligned to it (`RawType::build` asserts it).
        unsafe { next_of(object, offset).write(self.head.get()) };
        self.head.set(object);
        self.len.set(len + 1);
        true
    }

    /// An object that was kept.
    ///
    /// # Safety
    /// `offset` is where the type's payload is, and the GIL is held.
    #[inline]
    pub(super) unsafe fn take(&self, offset: usize) -> Option<*mut PyObject> {
        let object = self.head.get();
        if object.is_null() {
            return None;
        }
        // SAFETY: `keep` wrote the next one's address there, and nothing has touched the object since.
        self.head.set(unsafe { next_of(object, offset).read() });
        self.len.set(self.len.get() - 1);
        Some(object)
    }
}

/// Where an object in the list has the next one's address.
///
/// # Safety
/// The payload of the object is at `offset`.
unsafe fn next_of(object: *mut PyObject, offset: usize) -> *mut *mut PyObject {
    // SAFETY: by contract inside the object.
    unsafe { object.byte_add(offset).cast() }
}

/// Whether lists are to be off: told so, or because somebody watches allocations.
fn is_watched(py: Python<'_>) -> PyResult<bool> {
    let is_off = env::var_os(SWITCH).is_some_and(|value| value == "0");
    let has_allocator = env::var_os("PYTHONMALLOC").is_some_and(|name| !name.is_empty());
    let flags = py.import("sys")?.getattr("flags")?;
    Ok(is_off || has_allocator || flags.getattr("dev_mode")?.is_truthy()?)
}
