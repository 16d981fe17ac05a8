//! The crate's syscalls beside those of the drivers, and the unsafe that they need.
//!
//! Promises: nothing here panics, every failure is an `io::Error`, and every function may be called from any thread.
//! rustix comes first; libc only where rustix has a gap (`pthread_atfork` and `getaddrinfo`, which are no syscalls, and
//! `epoll_pwait2`, which rustix rounds to milliseconds unless it is told at compile time that no old kernel will ever be met).
//!
//! It does not know what a loop is.
#![allow(
    unsafe_code,
    reason = "the one place for syscalls, see the style guide's point 8"
)]

pub(crate) mod child;
pub(crate) mod figures;
pub(crate) mod sigint;
pub(crate) mod socket;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Nanoseconds of `CLOCK_MONOTONIC`: the clock of `time.monotonic()` and of every deadline.
///
/// Through libc, as Python reads it, and not rustix's own way into the vDSO: tools that replace libc's clock
/// (libfaketime, our instruction counts) move both or neither, and under valgrind that way in is a segfault.
#[allow(clippy::unnecessary_cast, reason = "32 bits wide on some systems")]
pub(crate) fn monotonic_ns() -> i64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is a timespec of ours that outlives the call. The result needs no look: with this clock and a
    // valid pointer the call has no error.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    #[allow(
        clippy::unnecessary_cast,
        reason = "their types are narrower on some platforms"
    )]
    let (seconds, nanos) = (now.tv_sec as i64, now.tv_nsec as i64);
    // Saturating: 292 years of uptime are not worth a panic path in the hottest clock of the crate.
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// How often this process, counted through its ancestors, was forked since [`watch_forks`] was first called.
///
/// What was made under another generation was inherited: it belongs to a parent that goes on using it.
#[inline]
pub(crate) fn fork_generation() -> u64 {
    // Relaxed: the only writer is the child's only thread, before fork() returns in it; threads that it starts later
    // see the value through the start of the thread itself.
    GENERATION.load(Ordering::Relaxed)
}

/// A number that no other living thread has; never zero.
///
/// The C library's own, which costs a register's read: the address of a thread-local in a shared library costs a call.
#[allow(
    clippy::unnecessary_cast,
    reason = "an integer here, a pointer on macOS"
)]
#[inline]
pub(crate) fn thread_token() -> usize {
    // SAFETY: no preconditions.
    unsafe { libc::pthread_self() as usize }
}

/// Whether a thread, known by its token, of the process as it was in `generation` still exists: fork leaves the child
/// only the thread that called it.
pub(crate) fn survived_forks(generation: u64, thread: usize) -> bool {
    generation == fork_generation() || SURVIVOR.load(Ordering::Relaxed) == thread
}

/// Begins to count forks, once per process; later calls cost one load. Drivers call it when they are made.
pub(crate) fn watch_forks() -> io::Result<()> {
    static REGISTERED: OnceLock<libc::c_int> = OnceLock::new();
    let code = *REGISTERED.get_or_init(|| {
        // SAFETY: `count_fork` is a plain function that lives as long as the program text (neither an executable nor
        // a Python extension module is ever unloaded) and does nothing but atomic stores and to take a
        // thread-local's address, which is allowed in the child of a process with several threads.
        unsafe { libc::pthread_atfork(None, None, Some(count_fork)) }
    });
    match code {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// An error unless `born` is the present generation: the guard before each use of a kernel object that fork shares.
#[inline]
pub(crate) fn refuse_inherited(born: u64) -> io::Result<()> {
    if born == fork_generation() {
        return Ok(());
    }
    Err(io::Error::other(
        "this event loop was inherited through fork() and belongs to the parent process",
    ))
}

/// A pipe, reader first, close-on-exec and non-blocking. In two steps, since macOS has no `pipe2`.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    rustix::io::ioctl_fionbio(&reader, true)?;
    rustix::io::ioctl_fionbio(&writer, true)?;
    Ok((reader.into(), writer.into()))
}

/// Lends `fd` to `f` as a borrowed descriptor; a negative number is `EBADF`, as the kernel would have it.
pub(crate) fn with_fd<R>(
    fd: RawFd,
    f: impl FnOnce(BorrowedFd<'_>) -> io::Result<R>,
) -> io::Result<R> {
    if fd < 0 {
        return Err(rustix::io::Errno::BADF.into());
    }
    // SAFETY: not negative, so the niche of `BorrowedFd` is respected, and the borrow cannot leave this call. That it
    // is open is the business of whoever registered it; if it is not, the kernel answers EBADF, which is returned.
    f(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// The kernel's answer to one wait for an epoll set.
#[cfg(target_os = "linux")]
pub(crate) struct EpollEvents(Vec<rustix::event::epoll::Event>);

// SAFETY: an event is not `Send` only because its data may be a pointer. Nothing is ever read from it here but its integer, and moving a
// pointer that nobody follows harms nobody.
#[cfg(target_os = "linux")]
unsafe impl Send for EpollEvents {}

#[cfg(target_os = "linux")]
impl EpollEvents {
    /// Room for `capacity` events a wait.
    pub(crate) fn with_capacity(capacity: usize) -> EpollEvents {
        EpollEvents(Vec::with_capacity(capacity))
    }

    /// What the last wait found: for each event its flags and the integer that was registered.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (rustix::event::epoll::EventFlags, u64)> {
        self.0.iter().map(|event| (event.flags, event.data.u64()))
    }

    /// Waits for ever, or for a whole number of milliseconds.
    pub(crate) fn wait(
        &mut self,
        set: BorrowedFd<'_>,
        timeout: Option<&rustix::event::Timespec>,
    ) -> io::Result<()> {
        self.0.clear();
        let room = rustix::buffer::spare_capacity(&mut self.0);
        rustix::event::epoll::wait(set, room, timeout)?;
        Ok(())
    }

    /// Waits with nanosecond precision: `epoll_pwait2`, through the bare syscall number, since the C library's wrapper is newer than the
    /// systems that we run on.
    pub(crate) fn pwait2(
        &mut self,
        set: BorrowedFd<'_>,
        timeout: std::time::Duration,
    ) -> io::Result<()> {
        use std::os::fd::AsRawFd;

        /// `struct __kernel_timespec`: 64 bits on every architecture, unlike the C library's own.
        #[repr(C)]
        struct Timespec {
            secs: i64,
            nanos: i64,
        }

        self.0.clear();
        let timeout = Timespec {
            secs: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            nanos: timeout.subsec_nanos().into(),
        };
        let capacity = libc::c_int::try_from(self.0.capacity()).unwrap_or(libc::c_int::MAX);
        // SAFETY: rustix's event has the kernel's layout, there is room for `capacity` of them, and `timeout` outlives the call. A null
        // signal mask leaves the thread's own in place.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                set.as_raw_fd(),
                self.0.as_mut_ptr(),
                capacity,
                &raw const timeout,
                std::ptr::null::<libc::sigset_t>(),
                0usize,
            )
        };
        let Ok(count) = usize::try_from(count) else {
            return Err(io::Error::last_os_error());
        };
        // SAFETY: the kernel wrote `count` events, at most `capacity`.
        unsafe { self.0.set_len(count) };
        Ok(())
    }
}

static GENERATION: AtomicU64 = AtomicU64::new(0);
/// In a child: the thread that called fork, the latest time.
static SURVIVOR: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count_fork() {
    // Relaxed: see `fork_generation`.
    SURVIVOR.store(thread_token(), Ordering::Relaxed);
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_does_not_go_back() {
        let mut last = monotonic_ns();
        for _ in 0..1000 {
            let now = monotonic_ns();
            assert!(now >= last);
            last = now;
        }
    }

    #[test]
    fn the_clock_is_the_one_of_std() {
        let (ours, theirs) = (monotonic_ns(), std::time::Instant::now());
        let since = theirs.elapsed().as_nanos() as i64;
        assert!(monotonic_ns() - ours >= since);
    }

    #[test]
    fn a_generation_is_counted_for_each_fork_and_only_in_the_child() -> io::Result<()> {
        watch_forks()?;
        watch_forks()?;
        let before = fork_generation();
        let status = in_child(|| {
            let counted = fork_generation() == before + 1 && refuse_inherited(before).is_err();
            // In the grandchild the child's objects are inherited in their turn.
            let grandchild = in_child(|| i32::from(fork_generation() != before + 2));
            i32::from(!(counted && grandchild == 0))
        });
        assert_eq!(status, 0);
        assert_eq!(fork_generation(), before);
        refuse_inherited(before)
    }

    #[test]
    fn a_negative_descriptor_never_becomes_a_borrow() {
        let called = with_fd(-1, |_| Ok(()));
        assert!(called.is_err_and(|error| error.raw_os_error() == Some(libc::EBADF)));
    }

    /// The wait status of a child that ends with what `f` answers.
    fn in_child(f: impl FnOnce() -> libc::c_int) -> libc::c_int {
        // SAFETY: the child reads an atomic, forks and exits.
        unsafe {
            let pid = libc::fork();
            if pid == 0 {
                libc::_exit(f());
            }
            let mut status = -1;
            libc::waitpid(pid, &raw mut status, 0);
            status
        }
    }
}
