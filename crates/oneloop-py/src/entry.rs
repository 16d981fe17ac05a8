//! What the Python loop queues: the engine's entries and watches.

use std::net::SocketAddr;
use std::os::fd::{OwnedFd, RawFd};

use oneloop::Instant;
use oneloop::engine::{Direction, Host};
use pyo3::prelude::*;

use crate::claims::Claims;
use crate::direct::Call;
use crate::ffi::attached::Attached;
use crate::ffi::bytes::Spare;
use crate::handle::{Handle, TimerHandle};
use crate::sleepers::{Sleeper, Sleepers};
use crate::waiters::Waiters;

/// One thing to run.
pub(crate) enum Entry {
    /// A callback of `call_soon` and its like, a timer's, or a watched descriptor's.
    Callback(Handle),
    /// A call of asyncio's own, which has no handle.
    Call(Call),
    /// What a method that was called on another thread has left to do on the loop's own.
    Request(Request),
    /// Bytes wait in the signal pipe.
    Signals,
    /// What a transport has to do.
    Transport(Py<PyAny>, Step),
    /// Connections wait to be accepted.
    Accept(Py<PyAny>),
    /// A connection that was accepted wants its protocol: the listener, and the connection. Boxed, for most entries are of other kinds.
    Connect(Py<PyAny>, Box<Accepted>),
    /// A native coroutine can go on.
    Wake(Sleeper),
    /// A descriptor that coroutines wait for is ready.
    Ready(Waiters),
}

/// A connection that was accepted.
pub(crate) struct Accepted {
    pub(crate) connection: OwnedFd,
    /// Whose it is, as the system said when it was accepted: later it does not, once the peer has gone. `None` for what is no internet
    /// address.
    pub(crate) peer: Option<SocketAddr>,
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
    /// Drop what a coroutine was doing: it has parts of the loop's.
    Abandon(Attached<Box<dyn Holds>>),
}

/// What owns Python objects and is no Python object itself.
pub(crate) trait Holds {
    /// Shows every object that it owns to a garbage collector. Runs no Python code.
    fn visit(&self, visit: &mut dyn FnMut(&Py<PyAny>));
}

impl Entry {
    /// Shows every Python object that the entry owns to a garbage collector.
    pub(crate) fn visit(&self, visit: &mut dyn FnMut(&Py<PyAny>)) {
        match self {
            Self::Callback(handle) | Self::Request(Request::Watch(_, _, handle)) => {
                visit(handle.as_any());
            }
            Self::Call(call) => call.visit(visit),
            Self::Request(Request::Arm(_, timer)) => visit(timer.as_any()),
            Self::Request(Request::Settle(transport)) | Self::Transport(transport, _) => {
                visit(transport);
            }
            Self::Request(Request::Listen(listener) | Request::StopListening(listener))
            | Self::Accept(listener)
            | Self::Connect(listener, _) => visit(listener),
            Self::Request(Request::Abandon(work)) => work.for_collector().visit(visit),
            // Shared with the watch, which shows it.
            Self::Ready(_) => {}
            Self::Request(Request::Unwatch(..) | Request::TrackOrigins(_))
            | Self::Signals
            | Self::Wake(_) => {}
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
    /// Coroutines that wait for a socket.
    Waiters(Waiters),
}

/// A host that runs these entries: what lies below the Python loop's host, and is used by it, asks for no more.
pub(crate) trait RunsEntries: Host<Entry = Entry, Watch = Watch, Error = PyErr> {
    /// The coroutines that wait for something.
    fn sleepers(&self) -> &Sleepers;

    /// Which transport has which descriptor.
    fn claims(&self) -> &Claims;

    /// What coroutines receive into.
    fn spare(&self) -> &Spare;

    /// Whether the loop is in debug mode.
    fn is_debugging(&self) -> bool;
}

impl Watch {
    /// Shows every Python object that the watch owns to a garbage collector.
    pub(crate) fn visit(&self, visit: &mut dyn FnMut(&Py<PyAny>)) {
        match self {
            Self::Callback(handle) => visit(handle.as_any()),
            Self::Transport(transport, ..) => visit(transport),
            Self::Listener(listener) => visit(listener),
            Self::Waiters(waiters) => {
                if let Some(handle) = waiters.handle() {
                    visit(handle.as_any());
                }
            }
            Self::Signals => {}
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
            Self::Waiters(waiters) => Self::Waiters(waiters.clone()),
            Self::Signals => Self::Signals,
        }
    }
}

impl From<Watch> for Entry {
    fn from(watch: Watch) -> Self {
        match watch {
            Watch::Callback(handle) => Self::Callback(handle),
            Watch::Listener(listener) => Self::Accept(listener),
            Watch::Waiters(waiters) => Self::Ready(waiters),
            Watch::Signals => Self::Signals,
            Watch::Transport(transport, direction, number) => {
                Self::Transport(transport, Step::Ready(direction, number))
            }
        }
    }
}
