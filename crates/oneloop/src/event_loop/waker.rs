//! Wakers whose wake-ups are entries of the host's: how Rust futures that a host polls itself, outside of the executor, are woken.
//!
//! A waker may be kept for ever and woken on any thread. It holds the inbox, and so no descriptor once the loop is closed, and what makes
//! the entry. On the loop's own thread the entry takes the same way: the next push, or the tick before it runs what is ready, moves it to
//! the ring, so it keeps its place in the one order of the queue.

use std::sync::Arc;
use std::task::{Wake, Waker};

use super::{EventLoop, Item};
use crate::host::Host;
use crate::inbox::Inbox;

impl<H: Host> EventLoop<H> {
    /// A waker that makes an entry ready each time it is woken. On a closed loop it does nothing.
    ///
    /// `entry` is called on whatever thread wakes.
    pub fn waker<F>(&self, entry: F) -> Waker
    where
        F: Fn() -> H::Entry + Send + Sync + 'static,
    {
        Waker::from(Arc::new(EntryWaker {
            inbox: Arc::clone(&self.inbox),
            entry,
        }))
    }
}

struct EntryWaker<E, F> {
    inbox: Arc<Inbox<Item<E>>>,
    entry: F,
}

impl<E, F> Wake for EntryWaker<E, F>
where
    E: Send + 'static,
    F: Fn() -> E + Send + Sync + 'static,
{
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // What is refused by a closed loop is dropped here, outside the lock.
        drop(self.inbox.push(Item::Entry((self.entry)())));
    }
}
