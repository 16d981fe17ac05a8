//! Methods of a PyO3 class that CPython calls directly.
//!
//! PyO3's own wrapper makes a tuple of `*args` and goes through a table to bind every keyword, which costs more than what the loop's
//! hottest methods do. A method that is added here takes its arguments as they come (`arguments`).

use std::ffi::CStr;

use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::{Borrowed, PyClass};

use super::arguments::Arguments;
use super::{entry, error, method};

/// Adds a method to `class`, under the name and with the documentation that `inspect` and `help` show. Called once for each, while the
/// module is made: the definition is never freed.
///
/// # Errors
/// `MemoryError`.
pub(crate) fn add<T, F>(
    py: Python<'_>,
    name: &'static CStr,
    doc: &'static CStr,
    body: F,
) -> PyResult<()>
where
    T: PyClass<Frozen = True> + Sync,
    F: for<'py> Fn(&Bound<'py, T>, Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>>
        + Copy
        + 'static,
{
    unsafe extern "C" fn call<T, F>(
        object: *mut PyObject,
        values: *const *mut PyObject,
        positional: ffi::Py_ssize_t,
        keywords: *mut PyObject,
    ) -> *mut PyObject
    where
        T: PyClass<Frozen = True> + Sync,
        F: for<'py> Fn(&Bound<'py, T>, Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>>
            + Copy
            + 'static,
    {
        let run = |py: Python<'_>| {
            // SAFETY: the descriptor has checked that the object is of the class or of one below it; the caller holds it during the call.
            let owner = unsafe { Borrowed::from_ptr(py, object).cast_unchecked::<T>() };
            // SAFETY: CPython's own call by this convention, whose caller holds the values until it returns.
            let arguments = unsafe { Arguments::new(py, values, positional, keywords) };
            method::conjure::<F>()(&owner, arguments).map(Bound::into_ptr)
        };
        // SAFETY: called by CPython, so the thread is attached.
        unsafe { entry::enter(run) }
    }

    let _ = body;
    let class = py.get_type::<T>();
    let definition = Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunctionFastWithKeywords: call::<T, F>,
        },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: doc.as_ptr(),
    }));
    // SAFETY: the class is live, and the definition is static from here on; the result is a new reference or NULL with an exception set.
    let descriptor = unsafe {
        let descriptor = ffi::PyDescr_NewMethod(class.as_type_ptr(), definition);
        Bound::from_owned_ptr_or_opt(py, descriptor).ok_or_else(|| error::fetch(py))?
    };
    let name = name.to_str().expect("a name is written here, in ASCII");
    class.setattr(name, descriptor)
}
