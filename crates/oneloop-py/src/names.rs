//! Interned strings and cached imports.
//!
//! Every Python name that Rust looks up is spelled here, once. Strings are interned on first use; an
//! import is made on first use and kept for the life of the interpreter. Nothing here is asked for
//! before the module's own import is done, so `asyncio` may import lazily whatever it likes.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyType};

macro_rules! strings {
    ($($name:ident),* $(,)?) => {$(
        #[doc = concat!("The interned string `", stringify!($name), "`.")]
        pub(crate) fn $name(py: Python<'_>) -> &Bound<'_, PyString> {
            intern!(py, stringify!($name))
        }
    )*};
}

macro_rules! imports {
    ($($name:ident: $type:ty = $module:literal, $attribute:literal;)*) => {$(
        #[doc = concat!("`", $module, ".", $attribute, "`.")]
        ///
        /// # Errors
        /// `ImportError` or `AttributeError` if the interpreter does not have it.
        pub(crate) fn $name(py: Python<'_>) -> PyResult<&Bound<'_, $type>> {
            static CACHE: PyOnceLock<Py<$type>> = PyOnceLock::new();
            CACHE.import(py, $module, $attribute)
        }
    )*};
}

strings! {
    call_exception_handler,
    debug,
    exception,
    get_debug,
    handle,
    message,
    run,
    source_traceback,
}

imports! {
    handle_class: PyType = "asyncio", "Handle";
    timer_handle_class: PyType = "asyncio", "TimerHandle";
    extract_stack: PyAny = "asyncio.format_helpers", "extract_stack";
    strerror: PyAny = "os", "strerror";
}

/// asyncio's description of a callback and where it is defined: `(callback, args) -> str`, with `debug` as a
/// keyword where the interpreter has it (it then hides arguments outside debug mode).
pub(crate) struct CallbackFormat {
    pub(crate) function: Py<PyAny>,
    pub(crate) takes_debug: bool,
}

/// The private helper behind asyncio's "Exception in callback …", or `None` where it is gone.
pub(crate) fn callback_format(py: Python<'_>) -> Option<&'static CallbackFormat> {
    static CACHE: PyOnceLock<Option<CallbackFormat>> = PyOnceLock::new();
    CACHE
        .get_or_init(py, || find_callback_format(py).ok())
        .as_ref()
}

fn find_callback_format(py: Python<'_>) -> PyResult<CallbackFormat> {
    let function = py
        .import("asyncio.format_helpers")?
        .getattr("_format_callback_source")?;
    let defaults = function.getattr("__kwdefaults__")?;
    let takes_debug = match defaults.cast::<PyDict>() {
        Ok(defaults) => defaults.contains(debug(py))?,
        Err(_) => false,
    };
    Ok(CallbackFormat {
        function: function.unbind(),
        takes_debug,
    })
}
