//! `_core.Loop`: the loop's own threads for asking for names.

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::Loop;
use crate::dns;

#[pymethods]
impl Loop {
    /// Await function(*args), called in a thread of the loop's own.
    #[pyo3(signature = (function, *args))]
    fn _ask_in_thread<'py>(
        slf: &Bound<'py, Self>,
        function: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let engine = slf.get().engine(slf.py());
        dns::call(slf.as_any(), engine, "_ask_in_thread", function, args)
    }
}
