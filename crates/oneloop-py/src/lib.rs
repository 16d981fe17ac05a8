//! The extension module `oneloop._core`: Python types over the engine.

mod address;
mod awaitable;
mod claims;
mod clients;
mod clock;
mod debug;
mod direct;
mod dns;
mod entry;
mod errors;
mod event_loop;
mod ffi;
mod figures;
mod handle;
mod host;
mod making;
mod names;
mod overrides;
mod run;
mod server;
mod signals;
mod sleepers;
mod sock;
mod socket;
mod stepping;
mod streams;
mod task;
mod transport;
mod waiters;
mod wakeup;
mod watch;

use pyo3::prelude::*;

/// The extension module.
#[pymodule(gil_used = true)]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::address::literal;
    #[pymodule_export]
    use crate::clients::Clients;
    #[pymodule_export]
    use crate::event_loop::Loop;
    #[pymodule_export]
    use crate::figures::answer;
    #[pymodule_export]
    use crate::server::Listener;

    /// Has the class `cls` below `Loop` call what it inherits by the shortest way.
    #[pyfunction]
    fn _adopt(cls: &Bound<'_, pyo3::types::PyType>) -> PyResult<()> {
        crate::ffi::native_method::adopt::<Loop>(cls)
    }

    /// Whether the steps of asyncio's tasks are taken without its C code, as they are where that is like the one that is known.
    #[pyfunction]
    fn _takes_steps(py: Python<'_>) -> bool {
        crate::stepping::is_on(py)
    }

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        crate::refuse_without_gil(py)?;
        crate::refuse_other_interpreters(py)?;
        crate::handle::add_types(module, crate::event_loop::disarm)?;
        crate::transport::add_types(module)?;
        crate::awaitable::add_type(module)?;
        crate::event_loop::add_methods(py)?;
        crate::direct::learn_sign(py)?;
        crate::streams::learn(py)?;
        crate::stepping::learn(py)?;
        crate::overrides::remember(&py.get_type::<Loop>())?;
        crate::task::detect_convention(py)?;
        crate::socket::remember(py)?;
        crate::signals::watch_forks(py)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}

/// Types and cached imports belong to the interpreter that made them, and there is one of each in a process: in another interpreter they
/// would be shared, and gone when that ends. CPython asks nobody before 3.12, nor later for interpreters of the old kind, as mod_wsgi has.
///
/// # Errors
/// `ImportError` in every interpreter but the main one.
fn refuse_other_interpreters(py: Python<'_>) -> PyResult<()> {
    use pyo3::exceptions::PyImportError;

    if ffi::thread::is_in_main_interpreter(py) {
        return Ok(());
    }
    Err(PyImportError::new_err(
        "oneloop does not support subinterpreters: import it in the main interpreter",
    ))
}

/// On a free-threaded interpreter the import takes the GIL back (`gil_used`), unless the user has forbidden that: then nothing here is safe.
///
/// # Errors
/// `ImportError` if there is no GIL.
#[cfg(Py_GIL_DISABLED)]
fn refuse_without_gil(py: Python<'_>) -> PyResult<()> {
    use pyo3::exceptions::PyImportError;

    if py
        .import("sys")?
        .call_method0("_is_gil_enabled")?
        .is_truthy()?
    {
        return Ok(());
    }
    Err(PyImportError::new_err(
        "oneloop is not yet safe without the GIL: run Python without -X gil=0 and PYTHON_GIL=0",
    ))
}

#[cfg(not(Py_GIL_DISABLED))]
fn refuse_without_gil(_: Python<'_>) -> PyResult<()> {
    Ok(())
}
