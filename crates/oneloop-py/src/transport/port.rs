//! `Port`: what a transport needs of its loop, which it must not keep alive.

use std::os::fd::RawFd;

use oneloop::engine::stream::Dispatch;
use oneloop::engine::{Direction, Place};
use pyo3::prelude::*;

use super::WriteTurn;
use crate::entry::{Entry, Watch};

/// A loop, as its transports reach it. There is one for all transports of a loop.
pub(crate) trait Port: Send + Sync {
    /// Where the caller stands towards the loop; `None` if it is closed or gone.
    fn place(&self, py: Python<'_>) -> Option<Place>;

    /// Whether the loop is in debug mode.
    fn is_debug(&self, py: Python<'_>) -> bool;

    /// Refuses a call from another thread than the one that runs the loop. For debug mode.
    ///
    /// # Errors
    /// `RuntimeError`, as asyncio's.
    fn check_thread(&self, py: Python<'_>) -> PyResult<()>;

    /// Makes an entry ready, on whatever thread this is.
    ///
    /// # Errors
    /// `RuntimeError` if the loop is closed.
    fn push(&self, py: Python<'_>, entry: Entry) -> PyResult<()>;

    /// Watches a descriptor, in the place of whoever watched it before. For the loop's owner.
    ///
    /// # Errors
    /// `OSError` for a descriptor that is closed or cannot be polled; `RuntimeError` if the loop is closed.
    fn watch(&self, py: Python<'_>, fd: RawFd, direction: Direction, watch: Watch) -> PyResult<()>;

    /// Ends the watch if it is this transport's. For the loop's owner.
    fn unwatch(&self, transport: &Bound<'_, PyAny>, fd: RawFd, direction: Direction);

    /// What this transport reads is ready still, it thinks: see [`oneloop::engine::EventLoop::note_ready`]. For anybody; only a running loop's
    /// own thread is heard.
    fn note_readable(&self, py: Python<'_>, fd: RawFd);

    /// Wakes the coroutines that wait for the descriptor, which is about to be closed. For anybody; outside the loop they wait on.
    ///
    /// # Errors
    /// Those of scheduling their tasks.
    fn end_waits(&self, py: Python<'_>, fd: RawFd) -> PyResult<()>;

    /// Bytes were sent, or a descriptor closed. For anybody.
    fn note_io(&self, py: Python<'_>);

    /// The loop's entry in which a transport is written to, if what is written may be held back. For anybody.
    fn write(&self, py: Python<'_>) -> Option<WriteTurn>;

    /// This transport is about to send so, in such an entry: what has to go before is sent. For the loop's thread.
    fn give_way(&self, transport: &Bound<'_, PyAny>, dispatch: Dispatch);

    /// As [`Port::note_io`], of bytes that this transport has sent. For anybody.
    fn wrote(&self, transport: &Bound<'_, PyAny>, dispatch: Dispatch);

    /// Remembers that the descriptor is the transport's.
    ///
    /// # Errors
    /// `MemoryError`.
    fn claim(&self, fd: RawFd, transport: &Bound<'_, PyAny>) -> PyResult<()>;

    /// Forgets it.
    fn release(&self, fd: RawFd, transport: &Bound<'_, PyAny>);

    /// The loop's buffer to read into, empty and with room; to be given back.
    fn take_buffer(&self, py: Python<'_>) -> Vec<u8>;

    /// Gives it back.
    fn return_buffer(&self, py: Python<'_>, buffer: Vec<u8>);
}
