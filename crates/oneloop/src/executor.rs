//! The executor: Rust futures as ready entries.
//!
//! A task is allocated by `async-task`; waking it makes one `Runnable`, which is an entry of the ready ring like any other. On the
//! loop's own thread it is pushed to the ring, elsewhere to the inbox. The executor keeps a waker for each live task, so that closing the
//! loop can drop every future on the owner's thread before the loop's parts go.

use std::cell::Cell;
use std::future::Future;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use async_task::{Builder, Runnable, Task};
use slab::Slab;

use crate::cell::OwnerCell;
use crate::current;
use crate::reactor::{LoopRef, Remote, same_loop};
use crate::sys;

/// The live tasks of one loop.
pub struct Executor {
    live: Rc<Live>,
    /// The fork generation in which it was made.
    born: u64,
}

#[derive(Default)]
struct Live {
    /// A waker a task; `None` between the allocation of the number and that of the task.
    wakers: OwnerCell<Slab<Option<Waker>>>,
    closed: Cell<bool>,
}

/// Spawns a future on a loop, whose thread this must be.
///
/// The task is cancelled when the handle is dropped. On a closed loop it is cancelled at once.
pub(crate) fn spawn<F>(event_loop: &LoopRef, future: F) -> Task<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let live = &event_loop.executor().live;
    let number = live.wakers.with(|wakers| wakers.insert(None));
    let sign_off = SignOff {
        number,
        live: Rc::clone(live),
    };
    let tracked = async move {
        let _sign_off = sign_off;
        Contained::new(future).await
    };
    let remote = Arc::clone(event_loop.remote());
    let (step, task) = spawn_on_owner(tracked, move |step| schedule(step, &remote));
    if live.closed.get() {
        // Dropping the step drops the future, here on the owner's thread.
        drop(step);
        return task;
    }
    let waker = step.waker();
    live.wakers.with(|wakers| wakers[number] = Some(waker));
    event_loop.push(step);
    task
}

/// Spawns, from any thread, the future that `make` returns when it is called on the loop's thread.
///
/// `None`, and `make` is dropped here, if the loop is closed.
pub(crate) fn spawn_remote<M, F>(remote: &Arc<dyn Remote>, make: M) -> Option<Task<F::Output>>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future + 'static,
    F::Output: Send + 'static,
{
    // Until its first poll, which is the owner's, this holds nothing but `make`: it may be dropped on any thread, and so be refused.
    let future = async move {
        let _sign_off = sign_on().await;
        Contained::new(make()).await
    };
    let scheduler = Arc::clone(remote);
    let (step, task) = spawn_on_owner(future, move |step| schedule(step, &scheduler));
    match remote.push(step) {
        Ok(()) => Some(task),
        Err(refused) => {
            drop(refused);
            None
        }
    }
}

/// Has the task that awaits this counted among the live ones of the loop that runs it.
async fn sign_on() -> SignOff {
    std::future::poll_fn(|context| {
        let live = Rc::clone(&current::expect().executor().live);
        let waker = context.waker().clone();
        let number = live.wakers.with(|wakers| wakers.insert(Some(waker)));
        Poll::Ready(SignOff { number, live })
    })
    .await
}

/// Queues a task's next step: in the ring on the loop's own thread, in its inbox elsewhere.
fn schedule(step: Runnable, remote: &Arc<dyn Remote>) {
    let elsewhere = current::with(|current| match current {
        Some(event_loop) if same_loop(event_loop.remote(), remote) => {
            event_loop.push(step);
            None
        }
        _ => Some(step),
    });
    if let Some(Err(refused)) = elsewhere.map(|step| remote.push(step)) {
        // By an inbox whose lock a thread held that was lost by fork. (A closed one is not met: its loop has dropped the future before,
        // and a task without future is not scheduled.) The future is not this thread's to drop.
        std::mem::forget(refused);
    }
}

#[allow(unsafe_code)] // a non-Send future behind a Send waker: the waker's vtable of `architecture.md`
fn spawn_on_owner<F, S>(future: F, schedule: S) -> (Runnable, Task<F::Output>)
where
    F: Future + 'static,
    F::Output: 'static,
    S: Fn(Runnable) + Send + Sync + 'static,
{
    // A panic is the awaiting task's business, as an exception is in asyncio.
    let builder = Builder::new().propagate_panic(true);
    // SAFETY: `schedule` and the future are 'static, and `schedule` is Send and Sync. The future need not be Send because it is polled
    // and dropped only by whoever owns the loop: a step reaches the ring or the inbox, and both are emptied by the owner alone; what
    // the inbox refuses is forgotten by `schedule`, or is `spawn_remote`'s, whose future is Send until its first poll. Before
    // `EventLoop::close` closes the inbox it has dropped every future that was polled or pushed.
    unsafe { builder.spawn_unchecked(move |()| future, schedule) }
}

/// A future whose panic in its own drop stays inside. `async-task` would abort the process, and with it a Python interpreter, where a
/// cancelled future does that; the panic hook has reported it.
struct Contained<F>(ManuallyDrop<F>);

impl<F> Contained<F> {
    fn new(future: F) -> Self {
        Self(ManuallyDrop::new(future))
    }
}

#[allow(unsafe_code)] // pinning through a field whose drop is caught
impl<F: Future> Future for Contained<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: the field is pinned with the struct: nothing here moves it, and `drop` leaves it in place.
        let future = unsafe { self.map_unchecked_mut(|this| &mut *this.0) };
        future.poll(context)
    }
}

#[allow(unsafe_code)] // see above
impl<F> Drop for Contained<F> {
    fn drop(&mut self) {
        // SAFETY: this is the destructor, so nobody uses the field after it.
        let future = AssertUnwindSafe(|| unsafe { ManuallyDrop::drop(&mut self.0) });
        let _ = catch_unwind(future);
    }
}

impl Executor {
    pub(crate) fn new() -> Self {
        Self {
            live: Rc::default(),
            born: sys::fork_generation(),
        }
    }

    /// Whether this is the copy of a forked child, where a step may be lost with the thread that had it in hand.
    pub(crate) fn was_forked(&self) -> bool {
        self.born != sys::fork_generation()
    }

    /// The number of tasks that have neither completed nor been dropped.
    pub fn live(&self) -> usize {
        self.live.wakers.with(|wakers| wakers.len())
    }

    /// Refuses new tasks from now on.
    pub(crate) fn close(&self) {
        self.live.closed.set(true);
    }

    /// Has a step queued for every live task, so that the owner can drop it with its future. How many were not woken so before.
    pub(crate) fn wake_all(&self) -> usize {
        // The tasks' numbers stay taken until their futures are dropped; only the wakers leave.
        let wakers: Vec<Waker> = self.live.wakers.with(|wakers| {
            wakers
                .iter_mut()
                .filter_map(|(_, waker)| waker.take())
                .collect()
        });
        let count = wakers.len();
        wakers.into_iter().for_each(Waker::wake);
        count
    }
}

/// Signs a task off when its future is dropped, be it completed, cancelled or closed.
struct SignOff {
    number: usize,
    live: Rc<Live>,
}

impl Drop for SignOff {
    fn drop(&mut self) {
        let waker = self
            .live
            .wakers
            .with(|wakers| wakers.try_remove(self.number));
        drop(waker);
    }
}
