//! Which loop runs on this thread.
//!
//! `oneloop::spawn` and its like find their loop here, and a waker finds out here whether it is woken on its own loop's thread. Set for
//! the duration of a run by [`enter`].

use std::cell::RefCell;
use std::io;
use std::marker::PhantomData;

use crate::reactor::LoopRef;

thread_local! {
    static CURRENT: RefCell<Option<LoopRef>> = const { RefCell::new(None) };
}

/// Makes `event_loop` the current one until the guard is dropped, which makes the one before current again.
#[must_use]
pub(crate) fn enter(event_loop: LoopRef) -> Entered {
    Entered {
        previous: CURRENT.replace(Some(event_loop)),
        not_send: PhantomData,
    }
}

/// Calls `f` with the loop that runs on this thread. `f` must not run foreign code: the slot is borrowed meanwhile.
pub(crate) fn with<R>(f: impl FnOnce(Option<&LoopRef>) -> R) -> R {
    let mut f = Some(f);
    // While a thread's locals are destroyed there is no current loop any more.
    let result = CURRENT.try_with(|current| {
        let current = current.borrow();
        f.take().map(|f| f(current.as_ref()))
    });
    match (result, f) {
        (Ok(Some(result)), _) => result,
        (_, Some(f)) => f(None),
        (_, None) => unreachable!("f was taken, so it has returned its result"),
    }
}

/// The loop that runs on this thread.
///
/// # Panics
///
/// If none does.
#[track_caller]
pub(crate) fn expect() -> LoopRef {
    match with(|current| current.cloned()) {
        Some(event_loop) => event_loop,
        None => panic!("no event loop is running on this thread; call this inside `oneloop::run`"),
    }
}

/// The loop that runs on this thread, for those who can answer an error.
///
/// # Errors
///
/// If none does.
pub(crate) fn get() -> io::Result<LoopRef> {
    with(|current| current.cloned())
        .ok_or_else(|| io::Error::other("no event loop is running on this thread"))
}

/// The duration for which a loop is current.
pub(crate) struct Entered {
    previous: Option<LoopRef>,
    not_send: PhantomData<*const ()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        // Taken out of the slot first: dropping a loop runs foreign code.
        let ours = CURRENT.replace(self.previous.take());
        drop(ours);
    }
}
