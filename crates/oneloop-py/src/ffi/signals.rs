//! The user's wake-up descriptor, which the loop feeds while its own is installed.

use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, RawFd};

/// A descriptor that the user set as wake-up descriptor, as a file to write to and never to close.
pub(crate) fn user_file(fd: RawFd) -> ManuallyDrop<File> {
    // SAFETY: the user lends the descriptor for as long as it is set; never dropped, so never closed here. Should they have closed it
    // meanwhile, the kernel answers the write with EBADF, as it would the interpreter's.
    ManuallyDrop::new(unsafe { File::from_raw_fd(fd) })
}
