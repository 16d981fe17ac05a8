//! `Transport`: the payload of every transport, how it begins, and doing what its state machine asks for.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use oneloop::engine::Direction;
use oneloop::engine::stream::Actions;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::endpoint::Endpoint;
use super::extra::Unasked;
use super::kind::Kind;
use super::port::Port;
use super::watcher::Watcher;
use crate::entry::{Entry, Step};
use crate::ffi::arguments::Rest;
use crate::ffi::context;
use crate::ffi::raw_type::{Halt, Payload, Visit};
use crate::ffi::slot::Slot;
use crate::handle::{Callback, Handle};
use crate::names;
use crate::streams;

/// The payload of a transport of kind `K`.
pub(super) struct Transport<K> {
    pub(super) kind: K,
    pub(super) endpoint: Endpoint,
    pub(super) port: Arc<dyn Port>,
    pub(super) reader: Watcher,
    pub(super) writer: Watcher,
    /// The Python loop, until the protocol was told of the end.
    pub(super) event_loop: Slot,
    /// The protocol, until it was told of the end.
    pub(super) protocol: Slot,
    pub(super) server: Slot,
    /// The dictionary of `get_extra_info`, and what is not in it before somebody asks.
    pub(super) extra: Slot,
    pub(super) unasked: RefCell<Option<Unasked>>,
    /// A future to wake once the connection is made.
    pub(super) waiter: Slot,
    /// What the connection was lost by, and the context in which the protocol is told.
    pub(super) lost_by: Slot,
    pub(super) lost_in: Slot,
    /// The context in which reading begins, which is the creator's.
    pub(super) start_in: Slot,
    /// The context of everything, where the interpreter lets one be given (3.15).
    given_context: Slot,
    /// The water marks as the user gave them; `None` is asyncio's default.
    pub(super) low: Slot,
    pub(super) high: Slot,
}

/// What a transport is made of, beside its descriptor.
pub(crate) struct Parts<'a, 'py> {
    /// The protocol.
    pub(crate) protocol: &'a Bound<'py, PyAny>,
    /// A future to wake once the protocol knows of the connection.
    pub(crate) waiter: Option<Bound<'py, PyAny>>,
    /// The dictionary of `get_extra_info`, to which the transport adds; `None` is a new one.
    pub(crate) extra: Option<Bound<'py, PyDict>>,
    /// The `asyncio.Server` that accepted the connection.
    pub(crate) server: Option<Bound<'py, PyAny>>,
    /// The context for all of the protocol's methods; `None` is a copy of the current one for each callback, as asyncio makes them.
    pub(crate) context: Option<Bound<'py, PyAny>>,
    /// Who is at the other end, if that is known already.
    pub(crate) peer: Option<SocketAddr>,
}

impl<'a, 'py> Parts<'a, 'py> {
    /// Those of a transport that no server and no context is given to.
    pub(crate) fn new(
        protocol: &'a Bound<'py, PyAny>,
        waiter: Option<Bound<'py, PyAny>>,
        extra: Option<Bound<'py, PyDict>>,
    ) -> Self {
        Self {
            protocol,
            waiter,
            extra,
            server: None,
            context: None,
            peer: None,
        }
    }
}

/// Whether a transport's descriptor is watched for reading.
pub(super) enum Reads {
    Yes,
    No,
}

impl<K: Kind> Transport<K> {
    pub(super) fn new<'py>(
        event_loop: &Bound<'py, PyAny>,
        port: &Arc<dyn Port>,
        endpoint: Endpoint,
        kind: K,
        parts: &Parts<'_, 'py>,
    ) -> Self {
        Self {
            kind,
            endpoint,
            port: Arc::clone(port),
            reader: Watcher::new(Direction::Read),
            writer: Watcher::new(Direction::Write),
            event_loop: Slot::new(Some(event_loop.clone())),
            protocol: Slot::new(Some(parts.protocol.clone())),
            server: Slot::new(None),
            extra: Slot::new(parts.extra.clone().map(Bound::into_any)),
            unasked: RefCell::new(None),
            waiter: Slot::new(None),
            lost_by: Slot::new(None),
            lost_in: Slot::new(None),
            start_in: Slot::new(None),
            given_context: Slot::new(parts.context.clone()),
            low: Slot::new(None),
            high: Slot::new(None),
        }
    }

    /// Makes the object, and introduces it to its protocol and its loop, after `prepare`: three entries in asyncio's order.
    ///
    /// # Errors
    /// As `prepare`; `AttributeError` for a protocol without `connection_made`; `RuntimeError` if the loop is closed.
    pub(super) fn introduce<'py>(
        self,
        parts: Parts<'_, 'py>,
        prepare: impl FnOnce(&Bound<'py, PyAny>, &Self) -> PyResult<Reads>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = parts.protocol.py();
        let class = self.kind.class().get(py);
        let class =
            class.expect("the module's initialization built the types before it offered a loop");
        let object = class.make(py, self)?;
        let Some(transport) = class.payload(&object) else {
            unreachable!("made of this type");
        };
        match transport.begin(&object, parts, prepare) {
            Ok(()) => Ok(object),
            Err(error) => {
                // It never was: nothing is to be warned of.
                transport.port.release(transport.endpoint.number(), &object);
                if let Err(failure) = transport.endpoint.give_up(py) {
                    failure.write_unraisable(py, Some(&object));
                }
                transport.detach(&object).and(Err(error))
            }
        }
    }

    fn begin<'py>(
        &self,
        object: &Bound<'py, PyAny>,
        parts: Parts<'_, 'py>,
        prepare: impl FnOnce(&Bound<'py, PyAny>, &Self) -> PyResult<Reads>,
    ) -> PyResult<()> {
        let py = object.py();
        let reads = prepare(object, self)?;
        streams::adopt(parts.protocol);
        let connection_made = parts.protocol.getattr(names::connection_made(py))?;
        self.call_soon(connection_made, PyTuple::new(py, [object])?)?;
        if let Reads::Yes = reads {
            drop(self.start_in.replace(py, Some(self.context(py)?)));
            self.push(object, Step::Start)?;
        }
        if let Some(waiter) = parts.waiter {
            drop(self.waiter.replace(py, Some(waiter)));
            self.push(object, Step::Wake)?;
        }
        Ok(())
    }

    /// Changes the protocol.
    ///
    /// # Errors
    /// As [`Kind::adopt`].
    pub(super) fn set_protocol(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        self.kind.adopt(protocol)?;
        drop(self.protocol.replace(protocol.py(), Some(protocol.clone())));
        Ok(())
    }

    /// Enters the state machine, which calls nobody.
    #[inline]
    pub(super) fn machine<R>(&self, enter: impl FnOnce(&mut K::Machine) -> R) -> R {
        self.kind.machine(enter)
    }

    /// Lends the descriptor to a system call.
    #[inline]
    pub(super) fn system_call<R>(
        &self,
        py: Python<'_>,
        call: impl FnOnce(BorrowedFd<'_>) -> io::Result<R>,
    ) -> PyResult<io::Result<R>> {
        self.endpoint.check(py)?;
        Ok(self.endpoint.with(py, call))
    }

    /// Does what the state machine asks for.
    ///
    /// # Errors
    /// Those of watching the descriptor, of shutting it down, and what ends the run out of the protocol's methods.
    pub(super) fn perform(&self, object: &Bound<'_, PyAny>, actions: Actions) -> PyResult<()> {
        if actions.is_empty() {
            return Ok(());
        }
        let py = object.py();
        let (port, fd) = (&*self.port, self.endpoint.number());
        if actions.contains(Actions::STOP_READING) {
            self.reader.stop(object, port, fd);
        }
        if actions.contains(Actions::STOP_WRITING) {
            self.writer.stop(object, port, fd);
        }
        if actions.contains(Actions::START_READING) {
            self.reader.start(object, port, fd, self.context(py)?)?;
        }
        if actions.contains(Actions::START_WRITING) {
            self.writer.start(object, port, fd, self.context(py)?)?;
        }
        if actions.contains(Actions::SHUT_DOWN) {
            K::shut_down(self, py)?;
        }
        if actions.contains(Actions::PAUSE_WRITING) {
            self.tell_to_pause(object)?;
        }
        if actions.contains(Actions::RESUME_WRITING) {
            self.tell_to_resume(object)?;
        }
        if actions.contains(Actions::LOSE_SOON) {
            self.lose_soon(object)?;
        }
        if actions.contains(Actions::LOSE_NOW) {
            self.lose_now(object)?;
        }
        Ok(())
    }

    /// The context for a callback that is scheduled now.
    ///
    /// # Errors
    /// `MemoryError`.
    pub(super) fn context<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self.given_context.get(py) {
            Some(context) => Ok(context),
            None => context::copy_current(py),
        }
    }

    /// Makes a step of this transport ready.
    ///
    /// # Errors
    /// `RuntimeError` if the loop is closed.
    pub(super) fn push(&self, object: &Bound<'_, PyAny>, step: Step) -> PyResult<()> {
        let entry = Entry::Transport(object.clone().unbind(), step);
        self.port.push(object.py(), entry)
    }

    /// Makes a call ready that is a handle of its own, as in asyncio.
    ///
    /// # Errors
    /// `RuntimeError` if the loop is closed.
    pub(super) fn call_soon<'py>(
        &self,
        callback: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
    ) -> PyResult<()> {
        let py = callback.py();
        let Some(event_loop) = self.event_loop.get(py) else {
            return Ok(());
        };
        let handle = Handle::new(Callback {
            event_loop: &event_loop,
            callback,
            args: Rest::of_tuple(&args),
            context: self.given_context.get(py),
            debug: self.port.is_debug(py),
        })?;
        self.port.push(py, Entry::Callback(handle))
    }

    fn slots(&self) -> [&Slot; 11] {
        [
            &self.event_loop,
            &self.protocol,
            &self.server,
            &self.extra,
            &self.waiter,
            &self.lost_by,
            &self.lost_in,
            &self.start_in,
            &self.given_context,
            &self.low,
            &self.high,
        ]
    }
}

impl<K: Kind> Payload for Transport<K> {
    fn traverse(&self, visit: &Visit<'_>) -> Result<(), Halt> {
        self.endpoint.traverse(visit)?;
        self.reader.traverse(visit)?;
        self.writer.traverse(visit)?;
        self.kind.traverse(visit)?;
        self.slots()
            .into_iter()
            .try_for_each(|slot| slot.traverse(visit))
    }

    fn clear(&self, py: Python<'_>) {
        self.endpoint.forget(py);
        self.reader.clear(py);
        self.writer.clear(py);
        for slot in self.slots() {
            drop(slot.take(py));
        }
        self.kind.clear(py);
    }
}
