//! System calls about children, where platforms differ.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
#[cfg(target_os = "linux")]
use std::thread;
#[cfg(target_os = "linux")]
use std::time::{Duration, Instant};

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
            Ok(_) | Err(Errno::CHILD) => return,
            Err(_) => return watch_exit(pid),
        }
    }
}

/// As [`await_exit`], where a sandbox refuses the only call that waits without reaping: it looks at the child's state now and then.
#[cfg(target_os = "linux")]
fn watch_exit(pid: Pid) {
    // As long as children run that are started for their output; an exit is noticed late by a tenth of the child's life at most.
    let (shortest, longest) = (Duration::from_millis(1), Duration::from_millis(50));
    let born = Instant::now();
    while is_running(pid) {
        thread::sleep((born.elapsed() / 10).clamp(shortest, longest));
    }
}

/// Whether the kernel shows this child of ours as one that has not exited. Not if it shows nothing: then only reaping it will tell.
#[cfg(target_os = "linux")]
fn is_running(pid: Pid) -> bool {
    match std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())) {
        Ok(status) => {
            // After the program's name, which is in parentheses and may hold some itself: the state and the parent.
            let mut fields = status.rsplit(')').next().unwrap_or("").split_whitespace();
            let has_exited = matches!(fields.next(), Some("Z" | "X") | None);
            // Reaped by somebody else, its number may be another process's by now.
            let is_ours = fields.next() == Some(&std::process::id().to_string());
            is_ours && !has_exited
        }
        // It says nothing about the child that there is no descriptor left.
        Err(error) => [Errno::MFILE, Errno::NFILE, Errno::NOMEM]
            .into_iter()
            .any(|passing| error.raw_os_error() == Some(passing.raw_os_error())),
    }
}

/// No other platform is known to refuse that call.
#[cfg(not(target_os = "linux"))]
fn watch_exit(_: Pid) {}

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
