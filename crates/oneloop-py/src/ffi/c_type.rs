//! Making objects of a class without going through its metaclass.
//!
//! `type(…)` packs the arguments of a call into a tuple and a dictionary of its own before it calls the class's `__new__` and `__init__`.
//! Who has both at hand calls the two slots directly: they are the public ones of `PyTypeObject`.

use std::ptr::null_mut;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};

use super::error;

/// A class whose objects are made often.
pub(crate) struct Class {
    class: Py<PyType>,
    new: ffi::newfunc,
    init: ffi::initproc,
}

impl Class {
    /// That class, if calling it does what `type` does; `None` if it has a metaclass of its own, or no objects.
    pub(crate) fn of(class: &Bound<'_, PyType>) -> Option<Self> {
        let py = class.py();
        if !class.is_exact_instance(&py.get_type::<PyType>()) {
            return None;
        }
        // SAFETY: the type is live and `class` keeps it so; slots of a type that is ready are functions of these signatures or NULL.
        let (new, init) = unsafe {
            let slots = class.as_type_ptr();
            ((*slots).tp_new, (*slots).tp_init)
        };
        Some(Self {
            class: class.clone().unbind(),
            new: new?,
            init: init?,
        })
    }

    /// Whether it is that object.
    #[inline]
    pub(crate) fn is(&self, object: &Bound<'_, PyAny>) -> bool {
        self.class.is(object)
    }

    /// `Class(*args, **keywords)`, where no keywords are `None`.
    ///
    /// # Errors
    /// Those of `__new__` and `__init__`.
    #[inline]
    pub(crate) fn make<'py>(
        &self,
        args: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = args.py();
        let class = self.class.bind(py).as_type_ptr();
        let keywords = keywords.map_or(null_mut(), Bound::as_ptr);
        // SAFETY: the type's own slot for that very type, with arguments that the caller holds; the result is a new reference, or NULL
        // with an exception set.
        let object = unsafe {
            let object = (self.new)(class, args.as_ptr(), keywords);
            Bound::from_owned_ptr_or_opt(py, object).ok_or_else(|| error::fetch(py))?
        };
        if !object.is_instance(self.class.bind(py))? {
            return Err(PyTypeError::new_err("a class made an object of another"));
        }
        // SAFETY: the type's own slot for an object of it, which is held here.
        match unsafe { (self.init)(object.as_ptr(), args.as_ptr(), keywords) } {
            0 => Ok(object),
            _ => Err(error::fetch(py)),
        }
    }
}
