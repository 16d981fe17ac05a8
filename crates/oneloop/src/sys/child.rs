//! System calls about children, where platforms differ.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitOptions};

/// A descriptor of a process, which becomes readable when that has exited. Refused by old kernels and some sandboxes.
#[cfg(target_os = "linux")]
pub(crate) fn pidfd(pid: Pid) -> io::Result<OwnedFd> {
    use rustix::process::{PidfdFlags, pidfd_open};

    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// Linux alone has them.
#[cfg(not(target_os = "linux"))]
pub(crate) fn pidfd(_: Pid) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Blocks until a child has exited, and leaves it to be reaped. At once if there is no such child.
pub(crate) fn await_exit(pid: Pid) {
    let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
    let exited = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    loop {
        match rustix::process::waitid(WaitId::Pid(pid), exited) {
            Err(Errno::INTR) => {}
            // macOS tells of children that have stopped, too, and of each until it is asked about that.
            Ok(Some(status)) if status.stopped() => {
                let _ = rustix::process::waitid(WaitId::Pid(pid), stopped);
            }
            _ => return,
        }
    }
}

/// Reaps a child if it has exited.
pub(crate) fn reap(pid: Pid) -> io::Result<Option<ExitStatus>> {
    let waited = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG)?;
    Ok(waited.map(|(_, status)| ExitStatus::from_raw(status.as_raw())))
}

/// Reaps the child that a descriptor stands for, and no other, should its number have another owner by now.
#[cfg(target_os = "linux")]
pub(crate) fn reap_by_pidfd(pidfd: BorrowedFd<'_>, pid: Pid) -> io::Result<Option<ExitStatus>> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    match rustix::process::waitid(WaitId::PidFd(pidfd), options) {
        Ok(waited) => Ok(waited.map(|waited| {
            let raw = match (waited.exit_status(), waited.terminating_signal()) {
                (Some(code), _) => (code & 0xff) << 8,
                (None, Some(signal)) => signal | i32::from(waited.dumped()) << 7,
                (None, None) => 0, // an exit is one of the two
            };
            ExitStatus::from_raw(raw)
        })),
        Err(Errno::CHILD) => Err(Errno::CHILD.into()),
        // Linux 5.3 can open such a descriptor, and cannot wait for it; a sandbox may refuse the call.
        Err(_) => reap(pid),
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn reap_by_pidfd(_: BorrowedFd<'_>, pid: Pid) -> io::Result<Option<ExitStatus>> {
    reap(pid)
}
