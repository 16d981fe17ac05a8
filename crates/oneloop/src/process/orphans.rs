//! Children that were dropped before they exited: somebody has to reap them.
//!
//! The loop on whose thread that happens does, for as long as it lasts. What is left then, or was dropped where no loop runs, is kept in
//! one list for the process, at which each later spawn looks, so that there are never more zombies than were dropped since the last one.

use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use super::child::Running;
use crate::current;
use crate::executor;
use crate::sys;

static LEFT: Mutex<Vec<process::Child>> = Mutex::new(Vec::new());
/// The fork generation in which the lock is known to be given back.
static BORN: AtomicU64 = AtomicU64::new(0);

/// Takes care of a child that runs.
pub(super) fn adopt(running: Running) {
    let orphan = Orphan(Some(running));
    let Some(event_loop) = current::with(|current| current.cloned()) else {
        return; // its drop leaves it to the list
    };
    executor::spawn(&event_loop, orphan.reaped()).detach();
}

/// Reaps those who have exited.
pub(super) fn reap() {
    let Some(mut left) = lock() else {
        return;
    };
    // In a forked child they are not ours: an error, and gone from the list.
    left.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
}

/// A child in the care of a loop. If that is closed before the child exits, it is left to the list.
struct Orphan(Option<Running>);

impl Orphan {
    async fn reaped(mut self) {
        if let Some(running) = &mut self.0
            && running.wait().await.is_ok()
        {
            self.0 = None;
        }
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        if let Some(running) = self.0.take()
            && let Some(mut left) = lock()
        {
            left.push(running.child);
        }
    }
}

/// `None` in a forked child, if a thread had the lock that does not exist there. Nowhere is it held across anything that lasts.
fn lock() -> Option<MutexGuard<'static, Vec<process::Child>>> {
    // Where forks cannot be counted, a child may wait here for ever. No driver could be made there either.
    let _ = sys::watch_forks();
    // Relaxed, as whoever reads an old value takes the more careful way.
    let generation = sys::fork_generation();
    if generation == BORN.load(Ordering::Relaxed) {
        return Some(LEFT.lock().unwrap_or_else(PoisonError::into_inner));
    }
    let left = match LEFT.try_lock() {
        Ok(left) => left,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return None,
    };
    BORN.store(generation, Ordering::Relaxed);
    Some(left)
}
