//! The interpreter's signal wake-up descriptor, which the loops of the main thread share with whoever set one before them.
//!
//! There is one for the process. Loops install theirs one over another, and may be closed in any order; below them all lies the user's own.
//! Taking one away uncovers the next that still stands, so a number is never set, or written to, after its owner has closed it.
//!
//! `signal.set_wakeup_fd` works in the main thread only, so the table changes there only. The lock is never held across a call of Python's.

use std::io::Write;
use std::os::fd::RawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::ffi::signals::user_file;
use crate::names;

/// No descriptor, in the interpreter's convention.
const NONE: RawFd = -1;

struct Table {
    /// The user's, or [`NONE`].
    user: RawFd,
    /// The writing ends of our loops, the installed one last.
    ours: Vec<RawFd>,
}

static TABLE: Mutex<Table> = Mutex::new(Table {
    user: NONE,
    ours: Vec::new(),
});

fn table() -> MutexGuard<'static, Table> {
    // Every change is a whole one, so a panic elsewhere leaves nothing half done.
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has the interpreter write the numbers of signals to `fd`.
///
/// # Errors
/// `ValueError` outside the main thread.
pub(crate) fn install(py: Python<'_>, fd: RawFd) -> PyResult<()> {
    let before = set(py, fd)?;
    let mut table = table();
    if !table.ours.contains(&before) {
        table.user = before;
    }
    table.ours.retain(|ours| *ours != fd);
    table.ours.push(fd);
    Ok(())
}

/// Takes `fd` away, which is about to be closed or is not needed now. Whether that could be done: not outside the main thread.
#[must_use]
pub(crate) fn uninstall(py: Python<'_>, fd: RawFd) -> bool {
    let Ok(current) = set(py, NONE) else {
        return false;
    };
    let next = {
        let mut table = table();
        table.ours.retain(|ours| *ours != fd);
        table.ours.last().copied().unwrap_or(table.user)
    };
    // If somebody set another one meanwhile, that one stays: it is theirs.
    put(py, if current == fd { next } else { current });
    true
}

/// Gives the user's own descriptor what it would have got had a loop's not covered it.
pub(crate) fn feed_user(numbers: &[u8]) {
    let user = table().user;
    if user != NONE && !numbers.is_empty() {
        // A full or closed one loses the byte, as it would without us.
        let _ = (&*user_file(user)).write(numbers);
    }
}

/// In a forked child, before any loop runs there: a signal to the child must not end up in the parent's loop.
#[pyfunction(name = "_disown_after_fork")]
pub(crate) fn disown_after_fork(py: Python<'_>) {
    let (ours, user) = {
        let mut table = table();
        (std::mem::take(&mut table.ours), table.user)
    };
    if !ours.is_empty()
        && let Ok(current) = set(py, NONE)
    {
        put(
            py,
            if ours.contains(&current) {
                user
            } else {
                current
            },
        );
    }
}

/// `signal.set_wakeup_fd`, which answers the descriptor before.
fn set(py: Python<'_>, fd: RawFd) -> PyResult<RawFd> {
    let keywords = PyDict::new(py);
    // A full pair already holds what wakes the loop.
    keywords.set_item(names::warn_on_full_buffer(py), false)?;
    let set = names::set_wakeup_fd(py)?;
    set.call((fd,), Some(&keywords))?.extract()
}

fn put(py: Python<'_>, fd: RawFd) {
    if fd != NONE {
        // Refused if its owner has closed it: none is set then.
        drop(set(py, fd));
    }
}
