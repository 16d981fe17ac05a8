//! `Turns`: which entry of the loop runs, and which transport has bytes held back until it ends.
//!
//! What one entry writes to a TCP connection in several pieces leaves together: the system keeps what it was handed (`MSG_MORE`) and sends it
//! with the last piece, as the engine's `Gather` expects it, or when the entry ends if that piece did not come. Nothing is kept here: every
//! write has been accepted, refused or cut short by the system when `write()` returns, as asyncio's has. So sizes, flow control and errors are
//! exact at any time, and what ends the process, a fork or an exec loses nothing.
//!
//! Promises:
//!
//! - bytes are held by one transport at a time: who writes to another one, of the same loop, sends them on first;
//! - they are sent on when the entry ends, whatever it ends with; the system itself does so after a fifth of a second;
//! - no option of the socket that a program can set is changed.

use std::cell::Cell;
use std::os::fd::BorrowedFd;

use oneloop::engine::stream::Dispatch;
use pyo3::prelude::*;
use rustix::net::SendFlags;

use super::endpoint::SEND;
use super::stream;
use crate::ffi::slot::Slot;

/// The environment variable that turns this off.
const SWITCH: &str = "ONELOOP_GATHER_WRITES";

/// The turns of a loop: each entry is one.
pub(crate) struct Turns {
    is_on: bool,
    number: Cell<u32>,
    /// Whether an entry runs now.
    inside: Cell<bool>,
    /// The transport that has bytes held back.
    holder: Slot,
}

impl Turns {
    pub(crate) fn new() -> Self {
        Self {
            is_on: IS_SUPPORTED && std::env::var_os(SWITCH).is_none_or(|value| value != "0"),
            number: Cell::new(0),
            inside: Cell::new(false),
            holder: Slot::new(None),
        }
    }

    /// An entry begins.
    #[inline]
    pub(crate) fn begin(&self) {
        self.number.set(self.number.get().wrapping_add(1));
        self.inside.set(true);
    }

    /// It has ended: what is held back is sent.
    #[inline]
    pub(crate) fn end(&self, py: Python<'_>) {
        self.inside.set(false);
        if let Some(holder) = self.holder.take(py) {
            stream::send_held(&holder);
        }
    }

    /// The number of the entry that runs and in which `transport` is written to; `None` if there is none, or nothing is to be held back.
    /// For the thread that runs the loop.
    #[inline]
    pub(crate) fn write(&self, transport: &Bound<'_, PyAny>) -> Option<u32> {
        if !self.is_on || !self.inside.get() {
            return None;
        }
        if let Some(holder) = self.holder.get(transport.py())
            && !holder.is(transport)
        {
            drop(self.holder.take(transport.py()));
            stream::send_held(&holder);
        }
        Some(self.number.get())
    }

    /// What was written to `transport` was sent so.
    #[inline]
    pub(crate) fn wrote(&self, transport: &Bound<'_, PyAny>, dispatch: Dispatch) {
        let py = transport.py();
        match dispatch {
            Dispatch::Held => drop(self.holder.replace(py, Some(transport.clone()))),
            // Sent with what was held before it, which was this transport's.
            Dispatch::Now => drop(self.holder.take(py)),
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
