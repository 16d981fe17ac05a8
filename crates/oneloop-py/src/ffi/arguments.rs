//! The arguments of a native method, bound to its parameters' names as Python binds them.

use std::slice;

use pyo3::Borrowed;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

/// What a caller passed: positional values, then those of keywords.
pub(crate) struct Arguments<'a, 'py> {
    values: &'a [*mut PyObject],
    positional: usize,
    keywords: Option<Borrowed<'a, 'py, PyTuple>>,
    py: Python<'py>,
}

/// The value of each parameter, where one was passed.
pub(crate) type Values<'a, 'py, const N: usize> = [Option<Borrowed<'a, 'py, PyAny>>; N];

/// The values of a `*args`, which somebody holds for `'a`: no tuple as yet.
#[derive(Clone, Copy)]
pub(crate) struct Rest<'a, 'py> {
    values: &'a [*mut PyObject],
    py: Python<'py>,
}

impl<'a, 'py> Rest<'a, 'py> {
    /// No values.
    pub(crate) fn none(py: Python<'py>) -> Self {
        Self { values: &[], py }
    }

    /// A tuple's items.
    pub(crate) fn of_tuple(tuple: &'a Bound<'py, PyTuple>) -> Self {
        // SAFETY: the tuple is held for `'a` and has its items to the end: its own array of `len` pointers.
        let values = unsafe {
            let items = (&raw const (*tuple.as_ptr().cast::<ffi::PyTupleObject>()).ob_item).cast();
            slice::from_raw_parts(items, tuple.len())
        };
        Self {
            values,
            py: tuple.py(),
        }
    }

    #[inline]
    pub(crate) fn len(self) -> usize {
        self.values.len()
    }

    /// The value at `index`, if there are as many.
    #[inline]
    pub(crate) fn get(self, index: usize) -> Option<Borrowed<'a, 'py, PyAny>> {
        let object = self.values.get(index)?;
        // SAFETY: a live object that is held for `'a`.
        Some(unsafe { Borrowed::from_ptr(self.py, *object) })
    }

    /// All of them.
    ///
    /// # Errors
    /// `MemoryError`.
    pub(crate) fn tuple(self) -> PyResult<Bound<'py, PyTuple>> {
        let values = (0..self.len()).filter_map(|index| self.get(index));
        PyTuple::new(self.py, values.collect::<Vec<_>>())
    }
}

/// The arguments of a method that takes any number of them.
pub(crate) struct Variadic<'a, 'py, const N: usize> {
    leading: Values<'a, 'py, N>,
    /// What follows the arguments that have names.
    pub(crate) rest: Rest<'a, 'py>,
    /// The value of the one keyword, if it was passed.
    pub(crate) keyword: Option<Borrowed<'a, 'py, PyAny>>,
}

impl<'a, 'py, const N: usize> Variadic<'a, 'py, N> {
    /// The arguments that have names.
    #[inline]
    pub(crate) fn leading(&self) -> [Borrowed<'a, 'py, PyAny>; N] {
        self.leading
            .map(|value| value.expect("binding has refused a call without it"))
    }
}

impl<'a, 'py> Arguments<'a, 'py> {
    /// The arguments of a fast call.
    ///
    /// # Safety
    /// They are those of CPython's `METH_FASTCALL | METH_KEYWORDS` convention, and the caller holds them for `'a`.
    pub(super) unsafe fn new(
        py: Python<'py>,
        values: *const *mut PyObject,
        positional: ffi::Py_ssize_t,
        keywords: *mut PyObject,
    ) -> Self {
        let positional = positional.unsigned_abs();
        // SAFETY: by contract, a tuple of names or NULL, and as many values as positional arguments and names.
        unsafe {
            let keywords = Borrowed::from_ptr_or_opt(py, keywords)
                .map(|names| names.cast_unchecked::<PyTuple>());
            let count = positional + keywords.as_deref().map_or(0, |names| names.len());
            let values = match count {
                0 => &[],
                _ => slice::from_raw_parts(values, count),
            };
            Self {
                values,
                positional,
                keywords,
                py,
            }
        }
    }

    /// Binds the arguments of the method `name` to its parameters, of which the first `required` must be given.
    ///
    /// # Errors
    /// `TypeError`, in Python's words.
    #[inline]
    pub(crate) fn bind<const N: usize>(
        &self,
        name: &str,
        parameters: [&str; N],
        required: usize,
    ) -> PyResult<Values<'a, 'py, N>> {
        if self.positional > N {
            return Err(too_many(name, N, required, self.positional));
        }
        let mut values = [None; N];
        for (value, object) in values.iter_mut().zip(&self.values[..self.positional]) {
            *value = Some(self.borrow(*object));
        }
        if self.keywords.is_some() {
            self.bind_keywords(name, parameters, &mut values)?;
        }
        if values[..required].iter().any(Option::is_none) {
            return Err(missing(name, &parameters[..required], &values[..required]));
        }
        Ok(values)
    }

    /// Binds the arguments of a method with the signature `(self, *leading, *rest, <keyword>=None)`, where each of `leading` must be given.
    ///
    /// # Errors
    /// `TypeError`, in Python's words.
    #[inline(always)]
    pub(crate) fn bind_variadic<const N: usize>(
        &self,
        name: &str,
        leading: [&str; N],
        keyword: &Bound<'py, PyString>,
    ) -> PyResult<Variadic<'a, 'py, N>> {
        let given = self.positional.min(N);
        let mut bound = Variadic {
            leading: [None; N],
            rest: Rest {
                values: &self.values[given..self.positional],
                py: self.py,
            },
            keyword: None,
        };
        for (value, object) in bound.leading.iter_mut().zip(&self.values[..given]) {
            *value = Some(self.borrow(*object));
        }
        if let Some(keywords) = self.keywords {
            let first = keywords.get_borrowed_item(0);
            if keywords.len() == 1 && first.is_ok_and(|first| first.is(keyword)) {
                bound.keyword = Some(self.borrow(self.values[self.positional]));
            } else {
                self.bind_variadic_keywords(name, leading, keyword, &mut bound)?;
            }
        }
        if bound.leading.iter().any(Option::is_none) {
            return Err(missing(name, &leading, &bound.leading));
        }
        Ok(bound)
    }

    /// Binds the arguments of a method with the signature `(self, parameter, **keywords)`.
    ///
    /// # Errors
    /// `TypeError`, in Python's words; `MemoryError`.
    #[inline]
    pub(crate) fn bind_one(
        &self,
        name: &str,
        parameter: &Bound<'py, PyString>,
    ) -> PyResult<(Bound<'py, PyAny>, Option<Bound<'py, PyDict>>)> {
        if self.positional > 1 {
            return Err(too_many(name, 1, 1, self.positional));
        }
        let mut value = self.values[..self.positional]
            .first()
            .map(|object| self.borrow(*object).to_owned());
        let Some(names) = self.keywords else {
            let spelled = || parameter.to_cow();
            return match value {
                Some(value) => Ok((value, None)),
                None => Err(missing(name, &[&*spelled()?], &[None])),
            };
        };
        let rest = PyDict::new(self.py);
        for (given, object) in names.iter().zip(&self.values[self.positional..]) {
            let object = self.borrow(*object);
            if !given.eq(parameter)? {
                rest.set_item(given, object)?;
            } else if value.replace(object.to_owned()).is_some() {
                return Err(twice(name, &parameter.to_cow()?));
            }
        }
        match value {
            Some(value) => Ok((value, Some(rest).filter(|rest| !rest.is_empty()))),
            None => Err(missing(name, &[&*parameter.to_cow()?], &[None])),
        }
    }

    #[cold]
    fn bind_variadic_keywords<const N: usize>(
        &self,
        name: &str,
        leading: [&str; N],
        keyword: &Bound<'py, PyString>,
        bound: &mut Variadic<'a, 'py, N>,
    ) -> PyResult<()> {
        let keywords = self.keywords.iter().flat_map(|names| names.iter());
        for (given, object) in keywords.zip(&self.values[self.positional..]) {
            if given.eq(keyword)? {
                bound.keyword = Some(self.borrow(*object));
                continue;
            }
            let given = given.cast_into::<PyString>()?;
            let given = given.to_cow()?;
            let Some(index) = leading.iter().position(|parameter| *parameter == given) else {
                return Err(unexpected(name, &given));
            };
            if bound.leading[index].is_some() {
                return Err(twice(name, &given));
            }
            bound.leading[index] = Some(self.borrow(*object));
        }
        Ok(())
    }

    /// The names of the arguments that were passed by keyword, as the caller's own object.
    pub(crate) fn keywords(&self) -> Option<&Borrowed<'a, 'py, PyTuple>> {
        self.keywords.as_ref()
    }

    /// The positional arguments, then the values of keywords.
    pub(crate) fn values(&self) -> impl ExactSizeIterator<Item = Borrowed<'a, 'py, PyAny>> {
        self.values.iter().map(|object| self.borrow(*object))
    }

    #[cold]
    fn bind_keywords<const N: usize>(
        &self,
        name: &str,
        parameters: [&str; N],
        values: &mut Values<'a, 'py, N>,
    ) -> PyResult<()> {
        let keywords = self.keywords.iter().flat_map(|names| names.iter());
        for (keyword, object) in keywords.zip(&self.values[self.positional..]) {
            let keyword = keyword.cast_into::<PyString>()?;
            let keyword = keyword.to_cow()?;
            let Some(index) = parameters
                .iter()
                .position(|parameter| *parameter == keyword)
            else {
                return Err(unexpected(name, &keyword));
            };
            if values[index].is_some() {
                return Err(twice(name, &keyword));
            }
            values[index] = Some(self.borrow(*object));
        }
        Ok(())
    }

    fn borrow(&self, object: *mut PyObject) -> Borrowed<'a, 'py, PyAny> {
        // SAFETY: one of the values, live objects that the caller holds for `'a`.
        unsafe { Borrowed::from_ptr(self.py, object) }
    }
}

#[cold]
fn unexpected(name: &str, keyword: &str) -> PyErr {
    PyTypeError::new_err(format!(
        "{name}() got an unexpected keyword argument '{keyword}'"
    ))
}

#[cold]
fn twice(name: &str, keyword: &str) -> PyErr {
    PyTypeError::new_err(format!(
        "{name}() got multiple values for argument '{keyword}'"
    ))
}

#[cold]
fn too_many(name: &str, most: usize, required: usize, given: usize) -> PyErr {
    // Python counts `self`.
    let (least, most, given) = (required + 1, most + 1, given + 1);
    let takes = match least == most {
        true => format!("{most}"),
        false => format!("from {least} to {most}"),
    };
    let plural = if most == 1 { "" } else { "s" };
    PyTypeError::new_err(format!(
        "{name}() takes {takes} positional argument{plural} but {given} were given"
    ))
}

#[cold]
fn missing(name: &str, parameters: &[&str], values: &[Option<Borrowed<'_, '_, PyAny>>]) -> PyErr {
    let missing: Vec<_> = parameters
        .iter()
        .zip(values)
        .filter(|(_, value)| value.is_none())
        .map(|(parameter, _)| format!("'{parameter}'"))
        .collect();
    let plural = if missing.len() == 1 { "" } else { "s" };
    PyTypeError::new_err(format!(
        "{name}() missing {} required positional argument{plural}: {}",
        missing.len(),
        missing.join(" and "),
    ))
}
