//! Accepting connections: what a server's listening socket does when it is readable.
//!
//! Follows asyncio's selector loop. Each connection gets its protocol and its transport in an entry of its own, one iteration after it
//! was accepted, in a copy of the context in which the server began to listen. Without descriptors or memory for another connection the
//! loop says so, leaves the others waiting for a second, and goes on.

use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use oneloop::engine::{Direction, EventLoop, Reactor};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use rustix::io::Errno;

use crate::entry::{Accepted, Entry, Request, RunsEntries, Watch};
use crate::ffi::context::{self, Entered};
use crate::ffi::descriptor;
use crate::transport::tls::{self, Settings};
use crate::transport::{self, Descriptor, Parts, Port};
use crate::{errors, names, socket, watch};

/// How long accepting rests when the system has no room for a connection: asyncio's `ACCEPT_RETRY_DELAY`.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// A socket that accepts connections for a server, until it is told to stop.
#[pyclass(frozen, name = "_Listener", module = "oneloop._core")]
pub(crate) struct Listener {
    fd: RawFd,
    sock: Py<PyAny>,
    protocol_factory: Py<PyAny>,
    server: Option<Py<PyAny>>,
    port: Arc<dyn Port>,
    /// How many connections one iteration accepts; none if negative, as with asyncio.
    batch: i64,
    /// The context of which each connection gets a copy.
    context: Py<PyAny>,
    /// Whether that copy is for all of the connection's callbacks, or only for its beginning.
    context_is_for_all: bool,
    /// What TLS is to be like, where connections begin with it.
    tls: Option<Py<Settings>>,
    /// Relaxed: reached with the GIL held only.
    stopped: AtomicBool,
}

/// What a listener is made of: for whom it accepts.
pub(crate) struct Serving<'py> {
    /// A socket that listens already and does not block.
    pub(crate) sock: Bound<'py, PyAny>,
    /// Makes a protocol for each connection.
    pub(crate) protocol_factory: Bound<'py, PyAny>,
    /// The `asyncio.Server`.
    pub(crate) server: Option<Bound<'py, PyAny>>,
    /// How many connections may wait.
    pub(crate) backlog: i64,
    /// The server's own context, on versions that have one (3.15): then all of a connection's callbacks run in one copy of it.
    pub(crate) context: Option<Bound<'py, PyAny>>,
    /// What TLS is to be like, if connections begin with it.
    pub(crate) tls: Option<Bound<'py, Settings>>,
}

impl Listener {
    /// A listener that does not accept yet.
    ///
    /// # Errors
    /// What asking the socket for its descriptor raises.
    pub(crate) fn new(serving: Serving<'_>, port: &Arc<dyn Port>) -> PyResult<Self> {
        let py = serving.sock.py();
        let fd = watch::descriptor(&watch::number(&serving.sock)?)?;
        let context_is_for_all = serving.context.is_some();
        let context = match serving.context {
            Some(context) => context,
            None => context::copy_current(py)?,
        };
        Ok(Self {
            fd,
            sock: serving.sock.unbind(),
            protocol_factory: serving.protocol_factory.unbind(),
            server: serving.server.map(Bound::unbind),
            port: Arc::clone(port),
            // From 3.14 on asyncio takes one more: the kernel lets that many wait.
            batch: serving.backlog.saturating_add(i64::from(cfg!(Py_3_14))),
            context: context.unbind(),
            context_is_for_all,
            tls: serving.tls.map(Bound::unbind),
            stopped: AtomicBool::new(false),
        })
    }

    /// Has nothing more accepted, whatever the loop still has to do about it.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

#[pymethods]
impl Listener {
    // No `__clear__`: every cycle through a listener goes through its loop, which can be cleared.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.sock)?;
        visit.call(&self.protocol_factory)?;
        visit.call(&self.server)?;
        visit.call(&self.context)?;
        visit.call(&self.tls)
    }
}

/// Begins to accept. For the loop's owner.
///
/// # Errors
/// `OSError` if the socket cannot be watched.
pub(crate) fn start(
    object: &Bound<'_, PyAny>,
    engine: &EventLoop<impl RunsEntries>,
) -> PyResult<()> {
    let listener = object.cast::<Listener>()?.get();
    if listener.is_stopped() {
        return Ok(());
    }
    let watch = Watch::Listener(object.clone().unbind());
    watch::replace(object.py(), engine, listener.fd, Direction::Read, watch)
}

/// Ends the watch of a listener that was told to stop. For the loop's owner.
pub(crate) fn unwatch(object: &Bound<'_, PyAny>, engine: &EventLoop<impl RunsEntries>) {
    let Ok(listener) = object.cast::<Listener>() else {
        return;
    };
    // Somebody else may watch the number by now.
    let ended = engine.unwatch_if(
        listener.get().fd,
        Direction::Read,
        |watch| matches!(watch, Watch::Listener(other) if other.is(object)),
    );
    drop(ended);
}

/// Accepts what waits: the socket is readable.
///
/// # Errors
/// What the exception handler raises.
pub(crate) fn accept(
    object: &Bound<'_, PyAny>,
    event_loop: &Bound<'_, PyAny>,
    engine: &EventLoop<impl RunsEntries>,
) -> PyResult<()> {
    let listener = object.cast::<Listener>()?.get();
    if listener.is_stopped() {
        return Ok(());
    }
    for _ in 0..listener.batch {
        match descriptor::with(listener.fd, |listener| Ok(socket::accept(listener)?)) {
            Ok((connection, peer)) => {
                let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
                let accepted = Box::new(Accepted { connection, peer });
                engine.push(Entry::Connect(object.clone().unbind(), accepted));
            }
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::WOULDBLOCK | Errno::INTR) => break,
                // The peer has gone again. Before 3.14 asyncio asks again in the next iteration only.
                Some(Errno::CONNABORTED) if cfg!(Py_3_14) => {}
                Some(Errno::CONNABORTED) => break,
                _ => return refused(object, listener, event_loop, engine, error),
            },
        }
    }
    Ok(())
}

/// Tells of a connection that could not be accepted, and sees to it that this is not told again at once.
fn refused(
    object: &Bound<'_, PyAny>,
    listener: &Listener,
    event_loop: &Bound<'_, PyAny>,
    engine: &EventLoop<impl RunsEntries>,
    error: io::Error,
) -> PyResult<()> {
    let py = object.py();
    let message = match Errno::from_io_error(&error) {
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
            // The socket stays readable, so it is left alone for a while.
            unwatch(object, engine);
            let retry = Entry::Request(Request::Listen(object.clone().unbind()));
            engine.arm(engine.now() + RETRY_DELAY, retry);
            "socket.accept() out of system resource"
        }
        Some(Errno::BADF | Errno::INVAL | Errno::NOTSOCK) => {
            // Closed, or shut down, behind the server's back: it will never accept again.
            unwatch(object, engine);
            "a listening socket was closed without its server"
        }
        // The network's, about one connection.
        _ => "socket.accept() failed",
    };
    let socket = names::transport_socket_class(py)?.call1((&listener.sock,))?;
    let error = errors::from_io(py, error);
    errors::call_exception_handler(event_loop, message, error, &[("socket", Some(socket))])
}

/// Makes protocol and transport of a connection. What fails is told in debug mode, as asyncio does, and closes the connection.
///
/// # Errors
/// `SystemExit` and `KeyboardInterrupt`, and what the exception handler raises.
pub(crate) fn connect(
    object: &Bound<'_, PyAny>,
    accepted: Accepted,
    event_loop: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = object.py();
    let listener = object.cast::<Listener>()?.get();
    let context = context::copy(listener.context.bind(py))?;
    let mut protocol = None;
    let made = Entered::new(&context).and_then(|_entered| {
        let made = listener.protocol_factory.bind(py).call0()?;
        let above = protocol.insert(made);
        let layer = match &listener.tls {
            Some(tls) => Some(tls::accept(event_loop, above, tls.get())?),
            None => None,
        };
        let parts = Parts {
            protocol: layer.as_ref().unwrap_or(above),
            waiter: None,
            extra: None,
            server: listener
                .server
                .as_ref()
                .map(|server| server.bind(py).clone()),
            context: listener.context_is_for_all.then(|| context.clone()),
            peer: accepted.peer,
        };
        let connection = Descriptor::Owned(accepted.connection);
        let made = transport::connect(event_loop, &listener.port, connection, parts);
        if let (Err(_), Some(layer)) = (&made, &layer) {
            tls::forget(layer);
        }
        made
    });
    match made {
        Ok(_) => Ok(()),
        Err(error) if errors::ends_run(py, &error) => Err(error),
        Err(error) if listener.port.is_debug(py) => {
            let message = "Error on transport creation for incoming connection";
            let made = protocol.filter(|protocol| !protocol.is_none());
            let known = made.map(|protocol| ("protocol", Some(protocol)));
            errors::call_exception_handler(event_loop, message, error, known.as_slice())
        }
        Err(_) => Ok(()),
    }
}
