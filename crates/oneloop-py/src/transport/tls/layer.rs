//! `Layer`: TLS on one connection, the payload of the protocol that the transport below talks to.
//!
//! It drives the engine's state machine and the TLS object, and does what they ask for. Its methods stand in files of their own by subject:
//! `handshake`, `incoming`, `outgoing`, `closing`, `failing`. Any of its calls into Python (a method of the protocol's or of the transport's, a callback
//! of the TLS object's) may call any method again; so each looks at the state anew after every such call.

use std::cell::{Cell, RefCell};

use oneloop::engine::stream::Queue;
use oneloop::engine::tls::Session;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::super::protocol;
use super::cipher::Cipher;
use super::loan::Loan;
use super::marks::Marks;
use super::settings::Settings;
use super::surface::{self, Surface};
use super::timer::Timer;
use super::{layer_type, surface_type};
use crate::ffi::buffer::SharedBytes;
use crate::ffi::call;
use crate::ffi::raw_type::{Halt, Payload, Visit};
use crate::ffi::slot::Slot;
use crate::names;

/// asyncio's high-water marks, `FLOW_CONTROL_HIGH_WATER_SSL_WRITE` and `_READ`.
const WRITE_HIGH: usize = 512 * 1024;
const READ_HIGH: usize = 256 * 1024;

/// TLS between a transport and a protocol.
pub(super) struct Layer {
    session: RefCell<Session>,
    pub(super) cipher: Cipher,
    /// What was written and is not encrypted yet.
    pub(super) backlog: RefCell<Queue<SharedBytes>>,
    /// Flow control of what the protocol above writes, and of what the transport below receives.
    pub(super) writing: Marks,
    pub(super) reading: Marks,
    pub(super) event_loop: Slot,
    /// The transport below, while it is connected.
    pub(super) below: Slot,
    /// The protocol above, until it was told of the end.
    pub(super) protocol: Slot,
    /// Whether that is an `asyncio.BufferedProtocol`.
    pub(super) is_buffered: Cell<bool>,
    /// The transport that the protocol above sees, until it was told of the end.
    pub(super) surface: Slot,
    /// Who waits for the handshake.
    waiter: Slot,
    /// Nobody waits: a server accepted the connection, and is told in debug mode of what fails.
    is_accepted: Cell<bool>,
    /// What `get_extra_info` knows beside what the transport below does.
    pub(super) extra: Slot,
    pub(super) handshake_timer: Timer,
    pub(super) shutdown_timer: Timer,
    /// When the handshake began, in debug mode.
    pub(super) began: Slot,
    pub(super) loan: Loan,
    /// Decrypted bytes may wait in the TLS object.
    pub(super) has_unread: Cell<bool>,
    /// An entry of the loop's is to go on, see [`Layer::postpone`].
    is_postponed: Cell<bool>,
}

/// Puts TLS between a protocol and a transport that is connected later, or now: returns the protocol for that transport. A waiter, a future,
/// is told of the handshake. A protocol that knows was told of its connection before TLS began on it.
///
/// # Errors
/// As asyncio's `SSLProtocol`: `RuntimeError` without `ssl`, `ValueError` for limits of time that are not positive and for a server
/// without a context; and what `ssl` raises.
#[pyfunction]
#[pyo3(signature = (r#loop, protocol, settings, waiter=None, *, knows=false))]
pub(super) fn _wrap_tls<'py>(
    r#loop: &Bound<'py, PyAny>,
    protocol: &Bound<'py, PyAny>,
    settings: &Bound<'py, Settings>,
    waiter: Option<Bound<'py, PyAny>>,
    knows: bool,
) -> PyResult<Bound<'py, PyAny>> {
    wrap(
        r#loop,
        protocol,
        settings.get(),
        Session::new(knows),
        waiter,
    )
}

/// TLS for a connection that a server accepts, which in debug mode reports a handshake that fails.
///
/// # Errors
/// As [`_wrap_tls`].
pub(crate) fn accept<'py>(
    event_loop: &Bound<'py, PyAny>,
    protocol: &Bound<'py, PyAny>,
    settings: &Settings,
) -> PyResult<Bound<'py, PyAny>> {
    let object = wrap(event_loop, protocol, settings, Session::new(false), None)?;
    if let Some(layer) = payload(&object) {
        layer.is_accepted.set(true);
    }
    Ok(object)
}

/// Lets go of a layer whose connection never was: nobody is to be warned of its transport.
pub(crate) fn forget(object: &Bound<'_, PyAny>) {
    if let Some(layer) = payload(object)
        && let Some(surface) = layer.surface.get(object.py())
    {
        surface::mark_closed(&surface);
    }
}

fn wrap<'py>(
    event_loop: &Bound<'py, PyAny>,
    protocol: &Bound<'py, PyAny>,
    settings: &Settings,
    session: Session,
    waiter: Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    let limits = settings.limits(py)?;
    let context = settings.context(py)?;
    let extra = PyDict::new(py);
    extra.set_item(names::sslcontext(py), &context)?;
    let layer = Layer {
        session: RefCell::new(session),
        cipher: Cipher::new(&context, settings)?,
        backlog: RefCell::new(Queue::new()),
        writing: Marks::new(WRITE_HIGH),
        reading: Marks::new(READ_HIGH),
        event_loop: Slot::new(Some(event_loop.clone())),
        below: Slot::new(None),
        protocol: Slot::new(None),
        is_buffered: Cell::new(false),
        surface: Slot::new(None),
        waiter: Slot::new(waiter),
        is_accepted: Cell::new(false),
        extra: Slot::new(Some(extra.into_any())),
        handshake_timer: Timer::new(limits.handshake),
        shutdown_timer: Timer::new(limits.shutdown),
        began: Slot::new(None),
        loan: Loan::none(),
        has_unread: Cell::new(false),
        is_postponed: Cell::new(false),
    };
    layer.set_protocol(protocol)?;
    let object = layer_type(py).make(py, layer)?;
    let surface = surface_type(py).make(py, Surface::over(&object, event_loop))?;
    if let Some(layer) = payload(&object) {
        drop(layer.surface.replace(py, Some(surface)));
    }
    Ok(object)
}

/// The payload of a layer; `None` for any other object.
pub(super) fn payload<'a>(object: &'a Bound<'_, PyAny>) -> Option<&'a Layer> {
    layer_type(object.py()).payload(object)
}

impl Layer {
    /// Enters the state machine, which calls nobody.
    #[inline]
    pub(super) fn session<R>(&self, enter: impl FnOnce(&mut Session) -> R) -> R {
        enter(&mut self.session.borrow_mut())
    }

    /// Changes the protocol above.
    ///
    /// # Errors
    /// What an overridden `__instancecheck__` raises.
    pub(super) fn set_protocol(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        self.is_buffered.set(protocol::is_buffered(protocol)?);
        drop(self.protocol.replace(protocol.py(), Some(protocol.clone())));
        Ok(())
    }

    /// Schedules a call on the loop.
    ///
    /// # Errors
    /// `RuntimeError` if the loop is closed.
    pub(super) fn call_soon<'py>(
        &self,
        py: Python<'py>,
        callback: &Bound<'py, PyAny>,
        argument: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let Some(event_loop) = self.event_loop.get(py) else {
            return Ok(());
        };
        match argument {
            None => call::method(names::call_soon(py), [&event_loop, callback]),
            Some(argument) => call::method(names::call_soon(py), [&event_loop, callback, argument]),
        }
        .map(drop)
    }

    /// Goes on in an entry of its own: somebody is in the middle of a call of the TLS object, maybe on another thread. There is one such
    /// entry at a time: each of them would be put off again until the call ends, and everything that comes would add one.
    ///
    /// # Errors
    /// `RuntimeError` if the loop is closed.
    #[cold]
    pub(super) fn postpone(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = object.py();
        if self.is_postponed.get() {
            return Ok(());
        }
        let Some(event_loop) = self.event_loop.get(py) else {
            return Ok(());
        };
        let proceed = object.getattr(names::_proceed(py))?;
        // Before the call, which may come to somebody else's method: what that puts off is done by this entry as well.
        self.is_postponed.set(true);
        let scheduled = call::method(names::call_soon_threadsafe(py), [&event_loop, &proceed]);
        if scheduled.is_err() {
            self.is_postponed.set(false);
        }
        scheduled.map(drop)
    }

    /// What an entry of the loop's does: what was put off.
    ///
    /// # Errors
    /// What ends a run.
    pub(super) fn resume(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        self.is_postponed.set(false);
        self.proceed(object)
    }

    /// Whether the loop is in debug mode.
    pub(super) fn is_debug(&self, py: Python<'_>) -> PyResult<bool> {
        match self.event_loop.get(py) {
            Some(event_loop) => call::method(names::get_debug(py), [&event_loop])?.is_truthy(),
            None => Ok(false),
        }
    }

    /// Whether somebody waits for the handshake.
    pub(super) fn is_awaited(&self, py: Python<'_>) -> bool {
        self.waiter.get(py).is_some()
    }

    /// Wakes whoever waits for the handshake: it is done, or it failed.
    pub(super) fn wake<'py>(
        &self,
        py: Python<'py>,
        failure: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        if self.is_accepted.replace(false) {
            return match failure {
                Some(failure) => self.report_unaccepted(py, failure),
                None => Ok(()),
            };
        }
        let Some(waiter) = self.waiter.take(py) else {
            return Ok(());
        };
        if call::method(names::cancelled(py), [&waiter])?.is_truthy()? {
            return Ok(());
        }
        match failure {
            Some(failure) => call::method(names::set_exception(py), [&waiter, failure]),
            None => {
                let none = py.None().into_bound(py);
                call::method(names::set_result(py), [&waiter, &none])
            }
        }
        .map(drop)
    }

    /// Follows `asyncio.BaseTransport.get_extra_info`, for the transport above.
    pub(super) fn extra_info<'py>(
        &self,
        py: Python<'py>,
        name: &Bound<'py, PyAny>,
        default: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Some(extra) = self.extra.get(py)
            && let Some(value) = extra.cast::<PyDict>()?.get_item(name)?
        {
            return Ok(value);
        }
        match self.below.get(py) {
            Some(below) => call::method(names::get_extra_info(py), [&below, name, &default]),
            None => Ok(default),
        }
    }

    fn slots(&self) -> [&Slot; 9] {
        let [memory, view] = self.loan.slots();
        [
            memory,
            view,
            &self.event_loop,
            &self.below,
            &self.protocol,
            &self.surface,
            &self.waiter,
            &self.extra,
            &self.began,
        ]
    }
}

impl Payload for Layer {
    fn traverse(&self, visit: &Visit<'_>) -> Result<(), Halt> {
        self.cipher.traverse(visit)?;
        self.writing.traverse(visit)?;
        self.reading.traverse(visit)?;
        self.handshake_timer.traverse(visit)?;
        self.shutdown_timer.traverse(visit)?;
        self.slots()
            .into_iter()
            .try_for_each(|slot| slot.traverse(visit))
    }

    fn clear(&self, py: Python<'_>) {
        self.cipher.release(py);
        self.writing.clear(py);
        self.reading.clear(py);
        self.handshake_timer.clear(py);
        self.shutdown_timer.clear(py);
        for slot in self.slots() {
            drop(slot.take(py));
        }
        self.drop_backlog(py);
    }
}
