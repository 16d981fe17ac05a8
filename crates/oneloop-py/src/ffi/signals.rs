//! The interpreter's signal wake-up descriptor.

use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, RawFd};

use pyo3::prelude::*;

// CPython's own; PyO3 does not declare it.
unsafe extern "C" {
    fn PySignal_SetWakeupFd(fd: RawFd) -> RawFd;
}

/// Has the interpreter's C-level signal handler write each signal's number to `fd`, and returns the descriptor before; -1 is none.
///
/// As `signal.set_wakeup_fd`, without its checks: for the main thread only.
pub(crate) fn set_wakeup_fd(_py: Python<'_>, fd: RawFd) -> RawFd {
    // SAFETY: attached; the function stores an integer.
    unsafe { PySignal_SetWakeupFd(fd) }
}

/// A descriptor that the user set as wake-up descriptor, as a file to write to and never to close.
pub(crate) fn user_file(fd: RawFd) -> ManuallyDrop<File> {
    // SAFETY: the user lends the descriptor for as long as it is set; never dropped, so never closed here. Should they have closed it
    // meanwhile, the kernel answers the write with EBADF, as it would the interpreter's.
    ManuallyDrop::new(unsafe { File::from_raw_fd(fd) })
}
