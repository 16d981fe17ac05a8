//! The deallocator of native types that are made and freed all the time.
//!
//! CPython's own for types below a Python class (`subtype_dealloc`) finds out each time what the type is made of: which base has which
//! deallocator, which fields are slots, whether there is a dictionary. Here this was found out when the type was built: below bases that are
//! nothing but slots ([`SlotsOnly`]) an object is its base's slots, perhaps weak references, and the payload.
//!
//! The order is CPython's: the collector forgets the object; a `__del__` that somebody gave the class runs, and may bring the object back;
//! weak references are cleared and their callbacks told; then the object comes apart. What comes apart may run Python code, which cannot
//! reach the object any more.

use std::{mem, ptr, slice};

use pyo3::ffi::{self, PyObject, PyTypeObject};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple, PyType};

use super::{Payload, nesting, payload_pointer};
use crate::ffi::entry;

/// The word after an object's header, where a Python class without C bases has its first slot.
const FIRST_SLOT: usize = size_of::<PyObject>();

/// That below a class there is nothing but slots: each word of an instance is a reference or NULL, or the list of weak references.
pub(super) struct SlotsOnly(());

impl SlotsOnly {
    /// Looks at `base` and the classes above it. `python_traverse` is the address by which a class written in Python is known.
    ///
    /// # Errors
    /// What looking at classes raises.
    pub(super) fn of(base: &Bound<'_, PyType>, python_traverse: usize) -> PyResult<Option<Self>> {
        let py = base.py();
        let object = py.get_type::<PyAny>();
        let mut slots = 0;
        for class in base
            .getattr(PyString::intern(py, "__mro__"))?
            .cast_into::<PyTuple>()?
        {
            let class = class.cast_into::<PyType>()?;
            if class.is(&object) {
                continue;
            }
            // SAFETY: `class` is held.
            if unsafe { super::traverse_address(class.as_type_ptr()) } != python_traverse {
                return Ok(None);
            }
            let attributes = class.getattr("__dict__")?.call_method0("values")?;
            for attribute in attributes.try_iter()? {
                // SAFETY: a static type of CPython's, whose address is compared.
                let is_slot = unsafe {
                    ffi::Py_TYPE(attribute?.as_ptr()) == &raw mut ffi::PyMemberDescr_Type
                };
                slots += usize::from(is_slot);
            }
        }
        // SAFETY: `base` is held.
        let (size, weak_references) = unsafe {
            let class = base.as_type_ptr();
            (
                (*class).tp_basicsize.cast_unsigned(),
                (*class).tp_weaklistoffset,
            )
        };
        // From 3.12 on weak references lie before the object.
        slots += usize::from(weak_references > 0);
        Ok((size == FIRST_SLOT + slots * size_of::<usize>()).then_some(Self(())))
    }
}

/// `tp_dealloc` of a type below [`SlotsOnly`].
///
/// # Safety
/// Called by CPython when the last reference to an object of such a type, made for `P`, has gone.
pub(super) unsafe extern "C" fn dealloc<P: Payload>(object: *mut PyObject) {
    // SAFETY: a live object that the collector tracks, or has been told of before by the same call.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        nesting::free(object, end::<P>);
    }
}

/// # Safety
/// As for [`dealloc`]; the object is untracked.
unsafe extern "C" fn end<P: Payload>(object: *mut PyObject) {
    // SAFETY: the object is whole until `take_apart`, which is reached once: with no reference left, and none that can be made.
    unsafe {
        let class = ffi::Py_TYPE(object);
        if (*class).tp_finalize.is_some() && !finalize(object) {
            return;
        }
        let weak_references = (*class).tp_weaklistoffset;
        if weak_references != 0
            && !object
                .byte_offset(weak_references)
                .cast::<*mut PyObject>()
                .read()
                .is_null()
        {
            ffi::PyObject_ClearWeakRefs(object);
        }
        take_apart::<P>(object, class);
    }
}

/// Runs `__del__`; whether the object still has to go.
///
/// # Safety
/// As for [`end`].
#[cold]
unsafe fn finalize(object: *mut PyObject) -> bool {
    // SAFETY: the object is whole, and tracked while Python code can see it.
    unsafe {
        ffi::PyObject_GC_Track(object.cast());
        if ffi::PyObject_CallFinalizerFromDealloc(object) < 0 {
            return false;
        }
        ffi::PyObject_GC_UnTrack(object.cast());
        true
    }
}

/// # Safety
/// As for [`end`], with the weak references gone.
unsafe fn take_apart<P: Payload>(object: *mut PyObject, class: *mut PyTypeObject) {
    // SAFETY: the payload is moved out once, after which nobody looks at it; the words before it are the base's slots, by `SlotsOnly`. The
    // type is held until the object's memory, whose layout it knows, is given back.
    unsafe {
        let pointer = payload_pointer::<P>(object);
        let payload = pointer.read();
        entry::enter_infallible(|py| payload.release(py));
        let offset = pointer.byte_offset_from(object).cast_unsigned();
        clear_slots(object, offset);
        // One whose `__del__` ran would not have it run again.
        let is_new = ffi::PyObject_GC_IsFinalized(object) == 0;
        if !(is_new && P::freed().is_some_and(|freed| freed.keep(object, offset))) {
            ffi::PyObject_GC_Del(object.cast());
        }
        ffi::Py_DECREF(class.cast());
    }
}

/// Lets go of what somebody stored into the base's slots by their own descriptors: nothing of ours does.
///
/// # Safety
/// The words from the header to `end` are references or NULL; the list of weak references, which may be among them, is NULL.
#[inline]
unsafe fn clear_slots(object: *mut PyObject, end: usize) {
    let count = (end - FIRST_SLOT) / size_of::<*mut PyObject>();
    // SAFETY: by contract, and Python code cannot reach the object any more.
    let slots: &mut [*mut PyObject] =
        unsafe { slice::from_raw_parts_mut(object.byte_add(FIRST_SLOT).cast(), count) };
    if slots.iter().fold(0, |any, slot| any | slot.addr()) == 0 {
        return;
    }
    for slot in slots {
        // SAFETY: by contract; it is taken out before it is let go of.
        unsafe { ffi::Py_XDECREF(mem::replace(slot, ptr::null_mut())) };
    }
}
