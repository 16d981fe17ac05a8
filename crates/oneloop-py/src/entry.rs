//! What the Python loop queues: the engine's entries and watches.

use std::os::fd::{OwnedFd, RawFd};

use oneloop::Instant;
use oneloop::engine::{Direction, Host};
use pyo3::prelude::*;

use crate::handle::{Handle, TimerHandle};

/// One thing to run.
pub(crate) enum Entry {
    /// A callback of `call_soon` and its like, a timer's, or a watched descriptor's.
    Callback(Handle),
    /// What a method that was called on another thread has left to do on the loop's own.
    Request(Request),
    /// Bytes wait in the signal pipe.
    Signals,
    /// What a transport has to do.
    Transport(Py<PyAny>, Step),
    /// Connections wait to be accepted.
    Accept(Py<PyAny>),
    /// A connection that was accepted wants its protocol: the listener, and the connection.
    Connect(Py<PyAny>, OwnedFd),
}

/// What a transport does in an entry of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Begin to read: the protocol knows of the connection.
    Start,
    /// Wake whoever waits for the connection.
    Wake,
    /// Tell the protocol of the connection's end.
    Lose,
    /// Read or write: the descriptor is ready. The number is that of the watch, which may have ended since.
    Ready(Direction, u32),
}

/// A change of the loop's state, which is its owner's business. Data and not a closure, so that the garbage collector sees what it holds.
pub(crate) enum Request {
    /// Arm a timer.
    Arm(Instant, TimerHandle),
    /// Watch one direction of a descriptor.
    Watch(RawFd, Direction, Handle),
    /// End the watch on one direction of a descriptor.
    Unwatch(RawFd, Direction),
    /// Accept connections.
    Listen(Py<PyAny>),
    /// Accept no more connections.
    StopListening(Py<PyAny>),
    /// Begin or end recording where coroutines are created.
    TrackOrigins(bool),
    /// Bring the watches of a transport in line with what it wants.
    Settle(Py<PyAny>),
}

impl Entry {
    /// The Python object that the entry holds.
    pub(crate) fn object(&self) -> Option<&Py<PyAny>> {
        match self {
            Self::Callback(handle) | Self::Request(Request::Watch(_, _, handle)) => {
                Some(handle.as_any())
            }
            Self::Request(Request::Arm(_, timer)) => Some(timer.as_any()),
            Self::Request(Request::Settle(transport)) | Self::Transport(transport, _) => {
                Some(transport)
            }
            Self::Request(Request::Listen(listener) | Request::StopListening(listener))
            | Self::Accept(listener)
            | Self::Connect(listener, _) => Some(listener),
            Self::Request(Request::Unwatch(..) | Request::TrackOrigins(_)) | Self::Signals => None,
        }
    }
}

/// Who waits for a descriptor.
pub(crate) enum Watch {
    /// The handle of `add_reader` or `add_writer`, which runs as long as the descriptor is ready.
    Callback(Handle),
    /// The signal pipe.
    Signals,
    /// A transport, and the number by which it knows this watch.
    Transport(Py<PyAny>, Direction, u32),
    /// A listening socket.
    Listener(Py<PyAny>),
}

/// A host that runs these entries: what lies below the Python loop's host, and is used by it, asks for no more.
pub(crate) trait RunsEntries: Host<Entry = Entry, Watch = Watch, Error = PyErr> {}

impl<H: Host<Entry = Entry, Watch = Watch, Error = PyErr>> RunsEntries for H {}

impl Watch {
    /// The Python object that the watch holds.
    pub(crate) fn object(&self) -> Option<&Py<PyAny>> {
        match self {
            Self::Callback(handle) => Some(handle.as_any()),
            Self::Transport(transport, ..) => Some(transport),
            Self::Listener(listener) => Some(listener),
            Self::Signals => None,
        }
    }
}

impl Clone for Watch {
    fn clone(&self) -> Self {
        match self {
            // The engine clones a watch on the loop's thread only, which is attached whenever it is not in a wait.
            Self::Callback(handle) => Python::attach(|py| Self::Callback(handle.clone_ref(py))),
            Self::Transport(transport, direction, number) => {
                Python::attach(|py| Self::Transport(transport.clone_ref(py), *direction, *number))
            }
            Self::Listener(listener) => Python::attach(|py| Self::Listener(listener.clone_ref(py))),
            Self::Signals => Self::Signals,
        }
    }
}

impl From<Watch> for Entry {
    fn from(watch: Watch) -> Self {
        match watch {
            Watch::Callback(handle) => Self::Callback(handle),
            Watch::Listener(listener) => Self::Accept(listener),
            Watch::Signals => Self::Signals,
            Watch::Transport(transport, direction, number) => {
                Self::Transport(transport, Step::Ready(direction, number))
            }
        }
    }
}
