//! Tasks: futures that run beside the one that spawned them, on the same loop.
//!
//! A task belongs to its handle: dropping the handle cancels it, and only [`Task::detach`] lets it run on alone. Cancelling is dropping
//! the future, at the loop's next turn and on the loop's thread.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_task::FallibleTask;

use crate::current;
use crate::executor;

/// Spawns `future` on the running loop and returns the handle of its task.
///
/// The task starts at the loop's next turn, whether or not the handle is awaited.
///
/// # Panics
///
/// Outside of a running loop.
///
/// # Examples
///
/// ```
/// # oneloop::run(async {
/// let one = oneloop::spawn(async { 1 });
/// let two = oneloop::spawn(async { 2 });
/// assert_eq!(one.await + two.await, 3);
/// # })?;
/// # std::io::Result::Ok(())
/// ```
#[track_caller]
pub fn spawn<F>(future: F) -> Task<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    Task {
        inner: executor::spawn(&current::expect(), future).fallible(),
    }
}

/// A spawned task. Awaiting it gives its future's output.
///
/// **Dropping it cancels the task**; [`Task::detach`] keeps the task instead. A panic of the task is resumed in whoever awaits it, or, as
/// the panic hook has reported it already, ends there if nobody does.
///
/// # Panics
///
/// Awaiting panics if the task did, and if the task was dropped unfinished because its loop is closed (a handle that was carried out of
/// [`run`](crate::run)).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// # oneloop::run(async {
/// let endless = oneloop::spawn(async {
///     loop {
///         oneloop::sleep(Duration::from_secs(1)).await;
///     }
/// });
/// drop(endless); // cancelled: it is dropped at the loop's next turn
/// # })?;
/// # std::io::Result::Ok(())
/// ```
#[must_use = "a task is cancelled when its handle is dropped; await it, keep it, or `detach` it"]
pub struct Task<T> {
    inner: FallibleTask<T>,
}

impl<T> Task<T> {
    /// Lets the task run on without its handle, until it is done or the loop is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// # oneloop::run(async {
    /// oneloop::spawn(async { println!("still here") }).detach();
    /// oneloop::yield_now().await;
    /// # })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn detach(self) {
        self.inner.detach();
    }

    /// Cancels the task and waits until its future is dropped. Gives the output if the task was done already.
    ///
    /// # Examples
    ///
    /// ```
    /// # oneloop::run(async {
    /// let done = oneloop::spawn(async { 7 });
    /// let stuck = oneloop::spawn(std::future::pending::<()>());
    /// oneloop::yield_now().await;
    /// assert_eq!(done.cancel().await, Some(7));
    /// assert_eq!(stuck.cancel().await, None);
    /// # })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub async fn cancel(self) -> Option<T> {
        self.inner.cancel().await
    }

    /// Whether the task is done or cancelled.
    ///
    /// # Examples
    ///
    /// ```
    /// # oneloop::run(async {
    /// let task = oneloop::spawn(async { 7 });
    /// assert!(!task.is_finished());
    /// oneloop::yield_now().await;
    /// assert!(task.is_finished());
    /// # })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn is_finished(&self) -> bool {
        self.inner.is_finished()
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.inner).poll(context).map(|output| {
            // Nobody else can have cancelled it: that takes the handle.
            output.unwrap_or_else(|| {
                panic!("the task was dropped unfinished, because its event loop is closed")
            })
        })
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

/// Gives every other entry of the loop that is ready a turn before this future goes on.
///
/// # Examples
///
/// ```
/// # oneloop::run(async {
/// let other = oneloop::spawn(async { "its turn" });
/// oneloop::yield_now().await;
/// assert!(other.is_finished());
/// # })?;
/// # std::io::Result::Ok(())
/// ```
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
