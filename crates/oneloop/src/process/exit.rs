//! `ExitNotice`: a descriptor that becomes readable when a child has exited.
//!
//! Whatever the platform allows, who waits for a child waits for a descriptor like any other, so the loop needs no handler of SIGCHLD
//! and nothing that is shared by all children. Where Linux gives a pidfd, that is it. Elsewhere, and where a sandbox or an old kernel
//! refuses it, a thread of its own waits for the child and then writes to a pipe.
//!
//! Promises:
//! - once readable it stays so: nobody reads from it;
//! - it does not reap. Who owns the child does, in its own way, or by [`ExitNotice::reap`];
//! - a child that somebody else reaps is noticed like one that exits;
//! - dropping it closes its descriptors. A thread that waits goes on until its child exits, and holds nothing meanwhile;
//! - in a forked child, which has none of its parent's children, it becomes readable as in the parent, and reaping is `ECHILD`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::process::Pid;

use crate::sys;

/// With the value `thread`, this environment variable says that no pidfd be used: for tests of what happens where they are refused.
const VARIABLE: &str = "ONELOOP_CHILD_WATCH";

/// It waits for a child and writes a byte.
const STACK_SIZE: usize = 128 * 1024;

/// A descriptor that becomes, and stays, readable when a child of this process has exited.
#[derive(Debug)]
pub struct ExitNotice {
    pid: Pid,
    fd: OwnedFd,
    /// The other end of a pipe. `None` if the descriptor is a pidfd.
    bell: Option<Bell>,
}

impl ExitNotice {
    /// A notice of the exit of this child, which must not have been reaped yet.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for what is no process's number, and if the system has neither a descriptor nor a thread left.
    pub fn new(pid: u32) -> io::Result<Self> {
        if std::env::var_os(VARIABLE).is_some_and(|means| means == "thread") {
            return Self::by_thread(pid);
        }
        // Whatever the refusal was: what it stands in for needs no more than a pipe, and finds out by itself if there is no such child.
        Self::by_pidfd(pid).or_else(|_| Self::by_thread(pid))
    }

    /// As [`ExitNotice::new`], by a pidfd or not at all.
    ///
    /// # Errors
    ///
    /// As [`ExitNotice::new`], and where pidfds do not exist or are refused.
    pub fn by_pidfd(pid: u32) -> io::Result<Self> {
        let pid = number(pid)?;
        Ok(Self {
            pid,
            fd: sys::child::pidfd(pid)?,
            bell: None,
        })
    }

    /// As [`ExitNotice::new`], by a thread and a pipe, as on every platform without pidfds.
    ///
    /// # Errors
    ///
    /// As [`ExitNotice::new`].
    pub fn by_thread(pid: u32) -> io::Result<Self> {
        let pid = number(pid)?;
        let (fd, bell) = sys::pipe()?;
        let bell = Bell::new(bell);
        let rope = Arc::clone(&bell.rope);
        let thread = thread::Builder::new()
            .name("oneloop-child".to_owned())
            .stack_size(STACK_SIZE);
        thread.spawn(move || {
            sys::child::await_exit(pid);
            rope.pull();
        })?;
        Ok(Self {
            pid,
            fd,
            bell: Some(bell),
        })
    }

    /// Whether the descriptor is a pidfd.
    pub fn is_pidfd(&self) -> bool {
        self.bell.is_none()
    }

    /// Reaps the child if it has exited: for children that have no other owner than who calls this.
    ///
    /// # Errors
    ///
    /// `ECHILD` if it was reaped by somebody else, or by the system because SIGCHLD is ignored.
    pub fn reap(&self) -> io::Result<Option<ExitStatus>> {
        match self.is_pidfd() {
            true => sys::child::reap_by_pidfd(self.fd.as_fd(), self.pid),
            false => sys::child::reap(self.pid),
        }
    }

    /// The descriptor, and what must be kept for as long as it is to become readable.
    pub(super) fn into_parts(self) -> (OwnedFd, Option<Bell>) {
        (self.fd, self.bell)
    }
}

impl AsFd for ExitNotice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for ExitNotice {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// What a thread makes a pipe readable by, for as long as this exists.
#[derive(Debug)]
pub(super) struct Bell {
    rope: Arc<Rope>,
    /// The fork generation that the thread is in.
    born: u64,
}

/// The thread's part of it.
#[derive(Debug)]
struct Rope(Mutex<Option<OwnedFd>>);

impl Bell {
    fn new(writer: OwnedFd) -> Self {
        // Where forks cannot be counted, a child of one may wait for a thread that it has not. No driver could be made there either.
        let _ = sys::watch_forks();
        Self {
            rope: Arc::new(Rope(Mutex::new(Some(writer)))),
            born: sys::fork_generation(),
        }
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        if self.born == sys::fork_generation() {
            drop(self.rope.lock().take());
        } else if let Ok(mut writer) = self.rope.0.try_lock() {
            // In a forked child the lock may be held for good.
            drop(writer.take());
        }
    }
}

impl Rope {
    fn pull(&self) {
        if let Some(writer) = &*self.lock() {
            // There is room in an empty pipe, whose other end is open for as long as this one.
            let _ = rustix::io::write(writer, &[0]);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<OwnedFd>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn number(pid: u32) -> io::Result<Pid> {
    i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::ErrorKind::InvalidInput.into())
}
