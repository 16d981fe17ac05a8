//! Descriptors that Python objects own, lent to one system call.

use std::io;
use std::os::fd::{BorrowedFd, RawFd};

/// Lends the descriptor of that number to `f`; a negative one is `EBADF`, as the kernel would have it.
///
/// That it is open, and whose it is, is the business of the object that it was asked of. If it is closed, the kernel says so.
pub(crate) fn with<R>(fd: RawFd, f: impl FnOnce(BorrowedFd<'_>) -> io::Result<R>) -> io::Result<R> {
    if fd < 0 {
        return Err(rustix::io::Errno::BADF.into());
    }
    // SAFETY: not negative, so the niche of `BorrowedFd` is respected, and the borrow cannot leave this call.
    f(unsafe { BorrowedFd::borrow_raw(fd) })
}
