//! The extension module `oneloop._core`: Python types over the engine.

mod clock;
mod debug;
mod entry;
mod errors;
mod event_loop;
mod ffi;
mod handle;
mod host;
mod names;
mod overrides;
mod run;
mod signals;
mod task;
mod watch;

use pyo3::prelude::*;

/// The extension module.
#[pymodule(gil_used = true)]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::event_loop::Loop;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        crate::handle::add_types(module)?;
        crate::overrides::remember(&py.get_type::<Loop>())?;
        crate::task::detect_convention(py)?;
        crate::signals::watch_forks(py)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
