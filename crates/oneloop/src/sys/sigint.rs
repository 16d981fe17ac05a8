//! Ctrl-C as a descriptor that becomes readable, for as long as somebody wants that.
//!
//! The handler writes one byte to a pipe, so that nothing is lost between a look and a wait. Afterwards whatever handled SIGINT before
//! does so again. (`signal-hook`, the usual choice, never gives a signal back: after its last action is removed, Ctrl-C does nothing.)
//!
//! A second SIGINT acts as it does by default and ends the process: a program that does not come round to the first one can still be
//! stopped. In a forked child, which shares the pipe with its parent, already the first one does.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};

use super::fork_generation;

/// SIGINT, caught. Dropping it lets go of the signal and the pipe.
pub(crate) struct Sigint {
    reader: OwnedFd,
    _writer: OwnedFd,
    previous: libc::sigaction,
    _turn: Turn,
}

// Between the one `Sigint` and the handler, which may run on any thread. All orderings are sequentially consistent: it is not a hot path,
// and `drop` has to see either the handler's count or that the handler saw the writer gone.
static TAKEN: AtomicBool = AtomicBool::new(false);
static CAUGHT: AtomicBool = AtomicBool::new(false);
static WRITER: AtomicI32 = AtomicI32::new(-1);
static BORN: AtomicU64 = AtomicU64::new(0);
static HANDLERS_AT_WORK: AtomicUsize = AtomicUsize::new(0);

impl Sigint {
    /// Catches SIGINT from now on. `None` if this process ignores it, as one that was started in the background does: that is respected.
    ///
    /// # Errors
    ///
    /// `ResourceBusy` if it is caught already, on another thread; otherwise the system's.
    pub(crate) fn catch() -> io::Result<Option<Sigint>> {
        super::watch_forks()?;
        let (reader, writer) = super::pipe()?;
        let Some(turn) = Turn::take() else {
            return Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "Ctrl-C is already caught by a loop on another thread",
            ));
        };
        let previous = disposition()?;
        if previous.sa_sigaction == libc::SIG_IGN {
            return Ok(None);
        }
        CAUGHT.store(false, Ordering::SeqCst);
        BORN.store(fork_generation(), Ordering::SeqCst);
        WRITER.store(writer.as_raw_fd(), Ordering::SeqCst);
        let caught = Sigint {
            reader,
            _writer: writer,
            previous,
            _turn: turn,
        };
        set_disposition(on_sigint as *const () as usize)?;
        Ok(Some(caught))
    }

    /// The descriptor that becomes readable, and stays so.
    pub(crate) fn fd(&self) -> RawFd {
        self.reader.as_raw_fd()
    }

    /// Whether it was this process that was signalled: a forked child sees its parent's byte too.
    pub(crate) fn is_caught() -> bool {
        CAUGHT.load(Ordering::SeqCst) && BORN.load(Ordering::SeqCst) == fork_generation()
    }
}

impl Drop for Sigint {
    fn drop(&mut self) {
        // Whoever has put another handler in the place of ours meanwhile keeps it.
        if disposition().is_ok_and(|now| now.sa_sigaction == on_sigint as *const () as usize) {
            // SAFETY: a disposition that was this signal's before, as the kernel told it.
            unsafe {
                libc::sigaction(libc::SIGINT, &raw const self.previous, std::ptr::null_mut())
            };
        }
        WRITER.store(-1, Ordering::SeqCst);
        // A handler on another thread may have the writer's number in hand. Not in a forked child: those threads do not exist there.
        while HANDLERS_AT_WORK.load(Ordering::SeqCst) > 0
            && BORN.load(Ordering::SeqCst) == fork_generation()
        {
            std::thread::yield_now();
        }
    }
}

/// That nobody else catches SIGINT meanwhile.
struct Turn;

impl Turn {
    fn take() -> Option<Turn> {
        (!TAKEN.swap(true, Ordering::SeqCst)).then_some(Turn)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        TAKEN.store(false, Ordering::SeqCst);
    }
}

/// The handler. It only does what is allowed in one: atomics and system calls.
extern "C" fn on_sigint(_: libc::c_int) {
    HANDLERS_AT_WORK.fetch_add(1, Ordering::SeqCst);
    let writer = WRITER.load(Ordering::SeqCst);
    // None if we are only called by a handler that has replaced ours and keeps calling it.
    if writer >= 0 {
        let inherited = BORN.load(Ordering::SeqCst) != fork_generation();
        if inherited || CAUGHT.swap(true, Ordering::SeqCst) {
            // It acts when this handler returns, until when the signal is blocked.
            let _ = set_disposition(libc::SIG_DFL);
            // SAFETY: a system call with a valid signal.
            unsafe { libc::raise(libc::SIGINT) };
        } else {
            // SAFETY: `Sigint::drop` closes the writer only after it has seen this handler leave.
            let writer = unsafe { BorrowedFd::borrow_raw(writer) };
            // It cannot fail, so `errno` stays as it was: the pipe is open at both ends, and empty.
            let _ = rustix::io::write(writer, &[0]);
        }
    }
    HANDLERS_AT_WORK.fetch_sub(1, Ordering::SeqCst);
}

fn disposition() -> io::Result<libc::sigaction> {
    let mut now = MaybeUninit::uninit();
    // SAFETY: with no new action this only writes the present one to `now`, which has room for it.
    match unsafe { libc::sigaction(libc::SIGINT, std::ptr::null(), now.as_mut_ptr()) } {
        // SAFETY: the call succeeded, so it has written all of it.
        0 => Ok(unsafe { now.assume_init() }),
        _ => Err(io::Error::last_os_error()),
    }
}

fn set_disposition(handler: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: a C struct for which all bits zero is a valid value: an empty mask and no flags.
    let mut new: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    new.sa_sigaction = handler;
    // What else the program waits in goes on; the loop itself is woken by the pipe.
    new.sa_flags = libc::SA_RESTART;
    // SAFETY: `new` is a whole action, whose handler (if it is ours) does nothing that is forbidden in one.
    match unsafe { libc::sigaction(libc::SIGINT, &raw const new, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
