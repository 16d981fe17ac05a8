//! Objects that free one another stay within the stack.
//!
//! A handle may own a handle that owns a handle, a million deep. CPython defers such deallocations past some depth; the way to ask it for
//! that is private and another one in each version, until 3.14 does it for every collected type by itself. Before that, the deallocators of
//! this directory count their own depth: past a limit an object waits in a list of the thread's, which whoever is not deep empties.

#[cfg(Py_3_14)]
pub(super) use unbounded::free;

#[cfg(not(Py_3_14))]
pub(super) use bounded::free;

#[cfg(Py_3_14)]
mod unbounded {
    use pyo3::ffi::{PyObject, destructor};

    /// Frees an object that nobody refers to.
    ///
    /// # Safety
    /// As `dealloc` asks.
    #[inline]
    pub(in super::super) unsafe fn free(object: *mut PyObject, dealloc: destructor) {
        // SAFETY: the caller's.
        unsafe { dealloc(object) };
    }
}

#[cfg(not(Py_3_14))]
mod bounded {
    use std::cell::{Cell, RefCell};

    use pyo3::ffi::{PyObject, destructor};

    /// From this depth on objects wait.
    const LIMIT: usize = 50;
    /// Below this depth those that wait are freed: well below the limit, so that each then has room for some of its own. Not only at the
    /// outermost one: code that a deallocation ran may switch to another stack (greenlets) and never come back.
    const SHALLOW: usize = LIMIT / 2;

    thread_local! {
        static DEPTH: Depth = const { Depth { now: Cell::new(0), waiting: Cell::new(0) } };
        static WAITING: RefCell<Vec<(*mut PyObject, destructor)>> = const { RefCell::new(Vec::new()) };
    }

    struct Depth {
        now: Cell<usize>,
        /// How many objects wait: a look that needs no destructor of the thread's.
        waiting: Cell<usize>,
    }

    /// Frees an object that nobody refers to, now or when the stack has become shallow.
    ///
    /// # Safety
    /// As `dealloc` asks, also later on this thread: the object is untracked.
    #[inline]
    pub(in super::super) unsafe fn free(object: *mut PyObject, dealloc: destructor) {
        DEPTH.with(|depth| {
            let outer = depth.now.get();
            if outer >= LIMIT && defer(depth, object, dealloc) {
                return;
            }
            depth.now.set(outer + 1);
            // SAFETY: the caller's.
            unsafe { dealloc(object) };
            if outer < SHALLOW && depth.waiting.get() > 0 {
                free_waiting(depth);
            }
            depth.now.set(outer);
        });
    }

    /// Whether the object waits now: not when the thread is ending.
    #[cold]
    fn defer(depth: &Depth, object: *mut PyObject, dealloc: destructor) -> bool {
        let pushed = WAITING.try_with(|waiting| waiting.borrow_mut().push((object, dealloc)));
        if pushed.is_ok() {
            depth.waiting.set(depth.waiting.get() + 1);
        }
        pushed.is_ok()
    }

    #[cold]
    fn free_waiting(depth: &Depth) {
        while let Ok(Some((object, dealloc))) =
            WAITING.try_with(|waiting| waiting.borrow_mut().pop())
        {
            depth.waiting.set(depth.waiting.get() - 1);
            // SAFETY: `free` was given it with that function and deferred it; it was taken out, so it is freed once.
            unsafe { dealloc(object) };
        }
    }
}
