//! The cross-thread queue: how other threads hand work to a loop, and wake it only if it sleeps.
//!
//! Promises:
//! - nothing pushed is lost: it is drained, returned by [`Inbox::close`], or given back by [`Inbox::push`];
//! - no lost wake-up: the parked flag lives under the same mutex as the items, so a push comes either before
//!   [`Inbox::park`], which then refuses, or after it, and then notifies;
//! - a busy loop costs its callers no syscall, and of many that push at a parked one, one notifies;
//! - no user code under the lock: items are moved, never dropped, cloned or compared inside it;
//! - a kept `Arc<Inbox>` (a waker's) holds no descriptor of a closed loop, nor does a thread that is just waking it: closing lets go of
//!   the notifier, and waits for whoever uses it at that moment.
//!
//! Dropping an inbox drops what is left in it wherever the last `Arc` happens to be dropped; a loop that minds closes it.
//!
//! It does not know what an item is, nor what it is that a notifier wakes; so loom can run it.

use std::fmt;
use std::io;

#[cfg(not(loom))]
use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::yield_now,
};

#[cfg(loom)]
use loom::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::yield_now,
};

use std::sync::{PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use crate::driver::{Notifier, Notify};
use crate::sys;

/// How long a forked child waits for a lock that may have been lost. Generous, as a machine may be busy; it is only ever waited for in
/// full by a child that cannot use the loop anyway.
const PATIENCE: Duration = Duration::from_secs(2);

/// See the module.
pub(crate) struct Inbox<T, N: Notify = Notifier> {
    state: Mutex<State<T, N>>,

    /// Whether `state.items` has any. Written under the lock only, read anywhere.
    ///
    /// Relaxed both ways: it publishes nothing (the items are read under the lock), and the two cases in which a stale
    /// answer would matter are safe. A push that happened before the question in the C++ sense (same thread, or told
    /// through any channel) is seen by coherence; that is what keeps one FIFO. A push that is merely recent may be
    /// missed once, and is then met by `park`, which looks under the lock.
    flag: AtomicBool,

    /// In a forked child: the lock was held by a thread that does not exist here, so nobody may ask for it again.
    ///
    /// Relaxed: it orders nothing; a thread that misses it finds out by itself.
    lost: AtomicBool,

    /// The fork generation of the process whose loop this inbox serves.
    ///
    /// Relaxed: a thread of a child that still sees its parent's only takes the longer way to the lock.
    generation: AtomicU64,
}

struct State<T, N> {
    items: Vec<T>,
    /// `None` once closed. Shared with the threads that are notifying, which closing waits for.
    notifier: Option<Arc<N>>,
    /// The loop waits, or is about to, and nobody has taken it upon themselves to wake it.
    parked: bool,
    /// `wake` was called when the loop was not parked.
    woken: bool,
}

/// The answer of [`Inbox::park`].
#[must_use = "to block without having parked loses wake-ups"]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Parking {
    /// The loop may block: whatever is pushed from now on notifies it.
    Parked,
    /// There are items, or [`Inbox::wake`] was called: the loop must not block. It is not parked.
    HasItems,
}

/// An item that came too late, given back so that its drop happens where the caller chooses.
pub(crate) struct Rejected<T>(pub(crate) T);

/// Another thread held the inbox's lock at the moment of the fork, and does not exist in this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LockedByLostThread;

impl<T, N: Notify> Inbox<T, N> {
    /// An open, empty inbox whose loop is woken by `notifier`.
    pub(crate) fn new(notifier: N) -> Self {
        Inbox {
            state: Mutex::new(State {
                items: Vec::new(),
                notifier: Some(Arc::new(notifier)),
                parked: false,
                woken: false,
            }),
            flag: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            generation: AtomicU64::new(sys::fork_generation()),
        }
    }

    /// Appends `item`, and wakes the loop if it is parked. From any thread.
    pub(crate) fn push(&self, item: T) -> Result<(), Rejected<T>> {
        let Some(mut state) = self.lock() else {
            return Err(Rejected(item));
        };
        if state.notifier.is_none() {
            return Err(Rejected(item));
        }
        state.items.push(item);
        self.flag.store(true, Ordering::Relaxed);
        let notifier = state.unpark_with();
        drop(state);
        self.notify(notifier);
        Ok(())
    }

    /// Whether a drain would find something: one atomic load.
    #[inline]
    pub(crate) fn has_items(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }

    /// Moves every item to the end of `into`, oldest first. If `into` is empty the two buffers change places, so that
    /// neither side allocates for long.
    pub(crate) fn drain(&self, into: &mut Vec<T>) {
        if !self.has_items() {
            return;
        }
        let Some(mut state) = self.lock() else {
            return;
        };
        if into.is_empty() {
            std::mem::swap(&mut state.items, into);
        } else {
            into.append(&mut state.items);
        }
        self.flag.store(false, Ordering::Relaxed);
    }

    /// Announces that the loop is about to block. Called by the loop's thread, and paired with
    /// [`unpark`](Inbox::unpark) if the answer is `Parked`.
    pub(crate) fn park(&self) -> Parking {
        let Some(mut state) = self.lock() else {
            return Parking::Parked;
        };
        if std::mem::take(&mut state.woken) || !state.items.is_empty() {
            return Parking::HasItems;
        }
        state.parked = true;
        Parking::Parked
    }

    /// Announces that the wait is over, for whatever reason.
    pub(crate) fn unpark(&self) {
        if let Some(mut state) = self.lock() {
            state.parked = false;
        }
    }

    /// Ends the current or the next park without an item. From any thread.
    #[allow(
        dead_code,
        reason = "asked for by the Rust face's Handle, which is being written"
    )]
    pub(crate) fn wake(&self) {
        let Some(mut state) = self.lock() else {
            return;
        };
        let notifier = state.unpark_with();
        state.woken = notifier.is_none();
        drop(state);
        self.notify(notifier);
    }

    /// Refuses every later push, lets go of the notifier, and hands out what was not drained, for the caller to drop.
    ///
    /// Waits for threads that are notifying, which takes no longer than a system call: a pusher's item may have been run, and the loop
    /// have ended, before the pusher has come back from waking it.
    pub(crate) fn close(&self) -> Vec<T> {
        let Some(mut state) = self.lock() else {
            return Vec::new();
        };
        let notifier = state.notifier.take();
        let items = std::mem::take(&mut state.items);
        state.parked = false;
        self.flag.store(false, Ordering::Relaxed);
        drop(state);
        if let Some(notifier) = notifier {
            self.let_go(notifier); // may close a descriptor: a syscall that nobody has to wait for
        }
        items
    }

    /// Keeps the items and takes the notifier of a new set. A closed inbox stays closed. For the loop's thread only.
    ///
    /// In the child of a fork another thread of the parent may have held the lock, which is then locked here for good. The
    /// inbox is given up in that case (see [`Inbox::lock`]) and the loop needs another one.
    pub(crate) fn replace_after_fork(&self, notifier: N) -> Result<(), LockedByLostThread> {
        let Some(mut state) = self.lock() else {
            return Err(LockedByLostThread);
        };
        self.generation
            .store(sys::fork_generation(), Ordering::Relaxed);
        state.parked = false;
        let inherited = match &mut state.notifier {
            Some(present) => std::mem::replace(present, Arc::new(notifier)),
            None => Arc::new(notifier),
        };
        drop(state);
        drop(inherited); // not waited for: a thread of the parent that was using it is none of this process
        Ok(())
    }

    /// Drops the notifier, after everybody else who has it.
    fn let_go(&self, mut notifier: Arc<N>) {
        if self.generation.load(Ordering::Relaxed) != sys::fork_generation() {
            return; // who uses it may be a thread of the parent, and not exist here
        }
        while let Err(used) = Arc::try_unwrap(notifier) {
            notifier = used;
            yield_now();
        }
    }

    /// The lock, or `None` if a thread holds it that this process does not have.
    ///
    /// In the process where the inbox was made, or has been renewed, whoever has the lock gives it back, and this waits. In a
    /// forked child before that it may have been locked at the moment of the fork, for good; or another thread of the child is
    /// just pushing. The two look alike, but what is done under the lock is done in no time: who does not give it back in
    /// [`PATIENCE`] does not exist. Then the inbox is given up: every push is rejected instead of hanging, and what it held is
    /// out of reach.
    fn lock(&self) -> Option<MutexGuard<'_, State<T, N>>> {
        if self.lost.load(Ordering::Relaxed) {
            return None;
        }
        if self.generation.load(Ordering::Relaxed) != sys::fork_generation() {
            return self.lock_after_fork();
        }
        // Poisoning is ignored on purpose: nothing that runs under the lock can panic between two changes that belong
        // together, so the state is whole; and to refuse all work from then on would only add a second failure.
        Some(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    #[cold]
    fn lock_after_fork(&self) -> Option<MutexGuard<'_, State<T, N>>> {
        let begun = Instant::now();
        loop {
            match self.state.try_lock() {
                Ok(state) => return Some(state),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => {
                    thread::sleep(Duration::from_millis(1));
                }
                Err(TryLockError::WouldBlock) => {
                    self.lost.store(true, Ordering::Relaxed);
                    return None;
                }
            }
        }
    }

    /// Notifies outside the lock: the woken loop's first act is to take it, and would only run into its waker.
    fn notify(&self, notifier: Option<Arc<N>>) {
        let Some(notifier) = notifier else {
            return;
        };
        let notified = notifier.notify();
        drop(notifier); // first of all, as a closing loop waits for it
        if notified.is_err()
            && let Some(mut state) = self.lock()
        {
            // The item is queued, so this is no failure of the push; the next one tries again.
            state.parked = state.notifier.is_some();
        }
    }
}

impl<T, N: Notify> State<T, N> {
    /// If the loop is parked: ends that, and hands its notifier to the caller, who must use it.
    fn unpark_with(&mut self) -> Option<Arc<N>> {
        if !std::mem::take(&mut self.parked) {
            return None;
        }
        self.notifier.clone()
    }
}

impl<T, N: Notify> fmt::Debug for Inbox<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inbox") // never the lock, which a debugger's output should not wait for
    }
}

impl<T> fmt::Debug for Rejected<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rejected")
    }
}

impl<T> fmt::Display for Rejected<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the event loop is closed")
    }
}

impl<T> std::error::Error for Rejected<T> {}

impl fmt::Display for LockedByLostThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "another thread was handing work to this event loop when the process was forked",
        )
    }
}

impl std::error::Error for LockedByLostThread {}

impl From<LockedByLostThread> for io::Error {
    fn from(error: LockedByLostThread) -> io::Error {
        io::Error::other(error)
    }
}

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;
