//! What a backend owes the engine: the seam between the loop and the kernel.
//!
//! A driver answers one question, "which of these descriptors can go on?", and performs the few operations that a
//! completion-based kernel interface would want to perform itself (`read`, `release`, `detach`). It knows descriptors
//! and opaque tokens; it does not know readers, writers, callbacks or time beyond a timeout.
//!
//! Every driver promises, method by method, what [`Backend`] says, and the one table of contract tests runs against
//! all of them. Nothing panics: a refused syscall, a full descriptor table, a bad descriptor are `io::Error`s.

use std::fmt;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

/// What the registry wants to hear back with an event. Opaque to drivers, which may keep it in the kernel only.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Token(pub u64);

impl Token {
    /// The one token that drivers keep for themselves: `InvalidInput` if it is registered.
    pub const RESERVED: Token = Token(u64::MAX);

    pub(super) fn check(self) -> io::Result<Token> {
        match self {
            Token::RESERVED => Err(io::ErrorKind::InvalidInput.into()),
            token => Ok(token),
        }
    }
}

/// The directions in which a descriptor is watched.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Interest {
    /// Bytes, a connection, or the end of the stream can be read.
    pub readable: bool,
    /// Bytes can be written, or a connection attempt has ended.
    pub writable: bool,
}

impl Interest {
    /// Neither direction: registered but silent. A hang-up is reported at most once.
    pub const NONE: Interest = Interest::new(false, false);
    /// Reading only.
    pub const READABLE: Interest = Interest::new(true, false);
    /// Writing only.
    pub const WRITABLE: Interest = Interest::new(false, true);
    /// Both directions.
    pub const BOTH: Interest = Interest::new(true, true);

    const fn new(readable: bool, writable: bool) -> Interest {
        Interest { readable, writable }
    }

    /// Every direction that either asks for.
    #[must_use]
    pub const fn union(self, other: Interest) -> Interest {
        Interest::new(
            self.readable || other.readable,
            self.writable || other.writable,
        )
    }

    /// Whether neither direction is asked for.
    pub const fn is_none(self) -> bool {
        !self.readable && !self.writable
    }
}

/// When readiness is reported again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mode {
    /// At every wait, as long as it lasts.
    Level,
    /// When it arises anew. An edge may be reported once too often, never once too seldom.
    Edge,
    /// Once; then the registration stays, silent, until [`Backend::modify`] arms it again.
    OneShot,
}

/// One descriptor that can go on.
///
/// A hang-up or an error counts as both directions, as with `selectors` and therefore asyncio: whoever reads or writes
/// then meets it. Kernels report it whether or not it was asked for, so a direction may be set that was not; the registry,
/// which knows what was asked for, delivers only that.
///
/// The token may also be an old one: if a descriptor was closed without being removed, or removed too late, while a
/// duplicate keeps the file open, epoll goes on reporting it. It is passed on, since only the registry can tell.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Event {
    /// The token of the latest `add` or `modify`.
    pub token: Token,
    /// Reading will not block.
    pub readable: bool,
    /// Writing will not block.
    pub writable: bool,
}

/// The events of one wait: cleared and filled by it, so that the caller's buffer is used again.
pub type Events = Vec<Event>;

/// No wait is longer than this (24 days): the largest timeout that every kernel interface can express. A longer one is
/// cut to it and ends early, without events, which a loop notices by its clock.
pub const LONGEST_WAIT: Duration = Duration::from_millis(i32::MAX as u64);

/// Ends a wait from any thread.
pub trait Notify: Send + Sync {
    /// Ends the current wait, or the next one if none is going on. Several calls before a wait end that one wait.
    ///
    /// Never blocks. In a process that inherited the waiter through fork it does nothing, successfully: whoever waits
    /// there is not ours to wake.
    fn notify(&self) -> io::Result<()>;
}

/// A driver's own [`Notify`], cheap to clone and to send.
///
/// It holds the wake-up descriptor, which is closed with the last clone: whoever keeps one for longer than the loop
/// (a waker) keeps a descriptor of a closed loop, so wakers go through the inbox, which lets go of it.
#[derive(Clone)]
pub struct Notifier(Arc<dyn Notify>);

impl Notifier {
    /// Wraps a driver's own way to end its waits.
    pub fn new(notify: Arc<dyn Notify>) -> Notifier {
        Notifier(notify)
    }

    /// Ends the current wait, or the next one if none is going on: see [`Notify::notify`].
    pub fn notify(&self) -> io::Result<()> {
        self.0.notify()
    }
}

impl Notify for Notifier {
    fn notify(&self) -> io::Result<()> {
        self.0.notify()
    }
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Notifier")
    }
}

/// What each driver implements. [`Driver`](super::Driver) dispatches to one of them.
///
/// A driver belongs to one thread at a time; only its notifier is shared. After a fork every method but
/// [`abandon_after_fork`](Backend::abandon_after_fork) and [`release`](Backend::release) refuses to work in the child,
/// with an error that says why, since the kernel's set is shared with the parent.
pub trait Backend {
    /// The name that users see in `loop.backend`: `"epoll"`, `"portable"`, `"scripted"`.
    fn name(&self) -> &'static str;

    /// Wakes a blocked [`wait`](Backend::wait) from any thread.
    fn notifier(&self) -> Notifier;

    /// Begins to watch `fd`, which stays the caller's. It has to be removed before it is closed.
    ///
    /// A registered `fd` is `AlreadyExists`; a closed or negative one is `EBADF`; what cannot be polled, such as a
    /// regular file, is `EPERM`. A descriptor that was closed without being removed, and whose number was reused, may
    /// be added again where the kernel has noticed the close (epoll).
    fn add(&mut self, fd: RawFd, token: Token, interest: Interest, mode: Mode) -> io::Result<()>;

    /// Replaces token, interest and mode of a registered `fd`, and arms it again. An unknown one is `NotFound`.
    fn modify(&mut self, fd: RawFd, token: Token, interest: Interest, mode: Mode)
    -> io::Result<()>;

    /// Stops watching `fd`. An unknown one is `NotFound`, a closed one `EBADF`.
    fn remove(&mut self, fd: RawFd) -> io::Result<()>;

    /// Waits until something is ready, the timeout is over or somebody notifies; fills `events`.
    ///
    /// `None` waits for ever, zero polls. It does not end before the timeout without one of these reasons, or a signal:
    /// an interrupted wait is a success without events, so that the caller may look at its signals. A notification ends
    /// the wait, is consumed by it and is no event. Timeouts are precise to the nanosecond where the kernel can, and
    /// otherwise rounded up, and cut to [`LONGEST_WAIT`].
    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()>;

    /// Reads what is there into `buf`: zero is the end, `WouldBlock` means to wait for an event.
    ///
    /// Part of the contract because a completion-based driver may hold bytes that it has read already.
    fn read(&mut self, fd: RawFd, buf: &mut [u8]) -> io::Result<usize>;

    /// Stops watching `fd` if it is watched, then closes it, once. In a forked child it only closes.
    fn release(&mut self, fd: OwnedFd);

    /// Stops watching `fd` if it is watched, and gives back what was read from it and not delivered, in order.
    fn detach(&mut self, fd: RawFd) -> io::Result<Vec<u8>>;

    /// In the child of a fork: forgets the inherited set without changing it, since the parent still uses it, and makes
    /// an empty one with a notifier of its own; the registry then adds its descriptors again. The same is the way to get
    /// rid of a file that the set still reports for a closed number.
    ///
    /// If it fails (no descriptors left) the driver stays refused, and this can be tried again.
    fn abandon_after_fork(&mut self) -> io::Result<()>;
}
