//! Method and attribute tables of the types that `raw_type` builds.
//!
//! A body is a plain safe function over the object and its payload. It is passed by value and, being
//! a function item, has no size: the C entry point is generated from its type alone, so a call goes
//! straight into the body, and the table needs no closure.

use std::ffi::{CStr, c_int, c_void};
use std::marker::PhantomData;
use std::ptr::{NonNull, null_mut};

use pyo3::exceptions::PyAttributeError;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::arguments::Arguments;
use super::raw_type::{Payload, payload_of};
use super::{entry, error};

/// One method of a type whose payload is `P`.
pub(crate) struct Method<P>(pub(super) ffi::PyMethodDef, PhantomData<P>);

/// One attribute of a type whose payload is `P`.
pub(crate) struct Attribute<P>(pub(super) ffi::PyGetSetDef, PhantomData<P>);

/// One method of a type whose payload is `P`, which CPython calls by a slot of the type.
pub(crate) struct Special<P>(pub(super) ffi::PyType_Slot, PhantomData<P>);

impl<P> Special<P> {
    /// A function for that slot, made for objects with a `P`.
    pub(super) fn new(slot: c_int, function: *mut c_void) -> Self {
        let slot = ffi::PyType_Slot {
            slot,
            pfunc: function,
        };
        Self(slot, PhantomData)
    }
}

/// A method without arguments.
pub(crate) fn noargs<P, F>(name: &'static CStr, doc: &'static CStr, body: F) -> Method<P>
where
    P: Payload,
    F: for<'py> Fn(&Bound<'py, PyAny>, &P) -> PyResult<Bound<'py, PyAny>> + Copy + 'static,
{
    unsafe extern "C" fn call<P, F>(object: *mut PyObject, _: *mut PyObject) -> *mut PyObject
    where
        P: Payload,
        F: for<'py> Fn(&Bound<'py, PyAny>, &P) -> PyResult<Bound<'py, PyAny>> + Copy + 'static,
    {
        let run = |py: Python<'_>| {
            // SAFETY: the method descriptor has checked the object's type, which has no subclasses; the
            // caller holds it during the call, and `owner` until the end of this one.
            let owner = unsafe { Bound::from_borrowed_ptr(py, object) };
            // SAFETY: of that type, and `owner` holds it for as long as the reference lives.
            let payload = unsafe { payload_of::<P>(owner.as_ptr()) };
            conjure::<F>()(&owner, payload).map(Bound::into_ptr)
        };
        // SAFETY: called by CPython, so the thread is attached.
        unsafe { entry::enter(run) }
    }

    let _ = body;
    Method(
        ffi::PyMethodDef {
            ml_name: name.as_ptr(),
            ml_meth: ffi::PyMethodDefPointer {
                PyCFunction: call::<P, F>,
            },
            ml_flags: ffi::METH_NOARGS,
            ml_doc: doc.as_ptr(),
        },
        PhantomData,
    )
}

/// A method with arguments, which its body binds to its parameters.
pub(crate) fn with_arguments<P, F>(name: &'static CStr, doc: &'static CStr, body: F) -> Method<P>
where
    P: Payload,
    F: for<'py> Fn(&Bound<'py, PyAny>, &P, Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>>
        + Copy
        + 'static,
{
    unsafe extern "C" fn call<P, F>(
        object: *mut PyObject,
        values: *const *mut PyObject,
        positional: ffi::Py_ssize_t,
        keywords: *mut PyObject,
    ) -> *mut PyObject
    where
        P: Payload,
        F: for<'py> Fn(&Bound<'py, PyAny>, &P, Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>>
            + Copy
            + 'static,
    {
        let run = |py: Python<'_>| {
            // SAFETY: as in `noargs`: the descriptor has checked the type.
            let owner = unsafe { Bound::from_borrowed_ptr(py, object) };
            // SAFETY: as in `noargs`: of the type, and held by `owner`.
            let payload = unsafe { payload_of::<P>(owner.as_ptr()) };
            // SAFETY: CPython's own call by this convention, whose caller holds the values until it returns.
            let arguments = unsafe { Arguments::new(py, values, positional, keywords) };
            conjure::<F>()(&owner, payload, arguments).map(Bound::into_ptr)
        };
        // SAFETY: called by CPython, so the thread is attached.
        unsafe { entry::enter(run) }
    }

    let _ = body;
    Method(
        ffi::PyMethodDef {
            ml_name: name.as_ptr(),
            ml_meth: ffi::PyMethodDefPointer {
                PyCFunctionFastWithKeywords: call::<P, F>,
            },
            ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
            ml_doc: doc.as_ptr(),
        },
        PhantomData,
    )
}

/// `__repr__`.
pub(crate) fn repr<P, F>(body: F) -> Special<P>
where
    P: Payload,
    F: for<'py> Fn(&Bound<'py, PyAny>, &P) -> PyResult<Bound<'py, PyAny>> + Copy + 'static,
{
    unsafe extern "C" fn call<P, F>(object: *mut PyObject) -> *mut PyObject
    where
        P: Payload,
        F: for<'py> Fn(&Bound<'py, PyAny>, &P) -> PyResult<Bound<'py, PyAny>> + Copy + 'static,
    {
        let run = |py: Python<'_>| {
            // SAFETY: CPython calls the slot with an object of the type that it is a slot of.
            let owner = unsafe { Bound::from_borrowed_ptr(py, object) };
            // SAFETY: as in `noargs`: of the type, and held by `owner`.
            let payload = unsafe { payload_of::<P>(owner.as_ptr()) };
            conjure::<F>()(&owner, payload).map(Bound::into_ptr)
        };
        // SAFETY: called by CPython, so the thread is attached.
        unsafe { entry::enter(run) }
    }

    let _ = body;
    Special::new(
        ffi::Py_tp_repr,
        call::<P, F> as ffi::reprfunc as *mut c_void,
    )
}

/// `__del__`: called once before the object goes away or is cleared, on whatever thread that happens. It may call Python, reports its
/// own failures, and may bring the object back to life.
pub(crate) fn finalizer<P, F>(body: F) -> Special<P>
where
    P: Payload,
    F: for<'py> Fn(&Bound<'py, PyAny>, &P) + Copy + 'static,
{
    unsafe extern "C" fn call<P, F>(object: *mut PyObject)
    where
        P: Payload,
        F: for<'py> Fn(&Bound<'py, PyAny>, &P) + Copy + 'static,
    {
        // SAFETY: CPython holds the live object of this type for the call, on an attached thread. It expects an exception that is set to
        // be so afterwards.
        unsafe {
            entry::enter_infallible(|py| {
                let owner = Bound::from_borrowed_ptr(py, object);
                let payload = payload_of::<P>(owner.as_ptr());
                error::kept(py, || conjure::<F>()(&owner, payload));
            });
        }
    }

    let _ = body;
    Special::new(
        ffi::Py_tp_finalize,
        call::<P, F> as ffi::destructor as *mut c_void,
    )
}

/// A method with positional arguments, which its body counts.
pub(crate) fn positional<P, F>(name: &'static CStr, doc: &'static CStr, body: F) -> Method<P>
where
    P: Payload,
    F: for<'py> Fn(&Bound<'py, PyAny>, &P, &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>>
        + Copy
        + 'static,
{
    unsafe extern "C" fn call<P, F>(object: *mut PyObject, args: *mut PyObject) -> *mut PyObject
    where
        P: Payload,
        F: for<'py> Fn(&Bound<'py, PyAny>, &P, &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>>
            + Copy
            + 'static,
    {
        let run = |py: Python<'_>| {
            // SAFETY: as in `noargs`: the descriptor has checked the type.
            let owner = unsafe { Bound::from_borrowed_ptr(py, object) };
            // SAFETY: as in `noargs`: of the type, and held by `owner`.
            let payload = unsafe { payload_of::<P>(owner.as_ptr()) };
            // SAFETY: the tuple that this convention passes, which the caller holds.
            let args = unsafe { Bound::from_borrowed_ptr(py, args) };
            conjure::<F>()(&owner, payload, args.cast()?).map(Bound::into_ptr)
        };
        // SAFETY: called by CPython, so the thread is attached.
        unsafe { entry::enter(run) }
    }

    let _ = body;
    Method(
        ffi::PyMethodDef {
            ml_name: name.as_ptr(),
            ml_meth: ffi::PyMethodDefPointer {
                PyCFunction: call::<P, F>,
            },
            ml_flags: ffi::METH_VARARGS,
            ml_doc: doc.as_ptr(),
        },
        PhantomData,
    )
}

/// An attribute that can be read.
pub(crate) fn getter<P, G>(name: &'static CStr, get: G) -> Attribute<P>
where
    P: Payload,
    G: for<'py> Fn(Python<'py>, &P) -> PyResult<Bound<'py, PyAny>> + Copy + 'static,
{
    let _ = get;
    Attribute(
        ffi::PyGetSetDef {
            name: name.as_ptr(),
            get: Some(read::<P, G>),
            set: None,
            doc: std::ptr::null(),
            closure: null_mut(),
        },
        PhantomData,
    )
}

/// An attribute that can be read and assigned; deleting it is refused.
pub(crate) fn property<P, G, S>(name: &'static CStr, get: G, set: S) -> Attribute<P>
where
    P: Payload,
    G: for<'py> Fn(Python<'py>, &P) -> PyResult<Bound<'py, PyAny>> + Copy + 'static,
    S: for<'py> Fn(&P, Bound<'py, PyAny>) -> PyResult<()> + Copy + 'static,
{
    let _ = set;
    let mut attribute = getter(name, get);
    attribute.0.set = Some(write::<P, S>);
    attribute
}

unsafe extern "C" fn read<P, G>(object: *mut PyObject, _: *mut c_void) -> *mut PyObject
where
    P: Payload,
    G: for<'py> Fn(Python<'py>, &P) -> PyResult<Bound<'py, PyAny>> + Copy + 'static,
{
    let run = |py: Python<'_>| {
        // SAFETY: as in `noargs`: the descriptor has checked the type.
        let owner = unsafe { Bound::from_borrowed_ptr(py, object) };
        // SAFETY: as in `noargs`: of the type, and held by `owner`.
        let payload = unsafe { payload_of::<P>(owner.as_ptr()) };
        conjure::<G>()(py, payload).map(Bound::into_ptr)
    };
    // SAFETY: called by CPython, so the thread is attached.
    unsafe { entry::enter(run) }
}

unsafe extern "C" fn write<P, S>(
    object: *mut PyObject,
    value: *mut PyObject,
    _: *mut c_void,
) -> c_int
where
    P: Payload,
    S: for<'py> Fn(&P, Bound<'py, PyAny>) -> PyResult<()> + Copy + 'static,
{
    let run = |py: Python<'_>| {
        // SAFETY: as in `noargs`: the descriptor has checked the type.
        let owner = unsafe { Bound::from_borrowed_ptr(py, object) };
        // SAFETY: as in `noargs`: of the type, and held by `owner`.
        let payload = unsafe { payload_of::<P>(owner.as_ptr()) };
        // SAFETY: a live object that the caller holds, or NULL.
        match unsafe { Bound::from_borrowed_ptr_or_opt(py, value) } {
            Some(value) => conjure::<S>()(payload, value).map(|()| 0),
            None => Err(PyAttributeError::new_err("the attribute cannot be deleted")),
        }
    };
    // SAFETY: called by CPython, so the thread is attached.
    unsafe { entry::enter(run) }
}

/// The value of a function item's type.
pub(super) fn conjure<F: Copy + 'static>() -> F {
    const {
        assert!(
            size_of::<F>() == 0,
            "a table's body is a function item or captures nothing"
        )
    };
    // SAFETY: the type has no size, so there is nothing to read; a value of it was passed to the table's
    // constructor, so the type is inhabited, and it is `Copy`.
    unsafe { NonNull::<F>::dangling().read() }
}
