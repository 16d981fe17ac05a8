//! `Turns`: which entry of the loop runs, and which transports have bytes held back, until it ends or until others have had their turn.
//!
//! What one entry writes to a TCP connection in several pieces leaves together: the system keeps what it was handed (`MSG_MORE`) and sends it
//! with the last piece, as the engine's `Gather` expects it, or when the entry ends if that piece did not come. What entries that are ready
//! together write to several connections leaves together, too, where the engine's `Batch` finds that worth while. Nothing is kept here:
//! every write has been accepted, refused or cut short by the system when `write()` returns, as asyncio's has. So sizes, flow control and
//! errors are exact at any time, and what ends the process, a fork or an exec loses nothing.
//!
//! Promises:
//!
//! - connections are sent on in the order in which they were written to: who writes without waiting has what was held before it sent on first;
//! - everything is sent on when an entry ends that no other follows, and when the run ends, whatever it ends with; else a millisecond later
//!   at most, or when the entry ends that runs then. The system itself does so after a fifth of a second;
//! - no option of the socket that a program can set is changed.

use std::cell::{Cell, RefCell};
use std::os::fd::BorrowedFd;

use oneloop::engine::monotonic;
use oneloop::engine::stream::{Batch, Dispatch};
use pyo3::prelude::*;
use rustix::net::SendFlags;

use super::endpoint::SEND;
use super::stream;

/// The environment variable that turns this off.
const SWITCH: &str = "ONELOOP_GATHER_WRITES";

/// The turns of a loop: each entry is one.
pub(crate) struct Turns {
    is_on: bool,
    number: Cell<u32>,
    /// Whether an entry runs now.
    inside: Cell<bool>,
    batch: RefCell<Batch>,
    /// The transports that have bytes held back, in the order in which they were written to.
    held: RefCell<Vec<Py<PyAny>>>,
}

/// The entry that runs and in which a transport is written to.
#[derive(Clone, Copy)]
pub(crate) struct WriteTurn {
    pub(super) number: u32,
    /// Whether what is written may wait for what other entries write.
    pub(super) is_shared: bool,
    /// Whether there are bytes that are held back.
    pub(super) has_held: bool,
}

impl Turns {
    pub(crate) fn new() -> Self {
        Self {
            is_on: IS_SUPPORTED && std::env::var_os(SWITCH).is_none_or(|value| value != "0"),
            number: Cell::new(0),
            inside: Cell::new(false),
            batch: RefCell::default(),
            held: RefCell::default(),
        }
    }

    /// An entry begins.
    #[inline]
    pub(crate) fn begin(&self) {
        self.number.set(self.number.get().wrapping_add(1));
        self.inside.set(true);
    }

    /// It has ended: what is held back is sent, unless it waits for others. `others_wait` is whether any other is ready.
    #[inline]
    pub(crate) fn end(&self, py: Python<'_>, others_wait: impl FnOnce() -> bool) {
        self.inside.set(false);
        self.settle(py, others_wait);
    }

    /// Sends what is held back, unless it waits for others: at the end of an entry, and of a tick, whose last one may be a Rust task's, which
    /// is none here.
    #[inline]
    pub(crate) fn settle(&self, py: Python<'_>, others_wait: impl FnOnce() -> bool) {
        if !self.held.borrow().is_empty() && self.batch.borrow().is_over(others_wait(), monotonic) {
            self.release(py);
        }
    }

    /// Everything that is held back is sent.
    pub(crate) fn release(&self, py: Python<'_>) {
        let held = self.held.take();
        for transport in &held {
            stream::send_held(transport.bind(py));
        }
        self.batch.borrow_mut().release(monotonic);
        // Dropping a transport may run what writes to another one.
        drop(held);
    }

    /// The entry that runs, in which a transport is written to; `None` if there is none, or nothing is to be held back. For the thread that
    /// runs the loop.
    #[inline]
    pub(crate) fn write(&self, others_wait: impl FnOnce() -> bool) -> Option<WriteTurn> {
        if !self.is_on || !self.inside.get() {
            return None;
        }
        let mut is_shared = others_wait();
        if is_shared {
            let mut batch = self.batch.borrow_mut();
            batch.write(monotonic);
            is_shared = batch.is_shared();
        }
        Some(WriteTurn {
            number: self.number.get(),
            is_shared,
            has_held: !self.held.borrow().is_empty(),
        })
    }

    /// A piece of `transport`'s is about to be sent so: what others have had held back before it goes first.
    pub(crate) fn give_way(&self, transport: &Bound<'_, PyAny>, dispatch: Dispatch) {
        let goes_first = |held: &[Py<PyAny>]| match dispatch {
            Dispatch::Now => held.iter().any(|other| !other.is(transport)),
            Dispatch::Held => {
                matches!(held, [others @ .., _] if others.iter().any(|other| other.is(transport)))
            }
        };
        let is_needed = goes_first(&self.held.borrow());
        if is_needed {
            self.release(transport.py());
        }
    }

    /// A piece of `transport`'s was sent so.
    #[inline]
    pub(crate) fn wrote(&self, transport: &Bound<'_, PyAny>, dispatch: Dispatch) {
        match dispatch {
            Dispatch::Held => self.hold(transport),
            // Sent with what was held of this transport's before it.
            Dispatch::Now => self.forget(transport),
        }
    }

    fn hold(&self, transport: &Bound<'_, PyAny>) {
        let mut held = self.held.borrow_mut();
        if !held.last().is_some_and(|last| last.is(transport)) {
            held.push(transport.clone().unbind());
            self.batch.borrow_mut().hold(monotonic);
        }
    }

    fn forget(&self, transport: &Bound<'_, PyAny>) {
        let mut held = self.held.borrow_mut();
        if held.is_empty() {
            return;
        }
        // The caller has the transport, so nothing is freed here.
        held.retain(|other| !other.is(transport));
        if held.is_empty() {
            self.batch.borrow_mut().release(monotonic);
        }
    }
}

/// How a piece is sent.
#[inline]
pub(super) fn flags(dispatch: Dispatch) -> SendFlags {
    match dispatch {
        Dispatch::Now => SEND,
        Dispatch::Held => SEND.union(HOLD),
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const IS_SUPPORTED: bool = true;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const IS_SUPPORTED: bool = false;

#[cfg(any(target_os = "linux", target_os = "android"))]
const HOLD: SendFlags = SendFlags::MORE;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const HOLD: SendFlags = SendFlags::empty();

/// Whether the system holds back bytes for this socket: TCP's only.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn is_possible(socket: BorrowedFd<'_>) -> bool {
    rustix::net::sockopt::tcp_cork(socket).is_ok()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn is_possible(_: BorrowedFd<'_>) -> bool {
    false
}

/// Has the system send what it holds back.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn send_on(socket: BorrowedFd<'_>) {
    use rustix::net::sockopt::{set_tcp_cork, tcp_cork};

    // Ending a cork that is not there is the one way that leaves every option as it was. A cork of the program's own holds back what
    // asyncio would have sent, too.
    if let Ok(false) = tcp_cork(socket) {
        // A socket that is broken by now says so to its next reader or writer.
        let _ = set_tcp_cork(socket, false);
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn send_on(_: BorrowedFd<'_>) {}
