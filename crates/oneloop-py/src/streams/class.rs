//! `Class`: a Python class whose methods the fast path stands for, and its objects' attributes without asking the class for each.
//!
//! An attribute is in the object's dictionary, as long as the class has nothing of that name and leaves reading and setting to `object`; and a
//! method is the class's, as long as the dictionary has nothing of that name. The first is looked at again whenever the class has changed,
//! the second whenever an object is.
//!
//! From 3.13 on only: before, an object that somebody has asked for its dictionary is slow ever after, for Python. One that was given another
//! class has such a dictionary on every version.

use std::sync::atomic::{AtomicU32, Ordering};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyType};

use crate::ffi::instance;

/// See the module.
pub(super) struct Class {
    class: Py<PyType>,
    /// What the class has, by name: methods that the fast path stands for.
    methods: Vec<(Py<PyString>, Py<PyAny>)>,
    /// A property that it stands for. No object can hide one.
    property: Option<(Py<PyString>, Py<PyAny>)>,
    /// The same of a class above it, whose methods this one's native ones stand for.
    above: Vec<(Py<PyType>, Py<PyString>, Py<PyAny>)>,
    /// Whether its objects were made as another class's.
    is_given: bool,
    /// The names of what its objects keep.
    kept: Vec<Py<PyString>>,
    /// The [version](instance::version) that was found to be so; 0 is none. Read and written with the GIL held, which orders it.
    version: AtomicU32,
}

/// The attributes of an object.
pub(super) struct Attributes<'py> {
    object: Bound<'py, PyAny>,
    /// Where they are, if that is known.
    own: Option<Bound<'py, PyDict>>,
}

impl Class {
    pub(super) fn new(
        class: &Bound<'_, PyType>,
        methods: Vec<(Py<PyString>, Py<PyAny>)>,
        property: Option<(Py<PyString>, Py<PyAny>)>,
        kept: Vec<Py<PyString>>,
    ) -> Self {
        Self {
            class: class.clone().unbind(),
            methods,
            property,
            above: Vec::new(),
            is_given: false,
            kept,
            version: AtomicU32::new(0),
        }
    }

    /// A class that objects are given once they are made.
    pub(super) fn given(mut self, above: Vec<(Py<PyType>, Py<PyString>, Py<PyAny>)>) -> Self {
        self.above = above;
        self.is_given = true;
        self
    }

    /// The class.
    pub(super) fn class<'py>(&self, py: Python<'py>) -> &Bound<'py, PyType> {
        self.class.bind(py)
    }

    /// Whether the object is exactly of this class.
    #[inline]
    pub(super) fn is_of(&self, object: &Bound<'_, PyAny>) -> bool {
        object.get_type_ptr() == self.class.bind(object.py()).as_type_ptr()
    }

    /// The dictionary of an object of this class in which its attributes are, and which hides none of the class's methods.
    #[inline]
    pub(super) fn own<'py>(&self, object: &Bound<'py, PyAny>) -> Option<Bound<'py, PyDict>> {
        let own = self.dictionary(object)?;
        for (name, _) in &self.methods {
            if own.contains(name.bind(object.py())).ok()? {
                return None;
            }
        }
        Some(own)
    }

    /// The dictionary of an object of this class in which its attributes are.
    #[inline]
    fn dictionary<'py>(&self, object: &Bound<'py, PyAny>) -> Option<Bound<'py, PyDict>> {
        if (cfg!(not(Py_3_13)) && !self.is_given)
            || !self.is_of(object)
            || !self.is_as_expected(object.py())
        {
            return None;
        }
        instance::dictionary(object)
    }

    /// Whether the class, and those above it, are as they were.
    #[inline]
    pub(super) fn is_as_expected(&self, py: Python<'_>) -> bool {
        // One that has changed has a new version after the next look-up of whoever it may be.
        match instance::version(self.class.bind(py)) {
            Some(version) if version.get() == self.version.load(Ordering::Relaxed) => true,
            Some(version) => self.look(py, version.get()),
            None => false,
        }
    }

    /// Looks at the class.
    #[cold]
    fn look(&self, py: Python<'_>, version: u32) -> bool {
        let class = self.class.bind(py);
        let has = |(name, value): &(Py<PyString>, Py<PyAny>)| {
            class.getattr(name.bind(py)).is_ok_and(|own| own.is(value))
        };
        let has_above = |(class, name, value): &(Py<PyType>, Py<PyString>, Py<PyAny>)| {
            let class = class.bind(py);
            class.getattr(name.bind(py)).is_ok_and(|own| own.is(value))
        };
        let lacks = |name: &Py<PyString>| matches!(class.hasattr(name.bind(py)), Ok(false));
        let expected = instance::is_plain(class)
            && self.methods.iter().chain(&self.property).all(has)
            && self.above.iter().all(has_above)
            && self.kept.iter().all(lacks)
            // Whatever has been put there may have been asked just now, and have changed the class.
            && instance::version(class).is_some_and(|now| now.get() == version);
        if expected {
            self.version.store(version, Ordering::Relaxed);
        }
        expected
    }
}

impl<'py> Attributes<'py> {
    /// Those of an object whose dictionary is known by [`Class::own`], or else those that it says it has.
    pub(super) fn new(object: Bound<'py, PyAny>, own: Option<Bound<'py, PyDict>>) -> Self {
        Self { object, own }
    }

    pub(super) fn object(&self) -> &Bound<'py, PyAny> {
        &self.object
    }

    pub(super) fn py(&self) -> Python<'py> {
        self.object.py()
    }

    /// Looks again where they are: foreign code has run. (It may have hidden methods, which no longer matters.)
    #[inline]
    pub(super) fn renew(&mut self, class: &Class) {
        if self.own.is_some() {
            self.own = class.dictionary(&self.object);
        }
    }

    /// The attribute, if it is where it is expected; asking for it has run no code.
    #[inline]
    pub(super) fn peek(&self, name: &Bound<'py, PyString>) -> Option<Bound<'py, PyAny>> {
        self.own.as_ref()?.get_item(name).ok()?
    }

    /// # Errors
    /// What the object raises.
    #[inline]
    pub(super) fn get(&self, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        if let Some(own) = &self.own
            && let Some(value) = own.get_item(name)?
        {
            return Ok(value);
        }
        self.object.getattr(name)
    }

    /// # Errors
    /// What the object raises.
    #[inline]
    pub(super) fn set(
        &self,
        name: &Bound<'py, PyString>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        match &self.own {
            Some(own) => own.set_item(name, value),
            None => self.object.setattr(name, value),
        }
    }
}
