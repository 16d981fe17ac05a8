//! The extension module `oneloop._core`: Python types over the engine.

mod errors;
mod ffi;
mod handle;
mod names;

use pyo3::prelude::*;

/// The extension module.
#[pymodule(gil_used = true)]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::handle::add_types(module)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
