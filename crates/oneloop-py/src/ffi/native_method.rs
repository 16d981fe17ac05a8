//! Methods of a PyO3 class that CPython calls directly.
//!
//! PyO3's own wrapper makes a tuple of `*args` and goes through a table to bind every keyword, which costs more than what the loop's
//! hottest methods do. A method that is added here takes its arguments as they come (`arguments`).

use std::ffi::CStr;

use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::types::{PyString, PyType};
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
    add_by::<T, F, true>(py, name, doc, body)
}

/// As [`add`], for a method that other threads call often: `entry::enter_unannounced` says what `body` owes in return.
///
/// # Errors
/// `MemoryError`.
pub(crate) fn add_unannounced<T, F>(
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
    add_by::<T, F, false>(py, name, doc, body)
}

fn add_by<T, F, const ANNOUNCED: bool>(
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
    unsafe extern "C" fn call<T, F, const ANNOUNCED: bool>(
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
        unsafe {
            match ANNOUNCED {
                true => entry::enter(run),
                false => entry::enter_unannounced(run),
            }
        }
    }

    let _ = body;
    define(&py.get_type::<T>(), name, doc, call::<T, F, ANNOUNCED>)
}

/// Adds a method to `class`, which may be written in Python. As [`add`].
///
/// # Errors
/// `MemoryError`.
pub(crate) fn add_to<F>(
    class: &Bound<'_, PyType>,
    name: &'static CStr,
    doc: &'static CStr,
    body: F,
) -> PyResult<()>
where
    F: for<'py> Fn(&Bound<'py, PyAny>, Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>>
        + Copy
        + 'static,
{
    unsafe extern "C" fn call<F>(
        object: *mut PyObject,
        values: *const *mut PyObject,
        positional: ffi::Py_ssize_t,
        keywords: *mut PyObject,
    ) -> *mut PyObject
    where
        F: for<'py> Fn(&Bound<'py, PyAny>, Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>>
            + Copy
            + 'static,
    {
        let run = |py: Python<'_>| {
            // SAFETY: a live object, which the caller holds during the call.
            let owner = unsafe { Borrowed::from_ptr(py, object) };
            // SAFETY: as in `add_by`.
            let arguments = unsafe { Arguments::new(py, values, positional, keywords) };
            method::conjure::<F>()(&owner, arguments).map(Bound::into_ptr)
        };
        // SAFETY: called by CPython, so the thread is attached.
        unsafe { entry::enter(run) }
    }

    let _ = body;
    define(class, name, doc, call::<F>)
}

fn define(
    class: &Bound<'_, PyType>,
    name: &'static CStr,
    doc: &'static CStr,
    call: ffi::PyCFunctionFastWithKeywords,
) -> PyResult<()> {
    let py = class.py();
    let definition = Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunctionFastWithKeywords: call,
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

/// Gives `class`, which is below `T`, native methods of its own for all that it inherits from `T`: the same functions, in descriptors of
/// the class's. CPython then knows an object to be of the descriptor's class by comparing one address; otherwise it walks through
/// the object's bases at each call, and calls by the general way.
///
/// # Errors
/// `MemoryError`.
pub(crate) fn adopt<T: PyClass>(class: &Bound<'_, PyType>) -> PyResult<()> {
    let py = class.py();
    let owner = py.get_type::<T>();
    for item in owner
        .getattr("__dict__")?
        .call_method0("items")?
        .try_iter()?
    {
        let (name, method): (Bound<'_, PyString>, Bound<'_, PyAny>) = item?.extract()?;
        // SAFETY: a static type of CPython's, whose address is compared.
        let is_method =
            unsafe { ffi::Py_TYPE(method.as_ptr()) == &raw mut ffi::PyMethodDescr_Type };
        if !is_method || !class.getattr(&name)?.is(&method) {
            continue;
        }
        // SAFETY: of that exact type. Its definition is static, as those of `add` and of PyO3 are, and made for objects of `T`, which
        // those of a class below it are. The result is a new reference or NULL with an exception set.
        let own = unsafe {
            let definition = (*method.as_ptr().cast::<ffi::PyMethodDescrObject>()).d_method;
            let own = ffi::PyDescr_NewMethod(class.as_type_ptr(), definition);
            Bound::from_owned_ptr_or_opt(py, own).ok_or_else(|| error::fetch(py))?
        };
        class.setattr(name, own)?;
    }
    Ok(())
}
