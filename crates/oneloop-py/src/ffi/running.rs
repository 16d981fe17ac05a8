//! Which loop runs on this thread, as asyncio's C code knows it: what a future takes for its loop if it is told none.
//!
//! A program may have set it to another loop than the one that runs here, or to none, at any time; so it is asked for each time, of the C
//! function itself.

use std::ptr::null_mut;

use pyo3::ffi;
use pyo3::prelude::*;

/// `_asyncio._get_running_loop`.
pub(crate) struct Running {
    function: ffi::PyCFunction,
    /// Keeps the function and the module that it belongs to.
    object: Py<PyAny>,
}

impl Running {
    /// That function, if it is C code that takes nothing; `None` for any other object.
    pub(crate) fn of(function: &Bound<'_, PyAny>) -> Option<Self> {
        let object = function.as_ptr();
        // SAFETY: the object is live, and read as what its exact type says it is.
        let function_pointer = unsafe {
            let is_plain = ffi::PyCFunction_CheckExact(object) != 0
                && ffi::PyCFunction_GetFlags(object) == ffi::METH_NOARGS;
            is_plain.then(|| ffi::PyCFunction_GetFunction(object))??
        };
        Some(Self {
            function: function_pointer,
            object: function.clone().unbind(),
        })
    }

    /// Whether `event_loop` is it.
    #[inline]
    pub(crate) fn is(&self, event_loop: &Bound<'_, PyAny>) -> bool {
        let py = event_loop.py();
        // SAFETY: the function's own pointer, called by its convention: with what it is bound to, which `object` keeps, and NULL. The
        // result is a new reference, or NULL with an exception set.
        unsafe {
            let bound_to = ffi::PyCFunction_GetSelf(self.object.as_ptr());
            match Bound::from_owned_ptr_or_opt(py, (self.function)(bound_to, null_mut())) {
                Some(running) => running.is(event_loop),
                None => {
                    ffi::PyErr_Clear();
                    false
                }
            }
        }
    }
}
