//! `Kind`: what the kinds of transports differ in, for everything else is the same.

use oneloop::engine::stream::Machine;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

use super::base::Transport;
use crate::ffi::raw_type::{Halt, RawType, Visit};

/// One kind of transport: its state machine, how it reads and writes, and what it says.
pub(super) trait Kind: Send + Sized + 'static {
    /// The state machine.
    type Machine: Machine;

    /// Enters the state machine, which calls nobody.
    fn machine<R>(&self, enter: impl FnOnce(&mut Self::Machine) -> R) -> R;

    /// The Python type of these transports.
    fn class(&self) -> &'static PyOnceLock<RawType<Transport<Self>>>;

    /// Gets to know the protocol that the transport is to have.
    ///
    /// # Errors
    /// What looking at it raises.
    fn adopt(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()>;

    /// Reads once, and tells the protocol.
    ///
    /// # Errors
    /// What the protocol raises, unless it ends the connection.
    fn read(transport: &Transport<Self>, object: &Bound<'_, PyAny>) -> PyResult<()>;

    /// Sends what waits, as much as there is room for.
    ///
    /// # Errors
    /// What the protocol raises, unless it ends the connection.
    fn flush(transport: &Transport<Self>, object: &Bound<'_, PyAny>) -> PyResult<()>;

    /// Shuts the sending side down, if there is such a thing.
    ///
    /// # Errors
    /// The system's.
    fn shut_down(transport: &Transport<Self>, py: Python<'_>) -> PyResult<()>;

    /// asyncio's name for the method that sends what waits: reports and the log name it.
    fn write_ready(py: Python<'_>) -> &Bound<'_, PyString>;

    /// Whether an error that ends a transport is of interest in debug mode only: those of the system are what networks are like.
    ///
    /// # Errors
    /// What looking at the error raises.
    fn is_quiet(&self, py: Python<'_>, error: &PyErr) -> PyResult<bool>;

    /// What `repr` shows after the descriptor's number.
    fn describe(transport: &Transport<Self>, py: Python<'_>) -> Vec<String>;

    /// Lets go of what an aborted machine had waiting.
    fn let_go(py: Python<'_>, dropped: <Self::Machine as Machine>::Dropped);

    /// The descriptor is about to be closed: whoever else waits for it is told.
    ///
    /// # Errors
    /// What telling raises.
    fn ending(transport: &Transport<Self>, py: Python<'_>) -> PyResult<()>;

    /// Shows what it owns to the garbage collector.
    ///
    /// # Errors
    /// The collector's wish to stop.
    fn traverse(&self, visit: &Visit<'_>) -> Result<(), Halt>;

    /// Lets go of what it owns.
    fn clear(&self, py: Python<'_>);
}
