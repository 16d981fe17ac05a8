//! `Reactor`: what code on the loop sees of it.
//!
//! The trait is object-safe and knows no host, so a socket or a timer written against it serves a Rust program and a Python loop alike.
//! Nothing in it is specific to Rust's memory model beyond `Waker`: a table of C functions of the same shape can serve extensions that
//! were built separately.

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use async_task::Runnable;

use crate::blocking::Pool;
use crate::driver::Token;
use crate::executor::Executor;
use crate::instant::Instant;
use crate::registry::{Direction, Seat};
use crate::timers::TimerKey;

/// A running loop, as code on its thread holds it.
pub type LoopRef = Rc<dyn Reactor>;

/// What code on a loop's thread can ask of the loop.
pub trait Reactor {
    /// The time on the loop's clock.
    fn now(&self) -> Instant;

    /// Arms a timer that wakes `waker` once `deadline` is reached.
    fn arm(&self, deadline: Instant, waker: Waker) -> TimerKey;

    /// Cancels a timer; one that has fired is no error.
    fn cancel(&self, timer: TimerKey);

    /// Registers a non-blocking descriptor, in both directions. The caller keeps the descriptor open until `release` or `detach`.
    ///
    /// # Errors
    ///
    /// The driver's (the descriptor is closed, or cannot be polled); `AlreadyExists` if the loop watches it already.
    fn register(&self, fd: RawFd) -> io::Result<Token>;

    /// Waits until the descriptor is ready in one direction. Readiness is remembered until [`Reactor::clear`], and may be spurious.
    ///
    /// For poll functions that have nothing to keep a seat in. Of many that wait, the latest few are kept: an older one is woken to ask
    /// again, so that wakers of tasks that are over do not pile up.
    ///
    /// # Errors
    ///
    /// `NotConnected` if the registration has ended.
    fn poll_ready(
        &self,
        token: Token,
        direction: Direction,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>>;

    /// As [`Reactor::poll_ready`], for a future: it takes a seat, which holds its latest waker, and has to [`Reactor::leave`] it when
    /// it is dropped.
    ///
    /// # Errors
    ///
    /// As [`Reactor::poll_ready`].
    fn poll_seated(
        &self,
        token: Token,
        direction: Direction,
        seat: &mut Option<Seat>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>>;

    /// Gives a seat back. The registration may have ended.
    fn leave(&self, token: Token, direction: Direction, seat: Seat);

    /// Forgets that the descriptor is ready, after an operation on it said `WouldBlock`.
    fn clear(&self, token: Token, direction: Direction);

    /// Reads from a registered descriptor, through the driver, which may hold bytes that it has read ahead.
    ///
    /// # Errors
    ///
    /// As `read(2)`.
    fn read(&self, token: Token, buffer: &mut [u8]) -> io::Result<usize>;

    /// Ends a registration and closes its descriptor, once nothing in the driver uses it any more. Whoever waits for it is woken.
    fn release(&self, token: Token, fd: OwnedFd);

    /// Ends a registration without closing the descriptor, and gives back what the driver has read ahead. Whoever waits is woken.
    ///
    /// # Errors
    ///
    /// The driver's.
    fn detach(&self, token: Token) -> io::Result<Vec<u8>>;

    /// Appends a task's next step to the ready ring. On the loop's thread only.
    fn push(&self, step: Runnable);

    /// The loop's tasks.
    fn executor(&self) -> &Executor;

    /// What may be sent to other threads.
    fn remote(&self) -> &Arc<dyn Remote>;

    /// The loop's own threads for calls that block.
    fn pool(&self) -> &Pool;
}

/// What other threads can ask of a loop. It may be kept for ever: it holds neither the loop nor a descriptor once the loop is closed.
pub trait Remote: Send + Sync {
    /// Appends a task's next step to the loop's inbox and ends its wait.
    ///
    /// # Errors
    ///
    /// Gives the step back if the loop is closed; its future is gone by then.
    fn push(&self, step: Runnable) -> Result<(), Runnable>;

    /// Has `call` called on the loop's thread.
    ///
    /// # Errors
    ///
    /// Gives it back if the loop is closed.
    fn call(&self, call: RemoteCall) -> Result<(), RemoteCall>;

    /// Ends the loop's wait, the one that goes on or else the next, so that it goes round once.
    fn wake(&self);
}

/// What another thread asks to have called on the loop's thread.
pub type RemoteCall = Box<dyn FnOnce() + Send>;

/// Whether two references are to one loop.
pub(crate) fn is_same(one: &LoopRef, other: &LoopRef) -> bool {
    // The data pointers only: the vtable of one type may exist twice in a program.
    std::ptr::addr_eq(Rc::as_ptr(one), Rc::as_ptr(other))
}

/// Whether two remotes belong to one loop.
pub(crate) fn same_loop(one: &Arc<dyn Remote>, other: &Arc<dyn Remote>) -> bool {
    std::ptr::addr_eq(Arc::as_ptr(one), Arc::as_ptr(other))
}
