//! A small pool of threads for calls that block, such as asking for a host's addresses.
//!
//! Promises:
//! - a call waits for a free thread or gets a new one, up to the pool's limit; a thread that had nothing to do for a while leaves;
//! - the answer is a future. Dropping it gives the answer up, and the call too if no thread has begun it;
//! - a panic of the call is resumed in whoever awaits the answer;
//! - closing waits for nobody: calls that run are left to finish, those that do not are dropped on the closing thread and answered with
//!   an error, and the threads leave. They hold nothing of the loop but the wakers of the answers that they owe;
//! - in a forked child the pool works, with fresh threads. Calls of the parent are answered with an error there: their threads are lost;
//! - no foreign code under the lock: calls, answers and wakers are run and dropped outside of it.
//!
//! It does not know what the calls do, nor the loop: whoever has a pool may use it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use futures_channel::oneshot::{self, Receiver};
use slab::Slab;

use crate::cell::OwnerCell;
use crate::sys;

/// How long a thread waits for another call before it leaves.
const PATIENCE: Duration = Duration::from_secs(10);

/// As much as Python's own threads have here: a call may run Python code, whose limit of recursion counts on it.
const STACK_SIZE: usize = 8 * 1024 * 1024;

type Call = Box<dyn FnOnce() + Send>;

/// Threads for calls that block. Making one starts no thread.
pub struct Pool {
    crew: OwnerCell<Arc<Crew>>,
    closed: Cell<bool>,
    /// Who waits for an answer: in a forked child nobody else could tell them that it will not come.
    waiting: Rc<OwnerCell<Slab<Option<Waker>>>>,
}

impl Pool {
    /// A pool of at most `limit` threads of this name.
    ///
    /// # Panics
    ///
    /// If there is a NUL in the name.
    pub fn new(limit: NonZero<usize>, name: &'static str) -> Self {
        assert!(!name.contains('\0'), "a thread's name cannot have a NUL");
        Self::with_crew(Crew::new(limit, name, PATIENCE))
    }

    fn with_crew(crew: Crew) -> Self {
        Self {
            crew: OwnerCell::new(Arc::new(crew)),
            closed: Cell::new(false),
            waiting: Rc::default(),
        }
    }

    /// Has `call` called on one of the threads, and gives the future of its answer. It begins whether or not that is polled.
    ///
    /// The answer is an error if the call will never run: the pool is closed, no thread can be started, or the process was forked.
    pub fn run<T, F>(&self, call: F) -> Blocking<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        if self.closed.get() {
            return Blocking::refused(closed());
        }
        self.renew_after_fork();
        let (sender, receiver) = oneshot::channel();
        let answered = move || {
            if sender.is_canceled() {
                return;
            }
            let answer = catch_unwind(AssertUnwindSafe(call));
            // Refused if nobody waits any more: then the answer is dropped here, on the pool's thread.
            drop(sender.send(answer));
        };
        let crew = self.crew.with(|crew| Arc::clone(crew));
        match crew.push(Box::new(answered)) {
            Ok(number) => Blocking {
                state: State::Asked(Asked {
                    receiver,
                    number,
                    crew,
                    waiting: Rc::clone(&self.waiting),
                    seat: None,
                }),
            },
            Err(refusal) => Blocking::refused(refusal),
        }
    }

    /// Refuses every later call and drops those that no thread has begun. Their answers are errors.
    pub fn close(&self) {
        self.closed.set(true);
        let crew = self.crew.with(|crew| Arc::clone(crew));
        drop(crew.close());
    }

    /// In a forked child, replaces the threads that were lost and tells those who wait for them.
    pub(crate) fn renew_after_fork(&self) {
        let lost = self.crew.with(|crew| {
            let fresh = crew.is_lost().then(|| Arc::new(crew.successor()));
            fresh.map(|fresh| std::mem::replace(crew, fresh))
        });
        let Some(lost) = lost else {
            return;
        };
        drop(lost.close());
        let wakers: Vec<Waker> = self
            .waiting
            .with(|waiting| waiting.iter_mut().filter_map(|(_, it)| it.take()).collect());
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pool")
    }
}

/// The answer of a call that [`Pool::run`] was asked for.
#[must_use = "the call is given up when its answer is dropped"]
pub struct Blocking<T> {
    state: State<T>,
}

enum State<T> {
    Asked(Asked<T>),
    /// `None` once it was told.
    Refused(Option<io::Error>),
}

struct Asked<T> {
    receiver: Receiver<thread::Result<T>>,
    /// The call's number in the crew's queue, and the crew.
    number: u64,
    crew: Arc<Crew>,
    waiting: Rc<OwnerCell<Slab<Option<Waker>>>>,
    /// The place among those who wait, from the first poll on.
    seat: Option<usize>,
}

impl<T> Blocking<T> {
    fn refused(refusal: io::Error) -> Self {
        Self {
            state: State::Refused(Some(refusal)),
        }
    }
}

impl<T> Future for Blocking<T> {
    type Output = io::Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        match &mut self.state {
            State::Asked(asked) => asked.poll(context),
            State::Refused(refusal) => Poll::Ready(Err(refusal.take().unwrap_or_else(closed))),
        }
    }
}

impl<T> Asked<T> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        match Pin::new(&mut self.receiver).poll(context) {
            Poll::Ready(Ok(Ok(answer))) => Poll::Ready(Ok(answer)),
            Poll::Ready(Ok(Err(panic))) => resume_unwind(panic),
            _ if self.crew.is_lost() => Poll::Ready(Err(lost())),
            // The call was dropped.
            Poll::Ready(Err(_)) => Poll::Ready(Err(closed())),
            Poll::Pending => {
                self.sit_down(context.waker());
                Poll::Pending
            }
        }
    }

    fn sit_down(&mut self, waker: &Waker) {
        let waker = Some(waker.clone());
        let replaced = self.waiting.with(|waiting| match self.seat {
            Some(seat) => std::mem::replace(&mut waiting[seat], waker),
            None => {
                self.seat = Some(waiting.insert(waker));
                None
            }
        });
        drop(replaced);
    }
}

impl<T> Drop for Asked<T> {
    fn drop(&mut self) {
        let seat = self.seat.take();
        drop(seat.map(|seat| self.waiting.with(|waiting| waiting.remove(seat))));
        drop(self.crew.forget(self.number));
    }
}

impl<T> fmt::Debug for Blocking<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Blocking")
    }
}

/// The threads of one process and what they are to do.
struct Crew {
    limit: NonZero<usize>,
    name: &'static str,
    patience: Duration,
    /// The fork generation whose threads these are.
    born: u64,
    state: Mutex<Roster>,
    /// Told of each call that is queued, and of the closing.
    news: Condvar,
}

#[derive(Default)]
struct Roster {
    /// By number, and so in the order in which they came.
    queue: BTreeMap<u64, Call>,
    next_number: u64,
    threads: usize,
    /// How many of the threads wait for news.
    idle: usize,
    closed: bool,
}

impl Crew {
    fn new(limit: NonZero<usize>, name: &'static str, patience: Duration) -> Self {
        // Where forks cannot be counted, a child's calls wait for threads that it does not have. No driver could be made there either.
        let _ = sys::watch_forks();
        Self {
            limit,
            name,
            patience,
            born: sys::fork_generation(),
            state: Mutex::default(),
            news: Condvar::new(),
        }
    }

    /// The same with no threads, for a forked child.
    fn successor(&self) -> Self {
        Self::new(self.limit, self.name, self.patience)
    }

    /// Whether this process is a forked child of the one that these threads are in.
    fn is_lost(&self) -> bool {
        self.born != sys::fork_generation()
    }

    /// Queues a call, and starts a thread for it if none is free and one more is allowed. Its number.
    fn push(self: &Arc<Self>, call: Call) -> io::Result<u64> {
        let mut state = self.lock();
        let number = state.next_number;
        state.next_number += 1;
        state.queue.insert(number, call);
        // Not "if none is idle": one that is may have been told of an earlier call already.
        let hires = state.queue.len() > state.idle && state.threads < self.limit.get();
        state.threads += usize::from(hires);
        drop(state);
        self.news.notify_one();
        if hires && let Err(refusal) = self.hire() {
            let mut state = self.lock();
            state.threads -= 1;
            if state.threads == 0 {
                let call = state.queue.remove(&number);
                drop(state);
                drop(call);
                return Err(refusal);
            }
            // The threads that there are will come to it.
        }
        Ok(number)
    }

    fn hire(self: &Arc<Self>) -> io::Result<()> {
        let crew = Arc::clone(self);
        let thread = thread::Builder::new()
            .name(self.name.to_owned())
            .stack_size(STACK_SIZE);
        thread.spawn(move || crew.work()).map(drop)
    }

    /// What a thread does until it leaves.
    fn work(&self) {
        while let Some(call) = self.next() {
            // Its own panic it has caught; this is for the drop of an answer that nobody waits for.
            let _ = catch_unwind(AssertUnwindSafe(call));
        }
    }

    /// Waits for a call. `None` sends the thread away.
    fn next(&self) -> Option<Call> {
        if self.is_lost() {
            return None; // the call has forked, and this is the child
        }
        let mut state = self.lock();
        loop {
            if let Some((_, call)) = state.queue.pop_first() {
                return Some(call);
            }
            if state.closed {
                break;
            }
            state.idle += 1;
            let (guard, waited) = self
                .news
                .wait_timeout(state, self.patience)
                .unwrap_or_else(PoisonError::into_inner);
            state = guard;
            state.idle -= 1;
            if waited.timed_out() && state.queue.is_empty() {
                break;
            }
        }
        state.threads -= 1;
        None
    }

    /// Takes a call back that no thread has begun.
    fn forget(&self, number: u64) -> Option<Call> {
        self.lock_unless_lost()?.queue.remove(&number)
    }

    /// Sends the threads away; what was queued.
    fn close(&self) -> BTreeMap<u64, Call> {
        let Some(mut state) = self.lock_unless_lost() else {
            return BTreeMap::new();
        };
        state.closed = true;
        let queue = std::mem::take(&mut state.queue);
        drop(state);
        self.news.notify_all();
        queue
    }

    fn lock(&self) -> MutexGuard<'_, Roster> {
        // Nothing that runs under the lock panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In a forked child a thread of the parent may hold the lock for good: then what it protects is out of reach.
    fn lock_unless_lost(&self) -> Option<MutexGuard<'_, Roster>> {
        if !self.is_lost() {
            return Some(self.lock());
        }
        match self.state.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

#[cold]
fn closed() -> io::Error {
    io::Error::other("the pool of threads is closed")
}

#[cold]
fn lost() -> io::Error {
    io::Error::other("the thread of this call was lost when the process was forked")
}

#[cfg(test)]
mod tests;
