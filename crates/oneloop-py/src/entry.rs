//! What the Python loop queues: the engine's entries and watches.

use oneloop::engine::Host;
use pyo3::prelude::*;

use crate::handle::Handle;

/// One thing to run.
pub(crate) enum Entry {
    /// A callback of `call_soon` and its like, a timer's, or a watched descriptor's.
    Callback(Handle),
    /// What a method that was called on another thread has left to do on the loop's own.
    Native(NativeCall),
    /// Bytes wait in the signal pipe.
    Signals,
}

/// The work of an [`Entry::Native`].
pub(crate) type NativeCall = Box<dyn FnOnce(Python<'_>) -> PyResult<()> + Send>;

/// Who waits for a descriptor.
pub(crate) enum Watch {
    /// The handle of `add_reader` or `add_writer`, which runs as long as the descriptor is ready.
    Callback(Handle),
    /// The signal pipe.
    Signals,
}

/// A host that runs these entries: what lies below the Python loop's host, and is used by it, asks for no more.
pub(crate) trait RunsEntries: Host<Entry = Entry, Watch = Watch, Error = PyErr> {}

impl<H: Host<Entry = Entry, Watch = Watch, Error = PyErr>> RunsEntries for H {}

impl Clone for Watch {
    fn clone(&self) -> Self {
        match self {
            // The engine clones a watch on the loop's thread only, which is attached whenever it is not in a wait.
            Self::Callback(handle) => Python::attach(|py| Self::Callback(handle.clone_ref(py))),
            Self::Signals => Self::Signals,
        }
    }
}

impl From<Watch> for Entry {
    fn from(watch: Watch) -> Self {
        match watch {
            Watch::Callback(handle) => Self::Callback(handle),
            Watch::Signals => Self::Signals,
        }
    }
}
