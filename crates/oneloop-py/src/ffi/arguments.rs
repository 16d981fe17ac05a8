//! The arguments of a native method, bound to its parameters' names as Python binds them.

use std::slice;

use pyo3::Borrowed;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

/// What a caller passed: positional values, then those of keywords.
pub(crate) struct Arguments<'a, 'py> {
    values: &'a [*mut PyObject],
    positional: usize,
    keywords: Option<Borrowed<'a, 'py, PyTuple>>,
    py: Python<'py>,
}

/// The value of each parameter, where one was passed.
pub(crate) type Values<'a, 'py, const N: usize> = [Option<Borrowed<'a, 'py, PyAny>>; N];

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
                return Err(PyTypeError::new_err(format!(
                    "{name}() got an unexpected keyword argument '{keyword}'"
                )));
            };
            if values[index].is_some() {
                return Err(PyTypeError::new_err(format!(
                    "{name}() got multiple values for argument '{keyword}'"
                )));
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
