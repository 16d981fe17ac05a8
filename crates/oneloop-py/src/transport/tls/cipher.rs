//! The TLS object and its two memory buffers, behind bound methods that are looked up once.
//!
//! OpenSSL's state must not be entered twice at once, and the buffers are part of it. A callback of its own (`sni_callback`,
//! `_msg_callback`) runs Python in the middle of a call, and `ssl` lets go of the GIL meanwhile, so another thread may come, too. Whoever
//! finds the object in use is told so ([`Outcome::Busy`]) and tries again in an entry of its own; what comes from the peer meanwhile is put
//! aside, and what is to be sent is left to who is in the middle of the call.

use std::cell::{Cell, RefCell};

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::settings::Settings;
use crate::ffi::buffer::View;
use crate::ffi::call;
use crate::ffi::raw_type::{Halt, Visit};
use crate::ffi::slot::Slot;
use crate::names;

/// The most that one record holds.
pub(super) const RECORD: usize = 16 * 1024;

/// What came of asking the TLS object for something.
pub(super) enum Outcome<T> {
    /// It did it.
    Done(T),
    /// It needs more of the peer's bytes first.
    Again,
    /// It is in the middle of something else.
    Busy,
}

/// The TLS object of one connection, until the connection is lost.
pub(super) struct Cipher {
    object: Slot,
    incoming: Slot,
    outgoing: Slot,
    // Bound methods, of the object and of the buffers.
    read: Slot,
    write: Slot,
    feed: Slot,
    drain: Slot,
    is_used: Cell<bool>,
    /// What came from the peer while the object was in use.
    aside: RefCell<Vec<u8>>,
    /// What was received last ends in the middle of a record, whose first part the object has taken in.
    is_mid_record: Cell<bool>,
}

impl Cipher {
    /// A TLS object of the user's context.
    ///
    /// # Errors
    /// What `ssl` raises, for a host name that is none or a context of the wrong side.
    pub(super) fn new(context: &Bound<'_, PyAny>, settings: &Settings) -> PyResult<Self> {
        let py = context.py();
        let memory = names::memory_bio(py)?;
        let (incoming, outgoing) = (memory.call0()?, memory.call0()?);
        let object = settings.wrap(context, &incoming, &outgoing)?;
        let method = |object: &Bound<'_, PyAny>, name| -> PyResult<Slot> {
            Ok(Slot::new(Some(object.getattr(name)?)))
        };
        Ok(Self {
            read: method(&object, names::read(py))?,
            write: method(&object, names::write(py))?,
            feed: method(&incoming, names::write(py))?,
            drain: method(&outgoing, names::read(py))?,
            object: Slot::new(Some(object)),
            incoming: Slot::new(Some(incoming)),
            outgoing: Slot::new(Some(outgoing)),
            is_used: Cell::new(false),
            aside: RefCell::default(),
            is_mid_record: Cell::new(false),
        })
    }

    /// The user's view of it: an `ssl.SSLObject`.
    pub(super) fn object<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.object.get(py)
    }

    /// Whether somebody is in the middle of a call.
    pub(super) fn is_used(&self) -> bool {
        self.is_used.get()
    }

    /// Takes what the peer has sent.
    ///
    /// # Errors
    /// What `MemoryBIO.write` raises.
    pub(super) fn feed(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.is_used() {
            let view = View::readable(data)?;
            self.aside.borrow_mut().extend_from_slice(view.bytes());
            return Ok(());
        }
        self.feed_aside(data.py())?;
        self.feed_now(data)
    }

    fn feed_now(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        match self.feed.get(data.py()) {
            Some(feed) => call::with(&feed, [data]).map(drop),
            None => Ok(()),
        }
    }

    /// Takes what was put aside.
    fn feed_aside(&self, py: Python<'_>) -> PyResult<()> {
        if self.aside.borrow().is_empty() {
            return Ok(());
        }
        let aside = self.aside.take();
        self.feed_now(PyBytes::new(py, &aside).as_any())
    }

    /// What is to be sent to the peer, if there is anything.
    ///
    /// # Errors
    /// What `MemoryBIO.read` raises.
    pub(super) fn drain<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.drain.get(py) {
            Some(drain) if !self.is_used() && self.outgoing(py)? > 0 => {
                call::with(&drain, []).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// How many bytes of the peer's wait to be looked at.
    ///
    /// # Errors
    /// What `MemoryBIO.pending` raises.
    pub(super) fn incoming(&self, py: Python<'_>) -> PyResult<usize> {
        if !self.is_used() {
            self.feed_aside(py)?;
        }
        Ok(pending(py, &self.incoming)? + self.aside.borrow().len())
    }

    /// How many bytes wait to be sent to the peer.
    ///
    /// # Errors
    /// What `MemoryBIO.pending` raises.
    pub(super) fn outgoing(&self, py: Python<'_>) -> PyResult<usize> {
        pending(py, &self.outgoing)
    }

    /// Goes on with the handshake.
    ///
    /// # Errors
    /// `ssl.SSLError`, and what a callback of the user's raises.
    pub(super) fn handshake(&self, py: Python<'_>) -> PyResult<Outcome<()>> {
        self.call_object(py, |object| {
            call::method(names::do_handshake(py), [object]).map(drop)
        })
    }

    /// Goes on with the exchange of `close_notify`.
    ///
    /// # Errors
    /// `ssl.SSLError`, for a peer that still sends above all.
    pub(super) fn unwrap(&self, py: Python<'_>) -> PyResult<Outcome<()>> {
        self.call_object(py, |object| {
            call::method(names::unwrap(py), [object]).map(drop)
        })
    }

    /// Decrypts at most one record, of which `waiting` encrypted bytes are known to have come. Empty if the peer sends no more.
    ///
    /// # Errors
    /// `ssl.SSLError`.
    pub(super) fn read<'py>(
        &self,
        py: Python<'py>,
        waiting: usize,
    ) -> PyResult<Outcome<Plain<'py>>> {
        // A record is longer than what it holds, so no more is asked for than has come: unless its first part came before.
        let size = match self.is_mid_record.get() {
            true => RECORD,
            false => waiting.clamp(1, RECORD),
        };
        let wanted = size.into_pyobject(py)?.into_any();
        let outcome = self.call_method(py, &self.read, |read| call::with(read, [&wanted]))?;
        self.is_mid_record.set(matches!(outcome, Outcome::Again));
        Ok(match outcome {
            Outcome::Done(data) => {
                let data = data.cast_into::<PyBytes>()?;
                Outcome::Done(Plain {
                    is_partial: data.as_bytes().len() == size,
                    data,
                })
            }
            Outcome::Again => Outcome::Again,
            Outcome::Busy => Outcome::Busy,
        })
    }

    /// Decrypts into `memory`, of `size` bytes; how many that were, and none if the peer sends no more.
    ///
    /// # Errors
    /// `ssl.SSLError`.
    pub(super) fn read_into(
        &self,
        memory: &Bound<'_, PyAny>,
        size: usize,
    ) -> PyResult<Outcome<usize>> {
        let py = memory.py();
        let wanted = size.into_pyobject(py)?.into_any();
        let read = |read: &Bound<'_, PyAny>| call::with(read, [&wanted, memory])?.extract();
        let outcome = self.call_method(py, &self.read, read)?;
        self.is_mid_record.set(matches!(outcome, Outcome::Again));
        Ok(outcome)
    }

    /// Encrypts bytes; how many it took.
    ///
    /// # Errors
    /// `ssl.SSLError`.
    pub(super) fn write(&self, data: &Bound<'_, PyAny>) -> PyResult<Outcome<usize>> {
        let write = |write: &Bound<'_, PyAny>| call::with(write, [data])?.extract();
        self.call_method(data.py(), &self.write, write)
    }

    fn call_object<T>(
        &self,
        py: Python<'_>,
        body: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<T>,
    ) -> PyResult<Outcome<T>> {
        self.call_method(py, &self.object, body)
    }

    /// Calls what is in a slot, unless somebody is in the middle of a call.
    fn call_method<'py, T>(
        &self,
        py: Python<'py>,
        slot: &Slot,
        body: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<T>,
    ) -> PyResult<Outcome<T>> {
        let Some(method) = slot.get(py) else {
            return Ok(Outcome::Again);
        };
        if self.is_used() {
            return Ok(Outcome::Busy);
        }
        self.feed_aside(py)?;
        self.is_used.set(true);
        let result = body(&method);
        self.is_used.set(false);
        match result {
            Ok(value) => Ok(Outcome::Done(value)),
            Err(error) if is_momentary(py, &error)? => Ok(Outcome::Again),
            Err(error) => Err(error),
        }
    }

    /// Lets go of everything: nothing is exchanged any more. The user's view of the object lives on with those who have it.
    pub(super) fn release(&self, py: Python<'_>) {
        for slot in self.slots() {
            drop(slot.take(py));
        }
        self.aside.take();
    }

    /// Shows its objects to the garbage collector.
    pub(super) fn traverse(&self, visit: &Visit<'_>) -> Result<(), Halt> {
        self.slots()
            .into_iter()
            .try_for_each(|slot| slot.traverse(visit))
    }

    fn slots(&self) -> [&Slot; 7] {
        [
            &self.object,
            &self.incoming,
            &self.outgoing,
            &self.read,
            &self.write,
            &self.feed,
            &self.drain,
        ]
    }
}

/// Decrypted bytes.
pub(super) struct Plain<'py> {
    pub(super) data: Bound<'py, PyBytes>,
    /// There may be more of the same record.
    pub(super) is_partial: bool,
}

fn pending(py: Python<'_>, memory: &Slot) -> PyResult<usize> {
    match memory.get(py) {
        Some(memory) => memory.getattr(names::pending(py))?.extract(),
        None => Ok(0),
    }
}

/// Whether an error only says that more of the peer's bytes are needed.
fn is_momentary(py: Python<'_>, error: &PyErr) -> PyResult<bool> {
    let class = error.get_type(py);
    Ok(class.is(names::ssl_want_read_error(py)?)
        || error.is_instance(py, names::ssl_want_read_error(py)?)
        || error.is_instance(py, names::ssl_syscall_error(py)?))
}
